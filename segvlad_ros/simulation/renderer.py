"""Draws a world from any camera pose: colour before lighting, and exact depth.

Visibility first, texture later. In camera coordinates a rectangle with origin o, unit sides u, v and normal n = u x v
is met by the ray r = (x, y, 1) at depth d = (n.o) / (n.r), so 1/d is linear in the image, and so are a/d and b/d, where
a and b are the metres along u and v: three planes a rectangle, one comparison a pixel, no approximation. The nearest
rectangle of every pixel then looks up its texture once, in the mip level that fits its footprint.
"""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from segvlad_ros.simulation.atlas import LEVELS, Atlas
from segvlad_ros.simulation.surfaces import Surface
from segvlad_ros.types import CameraModel

NEAR_M = 0.05
STRIP = 60  # rows that are finished at a time
SEAM_M = np.float32(5e-4)  # rectangles reach this far over their edges, so that rounding leaves no gap between two


@dataclass(frozen=True)
class Rendering:
    """What a camera sees, before light and sensor.

    :ivar albedo: (h, w, 3) uint8 RGB
    :ivar depth: (h, w) float32 metres along the optical axis; infinite where nothing is
    :ivar surface: (h, w) int32, index of the visible surface, -1 where nothing is
    :ivar points: (2, h, w) float32, world x and y of what is seen, moved 0.1 m towards the camera, for lighting
    """

    albedo: np.ndarray
    depth: np.ndarray
    surface: np.ndarray
    points: np.ndarray


