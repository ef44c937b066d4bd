"""A session in the frame of an older map: with and without drift, with false sightings, with too few."""
from __future__ import annotations

import time

import numpy as np
import pytest

from segvlad_ros.geometry import angle_of, exponential, to_matrix
from segvlad_ros.mapping.alignment import MIN_AGREEING, align, support_left, supported
from segvlad_ros.mapping.odometry import OdometrySettings
from segvlad_ros.simulation.routes import ROUTES, drive, odometry
from segvlad_ros.types import SegvladError

DRIFT = OdometrySettings()
LAP = drive(ROUTES['lap'], 0.9, 1.8).path  # a pose every half metre


def matrices(path):
    return np.array([to_matrix(path.pose(index, 'x')) for index in range(len(path))])


def drifting(seed):
    return matrices(odometry(LAP, np.random.default_rng(seed)))


def seen_from(known, seen, seed=0):
    """What recognised places tell, 2 cm and 0.4 degrees wrong."""
    rng = np.random.default_rng(seed)
    return np.array([known[at] @ exponential(np.repeat([0.02, 0.007], 3) * rng.standard_normal(6)) for at in seen])


def errors(poses, known):
    apart = np.linalg.inv(known) @ poses
    return np.linalg.norm(apart[:, :3, 3], axis=1), np.degrees(angle_of(apart))


SEEN = np.arange(3, 75, 4)


def test_a_rigid_motion_is_found():
    known = matrices(LAP)
    moved = exponential(np.array([4.0, -7.0, 1.0, 0.3, -0.2, 1.9]))
    found = align(np.linalg.inv(moved) @ known, SEEN, seen_from(known, SEEN), DRIFT)
    metres, degrees = errors(found.poses, known)
    assert metres.max() < 0.08 and degrees.max() < 1.5
    assert np.median(metres) < 0.03
    assert np.linalg.norm(found.map_from_session[:3, 3] - moved[:3, 3]) < 0.1
    assert (found.agreeing, found.sightings) == (len(SEEN), len(SEEN))
    assert found.bent_m < 0.1
    assert found.residuals_m.max() < 0.1 and found.residuals_rad.max() < 0.05


@pytest.mark.parametrize('seed', range(4))
def test_two_odometries_that_drift_apart_are_brought_together(seed):
    known = drifting(seed)
    driven = max(map(drifting, range(100, 104)), key=lambda path: errors(path, known)[0].max())
    assert errors(driven, known)[0].max() > 0.5
    found = align(driven, SEEN, seen_from(known, SEEN, seed), DRIFT)
    between = slice(SEEN[0], SEEN[-1] + 1)  # beyond them there is odometry alone
    metres, degrees = errors(found.poses[between], known[between])
    assert np.percentile(metres, 95) < 0.06 and metres.max() < 0.12
    assert np.percentile(degrees, 95) < 1.5


@pytest.mark.parametrize('seed', range(4))
def test_false_sightings_are_outvoted(seed):
    known, driven, rng = drifting(seed), drifting(seed + 100), np.random.default_rng(seed)
    sightings = seen_from(known, SEEN, seed)
    false = rng.choice(len(SEEN), len(SEEN) // 3, replace=False)
    for number in false:
        sightings[number] = known[rng.integers(len(known))] @ exponential(rng.standard_normal(6))
    assert (supported(driven, SEEN, sightings, DRIFT)[false] < 0).mean() > 0.9
    found = align(driven, SEEN, sightings, DRIFT)
    assert found.agreeing >= len(SEEN) - len(false) - 1
    assert np.percentile(errors(found.poses[SEEN[0]:SEEN[-1]], known[SEEN[0]:SEEN[-1]])[0], 95) < 0.12


def random_tables(count, share, seed=0):
    """(count, count) bool, symmetric, which of some sightings agree, and which of the others differ."""
    draws = np.triu(np.random.default_rng(seed).random((count, count)), 1)
    agree, differ = (draws > 0) & (draws < share), draws > 0.5
    return agree | agree.T, differ | differ.T


@pytest.mark.parametrize('seed', range(12))
def test_what_is_left_of_support_is_that_of_the_definition(seed):
    agree, differ = random_tables(60, 0.5 * seed / 11, seed)
    kept = np.ones(60, bool)
    while kept.any():
        excess = np.where(kept, differ[:, kept].sum(axis=1) - agree[:, kept].sum(axis=1), -60)
        if excess.max() <= 0:
            break
        kept[excess.argmax()] = False
    assert support_left(agree, differ).tolist() == np.where(kept, agree[:, kept].sum(axis=1), -1).tolist()
    assert seed != 6 or 10 < kept.sum() < 50


def test_thousands_of_sightings_are_outvoted_in_a_second():
    """Counted anew after each, it took minutes."""
    tables, begin = random_tables(2000, 0.3), time.process_time()
    assert (support_left(*tables) < 0).sum() > 1000
    assert time.process_time() - begin < 2


def refused(path, seen, sightings):
    with pytest.raises(SegvladError) as error:
        align(path, np.array(seen, int), np.array(sightings).reshape(-1, 4, 4), DRIFT)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_too_few_are_refused_with_their_number():
    known = matrices(LAP)
    few = SEEN[:MIN_AGREEING - 1]
    assert f'4 of 4 recognised places are proven and agree on where it lies, at least {MIN_AGREEING}' in refused(
        known, few, known[few])
    assert '0 of 0 recognised places' in refused(known, [], [])


def test_sightings_that_contradict_each_other_are_refused():
    known, rng = matrices(LAP), np.random.default_rng(1)
    nonsense = np.array([exponential(5 * rng.standard_normal(6)) for _ in SEEN])
    assert f'of {len(SEEN)} recognised places' in refused(known, SEEN, nonsense)
    assert (supported(known, SEEN, nonsense, DRIFT) < MIN_AGREEING - 1).all()


def test_fewer_than_half_are_no_majority():
    known, rng = matrices(LAP), np.random.default_rng(1)
    sightings = np.array([exponential(9 * rng.standard_normal(6)) for _ in SEEN])
    sightings[::3] = known[SEEN[::3]]
    assert 'at least half needed' in refused(known, SEEN, sightings)
    sightings[1::3] = known[SEEN[1::3]]
    assert align(known, SEEN, sightings, DRIFT, unproven=4).agreeing == 12
    with pytest.raises(SegvladError, match='12 of 26 recognised places'):
        align(known, SEEN, sightings, DRIFT, unproven=8)


def test_sightings_far_from_each_other_are_borne_out_by_their_neighbours():
    """A way on which odometry may be wrong by more than anything can be compared with, two groups at its ends."""
    steps = 900
    line = np.tile(np.eye(4), (steps, 1, 1))
    line[:, 0, 3] = 0.5 * np.arange(steps)
    known = line.copy()
    known[:, 0, 3] *= 1.03
    seen = np.array([0, 3, 6, 9, 890, 893, 896, 899])
    found = align(line, seen, known[seen], DRIFT)
    assert found.agreeing == 8
    assert errors(found.poses, known)[0].max() < 0.5
    assert found.bent_m > 3


def test_the_same_input_gives_the_same_poses():
    known, driven = drifting(1), drifting(2)
    one, two = (align(driven, SEEN, seen_from(known, SEEN), DRIFT) for _ in range(2))
    np.testing.assert_array_equal(one.poses, two.poses)
