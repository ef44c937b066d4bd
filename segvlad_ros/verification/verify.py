"""Geometric verification: whether two keyframes show one rigid scene, and where the query's robot stood.

Correspondences are explained by the strongest model that is possible with what is known: a metric pose from depths
('pnp'), the epipolar geometry of calibrated ('essential') or uncalibrated views ('fundamental'), or, where the scene is
flat or the camera hardly moved, a 'homography'. Only depths give a metric pose (a depth camera's, or see
:mod:`~segvlad_ros.verification.scale`); none is ever made up.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from segvlad_ros.description.upright import upright_from_camera
from segvlad_ros.geometry import adjoint, angle_of, from_tangent, to_matrix
from segvlad_ros.types import Pose
from segvlad_ros.verification import two_view
from segvlad_ros.verification.absolute_pose import metric_pose
from segvlad_ros.verification.matchers import nearest_matcher
from segvlad_ros.verification.verification_settings import VerificationSettings
from segvlad_ros.verification.view import Correspondences, View, normalised

# Coverage counts the cells of this grid, columns and rows, that hold an inlier.
_GRID = 8, 6
# From so many keypoints on, nearly all true pairs are proven; at this width of the image, pixels, none is.
_RICH_KEYPOINTS, _POOR_WIDTH = 500, 160
_DEFAULTS = VerificationSettings()


@dataclass(frozen=True)
class Geometry:
    """What two views have in common.

    :ivar case: 'verified', or the first test that failed: 'too_few_correspondences', 'no_model', 'too_few_inliers',
        'low_inlier_share', 'clustered', 'behind', 'too_far', 'turned_away'
    :ivar reason: one line for people
    :ivar model: 'pnp', 'essential', 'fundamental', 'homography' or ''
    :ivar degenerate: '', 'planar' (all on one plane, or no motion: no epipolar geometry) or 'low_parallax' (the
        direction of the motion is not known)
    :ivar correspondences: pairs of keypoints that were tried
    :ivar pairs: (inliers, 2) int64, numbers of query and match keypoints that the model explains
    :ivar parallax_rad: median angle between the rays of an inlier, NaN without calibration
    :ivar query_pose_in_match: T_match_query of the base frames with covariance (x y z, roll pitch yaw about the fixed
        axes of the match's base), metric; None where scale or either ``base_from_camera`` is unknown
    :ivar scale_source: 'depth', 'odometry' or ''
    """

    case: str
    reason: str
    model: str = ''
    degenerate: str = ''
    correspondences: int = 0
    pairs: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    parallax_rad: float = math.nan
    query_pose_in_match: Pose | None = None
    scale_source: str = ''

    @property
    def proven(self) -> bool:
        """Whether the views are believed to show one place."""
        return self.case == 'verified'

    @property
    def refuted(self) -> bool:
        """Whether the views are known to show one scene from two places."""
        return self.case in ('too_far', 'turned_away')

    @property
    def inliers(self) -> int:
        """Number of keypoint pairs that the model explains."""
        return len(self.pairs)


def verify(query: View, match: View, segments: np.ndarray | None = None,
           settings: VerificationSettings = _DEFAULTS) -> Geometry:
    """Test whether a match found by segments also holds point by point, by the nearest descriptors.

    :param segments: (E, 2) int, matched segments of query and match; correspondences are first sought inside them
    """
    return verify_pairs(query, match, nearest_matcher(settings.max_ratio)(query, match, segments), settings)


def verify_pairs(query: View, match: View, pairs: Correspondences,
                 settings: VerificationSettings = _DEFAULTS) -> Geometry:
    """Test whether these pairs of keypoints hold together.

    :param pairs: what a :data:`~segvlad_ros.verification.matchers.Matcher` has found
    """
    pairs = pairs.in_sight(query, match)
    if len(pairs) < settings.min_metric_inliers:
        return Geometry('too_few_correspondences', f'{len(pairs)} points of the two images correspond, at least '
                        f'{settings.min_metric_inliers} needed', correspondences=len(pairs))
    scene = _Scene(query, match, pairs, settings)
    metric = scene.metric()
    if metric is not None and (metric.proven or metric.refuted or scene.tested >= settings.min_epipolar_inliers):
        return metric
    # where few of the correspondences have depths, what all of them say can still prove the place, without a scale
    epipolar = scene.epipolar()
    return metric if metric is not None and not epipolar.proven else epipolar


def provability(query: View, match: View) -> float:
    """How likely geometry would have proven two views, if they showed one scene; near 0 it cannot tell.

    Few keypoints and small images prove little. Of 549 true pairs of corridor, 160 x 120 pixels, none was proven.
    Without depth, by keypoints of the poorer image: of rtabmap_corridor_loop 13 % with 50 to 100, 58 % with 100 to 200,
    81 % with 200 to 300, 95 % with more; of hololens_office 5 % with 200 to 300, 57 % with more.
    """
    poorer = min(len(query.keypoints.depths), len(match.keypoints.depths))
    narrower = min(query.size[0], match.size[0])
    return min(1.0, poorer / _RICH_KEYPOINTS) * float(np.clip((narrower - _POOR_WIDTH) / _POOR_WIDTH, 0.0, 1.0))


class _Scene:
    """Two views with their correspondences."""

    def __init__(self, query: View, match: View, pairs: Correspondences, settings: VerificationSettings) -> None:
        self.query, self.match, self.pairs, self.settings = query, match, pairs, settings
        self.pixels = query.pixels(pairs.query), match.pixels(pairs.match)
        self.stretch = query.stretch(pairs.query), match.stretch(pairs.match)
        self.max_error = settings.max_error * (query.size[0] + match.size[0]) / 2
        self.calibrated = query.camera_model is not None and match.camera_model is not None
        self.tested = 0  # correspondences with a depth
        self.matrices = query.likely_matrix, match.likely_matrix
        self.rays = tuple(map(normalised, self.pixels, self.matrices))

    def metric(self) -> Geometry | None:
        """The verdict on the pose from depths, None where too few depths are known to tell."""
        if not self.calibrated:
            return None
        found = metric_pose(self.query, self.match, self.pairs, self.max_error)
        self.tested = 0 if found is None else found.tested
        if found is None or found.tested < self.settings.min_metric_inliers:
            return None
        limits = self.settings
        # triangulated depths are worse than measured ones; points close to each other then fit many a pose
        coverage = limits.min_coverage if found.scale_source == 'odometry' else limits.min_metric_coverage
        case, reason = self._judge('pnp', found.inliers, found.tested, limits.min_metric_inliers, coverage)
        motion = found.match_from_query
        case, reason = self._near(motion, case, reason)
        pose, source = None, ''
        if case == 'verified':
            errors = np.repeat([limits.position_error_m, limits.angle_error_rad], 3)
            covariance = found.covariance + np.diag(errors ** 2)
            pose, source = _base_pose(self.query, self.match, motion, covariance), found.scale_source
        return Geometry(case, reason, 'pnp', '', len(self.pairs), self._numbers(found.inliers),
                        self._parallax(motion, found.inliers), pose, source)

    def epipolar(self) -> Geometry:
        """The verdict on two views without scale."""
        limits = self.settings
        if self.calibrated:
            name = 'essential'
            model, inliers = two_view.essential(*self.pixels, *self.matrices, self.max_error, stretch=self.stretch)
        else:
            name = 'fundamental'
            model, inliers = two_view.fundamental(*self.pixels, self.max_error)
        if model is None:
            return Geometry('no_model', f'no {name} matrix explains the {len(self.pairs)} correspondences',
                            correspondences=len(self.pairs))
        consistent = int(inliers.sum())
        motion, inliers = self._motion(model, inliers)
        behind = consistent - int(inliers.sum())
        plane = two_view.homography(*self.pixels, 2 * self.max_error, self.stretch)[1]
        poorer = min(len(self.query.keypoints.depths), len(self.match.keypoints.depths))
        needed = min(limits.min_epipolar_inliers,
                     max(limits.min_planar_inliers, math.ceil(limits.min_keypoint_share * poorer)))
        degenerate = remark = ''
        parallax = self._parallax(motion, inliers) if self.calibrated else math.nan
        if (plane & inliers).sum() >= limits.planar_share * inliers.sum():
            name, inliers, needed, degenerate = 'homography', plane, limits.min_planar_inliers, 'planar'
            remark = '; the points lie on one plane or the camera did not move'
        elif parallax < limits.min_parallax_rad:
            degenerate, remark = 'low_parallax', '; too little parallax to know the direction of the motion'
        case, reason = self._judge(name, inliers, len(self.pairs), needed, limits.min_coverage)
        if case == 'verified' and degenerate != 'planar' and behind > limits.max_behind_share * consistent:
            case, reason = 'behind', f'{reason}, but {behind} others would lie behind a camera'
        if self.calibrated:
            case, reason = self._near(motion, case, reason, scaled=False)
        if case == 'verified':
            reason += remark
        return Geometry(case, reason, name, degenerate, len(self.pairs), self._numbers(inliers), parallax)

    def _judge(self, model: str, inliers: np.ndarray, tested: int, least: int, coverage: float) -> tuple[str, str]:
        """Case and reason by number, share and spread of the inliers."""
        count = int(inliers.sum())
        covered = min(_coverage(view.keypoints.positions[rows[inliers]], view.size)
                      for view, rows in ((self.query, self.pairs.query), (self.match, self.pairs.match)))
        found = f'{count} of {tested} correspondences agree on one {model} model'
        if count < least:
            return 'too_few_inliers', f'{found}, at least {least} needed'
        if count < self.settings.min_inlier_share * tested:
            return 'low_inlier_share', f'{found}, at least {self.settings.min_inlier_share:.0%} needed'
        if covered < coverage:
            return 'clustered', f'{found}, but they cover {covered:.0%} of the image, at least {coverage:.0%} needed'
        return 'verified', found

    def _near(self, match_from_query: np.ndarray, case: str, reason: str, scaled: bool = True) -> tuple[str, str]:
        """Case and reason, where the motion shows that the same scene is seen from another place."""
        if case not in ('verified', 'clustered'):
            return case, reason
        distance = float(np.linalg.norm(match_from_query[:3, 3]))
        query, match = (upright_from_camera(view.base_from_camera) for view in (self.query, self.match))
        angle = angle_of(match @ match_from_query[:3, :3] @ query.T)
        if scaled and distance > self.settings.max_distance_m:
            return 'too_far', f'the same scene, but seen from {distance:.1f} m away'
        if angle > self.settings.max_angle_rad:
            return 'turned_away', f'the same scene, but the cameras are turned by {math.degrees(angle):.0f} degrees'
        return case, reason

    def _motion(self, model: np.ndarray, inliers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Direction of the motion (4, 4), and the inliers that can lie in front of both cameras.

        On which side of a camera a point lies is the same for any likely focal length.
        """
        if not self.calibrated:
            model = self.matrices[1].T @ model @ self.matrices[0]
        motion, _ = two_view.direction(model, *(rays[inliers] for rays in self.rays))
        return motion, inliers & two_view.in_front(motion, *self.rays, self.max_error / self.matrices[1][0, 0])

    def _parallax(self, match_from_query: np.ndarray, inliers: np.ndarray) -> float:
        angles = two_view.parallax(match_from_query, *(rays[inliers] for rays in self.rays))
        return float(np.median(angles)) if len(angles) else math.nan

    def _numbers(self, inliers: np.ndarray) -> np.ndarray:
        return np.column_stack([self.pairs.query[inliers], self.pairs.match[inliers]])


def _base_pose(query: View, match: View, match_from_query: np.ndarray, covariance: np.ndarray) -> Pose | None:
    """Pose of the query's base in the match's base, None where either ``base_from_camera`` is unknown.

    With B the query's and A the match's base_from_camera, ``A match_from_query exp(-x) B^-1`` equals
    ``T exp(-adjoint(B) x)``.

    :param covariance: of x in ``match_from_query exp(-x)``
    """
    if query.base_from_camera is None or match.base_from_camera is None:
        return None
    query_base, match_base = to_matrix(query.base_from_camera), to_matrix(match.base_from_camera)
    motion = match_base @ match_from_query @ np.linalg.inv(query_base)
    moved = adjoint(query_base)
    return from_tangent(motion, moved @ covariance @ moved.T, match.base_from_camera.frame)


def _coverage(pixels: np.ndarray, size: np.ndarray) -> float:
    """Share of the cells of the grid that hold a point."""
    cells = (pixels / size * _GRID).astype(int).clip(0, np.array(_GRID) - 1)
    return len(np.unique(cells @ (1, _GRID[0]))) / (_GRID[0] * _GRID[1])
