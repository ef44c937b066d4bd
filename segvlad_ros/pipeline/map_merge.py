"""Several maps as one, their sessions aligned to the first map's frame by the places of it that they recognise.

Maps are joined one after the other. Each keyframe of the next one is asked about as a localizer would ask, and each
recognised place with a metric pose tells where the robot stood in the first map's frame
(:mod:`segvlad_ros.mapping.alignment`). What is known to lie in that frame gets an optimised pose in it; what odometry
has measured stays as it was. Nothing is removed, and no keyframe gets another identity.
"""
from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from segvlad_ros.geometry import from_matrix, to_matrix
from segvlad_ros.mapping.alignment import Alignment, align
from segvlad_ros.mapping.map_format import fingerprint_difference
from segvlad_ros.mapping.odometry import OdometryTracks
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.builders import build_recognizer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.pipeline.recognizer import Recognizer
from segvlad_ros.types import Keyframe, KeyframeId, OptimizedPose, Pose, SegvladError, Status

Progress = Callable[[Iterable, str, int], Iterable]
"""(values, title, total) -> the same values, while somebody is shown how far they are."""

COMMON_FRAME = 'map'
"""The first map's frame, where no back-end has given it a name."""
MIN_IN_COMMON = 3
"""Keyframes of a map that must recognise a place of another one, where nothing of it can be aligned ..."""
SHARE_IN_COMMON = 0.2
"""... and the share of all that they must be: floors of two buildings may share a corner that looks alike ..."""
SHARE_IN_DOUBT = 0.5
"""... likewise, where places were recognised with a metric pose, and those do not agree."""


@dataclass
class Piece:
    """Keyframes of a map whose poses are in one frame and, those of odometry, of one unbroken run.

    :ivar where: the map's file
    :ivar frame: of their poses, '' where they have none
    :ivar optimized: the poses are a back-end's
    :ivar ids: in the order of the map
    :ivar path: frame_from_base, (4, 4) each; empty without poses
    :ivar recognized: keyframes that recognised a place of the maps before
    :ivar measured: those of them with a metric pose
    :ivar unproven: those of them that geometry should have proven, and did not
    :ivar seen, sightings: those of them whose place lies in the common frame, and where that has them, (4, 4) each
    :ivar is_common: it is the piece in whose frame all others are to lie
    :ivar alignment: None where it was not aligned
    :ivar reason: why not
    """

    where: Path
    frame: str = ''
    optimized: bool = False
    ids: list[KeyframeId] = field(default_factory=list)
    path: list[np.ndarray] = field(default_factory=list)
    recognized: int = 0
    measured: int = 0
    unproven: int = 0
    seen: list[int] = field(default_factory=list)
    sightings: list[np.ndarray] = field(default_factory=list)
    is_common: bool = False
    alignment: Alignment | None = None
    reason: str = ''

    @property
    def sessions(self) -> list[str]:
        """Whose keyframes it holds, in order."""
        return list(dict.fromkeys(identity.session_id for identity in self.ids))


def pieces_of(place_map: PlaceMap) -> list[Piece]:
    """The pieces of a map, in the order in which they begin."""
    found: dict[Hashable, Piece] = {}
    tracks = OdometryTracks()
    for keyframe in place_map.keyframes():
        mark, pose = tracks.mark(keyframe.id, keyframe.pose), keyframe.best_pose
        key: Hashable = pose.frame if keyframe.optimized else (
            *keyframe.id.session, mark and mark.run)
        if mark is None and not keyframe.optimized:
            pose = None
        piece = found.setdefault(key, Piece(place_map.path, pose.frame if pose else '', bool(keyframe.optimized)))
        piece.ids.append(keyframe.id)
        if pose is not None:
            piece.path.append(to_matrix(pose))
    return list(found.values())


def merge_maps(paths: Sequence[Path], output: Path, *, preset: str | Path | None = None, anyway: bool = False,
               progress: Progress = lambda values, title, total: values) -> list[Piece]:
    """Join maps of one fingerprint, whole or not at all; the maps themselves stay as they are.

    :param output: a new map file
    :param preset: with which places are recognised; None takes that of the first map
    :param anyway: join maps that have nothing in common, too
    :return: what became of each piece of each map
    :raises SegvladError: no maps, of two fingerprints, or without anything in common; the output exists
    """
    with ExitStack() as opened:
        maps = [opened.enter_context(PlaceMap.open(path)) for path in paths]
        merge = _Merge(maps, preset, progress)
        pieces = merge.join(anyway)
        merge.write(output)
    return pieces


