"""The executor that our nodes spin in."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.executors import MultiThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.task import Task
from rclpy.timer import Timer


class NodeExecutor(MultiThreadedExecutor):
    """Goes on with a callback group after something of it could not be taken from the middleware.

    rclpy marks a mutually exclusive group as busy, and then takes the message, or calls the timer, of which it was
    woken. Where that raises, it never marks it as free again: whatever is in the group is heard no more. Up to Jazzy it
    raises when a timer was cancelled in between, by another thread or by the callback before it.
    """

    def wait_for_ready_callbacks(self, *args: Any, **kwargs: Any) -> Any:
        """See rclpy, which fails where an event's handler is destroyed, in another thread, after it was collected."""
        try:
            return super().wait_for_ready_callbacks(*args, **kwargs)
        except rclpy_implementation.InvalidHandle:  # collected once more, it is not there
            return super().wait_for_ready_callbacks(*args, **kwargs)

    def _take_timer(self, tmr: Timer) -> Callable[[], Any] | None:
        try:
            return super()._take_timer(tmr)
        except rclpy_implementation.RCLError:
            if tmr.is_canceled():
                return None
            raise

    def _make_handler(self, entity: Any, node: Any, take_from_wait_list: Callable[[Any], Any],
                      *others: Any) -> Task:
        def take(taken: Any) -> Any:
            try:
                return take_from_wait_list(taken)
            except Exception as error:
                failure = error

                async def fail(*_: Any) -> None:  # where rclpy frees the group afterwards
                    raise failure
                return fail
        return super()._make_handler(entity, node, take, *others)
