"""Where a session lies in the frame of an older map, by the places of that map that it has recognised.

Each recognised place tells where the robot stood in the map's frame. Those sightings must agree with each other as far
as odometry can compare them: a false one is contradicted by the others around it. Those that agree hold the session in
the map's frame, and its odometry tells the ways between them; where both cannot be right, as after a long way of a
wheel odometry that drifts, the way is bent by no more than odometry may be wrong (a pose graph that is a chain, solved
by Gauss-Newton with robust weights).
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import bsr_matrix, diags
from scipy.sparse.linalg import spsolve
from scipy.spatial.transform import Rotation

from segvlad_ros.geometry import adjoint, angle_of
from segvlad_ros.mapping.odometry import OdometrySettings, position_error
from segvlad_ros.types import SegvladError

MIN_AGREEING = 5
"""Sightings that must agree; fewer may be chance."""
MIN_AGREEING_SHARE = 0.5
"""Share of the recognised places that must be proven and agree: those that look alike in two buildings hardly are."""
# Standard deviations of a sighting.
_SIGHTING_M, _SIGHTING_RAD = 0.05, 0.015
# Beyond three standard deviations two poses contradict each other.
_SIGMAS = 3.0
# Ways of odometry that may be wrong by more than this compare nothing.
_USEFUL_M, _USEFUL_RAD = 4.0, np.radians(30)
# Others that must bear a sighting out.
_SUPPORTERS = 2
# What odometry is wrong by is much the same over this way, and independent of what it is wrong by further on.
_CORRELATED_M = 10.0
# What every step of odometry may be wrong by, however short.
_STEP_M, _STEP_RAD = 0.005, 0.002
_ROUNDS, _DONE = 30, 1e-6


@dataclass(frozen=True)
class Alignment:
    """A session in the frame of the map.

    :ivar poses: (n, 4, 4) map_from_base of its keyframes
    :ivar map_from_session: (4, 4), the rigid transform that comes nearest to that
    :ivar bent_m: how far a pose lies from where that rigid transform has it, metres, at most
    :ivar sightings: recognised places that told where it is
    :ivar residuals_m, residuals_rad: (agreeing,) between the sightings that agree and the poses
    """

    poses: np.ndarray
    map_from_session: np.ndarray
    bent_m: float
    sightings: int
    residuals_m: np.ndarray
    residuals_rad: np.ndarray

    @property
    def agreeing(self) -> int:
        """Sightings that agree with the poses."""
        return len(self.residuals_m)


def align(path: np.ndarray, seen: np.ndarray, sightings: np.ndarray, drift: OdometrySettings,
          unproven: int = 0) -> Alignment:
    """Bring a session into the frame of a map.

    :param path: (n, 4, 4) session_from_base, one unbroken run of odometry, in order
    :param seen: (k,) int, ascending, the keyframes that recognised a place of the map
    :param sightings: (k, 4, 4) map_from_base of those keyframes, as the recognised places tell
    :param drift: how far odometry may be wrong
    :param unproven: further keyframes that recognised a place, which geometry should have proven and did not
    :raises SegvladError: too few sightings agree
    """
    kept = supported(path, seen, sightings, drift) >= _SUPPORTERS
    _check(int(kept.sum()), len(seen) + unproven)
    poses = _bent(path, seen[kept], sightings[kept], drift)
    apart = np.linalg.inv(poses[seen]) @ sightings
    metres, radians = np.linalg.norm(apart[:, :3, 3], axis=1), angle_of(apart)
    # what both odometries are wrong by between two sightings is not in the sightings' own errors
    agree = kept & (metres <= 2 * _SIGMAS * _SIGHTING_M) & (radians <= 2 * _SIGMAS * _SIGHTING_RAD)
    _check(int(agree.sum()), len(seen) + unproven)
    rigid = _rigid(poses, path)
    bent = np.linalg.norm((rigid @ path)[:, :3, 3] - poses[:, :3, 3], axis=1)
    return Alignment(poses, rigid, float(bent.max()), len(seen), metres[agree], radians[agree])


def _check(agreeing: int, recognized: int) -> None:
    if agreeing < max(MIN_AGREEING, MIN_AGREEING_SHARE * recognized):
        least = f'at least {MIN_AGREEING}' if recognized < MIN_AGREEING / MIN_AGREEING_SHARE else 'at least half'
        raise SegvladError(f'{agreeing} of {recognized} recognised places are proven and agree on where it lies, '
                           f'{least} needed')


def supported(path: np.ndarray, seen: np.ndarray, sightings: np.ndarray, drift: OdometrySettings) -> np.ndarray:
    """By how many others each sighting is borne out, of those with which odometry can compare it.

    :return: (k,) int; -1 where more of the others contradict it than bear it out
    """
    agree, differ = (np.zeros((len(seen), len(seen)), bool) for _ in range(2))
    positions = path[:, :3, 3]
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    middle = (positions[1:] + positions[:-1]) / 2
    moment = np.concatenate([np.zeros((1, 3)), np.cumsum(steps[:, None] * middle, axis=0)])
    for number, at in enumerate(seen):  # a row at a time: thousands of sightings make millions of pairs
        apart = np.linalg.inv(sightings[number] @ np.linalg.inv(path[at]) @ path[seen]) @ sightings
        way = length[seen] - length[at]
        # the map's keyframes lie on an odometry of their own, which may be wrong by as much
        metres = np.sqrt(2) * np.hypot(_SIGHTING_M, position_error(way, positions[seen], moment[seen] - moment[at],
                                                                    drift))
        radians = np.sqrt(2) * np.hypot(_SIGHTING_RAD, drift.drift_rad_per_m * np.abs(way))
        # the lever arm: a sighting that is turned by its error has the others elsewhere
        lever = np.sqrt(2) * _SIGHTING_RAD * np.linalg.norm(positions[seen] - positions[at], axis=1)
        useful = (metres <= _USEFUL_M) & (radians <= _USEFUL_RAD)
        fits = ((np.linalg.norm(apart[:, :3, 3], axis=1) <= _SIGMAS * np.hypot(metres, lever))
                & (angle_of(apart) <= _SIGMAS * radians))
        agree[number], differ[number] = useful & fits, useful & ~fits
    agree, differ = agree & agree.T, differ | differ.T
    np.fill_diagonal(agree, False)
    return support_left(agree, differ)


def support_left(agree: np.ndarray, differ: np.ndarray) -> np.ndarray:
    """By how many others each sighting is borne out when those that are contradicted by more have gone.

    :param agree: (k, k) bool, symmetric, which bear each other out; none itself
    :param differ: (k, k) bool, symmetric, which contradict each other
    :return: (k,) int; -1 of those that have gone
    """
    support, against, kept = agree.sum(axis=1), differ.sum(axis=1), np.ones(len(agree), bool)
    while kept.any():
        excess = np.where(kept, against - support, -len(agree))
        worst = int(excess.argmax())
        if excess[worst] <= 0:
            break
        kept[worst] = False  # the worst goes first, and no longer speaks for or against the others
        support -= agree[worst]
        against -= differ[worst]
    return np.where(kept, support, -1)


def _bent(path: np.ndarray, seen: np.ndarray, sightings: np.ndarray, drift: OdometrySettings) -> np.ndarray:
    """(n, 4, 4) poses that fit both the sightings and odometry as well as they can be fitted."""
    ways = np.linalg.inv(path[:-1]) @ path[1:]
    length = np.linalg.norm(ways[:, :3, 3], axis=1)
    scale = np.sqrt(length * _CORRELATED_M)
    errors = np.vstack([np.repeat(np.column_stack([np.hypot(drift.drift_m_per_m * scale, _STEP_M),
                                                   np.hypot(drift.drift_rad_per_m * scale, _STEP_RAD)]), 3, axis=1),
                        np.tile(np.repeat([_SIGHTING_M, _SIGHTING_RAD], 3), (len(seen), 1))])
    poses = _nearest_sighting(path, seen, sightings)
    for _ in range(_ROUNDS):
        between = np.linalg.inv(poses[:-1]) @ poses[1:]
        apart = np.concatenate([np.linalg.inv(ways) @ between, np.linalg.inv(sightings) @ poses[seen]])
        values = np.concatenate([apart[:, :3, 3], Rotation.from_matrix(apart[:, :3, :3]).as_rotvec()], axis=1) / errors
        weights = np.ones(len(values))
        weights[len(ways):] = 1 / (1 + (values[len(ways):] ** 2).sum(axis=1) / _SIGMAS ** 2)  # Cauchy's
        jacobian = _jacobian(between, apart, seen, errors)
        weighted = jacobian.T @ diags(np.repeat(weights, 6))
        step = -spsolve((weighted @ jacobian).tocsc(), weighted @ values.ravel()).reshape(-1, 6)
        motions = np.tile(np.eye(4), (len(poses), 1, 1))
        motions[:, :3, :3], motions[:, :3, 3] = Rotation.from_rotvec(step[:, 3:]).as_matrix(), step[:, :3]
        poses = poses @ motions
        if abs(step).max() < _DONE:
            break
    return poses


def _jacobian(between: np.ndarray, apart: np.ndarray, seen: np.ndarray, errors: np.ndarray):
    """(6 (n - 1 + k), 6 n) sparse, of the differences to odometry and to sightings, after small motions of the poses.

    With Q between two poses, ``apart = way^-1 exp(-x) Q exp(y) = way^-1 Q exp(y - adjoint(Q^-1) x)``.
    """
    steps, poses = len(between), len(between) + 1
    turned = np.tile(np.eye(6), (len(apart), 1, 1))
    turned[:, :3, :3] = apart[:, :3, :3]
    turned /= errors[:, :, None]
    back = -turned[:steps] @ np.array([adjoint(pose) for pose in np.linalg.inv(between)]).reshape(steps, 6, 6)
    blocks = np.concatenate([np.stack([back, turned[:steps]], axis=1).reshape(-1, 6, 6), turned[steps:]])
    columns = np.concatenate([np.column_stack([np.arange(steps), np.arange(1, poses)]).ravel(), seen])
    rows = np.concatenate([np.arange(0, 2 * steps + 1, 2), 2 * steps + np.arange(1, len(seen) + 1)])
    return bsr_matrix((blocks, columns, rows), shape=(6 * (steps + len(seen)), 6 * poses)).tocsr()


def _nearest_sighting(path: np.ndarray, seen: np.ndarray, sightings: np.ndarray) -> np.ndarray:
    """(n, 4, 4) each pose as its nearest sighting along the path has it."""
    nearest = np.searchsorted((seen[1:] + seen[:-1]) / 2, np.arange(len(path)))
    return sightings[nearest] @ np.linalg.inv(path[seen[nearest]]) @ path


def _rigid(poses: np.ndarray, path: np.ndarray) -> np.ndarray:
    """(4, 4) the mean of ``poses path^-1``, turned about the middle of the path."""
    turn = Rotation.from_matrix(poses[:, :3, :3] @ np.swapaxes(path[:, :3, :3], 1, 2)).mean().as_matrix()
    result = np.eye(4)
    result[:3, :3] = turn
    result[:3, 3] = poses[:, :3, 3].mean(axis=0) - turn @ path[:, :3, 3].mean(axis=0)
    return result
