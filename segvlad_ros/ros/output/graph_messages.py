"""What the pose graph node says of loop closures: feedback, and lines to be shown."""
from __future__ import annotations

from itertools import islice

import numpy as np

from segvlad_ros.geometry import interpolated
from segvlad_ros.msg import LoopClosure, LoopClosureFeedback
from segvlad_ros.ros.output.conversions import from_time
from segvlad_ros.slam.consensus import Judgement, Verdict

LINES = 500
"""Newest closures of a verdict that are shown."""
BASES = 'base_link', 'base_footprint'
VERDICTS = {Verdict.ACCEPTED: LoopClosureFeedback.ACCEPTED, Verdict.REJECTED: LoopClosureFeedback.REJECTED_OPTIMIZATION,
            Verdict.UNUSABLE: LoopClosureFeedback.UNUSABLE}


class ClosureBook:
    """The closures of one graph, with the verdicts that were told."""

    def __init__(self) -> None:
        self._messages: dict[int, LoopClosure] = {}
        self._told: dict[int, Verdict] = {}

    def add(self, number: int, message: LoopClosure) -> None:
        """Note a closure under its number in the graph."""
        self._messages[number] = message

    def count(self, verdict: Verdict) -> int:
        """Closures with a verdict."""
        return sum(told == verdict for told in self._told.values())

    def news(self, judgements: dict[int, Judgement]) -> list[LoopClosureFeedback]:
        """Feedback on the closures whose verdict is new or has changed."""
        changed = {number: judgement for number, judgement in judgements.items()
                   if judgement.verdict in VERDICTS and self._told.get(number) != judgement.verdict}
        self._told.update({number: judgement.verdict for number, judgement in changed.items()})
        return [_feedback(self._messages[number], VERDICTS[judgement.verdict], judgement.reason)
                for number, judgement in changed.items()]

    def abandoned(self, reason: str) -> list[LoopClosureFeedback]:
        """Feedback on the closures that never had a verdict."""
        return [unusable(message, reason) for number, message in self._messages.items() if number not in self._told]

    def lines(self, stamps: np.ndarray, poses: np.ndarray, verdict: Verdict) -> np.ndarray:
        """Where the two ends of the newest closures with a verdict are on a path.

        :param stamps, poses: as of ``PoseGraph.path``
        :return: (2 k, 3) float64, metres
        """
        newest = islice((number for number in reversed(self._told) if self._told[number] == verdict), LINES)
        ends = np.array([from_time(end.stamp) for number in newest
                         for end in (self._messages[number].match, self._messages[number].query)], np.int64)
        return interpolated(stamps, poses[:, :3], poses[:, 3:], ends, max_gap=np.iinfo(np.int64).max,
                            max_extrapolation=np.iinfo(np.int64).max)[1]


def foreign(message: LoopClosure, robot_id: int) -> str:
    """Why a closure is none of this robot's running session; '' if it is."""
    ends = message.match, message.query
    others = sorted({end.robot_id for end in ends} - {robot_id})
    if others:
        return f'it is of robot {others[0]}, and the odometry here is of robot {robot_id}'
    if ends[0].session_id != ends[1].session_id:
        return f'the match is of session {ends[0].session_id!r}, of which there is no odometry here'
    return ''


def of_another_body(base_frame: str, child: str) -> str:
    """Why a closure does not fit odometry that tells the poses of another frame; '' if it does, or one has no name.

    ``base_footprint`` lies below ``base_link`` (REP 120): a height that stays, which no relative pose on a floor sees.

    :param base_frame: of which the pose of the closure is
    :param child: child_frame_id of the odometry
    """
    if not base_frame or not child or _body(base_frame) == _body(child):
        return ''
    return (f'it is of {base_frame!r}, and the odometry of {child!r}: set base_frame of map_builder and localizer to '
            f'{child!r}, or give pose_graph odometry of {base_frame!r}')


def _body(frame: str) -> str:
    prefix, _, name = frame.lstrip('/').rpartition('/')
    return f'{prefix}/{BASES[0] if name in BASES else name}'


def unusable(closure: LoopClosure, reason: str) -> LoopClosureFeedback:
    """Feedback on a closure that was not judged."""
    return _feedback(closure, LoopClosureFeedback.UNUSABLE, reason)


def _feedback(closure: LoopClosure, verdict: int, reason: str) -> LoopClosureFeedback:
    return LoopClosureFeedback(match=closure.match, query=closure.query, verdict=verdict, reason=reason)
