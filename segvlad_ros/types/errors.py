"""What an input, a file or a configuration may be refused with."""
from __future__ import annotations

from segvlad_ros.text import one_line


class SegvladError(Exception):
    """An input, file or configuration that cannot be used; the message says what to do.

    It is one line whatever the text quotes, see :func:`~segvlad_ros.text.one_line`.
    """

    def __init__(self, message: object = '') -> None:
        super().__init__(one_line(message))
