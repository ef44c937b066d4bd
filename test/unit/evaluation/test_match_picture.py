"""The picture of one answer: colours, boxes where the segments are, and words that fit."""
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from segvlad_ros.evaluation import match_picture
from segvlad_ros.evaluation.match_picture import AMBER, GREEN, GREY, HEADER, PANEL_HEIGHT, RED, draw_match
from segvlad_ros.evaluation.pictures import Lettering
from segvlad_ros.io.image_codec import encode_jpeg
from segvlad_ros.recognition.evidence import Evidence
from segvlad_ros.recognition.hypotheses import Support
from segvlad_ros.types import (
    CameraModel,
    Candidate,
    Keyframe,
    KeyframeId,
    PlaceDescription,
    Recognition,
    SegmentMatch,
    Status,
    Verification,
)

WIDE, TALL = 640, 480  # of the camera's image; thumbnails are half of it
FAR = np.array([[40, 60, 200, 160], [400, 280, 160, 120], [0, 0, WIDE, TALL]])
NEAR = np.array([[360, 40, 240, 200], [40, 300, 120, 120], [0, 0, WIDE, TALL]])


def grey_thumbnail(width=320, height=240):
    return encode_jpeg(np.full((height, width, 3), 128, np.uint8))


def keyframe(boxes=FAR, thumbnail=None, **named):
    place = PlaceDescription(np.zeros((len(boxes), 4), np.float32), boxes, np.ones(len(boxes), np.int64))
    return Keyframe(KeyframeId(0, 'a' * 32, 12, 10**9), place,
                    thumbnail=grey_thumbnail() if thumbnail is None else thumbnail, **named)


def answer(status=Status.MATCHED, evidence=((0, 0, 0.9), (1, 1, 0.8)), reason='as it is', **named):
    best = Candidate(0, KeyframeId(0, 'a' * 32, 3, 1), 0.5, 0.4, 2, evidence=tuple(SegmentMatch(*e) for e in evidence))
    return Recognition(status, reason, (replace(best, **named),))


def panels(picture):
    width = (picture.shape[1] - match_picture.GAP) // 2
    rows = picture[HEADER:HEADER + PANEL_HEIGHT]
    return rows[:, :width], rows[:, -width:]


