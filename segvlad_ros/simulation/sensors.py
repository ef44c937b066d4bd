"""What the robot's sensors make of the world: an RGB-D camera with a real camera's faults, and wheel odometry."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from segvlad_ros.simulation.lighting import LightMap
from segvlad_ros.simulation.renderer import STRIP, Rendering
from segvlad_ros.types import CameraModel, Pose

WIDTH, HEIGHT, FOCAL = 640, 480, 465.0
CAMERA_FRAME, BASE_FRAME, ODOM_FRAME, WORLD_FRAME = 'camera_optical_frame', 'base_link', 'odom', 'map'
# optical axes (x right, y down, z forward) in the base frame (x forward, y left, z up); 1.1 m high, 0.15 m ahead
BASE_FROM_CAMERA = Pose(np.array([0.15, 0.0, 1.1]), np.array([-0.5, 0.5, -0.5, 0.5]), BASE_FRAME)

ODOMETRY_TRANSLATION = 0.02  # metres per metre
ODOMETRY_ROTATION = np.radians(0.5)  # radians per metre


def camera_model() -> CameraModel:
    """The robot's pinhole camera, 69 degrees wide, without distortion."""
    matrix = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
    return CameraModel(WIDTH, HEIGHT, matrix, np.zeros(5))


class Exposure:
    """Turns what is there into what an automatic camera delivers: exposure, vignetting, lens blur, noise.

    :param normals: (S, 3) float64, unit normals of the surfaces, away from the viewer; surfaces that face the same way
        get the same share of the light
    """

    def __init__(self, normals: np.ndarray):
        towards = -normals
        self.facing = (1 + 0.10 * towards[:, 0] + 0.05 * towards[:, 1] + 0.03 * towards[:, 2]).astype(np.float32)
        x = (np.arange(WIDTH) - WIDTH / 2) / (WIDTH / 2)
        y = (np.arange(HEIGHT) - HEIGHT / 2) / (WIDTH / 2)
        self.vignette = (1 - 0.22 * (x[None] ** 2 + y[:, None] ** 2)).astype(np.float32)

    def expose(self, view: Rendering, light: LightMap, rng: np.random.Generator) -> np.ndarray:
        """Take the picture.

        :param rng: of this frame: sensor noise
        :return: (h, w, 3) uint8 RGB
        """
        image = np.empty((HEIGHT, WIDTH, 3), np.float32)
        strips = [slice(top, top + STRIP) for top in range(0, HEIGHT, STRIP)]
        for rows in strips:
            np.multiply(light.at(view.points[:, rows]), view.albedo[rows], out=image[rows])
        # half of what a mean of 118 would need: dark places stay darker than bright ones
        gain = np.float32(np.clip(118 / max(1.0, float(image[::8, ::8].mean())), 0.5, 2.5) ** 0.5)
        for rows in strips:
            shade = np.take(self.facing, np.maximum(view.surface[rows], 0)) * self.vignette[rows]
            image[rows] *= (shade * gain)[..., None]
        image = cv2.GaussianBlur(image, (3, 3), 0.6)
        result = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        for rows in strips:
            result[rows] = np.clip(image[rows] + gain * _noise(rng, STRIP, WIDTH), 0, 255)
        return result


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Sensor noise: fine in brightness, coarser in colour, as demosaicking leaves it; (h, w, 3) float32 grey levels."""
    colour = rng.standard_normal((height // 2, width // 2, 3), dtype=np.float32)
    noise = cv2.resize(colour, (width, height)) * np.float32(1.5)
    noise += (rng.standard_normal((height, width), dtype=np.float32) * np.float32(1.8))[..., None]
    return noise


@dataclass(frozen=True)
class PlanarPath:
    """Poses of the robot's base on the floor.

    :ivar x, y: (n,) float64 metres
    :ivar yaw: (n,) float64 radians, continuous
    """

    x: np.ndarray
    y: np.ndarray
    yaw: np.ndarray

    def pose(self, index: int, frame: str) -> Pose:
        """One pose in 3-D."""
        half = self.yaw[index] / 2
        return Pose(np.array([self.x[index], self.y[index], 0.0]), np.array([0, 0, np.sin(half), np.cos(half)]), frame)

    def __len__(self) -> int:
        return len(self.x)


def odometry(path: PlanarPath, rng: np.random.Generator) -> PlanarPath:
    """What wheel odometry reports for a true path, from its own origin.

    Distances are wrong by 2 % and the heading drifts by 0.5 degrees a metre, each to a side that the generator chooses
    for the whole run, as a wrong wheel radius and track do; on top lies white noise of a fifth of that a metre.
    """
    dx, dy, dyaw = np.diff(path.x), np.diff(path.y), np.diff(path.yaw)
    middle = path.yaw[:-1] + dyaw / 2
    ahead = np.cos(middle) * dx + np.sin(middle) * dy
    aside = -np.sin(middle) * dx + np.cos(middle) * dy
    step = np.hypot(dx, dy)
    scale = 1 + ODOMETRY_TRANSLATION * rng.choice([-1, 1])
    drift = ODOMETRY_ROTATION * rng.choice([-1, 1])
    white = 0.2 * np.sqrt(step) * rng.standard_normal((3, len(step)))
    ahead = ahead * scale + white[0] * ODOMETRY_TRANSLATION
    aside = aside * scale + white[1] * ODOMETRY_TRANSLATION
    dyaw = dyaw + drift * step + white[2] * ODOMETRY_ROTATION
    yaw = np.concatenate([[0], np.cumsum(dyaw)])
    middle = yaw[:-1] + dyaw / 2
    x = np.cumsum(np.cos(middle) * ahead - np.sin(middle) * aside)
    y = np.cumsum(np.sin(middle) * ahead + np.cos(middle) * aside)
    return PlanarPath(np.concatenate([[0], x]), np.concatenate([[0], y]), yaw)


def odometry_covariance(distance: float) -> np.ndarray:
    """(6, 6) covariance of an odometry pose after ``distance`` metres, order x y z roll pitch yaw."""
    along = (ODOMETRY_TRANSLATION * distance) ** 2 + 1e-6
    turned = (ODOMETRY_ROTATION * distance) ** 2 + 1e-6
    aside = (ODOMETRY_ROTATION * distance * distance / 2) ** 2 + along
    return np.diag([aside, aside, 1e-6, 1e-6, 1e-6, turned])
