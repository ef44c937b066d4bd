"""Which keyframes of a map can go, and the map without them."""
from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segvlad_ros.geometry import rotation_angle
from segvlad_ros.mapping import map_copy, map_file
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import FIXED_FRAMES, KeyframeId, KeyframeKey, Pose, SegvladError, SessionKey

COVERED_M, COVERED_RAD = 1.0, np.radians(30)
"""A keyframe within this of another one shows much the same."""
COVERED_FRAMES = 2
"""Where there are no poses, one that is by so many older or younger in its session."""
# A map that has come out larger than it may be is made anew with so many fewer keyframes.
_SHRINK = 0.98


@dataclass(frozen=True)
class PlacedKeyframe:
    """A keyframe and where it lies.

    :ivar pose: the optimised one, else the measured one, or None
    :ivar optimized: it is the optimised one
    """

    id: KeyframeId
    pose: Pose | None
    optimized: bool = False

    @property
    def owner(self) -> SessionKey | None:
        """The session that alone has the frame of its pose, as odometry begins anew in each; None: all share it."""
        return None if self.optimized or self.pose.frame in FIXED_FRAMES else self.id.session


@dataclass(frozen=True)
class Selection:
    """Keyframes that fulfil every condition that is given.

    :ivar sessions: they are of one of these, see :func:`sessions_called`; empty: of any
    :ivar before_ns: their image is older; None: of any age
    :ivar center: (3,) metres, they lie within ``radius_m`` of it in ``frame``; None: anywhere
    """

    sessions: tuple[str, ...] = ()
    before_ns: int | None = None
    center: np.ndarray | None = None
    radius_m: float = 0.0
    frame: str = ''

    def __post_init__(self) -> None:
        if self.center is not None and not 0 < self.radius_m < np.inf:  # it would select nothing, and call that success
            raise SegvladError(f'the radius is {self.radius_m:g} m: give one above 0')

    def of(self, keyframes: Collection[PlacedKeyframe]) -> list[KeyframeId]:
        """Those of some keyframes.

        :raises SegvladError: no such session, one id of several, a frame that is not the only one and not named, or one
            that begins elsewhere in each of several sessions, of which none is named
        """
        if not self.sessions and self.before_ns is None and self.center is None:
            return []
        sessions = sessions_called(self.sessions, (keyframe.id for keyframe in keyframes))
        left = [keyframe for keyframe in keyframes
                if (not self.sessions or keyframe.id.session in sessions)
                and (self.before_ns is None or keyframe.id.stamp_ns < self.before_ns)]
        if self.center is not None:
            frame = self._chosen_frame(keyframes)
            if not self.sessions:
                check_frame(frame, left)
            left = [keyframe for keyframe in left if self._near(keyframe.pose, frame)]
        return [keyframe.id for keyframe in left]

    def _chosen_frame(self, keyframes: Collection[PlacedKeyframe]) -> str:
        frames = sorted({keyframe.pose.frame for keyframe in keyframes if keyframe.pose is not None})
        if self.frame in frames or not self.frame and len(frames) == 1:
            return self.frame or frames[0]
        raise SegvladError(f'the poses are in {" and ".join(map(repr, frames)) or "no frame at all"}: name the one of '
                           'the point with --frame')

    def _near(self, pose: Pose | None, frame: str) -> bool:
        return (pose is not None and pose.frame == frame
                and float(np.linalg.norm(pose.translation - self.center)) <= self.radius_m)


def session_names(sessions: Iterable[SessionKey]) -> dict[SessionKey, str]:
    """What sessions are called: their ids, and ``ROBOT/ID`` where several robots have one id."""
    sessions = set(sessions)
    robots = Counter(session.session_id for session in sessions)
    return {session: session.session_id if robots[session.session_id] == 1 else _with_robot(session)
            for session in sorted(sessions)}


def _with_robot(session: SessionKey) -> str:
    return f'{session.robot_id}/{session.session_id}'


def sessions_called(asked: Iterable[str], identities: Iterable[KeyframeId]) -> set[SessionKey]:
    """The sessions that are to go, of those of some keyframes.

    :param asked: ids, or ``ROBOT/ID``
    :raises SegvladError: there is no such session, or an id is that of several robots, of which all would lose theirs
    """
    names = session_names(identity.session for identity in identities)
    chosen = set()
    for name in asked:
        found = [session for session in names if name in (session.session_id, _with_robot(session))]
        if not found:
            raise SegvladError(f'no keyframe of session {name!r}; the sessions are '
                               f'{", ".join(names.values()) or "none"}')
        if len(found) > 1:
            raise SegvladError(f'session id {name!r} is of several robots: write '
                               f'{" or ".join(map(_with_robot, found))}')
        chosen.update(found)
    return chosen


def check_frame(frame: str, keyframes: Iterable[PlacedKeyframe]) -> None:
    """See that a point in a frame is one point, wherever some keyframes have that frame.

    :raises SegvladError: it is the odometry of several sessions
    """
    owners = {keyframe.owner for keyframe in keyframes if keyframe.pose is not None and keyframe.pose.frame == frame}
    sessions = session_names(owner for owner in owners if owner is not None)
    if len(sessions) > 1:
        raise SegvladError(f'frame {frame!r} begins elsewhere in each of several sessions '
                           f'({", ".join(sessions.values())}): name the session of the point')