def coloured(panel):
    """Left, top, right, bottom of what has each saturated colour, by its hue in eight steps."""
    hsv = cv2.cvtColor(panel, cv2.COLOR_RGB2HSV)
    strong = (hsv[..., 1] > 150) & (hsv[..., 2] > 120)
    found = {}
    for step in np.unique(hsv[strong, 0] // 22):
        rows, cols = np.nonzero(strong & (hsv[..., 0] // 22 == step))
        if len(rows) > 50:
            found[int(step)] = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
    return found


def corners(box, panel):
    """Where a box of the camera's image lies on its panel: left, top, right, bottom."""
    x, y, wide, tall = box
    return np.array([x, y, x + wide, y + tall]) * panel.shape[1] / WIDE


@pytest.mark.parametrize(('status', 'colour'), [
    (Status.MATCHED, GREEN), (Status.NO_MATCH_TEMPORAL, AMBER), (Status.NO_MATCH_AMBIGUOUS, RED),
    (Status.NO_MATCH_GEOMETRIC, RED), (Status.NO_MATCH_LOW_SCORE, RED)])
def test_the_header_has_the_colour_of_the_answer(status, colour):
    picture = draw_match(keyframe(), answer(status), grey_thumbnail(), NEAR)
    assert tuple(picture[2, 2]) == colour


def test_what_odometry_contradicts_is_red():
    evidence = Evidence(4, 0.5, support=Support(expected=False))
    given = replace(answer(Status.NO_MATCH_TEMPORAL), evidence=evidence)
    assert tuple(draw_match(keyframe(), given, grey_thumbnail(), NEAR)[2, 2]) == RED


@pytest.mark.parametrize('status', [Status.MAP_EMPTY, Status.MAP_ONLY_RECENT, Status.QUERY_REJECTED,
                                    Status.NO_MATCH_LOW_SCORE])
def test_without_a_candidate_it_is_grey_and_shows_the_query_only(status):
    picture = draw_match(keyframe(), Recognition(status, 'why'))
    assert tuple(picture[2, 2]) == GREY
    left, right = panels(picture)
    assert abs(float(np.median(left)) - 128) < 3
    assert np.median(right) < 40
    assert picture.shape == draw_match(keyframe(), answer(), grey_thumbnail(), NEAR).shape


@pytest.mark.parametrize('camera', [None, CameraModel(WIDE, TALL, np.eye(3), np.empty(0))])
def test_a_pair_has_its_boxes_where_the_segments_are_in_one_colour(camera):
    """With and without a camera model the boxes of the camera's image land on the thumbnail."""
    query, match = keyframe(camera_model=camera), NEAR
    left, right = (coloured(panel) for panel in panels(draw_match(query, answer(), grey_thumbnail(), match, camera)))
    assert len(left) == 2
    assert set(left) == set(right)
    width = panels(draw_match(query, answer(), grey_thumbnail(), match, camera))[0]
    for found, boxes in ((left, FAR), (right, NEAR)):
        expected = [corners(box, width) for box in boxes[:2]]
        for extent in found.values():
            assert min(np.abs(extent - box).max() for box in expected) <= 3


def test_boxes_are_not_stretched_where_segments_do_not_reach_the_border_but_the_camera_is_known():
    camera = CameraModel(WIDE, TALL, np.eye(3), np.empty(0))
    inner = FAR[:2]
    picture = draw_match(keyframe(inner, camera_model=camera), answer(), grey_thumbnail(), NEAR, camera)
    panel = panels(picture)[0]
    extents = coloured(panel).values()
    for box in inner:
        assert min(np.abs(extent - corners(box, panel)).max() for extent in extents) <= 3


@pytest.mark.parametrize('border', [[0, 200, WIDE, 40], [300, 0, 40, TALL]])
def test_one_border_that_segments_reach_is_enough_without_a_camera_model(border):
    boxes = np.vstack([FAR[:2], [border]])
    panel = panels(draw_match(keyframe(boxes), answer(), grey_thumbnail(), NEAR))[0]
    extents = coloured(panel).values()
    for box in FAR[:2]:
        assert min(np.abs(extent - corners(box, panel)).max() for extent in extents) <= 3


def test_a_camera_model_that_the_boxes_do_not_fit_in_is_not_believed():
    """CameraInfo of another resolution than the image."""
    wrong = CameraModel(WIDE // 4, TALL // 4, np.eye(3), np.empty(0))
    right = draw_match(keyframe(), answer(), grey_thumbnail(), NEAR)
    np.testing.assert_array_equal(
        draw_match(keyframe(camera_model=wrong), answer(), grey_thumbnail(), NEAR, wrong), right)


def test_the_strongest_pairs_are_shown_apart_and_each_segment_once():
    steps = np.arange(20)
    boxes = np.stack([steps % 5 * 128, steps // 5 * 120, np.full(20, 100), np.full(20, 90)], 1)
    boxes = np.vstack([boxes, boxes + [5, 5, 0, 0], [[0, 0, WIDE, TALL]]])  # the second twenty lie over the first
    sides, areas = (boxes.astype(float),) * 2, (WIDE * TALL,) * 2
    evidence = [SegmentMatch(n, n, 0.5 + 0.01 * n) for n in range(20)]
    evidence += [SegmentMatch(20 + n, 20 + n, 0.4) for n in range(20)] + [SegmentMatch(40, 40, 0.99)]
    pairs = match_picture.shown_pairs(evidence, sides, areas)
    assert [pair.query_segment for pair in pairs] == list(range(19, 7, -1))
    over = (SegmentMatch(0, 0, 0.9), SegmentMatch(20, 20, 0.8), SegmentMatch(20, 1, 0.7), SegmentMatch(2, 0, 0.6))
    assert [(p.query_segment, p.match_segment) for p in match_picture.shown_pairs(over, sides, areas)] == [
        (0, 0), (20, 20)]


@pytest.mark.parametrize('evidence', [(), ((0, 0, 0.9), (99, 0, 0.8), (0, 99, 0.7), (-1, 0, 0.7))])
def test_no_evidence_and_segments_that_do_not_exist(evidence):
    picture = draw_match(keyframe(), answer(evidence=evidence), grey_thumbnail(), NEAR)
    assert len(coloured(panels(picture)[0])) == len(evidence) // 4


@pytest.mark.parametrize('thumbnail', [b'', b'\xff\xd8 no jpeg', b'x' * 100])
def test_thumbnails_that_are_missing_or_damaged(thumbnail):
    picture = draw_match(keyframe(thumbnail=thumbnail), answer(), thumbnail, NEAR)
    assert set(coloured(panels(picture)[0])) == set(coloured(panels(picture)[1]))
    empty = Keyframe(KeyframeId(0, '', 1, 1), PlaceDescription(np.empty((0, 4), np.float32), np.empty((0, 4), np.int32),
                                                               np.empty(0, np.int64)))
    assert draw_match(empty, Recognition(Status.QUERY_REJECTED, 'the image is dark')).shape[2] == 3
    assert draw_match(empty, answer(), b'', None).shape[2] == 3


@pytest.mark.parametrize('size', [(1, 1), (320, 2), (2, 320), (320, 90), (90, 320), (320, 240)])
def test_images_of_very_different_sizes(size):
    odd, usual = grey_thumbnail(*size), grey_thumbnail()
    for query, match in ((odd, usual), (usual, odd), (odd, odd)):
        picture = draw_match(keyframe(thumbnail=query), answer(), match, NEAR)
        assert picture.dtype == np.uint8
        assert picture.shape[0] == 372
        assert 646 <= picture.shape[1] <= 1286


def test_boxes_out_of_range_stay_in_the_picture():
    wild = np.array([[-50, -50, 5000, 100], [600, 470, 2**30, 2**30], [0, 0, 0, 0]], np.int32)
    assert draw_match(keyframe(wild), answer(evidence=((0, 0, 0.9), (1, 1, 0.8), (2, 2, 0.7))), grey_thumbnail(),
                      wild).shape == (372, 726, 3)


def test_words_fit_whatever_they_are():
    named = {'probability': 0.87, 'verification': Verification.GEOMETRIC, 'inliers': 120}
    long = answer(reason='much too long ' * 40, **named)
    picture = draw_match(keyframe(), long, grey_thumbnail(), NEAR)
    assert (picture[:, -4:][HEADER + PANEL_HEIGHT:] == match_picture.DARK).all()
    assert picture[-30:-8].max() > 100  # the second line of the reason
    odd = draw_match(keyframe(), answer(reason='B\u00fcro \u2713 ' + 'x' * 500), grey_thumbnail(), NEAR)
    assert odd.shape == picture.shape
    without = draw_match(keyframe(), answer(reason='much too long ' * 40), grey_thumbnail(), NEAR)
    assert (picture[HEADER + PANEL_HEIGHT:-40] != without[HEADER + PANEL_HEIGHT:-40]).any()  # the probability


def test_names_of_sessions_are_shortened():
    """32 hexadecimal digits say nothing to people and push the reason out of the picture."""
    full = answer(reason=f"keyframe 3 of session '{'a' * 32}' with score 0.5")
    short = answer(reason=f"keyframe 3 of session '{'a' * 8}' with score 0.5")
    np.testing.assert_array_equal(*(draw_match(keyframe(), given, grey_thumbnail(), NEAR) for given in (full, short)))


def test_letters_are_cut_to_the_width():
    canvas = np.zeros((40, 200, 3), np.uint8)
    Lettering(0.5, (255, 255, 255)).left(canvas, 'a long line ' * 20, (10, 20))
    assert canvas[:, 60:180].any()
    assert not canvas[:, -8:].any()
