"""What was removed from a map leaves nothing behind, and what is left answers as before."""
import numpy as np
import patrol
import pytest

from segvlad_ros.mapping.retention import RetentionSettings
from segvlad_ros.pipeline.map_keeper import MapKeeper
from segvlad_ros.types import Status

CAP = 30


def told(answer):
    """An answer without the numbers of entries, in words and in numbers."""
    candidates = answer.candidates
    return ((answer.status, answer.map_keyframes, [candidate.id for candidate in candidates]),
            [(candidate.score, candidate.ambiguity, candidate.probability, candidate.inliers)
             for candidate in candidates])


def driven():
    """A recogniser two laps into a patrol, and the keyframes of the next half: a third of those that it has seen are
    left, and some closures were judged."""
    recognizer, visits, ids = patrol.make_recognizer(), list(patrol.laps(3, True, 0.0)), []
    for visit in visits[:120]:
        answer = recognizer.recognize(visit.keyframe, exclude_recent=True)
        recognizer.add(visit.keyframe)
        ids.append(visit.keyframe.id)
        if answer.status == Status.MATCHED and len(ids) % 7 == 0:
            recognizer.feedback(visit.keyframe.id, answer.candidates[0].id, len(ids) % 2 == 0)
    recognizer.remove([identity for number, identity in enumerate(ids) if number % 3])
    return recognizer, [visit.keyframe for visit in visits[120:150]]


@pytest.mark.fault('memory', 'what was removed is let go of, in the middle of a drive', 'answers stay as they were')
def test_a_map_that_has_forgotten_what_was_removed_answers_as_one_that_has_not():
    (kept, queries), (compacted, _) = driven(), driven()
    numbers = compacted.compact()
    assert (len(kept.places), kept.count) == (120, 40)
    assert 40 <= len(compacted.places) == len(numbers) <= 80  # those of the last sightings stay for a while
    assert compacted.ids == kept.ids
    assert [numbers[entry] for entry in kept.entries] == compacted.entries
    for query in queries:
        (expected, expected_numbers), (words, figures) = (
            told(each.recognize(query, exclude_recent=True)) for each in (kept, compacted))
        assert words == expected
        np.testing.assert_allclose(figures, expected_numbers, rtol=1e-5)  # sums of float32 in another order
    assert compacted.compact() is None


@pytest.mark.fault('memory', 'a map with a cap that gives up keyframes for months', 'nothing of them stays in memory')
def test_the_memory_of_a_map_with_a_cap_is_bounded_as_well():
    keeper = MapKeeper(patrol.make_recognizer(), RetentionSettings(CAP))
    most = 0
    for visit in patrol.laps(4, True, 0.0):
        keeper.add(visit.keyframe)
        most = max(most, len(keeper.recognizer.places))
    assert keeper.recognizer.count == CAP
    assert most <= CAP + 64 + 40 + 1  # those that wait to go, those that were just recognised, the one at hand
    assert [keeper.recognizer.identity(entry) for entry in keeper.recognizer.entries] == keeper.recognizer.ids
