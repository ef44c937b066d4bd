"""Our messages to types and back: the only place that touches the fields of the package's own interfaces."""
from __future__ import annotations

import array
import logging
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import PoseStamped, PoseWithCovariance, TransformStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, RegionOfInterest
from std_msgs.msg import Header

from segvlad_ros import msg as interfaces
from segvlad_ros.geometry import is_finite, unit_quaternion
from segvlad_ros.io.camera_info import camera_model
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
)

if TYPE_CHECKING:
    from segvlad_ros.ros.output.node_statistics import MapFacts, Snapshot

logger = logging.getLogger(__name__)

FARTHEST_M = 1e8  # from the origin of any frame on Earth, its centre too


def to_time(stamp_ns: int) -> Time:
    """Nanoseconds as a stamp."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def from_time(stamp: Time) -> int:
    """A stamp as nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def to_duration(nanoseconds: int) -> Duration:
    """Nanoseconds as a duration, negative ones too."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    # a duration holds 32 bits of seconds; a bag played without its clock is decades old
    return Duration(sec=max(-(2**31), min(2**31 - 1, seconds)), nanosec=rest)


def to_keyframe_id(identity: KeyframeId) -> interfaces.KeyframeId:
    """A keyframe's identity as a message."""
    return interfaces.KeyframeId(robot_id=identity.robot_id, session_id=identity.session_id, index=identity.index,
                                 stamp=to_time(identity.stamp_ns), camera=identity.camera)


def from_keyframe_id(message: interfaces.KeyframeId) -> KeyframeId:
    """A keyframe's identity from a message."""
    return KeyframeId(message.robot_id, message.session_id, message.index, from_time(message.stamp), message.camera)


def fill_pose(target: Any, pose: Pose) -> None:
    """Write a pose into a geometry_msgs/Pose."""
    target.position.x, target.position.y, target.position.z = map(float, pose.translation)
    (target.orientation.x, target.orientation.y, target.orientation.z,
     target.orientation.w) = map(float, pose.quaternion)


def fill_transform(target: Any, pose: Pose) -> None:
    """Write a pose into a geometry_msgs/Transform."""
    move, rotation = target.translation, target.rotation
    move.x, move.y, move.z = map(float, pose.translation)
    rotation.x, rotation.y, rotation.z, rotation.w = map(float, pose.quaternion)


def from_pose(message: Any, frame: str, covariance: Any | None = None) -> Pose:
    """A geometry_msgs/Pose with the name of its frame.

    :param covariance: 36 numbers; None or all zero: unknown
    :raises SegvladError: numbers that are no pose
    """
    matrix = None if covariance is None else np.array(covariance, np.float64).reshape(6, 6)
    if matrix is not None and not matrix.any():
        matrix = None
    return _pose(message.position, message.orientation, frame, matrix)


def _pose(position: Any, rotation: Any, frame: str, covariance: np.ndarray | None = None) -> Pose:
    pose = Pose(np.array([position.x, position.y, position.z], np.float64),
                unit_quaternion(np.array([rotation.x, rotation.y, rotation.z, rotation.w])), frame, covariance)
    if not is_finite(pose):
        raise SegvladError('a pose with numbers that are not finite')
    return pose


def to_pose_with_covariance(pose: Pose) -> PoseWithCovariance:
    """A pose with its covariance; all zero: unknown."""
    message = PoseWithCovariance()
    fill_pose(message.pose, pose)
    if pose.covariance is not None:
        message.covariance = np.asarray(pose.covariance, np.float64).ravel()
    return message


def from_odometry(message: Any) -> Pose:
    """The base pose of a nav_msgs/Odometry; a covariance that is none is unknown.

    :raises SegvladError: numbers that are no pose of a robot
    """
    known = np.isfinite(message.pose.covariance).all()
    pose = from_pose(message.pose.pose, message.header.frame_id or 'odom', message.pose.covariance if known else None)
    if abs(pose.translation).max() > FARTHEST_M:
        raise SegvladError(f'a position {abs(pose.translation).max():.3g} m from the origin')
    return pose


