"""Images of cameras that are mounted on their side or upside-down are described upright.

Features of cells and most networks know no turned images. So an image is turned by quarter turns before it is
described, and what was found is told in the pixels of the image as the camera delivered it: to all that comes later,
intrinsics, poses and boxes are those of the true optical frame.
"""
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from segvlad_ros.geometry import unit_quaternion
from segvlad_ros.types import PlaceDescription, Pose

# A camera that looks up or down, but for this angle, has no upright image.
_MIN_ASIDE_RAD = math.radians(15)


def quarter_turns(base_from_camera: Pose | None) -> int:
    """Quarter turns to the left after which up in the image is up on the robot, 0 to 3.

    :param base_from_camera: of the optical frame (x right, y down in the image); the z axis of the base points up
        (REP 103). None, where that is not known: 0
    """
    if base_from_camera is None:
        return 0
    right, down, _ = Rotation.from_quat(unit_quaternion(base_from_camera.quaternion)).as_matrix()[2]
    if math.hypot(right, down) < math.sin(_MIN_ASIDE_RAD):
        return 0
    return round((math.pi / 2 - math.atan2(-down, right)) / (math.pi / 2)) % 4


def upright_from_camera(base_from_camera: Pose | None) -> np.ndarray:
    """(3, 3) rotation from the optical frame to that of a camera whose images are upright."""
    to_the_left = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    return np.linalg.matrix_power(to_the_left, quarter_turns(base_from_camera))


def turned(image: np.ndarray | None, turns: int) -> np.ndarray | None:
    """An image of any kind, turned to the left; itself without turns."""
    return image if image is None or not turns else np.ascontiguousarray(np.rot90(image, turns))


def turned_back(description: PlaceDescription, turns: int, shape: tuple[int, ...]) -> PlaceDescription:
    """A description of a turned image in pixels of the image as it was.

    :param shape: of the image as it was, height first
    """
    if not turns:
        return description
    boxes, keypoints = description.boxes, description.keypoints
    positions = None if keypoints is None else keypoints.positions
    for turn in range(turns, 0, -1):
        width = shape[1] if turn % 2 else shape[0]  # of the image before this turn
        x, y, across, down = boxes.T
        boxes = np.column_stack([width - y - down, x, down, across])
        if positions is not None:
            positions = np.column_stack([width - 1 - positions[:, 1], positions[:, 0]])
    if keypoints is not None:
        keypoints = replace(keypoints, positions=positions.astype(np.float32))
    return replace(description, boxes=boxes.astype(np.int32), keypoints=keypoints)
