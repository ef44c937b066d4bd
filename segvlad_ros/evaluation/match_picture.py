"""One answer as a picture: query and match side by side, the segments that voted in the same colours, and why."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from segvlad_ros.evaluation.pictures import Lettering, distinct_colours
from segvlad_ros.io.image_codec import decode_compressed
from segvlad_ros.types import CameraModel, Candidate, Keyframe, Recognition, SegmentMatch, SegvladError, Status

PANEL_HEIGHT = 270  # pixels of each image; its width follows the query's aspect within these limits:
PANEL_WIDTHS = (320, 640)
GAP = 6
MAX_PIXELS = 4_000_000  # of a thumbnail, which may come from another node
HEADER = 34
FOOTER = 68  # one line of numbers, two of the reason
MOST_PAIRS = 12  # more colours cannot be told apart
LEAST_PAIRS = 4  # overlapping boxes are shown only to reach this many
MAX_OVERLAP = 0.35  # intersection over the smaller box, for two boxes to count as apart
SMALL = 32  # pixels; the number of a smaller box stands above it
SHARES = (0.004, 0.6)  # of the image, for a segment to be worth showing

GREEN, AMBER, RED, GREY = (22, 128, 61), (190, 120, 0), (190, 38, 38), (88, 92, 100)
DARK, PALE, DIM = (24, 25, 29), (232, 234, 238), (160, 165, 175)


@dataclass(frozen=True)
class _Side:
    """One of the two images on its panel.

    :ivar pixels: (PANEL_HEIGHT, width, 3) uint8 RGB, the image in the middle
    :ivar boxes: (M, 4) float64, x, y, width, height in pixels of the panel
    :ivar area: pixels of the panel that the image covers
    """

    pixels: np.ndarray
    boxes: np.ndarray
    area: float


def draw_match(query: Keyframe, recognition: Recognition, match_thumbnail: bytes = b'',
               match_boxes: np.ndarray | None = None, match_camera: CameraModel | None = None) -> np.ndarray:
    """The answer to one query as a picture, always of the same size for images of one size.

    :param match_thumbnail: JPEG bytes of the best candidate's keyframe, b'' if none
    :param match_boxes: (M, 4) its segments, pixels of the camera's image; None if unknown
    :param match_camera: its camera, for the size of that image; without one the size is judged by the boxes
    :return: (372, width, 3) uint8 RGB; green for a match, amber for one that waits for agreement, red for a rejected
        one, grey without a candidate
    """
    best = recognition.candidates[0] if recognition.candidates else None
    thumbnail, boxes = _decoded(query.thumbnail), _boxes(query.description.boxes)
    width = _panel_width(image_size(boxes, query.camera_model, _size(thumbnail)))
    sides = [_side(thumbnail, boxes, query.camera_model, width)]
    if best is None:
        sides.append(_Side(np.full((PANEL_HEIGHT, width, 3), DARK, np.uint8), np.empty((0, 4)), 0.0))
        Lettering(0.6, DIM).centred(sides[1].pixels, 'no candidate')
    else:
        sides.append(_side(_decoded(match_thumbnail), _boxes(match_boxes), match_camera, width))
        query_side, match_side = sides
        _draw_pairs(query_side, match_side, shown_pairs(best.evidence, (query_side.boxes, match_side.boxes),
                                                        (query_side.area, match_side.area)))
    canvas = np.full((HEADER + PANEL_HEIGHT + FOOTER, 2 * width + GAP, 3), DARK, np.uint8)
    for side, left, name in zip(sides, (0, width + GAP), _names(query, best)):
        if name:
            Lettering(0.45, PALE).tag(side.pixels, name, (0, PANEL_HEIGHT), DARK)
        canvas[HEADER:HEADER + PANEL_HEIGHT, left:left + width] = side.pixels
    _draw_words(canvas, query, recognition, best)
    return canvas


def is_waiting(recognition: Recognition) -> bool:
    """Whether the agreement of the next keyframes may still make a match of it; odometry does not speak against it."""
    return recognition.status == Status.NO_MATCH_TEMPORAL and not is_contradicted(recognition)


def is_contradicted(recognition: Recognition) -> bool:
    """Whether the robot cannot be there by odometry."""
    return recognition.evidence is not None and recognition.evidence.support.expected is False


def _boxes(boxes: np.ndarray | None) -> np.ndarray:
    return np.empty((0, 4)) if boxes is None else np.asarray(boxes, np.float64).reshape(-1, 4)


def _decoded(jpeg: bytes) -> np.ndarray | None:
    """The thumbnail, or None where there is none that can be read."""
    try:
        return decode_compressed(jpeg, MAX_PIXELS) if jpeg else None
    except SegvladError:
        return None


def _size(image: np.ndarray | None) -> tuple[int, int] | None:
    return None if image is None else image.shape[1::-1]


def image_size(boxes: np.ndarray, camera: CameraModel | None, thumbnail: tuple[int, int] | None
               ) -> tuple[float, float]:
    """Width and height of the image that boxes are in, pixels.

    Without a camera model, or with one that the boxes do not fit in, the boxes and the thumbnail's aspect tell it:
    segments reach to the borders of the image, at least in one direction.

    :param boxes: (M, 4) x, y, width, height, pixels
    :param thumbnail: its width and height, pixels; None if there is none
    """
    reach = (boxes[:, :2] + boxes[:, 2:]).max(0) if len(boxes) else np.zeros(2)
    if camera is not None and camera.width > 0 and camera.height > 0 and (
            reach <= (camera.width, camera.height)).all():
        return camera.width, camera.height
    if thumbnail is not None:
        width, height = thumbnail  # never larger than the image
        scale = max(1.0, reach[0] / width, reach[1] / height)
        return width * scale, height * scale
    return (max(1.0, reach[0]), max(1.0, reach[1])) if len(boxes) else (4.0, 3.0)


def _panel_width(size: tuple[float, float]) -> int:
    return round(min(PANEL_WIDTHS[1], max(PANEL_WIDTHS[0], PANEL_HEIGHT * size[0] / size[1])))


def _side(thumbnail: np.ndarray | None, boxes: np.ndarray, camera: CameraModel | None, width: int) -> _Side:
    """An image scaled into its panel, and its boxes with it."""
    size = image_size(boxes, camera, _size(thumbnail))
    scale = min(width / size[0], PANEL_HEIGHT / size[1])
    shown = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    left, top = (width - shown[0]) // 2, (PANEL_HEIGHT - shown[1]) // 2
    panel = np.full((PANEL_HEIGHT, width, 3), DARK, np.uint8)
    if thumbnail is None:
        Lettering(0.6, DIM).centred(panel, 'no thumbnail')
    else:
        shrinks = shown[0] < thumbnail.shape[1]
        panel[top:top + shown[1], left:left + shown[0]] = cv2.resize(
            thumbnail, shown, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    corners = np.clip(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]) * scale, 0, [*shown, *shown])
    placed = np.hstack([corners[:, :2] + (left, top), corners[:, 2:] - corners[:, :2]])
    return _Side(panel, placed, float(shown[0] * shown[1]))


def shown_pairs(evidence: Sequence[SegmentMatch], sides: tuple[np.ndarray, np.ndarray], areas: tuple[float, float]
                ) -> list[SegmentMatch]:
    """The most similar pairs, each segment once, apart from each other in both images as far as there are such.

    :param sides: (M, 4) boxes of the query and of the match, in any unit
    :param areas: of the two images, in the square of that unit
    """
    query, match = sides
    apart: list[SegmentMatch] = []
    overlapping: list[SegmentMatch] = []
    for pair in sorted(evidence, key=lambda pair: -pair.similarity):
        if not (0 <= pair.query_segment < len(query) and 0 <= pair.match_segment < len(match)):
            continue
        boxes = query[pair.query_segment], match[pair.match_segment]
        if not all(SHARES[0] <= box[2] * box[3] / area <= SHARES[1] for box, area in zip(boxes, areas)):
            continue
        free = (_is_apart(boxes[0], query[[other.query_segment for other in apart]])
                and _is_apart(boxes[1], match[[other.match_segment for other in apart]]))
        (apart if free else overlapping).append(pair)
        if len(apart) == MOST_PAIRS:
            break
    for pair in overlapping:
        once = all(pair.query_segment != other.query_segment and pair.match_segment != other.match_segment
                   for other in apart)
        if len(apart) < LEAST_PAIRS and once:
            apart.append(pair)
    return apart


def _is_apart(box: np.ndarray, others: np.ndarray) -> bool:
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    common = np.maximum(high - low, 0).prod(1)
    return bool((common <= MAX_OVERLAP * np.minimum(box[2] * box[3], others[:, 2:].prod(1))).all())


def _draw_pairs(query: _Side, match: _Side, pairs: list[SegmentMatch]) -> None:
    """Boxes with a number, the same colour and number on both sides; what has no box steps back."""
    if not pairs:
        return
    colours = distinct_colours(len(pairs))
    ends_of = [pair.query_segment for pair in pairs], [pair.match_segment for pair in pairs]
    for side, ends in zip((query, match), ends_of):
        faded = side.pixels // 2 + cv2.cvtColor(cv2.cvtColor(side.pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) // 4
        corners = [tuple(int(round(value)) for value in (x, y, x + wide, y + tall))
                   for x, y, wide, tall in side.boxes[ends]]
        for (left, top, right, bottom), colour in zip(corners, colours):
            inside = np.s_[top:bottom, left:right]
            faded[inside] = (0.82 * side.pixels[inside] + 0.18 * np.array(colour)).astype(np.uint8)
        side.pixels[:] = faded
        for (left, top, right, bottom), colour in zip(corners, colours):
            cv2.rectangle(side.pixels, (left + 1, top + 1), (right - 2, bottom - 2), colour, 2)
        for number, ((left, top, right, bottom), colour) in enumerate(zip(corners, colours), 1):
            small = min(right - left, bottom - top) < SMALL
            Lettering(0.42, _legible_on(colour)).tag(side.pixels, str(number), (left, top - 15 * small), colour)


def _legible_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white (BT.601 luma)."""
    return (0, 0, 0) if np.dot(colour, (0.299, 0.587, 0.114)) > 110 else (255, 255, 255)


