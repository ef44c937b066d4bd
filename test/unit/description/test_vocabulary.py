"""Visual words: files, assignment, k-means (segvlad-spec.md 12)."""
import struct
import zipfile

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from segvlad_ros.description import vocabulary as module
from segvlad_ros.description.vocabulary import Vocabulary, fit_vocabulary, load_vocabulary
from segvlad_ros.types import SegvladError

CENTRES = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)


def tensor_pickle(rows, columns, strides=None, storage=b'torch\nFloatStorage\n'):
    """What torch.save writes as data.pkl for one table."""
    def number(value):
        return b'M' + struct.pack('<H', value)

    first, second = strides or (columns, 1)
    return (b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagec' + storage + b'X\x01\x00\x00\x000'
            b'X\x03\x00\x00\x00cpu' + number(rows * columns) + b'tQK\x00' + number(rows) + number(columns) + b'\x86'
            + number(first) + number(second) + b'\x86\x89}tR.')


def tensor_archive(path, values=CENTRES, pickled=None, root='c_centers', **members):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(f'{root}/data.pkl', pickled or tensor_pickle(*values.shape))
        archive.writestr(f'{root}/data/0', values.tobytes())
        for name, content in members.items():
            archive.writestr(f'{root}/{name.replace("__", "/")}', content)
    return path


def test_files_give_the_same_centres(tmp_path):
    Vocabulary(CENTRES).save(tmp_path / 'v.npz')
    np.save(tmp_path / 'v.npy', CENTRES)
    tensor_archive(tmp_path / 'v.pt', byteorder=b'little', version=b'3\n')
    tensor_archive(tmp_path / 'w.pt', root='archive')
    for name in ('v.npz', 'v.npy', 'v.pt', 'w.pt'):
        loaded = load_vocabulary(tmp_path / name)
        np.testing.assert_array_equal(loaded.centres, CENTRES)
        assert (len(loaded), loaded.dimension) == CENTRES.shape


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in 'ab':
        Vocabulary(CENTRES).save(tmp_path / name)
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


def test_a_pickle_is_not_executed(tmp_path):
    evil = b'\x80\x02cos\nsystem\n(X\x12\x00\x00\x00touch /tmp/segvladtR.'
    with pytest.raises(SegvladError, match='not one contiguous'):
        load_vocabulary(tensor_archive(tmp_path / 'v.pt', pickled=evil))


@pytest.mark.parametrize('arguments', [
    {'pickled': tensor_pickle(5, 7, strides=(1, 5))},
    {'pickled': tensor_pickle(5, 7, storage=b'torch\nHalfStorage\n')},
    {'pickled': tensor_pickle(6, 7)},
    {'pickled': b'\x80\x02junk'},
    {'pickled': b'x' * 5000},
    {'byteorder': b'big'},
    {'data__1': b'another tensor'},
], ids=['transposed', 'half', 'other shape', 'junk pickle', 'long pickle', 'big endian', 'two tensors'])
def test_other_tensor_archives_are_refused(tmp_path, arguments):
    with pytest.raises(SegvladError) as error:
        load_vocabulary(tensor_archive(tmp_path / 'v.pt', **arguments))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['v.npz', 'v.npy', 'v.pt'])
def test_damaged_files_are_refused(tmp_path, name):
    path = tmp_path / name
    Vocabulary(CENTRES).save(tmp_path / 'v.npz')
    np.save(tmp_path / 'v.npy', CENTRES)
    tensor_archive(tmp_path / 'v.pt')
    whole = path.read_bytes()
    for content in (b'', b'junk' * 100, whole[:len(whole) // 2], whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(SegvladError, match='vocabulary'):
            load_vocabulary(path)
    path.unlink()
    with pytest.raises(SegvladError, match='no such file'):
        load_vocabulary(path)


def test_sizes_are_checked_before_memory_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'MAX_BYTES', 100)
    np.savez_compressed(tmp_path / 'v.npz', centres=np.zeros((100, 100), np.float32))
    tensor_archive(tmp_path / 'v.pt')
    for name in ('v.npz', 'v.pt'):
        with pytest.raises(SegvladError, match='too large'):
            load_vocabulary(tmp_path / name)


def test_a_header_that_promises_more_than_the_file_holds(tmp_path):
    path = tmp_path / 'v.npy'
    np.save(path, CENTRES)
    promised = b'(99999999, 99999), }'
    honest = b'(5, 7), }'.ljust(len(promised))
    assert honest in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(honest, promised))
    with pytest.raises(SegvladError, match='not readable'):
        load_vocabulary(path)


def test_wrong_contents_are_refused(tmp_path):
    np.save(tmp_path / 'int.npy', np.ones((3, 3), int))
    np.save(tmp_path / 'vector.npy', np.ones(3))
    np.save(tmp_path / 'object.npy', np.array([{}], object))
    np.save(tmp_path / 'nan.npy', np.full((2, 2), np.nan))
    np.savez(tmp_path / 'other.npz', words=CENTRES)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(SegvladError, match=path.name):
            load_vocabulary(path)


def test_words_are_by_cosine_and_the_first_of_equals():
    vocabulary = Vocabulary(np.array([[0.1, 0], [0, 5], [0.2, 0]], np.float32))
    np.testing.assert_array_equal(vocabulary.words(np.array([[1, 0], [0.6, 0.8], [0, 0]], np.float32)), [0, 1, 0])
    with pytest.raises(SegvladError, match='2-d'):
        vocabulary.words(np.zeros((1, 3), np.float32))


