"""Keyframes as messages, and back: what map_builder tells others of its map."""
from __future__ import annotations

import array
import logging
import math
from collections.abc import Iterable

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header

from segvlad_ros import msg as interfaces
from segvlad_ros.io.camera_info import camera_model
from segvlad_ros.ros.output.conversions import (
    from_keyframe_id,
    from_pose,
    from_transform,
    to_camera_info,
    to_keyframe_id,
    to_pose_with_covariance,
    to_roi,
    to_time,
    to_transform,
)
from segvlad_ros.types import (
    CameraModel,
    Keyframe,
    KeyframeId,
    Keypoints,
    OptimizedPose,
    PlaceDescription,
    SegvladError,
)

logger = logging.getLogger(__name__)


def to_removed_keyframes(ids: Iterable[KeyframeId], map_id: str, now_ns: int) -> interfaces.RemovedKeyframes:
    """What a map holds no longer."""
    return interfaces.RemovedKeyframes(stamp=to_time(now_ns), map_id=map_id,
                                       keyframes=[to_keyframe_id(identity) for identity in ids])


def to_place_descriptor(keyframe: Keyframe, model_fingerprint: str,
                        passed_over: bool = False) -> interfaces.PlaceDescriptor:
    """A keyframe as a message, descriptors as float16.

    :param model_fingerprint: digest of the preset that described it
    :param passed_over: the map does not hold it
    """
    place, stamp = keyframe.description, to_time(keyframe.id.stamp_ns)
    header = Header(stamp=stamp, frame_id=keyframe.frame_id)
    message = interfaces.PlaceDescriptor(
        header=header, keyframe=to_keyframe_id(keyframe.id), model_fingerprint=model_fingerprint,
        segment_count=len(place), dimension=place.descriptors.shape[1],
        encoding=interfaces.PlaceDescriptor.FLOAT16, passed_over=passed_over)
    message.descriptors = _bytes(place.descriptors.astype('<f2'))
    message.segments = [to_roi(box) for box in place.boxes]
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
        raise SegvladError('descriptors that are not unit vectors')
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


def _bytes(values: np.ndarray) -> array.array:
    return array.array('B', np.ascontiguousarray(values).tobytes())
