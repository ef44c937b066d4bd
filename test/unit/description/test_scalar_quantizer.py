import faiss
import numpy as np
import pytest

from segvlad_ros.description.arrays import unit_rows
from segvlad_ros.description.scalar_quantizer import ScalarQuantizer
from segvlad_ros.types import SegvladError


def rows_of(count, dimension, seed=0):
    return unit_rows(np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32))


def faiss_index(quantizer):
    index = faiss.IndexScalarQuantizer(quantizer.dimension, faiss.ScalarQuantizer.QT_4bit_uniform,
                                       faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(np.array([quantizer.low, quantizer.span], np.float32), index.sq.trained)
    index.is_trained = True
    return index


@pytest.mark.parametrize('dimension', [512, 1024, 9])
def test_codes_are_those_of_faiss(dimension):
    quantizer, rows = ScalarQuantizer(dimension), rows_of(300, dimension)
    codes = quantizer.encode(rows)
    assert codes.dtype == np.uint8 and codes.shape == (300, quantizer.code_bytes)
    assert np.array_equal(codes, faiss_index(quantizer).sa_encode(quantizer.rotated(rows)))


def test_faiss_searches_the_codes_as_they_are():
    quantizer, rows, queries = ScalarQuantizer(512), rows_of(300, 512), rows_of(20, 512, seed=1)
    codes, index = quantizer.encode(rows), faiss_index(quantizer)
    index.add_sa_codes(codes)
    found, at = index.search(quantizer.rotated(queries), 10)
    expected = quantizer.rotated(queries) @ quantizer.decode_rotated(codes).T
    assert np.allclose(found, np.take_along_axis(expected, at, 1), atol=1e-6)
    assert np.allclose(expected, queries @ quantizer.decode(codes).T, atol=0.01)


def test_cosines_stay_within_a_hundredth():
    quantizer, rows = ScalarQuantizer(512), rows_of(2000, 512)
    back = quantizer.decode(quantizer.encode(rows))
    assert np.allclose(np.linalg.norm(back, axis=1), 1, atol=1e-5)
    error = (rows[:200] @ back.T - rows[:200] @ rows.T)[~np.eye(200, 2000, dtype=bool)]
    assert error.std() < 0.006 and abs(error.mean()) < 1e-4 and abs(error).max() < 0.03
    norms = np.linalg.norm(quantizer.decode_rotated(quantizer.encode(rows)), axis=1)
    assert abs(norms.mean() - 1) < 0.001 and abs(norms - 1).max() < 0.03


def test_rows_of_unequal_variance_lose_no_more():
    """As a fitted projection without whitening gives them; unrotated, the few large values would be cut off."""
    rows = unit_rows(rows_of(500, 512) * np.geomspace(1, 0.01, 512, dtype=np.float32))
    quantizer = ScalarQuantizer(512)
    assert ((quantizer.decode(quantizer.encode(rows)) * rows).sum(axis=1) > 0.985).all()
    spike = np.eye(1, 512, 7, dtype=np.float32)
    assert (quantizer.decode(quantizer.encode(spike)) @ spike.T)[0, 0] > 0.98


def test_what_was_decoded_keeps_its_codes():
    """A keyframe may go from map to map, and through a message as float16."""
    quantizer = ScalarQuantizer(512)
    codes = quantizer.encode(rows_of(500, 512))
    back = quantizer.decode(codes)
    assert np.array_equal(quantizer.encode(back), codes)
    assert np.array_equal(quantizer.encode(back.astype(np.float16).astype(np.float32)), codes)


def test_rows_that_have_no_codes():
    quantizer = ScalarQuantizer(16)
    for bad in (np.nan, np.inf):
        with pytest.raises(SegvladError, match='NaN or infinite'):
            quantizer.encode(np.full((1, 16), bad, np.float32))
    with pytest.raises(SegvladError, match='shape'):
        quantizer.encode(np.zeros((1, 17), np.float32))
    assert quantizer.encode(np.zeros((0, 16), np.float32)).shape == (0, 8)
    assert quantizer.decode(np.zeros((0, 8), np.uint8)).shape == (0, 16)
    assert np.linalg.norm(quantizer.decode_rotated(quantizer.encode(np.zeros((1, 16), np.float32)))) < 0.2
