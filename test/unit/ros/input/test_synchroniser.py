"""Images meet their companions by stamp, and never wait longer than they were told."""
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image

from segvlad_ros.io.stamps import stamp_ns
from segvlad_ros.ros.input.stamp_cache import BuiltinCache, MessageFiltersCache
from segvlad_ros.ros.input.synchroniser import Synchroniser
from segvlad_ros.ros.output.conversions import to_time
from segvlad_ros.types import Pose

SECOND = 10**9


def at(kind, seconds):
    message = kind()
    message.header.stamp = to_time(round(seconds * SECOND))
    return message


def pose(x):
    return Pose(np.array([x, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), 'odom')


@pytest.fixture(params=[BuiltinCache, MessageFiltersCache])
def cache(request):
    if request.param is MessageFiltersCache:
        pytest.importorskip('message_filters', reason='part of a ROS installation, not of the wheels')
    return request.param


class Rig:
    """A synchroniser with a clock in hand."""

    def __init__(self, cache, expected):
        self.now, self.out, self.wakes = 100.0, [], []
        self.expected = set(expected)
        self.sync = Synchroniser(self.out.append, expected=lambda name: name in self.expected,
                                 now_s=lambda: self.now, schedule=self.wakes.append, timeout_s=0.2,
                                 tolerance_s=0.02, odom_max_gap_s=0.5, cache=cache)

    def image(self, seconds):
        self.sync.add_image(at(Image, seconds))

    def stamps(self):
        return [stamp_ns(bundle.image) / SECOND for bundle in self.out]


@pytest.fixture
def rig(cache):
    def make(*expected):
        return Rig(cache, expected)
    return make


def test_an_image_alone_does_not_wait(rig):
    alone = rig()
    alone.image(1.0)
    bundle, = alone.out
    assert (bundle.depth, bundle.camera_info, bundle.odometry, bundle.missing) == (None, None, None, ())
    assert alone.wakes == []


def test_a_mask_is_joined_as_depth_is(rig):
    masked = rig('mask')
    masked.sync.add_mask(at(Image, 0.9))
    masked.image(1.0)
    assert masked.out == []
    masked.sync.add_mask(at(Image, 1.015))
    masked.image(2.0)
    masked.now += 0.3
    masked.sync.advance()
    first, second = masked.out
    assert (stamp_ns(first.mask), first.depth, first.missing) == (round(1.015 * SECOND), None, ())
    assert (second.mask, second.missing) == (None, ('mask',))


def test_everything_is_joined_by_stamp(rig):
    full = rig('depth', 'camera_info', 'odom')
    full.sync.add_camera_info(at(CameraInfo, 0.5))
    full.sync.add_pose(round(0.9 * SECOND), pose(0.9))
    full.image(1.0)
    assert full.out == []
    full.sync.add_depth(at(Image, 0.9))
    full.sync.add_depth(at(Image, 1.01))
    assert full.out == []
    full.sync.add_pose(round(1.1 * SECOND), pose(1.1))
    bundle, = full.out
    assert bundle.odometry.pose.translation[0] == pytest.approx(1.0)
    assert stamp_ns(bundle.depth) == round(1.01 * SECOND)
    assert stamp_ns(bundle.camera_info) == SECOND // 2
    assert bundle.missing == ()


def test_the_wait_ends_with_what_is_there(rig):
    late = rig('depth', 'odom')
    late.image(1.0)
    assert late.wakes == [pytest.approx(0.2)]
    late.now += 0.19
    late.sync.advance()
    assert late.out == []
    late.now += 0.02
    late.sync.advance()
    bundle, = late.out
    assert bundle.missing == ('depth', 'odom')


@pytest.mark.fault('camera', 'depth of another moment', 'not joined to the image')
def test_depth_outside_the_tolerance_is_not_taken(rig):
    late = rig('depth')
    late.sync.add_depth(at(Image, 1.05))
    late.image(1.0)
    late.now += 1.0
    late.sync.advance()
    assert late.out[0].depth is None
    assert late.out[0].missing == ('depth',)


def test_images_keep_their_order_of_arrival(rig):
    two = rig('depth')
    two.image(1.0)
    two.image(1.1)
    two.sync.add_depth(at(Image, 1.1))
    assert two.out == []
    two.now += 0.3
    two.sync.advance()
    assert two.stamps() == [1.0, 1.1]
    assert [bundle.missing for bundle in two.out] == [('depth',), ()]


def test_a_zero_stamp_is_handed_on_at_once(rig):
    zero = rig('depth', 'odom')
    zero.image(0.0)
    assert zero.stamps() == [0.0]


@pytest.mark.fault('clock', 'odometry jumps back before the images do',
                   'nothing of the other time is joined to an image')
def test_a_backwards_jump_forgets_the_other_time(rig):
    jump = rig('odom', 'depth')
    jump.sync.add_pose(100 * SECOND, pose(5.0))
    jump.sync.add_depth(at(Image, 100.0))
    jump.image(100.0)
    assert jump.out[-1].odometry.pose.translation[0] == 5.0
    jump.sync.add_pose(10 * SECOND, pose(1.0))  # odometry may jump before the images do
    jump.image(10.0)
    jump.sync.add_depth(at(Image, 10.0))
    assert jump.out[-1].odometry.pose.translation[0] == 1.0
    assert stamp_ns(jump.out[-1].depth) == 10 * SECOND


@pytest.mark.fault('odometry', 'a gap in the odometry', 'no pose is made up between its ends')
def test_a_gap_in_the_odometry_is_not_interpolated(rig):
    gap = rig('odom')
    gap.sync.add_pose(1 * SECOND, pose(0.0))
    gap.sync.add_pose(3 * SECOND, pose(2.0))
    gap.image(2.0)
    assert gap.out[0].odometry is None
    assert gap.out[0].missing == ('odom',)


def test_both_caches_answer_alike(cache):
    messages, kept = [at(Image, seconds) for seconds in (1.0, 1.1, 1.2, 1.3)], cache(3)
    assert kept.nearest(SECOND) is None
    for message in messages:
        kept.add(message)
    for seconds, wanted in ((0.0, 1.1), (1.14, 1.1), (1.16, 1.2), (1.2, 1.2), (9.0, 1.3)):
        assert stamp_ns(kept.nearest(round(seconds * SECOND))) == round(wanted * SECOND)


@pytest.mark.fault('camera', 'a lens that zooms, a camera_info that stops',
                   'each image has its own; when they stop, nothing waits for them')
def test_a_camera_info_that_comes_with_every_image_is_waited_for(rig):
    """After a change of the lens the intrinsics of the image count, and not those of the one before."""
    zoom = rig('camera_info')
    for seconds in (1.0, 2.0):
        zoom.sync.add_camera_info(at(CameraInfo, seconds))
        zoom.image(seconds)
    zoom.image(3.0)
    assert len(zoom.out) == 2
    zoom.sync.add_camera_info(at(CameraInfo, 3.0))
    assert stamp_ns(zoom.out[2].camera_info) == 3 * SECOND
    zoom.image(4.0)
    zoom.now += 0.3
    zoom.sync.advance()
    zoom.image(5.0)  # it comes no more: nothing waits for it again
    assert [stamp_ns(bundle.camera_info) // SECOND for bundle in zoom.out] == [1, 2, 3, 3, 3]


@pytest.mark.fault('clock', 'camera and odometry of two clocks', 'what is missing says so, and by how much it is ahead')
def test_two_clocks_are_named(rig):
    two = rig('depth', 'odom')
    two.sync.add_pose(1_700_000_000 * SECOND, pose(0.0))
    two.sync.add_depth(at(Image, 1_700_000_000))
    two.image(40.0)
    two.now += 0.3
    two.sync.advance()
    assert all('ahead of the images' in missing and 'two clocks' in missing for missing in two.out[0].missing)
    assert [missing.split()[0] for missing in two.out[0].missing] == ['depth', 'odom']


def info(seconds, focal):
    message = at(CameraInfo, seconds)
    message.k = [focal, 0.0, 32.0, 0.0, focal, 24.0, 0.0, 0.0, 1.0]
    return message


@pytest.mark.fault('camera', 'a lens that moves between two camera_info', 'known only where it has stood still')
def test_a_lens_that_moves_is_known_only_where_it_has_stood_still(rig):
    """camera_info once a second: nobody knows by which of two that differ an image was taken between them."""
    zoom = rig('camera_info')
    for seconds, focal in ((1.0, 50.0), (2.0, 50.0), (3.0, 80.0), (4.0, 80.0)):
        zoom.sync.add_camera_info(info(seconds, focal))
    for seconds in (1.5, 2.2, 2.8, 3.0, 3.5, 4.5):
        zoom.image(seconds)
    assert [bundle.camera_info and bundle.camera_info.k[0] for bundle in zoom.out] == [50, None, None, 80, 80, 80]
    assert [bundle.missing for bundle in zoom.out][1:4] == [
        ('camera_info (which changes just there)',), ('camera_info (which changes just there)',), ()]
