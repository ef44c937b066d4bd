"""The benchmark of what a map may leave out: what its codes keep, and what the IoU filter drops."""

import numpy as np
import pytest
import small_keyframes as benchmark

from segvlad_ros.description.arrays import unit_rows
from segvlad_ros.types import Keyframe, KeyframeId, Keypoints, PlaceDescription


def keyframe(segments=20, points=30):
    random = np.random.default_rng(0)
    return Keyframe(KeyframeId(0, 'a', 1, 1), PlaceDescription(
        unit_rows(random.standard_normal((segments, 64)).astype(np.float32)),
        random.integers(0, 100, (segments, 4)).astype(np.int32), random.integers(1, 99, segments),
        keypoints=Keypoints(random.random((points, 2)).astype(np.float32) * 100,
                            random.integers(0, 120, (points, 128)).astype(np.uint8), np.ones(points, np.float32))))


def test_what_maps_kept_before_is_kept_whole():
    given = keyframe()
    kept = benchmark.Code.of(benchmark.TODAY).stored(given, np.zeros(20))
    assert np.array_equal(kept.description.descriptors, given.description.descriptors)
    assert np.array_equal(kept.description.keypoints.descriptors, given.description.keypoints.descriptors)


def test_a_code_says_how_much_is_kept():
    given, overlap = keyframe(), np.linspace(0, 1, 20)
    for text, segments, points in (('4:0.5:10:4', 10, 10), ('3:7:500:2', 7, 30), ('2:1:30:1', 20, 30)):
        code = benchmark.Code.of(text)
        place = code.stored(given, overlap).description
        assert len(place.descriptors) == len(place.boxes) == len(place.pixels) == segments
        assert len(place.keypoints.depths) == points
        assert np.array_equal(place.boxes, given.description.boxes[:segments])
        kept = (unit_rows(place.descriptors) * given.description.descriptors[:segments]).sum(axis=1)
        assert (kept > {4: 0.98, 3: 0.95, 2: 0.85}[code.bits]).all() and (kept < 1 - 1e-4).all()
    assert benchmark.Code.of('4:0.5:10:4').sizes(benchmark.Code.of('4:0.5:10:4').stored(given, overlap)) == [
        10 * (32 + 12), 10 * (64 + 4 + 2), 0]


def test_queries_go_through_the_code_only_if_asked():
    given = keyframe()
    for text, same in (('4:1:500:2', True), ('4:1:500:2:both', False)):
        asked = benchmark.Code.of(text).asked(given).description.descriptors
        assert np.array_equal(asked, given.description.descriptors) == same


@pytest.mark.parametrize('psi', [0.2, 0.4, 0.6, 0.8])
def test_the_filter_keeps_no_two_alike_and_one_for_each_that_it_drops(psi):
    rows, columns = np.mgrid[:30, :40].reshape(2, -1)
    corners = np.random.default_rng(0).integers(0, 9, (60, 2))
    sides = np.random.default_rng(1).integers(10, 16, (60, 2))
    incidence = ((rows >= corners[:, :1]) & (rows < corners[:, :1] + sides[:, :1])
                 & (columns >= corners[:, 1:]) & (columns < corners[:, 1:] + sides[:, 1:]))
    kept = benchmark.overlaps(incidence) <= psi
    shared = np.array([[(a & b).sum() / (a | b).sum() for b in incidence] for a in incidence])
    assert 0 < kept.sum() < len(kept)
    assert (shared[np.ix_(kept, kept)] - np.eye(kept.sum())).max() <= psi
    assert (shared[np.ix_(~kept, kept)].max(axis=1) > psi).all()


def test_no_segments_have_no_overlaps():
    assert benchmark.overlaps(np.zeros((0, 12), bool)).shape == (0,)
