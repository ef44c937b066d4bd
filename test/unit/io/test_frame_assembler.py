"""One contract for inputs: what belongs to an image is used, what does not costs the metric pose and is said."""
from __future__ import annotations

import resource
import struct
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from segvlad_ros.geometry import StaticTransforms
from segvlad_ros.io import image_codec
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


def mask(frame_id='camera', size=SIZE, covered=slice(0, 0), value=255):
    pixels = np.full((size[1], size[0]), value, np.uint8)
    pixels[:, covered] = 0
    return image(frame_id, 'mono8', pixels)


def png_mask(pixels):
    return SimpleNamespace(header=header(), format='mono8; png compressed',
                           data=cv2.imencode('.png', pixels)[1].tobytes())


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
    ({'depth': image(encoding='rgb8')}, 'depth', 'not a depth image'),
    ({'mask': mask('depth_camera')}, 'mask', "mask not used: its frame_id is 'depth_camera'"),
    ({'mask': mask(size=(64, 30))}, 'mask', 'it has 64 x 30 pixels, the image 64 x 48: a mask has the size'),
    ({'mask': image(encoding='rgb8')}, 'mask', "encoding 'rgb8' is not a mask; publish mono8"),
    ({'mask': png_mask(np.zeros((48, 64, 4), np.uint8))}, 'mask', 'mask not used: it has transparent pixels'),
    ({'camera_info': camera_info('right_camera')}, 'camera_info', "its frame_id is 'right_camera'"),
    ({'camera_info': camera_info(width=128, height=96)}, 'camera_info', 'is of 128 x 96 pixels, the image has 64 x 48'),
    ({'camera_info': camera_info(distortion_model='equidistant', d=[0.1] * 5)}, 'camera_info', 'D has 5 values')])
def test_what_does_not_belong_costs_itself_and_is_said(companions, what, why):
    rig = Rig()
    frame = rig.frame(**companions)
    assert (frame.depth, frame.mask, frame.camera_model) == (None, None, None) and frame.rgb.shape == (48, 64, 3)
    (said, problem), = rig.said
    assert said == what and why in problem and '\n' not in problem


def test_frames_of_other_names_by_option_and_slashes():
    assert Rig(ignore_frame_ids=True).frame(depth=depth('depth_camera')).depth is not None
    assert Rig().frame(depth=depth('/camera')).depth is not None


def test_a_smaller_depth_image_of_the_same_view():
    assert Rig().frame(depth=depth(size=(32, 24))).depth.shape == (24, 32)


@pytest.mark.parametrize('value', [255, 1])
def test_masks_static_and_of_one_image(value):
    """0 covers, anything else is used; of another size they are resized; what either covers is covered."""
    someone = Rig().frame(mask=mask(size=(32, 24), covered=slice(0, 8), value=value)).mask
    assert someone.shape == (48, 64) and someone.dtype == bool
    assert not someone[:, :16].any() and someone[:, 16:].all()
    body = np.ones((96, 128), bool)
    body[80:] = False
    rig = Rig(mask=body)
    assert rig.frame().mask[:40].all() and not rig.frame().mask[40:].any()
    both = rig.frame(mask=mask(covered=slice(0, 16), value=value)).mask
    assert both[:40, 16:].all() and both.sum() == 40 * 48
    assert rig.said == []
    assert Rig().frame().mask is None
    for kind in (np.uint8, np.uint16):
        assert np.array_equal(Rig().frame(mask=png_mask(someone.astype(kind) * kind(value))).mask, someone)


@pytest.mark.fault('camera', 'a static mask that does not fit the images',
                   'the images are refused: a map in which the robot sees itself would be worth nothing')
def test_a_static_mask_of_another_image_is_no_small_matter():
    """A map in which the robot sees itself everywhere would be worth nothing: the image is refused."""
    rig = Rig(mask=np.ones((48, 48), bool))
    with pytest.raises(SegvladError, match='mask has 48 x 48 pixels, the image 64 x 48'):
        rig.frame()


