"""Files that tools make: whole, or what was there before."""
import os
import resource

import numpy as np
import pytest

from segvlad_ros.description.binary_words import BinaryVocabulary
from segvlad_ros.description.projection import PcaProjection
from segvlad_ros.description.vocabulary import Vocabulary
from segvlad_ros.evaluation.answers import write_answers
from segvlad_ros.evaluation.page import write_filled
from segvlad_ros.io.whole_files import remove_unfinished, take_place, whole_file
from segvlad_ros.recognition.calibration import Calibration, LearnedFrom
from segvlad_ros.recognition.evidence import FEATURES
from segvlad_ros.types import SegvladError

NUMBERS = np.random.default_rng(0)


def calibration():
    some, count = (0.5,) * (len(FEATURES) - 1), len(FEATURES)
    return Calibration(FEATURES, 0.9, some, some, some, some, some, 0.0, ((0.1,) * count,) * count, 'classic',
                       'ab' * 32, (LearnedFrom('set', 9, 5),))


def binary_words():
    return BinaryVocabulary(NUMBERS.integers(0, 256, (50, 32), np.uint8), np.full(50, -1), np.ones(50, np.float32))


WRITERS = {
    'vocabulary': Vocabulary(NUMBERS.random((50, 32))).save,
    'binary words': binary_words().save,
    'projection': PcaProjection(np.zeros(50), NUMBERS.random((9, 50)), np.ones(9)).save,
    'calibration': calibration().save,
    'answers': lambda path: write_answers(path, {'answers': [{'query': number} for number in range(99)]}),
    'report': lambda path: write_filled(path, 'page.html.j2', kicker='', title='', verdict='', text='',
                                        configuration=[], fingerprint=''),
}


@pytest.fixture
def full_disk():
    """No file takes more than 100 bytes; what is already longer stays."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize('write', WRITERS.values(), ids=WRITERS)
@pytest.mark.fault('disk', 'no room for what a tool writes in place of another file: words, PCA, calibration, report',
                   'one line, and the file that was there stays as it was')
def test_a_write_that_fails_leaves_what_was_there(tmp_path, write, full_disk):
    path = tmp_path / 'good'
    path.write_bytes(b'good')
    with pytest.raises((OSError, SegvladError), match='too large'):
        write(path)
    assert path.read_bytes() == b'good'
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize('write', WRITERS.values(), ids=WRITERS)
def test_a_new_file_has_the_mode_of_any_other(tmp_path, write):
    write(tmp_path / 'new')
    (tmp_path / 'other').touch()
    assert (tmp_path / 'new').stat().st_mode == (tmp_path / 'other').stat().st_mode
    assert len([*tmp_path.iterdir()]) == 2


def test_a_link_stays_one(tmp_path):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'link').symlink_to('folder/file')
    with whole_file(tmp_path / 'link') as temporary:
        temporary.write_text('new')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'folder/file').read_text() == 'new'
    assert [path.name for path in (tmp_path / 'folder').iterdir()] == ['file']


def test_what_is_no_file_is_written_as_it_is(tmp_path):
    """/dev/stdout and /dev/null must not become files."""
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)
    try:
        with whole_file(pipe) as temporary:
            temporary.write_text('said')
        assert os.read(end, 100) == b'said'
    finally:
        os.close(end)
    assert pipe.is_fifo()


def test_a_file_takes_the_place_of_another(tmp_path):
    made, path = tmp_path / 'made', tmp_path / 'file'
    made.write_text('new')
    path.write_text('old')
    take_place(made, path)
    assert path.read_text() == 'new'
    assert [*tmp_path.iterdir()] == [path]


def test_what_a_killed_writer_left_can_be_removed(tmp_path):
    killed = [whole_file(tmp_path / name) for name in ('a[1].ckpt', 'b.ckpt')]
    halves = [writer.__enter__() for writer in killed]
    for path in (*halves, tmp_path / 'a[1].ckpt', tmp_path / '.a[1].ckpt.mine.tmp'):
        path.write_text('half')
    remove_unfinished(tmp_path / 'a[1].ckpt')
    assert {path.name for path in tmp_path.iterdir()} == {halves[1].name, 'a[1].ckpt', '.a[1].ckpt.mine.tmp'}


def test_what_appears_meanwhile_stays(tmp_path):
    path = tmp_path / 'file'
    with pytest.raises(FileExistsError), whole_file(path, overwrite=False) as temporary:
        temporary.write_text('new')
        path.write_text('other')
    assert path.read_text() == 'other'
    assert [*tmp_path.iterdir()] == [path]
