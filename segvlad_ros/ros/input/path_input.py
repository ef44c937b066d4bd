"""The topic on which a SLAM back-end publishes its optimised path."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from nav_msgs.msg import Path

from segvlad_ros.ros.input.optimized_path import OptimizedPath
from segvlad_ros.ros.node import qos
from segvlad_ros.types import KeyframeId, OptimizedPose, SegvladError

if TYPE_CHECKING:
    from segvlad_ros.ros.node.base_node import SegvladNode


class PathInput:
    """Moves the keyframes of a map with the path: some at a time, between what else the worker does.

    :param keyframes: gives the map's keyframes, asked when the first path comes
    :param move: takes the poses of some keyframes; where it raises SegvladError, the next path tells all of them again
    """

    def __init__(self, node: SegvladNode, keyframes: Callable[[], Iterable[KeyframeId]],
                 move: Callable[[dict[KeyframeId, OptimizedPose]], None]) -> None:
        self._node, self._move, self._path = node, move, OptimizedPath(keyframes)

    def open(self) -> None:
        """Listen until the node is deactivated."""
        self._node.listen(Path, 'optimized_path', self._take, qos.reliable(1), raw=True)

    def restart(self) -> None:
        """Other keyframes are there from now on, of which none has moved yet."""
        self._path.restart()

    def run(self, keyframe: KeyframeId) -> None:
        """Take note of a keyframe that was seen just now, whether or not it is of the map."""
        self._path.run(keyframe)

    def add(self, keyframe: KeyframeId) -> None:
        """Follow one more keyframe."""
        self._path.add(keyframe)

    def remove(self, keyframes: Iterable[KeyframeId]) -> None:
        """Follow some no longer."""
        self._path.remove(keyframes)

    def _take(self, path: bytes) -> None:
        self._node.post('optimized_path', lambda: self._follow(path), newest=True)

    def _follow(self, path: bytes) -> bool:
        waited = self._path.waiting
        self._path.take(path)
        return not waited and self._move_some()

    def _move_some(self) -> bool:
        """Move some keyframes, and the others after what else is to be done.

        :return: whether some have moved
        """
        moved = self._path.moved()
        if self._path.waiting:
            self._node.worker.go_on(self._move_some)
        if moved:
            try:
                self._move(moved)
            except SegvladError:
                self.restart()
                raise
        return bool(moved)
