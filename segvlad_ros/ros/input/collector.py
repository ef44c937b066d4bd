"""Listens to both nodes and keeps what they said: described keyframes, and the answer to each."""
from __future__ import annotations

import time
from typing import Any

from rclpy.node import Node

from segvlad_ros.msg import PlaceDescriptor, PlaceMatchArray
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.output.conversions import from_keyframe_id
from segvlad_ros.ros.output.keyframe_messages import from_place_descriptor
from segvlad_ros.types import Candidate, Keyframe, KeyframeId, Recognition, SegmentMatch, Status, Verification

QUEUE = 1000


class Collector:
    """Subscribes to keyframes and matches; whoever owns the node spins it.

    :param keyframes_topic, matches_topic: of a map_builder and of the localizer that follows it
    :ivar keyframes: in order of arrival, without those that were rejected: position is entry of the searched map
    :ivar answers: by query; a candidate's entry is its position in :attr:`keyframes`, -1 if unknown
    :ivar received_s: steady time of each answer's arrival, seconds
    """

    def __init__(self, node: Node, keyframes_topic: str, matches_topic: str) -> None:
        self.keyframes: list[Keyframe] = []
        self.answers: dict[KeyframeId, Recognition] = {}
        self.received_s: dict[KeyframeId, float] = {}
        self._entries: dict[KeyframeId, int] = {}
        self._subscriptions = [
            node.create_subscription(PlaceDescriptor, keyframes_topic, self._take_keyframe, qos.reliable(QUEUE)),
            node.create_subscription(PlaceMatchArray, matches_topic, self._take_answer, qos.reliable(QUEUE))]

    def _take_keyframe(self, message: PlaceDescriptor) -> None:
        keyframe = from_place_descriptor(message)
        if len(keyframe.description):
            self._entries[keyframe.id] = len(self.keyframes)
            self.keyframes.append(keyframe)

    def _take_answer(self, message: PlaceMatchArray) -> None:
        query = from_keyframe_id(message.query)
        self.received_s[query] = time.monotonic()
        candidates = tuple(self._candidate(match) for match in message.matches)
        self.answers[query] = Recognition(Status(message.status), message.reason, candidates, message.map_keyframes)

    def _candidate(self, match: Any) -> Candidate:
        identity = from_keyframe_id(match.match)
        evidence = tuple(SegmentMatch(pair.query_segment, pair.match_segment, pair.similarity)
                         for pair in match.evidence)
        return Candidate(self._entries.get(identity, -1), identity, match.score, match.ambiguity,
                         match.matched_segments, match.probability, match.supporting_queries,
                         Verification(match.verification), match.inliers, evidence=evidence)