def to_camera_info(model: CameraModel, header: Header) -> CameraInfo:
    """A camera model as a message; P is K, as of a camera without rectification."""
    return CameraInfo(header=header, width=model.width, height=model.height, d=model.distortion.tolist(),
                      distortion_model=model.distortion_model, k=model.matrix.ravel(), r=np.eye(3).ravel(),
                      p=np.hstack([model.matrix, np.zeros((3, 1))]).ravel())


def from_transform(message: TransformStamped) -> Pose:
    """``header.frame_id`` from ``child_frame_id``.

    :raises SegvladError: numbers that are no pose
    """
    return _pose(message.transform.translation, message.transform.rotation, message.header.frame_id)


def to_transform(pose: Pose, child: str, stamp: Time) -> TransformStamped:
    """A pose as a transform from its frame to ``child``."""
    message = TransformStamped(header=Header(stamp=stamp, frame_id=pose.frame), child_frame_id=child)
    fill_transform(message.transform, pose)
    return message


def _roi(box: np.ndarray) -> RegionOfInterest:
    x, y, width, height = (max(0, int(value)) for value in box)
    return RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height)


def _bytes(values: np.ndarray) -> array.array:
    return array.array('B', np.ascontiguousarray(values).tobytes())


def to_removed_keyframes(ids: Iterable[KeyframeId], map_id: str, now_ns: int) -> interfaces.RemovedKeyframes:
    """What a map holds no longer."""
    return interfaces.RemovedKeyframes(stamp=to_time(now_ns), map_id=map_id,
                                       keyframes=[to_keyframe_id(identity) for identity in ids])


def to_place_descriptor(keyframe: Keyframe, fingerprint: str, passed_over: bool = False) -> interfaces.PlaceDescriptor:
    """A keyframe as a message, descriptors as float16.

    :param fingerprint: digest of the preset that described it
    :param passed_over: the map does not hold it
    """
    place, stamp = keyframe.description, to_time(keyframe.id.stamp_ns)
    header = Header(stamp=stamp, frame_id=keyframe.frame_id)
    message = interfaces.PlaceDescriptor(
        header=header, keyframe=to_keyframe_id(keyframe.id), model_fingerprint=fingerprint,
        segment_count=len(place), dimension=place.descriptors.shape[1],
        encoding=interfaces.PlaceDescriptor.FLOAT16, passed_over=passed_over)
    message.descriptors = _bytes(place.descriptors.astype('<f2'))
    message.segments = [_roi(box) for box in place.boxes]
    message.segment_pixels = array.array('I', place.pixels.astype(np.uint32).tolist())
    if place.keypoints is not None:
        points = place.keypoints
        message.keypoints = array.array('f', points.positions.astype(np.float32).ravel().tolist())
        message.keypoint_depths = array.array('f', points.depths.astype(np.float32).tolist())
        message.keypoint_descriptors = _bytes(points.descriptors)
    if keyframe.camera_model is not None:
        message.camera_info = to_camera_info(keyframe.camera_model, header)
    if keyframe.base_from_camera is not None:
        message.base_from_camera = to_transform(keyframe.base_from_camera, keyframe.frame_id or 'camera', stamp)
    if keyframe.pose is not None:
        message.pose, message.pose_frame = to_pose_with_covariance(keyframe.pose), keyframe.pose.frame
    if keyframe.optimized is not None:
        pose = keyframe.optimized.map_from_base
        message.optimized_pose, message.optimized_frame = to_pose_with_covariance(pose), pose.frame
    if keyframe.thumbnail:
        message.thumbnail = CompressedImage(header=header, format='jpeg', data=array.array('B', keyframe.thumbnail))
    return message


