"""A lifecycle node whose transitions say why they failed: Jazzy swallows whatever one raises."""
from __future__ import annotations

import traceback
from collections.abc import Callable

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleState, Node, TransitionCallbackReturn

from segvlad_ros.text import said_by
from segvlad_ros.types import SegvladError

Step = tuple[str, Callable[[], None], Callable | None]  # of a transition: its name, our work, what rclpy does after it


class ReportingLifecycleNode(Node):
    """What a node does in a transition is done before what rclpy does; where it fails, it is undone.

    :ivar failure: why the last transition failed, '' if it did not
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.failure = ''
        self._change_state = self._service_change_state.callback
        self._service_change_state.callback = self._answer_change_state

    # what a node fills in

    def _configure(self) -> None:
        """Build everything."""

    def _activate(self) -> None:
        """Take inputs."""

    def activated(self) -> None:
        """Publish what is there already, now that the publishers are active."""

    def _deactivate(self) -> None:
        """Take no more inputs, finish what is in hand."""

    def _cleanup(self) -> None:
        """Free everything, also where :meth:`_configure` failed half-way."""

    def close(self) -> None:
        """Deactivate and clean up, from any state; may be called twice."""

    def transition_ended(self) -> None:
        """Say how it ended; :attr:`failure` knows."""

    # what rclpy calls

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See rclpy."""
        return self._transition(state, ('configure', self._configure, super().on_configure),
                                undo=('clean up', self._cleanup, None))

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See rclpy."""
        def publish(state: LifecycleState) -> TransitionCallbackReturn:
            result = super(ReportingLifecycleNode, self).on_activate(state)
            self.activated()
            return result
        return self._transition(state, ('activate', self._activate, publish),
                                undo=('deactivate', self._deactivate, super().on_deactivate))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See rclpy."""
        return self._transition(state, ('deactivate', self._deactivate, super().on_deactivate))

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See rclpy."""
        return self._transition(state, ('clean up', self._cleanup, super().on_cleanup))

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See rclpy."""
        return self._attempt(state, ('shut down', self.close, super().on_shutdown))

    def _transition(self, state: LifecycleState, step: Step, undo: Step | None = None) -> TransitionCallbackReturn:
        result = self._attempt(state, step)
        if result != TransitionCallbackReturn.SUCCESS and undo is not None:
            self._attempt(state, undo, keep_failure=True)
        self.transition_ended()
        return result

    def _attempt(self, state: LifecycleState, step: Step, keep_failure: bool = False) -> TransitionCallbackReturn:
        name, work, after = step
        try:
            work()
            if not keep_failure:
                self.failure = ''
            return TransitionCallbackReturn.SUCCESS if after is None else after(state)
        except SegvladError as error:
            self.failure = f'cannot {name}: {error}'
        except Exception as error:
            self.failure = f'cannot {name}: {said_by(error)}'
            self.get_logger().error(traceback.format_exc())
        self.get_logger().error(self.failure)
        return TransitionCallbackReturn.FAILURE

    def _answer_change_state(self, request: ChangeState.Request,
                             response: ChangeState.Response) -> ChangeState.Response:
        """Jazzy raises on a transition that the state does not have, and never answers."""
        try:
            return self._change_state(request, response)
        except Exception as error:
            self.get_logger().error(f'transition {request.transition.id} is not possible now: {said_by(error)}')
            response.success = False
            return response
