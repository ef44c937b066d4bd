"""The golden outputs of the reference as tests; ``check.py`` is the same on the command line."""
import os
import subprocess
import sys

import check
import numpy as np
import pytest

VOCABULARIES = check.DEFAULT.parent / 'vocabulary'


def assert_passed(results):
    results = list(results)
    assert len(results) > 10
    missed = [f'{result.name}: {result.difference:.2e} > {result.tolerance:g}' for result in results
              if not result.passed]
    assert not missed


@pytest.mark.parametrize('compare', check.BASE_CHECKS, ids=lambda function: function.__name__)
def test_outputs_of_the_reference(golden, compare):
    assert_passed(compare(golden))


@pytest.mark.deep
def test_dino_facets_of_the_reference(golden):
    if not os.environ.get('SEGVLAD_REQUIRE_DEEP'):
        pytest.importorskip('torch')
        pytest.importorskip('timm')
    assert_passed(check.check_dino(golden))


@pytest.mark.parametrize('domain', ['indoor', 'urban', 'aerial'])
def test_centres_of_the_reference_are_read_without_torch(golden, domain):
    from segvlad_ros.description.vocabulary import load_vocabulary

    vocabulary = load_vocabulary(VOCABULARIES / domain / 'c_centers.pt')
    norms = np.linalg.norm(vocabulary.centres, axis=1)
    assert vocabulary.centres.shape == (32, 1536)
    assert 0.3 < norms.min() < norms.max() < 1
    if domain == 'indoor':
        np.testing.assert_array_equal(vocabulary.centres, np.load(golden / 'golden_image.npz')['centers'])


def altered(golden, folder, file, name, change):
    """A copy of the golden folder with one array changed."""
    folder.mkdir()
    for path in golden.glob('*.npz'):
        (folder / path.name).symlink_to(path)
    arrays = dict(np.load(golden / file))
    arrays[name] = change(arrays[name])
    (folder / file).unlink()
    np.savez(folder / file, **arrays)
    return folder


def run_check(folder):
    return subprocess.run([sys.executable, check.__file__, folder, '--without-dino'], check=False,
                          capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(check.REPOSITORY), *sys.path])})


def test_a_miss_is_reported_with_exit_status_one(golden, tmp_path):
    def flip(adjacency):
        return ~adjacency

    answer = run_check(altered(golden, tmp_path / 'golden', 'golden_adjacency.npz', 'twelve/adj_o2', flip))
    assert answer.returncode == 1
    assert 'MISSED: adjacency twelve order 2' in answer.stdout


def test_missing_goldens_are_one_line_and_exit_status_two(tmp_path):
    answer = run_check(tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.count('\n') == 1
    assert 'golden_adjacency.npz' in answer.stderr
