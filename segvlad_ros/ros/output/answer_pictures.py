"""What people see of a localizer: its map and its matches on ``~/markers``, query and match on ``~/match_image``."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from segvlad_ros.pipeline.recognizer import Recognizer
from segvlad_ros.ros.output.marker_topic import MarkerTopic
from segvlad_ros.ros.output.markers import MatchMarkers
from segvlad_ros.ros.output.match_image import MatchImageTopic
from segvlad_ros.types import Keyframe, KeyframeId, Pose, Recognition


class AnswerPictures:
    """Publishes them, in the worker's thread, where somebody looks.

    :param node: a ``SegvladNode``
    :param recognizer: gives the one that holds the searched map now
    """

    def __init__(self, node: Any, recognizer: Callable[[], Recognizer]) -> None:
        self._recognizer = recognizer
        self._newest: KeyframeId | None = None  # that was asked about, whose session's frames are today's
        self._matches = MatchMarkers()
        self._markers = MarkerTopic(node, self._placed, self._matches)
        self._match_image = MatchImageTopic(node)

    def answered(self, query: Keyframe, recognition: Recognition) -> dict[str, float]:
        """Show an answer.

        :return: what each picture took, seconds
        """
        timings: dict[str, float] = {}
        match = self._recognizer().keyframe(recognition.candidates[0].entry) if recognition.candidates else None
        if self._newest is None or self._newest.session_id != query.id.session_id:
            self._newest = query.id
            self._markers.forget()  # other sessions' odometry is in other frames than this one's
        self._matches.add(recognition, query.pose, None if match is None else match.pose_for(query.id))
        begin = time.perf_counter()
        if self._markers.publish(query.id.stamp_ns):
            timings['markers'] = time.perf_counter() - begin
        begin = time.perf_counter()
        if self._match_image.publish(query, recognition, match):
            timings['match_image'] = time.perf_counter() - begin
        return timings

    def place(self, keyframe: Keyframe) -> None:
        """Note a keyframe that has joined the map; the next that is published shows it."""
        self._markers.place(keyframe.id, self._shown(keyframe))

    def move(self, poses: Mapping[KeyframeId, Pose | None]) -> None:
        """Show keyframes where they are now; None: no more."""
        for keyframe, pose in poses.items():
            self._markers.place(keyframe, pose)
        self._markers.publish()

    def publish(self) -> None:
        """Show what was noted."""
        self._markers.publish()

    def show(self) -> None:
        """Show all there is, soon; in any thread."""
        self._markers.show()

    def forget(self) -> None:
        """Another map is used, with other matches."""
        self._matches.clear()
        self._markers.forget()

    def _placed(self) -> Iterator[tuple[KeyframeId, Pose | None]]:
        for keyframe in self._recognizer().outlines():
            yield keyframe.id, self._shown(keyframe)

    def _shown(self, keyframe: Keyframe) -> Pose | None:
        return keyframe.best_pose if self._newest is None else keyframe.pose_for(self._newest)
