"""When two views are believed to show one place: the section ``geometry`` of a preset."""
from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from segvlad_ros.settings import setting
from segvlad_ros.verification.matchers import LIGHTERGLUE, NEAREST


@dataclass(frozen=True)
class VerificationSettings:
    """Thresholds of :func:`~segvlad_ros.verification.verify.verify`, and what pairs the keypoints.

    A point with depth binds two coordinates, and the pose that it yields tells how far apart the views are. An epipolar
    inlier binds one coordinate, and says nothing of the distance: more of them are asked for, over more of the image.

    :ivar candidates: best candidates of a query that are compared; more find the place below a look-alike, at some
        milliseconds each; 0 turns geometry off
    :ivar max_keypoints: kept of an image; more prove more places, at some 30 bytes each in the map and a time that
        grows with their square; 0 keeps none
    :ivar max_error: of an inlier, share of the image's width; larger forgives blur and bad calibration, and lets more
        wrong correspondences agree by chance
    :ivar matcher: what pairs keypoints: 'nearest', their descriptors alone, or the network 'lighterglue', which takes
        keypoints of XFeat, and proves more places in several times the time
    :ivar weights: of that network
    :ivar learned_keypoints: of each image, the best ones, that it sees; more prove more places, in a time that grows
        with their square
    :ivar max_ratio: of 'nearest', distance of a descriptor to the nearest one by that to the second nearest; larger
        finds more correspondences and more wrong ones among them
    :ivar min_inlier_share: inliers as a share of the correspondences; larger proves fewer places where much has moved
        or repeats itself, and fewer wrong ones
    :ivar min_metric_inliers: inliers of 'pnp'; larger proves fewer places with depth, and fewer wrong ones
    :ivar min_metric_coverage: share of the cells of an 8 x 6 grid over each image that hold inliers of 'pnp'; larger
        takes no single object for a place, and proves fewer places that share only a part of the view
    :ivar min_epipolar_inliers: inliers of 'fundamental' and 'essential'; larger proves fewer places without depth, and
        fewer wrong ones: of 4,767 wrong pairs along six simulated streets the most had 25
    :ivar min_keypoint_share: fewer epipolar inliers are enough where they are this share of the keypoints of the poorer
        image, as in bare corridors, but never fewer than of a homography; larger proves fewer bare places
    :ivar min_planar_inliers: inliers of 'homography'; larger proves fewer flat scenes, and fewer posters that hang
        twice
    :ivar max_behind_share: of the correspondences that agree on an epipolar geometry, those that would lie behind a
        camera, as half of all do that agree by chance; larger proves more along streets, falsely
    :ivar min_coverage: as ``min_metric_coverage``, without depth or with depths from odometry
    :ivar planar_share: share of the epipolar inliers on one homography that makes the epipolar geometry doubtful;
        larger takes fewer scenes for flat
    :ivar min_parallax_rad: median angle between the rays of an inlier; larger calls the direction of more motions
        unknown
    :ivar position_error_m: standard deviation, each axis, of what the noise of the points does not explain:
        calibration, rolling shutter, a depth camera's bias (measured on hololens_office); larger makes a SLAM back-end
        trust metric poses less
    :ivar angle_error_rad: likewise of the rotation
    :ivar max_distance_m: between the cameras; larger accepts views of one scene from further away, smaller refutes them
    :ivar max_angle_rad: between the cameras, as if each were mounted upright; larger accepts views that are turned away
        further, smaller refutes them
    """

    candidates: int = setting(3, low=0, high=20)
    max_keypoints: int = setting(500, low=0, high=5000)
    matcher: str = setting(NEAREST, choices=(NEAREST, LIGHTERGLUE))
    weights: Path | None = None
    learned_keypoints: int = setting(512, low=50, high=5000)
    max_error: float = setting(0.004, low=0.0005, high=0.05)
    max_ratio: float = setting(0.8, low=0.3, high=1.0)
    min_inlier_share: float = setting(0.5, low=0.0, high=1.0)
    min_metric_inliers: int = setting(12, low=6, high=1000)
    min_metric_coverage: float = setting(0.08, low=0.0, high=1.0)
    min_epipolar_inliers: int = setting(27, low=8, high=1000)
    min_keypoint_share: float = setting(0.15, low=0.0, high=1.0)
    min_planar_inliers: int = setting(15, low=8, high=1000)
    max_behind_share: float = setting(0.15, low=0.0, high=1.0)
    min_coverage: float = setting(0.18, low=0.0, high=1.0)
    planar_share: float = setting(0.8, low=0.0, high=1.0)
    min_parallax_rad: float = setting(math.radians(1), low=0.0, high=1.0)
    position_error_m: float = setting(0.012, low=0.0, high=10.0)
    angle_error_rad: float = setting(math.radians(0.25), low=0.0, high=1.0)
    max_distance_m: float = setting(3.5, low=0.1)
    max_angle_rad: float = setting(math.radians(60), low=0.0, high=math.pi)
