"""What RViz shows of a map and its matches: keyframes blue, matches green, yellow while they wait, red rejected."""
from __future__ import annotations

import array
import math
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from geometry_msgs.msg import Point
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from segvlad_ros.evaluation.match_picture import draw_match, is_contradicted, is_waiting
from segvlad_ros.ros.output.conversions import to_time
from segvlad_ros.types import Keyframe, Pose, Recognition, Status

DOT_M, LINE_M, TEXT_M = 0.15, 0.05, 0.2
TEXT_ABOVE_M = 0.35
BLUE = ColorRGBA(r=0.2, g=0.5, b=1.0, a=1.0)
GREEN = ColorRGBA(r=0.1, g=0.8, b=0.2, a=1.0)
YELLOW = ColorRGBA(r=1.0, g=0.8, b=0.0, a=1.0)
RED = ColorRGBA(r=0.95, g=0.15, b=0.15, a=1.0)
GREY = ColorRGBA(r=0.6, g=0.6, b=0.6, a=1.0)

REJECTED = (Status.NO_MATCH_AMBIGUOUS, Status.NO_MATCH_TEMPORAL, Status.NO_MATCH_GEOMETRIC)


class _Answer(NamedTuple):
    query: Pose
    match: Pose | None
    label: str


class MatchMarkers:
    """The answers of the last time, as lines from the query's pose to its best candidate's, with the reason beside.

    Green is what was accepted. Yellow waits for the agreement of the next keyframes: it goes when they bring a match,
    and is rejected when they bring none. Red was rejected. A score that is too low says nothing about a place: it has
    no line, only a word at the query until the next answer. Poses in two different frames have no line.

    :param accepted: number of accepted matches that are kept
    :param rejected: number of rejected ones
    """

    def __init__(self, accepted: int = 1000, rejected: int = 20) -> None:
        self._accepted: deque[_Answer] = deque(maxlen=accepted)
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
            self._accepted.append(answer)
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

    def markers(self, stamp_ns: int) -> list[Marker]:
        """What there is to show, each kind and frame in a namespace that RViz can switch off."""
        markers, words = [], []
        for name, answers, colour in (('accepted', self._accepted, GREEN), ('waiting', self._waiting, YELLOW),
                                      ('rejected', self._rejected, RED)):
            ends = (pose for query, match, _ in answers if match is not None and query.frame == match.frame
                    for pose in (query, match))
            markers += _by_frame(name, Marker.LINE_LIST, ends, stamp_ns=stamp_ns, size_m=LINE_M, colour=colour)
            words += [(answer, colour) for answer in answers if colour is not GREEN]
        if self._low is not None:
            words.append((self._low, GREY))
        return markers + [_text(number, answer, colour, stamp_ns) for number, (answer, colour) in enumerate(words)]


def keyframe_markers(poses: Iterable[Pose | None], stamp_ns: int) -> list[Marker]:
    """One list of dots for each frame that poses are in."""
    return _by_frame('keyframes', Marker.SPHERE_LIST, (pose for pose in poses if pose is not None and pose.frame),
                     stamp_ns=stamp_ns, size_m=DOT_M, colour=BLUE)


def graph_markers(poses: list[tuple[int, Pose]], accepted: Iterable[tuple[Pose, Pose]],
                  rejected: Iterable[tuple[Pose, Pose]]) -> MarkerArray:
    """The path of a pose graph blue, accepted closures green, rejected ones red.

    :param poses: with their stamps, nanoseconds, in order of time
    """
    stamp_ns, newest = poses[-1]
    shown = {'frame': newest.frame, 'stamp_ns': stamp_ns, 'size_m': LINE_M}
    markers = [_marker('path', Marker.LINE_STRIP, [_point(pose) for _, pose in poses], colour=BLUE, **shown)]
    for name, pairs, colour in (('accepted', accepted, GREEN), ('rejected', rejected, RED)):
        ends = [_point(pose) for pair in pairs for pose in pair]
        if ends:
            markers.append(_marker(name, Marker.LINE_LIST, ends, colour=colour, **shown))
    return marker_array(markers)


def marker_array(markers: list[Marker]) -> MarkerArray:
    """The message: what was shown before goes."""
    return MarkerArray(markers=[Marker(action=Marker.DELETEALL), *markers])


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


def _by_frame(name: str, kind: int, poses: Iterable[Pose], **look: Any) -> list[Marker]:
    frames: dict[str, list[Point]] = {}
    for pose in poses:
        frames.setdefault(pose.frame, []).append(_point(pose))
    return [_marker(f'{name} in {frame}', kind, points, frame=frame, **look) for frame, points in frames.items()]


def _text(number: int, answer: _Answer, colour: ColorRGBA, stamp_ns: int) -> Marker:
    """The reason, above the query."""
    frame = answer.query.frame
    marker = _marker(f'reasons in {frame}', Marker.TEXT_VIEW_FACING, [], frame=frame, stamp_ns=stamp_ns,
                     size_m=TEXT_M, colour=colour)
    marker.id, marker.text, marker.pose.position = number, answer.label, _point(answer.query)
    marker.pose.position.z += TEXT_ABOVE_M
    return marker


def _point(pose: Pose) -> Point:
    x, y, z = map(float, pose.translation)
    return Point(x=x, y=y, z=z)


def _marker(namespace: str, kind: int, points: list[Point], *, frame: str, stamp_ns: int, size_m: float,
            colour: ColorRGBA) -> Marker:
    # locked to its frame: it moves with a correction of TF, and who comes late needs no TF of an old stamp
    marker = Marker(ns=namespace, type=kind, action=Marker.ADD, points=points, color=colour, frame_locked=True)
    marker.header.frame_id, marker.header.stamp = frame, to_time(stamp_ns)
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = size_m
    return marker


def to_match_image(query: Keyframe, recognition: Recognition, match: Keyframe | None) -> Image:
    """The answer to one query as an rgb8 image with the query's stamp and frame.

    :param match: the best candidate's keyframe, None without one
    """
    shown = () if match is None else (match.thumbnail, match.description.boxes, match.camera_model)
    rgb = draw_match(query, recognition, *shown)
    height, width = rgb.shape[:2]
    header = Header(stamp=to_time(query.id.stamp_ns), frame_id=query.frame_id)
    return Image(header=header, height=height, width=width, encoding='rgb8', step=3 * width,
                 data=array.array('B', rgb.tobytes()))
