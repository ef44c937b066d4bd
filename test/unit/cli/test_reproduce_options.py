"""``segvlad reproduce``: what would change nothing, or cannot be, is said before long work."""
import json

import pytest
from extraction_samples import command, make_poster

from segvlad_ros.cli import OK, USAGE, main

RUN = ['--vocabulary', 'map', '--words', '4', '--experiment']
ANYLOC, SEGMENTS = 'exp1_global_Anyloc', 'exp4_global_SegLoc_VLAD_o0'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    make_poster(folder, 3)
    return folder


@pytest.fixture
def refusal(capsys):
    def call(arguments):
        capsys.readouterr()
        try:
            status = main(arguments)
        except SystemExit as stop:  # argparse
            status = stop.code
        line, = capsys.readouterr().err.splitlines()
        assert status == USAGE
        return line
    return call


@pytest.mark.parametrize('key', ['image.width=320', 'neighbourhood.order=0', 'vocabulary=none.npz', 'search={}'])
@pytest.mark.parametrize('action', [['extract'], ['run', *RUN, SEGMENTS]])
def test_what_extraction_does_not_read_of_a_preset_is_not_set(data, refusal, action, key):
    line = refusal(command(data, *action, '--set', key))
    assert f'--set {key.partition("=")[0]} changes nothing here' in line
    assert 'features and segmenter' in line
    assert not (data / 'poster/out').exists()


@pytest.mark.parametrize('size', ['17x1', '31x480', '640x5000', '640', 'x'])
def test_a_size_that_no_image_can_have_is_refused(data, refusal, size):
    line = refusal([*command(data, 'extract'), '--size', size])
    assert f'{size!r}: give a width and a height of 32 to 4096 pixels, such as 640x480' in line


def test_whole_images_do_not_vote(data, refusal, capsys):
    line = refusal(command(data, 'run', *RUN, ANYLOC, '--rule', 'max_sim'))
    assert '--rule changes nothing without an experiment on segments' in line
    assert not (data / 'poster/out').exists()
    rules = []
    for name in (ANYLOC, SEGMENTS):
        assert main(command(data, 'run', *RUN, name, '--json')) == OK
        rules.append(json.loads(capsys.readouterr().out).get('rule'))
    assert rules == [None, 'weighted']
    assert '--rule changes nothing' in refusal(command(data, 'evaluate', *RUN, ANYLOC, '--rule', 'max_seg'))


@pytest.mark.parametrize('option', [['--vocabulary', 'domain'], ['--centres', 'words.npz']])
@pytest.mark.parametrize('action', ['run', 'evaluate', 'pca'])
def test_words_that_are_not_made_here_have_no_number(data, refusal, action, option):
    line = refusal(command(data, action, *RUN, SEGMENTS, *option))
    assert '--words changes nothing without --vocabulary map' in line


def test_missing_words_are_said_before_the_extraction(tmp_path, refusal):
    make_poster(tmp_path, 3)
    for option, problem in ((['--vocabulary', 'domain'], 'is of no domain of the paper'),
                            (['--centres', str(tmp_path / 'gone.npy')], 'gone.npy: no such file or folder')):
        assert problem in refusal(command(tmp_path, 'run', '--experiment', SEGMENTS, *option))
        assert not (tmp_path / 'poster/out').exists()


def test_the_research_code_s_name_of_the_paper_s_rule_is_known(data, capsys):
    assert main(command(data, 'run', *RUN, SEGMENTS, '--rule', 'max_seg_topk_wt_borda_Im', '--json')) == OK
    report = json.loads(capsys.readouterr().out)
    assert (report['rule'], report['preset']) == ('weighted', 'classic')


@pytest.mark.parametrize('action', ['run', 'evaluate'])
def test_a_report_and_an_output_are_two_files(data, refusal, action, tmp_path):
    one = str(tmp_path / 'one')
    assert one in refusal(command(data, action, *RUN, SEGMENTS, '--report', one, '--output', one))


def test_words_that_cannot_be_kept_are_not_fitted(tmp_path, capsys):
    make_poster(tmp_path, 3)
    (tmp_path / 'vocabulary').mkdir()
    (tmp_path / 'vocabulary/poster').touch()
    assert main(command(tmp_path, 'run', *RUN, SEGMENTS)) == USAGE
    line = capsys.readouterr().err.splitlines()[-1]
    assert f'the words: {tmp_path / "vocabulary/poster"} is not a folder' in line
