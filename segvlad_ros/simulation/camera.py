"""What the robot's RGB-D camera makes of the world: light that changes between visits, exposure, blur, noise."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from segvlad_ros.geometry import compose, to_matrix
from segvlad_ros.simulation.fisheye import FisheyeRenderer
from segvlad_ros.simulation.renderer import STRIP, Renderer, Rendering
from segvlad_ros.simulation.world import World
from segvlad_ros.types import CameraModel, Pose

WIDTH, HEIGHT, FOCAL = 640, 480, 465.0
CAMERA_FRAME, BASE_FRAME = 'camera_optical_frame', 'base_link'
# optical axes (x right, y down, z forward) in the base frame (x forward, y left, z up); 1.1 m high, 0.15 m ahead
BASE_FROM_CAMERA = Pose(np.array([0.15, 0.0, 1.1]), np.array([-0.5, 0.5, -0.5, 0.5]), BASE_FRAME)
CELL_M = 0.25  # of the light map
LAMP_REACH_M = 1.6


def camera_model() -> CameraModel:
    """The robot's pinhole camera, 69 degrees wide, without distortion."""
    matrix = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
    return CameraModel(WIDTH, HEIGHT, matrix, np.zeros(5))


@dataclass(frozen=True)
class LightMap:
    """How bright each place of the floor plan is.

    :ivar field: (rows, cols, 3) float32, factor by colour channel
    :ivar x0, y0: world position of its first cell, metres
    """

    field: np.ndarray
    x0: float
    y0: float

    def at(self, points: np.ndarray) -> np.ndarray:
        """Light at points.

        :param points: (2, h, w) float32 world x and y, metres
        :return: (h, w, 3) float32
        """
        columns = (points[0] - np.float32(self.x0)) / np.float32(CELL_M)
        lines = (points[1] - np.float32(self.y0)) / np.float32(CELL_M)
        return cv2.remap(self.field, columns, lines, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def make_light(lamps: np.ndarray, rng: np.random.Generator, variation: float) -> LightMap:
    """Draw one state of a building's light: lamps that fail or were replaced, daylight from one side, tint.

    :param lamps: (L, 3) float64 positions, metres
    :param rng: decides about everything
    :param variation: 0 is all lamps as built; 1 is a strong change: one lamp in five dark, the others between half and
        full, the level by up to 30 %, daylight and tint
    """
    x0, y0 = lamps[:, :2].min(0) - 4
    x1, y1 = lamps[:, :2].max(0) + 4
    x, y = np.meshgrid(np.arange(x0, x1, CELL_M), np.arange(y0, y1, CELL_M))
    power = 1 - variation * rng.uniform(0, 0.5, len(lamps))
    power[rng.random(len(lamps)) < 0.2 * variation] = 0.1
    warmth = 1 + variation * rng.uniform(-0.06, 0.06, len(lamps))
    field = np.zeros((*x.shape, 3))
    for (lamp_x, lamp_y, _), strength, warm in zip(lamps, power, warmth):
        squared = ((x - lamp_x) ** 2 + (y - lamp_y) ** 2) / LAMP_REACH_M ** 2
        field += (strength / (1 + squared))[..., None] * (warm, 1, 1 / warm)
    field = 0.45 + 0.5 * field / np.median(field)
    direction = rng.uniform(0, 2 * np.pi)
    slope = np.cos(direction) * (x - x.mean()) / (x1 - x0) + np.sin(direction) * (y - y.mean()) / (y1 - y0)
    field *= (1 + variation * 0.5 * slope)[..., None]
    field *= 1 + variation * rng.uniform(-0.08, 0.08, 3)
    field *= 1 + variation * rng.uniform(-0.3, 0.15)
    return LightMap(np.clip(field, 0.12, 1.6).astype(np.float32), float(x0), float(y0))


class Camera:
    """The robot's RGB-D camera in a world, from any pose and in any light, with a real camera's faults.

    :param model: calibration, without distortion or of a fisheye lens; heights are multiples of 60 pixels
    """

    def __init__(self, world: World, model: CameraModel | None = None):
        self.world, self.model = world, model or camera_model()
        draws = FisheyeRenderer if self.model.distortion_model == 'equidistant' else Renderer
        self.renderer = draws(world.surfaces, world.textures, self.model)
        # surfaces that face the same way get the same share of the light
        towards = -np.cross(self.renderer.axes[:, 0], self.renderer.axes[:, 1]).T
        self._facing = (1 + 0.10 * towards[0] + 0.05 * towards[1] + 0.03 * towards[2]).astype(np.float32)
        width, height = self.model.width, self.model.height
        x = (np.arange(width) - width / 2) / (width / 2)
        y = (np.arange(height) - height / 2) / (width / 2)
        self._vignette = (1 - 0.22 * (x[None] ** 2 + y[:, None] ** 2)).astype(np.float32)

    def view(self, base: Pose, mount: Pose = BASE_FROM_CAMERA) -> Rendering:
        """What the camera looks at, before light and sensor, from a pose of the robot's base."""
        return self.renderer.render(to_matrix(compose(base, mount)))

    def look(self, base: Pose, light: LightMap, rng: np.random.Generator,
             mount: Pose = BASE_FROM_CAMERA) -> tuple[np.ndarray, np.ndarray]:
        """Take one picture.

        :param base: pose of the robot's base in the world, anywhere
        :param rng: sensor noise
        :param mount: where the camera sits on the base
        :return: (h, w, 3) uint8 RGB, and (h, w) float32 exact depth in metres, NaN where nothing is
        """
        view = self.view(base, mount)
        return self._expose(view, light, rng), np.where(np.isfinite(view.depth), view.depth, np.float32(np.nan))

    def _expose(self, view: Rendering, light: LightMap, rng: np.random.Generator) -> np.ndarray:
        """What an automatic camera makes of it: exposure, vignetting, lens blur, noise."""
        width, height = self.model.width, self.model.height
        image = np.empty((height, width, 3), np.float32)
        strips = [slice(top, top + STRIP) for top in range(0, height, STRIP)]
        for rows in strips:
            np.multiply(light.at(view.points[:, rows]), view.albedo[rows], out=image[rows])
        # half of what a mean of 118 would need: dark places stay darker than bright ones
        gain = np.float32(np.clip(118 / max(1.0, float(image[::8, ::8].mean())), 0.5, 2.5) ** 0.5)
        for rows in strips:
            shade = np.take(self._facing, np.maximum(view.surface[rows], 0)) * self._vignette[rows]
            image[rows] *= (shade * gain)[..., None]
        image = cv2.GaussianBlur(image, (3, 3), 0.6)
        result = np.empty((height, width, 3), np.uint8)
        for rows in strips:
            result[rows] = np.clip(image[rows] + gain * _noise(rng, STRIP, width), 0, 255)
        return result


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Sensor noise: fine in brightness, coarser in colour, as demosaicking leaves it; (h, w, 3) float32 grey levels."""
    colour = rng.standard_normal((height // 2, width // 2, 3), dtype=np.float32)
    noise = cv2.resize(colour, (width, height)) * np.float32(1.5)
    noise += (rng.standard_normal((height, width), dtype=np.float32) * np.float32(1.8))[..., None]
    return noise