def _draw_words(canvas: np.ndarray, query: Keyframe, recognition: Recognition, best: Candidate | None) -> None:
    canvas[:HEADER] = _colour(recognition, best)
    title = recognition.status.name.replace('_', ' ').replace('NO MATCH ', 'NO MATCH: ')
    Lettering(0.62, (255, 255, 255), bold=True).left(canvas, title, (10, 23))
    base = HEADER + PANEL_HEIGHT
    if best is not None:
        Lettering(0.46, PALE).left(canvas, '   '.join(_numbers(best, len(query.description))), (10, base + 21))
    reason = recognition.reason
    for candidate in recognition.candidates[:1]:
        reason = reason.replace(candidate.id.session_id, candidate.id.session_id[:8])
    Lettering(0.45, DIM).wrapped(canvas, reason, (10, base + (42 if best is not None else 21)), lines=2, step=18)


def _names(query: Keyframe, best: Candidate | None) -> tuple[str, str]:
    """Of the two images."""
    name = f'query: keyframe {query.id.index}'
    if best is None:
        return name, ''
    other = '' if best.id.session_id == query.id.session_id else f' of session {best.id.session_id[:8]}'
    return name, f'match: keyframe {best.id.index}{other}'


def _numbers(best: Candidate, segments: int) -> list[str]:
    numbers = [f'score {best.score:.2f}', f'ambiguity {best.ambiguity:.2f}']
    if not math.isnan(best.probability):
        numbers.append(f'probability {best.probability:.2f}')
    numbers.append(best.verification.name.lower() + (f', {best.inliers} inliers' if best.inliers else ''))
    return [*numbers, f'{best.matched_segments} of {segments} segments']


def _colour(recognition: Recognition, best: Candidate | None) -> tuple[int, int, int]:
    if best is None:
        return GREY
    if is_waiting(recognition):
        return AMBER
    return GREEN if recognition.status == Status.MATCHED else RED
