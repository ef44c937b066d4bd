"""The benchmark of the learned matcher: which pairs it asks about, and what it changes of the preset."""

import learned_matcher as benchmark
import numpy as np
from drives import Trial

from segvlad_ros.evaluation.truth import PlaceTruth
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.settings import flatten
from segvlad_ros.types import Keyframe, KeyframeId, PlaceDescription


def drive(count):
    """All looks the more alike the nearer it was seen; three keyframes back is the same place, four counts not."""
    def keyframe(number):
        row = np.array([[np.cos(number / 10), np.sin(number / 10)]], np.float32)
        return Keyframe(KeyframeId(0, 'a', number + 1, number), PlaceDescription(
            row, np.zeros((1, 4), np.int32), np.ones(1, np.int64)))

    def truth(where, entries, usable):
        true, ignored = ({entry for entry in (where - back,) if entry >= 0 and usable[entry]} for back in (3, 4))
        return PlaceTruth(true, ignored)

    return Trial([(keyframe(number), number) for number in range(count)], {'only': truth}, exclude_frames=2)


def test_wrong_pairs_are_the_most_alike_of_other_places():
    true, false = benchmark.pairs_of(drive(12), 100)
    assert true == [(query, query - 3) for query in range(3, 12)]
    assert false == [(query, query - 5) for query in range(5, 12)]
    assert [len(pairs) for pairs in benchmark.pairs_of(drive(40), 7)] == [7, 7]


def test_either_matcher_is_the_shipped_preset_but_for_what_is_said():
    shipped = flatten(load_preset('learned', {'calibration': None, 'decision.min_probability': 0}))
    for matcher, changes in benchmark.DECIDED.items():
        flat = flatten(benchmark.preset_with(matcher))
        assert {name.removeprefix('geometry.') for name in shipped if flat[name] != shipped[name]} == set(changes)
        assert flat['geometry.matcher'] == matcher