def test_a_picture_that_comes_alone():
    """With a frame it is one of this camera; without, of anywhere."""
    rig = Rig(('base_link', 'camera', 0.2), mask=np.eye(48, 64) == 0)
    own, other = rig.assembler.picture(image(seconds=0)), rig.assembler.picture(image(''))
    assert own.base_from_camera.translation[0] == 0.2 and not own.mask[3, 3]
    assert (other.base_from_camera, other.mask) == (None, None)


@pytest.mark.fault('camera', 'a camera_info of a fisheye with all coefficients zero', 'taken as it says, and said once')
def test_an_ideal_fisheye_lens_is_said_once_it_is_taken_for_one():
    rig = Rig()
    lens = {'distortion_model': 'equidistant', 'd': [0.0] * 4}
    assert rig.frame(camera_info=camera_info(**lens)).camera_model.distortion_model == 'equidistant'
    (what, problem), = rig.said
    assert what == 'lens' and 'set rectified' in problem
    assert Rig(rectified=True).frame(camera_info=camera_info(**lens)).camera_model.straight


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


def jpeg(width, height, size=700):
    """A grey JPEG of few bytes whose header claims a size."""
    data = image_codec.encode_jpeg(np.full((48, 64, 3), 90, np.uint8))
    at = data.index(b'\xff\xc0') + 5
    data = data[:at] + struct.pack('>HH', height, width) + data[at + 4:]
    return SimpleNamespace(header=header(), format='rgb8; jpeg compressed bgr8', data=data)


@pytest.mark.fault('image', 'images of more pixels than `max_megapixels`, or than their bytes can hold',
                   'refused before they are decoded')
@pytest.mark.parametrize(('message', 'companions', 'settings', 'why'), [
    (jpeg(9999, 9999), {}, {'max_megapixels': 25.0}, '9999 x 9999 pixels refused: max_megapixels is 25'),
    (jpeg(9999, 9999), {'camera_info': camera_info()}, {'max_megapixels': 25.0}, 'max_megapixels is 25'),
    (jpeg(9999, 9999), {}, {}, 'it claims 9999 x 9999 pixels, which take more'),
    (jpeg(1280, 960), {'camera_info': camera_info()}, {}, 'it claims 1280 x 960 pixels, which take more'),
    (image(pixels=np.zeros((300, 400, 3), np.uint8)), {}, {'max_megapixels': 0.1}, '400 x 300 pixels refused')])
