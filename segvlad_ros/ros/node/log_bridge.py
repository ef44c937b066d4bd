"""What the ROS-free core says through ``logging``, said through the node's logger."""
from __future__ import annotations

import logging


class LogBridge(logging.Handler):
    """Forwards the records of the package's loggers to a node's logger (and so to /rosout).

    :param ros_logger: what ``Node.get_logger()`` returns
    """

    def __init__(self, ros_logger) -> None:
        super().__init__()
        self._ros_logger = ros_logger

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record. rclpy wants each severity to come from a line of its own."""
        message = self.format(record)
        if record.levelno >= logging.CRITICAL:
            self._ros_logger.fatal(message)
        elif record.levelno >= logging.ERROR:
            self._ros_logger.error(message)
        elif record.levelno >= logging.WARNING:
            self._ros_logger.warning(message)
        elif record.levelno >= logging.INFO:
            self._ros_logger.info(message)
        else:
            self._ros_logger.debug(message)


def bridge_logging(ros_logger) -> LogBridge:
    """Send everything the package logs to a node's logger.

    :return: the handler, for :func:`unbridge_logging`
    """
    package = logging.getLogger('segvlad_ros')
    bridge = LogBridge(ros_logger)
    package.addHandler(bridge)
    package.setLevel(logging.DEBUG if ros_logger.get_effective_level() <= 10 else logging.INFO)
    package.propagate = False
    return bridge


def unbridge_logging(bridge: LogBridge) -> None:
    """Undo :func:`bridge_logging`."""
    package = logging.getLogger('segvlad_ros')
    package.removeHandler(bridge)
    package.propagate = True
