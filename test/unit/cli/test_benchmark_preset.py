"""``segvlad benchmark preset``: from an installed package, on images of one's own, and what it refuses."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from segvlad_ros.cli import main
from segvlad_ros.evaluation.measure import peak_of_process
from segvlad_ros.pipeline.presets import load_preset

ROOT = Path(__file__).resolve().parents[3]
DESCRIBING = {'features', 'keypoints', 'segments', 'description', 'thumbnail'}
ANSWERING = {'search', 'vote', 'compare', 'verify', 'decision', 'report'}


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """A prefix as colcon makes it: the package and its configuration, and nothing else of the repository."""
    prefix = tmp_path_factory.mktemp('prefix')
    for place, name in (('lib/python', 'segvlad_ros'), ('share/segvlad_ros', 'config')):
        (prefix / place).mkdir(parents=True)
        (prefix / place / name).symlink_to(ROOT / name)
    return prefix


def test_every_stage_is_measured_and_the_package_needs_no_checkout(installed):
    code = ('import sys, segvlad_ros\n'
            'assert segvlad_ros.__file__.startswith(sys.argv[1]), segvlad_ros.__file__\n'
            'from segvlad_ros.cli import main\n'
            'sys.exit(main(["benchmark", "preset", "classic", "--count", "3", "--json"]))')
    done = subprocess.run([sys.executable, '-c', code, str(installed)], cwd=installed, capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(installed / 'lib/python')}, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report['stages']) == set(report['stages_p95']) == DESCRIBING | ANSWERING
    for stages, whole in ((DESCRIBING, 'describe_ms'), (ANSWERING, 'answer_ms')):
        assert 0 < report[f'{whole}_p50'] <= report[f'{whole}_p95']
        for stage in stages:  # of each image a stage takes no longer than the whole, and so do their medians
            assert 0 < report['stages'][stage] <= report[f'{whole}_p50'] + 0.001
    assert report['device'] == 'cpu'
    assert report['gpu_peak_mb'] is None
    assert report['machine']['cores'] == os.cpu_count()
    assert (report['images'], report['images_rejected'], report['image_sizes']) == (3, 0, ['640x480'])
    assert report['fingerprint'] == load_preset('classic').fingerprint()['digest']
    assert report['peak_mb'] > 60  # NumPy and OpenCV alone
    assert report['segments_per_image'] > 20
    assert 5_000 < report['bytes_per_keyframe'] < 200_000


@pytest.fixture
def photos(tmp_path):
    """Four noisy images and a dark one."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), cv2.resize(coarse, (320, 240)))
    cv2.imwrite(str(folder / '4.png'), np.zeros((240, 320, 3), np.uint8))
    return folder


def test_images_and_values_of_ones_own(photos, capsys):
    command = ['benchmark', 'preset', 'classic_image', '--images', str(photos), '--set', 'geometry.max_keypoints=0']
    assert main([*command, '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report['images'], report['images_rejected'], report['image_sizes']) == (5, 1, ['320x240'])
    assert 'keypoints' not in report['stages']
    assert report['changes'] == ['geometry.max_keypoints=0']
    assert report['segments_per_image'] == pytest.approx(4 / 5)
    assert main([*command, '--count', '2']) == 0
    text = capsys.readouterr().out
    assert text.startswith('classic_image on cpu: ')
    assert '2 images of ' in text
    assert 'bytes per keyframe' in text


@pytest.mark.parametrize(('arguments', 'message'), [
    (['segvlad'], 'segmenter.weights .* does not exist: get it with "segvlad weights fetch sam_vit_h"'),
    (['orb_words'], 'has no vocabulary: make one with "segvlad fit vocabulary'),
    (['clasic'], "unknown preset 'clasic'"),
    (['classic', '--set', 'image.width=1'], 'image.width'),
    (['classic', '--images', 'DARK'], 'none of the images can be described: dark image'),
    (['classic', '--images', 'EMPTY'], 'holds no images'),
])
def test_what_cannot_be_measured_is_one_line(photos, capsys, monkeypatch, arguments, message):
    tmp_path = photos.parent
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'dark.txt').write_text('photos/4.png\n')
    places = {'DARK': str(tmp_path / 'dark.txt'), 'EMPTY': str(tmp_path / 'empty')}
    if arguments == ['orb_words']:
        arguments = [*arguments, '--images', str(photos)]
    assert main(['benchmark', 'preset', *(places.get(word, word) for word in arguments)]) == 2
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert line.startswith('segvlad benchmark: ')
    assert re.search(message, line), line


def test_memory_of_a_call_is_the_peak_and_not_what_is_left():
    small, gpu = peak_of_process(lambda: None)
    large, _ = peak_of_process(lambda: np.ones(20_000_000).sum())
    assert gpu is None
    assert large > 160
    assert large > small + 100
