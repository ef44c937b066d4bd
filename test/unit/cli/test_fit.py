"""``segvlad fit``: one command from images to the files that a preset needs, and refusals that say what to do."""
import cv2
import numpy as np
import pytest

from segvlad_ros.cli import main
from segvlad_ros.description.projection import load_projection
from segvlad_ros.description.vocabulary import load_vocabulary
from segvlad_ros.io.images import read_image
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.presets import load_preset

PRESET = """
name: tiny
image: {width: 160, height: 120}
segmenter: {kind: patches, rows: 3, cols: 4}
features: {kind: root_sift, cell: 16, bin_sizes: [8], min_gradient: 1.0}
vocabulary: words.npz
projection: {kind: seeded, dimension: 32}
neighbourhood: {order: 0}
decision: {min_score: 0.1, max_ambiguity: 0.9}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'images').mkdir()
    generator = np.random.default_rng(1)
    for index in range(5):
        noise = cv2.GaussianBlur(generator.random((120, 160, 3)), (0, 0), 2 + index % 3)
        picture = ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / 'images' / f'{index}.png'), picture)
    (tmp_path / 'tiny.yaml').write_text(PRESET)
    return tmp_path


def fit(folder, kind, *options, images='images', output=None):
    return main(['fit', kind, str(folder / images), '--preset', str(folder / 'tiny.yaml'),
                 '--output', str(folder / (output or ('words.npz' if kind == 'vocabulary' else 'pca.npz'))), *options])


def test_from_images_to_a_working_preset(folder, capsys):
    assert fit(folder, 'vocabulary', '--words', '6') == 0
    words = load_vocabulary(folder / 'words.npz')
    assert (len(words), words.dimension) == (6, 128)
    assert (np.linalg.norm(words.centres, axis=1) > 0.1).all()

    assert fit(folder, 'projection', '--dimension', '16', '--whiten', '--shrinkage', '0.2') == 0
    assert load_projection(folder / 'pca.npz').components.shape == (16, 6 * 128)
    assert '16 components of 60 segments of 5 images' in capsys.readouterr().out

    preset = load_preset(folder / 'tiny.yaml', {'projection.kind': 'file', 'projection.path': str(folder / 'pca.npz')})
    description = build_describer(preset).describe(read_image(folder / 'images' / '0.png'))
    assert description.descriptors.shape == (12, 16)
    np.testing.assert_allclose(np.linalg.norm(description.descriptors, axis=1), 1, atol=1e-5)


def test_same_images_give_the_same_file(folder):
    assert fit(folder, 'vocabulary', '--words', '4') == 0
    assert fit(folder, 'vocabulary', '--words', '4', output='again.npz') == 0
    np.testing.assert_array_equal(load_vocabulary(folder / 'words.npz').centres,
                                  load_vocabulary(folder / 'again.npz').centres)


def test_a_whitened_vocabulary_describes(folder):
    assert fit(folder, 'vocabulary', '--words', '4', '--whiten') == 0
    assert load_vocabulary(folder / 'words.npz').whitening.matrix.shape == (128, 128)
    description = build_describer(load_preset(folder / 'tiny.yaml')).describe(read_image(folder / 'images' / '0.png'))
    np.testing.assert_allclose(np.linalg.norm(description.descriptors, axis=1), 1, atol=1e-5)


def test_samples_evenly(folder, capsys):
    assert fit(folder, 'vocabulary', '--words', '4', '--cells', '50') == 0
    assert '50 features of 5 images' in capsys.readouterr().out


def refusal(capsys, status):
    captured = capsys.readouterr()
    assert status == 2
    assert 'Traceback' not in captured.err
    return captured.err.strip().splitlines()[-1]


def test_rank_deficient_projection_is_refused(folder, capsys):
    assert fit(folder, 'vocabulary', '--words', '6') == 0
    for index in range(1, 5):
        (folder / 'images' / f'{index}.png').write_bytes((folder / 'images' / '0.png').read_bytes())
    line = refusal(capsys, fit(folder, 'projection', '--dimension', '20', '--whiten'))
    assert 'span only' in line and 'give more' in line
    assert not (folder / 'pca.npz').exists()


def test_too_few_segments_or_cells_are_refused(folder, capsys):
    assert 'more images' in refusal(capsys, fit(folder, 'vocabulary', '--words', '5000'))
    assert fit(folder, 'vocabulary', '--words', '6') == 0
    assert 'more images' in refusal(capsys, fit(folder, 'projection', '--dimension', '300'))


def test_projection_needs_the_vocabulary_first(folder, capsys):
    line = refusal(capsys, fit(folder, 'projection', '--dimension', '8'))
    assert 'vocabulary' in line and 'words.npz' in line


def test_options_that_would_change_nothing_are_refused(folder, capsys):
    line = refusal(capsys, fit(folder, 'projection', '--shrinkage', '0.2'))
    assert '--shrinkage changes nothing without --whiten' in line
    status = main(['fit', 'vocabulary', str(folder / 'images'), '--preset', 'orb_words', '--whiten', '--output',
                   str(folder / 'words.npz')])
    assert '--whiten: the words of preset orb_words are binary' in refusal(capsys, status)


def test_binary_words_that_tell_no_images_apart_are_refused(folder, capsys):
    """A word weighs log(images / images that have it): of one image, or of copies of one, nothing."""
    def fitted(*images):
        return main(['fit', 'vocabulary', *map(str, images), '--preset', 'orb_words', '--words', '10', '--cells', '200',
                     '--output', str(folder / 'binary.npz')])
    for number in range(2):
        (folder / str(number)).mkdir()
        noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number}/0.png'), cv2.resize(noise, (640, 480), interpolation=cv2.INTER_NEAREST))
    for images in ([folder / '0'], [folder / '0', folder / '1']):
        line = refusal(capsys, fitted(*images))
        assert 'tell no images apart' in line and 'give images of several places' in line
    assert not (folder / 'binary.npz').exists()


def test_wrong_paths_are_refused(folder, capsys):
    assert 'no such folder' in refusal(capsys, fit(folder, 'vocabulary', images='nothing'))
    assert '.npz' in refusal(capsys, fit(folder, 'vocabulary', output='words.txt'))
    assert 'folder does not exist' in refusal(capsys, fit(folder, 'vocabulary', output='nowhere/words.npz'))
    (folder / 'images' / '2.png').write_bytes(b'no image')
    assert '2.png' in refusal(capsys, fit(folder, 'vocabulary'))
