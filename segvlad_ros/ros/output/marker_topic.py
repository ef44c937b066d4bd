"""The topic ``~/markers``: the whole map for whoever comes, then what has changed."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from visualization_msgs.msg import Marker, MarkerArray

from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.events import telling_publisher
from segvlad_ros.ros.output.markers import KeyframeMarkers, MatchMarkers
from segvlad_ros.types import KeyframeId, Pose, SegvladError

DEPTH = 20  # pieces may come faster than a viewer takes them


def show_soon(node: Any, show: Callable[[], Any]) -> None:
    """Let the worker show the markers; that ends no row of failures. What is not configured shows nothing."""
    def job() -> bool:
        show()
        return False
    worker = node.worker
    if worker is not None:
        with suppress(SegvladError):  # much is to be done, or it is being stopped; what comes next is published anyway
            worker.post(job, 'markers')


class MarkerTopic:
    """Publishes the keyframes of a map, and matches where there are any, in the worker's thread.

    A map of 10,000 keyframes takes tens of milliseconds to publish: it goes out whole when somebody subscribes, and
    when another map is used. After that a keyframe costs the marker that it is in. Nothing is kept while nobody looks.

    :param node: a ``SegvladNode``
    :param placed: all keyframes of the map with their poses
    """

    def __init__(self, node: Any, placed: Callable[[], Iterable[tuple[KeyframeId, Pose | None]]],
                 matches: MatchMarkers | None = None) -> None:
        self._node, self._placed, self._matches = node, placed, matches
        self._keyframes: KeyframeMarkers | None = None
        self._whole, self._stamp_ns = True, 0
        self._publisher = telling_publisher(node, MarkerArray, '~/markers', qos.latched(DEPTH), self.show)

    def place(self, keyframe: KeyframeId, pose: Pose | None) -> None:
        """Note where a keyframe is, a new one or one that has moved."""
        if self._keyframes is not None:
            self._keyframes.place(keyframe, pose)

    def forget(self) -> None:
        """Another map is used, or keyframes were removed: the next that is published is all there is then."""
        self._keyframes = None

    def publish(self, stamp_ns: int | None = None) -> bool:
        """Publish what has changed since the last call, and return whether somebody looks.

        :param stamp_ns: of the newest keyframe; None: as before
        """
        self._stamp_ns = self._stamp_ns if stamp_ns is None else stamp_ns
        if not self._publisher.get_subscription_count():
            self._keyframes = None
            return False
        if self._keyframes is None:
            self._keyframes, self._whole = KeyframeMarkers(), True
            for keyframe, pose in self._placed():
                self._keyframes.place(keyframe, pose)
        parts = [self._keyframes] if self._matches is None else [self._keyframes, self._matches]
        markers = [Marker(action=Marker.DELETEALL)] if self._whole else []
        for part in parts:
            markers += part.markers(self._stamp_ns, self._whole)
        if markers:
            self._publisher.publish(MarkerArray(markers=markers))
        self._whole = self._whole and not self._publisher.is_activated
        return True

    def show(self) -> None:
        """Publish all there is, soon: somebody came, or the node has become active and some have come before it."""
        self._whole = True
        show_soon(self._node, self._show_all)

    def _show_all(self) -> None:
        self._whole = True  # again: what the worker had in hand may have gone out meanwhile
        self.publish()
