"""What RViz shows of a map and its matches: keyframes blue, matches green, yellow while they wait, red rejected."""
from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import numpy as np
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from segvlad_ros.evaluation.match_picture import is_contradicted, is_waiting
from segvlad_ros.ros.output.marker_blocks import PointBlocks, SentMarkers, make_marker, make_point
from segvlad_ros.types import KeyframeId, Pose, Recognition, Status

DOT_M, LINE_M, TEXT_M = 0.15, 0.05, 0.2
TEXT_ABOVE_M = 0.35
BLUE = ColorRGBA(r=0.2, g=0.5, b=1.0, a=1.0)
GREEN = ColorRGBA(r=0.1, g=0.8, b=0.2, a=1.0)
YELLOW = ColorRGBA(r=1.0, g=0.8, b=0.0, a=1.0)
RED = ColorRGBA(r=0.95, g=0.15, b=0.15, a=1.0)
GREY = ColorRGBA(r=0.6, g=0.6, b=0.6, a=1.0)

REJECTED = (Status.NO_MATCH_AMBIGUOUS, Status.NO_MATCH_TEMPORAL, Status.NO_MATCH_GEOMETRIC)


class KeyframeMarkers:
    """A dot for each keyframe of a map that has a pose with a frame."""

    def __init__(self) -> None:
        self._numbers: dict[KeyframeId, int] = {}
        self._free: list[int] = []  # numbers below the largest that no keyframe has any more
        self._dots = PointBlocks('keyframes', Marker.SPHERE_LIST, DOT_M, BLUE)

    def place(self, keyframe: KeyframeId, pose: Pose | None) -> None:
        """Show a keyframe where it is now."""
        if pose is not None and pose.frame:
            if keyframe not in self._numbers:
                self._numbers[keyframe] = self._free.pop() if self._free else len(self._numbers)
            self._dots.put(self._numbers[keyframe], [pose])
        elif keyframe in self._numbers:
            self._free.append(self._numbers.pop(keyframe))
            self._dots.put(self._free[-1], [])

    def markers(self, stamp_ns: int, whole: bool) -> list[Marker]:
        """See :meth:`PointBlocks.markers`."""
        return self._dots.markers(stamp_ns, whole)


class _Answer(NamedTuple):
    query: Pose
    match: Pose | None
    label: str

    @property
    def line(self) -> list[Pose]:
        """Its two ends; none where they are in two frames, or there is no match."""
        return [self.query, self.match] if self.match is not None and self.query.frame == self.match.frame else []


