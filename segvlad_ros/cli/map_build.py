"""``segvlad map build images|bag``: a map made offline."""
from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from segvlad_ros.cli import OK
from segvlad_ros.cli.bag_options import add_bag_inputs, bag_inputs
from segvlad_ros.cli.options import (
    add_image_bits,
    add_json,
    add_masks,
    add_preset,
    check_partner,
    chosen_preset,
    progress,
    real,
)
from segvlad_ros.io.camera_files import is_ros_camera
from segvlad_ros.types import Frame, SegvladError

_FRAME, _BASE, _UNITS = 'map', 'base_link', 1000.0
_POSES = ("poses of the camera's optical frame (x right, y down, z ahead) in one fixed frame, metres: TUM, KITTI, "
          'COLMAP text (images.txt; its unit is taken as a metre) or CSV with the columns image,tx,ty,tz,qx,qy,qz,qw '
          'and optionally stamp')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    kinds = parser.add_subparsers(dest='kind', metavar='images|bag', required=True)
    images = kinds.add_parser('images', help='build from images, with their poses if known',
                              description='Build a map from images, with their poses if known. If interrupted, it '
                                          'leaves no map.')
    images.add_argument('images', type=Path, metavar='DIR|LIST', help='a folder, or a text file with one path per line')
    images.add_argument('--poses', type=Path, metavar='FILE', help=_POSES)
    images.add_argument('--frame', default=_FRAME, help='name of the frame that the poses are in (%(default)s)')
    images.add_argument('--camera', type=Path, metavar='FILE',
                        help="intrinsics: COLMAP's cameras.txt (with COLMAP poses, the one beside images.txt is the "
                             "default), or the YAML of ROS's camera_calibration")
    images.add_argument('--rectified', action='store_true',
                        help='the images are rectified: projection_matrix of the YAML file applies')
    images.add_argument('--base-from-camera', nargs=7, type=float, metavar=('X', 'Y', 'Z', 'QX', 'QY', 'QZ', 'QW'),
                        help='where the camera sits on the robot, so that poses in the map are of its base; without '
                             'this, the camera is the base')
    images.add_argument('--base-frame', default=_BASE,
                        help='name of the base, with --base-from-camera (%(default)s)')
    images.add_argument('--depth', type=Path, metavar='DIR',
                        help='folder of 16-bit PNG depth images with the names of the images, with --camera')
    images.add_argument('--depth-units', type=real(lambda value: 0 < value < float('inf'), 'a number above 0'),
                        default=_UNITS, metavar='N', help='units of a depth image per metre (%(default)g)')
    images.add_argument('--all-images', action='store_true',
                        help='make every image a keyframe, however close to the one before; without this, keyframes '
                             'are chosen as map_builder does')
    add_masks(images)
    add_image_bits(images)
    bag = kinds.add_parser('bag', help='build from bags, as map_builder would',
                           description='Build a map from bags, as map_builder would; each bag and each camera becomes '
                                       'a session of its own. If interrupted, it leaves no map.')
    bag.add_argument('bags', type=Path, nargs='+', metavar='BAG', help='bag folder, .mcap or .db3 file')
    add_bag_inputs(bag)
    for kind in (images, bag):
        kind.add_argument('--output', required=True, type=Path, metavar='FILE', help='the new map (*.segvlad)')
        add_preset(kind)
        add_json(kind)


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    from segvlad_ros.mapping.keyframes import KeyframeGate
    from segvlad_ros.pipeline.map_build import build_map
    from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer

    if args.kind == 'images':
        _check_partners(args)
    every = args.kind == 'images' and args.all_images
    places = PlaceRecognizer(chosen_preset(args), device=args.device, gate=None if every else KeyframeGate())
    drives = _of_images(args) if args.kind == 'images' else _of_bags(args)
    built = build_map(args.output, places, drives, known_poses=args.kind == 'images')
    size = args.output.stat().st_size
    if args.json:
        print(json.dumps({'map': str(args.output), 'bytes': size, **vars(built)}))
        return OK
    print(f'{args.output}: {built.keyframes} keyframes of {built.images} images, {size / 1e6:.1f} MB')
    for reason, count in built.rejected.items():
        print(f'left out {count} of them: {reason}')
    return OK


def _check_partners(args: argparse.Namespace) -> None:
    """Refuse what would change nothing, as the name of a frame that no pose is in."""
    camera = _camera_file(args)
    check_partner('--frame', args.frame != _FRAME, '--poses', args.poses)
    check_partner('--base-frame', args.base_frame != _BASE, '--base-from-camera', args.base_from_camera)
    check_partner('--rectified', args.rectified, '--camera FILE.yaml', camera and is_ros_camera(camera))
    check_partner('--depth', args.depth, '--camera', camera)
    check_partner('--depth-units', args.depth_units != _UNITS, '--depth', args.depth)


def _camera_file(args: argparse.Namespace) -> Path | None:
    """The one of ``--camera``, or that of COLMAP beside its poses."""
    beside = args.poses.with_name('cameras.txt') if args.poses and args.poses.name == 'images.txt' else None
    return args.camera or (beside if beside is not None and beside.is_file() else None)


def _of_bags(args: argparse.Namespace) -> Iterator[Iterator[Frame]]:
    from segvlad_ros.io.bag_frames import FrameReader

    for bag in args.bags:
        for topics, settings in bag_inputs(args):
            frames = FrameReader(bag, topics, settings)
            yield progress(frames, f'images of {bag.name}', frames.total)


def _of_images(args: argparse.Namespace) -> Iterator[Iterator[Frame]]:
    import numpy as np

    from segvlad_ros.geometry import identity, unit_quaternion
    from segvlad_ros.io.camera_files import read_cameras
    from segvlad_ros.io.images import list_images
    from segvlad_ros.io.masks import MaskFiles
    from segvlad_ros.io.pose_files import PosedImage, read_posed_images
    from segvlad_ros.pipeline.map_build import KnownCamera
    from segvlad_ros.types import Pose

    images = (read_posed_images(args.images, args.poses) if args.poses
              else [PosedImage(path) for path in list_images(args.images)])
    path = _camera_file(args)
    if args.depth is not None and not args.depth.is_dir():
        raise SegvladError(f'--depth {args.depth}: no such folder')
    values = np.array(args.base_from_camera or ())
    if not np.isfinite(values).all():
        raise SegvladError('--base-from-camera: not all of its numbers are finite')
    base = Pose(values[:3], unit_quaternion(values[3:]), args.base_frame) if len(values) else identity('camera')
    camera = KnownCamera(read_cameras(path, args.rectified) if path else {}, base, args.frame, args.depth,
                         args.depth_units, args.image_bits,
                         MaskFiles(args.mask, [image.path for image in images]) if args.mask else None)
    yield progress((camera.frame_of(image, number) for number, image in enumerate(images)), 'images', len(images))
