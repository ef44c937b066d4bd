"""One contract for inputs: what belongs to an image is used, what does not costs the metric pose and is said."""
from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from segvlad_ros.geometry import StaticTransforms
from segvlad_ros.io.frame_assembler import BuiltinDecoder, FrameAssembler, InputSettings
from segvlad_ros.io.odometry_pieces import OdometryPose
from segvlad_ros.mapping.keyframes import GateSettings, KeyframeGate
from segvlad_ros.pipeline.mapper import Mapper
from segvlad_ros.types import Frame, PlaceDescription, Pose, SegvladError

SIZE = 64, 48
NO_TURN = np.array([0.0, 0.0, 0.0, 1.0])


def header(frame_id='camera', seconds=5):
    return SimpleNamespace(frame_id=frame_id, stamp=SimpleNamespace(sec=seconds, nanosec=0))


def image(frame_id='camera', encoding='rgb8', pixels=None, seconds=5):
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8) if pixels is None else pixels
    return SimpleNamespace(header=header(frame_id, seconds), height=pixels.shape[0], width=pixels.shape[1],
                           encoding=encoding, is_bigendian=0, step=pixels.strides[0], data=pixels.tobytes())


def depth(frame_id='camera', size=SIZE):
    return image(frame_id, '16UC1', np.full((size[1], size[0]), 2000, np.uint16))


def camera_info(frame_id='camera', **changes):
    k = [50.0, 0, 32, 0, 50, 24, 0, 0, 1]
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    return SimpleNamespace(**{'header': header(frame_id), 'width': SIZE[0], 'height': SIZE[1], 'k': k, 'd': [],
                              'r': np.eye(3).ravel(), 'p': np.zeros(12), 'distortion_model': 'plumb_bob',
                              'binning_x': 0, 'binning_y': 0, 'roi': roi, **changes})


def at(x, frame='odom'):
    return Pose(np.array([x, 0.0, 0.0]), NO_TURN, frame)


class Rig:
    """An assembler that writes down what it says."""

    def __init__(self, *transforms, topic='', **settings):
        self.said, self.tree = [], StaticTransforms()
        for parent, child, x in transforms:
            self.tree.add(at(x, parent), child)
        self.assembler = FrameAssembler(InputSettings(**settings), BuiltinDecoder(),
                                        lambda target, source, stamp: self.tree.lookup(target, source),
                                        lambda what, problem: self.said.append((what, problem)), topic)

    def frame(self, message=None, **companions):
        return self.assembler.frame(message or image(), **companions)


def test_what_belongs_together():
    rig = Rig(('base_link', 'camera', 0.2))
    frame = rig.frame(depth=depth(), camera_info=camera_info(), odometry=OdometryPose(at(3.0), 'base_link', 4))
    assert (frame.stamp_ns, frame.frame_id, frame.odometry_piece) == (5 * 10 ** 9, 'camera', 4)
    assert frame.depth[0, 0] == 2.0 and frame.camera_model.width == 64 and frame.pose.translation[0] == 3.0
    assert (frame.base_from_camera.frame, frame.base_from_camera.translation[0]) == ('base_link', 0.2)
    assert rig.said == []


@pytest.mark.fault('camera', 'depth or camera_info of another frame or size, or damaged',
                   'it is left out and said; the image is used')
@pytest.mark.parametrize(('companions', 'what', 'why'), [
    ({'depth': depth('depth_camera')}, 'depth', "its frame_id is 'depth_camera', the image's 'camera'"),
    ({'depth': depth('')}, 'depth', "its frame_id is ''"),
    ({'depth': depth(size=(64, 30))}, 'depth', 'it has 64 x 30 pixels, the image 64 x 48'),
    ({'depth': image(encoding='rgb8')}, 'depth', 'no depth image'),
    ({'camera_info': camera_info('right_camera')}, 'camera_info', "its frame_id is 'right_camera'"),
    ({'camera_info': camera_info(width=128, height=96)}, 'camera_info', 'is of 128 x 96 pixels, the image has 64 x 48'),
    ({'camera_info': camera_info(distortion_model='equidistant', d=[0.1] * 5)}, 'camera_info', 'D has 5 values')])
def test_what_does_not_belong_costs_itself_and_is_said(companions, what, why):
    rig = Rig()
    frame = rig.frame(**companions)
    assert (frame.depth, frame.camera_model) == (None, None) and frame.rgb.shape == (48, 64, 3)
    (said, problem), = rig.said
    assert said == what and why in problem and '\n' not in problem