def from_place_descriptor(message: interfaces.PlaceDescriptor) -> Keyframe:
    """A keyframe from another node; every size is checked before it is used.

    :raises SegvladError: sizes or numbers that do not fit together
    """
    count, dimension = message.segment_count, message.dimension
    kinds = {interfaces.PlaceDescriptor.FLOAT16: '<f2', interfaces.PlaceDescriptor.FLOAT32: '<f4'}
    if message.encoding not in kinds:
        raise SegvladError(f'descriptors with the unknown encoding {message.encoding}')
    kind = np.dtype(kinds[message.encoding])
    if len(message.descriptors) != count * dimension * kind.itemsize:
        raise SegvladError(f'{len(message.descriptors)} bytes are not {count} descriptors of dimension {dimension}')
    if len(message.segments) != count or len(message.segment_pixels) != count:
        raise SegvladError(f'boxes or areas do not belong to {count} segments')
    descriptors = np.frombuffer(message.descriptors, kind).astype(np.float32).reshape(count, dimension)
    if not np.isfinite(descriptors).all():
        raise SegvladError('descriptors with numbers that are not finite')
    norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
    if count and (norms.min() < 0.9 or norms.max() > 1.1):
        raise SegvladError('descriptors that are no unit vectors')
    boxes = np.array([(b.x_offset, b.y_offset, b.width, b.height) for b in message.segments], np.int64)
    if boxes.max(initial=0) > np.iinfo(np.int32).max:
        raise SegvladError(f'boxes of {boxes.max()} pixels: no image is so large')
    place = PlaceDescription(
        descriptors / np.maximum(norms, 1e-6), boxes.reshape(count, 4).astype(np.int32),
        np.array(message.segment_pixels, np.int64),
        rejected='' if count else 'its image has no segments', keypoints=_keypoints(message))
    base, moved = message.base_from_camera, message.optimized_pose
    return Keyframe(
        from_keyframe_id(message.keyframe), place, message.header.frame_id,
        pose=from_pose(message.pose.pose, message.pose_frame, message.pose.covariance) if message.pose_frame else None,
        camera_model=_camera_model(message.camera_info),
        base_from_camera=from_transform(base) if base.child_frame_id else None,
        thumbnail=bytes(message.thumbnail.data) if message.thumbnail.format else b'',
        optimized=OptimizedPose(from_pose(moved.pose, message.optimized_frame, moved.covariance))
        if message.optimized_frame else None)


def _camera_model(message: CameraInfo) -> CameraModel | None:
    """The intrinsics of another node's keyframe, None where they cannot be used."""
    try:
        return camera_model(message)
    except SegvladError as error:
        logger.warning('a keyframe that was received has a camera_info that cannot be used, its matches have no metric '
                       'pose: %s', error)
        return None


def _keypoints(message: interfaces.PlaceDescriptor) -> Keypoints | None:
    positions = np.array(message.keypoints, np.float32)
    if not len(positions):
        return None
    count, odd = divmod(len(positions), 2)
    size, rest = divmod(len(message.keypoint_descriptors), count) if count else (0, 0)
    depths = np.array(message.keypoint_depths, np.float32)
    if odd or rest or len(depths) not in (0, count):
        raise SegvladError('keypoints, their depths and their descriptors do not belong together')
    descriptors = np.frombuffer(message.keypoint_descriptors, np.uint8).reshape(count, size)
    return Keypoints(positions.reshape(count, 2), descriptors,
                     depths if len(depths) else np.full(count, math.nan, np.float32))


