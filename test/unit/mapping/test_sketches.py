"""Sketches of keyframes say how much keyframes are like a query, whichever of them are asked about."""
import numpy as np
import pytest

from segvlad_ros.mapping.sketches import Signs, Values

DIRECTIONS, FLOOR = 24, 0.2


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


SKETCHES = {'signs': (lambda: Signs(4, DIRECTIONS, 512), 0.06), 'bytes': (lambda: Values(4, DIRECTIONS, np.int8), 0.01),
            'floats': (lambda: Values(4, DIRECTIONS, np.float32), 1e-5)}
everyone = pytest.mark.parametrize(('make', 'error'), SKETCHES.values(), ids=SKETCHES)


@pytest.fixture(scope='module')
def scenes():
    """Representatives with more directions than are looked at, of as many keyframes as take several blocks."""
    return unit(np.random.default_rng(0).standard_normal((2500, 4, DIRECTIONS + 8)))


def filled(sketch, scenes):
    for rows in scenes:
        sketch.append(rows)
    return sketch


def exact(scenes, query, weights):
    """The definition: of each representative of the query the nearest one of the keyframe, by cosine above a floor."""
    cosines = unit(scenes[..., :DIRECTIONS]) @ unit(query[:, :DIRECTIONS]).T
    return np.maximum(cosines.max(axis=1) - FLOOR, 0) @ weights


@everyone
def test_scores_are_those_of_the_definition(make, error, scenes):
    rng = np.random.default_rng(1)
    query, weights = unit(scenes[7, :3] + 0.1 * rng.standard_normal((3, DIRECTIONS + 8))), np.float32([1, 5, 2])
    scores = filled(make(), scenes).scores(query, weights, np.arange(len(scenes)))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, exact(scenes, query, weights), atol=error * 3 * weights.sum())
    assert np.abs(scores - exact(scenes, query, weights)).mean() < error * weights.sum()
    assert scores.argmax() == 7


@everyone
def test_scores_do_not_depend_on_who_else_is_asked_about(make, error, scenes):
    sketch, rng = filled(make(), scenes), np.random.default_rng(2)
    query, weights = scenes[3], np.ones(4, np.float32)
    everybody = sketch.scores(query, weights, np.arange(len(scenes)))
    for some in (np.arange(900, 1100), np.sort(rng.choice(len(scenes), 700, replace=False)), np.array([2499]),
                 np.zeros(0, np.int64)):
        np.testing.assert_allclose(sketch.scores(query, weights, some), everybody[some], atol=1e-5)


@everyone
def test_fewer_representatives_are_as_good_as_their_copies(make, error, scenes):
    query, weights = scenes[5], np.ones(4, np.float32)
    few = [filled(make(), [rows]).scores(query, weights, np.arange(1))
           for rows in (scenes[0, :1], scenes[0, [0, 0, 0, 0]], scenes[0, :0])]
    np.testing.assert_allclose(few[0], few[1], atol=1e-6)
    assert few[2].shape == (1,)


@everyone
def test_a_query_without_representatives_scores_nothing(make, error, scenes):
    scores = filled(make(), scenes[:5]).scores(scenes[0, :0], np.zeros(0, np.float32), np.arange(5))
    np.testing.assert_array_equal(scores, np.zeros(5))