def clusters(seed=0, count=400):
    rng = np.random.default_rng(seed)
    axes = np.eye(4, 16, dtype=np.float32)
    truth = rng.integers(0, 4, count)
    return axes[truth] * rng.uniform(0.5, 3, (count, 1)) + rng.normal(0, 0.02, (count, 16)), truth


def test_k_means_finds_separated_directions_and_keeps_plain_means():
    features, truth = clusters()
    vocabulary = fit_vocabulary(np.vstack([features, np.zeros((9, 16))]).astype(np.float32), 4)
    rows = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    words = vocabulary.words(rows)
    assert len({(a, b) for a, b in zip(words, truth)}) == 4
    for word in range(4):
        np.testing.assert_allclose(vocabulary.centres[word], rows[words == word].mean(axis=0), atol=1e-6)


def test_k_means_is_reproducible_and_independent_of_chunks(monkeypatch):
    features = np.random.default_rng(3).standard_normal((500, 8)).astype(np.float32)
    first = fit_vocabulary(features, 6, seed=1).centres
    np.testing.assert_array_equal(fit_vocabulary(features, 6, seed=1).centres, first)
    assert not np.array_equal(fit_vocabulary(features, 6, seed=2).centres, first)
    monkeypatch.setattr(module, '_CHUNK', 64)
    np.testing.assert_allclose(fit_vocabulary(features, 6, seed=1).centres, first, atol=1e-5)


@pytest.mark.parametrize('whiten', [False, True])
def test_k_means_is_the_same_whatever_the_number_of_threads(whiten):
    """The digest of the file is part of a map's fingerprint."""
    features, fitted = np.random.default_rng(0).standard_normal((9000, 256)).astype(np.float32), []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api='blas'):
            fitted.append(fit_vocabulary(features, 32, iterations=3, whiten=whiten))
    one, two = fitted
    np.testing.assert_array_equal(one.centres, two.centres)
    if whiten:
        np.testing.assert_array_equal(one.whitening.matrix, two.whitening.matrix)


def test_k_means_leaves_no_word_empty():
    rows = np.repeat(np.eye(3, 8, dtype=np.float32), [50, 50, 1], axis=0)
    centres = fit_vocabulary(rows, 3).centres
    assert (np.linalg.norm(centres, axis=1) > 0.5).all()
    assert set(Vocabulary(centres).words(np.eye(3, 8, dtype=np.float32))) == {0, 1, 2}


def test_k_means_refuses_too_few_and_broken_features():
    with pytest.raises(SegvladError, match='4 words'):
        fit_vocabulary(np.vstack([np.ones((3, 4)), np.zeros((9, 4))]), 4)
    with pytest.raises(SegvladError, match='finite'):
        fit_vocabulary(np.full((9, 4), np.nan), 2)


def test_whitened_features_vary_alike_in_all_directions(tmp_path):
    random = np.random.default_rng(3)
    features = random.normal(size=(4000, 6)).astype(np.float32) * [3, 1, 1, 1, 1, 0.5] + [4, 0, 0, 0, 0, 0]
    vocabulary = fit_vocabulary(features, 4, whiten=True)
    rows = vocabulary.prepared(features.astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    spread, before = (values.std(axis=0) for values in (rows, features / np.linalg.norm(features, axis=1)[:, None]))
    assert spread.max() / spread.min() < 0.5 * before.max() / before.min()
    vocabulary.save(tmp_path / 'words.npz')
    again = load_vocabulary(tmp_path / 'words.npz')
    np.testing.assert_array_equal(again.prepared(features.astype(np.float32)), rows)
    assert set(again.words(rows)) == {0, 1, 2, 3}


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize(('features', 'words', 'reason'), [
    (np.zeros((20, 4)), 2, '2 words need at least as many textured cells, these images have 0; give more images'),
    (np.eye(3, 4), 8, '8 words need at least as many textured cells, these images have 3; give more images'),
    (np.full((20, 4), np.nan), 2, 'features are not finite'),
    (np.eye(1, 4), 1, 'all 1 textured cells are alike'), (np.full((20, 4), 0.3), 2, 'all 20 textured cells are alike'),
    (np.full((20, 1), 0.3), 2, 'all 20 textured cells are alike')],
    ids=['blank', 'few', 'nan', 'one', 'equal', 'one dimension'])
def test_what_cannot_be_whitened_is_refused_for_what_it_is(features, words, reason):
    with pytest.raises(SegvladError, match=reason):
        fit_vocabulary(features, words, whiten=True)


def test_features_are_taken_as_they_are_without_whitening():
    rows = np.eye(3, 5, dtype=np.float32) * 2
    np.testing.assert_array_equal(Vocabulary(np.ones((2, 5))).prepared(rows), rows / 2)


def test_a_whitening_of_other_features_is_refused(tmp_path):
    good = {'centres': np.ones((2, 3), np.float32), 'mean': np.zeros(3, np.float32), 'matrix': np.eye(3)}
    for name, wrong in (('mean', np.zeros(4)), ('matrix', np.eye(4)), ('matrix', np.full((3, 3), np.nan))):
        np.savez(tmp_path / 'words.npz', **{**good, name: wrong})
        with pytest.raises(SegvladError, match='whitening'):
            load_vocabulary(tmp_path / 'words.npz')
    np.savez(tmp_path / 'words.npz', centres=good['centres'], matrix=good['matrix'])
    with pytest.raises(SegvladError, match="no array 'mean'"):
        load_vocabulary(tmp_path / 'words.npz')