class _Merge:
    """Where the keyframes of several maps lie in one frame.

    :param maps: open, the first one gives the frame
    """

    def __init__(self, maps: Sequence[PlaceMap], preset: str | Path | None, progress: Progress) -> None:
        first = maps[0]
        for other in maps[1:]:
            if different := fingerprint_difference(other.fingerprint, first.fingerprint):
                raise SegvladError(f'{other.path}: made with another preset or model than {first.path}: '
                                   f'{different.replace(" here", " there")}; only maps of one fingerprint are joined')
        if preset is None and not first.preset:
            raise SegvladError(f'{first.path}: does not say by which preset it was made: give --preset')
        self._named = str(preset or first.preset)
        self._preset = load_preset(self._named)
        first.check_fingerprint(self._preset.fingerprint())
        self._maps, self._progress = maps, progress
        self._home: dict[tuple[int, str, int], PlaceMap] = {}  # of keyframes that are in several maps, the first one
        self._poses: dict[KeyframeId, Pose] = {}  # in the common frame
        self._frames: dict[tuple[str, str], str] = {}  # a back-end's other frames: names by map and name there

    def join(self, anyway: bool) -> list[Piece]:
        """Recognise and align, map by map."""
        joined: list[Piece] = []
        for number, place_map in enumerate(self._maps):
            for identity in place_map.ids():
                self._home.setdefault(identity.key, place_map)
            pieces = pieces_of(place_map)
            if not number:
                self._lay_down(pieces)
            asked = [piece for piece in pieces if not piece.is_common]
            if asked:
                self._recognize(place_map, asked, self._recognizer(number))
            for piece in asked:
                self._align(piece, place_map)
            if number and not anyway:
                _check_in_common(place_map, asked)
            joined += pieces
        return joined

    def write(self, output: Path) -> None:
        """Write all keyframes as one map."""
        first, total = self._maps[0], len(self._home)
        PlaceMap.write(output, self._progress(self._joined(self._maps), f'writing {output.name}', total),
                       first.fingerprint, first.dimension, first.preset or self._named,
                       sessions=[session for place_map in self._maps for session in place_map.sessions()])

    def _lay_down(self, pieces: list[Piece]) -> None:
        """Choose the common frame: that of the first map's largest piece."""
        common = max((piece for piece in pieces if piece.path), key=lambda piece: len(piece.ids), default=None)
        if common is not None:
            common.is_common = True
            self._put(common, common.path, common.frame if common.optimized else COMMON_FRAME)

    def _put(self, piece: Piece, matrices: Iterable[np.ndarray], frame: str) -> None:
        self._frame = frame
        for identity, matrix in zip(piece.ids, matrices):
            self._poses.setdefault(identity, from_matrix(matrix, frame))  # what a map before holds as well stays there

    def _recognizer(self, number: int) -> Recognizer:
        """Knows the maps before; of the first map itself what lies in the common frame."""
        recognizer = build_recognizer(self._preset)
        maps = self._maps[:max(number, 1)]
        total = sum(place_map.count for place_map in maps)
        for keyframe in self._progress(self._joined(maps), f'loading {maps[-1].path.name}', total):
            if number or keyframe.id in self._poses:
                recognizer.add(keyframe)
        return recognizer

    def _joined(self, maps: Iterable[PlaceMap]) -> Iterator[Keyframe]:
        """The keyframes of some maps, each once, with the poses that they get."""
        for place_map in maps:
            for keyframe in place_map.keyframes():
                if self._home[keyframe.id.key] is not place_map:
                    continue
                pose, optimized = self._poses.get(keyframe.id), keyframe.optimized
                if pose is None and optimized is not None:
                    pose = optimized.map_from_base
                    pose = replace(pose, frame=self._frames.get((place_map.map_id, pose.frame), pose.frame))
                yield keyframe if pose is None else replace(keyframe, optimized=OptimizedPose(pose))

    def _recognize(self, place_map: PlaceMap, pieces: list[Piece], recognizer: Recognizer) -> None:
        """Ask for every keyframe of the pieces, as a localizer on its way would."""
        places = {identity: (piece, number) for piece in pieces for number, identity in enumerate(piece.ids)}
        session = None
        for keyframe in self._progress(place_map.keyframes(), f'recognising {place_map.path.name}', place_map.count):
            if keyframe.id not in places:
                continue
            piece, number = places[keyframe.id]
            if session != keyframe.id.session:
                session = keyframe.id.session
                recognizer.reset_short_term()
            if self._home[keyframe.id.key] is not place_map:
                self._check_same(place_map, keyframe)
                match, way = keyframe.id, np.eye(4)
            else:
                answer = recognizer.recognize(keyframe, exclude_recent=False, top_k=1)
                if answer.status != Status.MATCHED:
                    continue
                match, pose = answer.candidates[0].id, answer.candidates[0].query_pose_in_match
                way = None if pose is None else to_matrix(pose)
                piece.unproven += answer.evidence.provable and not answer.evidence.proven
            piece.recognized += 1
            if way is not None:
                piece.measured += 1
                if piece.path and match in self._poses:
                    piece.seen.append(number)
                    piece.sightings.append(to_matrix(self._poses[match]) @ way)

    def _check_same(self, place_map: PlaceMap, keyframe: Keyframe) -> None:
        """See that an identity that two maps hold is one keyframe."""
        home = self._home[keyframe.id.key]
        other = home.keyframe(keyframe.id)
        if other.id != keyframe.id or not np.array_equal(other.description.descriptors,
                                                         keyframe.description.descriptors):
            raise SegvladError(f'{place_map.path}: keyframe {keyframe.id.index} of session {keyframe.id.session_id} is '
                               f'another one than in {home.path}; leave one of the maps out')

    def _align(self, piece: Piece, place_map: PlaceMap) -> None:
        piece.reason = self._obstacle(piece, place_map)
        if not piece.reason:
            try:
                piece.alignment = align(np.array(piece.path), np.array(piece.seen), np.array(piece.sightings),
                                        self._preset.odometry, piece.unproven)
                self._put(piece, piece.alignment.poses, self._frame)
            except SegvladError as error:
                piece.reason = str(error)
        if piece.alignment is None and piece.optimized:  # a frame that may have another one's name
            self._frames[place_map.map_id, piece.frame] = f'{piece.frame}/{place_map.map_id[:8]}'

    def _obstacle(self, piece: Piece, place_map: PlaceMap) -> str:
        """Why a piece cannot be aligned at all, '' if it may be."""
        of_first = place_map is self._maps[0]
        if of_first and not self._poses:
            return 'the first map has no poses'
        if not piece.recognized:
            where = 'in the frame of the map' if of_first else 'of the maps before'
            return f'none of its keyframes recognised a place {where}'
        if not piece.measured:
            return (f'{piece.recognized} of its keyframes recognised a place, but none with a metric pose, which takes '
                    'depth, or intrinsics and odometry')
        if not self._poses:
            return 'the first map has no poses'
        if not piece.path:
            return 'its keyframes have no poses'
        return '' if piece.seen else 'the places that it recognised are not in the frame of the first map'


def _check_in_common(place_map: PlaceMap, pieces: list[Piece]) -> None:
    """See that a map shows places of the maps before: that it could be aligned, or that it recognises many."""
    if any(piece.alignment for piece in pieces):
        return
    recognized, measured = (sum(getattr(piece, name) for piece in pieces) for name in ('recognized', 'measured'))
    share = SHARE_IN_DOUBT if measured else SHARE_IN_COMMON
    if recognized < min(place_map.count, max(MIN_IN_COMMON, share * place_map.count)):
        doubt = f', {measured} of them proven with a metric pose, too few that agree' if measured else ''
        raise SegvladError(f'{place_map.path}: has nothing in common with the maps before: {recognized} of its '
                           f'{place_map.count} keyframes recognise a place of theirs{doubt}; --anyway joins it without '
                           'alignment')