def located(place_map: PlaceMap) -> list[PlacedKeyframe]:
    """All keyframes of a map, without what describes them."""
    return [PlacedKeyframe(keyframe.id, keyframe.best_pose, keyframe.optimized is not None)
            for keyframe in place_map.keyframes()]


def least_missed(keyframes: Sequence[PlacedKeyframe], number: int) -> list[KeyframeId]:
    """The keyframes that add least to what the others show, in the order in which they go.

    The first to go has the most others close to it, within :data:`COVERED_M` and :data:`COVERED_RAD` in one frame
    (odometry of two sessions is two); of several the oldest one. What went no longer counts for those that stay.

    :param number: of keyframes that are to go
    """
    near = _neighbours(keyframes)
    counts = [len(others) for others in near]
    heap = [(-count, keyframe.id.stamp_ns, at) for at, (count, keyframe) in enumerate(zip(counts, keyframes))]
    heapq.heapify(heap)
    gone: list[int] = []
    while heap and len(gone) < number:
        count, stamp_ns, at = heapq.heappop(heap)
        if -count != counts[at]:  # others have gone since
            heapq.heappush(heap, (-counts[at], stamp_ns, at))
            continue
        gone.append(at)
        for other in near[at]:
            near[other].discard(at)
            counts[other] -= 1
    return [keyframes[at].id for at in gone]


def _neighbours(keyframes: Sequence[PlacedKeyframe]) -> list[set[int]]:
    """Of each keyframe those that show much the same."""
    from scipy.spatial import cKDTree

    near: list[set[int]] = [set() for _ in keyframes]
    frames: dict[tuple[SessionKey | None, str], list[int]] = {}
    unposed: dict[KeyframeKey, int] = {}
    for at, keyframe in enumerate(keyframes):
        if keyframe.pose is None:
            unposed[keyframe.id.key] = at
        else:
            frames.setdefault((keyframe.owner, keyframe.pose.frame), []).append(at)
    pairs = [(at, unposed[robot, session, index + step]) for (robot, session, index), at in unposed.items()
             for step in range(1, COVERED_FRAMES + 1) if (robot, session, index + step) in unposed]
    for members in frames.values():
        tree = cKDTree(np.array([keyframes[at].pose.translation for at in members]))
        pairs += [(members[one], members[two]) for one, two in tree.query_pairs(COVERED_M)
                  if rotation_angle(keyframes[members[one]].pose, keyframes[members[two]].pose) <= COVERED_RAD]
    for one, two in pairs:
        near[one].add(two)
        near[two].add(one)
    return near


def to_prune(place_map: PlaceMap, selection: Selection, *, max_keyframes: int | None = None,
             max_bytes: int | None = None) -> list[KeyframeId]:
    """What is to go: what is selected, and then what is least missed, until the rest is small enough.

    :param max_keyframes, max_bytes: largest size of what is left, None: any; bytes by the mean size of a keyframe
    :raises SegvladError: nothing would be left, or see :meth:`Selection.of`
    """
    keyframes = located(place_map)
    return _chosen(place_map, keyframes, selection.of(keyframes), max_keyframes, max_bytes)


def prune(place_map: PlaceMap, output: Path, selection: Selection, *, max_keyframes: int | None = None,
          max_bytes: int | None = None) -> list[KeyframeId]:
    """Write the map without what :func:`to_prune` names, and as much more as makes the file small enough.

    The map itself stays as it is, and the new one appears whole or not at all. Indices of what was removed are not
    given again.

    :param output: a new map file
    :return: what was left out
    :raises SegvladError: likewise, or the output exists
    """
    with map_file.published(output, overwrite=False) as temporary, map_file.reporting(output):
        keyframes = located(place_map)
        removed = selection.of(keyframes)
        gone = _chosen(place_map, keyframes, removed, max_keyframes, max_bytes)
        while _write_without(place_map, temporary, gone) > (max_bytes or np.inf):
            temporary.unlink()
            left = len(keyframes) - len(gone)
            gone = _chosen(place_map, keyframes, removed, min(left - 1, int(left * _SHRINK)), None)
        return gone


def _chosen(place_map: PlaceMap, keyframes: Sequence[PlacedKeyframe], removed: list[KeyframeId],
            max_keyframes: int | None, max_bytes: int | None) -> list[KeyframeId]:
    already = set(removed)
    left = [keyframe for keyframe in keyframes if keyframe.id not in already]
    limits = [len(left)]
    if max_keyframes is not None:
        limits.append(max_keyframes)
    if max_bytes is not None:
        limits.append(int(max_bytes * len(keyframes) / place_map.bytes))
    gone = removed + least_missed(left, len(left) - min(limits))
    if len(gone) >= len(keyframes):
        raise SegvladError(f'{place_map.path}: nothing would be left of its {len(keyframes)} keyframes')
    return gone


def _write_without(place_map: PlaceMap, path: Path, gone: Iterable[KeyframeId]) -> int:
    """Bytes of the map without some keyframes."""
    map_copy.copy(place_map.path, path)
    with PlaceMap.open(path, read_only=False) as pruned:
        pruned.remove(gone)
    map_file.compact(path)
    return path.stat().st_size
