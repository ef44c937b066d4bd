"""The messages of the pose graph node: feedback on loop closures, and the path."""
from __future__ import annotations

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path

from segvlad_ros.msg import LoopClosure, LoopClosureFeedback
from segvlad_ros.ros.output.conversions import fill_pose, from_time, to_time
from segvlad_ros.slam.pose_graph import FRAME, Judgement, PoseGraph, Verdict
from segvlad_ros.types import Pose

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

    def lines(self, graph: PoseGraph, verdict: Verdict) -> list[tuple[Pose, Pose]]:
        """Where the two ends of the closures with a verdict are on the path."""
        ends = [(graph.pose_at(from_time(self._messages[number].match.stamp)),
                 graph.pose_at(from_time(self._messages[number].query.stamp)))
                for number, told in self._told.items() if told == verdict]
        return [(match, query) for match, query in ends if match is not None and query is not None]


def foreign(message: LoopClosure, robot_id: int) -> str:
    """Why a closure is none of this robot's running session; '' if it is."""
    ends = message.match, message.query
    others = sorted({end.robot_id for end in ends} - {robot_id})
    if others:
        return f'it is of robot {others[0]}, and the odometry here is of robot {robot_id}'
    if ends[0].session_id != ends[1].session_id:
        return f'the match is of session {ends[0].session_id!r}, of which there is no odometry here'
    return ''


def unusable(closure: LoopClosure, reason: str) -> LoopClosureFeedback:
    """Feedback on a closure that was not judged."""
    return _feedback(closure, LoopClosureFeedback.UNUSABLE, reason)


def _feedback(closure: LoopClosure, verdict: int, reason: str) -> LoopClosureFeedback:
    return LoopClosureFeedback(match=closure.match, query=closure.query, verdict=verdict, reason=reason)


def to_path(poses: list[tuple[int, Pose]]) -> Path:
    """Poses with their stamps as a path."""
    path = Path()
    path.header.frame_id, path.header.stamp = FRAME, to_time(poses[-1][0])
    for stamp, pose in poses:
        stamped = PoseStamped()
        stamped.header.frame_id, stamped.header.stamp = FRAME, to_time(stamp)
        fill_pose(stamped.pose, pose)
        path.poses.append(stamped)
    return path
