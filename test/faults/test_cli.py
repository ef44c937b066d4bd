"""Whatever is wrong with the input: exit status 2 and one line that says what to do."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from map_samples import make_keyframe

from segvlad_ros.cli import main
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.simulation.robot import SimulatedRobot

PROGRESS = re.compile(r'\w+: \d+ of \d+')


def picture(path, seed=0):
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (160, 120), interpolation=cv2.INTER_CUBIC))
    return path


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        picture(tmp_path / f'ref/{number}.png', number)
        picture(tmp_path / f'query/{number}.png', number)
    (tmp_path / 'truth.csv').write_text('query,references\nquery/0.png,ref/0.png\nquery/1.png,ref/1.png\n')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'junk.png').write_bytes(np.random.default_rng(5).bytes(500))
    (tmp_path / 'random.mcap').write_bytes(np.random.default_rng(6).bytes(5000))
    (tmp_path / 'random.segvlad').write_bytes(np.random.default_rng(7).bytes(50000))
    return tmp_path


def run(capsys, *arguments):
    """Exit status, what was printed, and the lines on stderr but for progress."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, [line for line in captured.err.splitlines() if not PROGRESS.fullmatch(line)]


def images(folder, **changes):
    options = {'references': folder / 'ref', 'queries': folder / 'query', 'ground-truth': folder / 'truth.csv'}
    options.update({name.replace('_', '-'): value for name, value in changes.items()})
    return ['evaluate', 'images', *(word for name, value in options.items() for word in (f'--{name}', value))]


def refused(capsys, arguments, *words):
    status, _, lines = run(capsys, *arguments)
    assert status == 2, lines
    assert len(lines) == 1, lines
    assert lines[0].startswith('segvlad')
    for word in words:
        assert word in lines[0]


def test_the_input_of_these_tests_is_good_when_nothing_is_wrong(capsys, folder):
    status, out, _ = run(capsys, *images(folder), '--json')
    assert status == 0
    assert '"recall@1": 1.0' in out


@pytest.mark.fault('tool', 'options that do not fit', 'status 2 and one line with what is allowed')
@pytest.mark.parametrize(('changes', 'words'), [
    ({'preset': 'wibble'}, ['wibble', 'classic']),
    ({'device': 'cdua'}, ["'cdua' is not a device", 'use cpu, cuda']),
    ({'preset': 'nowhere/own.yaml'}, ['nowhere/own.yaml', 'no such file']),
    ({'set': 'decision.min_scor=1'}, ['min_scor', 'did you mean']),
    ({'set': 'nonsense'}, ['KEY=VALUE']),
    ({'set': 'vocabulary=missing.npz'}, ['missing.npz']),
    ({'require': 'recall@1'}, ['NAME=NUMBER']),
    ({'require': 'recall@1=nan'}, ['NAME=NUMBER']),
    ({'require': 'accepted=-inf'}, ['NAME=NUMBER']),
    ({'require': 'beauty=1'}, ['beauty']),
    ({'exclude_recent': '-3'}, ['--exclude-recent']),
    ({'exclude_recent': '3'}, ['one sequence']),
])
def test_wrong_options(capsys, folder, changes, words):
    refused(capsys, images(folder, **changes), *words)


@pytest.mark.parametrize(('option', 'name'), [('--require', 'recall@1'), ('--set', 'decision.min_score')])
def test_two_values_of_one_name(capsys, folder, option, name):
    """The last one won, and nobody was told."""
    refused(capsys, [*images(folder), option, f'{name}=0.1', option, f'{name}=0.2'],
            f'{option} is given twice for {name}: give it once')


def test_wrong_inputs_of_evaluate_images(capsys, folder):
    refused(capsys, images(folder, references=folder / 'none'), 'none')
    refused(capsys, images(folder, references=folder / 'empty'), 'holds no images')
    refused(capsys, images(folder, queries=folder / 'junk.png'), 'junk.png')
    refused(capsys, images(folder, ground_truth=folder / 'none.csv'), 'none.csv')
    refused(capsys, images(folder, ground_truth=folder / 'junk.png'), 'junk.png')
    (folder / 'list.txt').write_text('ref/0.png\nref/7.png\n')
    refused(capsys, images(folder, references=folder / 'list.txt'), 'ref/7.png')
    (folder / 'ref/junk.png').write_bytes((folder / 'junk.png').read_bytes())
    refused(capsys, images(folder), 'ref/junk.png')


def test_truth_about_other_images(capsys, folder):
    picture(folder / 'other/0.png')
    (folder / 'truth.csv').write_text('query,references\nother/0.png,ref/0.png\n')
    refused(capsys, images(folder), 'none of the queries')
    (folder / 'truth.csv').write_text('query,references\nquery/0.png,other/0.png\n')
    refused(capsys, images(folder), 'none of the references')
    (folder / 'truth.csv').write_text('query,references\nquery/0.png,query/1.png\n')
    refused(capsys, images(folder, references=folder / 'query'), 'find itself')