class Renderer:
    """Renders surfaces for one camera model. Not for several threads at once.

    :param surfaces, textures: see :class:`~.world.World`
    """

    def __init__(self, surfaces: list[Surface], textures: list[np.ndarray], camera: CameraModel):
        self.camera = camera
        self.atlas = Atlas(textures)
        right = np.array([s.right for s in surfaces])
        down = np.array([s.down for s in surfaces])
        self.origin = np.array([s.origin for s in surfaces])
        self.size = np.stack([np.linalg.norm(right, axis=1), np.linalg.norm(down, axis=1)], 1)
        self.axes = np.stack([right / self.size[:, :1], down / self.size[:, 1:]], 1)  # (S, 2, 3)
        self.corners = np.stack([self.origin, self.origin + right, self.origin + right + down, self.origin + down], 1)
        texture = np.array([s.texture for s in surfaces])
        matrix = camera.matrix
        self.x = ((np.arange(camera.width) - matrix[0, 2]) / matrix[0, 0]).astype(np.float32)
        self.y = ((np.arange(camera.height) - matrix[1, 2]) / matrix[1, 1]).astype(np.float32)
        self.log_ray_length = 0.5 * np.log2(1 + self.x[None] ** 2 + self.y[:, None] ** 2)
        # by surface and level: left and top of the tile in the atlas, atlas pixels a metre along both sides
        tiles = self.atlas.tiles.reshape(4, -1, LEVELS)[:, texture]
        tiles[2:] /= self.size.T[:, :, None].astype(np.float32)
        self.look_up = tiles.reshape(4, -1)
        scale = self.atlas.pixels[texture].astype(np.float64) / self.size
        self._scratch = np.empty((4, camera.width * camera.height), np.float32)
        self._masks = np.empty((2, camera.width * camera.height), bool)
        self.density = np.sqrt(scale.prod(1))  # texture pixels a metre at level 0

    def render(self, world_from_camera: np.ndarray) -> Rendering:
        """Render from a pose.

        :param world_from_camera: (4, 4) float64, optical frame (x right, y down, z forward) in the world
        """
        rotation, centre = world_from_camera[:3, :3], world_from_camera[:3, 3]
        origin = (self.origin - centre) @ rotation
        axes = self.axes @ rotation
        normal = np.cross(axes[:, 0], axes[:, 1])
        distance = np.einsum('si,si->s', normal, origin)
        planes = self._planes(origin, axes, normal, distance)
        corners = (self.corners - centre) @ rotation
        inverse_depth, a, b, surface = self._visible(corners, distance, planes)
        height, width = surface.shape
        view = Rendering(np.empty((height, width, 3), np.uint8), np.full((height, width), np.inf, np.float32), surface,
                    np.empty((2, height, width), np.float32))
        for top in range(0, height, STRIP):  # what lies in the cache is quicker than whole images
            rows = slice(top, top + STRIP)
            np.divide(1, inverse_depth[rows], out=view.depth[rows], where=surface[rows] >= 0)
            self._locate(view, rows, rotation.astype(np.float32), centre.astype(np.float32))
            self._look_up(view, rows, (inverse_depth[rows], a[rows], b[rows]), distance)
        return view

    def _locate(self, view: Rendering, rows: slice, rotation: np.ndarray, centre: np.ndarray) -> None:
        """Fill :attr:`Rendering.points` of some rows."""
        near = np.where(view.surface[rows] >= 0, view.depth[rows] - np.float32(0.1), np.float32(0))
        for axis in range(2):
            across = rotation[axis, 1] * self.y[rows, None] + rotation[axis, 2]
            points = np.add(rotation[axis, 0] * self.x[None], across, out=view.points[axis, rows])
            points *= near
            points += centre[axis]

    def _planes(self, origin, axes, normal, distance) -> np.ndarray:
        """(S, 3, 3) float32: rows 1/d, a/d, b/d as linear functions of x, y, 1."""
        with np.errstate(divide='ignore', invalid='ignore'):
            inverse = normal / distance[:, None]
        offsets = np.einsum('ski,si->sk', axes, origin)
        with np.errstate(over='ignore'):  # a surface that is seen edge-on lies infinitely near
            return np.concatenate([inverse[:, None], axes - offsets[:, :, None] * inverse[:, None]], 1).astype(
                np.float32)

    def _visible(self, corners, distance, planes):
        """Nearest surface by pixel, nearest surfaces first so that most of what is hidden is never drawn."""
        height, width = self.camera.height, self.camera.width
        best = np.zeros((height, width), np.float32)
        a_best, b_best = np.zeros_like(best), np.zeros_like(best)
        surface = np.full((height, width), -1, np.int32)
        limits = self.size.astype(np.float32)
        for index in np.argsort(np.linalg.norm(corners.mean(1), axis=1)):
            if distance[index] < 1e-6:
                continue  # seen from behind
            box = self._box(corners[index])
            if box is None:
                continue
            rows, cols, nearest = box
            region = best[rows, cols]
            if nearest < region.min():
                continue
            x, y = self.x[None, cols], self.y[rows, None]
            inverse, a, b = (np.add(p[0] * x, p[1] * y + p[2], out=part) for p, part in zip(
                planes[index], self._scratch[:, :region.size].reshape(4, *region.shape)))
            mask = self._inside(region, (inverse, a, b), limits[index])
            np.copyto(region, inverse, where=mask)
            np.copyto(a_best[rows, cols], a, where=mask)
            np.copyto(b_best[rows, cols], b, where=mask)
            np.copyto(surface[rows, cols], np.int32(index), where=mask)
        return best, a_best, b_best, surface

    def _inside(self, nearest: np.ndarray, planes: tuple[np.ndarray, ...], size: np.ndarray) -> np.ndarray:
        """Where a surface is met within its edges, and before all that was met so far."""
        inverse, *offsets = planes
        bound = self._scratch[3, :inverse.size].reshape(inverse.shape)
        mask, test = self._masks[:, :inverse.size].reshape(2, *inverse.shape)
        np.greater(inverse, nearest, out=mask)
        for offset, length in zip(offsets, size):
            mask &= np.greater_equal(offset, np.multiply(inverse, -SEAM_M, out=bound), out=test)
            mask &= np.less_equal(offset, np.multiply(inverse, length + SEAM_M, out=bound), out=test)
        return mask

    def _box(self, corners: np.ndarray) -> tuple[slice, slice, float] | None:
        """Image rectangle around a surface and its largest inverse depth; None when out of sight."""
        depths = corners[:, 2]
        if depths.max() <= NEAR_M:
            return None
        if depths.min() < NEAR_M:
            corners = _clip(corners)
            depths = corners[:, 2]
        matrix = self.camera.matrix
        columns = corners[:, 0] / depths * matrix[0, 0] + matrix[0, 2]
        lines = corners[:, 1] / depths * matrix[1, 1] + matrix[1, 2]
        left, right = max(0, int(np.ceil(columns.min() - 1e-3))), min(self.camera.width, int(columns.max() + 1.001))
        top, bottom = max(0, int(np.ceil(lines.min() - 1e-3))), min(self.camera.height, int(lines.max() + 1.001))
        if left >= right or top >= bottom:
            return None
        return slice(top, bottom), slice(left, right), float(1 / depths.min()) * 1.0001

    def _look_up(self, view: Rendering, rows: slice, planes: tuple[np.ndarray, ...], distance: np.ndarray) -> None:
        """Texture of some rows, from the mip level whose pixels are as large as the image's."""
        inverse_depth, a, b = planes
        surface = view.surface[rows]
        index = np.maximum(surface, 0).astype(np.intp)
        inverse = np.maximum(inverse_depth, np.float32(1e-3))
        # pixels of texture in one image pixel: density^2 d^2 / f^2 on a surface that faces the camera,
        # divided by the cosine (n.o) / (d |r|) of its slant
        fixed = 2 * np.log2(self.density / self.camera.matrix[0, 0]) - np.log2(np.maximum(distance, 1e-6))
        level = np.take(fixed.astype(np.float32), index) + self.log_ray_length[rows] - 3 * np.log2(inverse)
        level = np.clip(np.rint(np.float32(0.5) * level - np.float32(0.2)), 0, LEVELS - 1).astype(np.intp)
        left, top, wide, tall = (np.take(column, index * LEVELS + level) for column in self.look_up)
        depth = 1 / inverse
        cv2.remap(self.atlas.image, left + a * depth * wide, top + b * depth * tall, cv2.INTER_LINEAR,
                  dst=view.albedo[rows])
        view.albedo[rows][surface < 0] = 0


def _clip(corners: np.ndarray) -> np.ndarray:
    """The part of a polygon in front of the near plane; corners (n, 3) in camera coordinates."""
    kept = []
    for here, there in zip(corners, np.roll(corners, -1, axis=0)):
        if here[2] >= NEAR_M:
            kept.append(here)
        if (here[2] >= NEAR_M) != (there[2] >= NEAR_M):
            share = (NEAR_M - here[2]) / (there[2] - here[2])
            kept.append(here + share * (there - here))
    return np.array(kept)