def to_place_match(query: Keyframe, candidate: Candidate, rank: int, match: Keyframe,
                   evidence: bool) -> interfaces.PlaceMatch:
    """One candidate as a message.

    :param evidence: whether the voting segments are wanted
    """
    message = interfaces.PlaceMatch(
        query=to_keyframe_id(query.id), match=to_keyframe_id(candidate.id), rank=rank, score=float(candidate.score),
        probability=float(candidate.probability), ambiguity=float(candidate.ambiguity),
        query_segments=len(query.description), matched_segments=candidate.matched_segments,
        supporting_queries=candidate.supporting_queries, verification=int(candidate.verification),
        inliers=candidate.inliers, scale_source=candidate.scale_source)
    pose = match.pose_for(query.id)
    if pose is not None:
        message.match_pose = PoseStamped(header=Header(stamp=to_time(candidate.id.stamp_ns), frame_id=pose.frame))
        fill_pose(message.match_pose.pose, pose)
        own = match.id.session == query.id.session
        message.match_pose_in = (message.IN_MAP if match.optimized is not None
                                 else message.IN_ODOMETRY if own else message.IN_OTHER_SESSION)
    if candidate.query_pose_in_match is not None:
        message.has_relative_pose = True
        message.query_pose_in_match = to_pose_with_covariance(candidate.query_pose_in_match)
    if evidence:
        message.evidence = [_evidence(query, match, pair) for pair in candidate.evidence]
    return message


def _evidence(query: Keyframe, match: Keyframe, pair: SegmentMatch) -> interfaces.SegmentMatch:
    return interfaces.SegmentMatch(
        query_segment=pair.query_segment, match_segment=pair.match_segment, similarity=float(pair.similarity),
        query_roi=_roi(query.description.boxes[pair.query_segment]),
        match_roi=_roi(match.description.boxes[pair.match_segment]))


def to_place_match_array(query: Keyframe, recognition: Recognition, matches: list[interfaces.PlaceMatch], *,
                         base_frame: str, map_id: str, now_ns: int) -> interfaces.PlaceMatchArray:
    """The answer to one keyframe.

    :param matches: its candidates, best first
    :param now_ns: the node's clock, for the latency
    """
    return interfaces.PlaceMatchArray(
        header=Header(stamp=to_time(query.id.stamp_ns), frame_id=query.frame_id), query=to_keyframe_id(query.id),
        base_frame=base_frame, status=int(recognition.status), reason=recognition.reason, map_id=map_id,
        map_keyframes=recognition.map_keyframes, matches=matches,
        latency=to_duration(now_ns - query.id.stamp_ns))


def to_loop_closure(query: Keyframe, candidate: Candidate, base_frame: str) -> interfaces.LoopClosure:
    """An accepted metric match as a pose graph takes it; ``match`` is the older end by construction of the search."""
    return interfaces.LoopClosure(
        header=Header(stamp=to_time(query.id.stamp_ns), frame_id=query.frame_id),
        match=to_keyframe_id(candidate.id), query=to_keyframe_id(query.id), base_frame=base_frame,
        query_pose_in_match=to_pose_with_covariance(candidate.query_pose_in_match),
        scale_source=candidate.scale_source, probability=float(candidate.probability), inliers=candidate.inliers)


def to_status(snapshot: Snapshot, facts: MapFacts, **fields: Any) -> interfaces.SegVladStatus:
    """A node's counters and its map as a message.

    :param fields: stamp, state, message, model_fingerprint, device: see msg/SegVladStatus
    """
    counts, stages = snapshot.counts, snapshot.stages
    return interfaces.SegVladStatus(
        map_id=facts.map_id, keyframes=facts.keyframes, segments=facts.segments, map_bytes=facts.bytes,
        bytes_per_keyframe=facts.bytes_per_keyframe, map_bytes_per_hour=facts.bytes_per_hour,
        evicted=[to_keyframe_id(identity) for identity in facts.evicted],
        keyframes_explained=counts.keyframes_explained, keyframes_refused=counts.keyframes_refused,
        keyframes_evicted=counts.keyframes_evicted,
        images_received=counts.images_received, images_dropped=counts.images_dropped,
        images_rejected=counts.images_rejected, images_lost=counts.images_lost,
        keyframes_processed=counts.keyframes_processed,
        keyframe_subscribers=facts.keyframe_subscribers,
        matches_published=counts.matches_published, stages=list(stages),
        stage_p50_seconds=[p50 for p50, _ in stages.values()], stage_p95_seconds=[p95 for _, p95 in stages.values()],
        **fields)
