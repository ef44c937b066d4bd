"""The patrol benchmark in short: later laps are known, and twin floors are not taken for one another unproven."""
import patrol
import pytest


@pytest.mark.parametrize('odometry', [True, False])
def test_a_patrol_knows_its_way_from_the_second_lap_on(odometry):
    rows = patrol.drive(patrol.laps(4, odometry, 1.0), patrol.make_recognizer())
    known = [row for row in rows if row['lap'] >= 3]
    assert sum(row['status'] == 'MATCHED' and row['right'] for row in known) >= 0.95 * len(known)
    assert not any(row['status'] == 'NO_MATCH_AMBIGUOUS' and row['right'] for row in rows)
    numbers = patrol.summary(rows)
    assert (numbers['laps'], numbers['recall']) == (4, 1.0)
    assert '| 4 |' in patrol.as_markdown({'laps': numbers}, {}, 'patrol')


@pytest.mark.parametrize(('odometry', 'keypoints'), [(True, True), (False, True), (False, False)])
def test_on_a_straight_road_nothing_is_recognised(odometry, keypoints):
    assert patrol.street(odometry, keypoints)['accepted'] == 0


@pytest.mark.parametrize('keypoints', [True, False])
def test_of_two_twin_floors_none_is_believed_unproven(keypoints):
    numbers = patrol.twins(keypoints)
    assert numbers['matched_unproven'] == 0
    assert numbers['queries'] == 60
