"""The retention benchmark in short: a bounded patrol keeps to its bound, and what is given up counts as missed."""
import numpy as np
import patrol
import retention

from segvlad_ros.evaluation.truth import PlaceTruth
from segvlad_ros.mapping.retention import RetentionSettings
from segvlad_ros.types import Frame


def test_a_patrol_keeps_to_its_bound():
    row = retention.patrol_row(2, RetentionSettings(80))
    assert row['kept_by_lap'] == [60, 80]
    assert (row['false'], row['recall']) == (0, 1.0)
    assert '| bound | 60 / 80 | 1.000 | 0 |' in retention.as_markdown({'patrol': {'bound': row}}, {})


def test_a_place_that_was_given_up_counts_as_missed():
    def same_spot(where, places, usable):
        return PlaceTruth(frozenset(entry for entry in np.flatnonzero(usable).tolist() if places[entry] == where))
    visits = [visit.keyframe for number, visit in enumerate(patrol.laps(2, False, 0.0)) if number % 20 == 0]
    trial = retention.Trial([], {'spot': same_spot})
    recalls = []
    for settings in (RetentionSettings(), RetentionSettings(1)):
        robot = retention.Robot(settings)
        outcomes = [robot.drive(keyframe, number % 3, trial) for number, keyframe in enumerate(visits)]
        row = retention.figures(outcomes[3:], robot.count)
        assert row['queries_with_place'] == 3
        recalls.append(row['recall@1'])
    assert recalls[0] == 1.0
    assert recalls[1] < 0.5


def test_night_is_dark_at_the_edges_and_noisy():
    rgb = np.full((120, 160, 3), 200, np.uint8)
    night = retention.at_night(Frame(rgb, 1), np.random.default_rng(0)).rgb
    assert 80 < night[50:70, 70:90].mean() < 95
    assert night[:10, :10].mean() < 20
    assert night[50:70, 70:90].std() > 4
    assert rgb.min() == 200
