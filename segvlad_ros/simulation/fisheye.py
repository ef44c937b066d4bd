"""Draws a world through a fisheye lens: the six faces of a cube around the camera, looked up along each pixel's ray."""
from __future__ import annotations

import math

import cv2
import numpy as np

from segvlad_ros.simulation.renderer import Renderer, Rendering
from segvlad_ros.simulation.world import Surface
from segvlad_ros.types import CameraModel

REACH_RAD = math.radians(97.5)
"""To which angle from the optical axis the lens lets light in: of a full view of 195 degrees."""
_SHARPER = 1.3  # pixels of a face to those of the image, so that looking them up blurs little
_OVERLAP = 1.05  # how far a face reaches over its edges
# What is to the right, down and ahead on each face, in the camera's axes.
_FACES = np.array([np.column_stack([right, np.cross(ahead, right), ahead]) for right, ahead in (
    ((1, 0, 0), (0, 0, 1)), ((0, 0, -1), (1, 0, 0)), ((0, 0, 1), (-1, 0, 0)),
    ((1, 0, 0), (0, 1, 0)), ((1, 0, 0), (0, -1, 0)), ((-1, 0, 0), (0, 0, -1)))], np.float64)


def _bent(angles: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Distance from the centre at depth 1 by the angle (Kannala and Brandt, PAMI 2006)."""
    return angles * (1 + sum(k * angles ** (2 * power) for power, k in enumerate(coefficients, 1)))


def rays_of(model: CameraModel) -> np.ndarray:
    """(height, width, 3) float64 unit rays of an equidistant camera, optical frame; NaN outside of its circle."""
    columns, rows = np.meshgrid(np.arange(model.width), np.arange(model.height))
    x = (columns - model.matrix[0, 2]) / model.matrix[0, 0]
    y = (rows - model.matrix[1, 2]) / model.matrix[1, 1]
    angles = np.linspace(0, REACH_RAD, 20_000)
    aside = np.hypot(x, y)
    angle = np.interp(aside, _bent(angles, model.distortion), angles, right=np.nan)
    across = np.sin(angle) / np.maximum(aside, 1e-12)
    return np.stack([x * across, y * across, np.cos(angle)], axis=-1)


class FisheyeRenderer:
    """As :class:`~.renderer.Renderer`, for an equidistant camera. What is behind the camera has no depth."""

    def __init__(self, surfaces: list[Surface], textures: list[np.ndarray], camera: CameraModel):
        self.camera = camera
        side = 2 * round(_SHARPER * camera.matrix[0, 0])
        focal = side / 2 / _OVERLAP
        matrix = np.array([[focal, 0, (side - 1) / 2], [0, focal, (side - 1) / 2], [0, 0, 1]])
        self._cube = Renderer(surfaces, textures, CameraModel(side, side, matrix, np.zeros(0)))
        self.axes = self._cube.axes
        rays = rays_of(camera)
        along = np.nan_to_num(rays) @ _FACES[:, :, 2].T
        self._face = np.where(np.isfinite(rays[..., 0]), along.argmax(axis=-1), -1)
        self._looks = [self._look(rays, number, matrix) for number in range(len(_FACES))]

    def _look(self, rays: np.ndarray, number: int, matrix: np.ndarray) -> tuple[np.ndarray, ...]:
        """Which pixels look at a face, at which column and row of it, and depth by the depth there."""
        here = self._face == number
        local = rays[here] @ _FACES[number]
        where = np.zeros((2, *here.shape), np.float32)
        where[:, here] = (local[:, :2] / local[:, 2:] * matrix[0, 0] + matrix[:2, 2]).T
        return here, where, rays[here][:, 2] / local[:, 2]

    def render(self, world_from_camera: np.ndarray) -> Rendering:
        """See :meth:`.renderer.Renderer.render`."""
        shape = self._face.shape
        view = Rendering(np.zeros((*shape, 3), np.uint8), np.full(shape, np.inf, np.float32),
                         np.full(shape, -1, np.int32), np.zeros((2, *shape), np.float32))
        for (here, where, ahead), turned in zip(self._looks, _FACES):
            if not here.any():
                continue
            pose = world_from_camera.copy()
            pose[:3, :3] = world_from_camera[:3, :3] @ turned
            face = self._cube.render(pose)
            column, row = np.rint(where[:, here]).astype(int)
            view.albedo[here] = cv2.remap(face.albedo, *where, cv2.INTER_LINEAR)[here]
            view.surface[here] = face.surface[row, column]
            view.depth[here] = np.where(ahead > 1e-3, face.depth[row, column] * ahead, np.inf)
            view.points[:, here] = face.points[:, row, column]
        return view
