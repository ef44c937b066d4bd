"""A finished map to localise in, and where its keyframes truly are."""
from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segvlad_ros.evaluation.true_poses import OptimizedTruth, TruePose, TruePoses, Truth, check_one_frame
from segvlad_ros.io.stamps import as_time, spans_apart
from segvlad_ros.mapping.map_format import outline
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import Keyframe, SegvladError

if TYPE_CHECKING:
    from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownMap:
    """A map file, and the truth of its sessions.

    A map itself holds odometry, which begins anew with each session and is not ground truth.

    :ivar truths: each keyframe is known to at most one of them
    :ivar name: what a sentence calls the map
    """

    path: Path
    truths: Sequence[Truth]
    name: str

    def check(self, truth: Truth, trusted: bool) -> None:
        """See that all truths are in one frame, see :func:`~segvlad_ros.evaluation.true_poses.check_one_frame`."""
        for first, second in combinations((*self.truths, truth), 2):
            check_one_frame(first, second, trusted)

    @property
    def oriented(self) -> bool:
        """Whether all truths tell which way the robot looked."""
        return all(truth.oriented for truth in self.truths)

    def load(self, places: PlaceRecognizer) -> Iterator[tuple[Keyframe, TruePose | None]]:
        """Let a recogniser search the map, as a localizer does; its keyframes by entry, with their true poses.

        :raises SegvladError: no map, damaged, of another fingerprint; no keyframe has a true pose, or one has two
        """
        with PlaceMap.open(self.path, fingerprint=places.preset.fingerprint()) as place_map:
            places.recognizer.load(place_map)
            keyframes = [outline(packed) for _, packed in place_map.packed()]
        poses = [self._pose(keyframe) for keyframe in keyframes]
        unknown = sum(pose is None for pose in poses)
        if unknown == len(poses):
            raise SegvladError(f'{self.name}: {self._nothing_known(keyframes)}')
        if unknown:
            logger.warning('%s: %d of %d keyframes have no true pose; matches with them count neither way', self.name,
                           unknown, len(poses))
        return zip(keyframes, poses)

    def _pose(self, keyframe: Keyframe) -> TruePose | None:
        known = [(truth, pose) for truth in self.truths if (pose := truth.of(keyframe)) is not None]
        if len(known) > 1:
            raise SegvladError(f'{self.name}: {known[0][0].name} and {known[1][0].name} both cover the keyframe at '
                               f'{as_time(keyframe.id.stamp_ns)}; give one truth for each session, and of sessions '
                               'whose clocks overlap one at a time')
        return known[0][1] if known else None

    def _nothing_known(self, keyframes: Sequence[Keyframe]) -> str:
        stamps = [keyframe.id.stamp_ns for keyframe in keyframes]
        if not stamps:
            return 'holds no keyframes'
        if isinstance(self.truths[0], OptimizedTruth):
            return 'holds odometry only, which is not ground truth'
        covered = np.concatenate([truth.stamps for truth in self.truths if isinstance(truth, TruePoses)])
        names = ' and '.join(truth.name for truth in self.truths)
        return (spans_apart('its keyframes', stamps, names, covered)
                or f'{names} has no pose at the stamp of any keyframe')


def optimized_truth(path: Path) -> OptimizedTruth:
    """The optimised poses of a map, as its truth.

    :raises SegvladError: it has none, or in several frames
    """
    with PlaceMap.open(path) as place_map:
        frames = {packed.optimized.map_from_base.frame for _, packed in place_map.packed()
                  if packed.optimized is not None}
    if not frames:
        raise SegvladError(f'{path}: holds odometry only, which is not ground truth: give --map-truth the bag '
                           'that the map was made of, or its poses as a TUM file')
    if len(frames) > 1:
        raise SegvladError(f'{path}: holds poses in several frames, {" and ".join(sorted(frames))}: give --map-truth '
                           'the bags that it was made of, or merge their maps with segvlad map merge')
    return OptimizedTruth(f'the optimised poses in {path}', frames.pop())