@pytest.mark.fault('tool', 'a report into a folder that is not there', 'said before anything is measured')
def test_report_that_cannot_be_written(capsys, folder):
    refused(capsys, images(folder, report=folder / 'no/such/folder.html'), 'the folder does not exist')
    refused(capsys, images(folder, report=folder / 'empty'), 'empty: is a folder')


@pytest.mark.parametrize('arguments', [
    ['describe', 'none.png', '--output'], ['benchmark', 'stock', '--output'], ['benchmark', 'map', '--output'],
    ['evaluate', 'bag', 'none', '--report'], ['evaluate', 'bag', 'none', '--output'],
    ['calibrate', 'bag', 'none', '--output'], ['fit', 'vocabulary', 'ref', '--output'],
    ['export', 'sam', '--output'], ['map', 'build', 'images', 'none', '--output'], ['map', 'convert', 'none'],
    ['map', 'merge', 'none', '--output'], ['map', 'prune', 'none', '--output'],
    ['reproduce', 'run', '--data', 'none', '--dataset', 'x', '--experiment', 'x', '--output'],
    ['reproduce', 'evaluate', '--data', 'none', '--dataset', 'x', '--experiment', 'x', '--report']])
def test_an_output_that_cannot_be_written_is_said_before_anything_is_read(capsys, folder, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    name = {'export': 'x.onnx', 'describe': 'x.npz', 'fit': 'x.npz'}.get(arguments[0], 'x')
    (folder / name).mkdir()
    refused(capsys, [*arguments, name], f'{name}: is a folder; give the name of a file')
    refused(capsys, [*arguments, f'no/{name}'], f'no/{name}: the folder does not exist')
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    refused(capsys, [*arguments, f'empty/{name}'], f'empty/{name}: is not writable')


def test_describe_names_what_takes_vectors_that_are_given(capsys, folder):
    """It said to give --descriptors, which it does not take."""
    refused(capsys, ['describe', folder / 'ref/0.png', '--preset', 'given', '--set', 'features.dimension=8'],
            '"segvlad evaluate images" and "calibrate images" take them by --descriptors DIR')


def test_an_output_whose_folder_takes_no_other_file_is_said_too(capsys, folder, monkeypatch):
    """A file is made beside the one that it takes the place of."""
    (folder / 'empty/x.npz').touch()
    monkeypatch.setattr(os, 'access', lambda path, mode: path != folder / 'empty')
    refused(capsys, ['fit', 'vocabulary', folder / 'ref', '--output', folder / 'empty/x.npz'], 'is not writable')


@pytest.mark.parametrize('arguments', [['demo'], ['reproduce', 'train', '--data', 'none']])
def test_a_folder_that_cannot_be_made_is_said_before_long_work(capsys, folder, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    for output in ('junk.png', 'junk.png/new/one'):
        refused(capsys, [*arguments, '--output', output], f'--output {output}: ', 'junk.png is not a folder')
    (folder / 'gone').symlink_to('nowhere')
    refused(capsys, [*arguments, '--output', 'gone'], 'gone is not a folder')
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    refused(capsys, [*arguments, '--output', 'empty/new'], f'{folder / "empty"} is not writable')
    if arguments[0] == 'reproduce':
        refused(capsys, arguments, f'--output none/models/DnV2_NV: {folder} is not writable')


def test_a_folder_of_results_or_of_a_bag_that_cannot_be_made_is_said_before_long_work(capsys, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(SimulatedRobot, '__init__', lambda *_: pytest.fail('the world is built'))
    refused(capsys, ['simulate', '--output', 'junk.png/bag'], 'junk.png is not a folder')
    (folder / 'baidu').mkdir()
    (folder / 'baidu/out').touch()
    for action in ('run', 'evaluate'):
        refused(capsys, ['reproduce', action, '--data', '.', '--dataset', 'baidu', '--experiment',
                         'exp5_global_SegLoc_VLAD_o1', '--save-results'],
                '--save-results baidu/out/results/global: ', 'baidu/out is not a folder')
    (folder / 'baidu/out').unlink()
    monkeypatch.setitem(sys.modules, 'torch', None)
    refused(capsys, ['reproduce', 'evaluate', '--data', '.', '--dataset', 'baidu', '--experiment',
                     'exp5_global_SegLoc_VLAD_o1', '--save-results'], 'torch')


def test_a_size_that_no_image_has_is_no_traceback(capsys, folder):
    image = folder / 'ref/0.png'
    refused(capsys, ['describe', image, '--set', f'segmenter.min_size={10**30}'], 'segmenter.min_size is')


def test_a_merged_map_that_is_there_is_said_before_maps_are_read(capsys, folder):
    refused(capsys, ['map', 'merge', 'none', '--output', folder / 'random.segvlad'], 'random.segvlad: exists already')


@pytest.mark.fault('tool', 'files that are missing, empty, or something else', 'status 2 and one line with the file')
@pytest.mark.parametrize('arguments', [
    ['evaluate', 'bag', 'random.mcap'], ['evaluate', 'bag', 'none'], ['evaluate', 'bag', 'empty'],
    ['evaluate', 'bag', 'ref'], ['map', 'info', 'random.segvlad'], ['map', 'verify', 'random.segvlad'],
    ['map', 'info', 'none'], ['map', 'info', 'empty'], ['map', 'info', 'truth.csv'], ['describe', 'junk.png'],
    ['describe', 'none.png'], ['describe', 'empty'], ['describe', 'ref/0.png', '--preset', 'wibble'],
])
def test_wrong_files(capsys, folder, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    refused(capsys, arguments, *arguments[2:3] if arguments[0] != 'describe' else arguments[-1:])


@pytest.mark.parametrize('arguments', [
    [], ['wibble'], ['map'], ['map', 'burn', 'x'], ['evaluate'], ['evaluate', 'images'], ['describe'],
    ['--wibble', 'map']])
def test_wrong_usage(capsys, arguments):
    refused(capsys, arguments, '--help')


@pytest.mark.parametrize(('arguments', 'says'), [
    (['play', 'run.mcap', '--paced', '--rate', '2'], '--rate: not allowed with argument --paced'),
    (['benchmark', 'stock', '--cpu-time', '--threads', '2'], '--threads: not allowed with argument --cpu-time'),
    (['benchmark', 'preset', 'classic', '--image-bits', '12'], '--image-bits changes nothing without --images'),
    (['evaluate', 'bag', 'run.mcap', '--pose-files-of', 'base'], '--pose-files-of changes nothing without'),
    (['export', 'sam', '--device', 'cuda', '--output', 'sam.onnx'], 'unrecognized arguments: --device cuda'),
    (['fleet', 'query', 'a.segvlad', '--uri', 'http://localhost', '--image-bits', '12'],
     '--image-bits changes nothing without an image'),
])
def test_options_that_would_change_nothing(capsys, arguments, says):
    refused(capsys, arguments, says)


def test_result_below_what_was_asked_is_status_1(capsys, folder):
    assert run(capsys, *images(folder, require='recall@1=1.0'))[0] == 0
    assert run(capsys, *images(folder, require='accepted=3'))[0] == 1


def test_dark_image_is_described_as_rejected(capsys, tmp_path):
    cv2.imwrite(str(tmp_path / 'dark.png'), np.zeros((60, 80, 3), np.uint8))
    status, out, _ = run(capsys, 'describe', tmp_path / 'dark.png')
    assert (status, 'rejected: dark image' in out) == (1, True)


@pytest.mark.fault('image', 'an image of a few rows or columns', 'rejected alone; the rest of the set goes on')
@pytest.mark.parametrize('size', [(640, 3), (3, 640), (2000, 8), (1, 1)])
def test_strips_are_rejected_alone_and_the_rest_of_a_set_goes_on(capsys, folder, size):
    noise = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)
    for name in ('ref/1.png', 'query/0.png'):
        cv2.imwrite(str(folder / name), noise)
    status, out, _ = run(capsys, 'describe', folder / 'ref/1.png')
    assert (status, f'rejected: image of {size[0]} x {size[1]} pixels: too thin' in out) == (1, True)
    status, out, _ = run(capsys, *images(folder, report=folder / 'page.html'), '--json')
    assert (status, json.loads(out)['queries'], json.loads(out)['map_keyframes']) == (0, 2, 3)


@pytest.mark.fault('tool', 'file names that are not UTF-8', 'printed escaped')
def test_names_that_are_no_text(capsys, folder, monkeypatch):
    monkeypatch.chdir(folder)
    refused(capsys, ['map', 'info', 'two\nlines\x1b[2J.segvlad'], 'two lines\\x1b[2J.segvlad')
    refused(capsys, ['map', 'info', 'random.segvlad', 'two\nlines\x1b'], 'two lines\\x1b')
    refused(capsys, images(folder, set='decision.min\nscore=1'), 'decision.min')
    name = os.fsdecode(b'\xff\n.png')
    os.rename('ref/0.png', name)
    status, out, lines = run(capsys, 'describe', name)
    assert (status, lines) == (0, [])
    assert out.isascii()


def test_sessions_with_odd_names(capsys, tmp_path):
    path = tmp_path / 'map.segvlad'
    with PlaceMap.create(path, {'preset': 'odd\n\x1b[2J'}, 8) as place_map:
        place_map.append(make_keyframe(1, session='two\nlines\x1b[2J'))
    status, out, _ = run(capsys, 'map', 'info', path)
    assert status == 0
    assert [line.isprintable() for line in out.splitlines()] == [True] * 3
    assert 'session two lines' in out


@pytest.mark.fault('tool', 'a reader that goes away (head)', 'no error')
def test_reader_that_goes_away_is_no_error(folder):
    code = f'{sys.executable} -m segvlad_ros.cli describe {folder}/ref/0.png | head -n 0; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(['bash', '-c', code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, '')


def test_ctrl_c_while_a_command_is_imported_is_no_traceback():
    code = """
import sys
from segvlad_ros.cli import main
class Impatient:
    def find_spec(self, name, path=None, target=None):
        if name == 'segvlad_ros.cli.play':
            raise KeyboardInterrupt
sys.meta_path.insert(0, Impatient())
sys.exit(main(['play', 'run.mcap']))
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, '')
