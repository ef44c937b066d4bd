"""What the ROS-free core says through ``logging``, said through the node's logger."""
from __future__ import annotations

import logging

from segvlad_ros.text import OneLineFormatter


class LogBridge(logging.Handler):
    """Sends everything the package logs to a node's logger (and so to /rosout), until it is closed.

    :param ros_logger: what ``Node.get_logger()`` returns
    """

    def __init__(self, ros_logger) -> None:
        super().__init__()
        self.setFormatter(OneLineFormatter())
        self._ros_logger = ros_logger
        self._package = logging.getLogger('segvlad_ros')
        self._package.addHandler(self)
        self._package.setLevel(logging.DEBUG if ros_logger.get_effective_level() <= 10 else logging.INFO)
        self._package.propagate = False

    def close(self) -> None:
        """Take the log back from the node."""
        self._package.removeHandler(self)
        self._package.propagate = True
        super().close()

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