class MatchMarkers:
    """The answers of the last time, as lines from the query's pose to its best candidate's, with the reason beside.

    Green is what was accepted. Yellow waits for the agreement of the next keyframes: it goes when they bring a match,
    and is rejected when they bring none. Red was rejected. A score that is too low says nothing about a place: it has
    no line, only a word at the query until the next answer. Poses in two different frames have no line.

    :param accepted: number of accepted matches that are kept
    :param rejected: number of rejected ones
    """

    def __init__(self, accepted: int = 1000, rejected: int = 20) -> None:
        self._most, self._count = accepted, 0
        self._accepted = PointBlocks('accepted', Marker.LINE_LIST, LINE_M, GREEN)
        self._others = SentMarkers()
        self._rejected: deque[_Answer] = deque(maxlen=rejected)
        self._waiting: deque[_Answer] = deque(maxlen=rejected)
        self._low: _Answer | None = None  # the last answer, where its score was too low

    def add(self, recognition: Recognition, query: Pose | None, match: Pose | None) -> None:
        """Take one answer; one without a pose of its query cannot be shown.

        :param match: base pose of the best candidate's keyframe, None without one
        """
        status = recognition.status
        if not is_waiting(recognition):
            if status != Status.MATCHED:
                self._rejected.extend(self._waiting)
            self._waiting.clear()
        self._low = None
        if query is None or not query.frame:
            return
        answer = _Answer(query, match, short_reason(recognition))
        if status == Status.MATCHED:
            self._accepted.put(self._count, answer.line)
            self._accepted.put(self._count - self._most, [])
            self._count += 1
        elif is_waiting(recognition):
            self._waiting.append(answer)
        elif status in REJECTED:
            self._rejected.append(answer)
        elif status == Status.NO_MATCH_LOW_SCORE:
            self._low = answer

    def clear(self) -> None:
        """Forget all, as when another map is loaded."""
        for answers in (self._accepted, self._rejected, self._waiting):
            answers.clear()
        self._low = None

    def markers(self, stamp_ns: int, whole: bool) -> list[Marker]:
        """What there is to show, each kind and frame in a namespace that RViz can switch off.

        :param whole: all of it, after what was sent before has been deleted; else what has changed
        """
        others, words = [], []
        for name, answers, colour in (('waiting', self._waiting, YELLOW), ('rejected', self._rejected, RED)):
            frames: dict[str, list[Pose]] = {}
            for answer in answers:
                for pose in answer.line:
                    frames.setdefault(pose.frame, []).append(pose)
            others += [make_marker(f'{name} in {frame}', list(map(make_point, poses)), kind=Marker.LINE_LIST,
                                   frame=frame, stamp_ns=stamp_ns, size_m=LINE_M, colour=colour)
                       for frame, poses in frames.items()]
            words += [(answer, colour) for answer in answers]
        if self._low is not None:
            words.append((self._low, GREY))
        others += [_text(number, answer, colour, stamp_ns) for number, (answer, colour) in enumerate(words)]
        sent = self._others.update(others)
        return self._accepted.markers(stamp_ns, whole) + (others if whole else sent)


def graph_markers(frame: str, stamp_ns: int, accepted: np.ndarray, rejected: np.ndarray) -> MarkerArray:
    """The closures of a pose graph, accepted ones green, rejected ones red, instead of those before.

    :param accepted, rejected: (2 k, 3) float64, the ends of their lines in the frame
    """
    markers = [Marker(action=Marker.DELETEALL)]
    for name, ends, colour in (('accepted', accepted, GREEN), ('rejected', rejected, RED)):
        if len(ends):
            points = [Point(x=x, y=y, z=z) for x, y, z in ends.tolist()]
            markers.append(make_marker(name, points, kind=Marker.LINE_LIST, frame=frame, stamp_ns=stamp_ns,
                                       size_m=LINE_M, colour=colour))
    return MarkerArray(markers=markers)


def short_reason(recognition: Recognition) -> str:
    """The answer in two or three words, for a label."""
    if not recognition.candidates:
        return recognition.status.name.lower().replace('_', ' ')
    best = recognition.candidates[0]
    unlikely = f'low score {best.score:.2f}' if math.isnan(best.probability) else f'probability {best.probability:.2f}'
    agreeing = f'only {best.supporting_queries} keyframe{" agrees" if best.supporting_queries == 1 else "s agree"}'
    return {Status.NO_MATCH_LOW_SCORE: unlikely,
            Status.NO_MATCH_AMBIGUOUS: f'ambiguous {best.ambiguity:.2f}',
            Status.NO_MATCH_TEMPORAL: 'odometry contradicts' if is_contradicted(recognition) else agreeing,
            Status.NO_MATCH_GEOMETRIC: 'geometry: seen from elsewhere',
            }.get(recognition.status, f'score {best.score:.2f}')


def _text(number: int, answer: _Answer, colour: ColorRGBA, stamp_ns: int) -> Marker:
    """The reason, above the query."""
    frame = answer.query.frame
    marker = make_marker(f'reasons in {frame}', [], kind=Marker.TEXT_VIEW_FACING, frame=frame, stamp_ns=stamp_ns,
                         size_m=TEXT_M, colour=colour, number=number)
    marker.text, marker.pose.position = answer.label, make_point(answer.query)
    marker.pose.position.z += TEXT_ABOVE_M
    return marker
