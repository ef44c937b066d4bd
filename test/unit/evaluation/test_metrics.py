"""Metrics against values worked out by hand."""
from __future__ import annotations

import pytest

from segvlad_ros.evaluation.metrics import (
    Outcome,
    clopper_pearson,
    decision_metrics,
    precision_recall,
    ranking_metrics,
)
from segvlad_ros.evaluation.truth import PlaceTruth
from segvlad_ros.types import Candidate, KeyframeId, Recognition, Status


def outcome(ranked, true=(), ignored=(), status=Status.MATCHED):
    """A query whose candidates are (entry, score) pairs."""
    candidates = tuple(Candidate(entry, KeyframeId(0, 's', entry + 1, 0), score, 0.5, 1) for entry, score in ranked)
    return Outcome('q', Recognition(status, '', candidates), PlaceTruth(frozenset(true), frozenset(ignored)))


FOUR = [
    outcome([(1, 0.9), (2, 0.8)], true=[1]),
    outcome([(1, 0.8), (2, 0.7)], true=[2]),
    outcome([(5, 0.7)], status=Status.NO_MATCH_LOW_SCORE),  # has no true place
    outcome([(3, 0.6)], true=[3], status=Status.NO_MATCH_AMBIGUOUS),
]


def test_ranking_by_hand():
    numbers = ranking_metrics(FOUR)
    assert (numbers['queries'], numbers['queries_with_place']) == (4, 3)
    assert numbers['recall@1'] == pytest.approx(2 / 3)
    assert numbers['recall@5'] == numbers['recall@10'] == 1.0
    # hits at the 1st and the 4th of four thresholds: 1/3 * 1 + 1/3 * 2/4
    assert numbers['average_precision'] == pytest.approx(1 / 3 + 1 / 6)
    assert numbers['recall@100precision'] == pytest.approx(1 / 3)


def test_ignored_references_leave_the_ranking():
    numbers = ranking_metrics([outcome([(1, 0.9), (2, 0.8)], true=[2], ignored=[1])])
    assert numbers['recall@1'] == 1.0
    assert numbers['recall@100precision'] == 1.0


def test_recall_at_full_precision_may_come_after_a_late_error_only():
    first_wrong = [outcome([(9, 0.9)], true=[1]), outcome([(1, 0.8)], true=[1])]
    assert ranking_metrics(first_wrong)['recall@100precision'] == 0.0


def test_equal_scores_enter_the_curve_together():
    curve = precision_recall([outcome([(1, 0.5)], true=[1]), outcome([(9, 0.5)], true=[1])])
    assert curve.thresholds == [0.5]
    assert curve.precision == [0.5]
    assert ranking_metrics([outcome([(1, 0.5)], true=[1]), outcome([(9, 0.5)], true=[1])])['recall@100precision'] == 0


def test_decision_by_hand():
    numbers = decision_metrics(FOUR)
    assert numbers['accepted'] == 2
    assert numbers['precision'] == 0.5
    assert numbers['recall'] == pytest.approx(1 / 3)
    assert numbers['statuses'] == {'MATCHED': 2, 'NO_MATCH_LOW_SCORE': 1, 'NO_MATCH_AMBIGUOUS': 1}


def test_match_where_there_is_no_place_counts_against_precision():
    assert decision_metrics([outcome([(1, 0.9)])])['precision'] == 0.0


def test_match_with_an_ignored_reference_counts_neither_way():
    numbers = decision_metrics([outcome([(1, 0.9)], true=[2], ignored=[1]), outcome([(2, 0.9)], true=[2])])
    assert (numbers['accepted'], numbers['ignored'], numbers['precision'], numbers['recall']) == (1, 1, 1.0, 1.0)
    missed = decision_metrics([outcome([(1, 0.9)], true=[2], ignored=[1], status=Status.NO_MATCH_LOW_SCORE)])
    assert (missed['ignored'], missed['recall']) == (0, 0.0)  # only an answer leaves the denominator


def test_nothing_accepted_and_nothing_to_find_are_no_numbers():
    numbers = decision_metrics([outcome([], status=Status.MAP_EMPTY)])
    assert numbers['precision'] is None and numbers['precision_bounds'] is None and numbers['recall'] is None
    assert ranking_metrics([outcome([])])['recall@1'] is None


@pytest.mark.parametrize(('successes', 'trials', 'low', 'high'), [
    (0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (5, 10, 0.1871, 0.8129), (81, 263, 0.2527, 0.3676)])
def test_clopper_pearson_of_textbooks(successes, trials, low, high):
    assert clopper_pearson(successes, trials) == pytest.approx([low, high], abs=1e-4)
