"""Types to messages and back, through the wire format, and messages that cannot be trusted."""
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from map_samples import make_keyframe
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message, serialize_message

from segvlad_ros.msg import LoopClosure, PlaceDescriptor, PlaceMatch, PlaceMatchArray, SegVladStatus
from segvlad_ros.ros.output import answer_messages, conversions, keyframe_messages, status
from segvlad_ros.ros.output.node_statistics import MapFacts, Statistics
from segvlad_ros.types import (
    CameraModel,
    Candidate,
    Keyframe,
    KeyframeId,
    Keypoints,
    OptimizedPose,
    PlaceDescription,
    Pose,
    Recognition,
    SegmentMatch,
    SegvladError,
    Status,
    Verification,
)

IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def full_keyframe(segments=4):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(segments, 8)).astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    place = PlaceDescription(
        rows, rng.integers(1, 99, (segments, 4)).astype(np.int32), rng.integers(1, 999, segments).astype(np.int64),
        keypoints=Keypoints(rng.random((3, 2), np.float32), rng.integers(0, 256, (3, 32)).astype(np.uint8),
                            np.array([1.5, np.nan, 2.5], np.float32)))
    return Keyframe(
        KeyframeId(2, 'a-session', 7, 12_345_678_901, 'front'), place, 'camera_optical',
        Pose(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.6, 0.0, 0.8]), 'odom', np.eye(6) * 0.01),
        CameraModel(640, 480, np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), np.array([0.1, 0, 0, 0, 0])),
        Pose(np.array([0.1, 0.0, 0.5]), np.array([-0.5, 0.5, -0.5, 0.5]), 'base_link'), b'a jpeg',
        OptimizedPose(Pose(np.array([5.0, 6.0, 7.0]), np.array([0.0, 0.0, 0.6, 0.8]), 'map', np.eye(6) * 0.1)))


def test_a_full_keyframe_survives_the_wire():
    keyframe = full_keyframe()
    message = over_the_wire(keyframe_messages.to_place_descriptor(keyframe, 'digest'))
    back = keyframe_messages.from_place_descriptor(message)
    assert message.model_fingerprint == 'digest'
    assert (back.id, back.frame_id, back.thumbnail) == (keyframe.id, keyframe.frame_id, keyframe.thumbnail)
    np.testing.assert_allclose(back.description.descriptors, keyframe.description.descriptors, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(back.description.descriptors, axis=1), 1, atol=1e-6)
    for name in ('boxes', 'pixels'):
        np.testing.assert_array_equal(getattr(back.description, name), getattr(keyframe.description, name))
    for name in ('positions', 'descriptors', 'depths'):
        np.testing.assert_array_equal(getattr(back.description.keypoints, name),
                                      getattr(keyframe.description.keypoints, name))
    for name in ('pose', 'base_from_camera'):
        got, wanted = getattr(back, name), getattr(keyframe, name)
        np.testing.assert_allclose(got.translation, wanted.translation)
        np.testing.assert_allclose(got.quaternion, wanted.quaternion)
        assert got.frame == wanted.frame
    moved, wanted = back.optimized.map_from_base, keyframe.optimized.map_from_base
    np.testing.assert_allclose(moved.translation, wanted.translation)
    assert moved.frame == 'map'
    np.testing.assert_allclose(back.pose.covariance, keyframe.pose.covariance)
    np.testing.assert_allclose(back.camera_model.matrix, keyframe.camera_model.matrix)
    np.testing.assert_allclose(back.camera_model.distortion, keyframe.camera_model.distortion)


def test_what_is_unknown_stays_unknown():
    keyframe = Keyframe(KeyframeId(0, 's', 1, 5), PlaceDescription(
        np.zeros((0, 8), np.float32), np.zeros((0, 4), np.int32), np.zeros(0, np.int64), rejected='dark'))
    message = over_the_wire(keyframe_messages.to_place_descriptor(keyframe, ''))
    assert (message.segment_count, message.pose_frame, message.base_from_camera.child_frame_id) == (0, '', '')
    assert (message.camera_info.width, message.thumbnail.format) == (0, '')
    back = keyframe_messages.from_place_descriptor(message)
    assert back.description.rejected
    assert back.description.descriptors.shape == (0, 8)
    assert (back.pose, back.camera_model, back.base_from_camera, back.description.keypoints, back.thumbnail) == (
        None, None, None, None, b'')


