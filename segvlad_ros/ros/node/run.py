"""The main function of a node: autostart, spinning, and a clean end."""
from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import TransitionCallbackReturn

from segvlad_ros.ros.node.base_node import SegvladNode
from segvlad_ros.ros.node.command_line import answered
from segvlad_ros.ros.node.executor import NodeExecutor
from segvlad_ros.text import said_by
from segvlad_ros.types import SegvladError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
THREADS = 3  # sensors, services, and all else; the work itself is done by the node's worker


class _Stop(BaseException):
    """The signal to end. Not KeyboardInterrupt: raised within an ``exec``, as importing a dataclass does, CPython ends
    the process by SIGINT in the end even though it was caught.
    """


def run_node(make: Callable[[], SegvladNode], args: list[str] | None = None) -> int:
    """Run a node until SIGINT or SIGTERM.

    :param args: command line, None takes the process's
    :return: exit status: 0, or 1 where a node with ``autostart`` cannot start
    """
    answer = answered(Path(sys.argv[0]).stem, sys.argv[1:] if args is None else args)
    if answer is not None:
        return answer
    stop = _StopAtFirstSignal()
    _handle_signals(stop)
    node, status = None, 0
    try:
        rclpy.init(args=args)
        node = make()
        executor = NodeExecutor(THREADS)
        executor.add_node(node)
        if node.parameters['autostart'] and not _start(node):
            status = 1
        else:
            stop.raises = False
            _spin(executor, node)
    except (_Stop, ExternalShutdownException):
        pass
    except SegvladError as error:  # a parameter of the wrong type; the node could not even be made
        sys.stderr.write(f'{error}\n')
        status = 1
    except rclpy_implementation.RCLError as error:  # such as an enclave that is not in the keystore
        status = _refused(error)
    except Exception as error:
        if rclpy.ok():
            raise
        if not stop.fired:  # else nothing of ROS can be made any more
            status = _refused(error)  # by rclpy.init, such as words of ROS that it does not know
    finally:
        # A node that is already ending, of itself or by a signal, must not be stopped half-way. Ignored at once, a
        # signal that another thread has just caught would be complained of by CPython.
        _handle_signals(lambda _number, _frame: None)
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
        _handle_signals(signal.SIG_IGN)  # to the end of the process, when CPython leaves no handler of its own
    return status


def _refused(error: Exception) -> int:
    sys.stderr.write(f'ROS 2 does not start the node: {said_by(error)}\n')
    return 1


class _StopAtFirstSignal:
    """Handler of SIGINT and SIGTERM: the first one interrupts whatever is done, also the loading of a model.

    launch forwards a SIGINT that the terminal has sent already: the second one must not end the clean-up. rclpy's own
    handlers come on top of this one and call it; they shut the context down, which is what ends spinning.

    :ivar fired: a signal came
    :ivar raises: to be switched off before threads share locks with the main one. An exception between a lock's being
        taken and the block that gives it back leaves it taken: a thread of the executor would wait for it for ever, and
        the process for the thread
    """

    def __init__(self) -> None:
        self.raises, self.fired = True, False

    def __call__(self, number: int, frame: Any) -> None:
        self.fired = True
        if self.raises:
            self.raises = False
            raise _Stop


def _handle_signals(handler: Callable[[int, Any], None] | signal.Handlers) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _start(node: SegvladNode) -> bool:
    return (node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and node.trigger_activate() == TransitionCallbackReturn.SUCCESS)


def _spin(executor: NodeExecutor, node: SegvladNode) -> None:
    """Spin on, also after a callback has failed."""
    while node.context.ok():
        try:
            executor.spin()
        except ExternalShutdownException:
            raise
        except Exception:
            if node.context.ok():
                node.get_logger().error(f'a callback failed, the node goes on:\n{traceback.format_exc()}')
