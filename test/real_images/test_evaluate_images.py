"""The shipped preset on real images, through the command: floors of recall, and the same answer each time."""
from __future__ import annotations

import json

import pytest

from segvlad_ros.cli import main


def evaluate(capsys, references, queries, truth, *options):
    status = main(['evaluate', 'images', '--references', str(references), '--queries', str(queries),
                   '--ground-truth', str(truth), '--json', *options])
    assert status == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope='module')
def first_lap(data, tmp_path_factory):
    """List of the first lap's images."""
    path = tmp_path_factory.mktemp('lists') / 'lap1.txt'
    folder = data / 'rtabmap_corridor_loop/images'
    path.write_text('\n'.join(str(folder / f'{number:04d}.jpg') for number in range(1, 41)))
    return path


def test_corridor(capsys, data):
    numbers = evaluate(capsys, data / 'corridor/ref', data / 'corridor/query', data / 'corridor/ground_truth.csv')
    assert numbers['queries'] == 111
    assert numbers['recall@1'] >= 0.80
    assert numbers['recall@5'] >= 0.95
    assert numbers['precision'] >= 0.9


def test_corridor_loop_against_its_first_lap(capsys, data, first_lap):
    folder = data / 'rtabmap_corridor_loop'
    numbers = evaluate(capsys, first_lap, folder / 'images', folder / 'ground_truth.csv')
    assert (numbers['queries'], numbers['map_keyframes']) == (43, 40)
    assert numbers['recall@1'] >= 0.90
    assert numbers['precision'] >= 0.95


def test_corridor_loop_closes_online_and_twice_the_same(capsys, data):
    folder = data / 'rtabmap_corridor_loop'
    runs = [evaluate(capsys, folder / 'images', folder / 'images', folder / 'loop_truth.csv', '--exclude-recent', '10')
            for _ in range(2)]
    for numbers in runs:
        del numbers['ms_per_image']
    assert runs[0] == runs[1]
    assert runs[0]['precision'] == 1.0
    assert runs[0]['recall'] >= 0.6
