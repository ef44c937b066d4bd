"""Words on pictures: OpenCV's own letters, measured, cut and wrapped so that they stay within the picture."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MARGIN = 10
_ELLIPSIS = '...'


@dataclass(frozen=True)
class Lettering:
    """One style of letters.

    :ivar size: scale of the font; 0.5 is about 11 pixels
    :ivar colour: RGB
    """

    size: float
    colour: tuple[int, int, int]
    bold: bool = False

    def width(self, text: str) -> int:
        """Pixels that a text takes."""
        return self._extent(text)[0]

    def left(self, canvas: np.ndarray, text: str, corner: tuple[int, int]) -> None:
        """Write one line, cut at the right border.

        :param corner: left end of the base line, pixels
        """
        self._put(canvas, self._cut(_plain(text), canvas.shape[1] - MARGIN - corner[0]), corner)

    def centred(self, canvas: np.ndarray, text: str) -> None:
        """Write one line in the middle."""
        wide, tall = self._extent(text)
        self._put(canvas, text, ((canvas.shape[1] - wide) // 2, (canvas.shape[0] + tall) // 2))

    def wrapped(self, canvas: np.ndarray, text: str, corner: tuple[int, int], *, lines: int, step: int) -> None:
        """Write a text over several lines; what does not fit is cut.

        :param lines: lines at most
        :param step: pixels from one base line to the next
        """
        limit = canvas.shape[1] - MARGIN - corner[0]
        words = _plain(text).split()
        for number in range(lines):
            line = ' '.join(words)
            if number < lines - 1:
                count = len(words)
                while count > 1 and self.width(' '.join(words[:count])) > limit:
                    count -= 1
                line, words = ' '.join(words[:count]), words[count:]
            self._put(canvas, self._cut(line, limit), (corner[0], corner[1] + number * step))

    def tag(self, canvas: np.ndarray, text: str, corner: tuple[int, int], background: tuple[int, int, int]) -> None:
        """Write a short text on a filled box.

        :param corner: top left of the box, pixels; the box is moved to lie within the picture
        """
        text = self._cut(_plain(text), canvas.shape[1] - MARGIN)
        wide, tall = self._extent(text)
        size = wide + 6, tall + 6
        left, top = (max(0, min(at, end - length))
                     for at, length, end in zip(corner, size, (canvas.shape[1], canvas.shape[0])))
        cv2.rectangle(canvas, (left, top), (left + size[0] - 1, top + size[1] - 1), background, cv2.FILLED)
        self._put(canvas, text, (left + 3, top + tall + 2))

    def _extent(self, text: str) -> tuple[int, int]:
        return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, self.size, 1 + self.bold)[0]

    def _cut(self, text: str, limit: int) -> str:
        if self.width(text) <= limit:
            return text
        while text and self.width(text + _ELLIPSIS) > limit:
            text = text[:-1]
        return text.rstrip() + _ELLIPSIS

    def _put(self, canvas: np.ndarray, text: str, corner: tuple[int, int]) -> None:
        cv2.putText(canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, self.size, self.colour, 1 + self.bold, cv2.LINE_AA)


def _plain(text: str) -> str:
    """Hershey letters are ASCII; other letters become question marks."""
    return text.encode('ascii', 'replace').decode()
