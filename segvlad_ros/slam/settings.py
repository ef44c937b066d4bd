"""How far the back-end trusts odometry and loop closures."""
from __future__ import annotations

from dataclasses import dataclass, field

from segvlad_ros.mapping.odometry import OdometrySettings


@dataclass(frozen=True)
class PoseGraphSettings:
    """Settings of :class:`~segvlad_ros.slam.pose_graph.PoseGraph`.

    Odometry drifts to one side (a wrong wheel radius, a wrong scale) and at random. Both are meant by a drift: after
    d metres its standard deviation is ``drift * d`` to one side, and ``drift * sqrt(d)`` at random. Covariances of
    odometry messages are not used: most drivers fill in constants. How much it drifts is said once, in the preset, and
    the recogniser believes the same.

    :ivar odometry: of the preset
    :ivar node_distance_m, node_angle_rad: travel after which a node is made
    :ivar drift_rad_per_rad: error of a turn; the recogniser, which looks at ways of many metres, does without it
    :ivar closure_translation_m, closure_rotation_rad: standard deviations that are added to those of a closure, since
        measured covariances are too small more often than chance would have it; also stand for an unknown covariance
    :ivar inlier_probability: share of the true closures that the noise model keeps
    """

    odometry: OdometrySettings = field(default_factory=OdometrySettings)
    node_distance_m: float = 0.5
    node_angle_rad: float = 0.35
    drift_rad_per_rad: float = 0.02
    closure_translation_m: float = 0.05
    closure_rotation_rad: float = 0.02
    inlier_probability: float = 0.99
