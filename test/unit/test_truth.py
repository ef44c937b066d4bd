"""Ground truth from CSV files and from poses."""
from __future__ import annotations

import numpy as np
import pytest

from segvlad_ros.evaluation.truth import PlaceTruth, read_truth, truth_of_pose
from segvlad_ros.types import Pose, SegvladError


@pytest.fixture
def folder(tmp_path):
    for name in ('q/1.jpg', 'q/2.jpg', 'q/3.jpg', 'r/1.jpg', 'r/2.jpg', 'r/3.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def write(folder, text):
    path = folder / 'truth.csv'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_columns_of_the_design(folder):
    truth = read_truth(write(folder, 'note,query,references,ignore\n'
                                     'x,q/1.jpg,r/1.jpg r/2.jpg,r/3.jpg\n'
                                     ',q/2.jpg,,\n'))
    assert truth == {
        folder / 'q/1.jpg': PlaceTruth(frozenset({folder / 'r/1.jpg', folder / 'r/2.jpg'}),
                                       frozenset({folder / 'r/3.jpg'})),
        folder / 'q/2.jpg': PlaceTruth(frozenset(), frozenset())}


def test_ignore_is_optional_and_a_true_reference_is_never_ignored(folder):
    assert read_truth(write(folder, 'query,references\nq/1.jpg,r/1.jpg\n'))[folder / 'q/1.jpg'].true
    place = read_truth(write(folder, 'query,references,ignore\nq/1.jpg,r/1.jpg,r/1.jpg\n'))[folder / 'q/1.jpg']
    assert place.ignored == frozenset()


def test_byte_order_mark_and_windows_lines(folder):
    assert len(read_truth(write(folder, b'\xef\xbb\xbfquery,references\r\nq/1.jpg,r/1.jpg\r\n'))) == 1


@pytest.mark.parametrize(('text', 'words'), [
    ('', 'no column query and references'),
    ('query,refs\nq/1.jpg,r/1.jpg\n', 'no column references'),
    ('query;references\nq/1.jpg;r/1.jpg\n', 'no column'),
    ('query,references\n', 'names no query'),
    ('query,references\nq/9.jpg,r/1.jpg\n', r"line 2: names 'q/9\.jpg', which is no file"),
    ('query,references\nq/1.jpg,r/1.jpg\nq/2.jpg,r/9.jpg\n', r"line 3: names 'r/9\.jpg'"),
    ('query,references\nq/1.jpg,r/1.jpg\nq/1.jpg,r/2.jpg\n', 'a second time'),
    ('query,references\n,r/1.jpg\n', 'the query is empty'),
    ('query,references\nq/1.jpg\n', 'not as many fields'),
    ('query,references\nq/1.jpg,r/1.jpg,r/2.jpg\n', 'not as many fields'),
    (b'query,references\n\xff\xfe,\x81\n', 'not a CSV file'),
    (b'query,references\nq/1.jpg,\x00\n', 'no file|not a CSV file'),
])
def test_wrong_files_are_refused_in_one_line(folder, text, words):
    with pytest.raises(SegvladError, match=words) as refusal:
        read_truth(write(folder, text))
    assert '\n' not in str(refusal.value)


def test_missing_file(tmp_path):
    with pytest.raises(SegvladError, match='cannot be read'):
        read_truth(tmp_path / 'none.csv')


def pose(x, degrees=0.0):
    half = np.radians(degrees) / 2
    return Pose(np.array([x, 0.0, 0.0]), np.array([0.0, 0.0, np.sin(half), np.cos(half)]), 'world')


def test_poses_are_true_ignored_or_false():
    others = [pose(0.9), pose(0.9, 39), pose(0.9, 41), pose(1.1), pose(1.9, -59), pose(1.9, 61), pose(3.6), None,
              pose(0.0, 180)]
    place = truth_of_pose(pose(0.0), others, np.ones(len(others), bool))
    assert place.true == {0, 1}
    assert place.ignored == {2, 3, 4, 7}


def test_excluded_entries_are_no_truth():
    place = truth_of_pose(pose(0.0), [pose(0.0), pose(0.1), pose(1.5)], np.array([False, True, False]))
    assert (place.true, place.ignored) == ({1}, frozenset())