def test_frames_of_other_names_by_option_and_slashes():
    assert Rig(ignore_frame_ids=True).frame(depth=depth('depth_camera')).depth is not None
    assert Rig().frame(depth=depth('/camera')).depth is not None


def test_a_smaller_depth_image_of_the_same_view():
    assert Rig().frame(depth=depth(size=(32, 24))).depth.shape == (24, 32)


def test_an_image_that_cannot_be_used_is_refused():
    with pytest.raises(SegvladError, match='stamp is zero'):
        Rig().frame(image(seconds=0))
    with pytest.raises(SegvladError, match='unknown image encoding'):
        Rig().frame(replace_encoding('rgb7'))


def replace_encoding(encoding):
    message = image()
    message.encoding = encoding
    return message


def test_odometry_of_another_frame_is_brought_to_the_base():
    rig = Rig(('base_footprint', 'base_link', 0.5), ('base_link', 'camera', 0.2))
    frame = rig.frame(odometry=OdometryPose(at(3.0), 'base_footprint', 0))
    assert (frame.pose.translation[0], frame.pose.frame) == (3.5, 'odom')
    assert (frame.base_from_camera.frame, rig.said) == ('base_link', [])


def test_odometry_of_a_frame_that_nothing_connects_is_its_own_base():
    rig = Rig(('tracking_camera', 'camera', 0.1))
    frame = rig.frame(odometry=OdometryPose(at(3.0), 'tracking_camera', 0))
    assert (frame.pose.translation[0], frame.base_from_camera.frame) == (3.0, 'tracking_camera')
    assert frame.base_from_camera.translation[0] == 0.1
    (what, problem), = rig.said
    assert what == 'odometry' and "results are poses of 'tracking_camera'" in problem
    assert rig.frame().base_from_camera.frame == 'tracking_camera'  # also where odometry is missing for once


def test_a_fixed_mount_wins():
    rig = Rig(('base_link', 'camera', 0.2), base_from_camera=at(0.7, 'base_link'))
    assert rig.frame().base_from_camera.translation[0] == 0.7


class Blank:
    """Describes every image alike."""

    dimension = 3

    def describe(self, rgb, depth=None):
        return PlaceDescription(np.eye(3, dtype=np.float32), np.zeros((3, 4), np.int32), np.ones(3, np.int64))


@pytest.mark.fault('odometry', 'the first keyframe after a leap', 'has no pose, so that no way leads over the leap')
def test_the_first_keyframe_after_a_leap_goes_without_its_pose():
    """So that every room behind begins a new run of odometry: nobody compares the two pieces."""
    mapper = Mapper(Blank(), KeyframeGate(GateSettings(min_interval_s=0.1)), session_id='a')
    frame = Frame(np.zeros((4, 4, 3), np.uint8), 0)
    drive = [(0, 0.0, 0), (1, 1.0, 0), (2, 2.0, 0), (3, 0.1, 1), (4, 1.1, 1), (5, None, None), (6, 2.5, 1), (7, 3.5, 1)]
    made = [mapper.process(replace(frame, stamp_ns=(second + 1) * 10 ** 9, pose=None if x is None else at(x),
                                   odometry_piece=piece)) for second, x, piece in drive]
    assert [None if keyframe.pose is None else keyframe.pose.translation[0] for keyframe in made] == [
        0.0, 1.0, 2.0, None, 1.1, None, 2.5, 3.5]


RAW = {'d': [0.2, -0.1, 0.0, 0.0, 0.0], 'p': np.array([45.0, 0, 32, 0, 0, 45, 24, 0, 0, 0, 1, 0])}


@pytest.mark.fault('camera', 'rectified images with the distortion of raw ones',
                   'taken by the name of the topic, and said')
@pytest.mark.parametrize(('topic', 'rectified', 'info', 'said'), [
    ('/camera/image_rect', False, RAW, True), ('/left/rectified/image/compressed', False, RAW, True),
    ('/camera/image_rect', True, RAW, False), ('/camera/image_rect_raw', False, {}, False),
    ('/camera/image_raw', False, RAW, False), ('/correct/image', False, RAW, False)])
def test_images_of_a_topic_called_rectified_are_so_and_that_is_said(topic, rectified, info, said):
    rig = Rig(topic=topic, rectified=rectified)
    model = rig.frame(camera_info=camera_info(**info)).camera_model
    assert model.distortion.any() == (info is RAW and not (rectified or said))
    assert bool(rig.said) == said
    assert all(topic in problem and 'set rectified' in problem for _, problem in rig.said)