def test_images_that_no_camera_takes_are_refused_before_they_are_decoded(message, companions, settings, why):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SegvladError) as refused:
        Rig(**settings).frame(message, **companions)
    assert why in str(refused.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@pytest.mark.parametrize('changes', [{}, {'k': [0.0] * 9}, {'width': 1, 'height': 1}, {'width': 0, 'height': 0}])
def test_a_camera_info_of_far_fewer_pixels_costs_itself(changes):
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    packed = SimpleNamespace(header=header(), format='jpeg', data=image_codec.encode_jpeg(pixels))
    for message in (image(pixels=pixels), packed):
        rig = Rig()
        frame = rig.frame(message, camera_info=camera_info(**changes))
        assert frame.rgb.shape == (480, 640, 3) and frame.camera_model is None
        assert [what for what, _ in rig.said] == ([] if 'k' in changes else ['camera_info'])


@pytest.mark.fault('camera', 'a depth image that claims more pixels than it may', 'left out; the image is used')
def test_a_depth_image_that_claims_too_much_is_not_decoded():
    rig, png = Rig(), cv2.imencode('.png', np.ones((6000, 6000), np.uint16))[1].tobytes()
    message = SimpleNamespace(header=header(), format='16UC1; compressedDepth png', data=bytes(12) + png)
    assert rig.frame(depth=message).depth is None
    (what, problem), = rig.said
    assert what == 'depth' and '6000 x 6000 pixels refused: the image has 64 x 48' in problem


@pytest.mark.parametrize('kind', ['16UC1; compressedDepth png', '32FC1; compressedDepth png', '16UC1; png compressed '])
def test_depth_as_image_transport_packs_it(kind):
    metres = np.full((48, 64), 2.0, np.float32)
    metres[0, 0] = np.nan
    header_of, values = b'', image_codec.encode_depth(metres)
    if 'compressedDepth' in kind:
        header_of = struct.pack('<iff', 0, 10100.0, 1 - 10100.0 / 10)
    if kind.startswith('32FC1'):
        values = np.nan_to_num(10100.0 / metres + 1 - 10100.0 / 10).astype(np.uint16)
    packed = header_of + cv2.imencode('.png', values)[1].tobytes()
    rig = Rig()
    frame = rig.frame(depth=SimpleNamespace(header=header(), format=kind, data=packed))
    np.testing.assert_allclose(frame.depth, metres, rtol=1e-3)
    assert rig.said == []


OTHER = [40.0, 0, 30, 0, 40, 22, 0, 0, 1]


@pytest.mark.parametrize(('changes', 'pixels', 'wanted', 'said'), [
    ({'k': OTHER}, None, (40, 30), ''),
    ({'k': [0.0] * 9}, None, None, 'not calibrated'),
    ({'k': [50.0, 0, np.nan, 0, 50, 24, 0, 0, 1]}, None, None, 'K is not finite'),
    ({'d': [np.inf, 0.0, 0, 0, 0]}, None, None, 'D is not finite'),
    ({'d': [0.1] * 5, 'distortion_model': 'omnidirectional'}, None, None, "distortion_model is 'omnidirectional'"),
    ({'d': [0.1] * 8, 'distortion_model': 'rational_polynomial'}, None, (50, 32), ''),
    ({'width': 640, 'height': 480}, None, None, 'is of 640 x 480 pixels, the image has 64 x 48'),
    ({'width': 0, 'height': 0}, None, None, 'width and height are 0 x 0'),
    ({'width': 32, 'height': 24, 'k': [25.0, 0, 16, 0, 25, 12, 0, 0, 1]}, (24, 32), (25, 16), ''),
    ({}, (24, 32), None, 'is of 64 x 48 pixels, the image has 32 x 24'),
    ({'binning_x': 2, 'binning_y': 2}, (24, 32), (25, 16), ''),
    ({'binning_x': 2**32 - 1, 'binning_y': 2**32 - 1}, None, None, 'width and height are 0 x 0'),
    ({'roi': SimpleNamespace(x_offset=20, y_offset=10, width=32, height=24)}, (24, 32), (50, 12), ''),
    ({'roi': SimpleNamespace(x_offset=40, y_offset=30, width=32, height=24)}, (24, 32), None, 'leaves the whole')])
def test_whatever_camera_info_says_in_the_middle_of_a_run(changes, pixels, wanted, said):
    """It is taken if it fits the image, and else nothing is measured and it is said: never what it said before."""
    rig = Rig()
    assert rig.frame(camera_info=camera_info()).camera_model.matrix[0, 0] == 50
    changed = image(pixels=None if pixels is None else np.zeros((*pixels, 3), np.uint8))
    model = rig.frame(changed, camera_info=camera_info(**changes)).camera_model
    assert (None if model is None else (model.matrix[0, 0], model.matrix[0, 2])) == wanted
    assert len(rig.said) == bool(said)
    assert all(what == 'camera_info' and said in problem for what, problem in rig.said)
    again = rig.frame(camera_info=camera_info()).camera_model
    assert (again.matrix[0, 0], again.matrix[0, 2]) == (50, 32)


def test_a_camera_that_never_was_calibrated_is_no_news():
    rig = Rig()
    assert rig.frame(camera_info=camera_info(k=[0.0] * 9)).camera_model is None
    assert rig.said == []