def test_float32_descriptors_are_read():
    keyframe = full_keyframe()
    message = keyframe_messages.to_place_descriptor(keyframe, '')
    message.encoding = PlaceDescriptor.FLOAT32
    message.descriptors = list(keyframe.description.descriptors.astype('<f4').tobytes())
    back = keyframe_messages.from_place_descriptor(over_the_wire(message))
    np.testing.assert_allclose(back.description.descriptors, keyframe.description.descriptors, atol=1e-6)


def _set(**values):
    def change(message):
        for name, value in values.items():
            setattr(message, name, value)
    return change


def _poison(message):
    data = np.frombuffer(message.descriptors, '<f2').copy()
    data[3] = np.nan
    message.descriptors = list(data.tobytes())


def _bad_quaternion(message):
    message.pose.pose.orientation.w = message.pose.pose.orientation.y = 0.0


def _huge_box(message):
    message.segments[0].width = 2 ** 32 - 1  # does not fit into 32 bits with a sign


@pytest.mark.fault('topic', 'a keyframe whose sizes and numbers do not fit together', 'refused before it is used')
@pytest.mark.parametrize('change', [
    _set(dimension=4000), _set(segment_count=65535), _set(encoding=9), _set(segments=[]), _set(segment_pixels=[1]),
    _set(keypoints=[1.0, 2.0, 3.0]), _set(keypoint_depths=[1.0]), _set(keypoint_descriptors=[1] * 10), _poison,
    _set(descriptors=[0] * 64), _bad_quaternion, _huge_box])
def test_descriptors_that_do_not_fit_together_are_refused(change):
    message = keyframe_messages.to_place_descriptor(full_keyframe(), '')
    change(message)
    with pytest.raises(SegvladError):
        keyframe_messages.from_place_descriptor(over_the_wire(message))


def recognition():
    best = Candidate(3, KeyframeId(0, 'old', 4, 2 * 10**9), 0.8, 0.4, 30, supporting_queries=3,
                     verification=Verification.TEMPORAL, evidence=(SegmentMatch(1, 2, 0.9),))
    metric = Candidate(5, KeyframeId(0, 'old', 6, 3 * 10**9), 0.3, 1.1, 9, 0.25, verification=Verification.GEOMETRIC,
                       inliers=50, scale_source='depth',
                       query_pose_in_match=Pose(np.array([1.0, 0, 0]), IDENTITY, covariance=np.eye(6)))
    return Recognition(Status.MATCHED, 'a reason', (best, metric), 8)


def test_an_answer_says_everything():
    query, found = full_keyframe(), recognition()
    boxes = replace(query.description, boxes=np.arange(12).reshape(3, 4))
    moved = Pose(np.array([9.0, 8, 7]), IDENTITY, 'map')
    entries = [Keyframe(found.candidates[0].id, boxes),
               Keyframe(found.candidates[1].id, boxes, pose=Pose(np.zeros(3), IDENTITY, 'odom'),
                        optimized=OptimizedPose(moved))]
    matches = [answer_messages.to_place_match(query, candidate, rank, entry, evidence=True)
               for rank, (candidate, entry) in enumerate(zip(found.candidates, entries))]
    message = over_the_wire(answer_messages.to_place_match_array(
        query, found, matches, base_frame='base_link', map_id='m', now_ns=query.id.stamp_ns + 1_500_000_000))
    assert (message.status, message.reason, message.map_id, message.map_keyframes) == (
        PlaceMatchArray.MATCHED, 'a reason', 'm', 8)
    assert (message.latency.sec, message.latency.nanosec) == (1, 500_000_000)
    assert message.query.index == 7
    best, metric = message.matches
    assert (best.rank, best.match.index, best.verification, best.query_segments) == (0, 4, 1, 4)
    assert np.isnan(best.probability)
    assert (best.match_pose.header.frame_id, best.has_relative_pose, best.scale_source) == ('', False, '')
    assert (best.match_pose_in, metric.match_pose_in) == (best.IN_NONE, metric.IN_MAP)
    pair, = best.evidence
    assert (pair.query_segment, pair.match_segment, pair.match_roi.x_offset) == (1, 2, 8)
    assert metric.match_pose.header.frame_id == 'map'
    assert metric.match_pose.header.stamp.sec == 3
    assert metric.match_pose.pose.position.x == 9.0
    assert (metric.has_relative_pose, metric.scale_source, metric.inliers) == (True, 'depth', 50)
    assert metric.query_pose_in_match.pose.position.x == 1.0
    assert metric.query_pose_in_match.covariance[0] == 1.0


