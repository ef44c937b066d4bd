"""Text that others wrote, in one line of ours.

Messages quote what they are about: the name of a file, what SQLite says of a damaged schema, a frame of another node.
Such text holds anything, line ends and the control sequences of terminals included. Here is the one place where it
becomes fit for a log, a terminal and a message; :class:`~segvlad_ros.types.SegvladError` calls it, so that who raises
one need not think of it.
"""
from __future__ import annotations

import logging

MOST = 1000
"""Characters of a line, enough for every message of our own; its beginning names the file, its end says what to do."""
_GAP = ' ... '
_OPENCV_NO_MEMORY = -4  # cv::Error::StsNoMem


def one_line(text: object, most: int = MOST) -> str:
    """Text as one line that can be printed: line ends are spaces, control characters and the like are escaped.

    :param most: of what is longer, so many characters are left of its beginning and its end
    """
    line = str(text).strip()
    if not line.isprintable():
        line = ''.join(character if character.isprintable() else _escaped(character)
                       for character in ' '.join(line.split()))
    if len(line) <= most:
        return line
    end = (most - len(_GAP)) // 3
    return f'{line[:most - len(_GAP) - end]}{_GAP}{line[-end:]}'


def _escaped(character: str) -> str:
    return character.encode('unicode_escape', 'surrogatepass').decode()


def said_by(error: BaseException, most: int = MOST) -> str:
    """What an exception that is not ours says, after its kind, in one line; see :func:`one_line`."""
    if out_of_memory(error):
        return one_line(f'memory has run out ({one_line(error, 160)}): free some, or use smaller images, a smaller map '
                        'or a lighter preset', most)
    return one_line(f'{type(error).__name__}: {error}', most)


def out_of_memory(error: BaseException) -> bool:
    """Whether the allocator has refused memory, to Python, to NumPy or to OpenCV."""
    opencv = type(error).__module__ == 'cv2' and getattr(error, 'code', 0) == _OPENCV_NO_MEMORY
    return opencv or isinstance(error, MemoryError)


class OneLineFormatter(logging.Formatter):
    """Logs each message in one line; only a traceback, where one is logged, has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """See :class:`logging.Formatter`."""
        return one_line(super().formatMessage(record))
