"""The bag of binary words: the tree, its weights, and what two images have in common."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

from segvlad_ros.description.binary_words import (
    MAX_WORDS,
    BagOfWords,
    BinaryVocabulary,
    fit_binary_vocabulary,
    hamming,
    load_binary_vocabulary,
)
from segvlad_ros.features.orb import OrbDetector, spread_keypoints
from segvlad_ros.types import SegvladError

DETECTOR = OrbDetector(400)


def grouped(centres: int, each: int, flips: int = 8, seed: int = 0) -> np.ndarray:
    """Descriptors around far-apart centres, a few bits away from them; those of one centre stand together."""
    generator = np.random.default_rng(seed)
    bits = np.repeat(generator.integers(0, 2, (centres, 256), np.uint8), each, axis=0)
    for row in bits:
        row[generator.choice(256, flips, replace=False)] ^= 1
    return np.packbits(bits, axis=1)


@pytest.fixture(scope='module')
def pictures() -> list[np.ndarray]:
    """Real images of one size."""
    return [np.ascontiguousarray(getattr(data, name)()[:300, :400, :3]) for name in ('astronaut', 'coffee', 'chelsea')]


@pytest.fixture(scope='module')
def vocabulary(pictures) -> BinaryVocabulary:
    return fit_binary_vocabulary([DETECTOR.describe(picture) for picture in pictures], 100)


def test_bits_are_counted():
    left, right = np.random.default_rng(1).integers(0, 256, (2, 50, 32), np.uint8)
    np.testing.assert_array_equal(hamming(left, right), np.unpackbits(left ^ right, axis=1).sum(axis=1))


def test_clusters_are_found_and_named_apart():
    descriptors = grouped(8, 30)
    words = fit_binary_vocabulary([descriptors], 8).words(descriptors).reshape(8, 30)
    assert (words == words[:, :1]).all()
    assert len(set(words[:, 0])) == 8


def test_a_flat_tree_is_an_exhaustive_search():
    vocabulary = fit_binary_vocabulary([grouped(10, 40, 60)], 10)
    asked = grouped(40, 5, 60, seed=3)
    distance = np.unpackbits(asked[:, None] ^ vocabulary.centres, axis=2).sum(axis=2)
    np.testing.assert_array_equal(vocabulary.words(asked), distance.argmin(axis=1))


def test_a_word_is_found_by_the_nearest_child_of_each_node(vocabulary, pictures):
    asked = DETECTOR.describe(pictures[0])[:60]
    leaves = [node for node in range(len(vocabulary.centres)) if node not in vocabulary.parents]
    for descriptor, word in zip(asked, vocabulary.words(asked)):
        node = -1
        while (children := np.flatnonzero(vocabulary.parents == node)).size:
            bits = [int(np.unpackbits(descriptor ^ vocabulary.centres[child]).sum()) for child in children]
            node = children[int(np.argmin(bits))]
        assert leaves[word] == node


def test_weights_are_the_logarithms_of_how_rare_a_word_is():
    common, rare = grouped(2, 20).reshape(2, 20, 32)
    images = [np.concatenate([common, rare]), common, common, common]
    vocabulary = fit_binary_vocabulary(images, 2)
    weights = vocabulary.idf[vocabulary.words(np.stack([common[0], rare[0]]))]
    np.testing.assert_allclose(weights, [0.0, np.log(4)], rtol=1e-6)
    np.testing.assert_array_equal(vocabulary.histogram(common), 0)  # what is in every image tells nothing
    histogram = vocabulary.histogram(images[0])
    assert histogram.sum() == pytest.approx(1)
    assert histogram[vocabulary.words(rare[:1])[0]] == pytest.approx(1)


def test_the_same_images_and_seed_give_the_same_file(pictures, tmp_path):
    images = [DETECTOR.describe(picture) for picture in pictures]
    for name, seed in (('one', 1), ('again', 1), ('other', 2)):
        fit_binary_vocabulary(images, 100, seed).save(tmp_path / name)
    one, again, other = (np.load(tmp_path / name)['centres'] for name in ('one', 'again', 'other'))
    np.testing.assert_array_equal(one, again)
    assert one.shape != other.shape or (one != other).any()


@pytest.mark.parametrize('words', [2, 7, 10, 30, 100, 250])
def test_no_more_words_than_asked_for(words, pictures):
    count = len(fit_binary_vocabulary([DETECTOR.describe(picture) for picture in pictures], words))
    assert words / 3 <= count <= words


def test_descriptors_that_are_all_alike_are_one_node():
    alike = np.repeat(grouped(2, 1, 0), 30, axis=0)
    vocabulary = fit_binary_vocabulary([alike], 50)
    assert len(vocabulary) == 2
    with pytest.raises(SegvladError, match='tell no words apart'):
        fit_binary_vocabulary([alike[:30]], 10)


@pytest.mark.parametrize(('words', 'said'), [(1, 'ask for 2 to'), (MAX_WORDS + 1, 'ask for 2 to'),
                                             (500, 'more images')])
def test_wrong_numbers_of_words_are_refused(words, said):
    with pytest.raises(SegvladError, match=said):
        fit_binary_vocabulary([grouped(4, 10)], words)


def test_the_cosine_is_the_bhattacharyya_coefficient(vocabulary, pictures):
    bag = BagOfWords(DETECTOR, vocabulary, 300)
    histograms = [vocabulary.histogram(DETECTOR.describe(picture)) for picture in pictures[:2]]
    vectors = [bag.extract(picture).features[0] for picture in pictures[:2]]
    assert vectors[0] @ vectors[1] == pytest.approx(np.sqrt(histograms[0] * histograms[1]).sum(), rel=1e-5)
    assert vectors[0] @ vectors[0] == pytest.approx(1, rel=1e-5)


def test_another_view_is_more_alike_than_other_scenes(vocabulary, pictures):
    bag = BagOfWords(DETECTOR, vocabulary, 300)
    whole = np.array([bag.extract(picture).features[0] for picture in pictures])
    moved = np.array([bag.extract(np.roll(picture, 25, axis=1)).features[0] for picture in pictures])
    np.testing.assert_array_equal((moved @ whole.T).argmax(axis=1), [0, 1, 2])


def test_an_image_without_keypoints_has_no_words(vocabulary):
    grid = BagOfWords(DETECTOR, vocabulary, 200).extract(np.full((200, 300, 3), 90, np.uint8))
    assert (grid.rows, grid.cols) == (1, 1)
    assert not grid.features.any()


def test_files_come_back_and_others_are_refused(vocabulary, pictures, tmp_path):
    path = tmp_path / 'words.npz'
    vocabulary.save(path)
    asked = DETECTOR.describe(pictures[2])
    np.testing.assert_array_equal(load_binary_vocabulary(path).histogram(asked), vocabulary.histogram(asked))
    np.savez(tmp_path / 'vlad.npz', centres=np.ones((3, 128), np.float32))
    with pytest.raises(SegvladError, match='no tree of binary words'):
        load_binary_vocabulary(tmp_path / 'vlad.npz')
    (tmp_path / 'cut.npz').write_bytes(path.read_bytes()[:2000])
    np.savez(tmp_path / 'loop.npz', centres=vocabulary.centres, parents=np.arange(len(vocabulary.parents)),
             idf=vocabulary.idf)
    np.savez(tmp_path / 'nan.npz', centres=vocabulary.centres, parents=vocabulary.parents, idf=vocabulary.idf * np.nan)
    np.savez(tmp_path / 'pickled.npz', centres=np.array([{}]), parents=np.array([-1]), idf=np.zeros(1))
    for name in ('cut', 'loop', 'nan', 'pickled', 'missing'):
        with pytest.raises(SegvladError, match=rf'{name}\.npz') as refusal:
            load_binary_vocabulary(tmp_path / f'{name}.npz')
        assert '\n' not in str(refusal.value)


def test_keypoints_are_dealt_out_over_the_image():
    """A checkerboard of strong corners at the left does not take what the faint right half has."""
    image = np.random.default_rng(0).normal(110, 6, (240, 320, 1)).clip(0, 255).astype(np.uint8).repeat(3, axis=2)
    image[:, :160] = (np.indices((240, 160)).sum(axis=0) // 8 % 2 * 255).astype(np.uint8)[..., None]
    detector = OrbDetector(200)
    found = cv2.ORB_create(2000, fastThreshold=7).detect(image[..., 0])
    kept = [found[i] for i in spread_keypoints(found, image.shape[:2], 200)]
    strongest = sorted(found, key=lambda keypoint: -keypoint.response)[:200]
    right_of_all, right = (sum(keypoint.pt[0] > 170 for keypoint in some) for some in (strongest, kept))
    assert right_of_all < 60
    assert right > 80
    assert len(detector.describe(image)) == 200
