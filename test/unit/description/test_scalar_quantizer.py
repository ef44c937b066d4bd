import faiss
import numpy as np
import pytest

from segvlad_ros.description.arrays import unit_rows
from segvlad_ros.description.scalar_quantizer import ScalarQuantizer
from segvlad_ros.types import SegvladError


def rows_of(count, dimension, seed=0):
    return unit_rows(np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32))


def faiss_index(quantizer):
    kind = {3: 'QT_3bit_tqmse', 4: 'QT_4bit_uniform'}[quantizer.bits]
    if not hasattr(faiss.ScalarQuantizer, kind):
        pytest.skip(f'faiss {faiss.__version__} has no {kind}')
    index = faiss.IndexScalarQuantizer(quantizer.dimension, getattr(faiss.ScalarQuantizer, kind),
                                       faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(quantizer.trained, index.sq.trained)
    index.is_trained = True
    return index


@pytest.fixture(autouse=True)
def one_thread():
    """faiss's threads wait by spinning, see segment_index.py."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


@pytest.mark.parametrize('bits', [3, 4])
@pytest.mark.parametrize('dimension', [512, 1024, 9])
def test_codes_are_those_of_faiss(dimension, bits):
    quantizer, rows = ScalarQuantizer(dimension, bits), rows_of(300, dimension)
    codes = quantizer.encode(rows)
    assert codes.dtype == np.uint8 and codes.shape == (300, quantizer.code_bytes)
    assert np.array_equal(codes, faiss_index(quantizer).sa_encode(quantizer.rotated(rows)))


@pytest.mark.parametrize('bits', [3, 4])
def test_faiss_searches_the_codes_as_they_are(bits):
    quantizer, rows, queries = ScalarQuantizer(512, bits), rows_of(300, 512), rows_of(20, 512, seed=1)
    codes, index = quantizer.encode(rows), faiss_index(quantizer)
    index.add_sa_codes(codes)
    found, at = index.search(quantizer.rotated(queries), 10)
    expected = quantizer.rotated(queries) @ quantizer.decode_rotated(codes).T
    assert np.allclose(found, np.take_along_axis(expected, at, 1), atol=1e-6)
    assert np.allclose(expected, queries @ quantizer.decode(codes).T, atol=0.01)


@pytest.mark.parametrize(('bits', 'deviation', 'mean', 'longest'), [(3, 0.009, 1.0177, 0.06), (4, 0.0055, 1, 0.03)])
def test_how_far_off_cosines_are(bits, deviation, mean, longest):
    quantizer, rows = ScalarQuantizer(512, bits), rows_of(2000, 512)
    back = quantizer.decode(quantizer.encode(rows))
    assert np.allclose(np.linalg.norm(back, axis=1), quantizer.length, atol=1e-5)
    assert abs((rows * back).sum(axis=1).mean() - 1) < 1e-3
    error = (rows[:200] @ back.T - rows[:200] @ rows.T)[~np.eye(200, 2000, dtype=bool)]
    assert error.std() < deviation and abs(error.mean()) < 1e-4 and abs(error).max() < 6 * deviation
    norms = np.linalg.norm(quantizer.decode_rotated(quantizer.encode(rows)), axis=1)
    assert abs(norms.mean() - mean) < 0.001 and abs(norms - mean).max() < longest


def test_rows_of_unequal_variance_lose_no_more():
    """As a fitted projection without whitening gives them; unrotated, the few large values would be cut off."""
    rows = unit_rows(rows_of(500, 512) * np.geomspace(1, 0.01, 512, dtype=np.float32))
    quantizer = ScalarQuantizer(512, 4)
    assert ((quantizer.decode(quantizer.encode(rows)) * rows).sum(axis=1) > 0.985).all()
    spike = np.eye(1, 512, 7, dtype=np.float32)
    assert (quantizer.decode(quantizer.encode(spike)) @ spike.T)[0, 0] > 0.98


@pytest.mark.parametrize('bits', [3, 4])
def test_what_was_decoded_keeps_its_codes(bits):
    """A keyframe may go from map to map, and through a message as float16."""
    quantizer = ScalarQuantizer(512, bits)
    codes = quantizer.encode(rows_of(500, 512))
    back = quantizer.decode(codes)
    assert np.array_equal(quantizer.encode(back), codes)
    assert np.array_equal(quantizer.encode(back.astype(np.float16).astype(np.float32)), codes)


def test_rows_that_have_no_codes():
    quantizer = ScalarQuantizer(16, 4)
    with pytest.raises(SegvladError, match='give 3 or 4'):
        ScalarQuantizer(16, 2)
    for bad in (np.nan, np.inf):
        with pytest.raises(SegvladError, match='NaN or infinite'):
            quantizer.encode(np.full((1, 16), bad, np.float32))
    with pytest.raises(SegvladError, match='shape'):
        quantizer.encode(np.zeros((1, 17), np.float32))
    for wrong in (np.zeros((1, 7), np.uint8), np.zeros((1, 9), np.uint8), np.zeros(8, np.uint8), np.zeros((1, 8))):
        with pytest.raises(SegvladError, match='none of 8 bytes'):
            quantizer.decode(wrong)
    assert quantizer.encode(np.zeros((0, 16), np.float32)).shape == (0, 8)
    assert quantizer.decode(np.zeros((0, 8), np.uint8)).shape == (0, 16)
    assert np.linalg.norm(quantizer.decode_rotated(quantizer.encode(np.zeros((1, 16), np.float32)))) < 0.2
