"""`segvlad reproduce extract`: stopped at any moment, it goes on where it was, and the result is the same."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from extraction_samples import IMAGES, command, extracted, make_poster

from segvlad_ros.cli import OK, USAGE, main
from segvlad_ros.description.vocabulary import load_vocabulary
from segvlad_ros.evaluation.extraction import ExtractionRecipe
from segvlad_ros.evaluation.place_datasets import place_dataset
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import SegvladError


@pytest.fixture
def data(tmp_path):
    make_poster(tmp_path)
    return tmp_path


def kill_and_resume(data, kills):
    """Kill the extraction at random moments of its work, then let it end; no finished image is made again."""
    rng, finished = np.random.default_rng(kills), {}
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, '-m', 'segvlad_ros.cli',
                                    *command(data, 'extract', '--preset', 'classic')], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(extracted(data)) <= len(finished) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        before, finished = finished, extracted(data)
        assert before.items() <= finished.items()
    assert main(command(data, 'extract', '--preset', 'classic')) == OK
    assert finished.items() <= extracted(data).items()
    assert len(extracted(data)) == 4 * IMAGES
    assert not [*(data / 'poster' / 'out').rglob('.*')]
    return {path: content for path, (content, _) in extracted(data).items()}


def check_kills(data, kills):
    result = kill_and_resume(data, kills)
    for path in result:
        (data / path).unlink()
    assert main(command(data, 'extract', '--preset', 'classic')) == OK
    assert {path: content for path, (content, _) in extracted(data).items()} == result


@pytest.mark.fault('tool', '`reproduce extract` is killed', 'goes on to the same bytes')
def test_killed_at_random_moments_it_resumes_to_the_same_bytes(data):
    check_kills(data, 4)


@pytest.mark.long
def test_killed_at_twenty_random_moments_it_resumes_to_the_same_bytes(data):
    check_kills(data, 20)


def test_what_no_longer_fits_is_made_anew(data, capsys):
    assert main(command(data, 'extract', '--preset', 'classic')) == OK
    capsys.readouterr()
    image = next((data / 'poster' / 'references').iterdir())
    cv2.imwrite(str(image), np.full((174, 240, 3), 90, np.uint8))
    damaged = next((data / 'poster' / 'out').glob('poster_q_dino_240/*/*.npz'))
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert main(command(data, 'extract', '--preset', 'classic', '--set', 'segmenter.min_size=50')) == OK
    counts = [int(count) for count in re.findall(': ([0-9]+) images extracted', capsys.readouterr().err)]
    assert counts == [1, 1, IMAGES, IMAGES]  # features of the references and queries, then all masks


def test_all_of_it_runs_in_one_command_and_a_second_time_only_what_is_new(data, capsys):
    arguments = command(data, 'run', '--preset', 'classic', '--experiment', 'exp5_global_SegLoc_VLAD_o1',
                        '--vocabulary', 'map', '--words', '8', '--json')
    assert main(arguments) == OK
    first = capsys.readouterr()
    report = json.loads(first.out)
    assert report['queries'] == IMAGES and report['recall'][0] > 0.8
    assert first.err.count(f'{IMAGES} images extracted') == 4
    assert re.search(r'the networks waited for images \d+\.\d % of the time', first.err)
    assert len(load_vocabulary(report['words'])) == 8
    assert main(arguments) == OK
    again = capsys.readouterr()
    assert json.loads(again.out) == report
    assert again.err.count(f'{IMAGES} were there') == 4
    assert main([*arguments, '--set', 'features.min_gradient=2.0']) == OK
    assert json.loads(capsys.readouterr().out)['words'] != report['words']  # other features, other words


@pytest.mark.fault('tool', '`reproduce run` on file names that are not UTF-8', 'as on others')
def test_names_that_are_no_text_are_extracted_and_evaluated(tmp_path, capsys):
    make_poster(tmp_path, 4)
    for folder in ('references', 'queries'):
        image = next((tmp_path / 'poster' / folder).iterdir())
        image.rename(os.fsdecode(os.fsencode(image).replace(b'.png', b'\xff.png')))
    assert main(command(tmp_path, 'run', '--preset', 'classic', '--experiment', 'exp5_global_SegLoc_VLAD_o1',
                        '--vocabulary', 'map', '--words', '8', '--json',
                        '--output', str(tmp_path / 'result.json'))) == OK
    assert json.loads(capsys.readouterr().out)['queries'] == 4


def test_an_image_that_was_not_extracted_is_named(data, capsys):
    assert main(command(data, 'extract', '--preset', 'classic')) == OK
    (data / 'poster' / 'references' / 'new@0@0@.png').write_bytes(b'')
    capsys.readouterr()
    assert main(command(data, 'vocabulary', '--words', '8')) == USAGE
    assert 'does not hold new@0@0@.png' in capsys.readouterr().err


def test_a_machine_that_would_make_something_else_is_refused(data):
    recipe = ExtractionRecipe.of(load_preset('classic'), place_dataset('poster', data), ('features', 'masks'), 'cpu')
    recipe.check()
    with pytest.raises(SegvladError, match='other masks$'):
        replace(recipe, settings=recipe.settings | {'masks': 'of other weights'}).check()


def test_what_belongs_to_a_cluster_is_refused_without_one(data, capsys):
    assert main(command(data, 'extract', '--workers', '2')) == USAGE
    assert capsys.readouterr().err.endswith('belong to a Ray cluster: add --engine ray\n')


def test_a_damaged_image_is_named(data, capsys):
    image = data / 'poster' / 'queries' / '@12@0@0@.png'
    image.write_bytes(image.read_bytes()[:50])
    assert main(command(data, 'extract', '--preset', 'classic', '--what', 'masks')) == USAGE
    assert capsys.readouterr().err.splitlines()[-1].startswith(f'segvlad reproduce: {image}: ')