def test_a_match_says_in_whose_frame_its_pose_is():
    """What another session measured must not look like today's odometry, though both call it odom."""
    query, candidate = full_keyframe(), recognition().candidates[1]
    boxes = replace(query.description, boxes=np.arange(12).reshape(3, 4))
    measured = Keyframe(candidate.id, boxes, pose=Pose(np.ones(3), IDENTITY, 'odom'))

    def told(match):
        message = over_the_wire(answer_messages.to_place_match(query, candidate, 0, match, evidence=False))
        return message.match_pose_in, message.match_pose.header.frame_id
    own = replace(candidate.id, robot_id=query.id.robot_id, session_id=query.id.session_id)
    assert told(replace(measured, id=own)) == (PlaceMatch.IN_ODOMETRY, 'odom')
    assert told(measured) == (PlaceMatch.IN_OTHER_SESSION, 'odom/old')
    assert told(replace(measured, id=replace(own, robot_id=9))) == (
        PlaceMatch.IN_OTHER_SESSION, f'odom/{own.session_id}')
    assert told(replace(measured, pose=Pose(np.ones(3), IDENTITY, 'map'))) == (PlaceMatch.IN_OTHER_SESSION, 'map')
    assert told(replace(measured, optimized=OptimizedPose(Pose(np.ones(3), IDENTITY, 'map')))) == (
        PlaceMatch.IN_MAP, 'map')
    assert told(replace(measured, pose=None)) == (PlaceMatch.IN_NONE, '')


def test_a_loop_closure_has_its_direction():
    query, candidate = full_keyframe(), recognition().candidates[1]
    message = over_the_wire(answer_messages.to_loop_closure(query, candidate, 'base_link'))
    assert isinstance(message, LoopClosure)
    assert (message.match.index, message.query.index) == (6, 7)
    assert message.query_pose_in_match.pose.position.x == 1.0


@pytest.mark.parametrize('stamp', [10**9, 1_800_000_000 * 10**9])
def test_latencies_of_old_bags_fit_the_message(stamp):
    query = Keyframe(KeyframeId(0, 's', 1, stamp), full_keyframe().description)
    message = answer_messages.to_place_match_array(query, Recognition(Status.MAP_EMPTY, ''), [], base_frame='',
                                               map_id='', now_ns=4_000_000_000 * 10**9)
    assert over_the_wire(message).latency.sec > 0


@pytest.mark.parametrize('stamp', [0, 1, 10**9 - 1, 10**9, 1_795_474_904_062_584_346])
def test_stamps_keep_their_nanoseconds(stamp):
    assert conversions.from_time(conversions.to_time(stamp)) == stamp


def test_a_negative_duration_is_a_duration():
    message = conversions.to_duration(-1)
    assert (message.sec, message.nanosec) == (-1, 999_999_999)


def test_a_status_names_its_stages():
    statistics = Statistics()
    statistics.count(images_received=3, images_rejected=1)
    statistics.handled(statistics.arrived(), {'segments': 0.1, 'store': 0.2})
    message = over_the_wire(status.to_status(
        statistics.snapshot(), MapFacts('m', keyframes=1, segments=2, bytes=3), state=SegVladStatus.MAPPING,
        model_fingerprint='f', device='cpu'))
    assert (message.images_received, message.images_rejected, message.keyframes_processed) == (3, 1, 1)
    assert list(message.stages) == ['segments', 'store']
    np.testing.assert_allclose(message.stage_p50_seconds, [0.1, 0.2], rtol=1e-6)


