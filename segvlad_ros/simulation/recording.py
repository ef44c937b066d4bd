"""Writes a simulated run as a ROS 2 bag."""
from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.simulation.robot import START_NS, SimulatedRobot
from segvlad_ros.simulation.sensors import BASE_FRAME, BASE_FROM_CAMERA, CAMERA_FRAME
from segvlad_ros.types import Pose, SegvladError

IMAGE_TOPIC = '/camera/image_raw/compressed'
DEPTH_TOPIC = '/camera/depth/image_raw'
CAMERA_INFO_TOPIC = '/camera/camera_info'
ODOMETRY_TOPIC = '/odom'
TRUTH_TOPIC = '/ground_truth/pose'
JPEG_QUALITY = 90


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse a place where no bag may be written.

    :raises SegvladError: the folder exists and may not be overwritten, or is no bag
    """
    if path.exists() and not overwrite:
        raise SegvladError(f'{path} exists: choose another --output, or add --overwrite')
    if path.exists() and not (path / 'metadata.yaml').is_file():
        raise SegvladError(f'{path} exists and is no bag: choose another --output')


def write_bag(robot: SimulatedRobot, path: Path, *, overwrite: bool = False,
              progress: Callable[[Sequence[int]], Iterable[int]] = iter) -> None:
    """Drive the robot and record it.

    Every colour image (JPEG) comes with a depth image (16UC1, millimetres; the bag's zstd chunks make it small) and
    its calibration, all with one stamp. Odometry and truth (``/ground_truth/pose``, frame ``map``) come more often.
    The folder appears under its name only when it is complete.

    :param path: the bag's folder
    :param progress: wraps the iteration over image numbers
    :raises SegvladError: see :func:`check_output`
    """
    check_output(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.unfinished_', dir=path.parent) as folder:
        unfinished = Path(folder) / path.name  # the file in a bag is named after its folder
        with BagWriter(unfinished, storage='mcap') as bag:
            _record(robot, bag, progress)
        if path.exists():
            shutil.rmtree(path)
        unfinished.rename(path)


def _record(robot: SimulatedRobot, bag: BagWriter, progress: Callable[[Sequence[int]], Iterable[int]]) -> None:
    bag.write_static_transform(START_NS, BASE_FROM_CAMERA, CAMERA_FRAME)
    poses = list(robot.poses())[::-1]
    for number in progress(range(robot.image_count)):
        frame = robot.frame(number)
        while poses and poses[-1][0] <= frame.stamp_ns:
            _record_pose(bag, *poses.pop())
        bag.write_image_jpeg(IMAGE_TOPIC, frame.stamp_ns, CAMERA_FRAME, frame.rgb, quality=JPEG_QUALITY)
        bag.write_depth(DEPTH_TOPIC, frame.stamp_ns, CAMERA_FRAME, frame.depth)
        bag.write_camera_info(CAMERA_INFO_TOPIC, frame.stamp_ns, CAMERA_FRAME, frame.camera_model)
    while poses:
        _record_pose(bag, *poses.pop())


def _record_pose(bag: BagWriter, stamp: int, odometry: Pose, truth: Pose) -> None:
    bag.write_odometry(ODOMETRY_TOPIC, stamp, odometry, BASE_FRAME)
    bag.write_pose(TRUTH_TOPIC, stamp, truth)
