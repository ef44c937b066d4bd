"""What was recognised, as messages."""
from __future__ import annotations

from geometry_msgs.msg import PoseStamped
from std_msgs.msg import Header

from segvlad_ros import msg as interfaces
from segvlad_ros.ros.output.conversions import (
    fill_pose,
    to_duration,
    to_keyframe_id,
    to_pose_with_covariance,
    to_roi,
    to_time,
)
from segvlad_ros.types import Candidate, Keyframe, Recognition, SegmentMatch


def to_place_match(query: Keyframe, candidate: Candidate, rank: int, match: Keyframe,
                   evidence: bool) -> interfaces.PlaceMatch:
    """One candidate as a message.

    :param evidence: whether the voting segments are wanted
    """
    message = interfaces.PlaceMatch(
        query=to_keyframe_id(query.id), match=to_keyframe_id(candidate.id), rank=rank, score=float(candidate.score),
        probability=float(candidate.probability), ambiguity=float(candidate.ambiguity),
        query_segments=len(query.description), matched_segments=candidate.matched_segments,
        supporting_queries=candidate.supporting_queries, verification=int(candidate.verification),
        inliers=candidate.inliers, scale_source=candidate.scale_source)
    pose = match.pose_for(query.id)
    if pose is not None:
        message.match_pose = PoseStamped(header=Header(stamp=to_time(candidate.id.stamp_ns), frame_id=pose.frame))
        fill_pose(message.match_pose.pose, pose)
        own = match.id.session == query.id.session
        message.match_pose_in = (message.IN_MAP if match.optimized is not None
                                 else message.IN_ODOMETRY if own else message.IN_OTHER_SESSION)
    if candidate.query_pose_in_match is not None:
        message.has_relative_pose = True
        message.query_pose_in_match = to_pose_with_covariance(candidate.query_pose_in_match)
    if evidence:
        message.evidence = [_evidence(query, match, pair) for pair in candidate.evidence]
    return message


def _evidence(query: Keyframe, match: Keyframe, pair: SegmentMatch) -> interfaces.SegmentMatch:
    return interfaces.SegmentMatch(
        query_segment=pair.query_segment, match_segment=pair.match_segment, similarity=float(pair.similarity),
        query_roi=to_roi(query.description.boxes[pair.query_segment]),
        match_roi=to_roi(match.description.boxes[pair.match_segment]))


def to_place_match_array(query: Keyframe, recognition: Recognition, matches: list[interfaces.PlaceMatch], *,
                         base_frame: str, map_id: str, now_ns: int) -> interfaces.PlaceMatchArray:
    """The answer to one keyframe.

    :param matches: its candidates, best first
    :param now_ns: the node's clock, for the latency
    """
    return interfaces.PlaceMatchArray(
        header=Header(stamp=to_time(query.id.stamp_ns), frame_id=query.frame_id), query=to_keyframe_id(query.id),
        base_frame=base_frame, status=int(recognition.status), reason=recognition.reason, map_id=map_id,
        map_keyframes=recognition.map_keyframes, matches=matches,
        latency=to_duration(now_ns - query.id.stamp_ns))


def to_loop_closure(query: Keyframe, candidate: Candidate, base_frame: str) -> interfaces.LoopClosure:
    """An accepted metric match as a pose graph takes it; ``match`` is the older end by construction of the search."""
    return interfaces.LoopClosure(
        header=Header(stamp=to_time(query.id.stamp_ns), frame_id=query.frame_id),
        match=to_keyframe_id(candidate.id), query=to_keyframe_id(query.id), base_frame=base_frame,
        query_pose_in_match=to_pose_with_covariance(candidate.query_pose_in_match),
        scale_source=candidate.scale_source, probability=float(candidate.probability), inliers=candidate.inliers)