def test_a_status_tells_what_the_map_costs_and_gave_up():
    statistics = Statistics()
    statistics.count(keyframes_explained=4, keyframes_refused=1, keyframes_evicted=2)
    gone = make_keyframe(7).id
    message = over_the_wire(status.to_status(
        statistics.snapshot(), MapFacts('m', 1, 2, 3, bytes_per_keyframe=4096, bytes_per_hour=-1.5, evicted=(gone,)),
        state=SegVladStatus.MAPPING, model_fingerprint='f', device='cpu'))
    assert (message.keyframes_explained, message.keyframes_refused, message.keyframes_evicted) == (4, 1, 2)
    assert (message.bytes_per_keyframe, message.map_bytes_per_hour) == (4096, -1.5)
    assert [conversions.from_keyframe_id(identity) for identity in message.evicted] == [gone]


def two_gpus(is_used):
    """PyTorch, as far as it knows the memory of GPUs."""
    return SimpleNamespace(cuda=SimpleNamespace(
        is_initialized=lambda: is_used, device_count=lambda: 2, memory_reserved=[3 * 10**9, 5].__getitem__))


@pytest.mark.parametrize(('torch', 'reserved'), [
    (two_gpus(True), 3_000_000_005), (two_gpus(False), 0), (SimpleNamespace(), 0), (None, 0)],
    ids=['used', 'not used', 'being imported', 'not installed'])
def test_a_status_tells_the_gpu_memory_of_pytorch(monkeypatch, torch, reserved):
    monkeypatch.setitem(sys.modules, 'torch', torch)
    message = over_the_wire(status.to_status(Statistics().snapshot(), MapFacts(), device='cuda'))
    assert message.gpu_bytes == reserved


def test_a_status_does_not_import_pytorch(monkeypatch):
    monkeypatch.delitem(sys.modules, 'torch', raising=False)
    assert status.to_status(Statistics().snapshot(), MapFacts()).gpu_bytes == 0
    assert 'torch' not in sys.modules


def test_what_a_map_lost_and_passed_over_crosses_the_wire():
    lost = [make_keyframe(index).id for index in (3, 9)]
    message = over_the_wire(keyframe_messages.to_removed_keyframes(lost, 'office', 5))
    assert (message.map_id, conversions.from_time(message.stamp)) == ('office', 5)
    assert [conversions.from_keyframe_id(identity) for identity in message.keyframes] == lost
    assert over_the_wire(keyframe_messages.to_place_descriptor(make_keyframe(1), 'f', passed_over=True)).passed_over
    assert not keyframe_messages.to_place_descriptor(make_keyframe(1), 'f').passed_over


@pytest.mark.parametrize(('change', 'says'), [
    ({'x': np.nan}, 'not finite'), ({'y': -np.inf}, 'not finite'), ({'z': 1e300}, '1e+300 m from the origin'),
    ({'w': 0.0}, 'not a rotation'), ({'w': np.nan}, 'not a rotation')])
def test_odometry_of_numbers_that_are_none_is_refused(change, says):
    message = Odometry()
    message.pose.pose.orientation.w = 1.0
    for name, value in change.items():
        setattr(message.pose.pose.orientation if name == 'w' else message.pose.pose.position, name, value)
    with pytest.raises(SegvladError) as refused:
        conversions.from_odometry(message)
    assert says in str(refused.value)


def test_a_covariance_of_odometry_that_is_none_is_unknown():
    message = Odometry()
    message.pose.pose.orientation.w = 2.0
    message.pose.covariance[0] = np.nan
    pose = conversions.from_odometry(message)
    assert pose.covariance is None
    assert (pose.quaternion[3], pose.frame) == (1.0, 'odom')
