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

from segvlad_ros.simulation.world import Surface
from segvlad_ros.types import CameraModel

LEVELS = 6  # of the mip pyramid
GUARD = 2  # pixels around each texture that repeat its edge, so that interpolation never sees a neighbour
MAX_WIDTH = 8192  # of all textures together
NEAR_M = 0.05
STRIP = 60  # rows that are finished at a time
SEAM_M = np.float32(5e-4)  # rectangles reach this far over their edges, so that rounding leaves no gap between two


class Atlas:
    """All textures of a world at all mip levels in one image, so that one remap draws a whole frame.

    :ivar image: (h, w, 3) uint8 RGB
    :ivar pixels: (T, 2) int, width and height of each texture at level 0
    :ivar tiles: (4, T * LEVELS) float32: column and line of a tile's left upper edge, its width and height, pixels;
        at ``texture * LEVELS + level``
    """

    def __init__(self, textures: list[np.ndarray]):
        images = [level for texture in textures for level in _levels(texture)]
        self.pixels = np.array([texture.shape[1::-1] for texture in textures])
        places = _pack([image.shape[:2] for image in images])
        ends = np.array([np.add(place, image.shape[:2]) for place, image in zip(places, images)])
        self.image = np.zeros((*ends.max(0) + GUARD, 3), np.uint8)
        self.tiles = np.empty((4, len(images)), np.float32)
        for number, ((top, left), image) in enumerate(zip(places, images)):
            rows, cols = image.shape[:2]
            padded = cv2.copyMakeBorder(image, GUARD, GUARD, GUARD, GUARD, cv2.BORDER_REPLICATE)
            self.image[top - GUARD:top + rows + GUARD, left - GUARD:left + cols + GUARD] = padded
            # the centre of the first pixel has coordinate 0 in cv2.remap, the edge of the texture -0.5
            self.tiles[:, number] = left - 0.5, top - 0.5, cols, rows


def _levels(texture: np.ndarray) -> list[np.ndarray]:
    levels = [texture]
    for _ in range(LEVELS - 1):
        rows, cols = (max(1, size // 2) for size in levels[-1].shape[:2])
        levels.append(cv2.resize(levels[-1], (cols, rows), interpolation=cv2.INTER_AREA))
    return levels


def _pack(sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Shelf packing, tallest first: (top, left) of every image."""
    places = [(0, 0)] * len(sizes)
    top, left, shelf = GUARD, GUARD, 0
    for number in sorted(range(len(sizes)), key=lambda n: -sizes[n][0]):
        rows, cols = sizes[number]
        if left + cols + GUARD > MAX_WIDTH:
            top, left, shelf = top + shelf + 2 * GUARD, GUARD, 0
        places[number] = (top, left)
        left, shelf = left + cols + 2 * GUARD, max(shelf, rows)
    return places


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
        self.camera, self.atlas = camera, Atlas(textures)
        self.origin, right, down = (np.array([getattr(surface, name) for surface in surfaces])
                                    for name in ('origin', 'right', 'down'))
        self.size = np.stack([np.linalg.norm(right, axis=1), np.linalg.norm(down, axis=1)], 1)
        self.axes = np.stack([right / self.size[:, :1], down / self.size[:, 1:]], 1)  # (S, 2, 3)
        self.corners = np.stack([self.origin, self.origin + right, self.origin + right + down, self.origin + down], 1)
        texture = np.array([surface.texture for surface in surfaces])
        matrix = camera.matrix
        self.x = ((np.arange(camera.width) - matrix[0, 2]) / matrix[0, 0]).astype(np.float32)
        self.y = ((np.arange(camera.height) - matrix[1, 2]) / matrix[1, 1]).astype(np.float32)
        self.log_ray_length = 0.5 * np.log2(1 + self.x[None] ** 2 + self.y[:, None] ** 2)
        # by surface and level: left and top of the tile in the atlas, atlas pixels a metre along both sides
        tiles = self.atlas.tiles.reshape(4, -1, LEVELS)[:, texture]
        tiles[2:] /= self.size.T[:, :, None].astype(np.float32)
        self.look_up = tiles.reshape(4, -1)
        self.density = np.sqrt((self.atlas.pixels[texture] / self.size).prod(1))  # texture pixels a metre at level 0
        self._scratch = np.empty((4, camera.width * camera.height), np.float32)
        self._masks = np.empty((2, camera.width * camera.height), bool)

    def render(self, world_from_camera: np.ndarray) -> Rendering:
        """Render from a pose.

        :param world_from_camera: (4, 4) float64, optical frame (x right, y down, z forward) in the world
        """
        rotation, centre = world_from_camera[:3, :3], world_from_camera[:3, 3]
        origin = (self.origin - centre) @ rotation
        axes = self.axes @ rotation
        normal = np.cross(axes[:, 0], axes[:, 1])
        distance = np.einsum('si,si->s', normal, origin)
        corners = (self.corners - centre) @ rotation
        inverse_depth, a, b, surface = self._visible(corners, distance, _planes(origin, axes, normal, distance))
        shape = surface.shape
        view = Rendering(np.empty((*shape, 3), np.uint8), np.full(shape, np.inf, np.float32), surface,
                         np.empty((2, *shape), np.float32))
        for top in range(0, shape[0], STRIP):  # what lies in the cache is quicker than whole images
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

    def _visible(self, corners, distance, planes):
        """Nearest surface by pixel, nearest surfaces first so that most of what is hidden is never drawn."""
        shape = (self.camera.height, self.camera.width)
        best = np.zeros((3, *shape), np.float32)  # 1/d, a/d, b/d
        surface = np.full(shape, -1, np.int32)
        limits = self.size.astype(np.float32)
        for index in np.argsort(np.linalg.norm(corners.mean(1), axis=1)):
            if distance[index] < 1e-6:
                continue  # seen from behind
            box = self._box(corners[index])
            if box is None:
                continue
            rows, cols, nearest = box
            region = best[:, rows, cols]
            if nearest < region[0].min():
                continue
            x, y = self.x[None, cols], self.y[rows, None]
            drawn = self._scratch[:3, :region[0].size].reshape(region.shape)
            for plane, part in zip(planes[index], drawn):
                np.add(plane[0] * x, plane[1] * y + plane[2], out=part)
            mask = self._inside(region[0], drawn, limits[index])
            np.copyto(region, drawn, where=mask)
            np.copyto(surface[rows, cols], np.int32(index), where=mask)
        return *best, surface

    def _inside(self, nearest: np.ndarray, planes: np.ndarray, size: np.ndarray) -> np.ndarray:
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


def _planes(origin: np.ndarray, axes: np.ndarray, normal: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """(S, 3, 3) float32: rows 1/d, a/d, b/d as linear functions of x, y, 1."""
    offsets = np.einsum('ski,si->sk', axes, origin)
    # a surface that is seen edge-on lies infinitely near
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        inverse = normal / distance[:, None]
        planes = np.concatenate([inverse[:, None], axes - offsets[:, :, None] * inverse[:, None]], 1)
        return planes.astype(np.float32)


def _clip(corners: np.ndarray) -> np.ndarray:
    """The part of a polygon in front of the near plane; corners (n, 3) in camera coordinates, returned in any order."""
    inside = corners[:, 2] >= NEAR_M
    crossing = inside != np.roll(inside, -1)
    here, there = corners[crossing], np.roll(corners, -1, axis=0)[crossing]
    share = (NEAR_M - here[:, 2:]) / (there[:, 2:] - here[:, 2:])
    return np.concatenate([corners[inside], here + share * (there - here)])
