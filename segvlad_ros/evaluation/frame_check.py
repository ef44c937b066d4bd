"""Whether what geometry measures between two days contradicts that their true poses are in one frame."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segvlad_ros.geometry import angle_of, to_matrix
from segvlad_ros.types import Pose

MIN_MATCHES = 5
# Matches agree on where the frames lie to each other within this.
_AGREE_M, _AGREE_RAD = 1.0, 0.35


@dataclass(frozen=True)
class MeasuredMatch:
    """A match whose relative pose was measured, and the truth about both ends.

    :ivar match: true pose of the map's keyframe, in the frame of the map's truth
    :ivar query_in_match: as it was measured
    :ivar query: true pose of the query, in the frame of the bag's truth
    """

    match: Pose
    query_in_match: Pose
    query: Pose


def frames_apart(matches: Sequence[MeasuredMatch], limit_m: float) -> str | None:
    """Whether most matches lie wrong by one and the same transform: then the truths are in two frames.

    Matches that are wrong each in its own way contradict nothing: they are wrong.

    :param limit_m: by more than this a match lies wrong
    :return: one sentence, or None
    """
    if len(matches) < MIN_MATCHES:
        return None
    queries = np.array([to_matrix(match.query) for match in matches])
    measured = np.array([to_matrix(match.match) @ to_matrix(match.query_in_match) for match in matches])
    wrong = _apart(measured, queries)[0] > limit_m
    map_from_bag = measured @ np.linalg.inv(queries)
    agreeing = np.array([_agree(measured, each @ queries) & wrong for each in map_from_bag])
    best = int(agreeing.sum(axis=1).argmax())
    count = int(agreeing[best].sum())
    if count < MIN_MATCHES or 2 * count <= len(matches):
        return None
    moved_m, turned_rad = _apart(measured[best], queries[best])
    return (f'{count} of {len(matches)} measured matches agree with each other that the truth of the bag is off by one '
            f'transform ({moved_m:.1f} m and {np.degrees(turned_rad):.0f} degrees there) against that of the map: the '
            'two are not in one frame, or the place has a twin')


def _apart(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Metres and radians between (..., 4, 4) poses."""
    return (np.linalg.norm(first[..., :3, 3] - second[..., :3, 3], axis=-1),
            angle_of(np.linalg.inv(first) @ second))


def _agree(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    distances, angles = _apart(first, second)
    return (distances <= _AGREE_M) & (angles <= _AGREE_RAD)
