"""Ground truth from CSV files and from poses."""
from __future__ import annotations

import numpy as np
import pytest

from segvlad_ros.evaluation.truth import GivenImages, PlaceTruth, read_truth, truth_among, truth_of_pose
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


def test_a_path_with_spaces_stands_in_double_quotes(folder):
    for name in ('r/second floor.jpg', 'r/two  blanks.jpg', 'q/a query.jpg', 'r/5".jpg', "r/bob's.jpg"):
        (folder / name).touch()
    truth = read_truth(write(folder, 'query,references,ignore\n'
                                     'q/a query.jpg,"""r/second floor.jpg"" r/1.jpg ""r/2.jpg""",\n'
                                     'q/1.jpg,r/1.jpg "r/second floor.jpg","""r/two  blanks.jpg"""\n'
                                     "q/2.jpg,r/bob's.jpg r/5\".jpg,\n"))
    assert truth == {folder / query: PlaceTruth(frozenset(folder / name for name in true),
                                                frozenset(folder / name for name in ignored))
                     for query, true, ignored in (
                         ('q/a query.jpg', ['r/second floor.jpg', 'r/1.jpg', 'r/2.jpg'], []),
                         ('q/1.jpg', ['r/1.jpg', 'r/second floor.jpg'], ['r/two  blanks.jpg']),
                         ('q/2.jpg', ["r/bob's.jpg", 'r/5".jpg'], []))}


def test_links_to_one_file_are_different_and_spellings_are_not(folder):
    for number in (4, 5):
        (folder / f'r/{number}.jpg').symlink_to(folder / 'r/1.jpg')
    (folder / 'elsewhere').symlink_to(folder / 'r')
    truth = read_truth(write(folder, 'query,references\nq/1.jpg,r/1.jpg q/../r/4.jpg ./r/4.jpg elsewhere/../r/5.jpg\n'))
    assert truth[folder / 'q/1.jpg'].true == {folder / f'r/{number}.jpg' for number in (1, 4, 5)}


def test_a_path_means_the_strictest_of_what_it_can_mean(folder):
    (folder / 'links').mkdir()
    for number in range(3):
        (folder / f'links/{number}.jpg').symlink_to(folder / f'r/{max(1, number)}.jpg')
    (folder / 'lap2').symlink_to(folder / 'links')
    links = [folder / f'links/{number}.jpg' for number in range(3)]
    given = GivenImages([*links, folder / 'q/../links/2.jpg'])
    assert given.paths == links
    assert given.meant(links[0]) == given.meant(folder / 'lap2/0.jpg') == [links[0]]
    assert given.meant(folder / 'r/1.jpg') == links[:2]  # the file's own place means all links to it
    assert given.meant(folder / 'r/3.jpg') == []
    both = GivenImages([folder / 'lap2/0.jpg', links[0]])
    assert len(both.paths) == 2
    assert both.meant(folder / 'lap2/0.jpg') == [folder / 'lap2/0.jpg']
    assert both.shared(given) == both.paths
    assert GivenImages([folder / 'r/1.jpg']).shared(given) == []


def test_truth_in_terms_of_the_given_images(folder):
    (folder / 'set').symlink_to(folder)
    named = {folder / f'set/q/{number}.jpg': PlaceTruth(frozenset({folder / f'set/r/{number}.jpg'}))
             for number in (1, 2)}
    queries, references = GivenImages([folder / 'q/1.jpg']), GivenImages([folder / 'r/1.jpg'])
    assert truth_among(named, references, queries) == {folder / 'q/1.jpg': PlaceTruth(frozenset({folder / 'r/1.jpg'}))}
    named[folder / 'q/1.jpg'] = PlaceTruth(frozenset())
    with pytest.raises(SegvladError, match='a second time'):
        truth_among(named, references, queries)


@pytest.mark.parametrize(('text', 'words'), [
    ('query,references\nq/1.jpg,r/second floor.jpg\n', 'r/second.* spaces .* double quotes'),
    ('query,references\nq/1.jpg,"""r/second floor.jpg\n', 'not a CSV file|double quotes'),
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
