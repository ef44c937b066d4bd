"""The few types that travel between the rooms of the house.

Arrays are numpy. Images are RGB uint8 of shape (height, width, 3). Lengths are metres, angles radians,
stamps integer nanoseconds; boxes are pixels of the image as the camera delivered it. Poses follow the
``a_from_b`` naming: ``a_from_b`` maps coordinates of frame b to frame a.
"""
from segvlad_ros.types.answer import Candidate, Recognition, SegmentMatch, Status, Verification
from segvlad_ros.types.errors import SegvladError
from segvlad_ros.types.frame import CameraModel, Frame, OptimizedPose, Pose
from segvlad_ros.types.keyframe import FIXED_FRAMES, Keyframe, KeyframeId, KeyframeKey, SessionKey
from segvlad_ros.types.place_description import (
    CellGrid,
    FeatureGrid,
    Keypoints,
    Masks,
    PlaceDescription,
    Segments,
)

__all__ = [
    'CameraModel',
    'Candidate',
    'CellGrid',
    'FIXED_FRAMES',
    'FeatureGrid',
    'Frame',
    'Keyframe',
    'KeyframeId',
    'KeyframeKey',
    'Keypoints',
    'Masks',
    'OptimizedPose',
    'PlaceDescription',
    'Pose',
    'Recognition',
    'SegmentMatch',
    'Segments',
    'SegvladError',
    'SessionKey',
    'Status',
    'Verification',
]
