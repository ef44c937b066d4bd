"""What the pose graph node says of loop closures: feedback, and lines to be shown."""
from __future__ import annotations

from itertools import islice

import numpy as np

from segvlad_ros.geometry import interpolated, is_one_body
from segvlad_ros.msg import KeyframeId, LoopClosure, LoopClosureFeedback
from segvlad_ros.ros.output.conversions import from_time
from segvlad_ros.slam.consensus import Judgement, Verdict

LINES = 500
"""Newest closures of a verdict that are shown."""
AHEAD_NS = 10**9
"""Keyframes may be ahead of odometry by this much."""
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
        return [*self._told.values()].count(verdict)  # a copy at once: the worker adds to them meanwhile

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


class GraphSessions:
    """The sessions whose keyframes a robot made while a graph grew: those that the graph has odometry of.

    A map_builder that is started again begins another session on the same graph. Where the clock jumps back, sessions
    end with the graph; the localizer may be behind, and tell of their keyframes for a while.
    """

    def __init__(self, robot_id: int) -> None:
        self._robot_id = robot_id
        self._newest_ns: dict[str, int] = {}  # stamp by session
        self._ended: set[str] = set()

    def saw(self, keyframe: KeyframeId) -> None:
        """Take note of a keyframe that was made just now."""
        session = keyframe.session_id
        if keyframe.robot_id == self._robot_id and session not in self._ended:
            self._newest_ns[session] = max(from_time(keyframe.stamp), self._newest_ns.get(session, 0))

    def end(self, stamp_ns: int) -> None:
        """The clock has jumped back to a stamp; a session that is not older was made by the new clock already."""
        self._ended.update(session for session, newest_ns in self._newest_ns.items() if newest_ns > stamp_ns + AHEAD_NS)
        self._newest_ns.clear()

    def foreign(self, closure: LoopClosure) -> str:
        """Why a closure is none of this graph's; '' if it is."""
        match, query = closure.match, closure.query
        others = sorted({match.robot_id, query.robot_id} - {self._robot_id})
        if others:
            return f'it is of robot {others[0]}, and the odometry here is of robot {self._robot_id}'
        if query.session_id in self._ended:
            return f'it is of session {query.session_id!r}, which ended when the clock jumped back'
        self.saw(query)
        if match.session_id not in self._newest_ns:
            return f'the match is of session {match.session_id!r}, of which there is no odometry here'
        return ''


def of_another_body(base_frame: str, child: str) -> str:
    """Why a closure does not fit odometry that tells the poses of another frame; '' if it does, or one has no name.

    :param base_frame: of which the pose of the closure is
    :param child: child_frame_id of the odometry
    """
    if is_one_body(base_frame, child):
        return ''
    return (f'it is of {base_frame!r}, and the odometry of {child!r}: set base_frame of map_builder and localizer to '
            f'{child!r}, or give pose_graph odometry of {base_frame!r}')


def unusable(closure: LoopClosure, reason: str) -> LoopClosureFeedback:
    """Feedback on a closure that was not judged."""
    return _feedback(closure, LoopClosureFeedback.UNUSABLE, reason)


def _feedback(closure: LoopClosure, verdict: int, reason: str) -> LoopClosureFeedback:
    return LoopClosureFeedback(match=closure.match, query=closure.query, verdict=verdict, reason=reason)
