"""The benchmark that justifies the classic preset: its rows are valid presets and its measure is the product's."""
import classic_ablation as ablation
import numpy as np
import pytest

from segvlad_ros.evaluation.metrics import Outcome, ranking_metrics
from segvlad_ros.evaluation.truth import PlaceTruth
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import Candidate, KeyframeId, Masks, Recognition, Status


def outcomes(seed):
    generator = np.random.default_rng(seed)
    for number, score in enumerate(generator.permutation(60) / 60 + 0.001):
        found = Candidate(int(generator.integers(3)), KeyframeId(0, 's', 1, 1), score, 0.5, 4)
        true = frozenset({0}) if generator.random() < 0.6 else frozenset()
        yield Outcome(str(number), Recognition(Status.MATCHED, '', (found,)), PlaceTruth(true))


@pytest.mark.parametrize('seed', range(4))
def test_average_precision_is_that_of_the_evaluation(seed):
    answers = list(outcomes(seed))
    assert ablation.average_precision(ablation.best_answers(answers)) == pytest.approx(
        ranking_metrics(answers)['average_precision'])


def test_bootstrap_knows_better_from_worse():
    better = ablation.best_answers(list(outcomes(1)))
    worse = better.copy()
    worse[::3, 1] = 0
    for worth in (ablation.recall_at_1, ablation.average_precision):
        assert ablation.paired_bootstrap(better, worse, worth) > 0.95
        assert ablation.paired_bootstrap(worse, better, worth) < 0.05
        assert ablation.paired_bootstrap(better, better, worth) == 0.5


def test_every_row_is_a_preset(tmp_path):
    for row, changes in ablation.VARIANTS.items():
        filled = {key: str(tmp_path) if key in ('vocabulary', 'projection.path') else value
                  for key, value in changes.items()}
        assert load_preset('classic', filled).name == 'classic', row
    assert ablation.FIRST_SECONDARY in ablation.VARIANTS


def test_segments_are_remembered_unchanged():
    calls = []

    class Stripes:
        def segment(self, rgb):
            calls.append(1)
            return Masks(rgb[None, ..., 0] > np.array([50, 100, 200])[:, None, None], np.ones(3, np.float32))

    rgb = np.random.default_rng(0).integers(0, 255, (13, 11, 3), np.uint8)
    segmenter = ablation.RememberedSegmenter(Stripes())
    first, second = segmenter.segment(rgb), segmenter.segment(rgb)
    np.testing.assert_array_equal(first.masks, second.masks)
    np.testing.assert_array_equal(first.masks, Stripes().segment(rgb).masks)
    assert len(calls) == 2 and first.masks.dtype == bool
