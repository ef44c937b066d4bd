"""Query and match side by side, segments that voted for the match in one colour; letters and colours of pictures."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from segvlad_ros.types import Candidate, PlaceDescription

if TYPE_CHECKING:
    from segvlad_ros.description.describer import Describer

GAP = 6  # pixels between the two images
CAPTION = 34  # pixels of the line below
MIN_SHARE = 0.003  # of the image, for a segment to be shown
MARGIN = 10  # pixels at the right of a line of text
_ELLIPSIS = '...'


def draw_matched_segments(query: np.ndarray, match: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray]],
                          caption: str = '') -> np.ndarray:
    """One picture of a match.

    :param query, match: (h, w, 3) uint8 RGB, of one size
    :param pairs: masks (h, w) bool of a query segment and of the map segment that it voted for
    :param caption: one line below
    :return: (h + 34, 2 w + 6, 3) uint8 RGB
    """
    height, width = query.shape[:2]
    canvas = np.full((height + CAPTION, 2 * width + GAP, 3), 255, np.uint8)
    colours = distinct_colours(len(pairs))
    for side, (image, left) in enumerate(((query, 0), (match, width + GAP))):
        painted = image // 2 + cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) // 3
        for pair, colour in zip(pairs, colours):
            mask = pair[side]
            painted[mask] = (0.45 * image[mask] + 0.55 * np.array(colour)).astype(np.uint8)
            outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(painted, outlines, -1, colour, 2)
        canvas[:height, left:left + width] = painted
    cv2.putText(canvas, caption, (8, height + CAPTION - 11), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (20, 20, 20), 1,
                cv2.LINE_AA)
    return canvas


def matched_pairs(describer: Describer, images: tuple[np.ndarray, np.ndarray],
                  descriptions: tuple[PlaceDescription, PlaceDescription], candidate: Candidate,
                  most: int = 14) -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks of the segments behind a match: the most similar ones that are large enough to be seen, each once.

    The messages carry boxes, so the images are segmented once more.

    :param describer: of the preset that described both
    :param images: (h, w, 3) uint8 RGB of query and match, as they were described
    :param descriptions: of query and match
    :param most: pairs at most, so that colours can be told apart
    """
    masks = [segment_masks(describer, image, description) for image, description in zip(images, descriptions)]
    least = MIN_SHARE * images[0].shape[0] * images[0].shape[1]
    taken: tuple[set[int], set[int]] = set(), set()
    pairs = []
    for pair in sorted(candidate.evidence, key=lambda pair: -pair.similarity):
        ends = pair.query_segment, pair.match_segment
        small = any(description.pixels[end] < least for description, end in zip(descriptions, ends))
        if small or len(pairs) == most or ends[0] in taken[0] or ends[1] in taken[1]:
            continue
        for seen, end in zip(taken, ends):
            seen.add(end)
        pairs.append((masks[0][ends[0]], masks[1][ends[1]]))
    return pairs


def segment_masks(describer: Describer, image: np.ndarray, description: PlaceDescription) -> list[np.ndarray]:
    """Masks of described segments at the image's size; where segmenting finds one no more, its box.

    :return: (h, w) bool each, in the order of the description
    """
    from segvlad_ros.description.describer import resized

    height, width = image.shape[:2]
    found = np.asarray(describer.segmenter.segment(resized(image, describer.segment_size)).masks)
    by_box = {_box_of(mask, (width, height)): mask for mask in found}
    result = []
    for box in description.boxes:
        mask = by_box.get(tuple(int(side) for side in box))
        if mask is None:
            x, y, wide, tall = box
            full = np.zeros((height, width), bool)
            full[y:y + tall, x:x + wide] = True
        else:
            full = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
        result.append(full)
    return result


def _box_of(mask: np.ndarray, size: tuple[int, int]) -> tuple[int, ...]:
    """The box of a mask, scaled to an image size, rounded as the describer does."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    scale = np.array(size) / mask.shape[::-1]
    corner = np.array([cols[0], rows[0]]) * scale
    extent = np.array([cols[-1] + 1 - cols[0], rows[-1] + 1 - rows[0]]) * scale
    return tuple(int(side) for side in np.rint([*corner, *extent]))


def distinct_colours(count: int) -> list[tuple[int, int, int]]:
    """Colours that differ as much as possible: even steps of hue, two brightnesses."""
    hues = np.arange(count) * 180 / max(1, count)
    hsv = np.stack([hues, np.full(count, 230), np.where(np.arange(count) % 2, 255, 200)], 1).astype(np.uint8)
    if not count:
        return []
    return [tuple(int(c) for c in rgb) for rgb in cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]]


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
    """Hershey letters are ASCII: others become question marks."""
    return text.encode('ascii', 'replace').decode()
