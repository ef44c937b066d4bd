"""Baselines through the commands, on equal terms: the same images, the same truth, the same numbers."""
from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from skimage import data
from skimage.io import imsave

from segvlad_ros.cli import main
from segvlad_ros.io.images import read_image
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import Frame, SegvladError, Status

NAMES = ('astronaut', 'coffee', 'chelsea', 'rocket', 'immunohistochemistry', 'retina')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Six real pictures as references, and a shifted part of each as a query of the same name."""
    folder = tmp_path_factory.mktemp('pictures')
    for kind in ('ref', 'query'):
        (folder / kind).mkdir()
    for number, name in enumerate(NAMES):
        picture = getattr(data, name)()[:300, :400, :3]
        imsave(folder / 'ref' / f'{number}.png', picture, check_contrast=False)
        imsave(folder / 'query' / f'{number}.png', picture[12:, 16:], check_contrast=False)
    lines = [f'query/{number}.png,ref/{number}.png' for number in range(len(NAMES))]
    (folder / 'truth.csv').write_text('\n'.join(['query,references', *lines]))
    return folder


@pytest.fixture(scope='module')
def words(folder):
    """Binary words of the references."""
    assert main(['fit', 'vocabulary', str(folder / 'ref'), '--preset', 'orb_words', '--words', '200',
                 '--output', str(folder / 'words.npz')]) == 0
    return folder / 'words.npz'


def arguments(folder, preset, *options):
    return ['evaluate', 'images', '--references', str(folder / 'ref'), '--queries', str(folder / 'query'),
            '--ground-truth', str(folder / 'truth.csv'), '--preset', str(preset), '--json', *options]


def evaluate(capsys, folder, preset, *options):
    assert main(arguments(folder, preset, *options)) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys, *given):
    assert main(list(given)) == 2
    line = capsys.readouterr().err.strip()
    assert 'Traceback' not in line
    return line.splitlines()[-1]


@pytest.mark.parametrize(('preset', 'segments'), [('classic_image', 1), ('classic_patches', 14.8)])  # some are blank
def test_the_same_features_without_segments(capsys, folder, preset, segments):
    numbers = evaluate(capsys, folder, preset)
    assert numbers['segments_per_image'] == pytest.approx(segments, abs=0.1)
    assert numbers['recall@1'] == 1.0


def test_baselines_of_classic_have_its_features_and_words():
    classic, *others = (load_preset(name) for name in ('classic', 'classic_image', 'classic_patches'))
    for other in others:
        assert (other.image.width, other.features, other.vocabulary) == (
            classic.image.width, classic.features, classic.vocabulary)


def test_binary_words(capsys, folder, words):
    numbers = evaluate(capsys, folder, 'orb_words', '--set', f'vocabulary={words}')
    assert numbers['recall@1'] == 1.0
    assert numbers['segments_per_image'] == 1
    assert 'segvlad fit vocabulary' in refusal(capsys, *arguments(folder, 'orb_words'))
    assert 'no tree of binary words' in refusal(capsys, *arguments(
        folder, 'orb_words', '--set', f'vocabulary={load_preset("classic").vocabulary}'))


def test_one_vector_an_image_can_be_calibrated(capsys, tmp_path):
    """Forty places that are seen again, and forty queries of places that the map does not have."""
    generator = np.random.default_rng(0)
    picture, places = data.coffee(), generator.normal(size=(80, 16))
    for kind in ('ref', 'query'):
        (tmp_path / kind).mkdir()
        for number, place in enumerate(places[:40] if kind == 'ref' else places):
            crop = picture[number * 3:number * 3 + 60, number * 4:number * 4 + 80]
            imsave(tmp_path / kind / f'{number}.png', crop, check_contrast=False)
            np.save(tmp_path / kind / f'{number}.npy', place + 0.3 * generator.normal(size=16))
    lines = [f'query/{number}.png,{f"ref/{number}.png" if number < 40 else ""}' for number in range(80)]
    (tmp_path / 'truth.csv').write_text('\n'.join(['query,references', *lines]))
    given = ('--descriptors', str(tmp_path), '--set', 'features.dimension=16', '--set', 'geometry.max_keypoints=0')
    learned = str(tmp_path / 'calibration.json')
    source = arguments(tmp_path, 'given', *given)[2:]
    assert main(['calibrate', 'images', *source, '--output', learned]) == 0
    assert json.loads(capsys.readouterr().out)['fingerprint'] == load_preset(
        'given', {'features.dimension': 16}).fingerprint()['digest']
    decided = ('--set', f'calibration={learned}', '--set', 'decision.min_probability=0.5')
    numbers = evaluate(capsys, tmp_path, 'given', *given, *decided)
    assert numbers['accepted'] >= 30
    assert numbers['precision'] >= 0.9
    assert 'segvlad calibrate' in refusal(capsys, *arguments(tmp_path, 'given', *given, *decided, '--set',
                                                   'features.made_by=else'))


def test_whole_images_can_be_calibrated(capsys, tmp_path):
    """36 crops of pictures that are seen again with noise, and as many that the map does not have."""
    generator = np.random.default_rng(1)
    crops = [getattr(data, name)()[y:y + 96, x:x + 128, :3] for name in NAMES for y in (0, 100, 200)
             for x in (0, 90, 180, 270)]
    for kind in ('ref', 'query'):
        (tmp_path / kind).mkdir()
        for number, crop in enumerate(crops[:36] if kind == 'ref' else crops):
            seen = np.clip(crop + generator.normal(0, 6, crop.shape), 0, 255).astype(np.uint8)
            imsave(tmp_path / kind / f'{number}.png', seen, check_contrast=False)
    lines = [f'query/{number}.png,{f"ref/{number}.png" if number < 36 else ""}' for number in range(len(crops))]
    (tmp_path / 'truth.csv').write_text('\n'.join(['query,references', *lines]))
    source, learned = arguments(tmp_path, 'classic_image')[2:], str(tmp_path / 'calibration.json')
    assert main(['calibrate', 'images', *source, '--output', learned]) == 0
    capsys.readouterr()
    numbers = evaluate(capsys, tmp_path, 'classic_image', '--set', f'calibration={learned}', '--set',
                       'decision.min_probability=0.5')
    assert numbers['accepted'] >= 25
    assert numbers['precision'] >= 0.9


def test_a_map_of_binary_words_comes_back(folder, words, tmp_path):
    preset = load_preset('orb_words', {'vocabulary': str(words), 'decision.min_score': 0.1})
    places = PlaceRecognizer(preset)
    for number in range(len(NAMES)):
        places.add(read_image(folder / 'ref' / f'{number}.png'))
    query = read_image(folder / 'query' / '3.png')
    places.save(tmp_path / 'map.segvlad')
    path = tmp_path / 'preset.yaml'
    path.write_text(yaml.safe_dump({'name': 'words', 'image': {}, 'vocabulary': str(words),
                                    'segmenter': {'kind': 'patches', 'rows': 1, 'cols': 1},
                                    'features': {'kind': 'orb_words'}, 'projection': {'kind': 'none'},
                                    'neighbourhood': {'order': 0},
                                    'decision': {'min_score': 0.1, 'max_ambiguity': 0.95}}))
    again = PlaceRecognizer.load(tmp_path / 'map.segvlad', path)
    assert repr(again.recognize(query).candidates) == repr(places.recognize(query).candidates)
    assert again.recognize(query).candidates[0].entry == 3


@pytest.fixture
def vectors(folder, tmp_path):
    """Vectors of six places, those of the queries a little off."""
    generator = np.random.default_rng(0)
    places = generator.normal(size=(len(NAMES), 64))
    for kind in ('ref', 'query'):
        (tmp_path / kind).mkdir()
        for number, place in enumerate(places):
            np.save(tmp_path / kind / f'{number}.npy', (place + 0.1 * generator.normal(size=64)).astype(np.float32))
    return tmp_path


GIVEN = ('--set', 'features.dimension=64', '--set', 'decision.min_score=0.5', '--set', 'geometry.max_keypoints=0')


def test_vectors_of_files_are_taken_as_they_are(capsys, folder, vectors):
    numbers = evaluate(capsys, folder, 'given', *GIVEN, '--descriptors', str(vectors))
    assert (numbers['recall@1'], numbers['accepted']) == (1.0, 6)
    for number in range(len(NAMES)):  # now each query has the vector of the next place
        (vectors / 'query' / f'{number}.npy').write_bytes(
            (vectors / 'ref' / f'{(number + 1) % len(NAMES)}.npy').read_bytes())
    assert evaluate(capsys, folder, 'given', *GIVEN, '--descriptors', str(vectors))['recall@1'] == 0.0


def test_wrong_vectors_are_refused(capsys, folder, vectors):
    def refused(*options):
        return refusal(capsys, *arguments(folder, 'given', *options))
    assert 'shape (64,)' in refused('--descriptors', str(vectors))
    assert 'no such folder' in refused(*GIVEN, '--descriptors', str(vectors / 'nothing'))
    assert '--descriptors' in refused(*GIVEN)
    assert 'describes them itself' in refusal(capsys, *arguments(folder, 'classic', '--descriptors', str(vectors)))
    path = vectors / 'ref' / '2.npy'
    np.save(path, np.full(64, np.nan))  # an image that cannot be described is an answer, not an end
    assert evaluate(capsys, folder, 'given', *GIVEN, '--descriptors', str(vectors))['recall@1'] == pytest.approx(5 / 6)
    for array, said in ((np.zeros((2, 64)), 'no vector'), (np.array([{}]), 'not readable'),
                        (np.array(['a']), 'no vector'), (np.array(0.5), 'no vector')):
        np.save(path, array, allow_pickle=True)
        line = refused(*GIVEN, '--descriptors', str(vectors))
        assert said in line and '2.npy' in line
    path.write_bytes(b'nothing')
    assert 'not readable' in refused(*GIVEN, '--descriptors', str(vectors))
    path.unlink()
    assert 'no descriptor' in refused(*GIVEN, '--descriptors', str(vectors))


def test_two_images_do_not_share_a_vector(capsys, folder, vectors):
    for number in range(len(NAMES)):
        (vectors / 'query' / f'{number}.npy').unlink()
        (vectors / 'ref' / f'{number}.npy').rename(vectors / f'{number}.npy')
    assert 'folders that are called' in refusal(capsys, *arguments(
        folder, 'given', *GIVEN, '--descriptors', str(vectors)))


def test_a_network_of_ones_own_in_python(folder):
    """Any descriptor in a notebook: the vector comes with the frame."""
    places = PlaceRecognizer(load_preset('given', {'features.dimension': 8, 'features.made_by': 'mine'}))
    pictures = [read_image(folder / 'ref' / f'{number}.png') for number in range(3)]
    for number, picture in enumerate(pictures):
        places.add(Frame(picture, number + 1, descriptor=np.eye(8)[number]))
    answer = places.recognize(Frame(pictures[0], 9, descriptor=np.eye(8)[2]), independent=True)
    assert (answer.status, answer.candidates[0].entry) == (Status.MATCHED, 2)
    with pytest.raises(SegvladError, match=r'Frame\.descriptor'):
        places.recognize(pictures[0])


@pytest.mark.parametrize(('preset', 'changes', 'said'), [
    ('orb_words', {'segmenter.rows': 2}, 'its only segment'),
    ('given', {'vocabulary': 'words.npz'}, 'needs no words'),
    ('image_model', {}, 'features.path'),
    ('image_model', {'features.path': 'nothing.onnx'}, 'does not exist'),
])
def test_presets_that_contradict_themselves(preset, changes, said, folder):
    with pytest.raises(SegvladError, match=said):
        _ = PlaceRecognizer(load_preset(preset, changes)).describer


def test_what_has_no_cells_has_no_words_to_fit(capsys, folder, tmp_path):
    line = refusal(capsys, 'fit', 'vocabulary', str(folder / 'ref'), '--preset', 'image_model', '--output',
                   str(tmp_path / 'words.npz'))
    assert 'one vector of an image' in line


def test_the_fingerprint_follows_what_makes_the_vectors(words):
    def digest(preset, **changes):
        return load_preset(preset, {key.replace('__', '.'): value for key, value in changes.items()}).fingerprint()
    assert digest('given')['digest'] != digest('given', features__made_by='MegaLoc')['digest']
    assert digest('orb_words', vocabulary=str(words))['vocabulary'].startswith('sha256:')
