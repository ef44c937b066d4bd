"""The description on torch tensors gives what it gives on numpy arrays; a saved tensor is a vocabulary."""

import numpy as np
import pytest
import torch

from segvlad_ros.description.covered import cut, without_covered
from segvlad_ros.description.describer import Describer
from segvlad_ros.description.projection import NoProjection, PcaProjection, SeededProjection
from segvlad_ros.description.segments import segments_from_masks
from segvlad_ros.description.vocabulary import Vocabulary, Whitening, load_vocabulary
from segvlad_ros.types import CellGrid, FeatureGrid, Masks

WORDS, DIMENSION = 8, 24
GRID = CellGrid(160, 116, 14)
DEVICES = ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    pixels = np.zeros((20, 58, 80), bool)
    for mask in pixels[:-1]:
        y, x = rng.integers(0, 40, 2)
        mask[y:y + rng.integers(2, 30), x:x + rng.integers(2, 40)] = True
    features = rng.standard_normal((GRID.cells, DIMENSION)).astype(np.float32)
    features[:9] = 0
    return pixels, features


def projections():
    rng = np.random.default_rng(1)
    width = WORDS * DIMENSION
    return [NoProjection(WORDS, DIMENSION), SeededProjection(WORDS, DIMENSION, 16),
            SeededProjection(WORDS, DIMENSION, 64),
            PcaProjection(rng.random(width) / 99, rng.standard_normal((12, width)), rng.uniform(1, 2, 12))]


@pytest.mark.parametrize('device', DEVICES)
def test_what_a_mask_leaves(scene, device):
    pixels, features = scene
    quality = np.linspace(0, 1, len(pixels), dtype=np.float32)
    usable = np.ones((480, 640), bool)
    usable[100:] = False
    numpy = cut(Masks(pixels, quality), usable)
    tensor = cut(Masks(torch.from_numpy(pixels).to(device), quality), usable)
    assert 0 < len(numpy) < len(pixels)
    assert tensor.masks.device.type == device
    np.testing.assert_array_equal(tensor.masks.cpu(), numpy.masks)
    np.testing.assert_array_equal(tensor.quality, numpy.quality)
    grids = [without_covered(FeatureGrid(each, GRID.rows, GRID.cols), usable, GRID).features
             for each in (features, torch.from_numpy(features).to(device))]
    np.testing.assert_array_equal(grids[1].cpu(), grids[0])
    assert 9 < (grids[0] == 0).all(axis=1).sum() < GRID.cells


@pytest.mark.parametrize('device', DEVICES)
def test_incidence(scene, device):
    pixels, _ = scene
    quality = np.linspace(0, 1, len(pixels), dtype=np.float32)
    numpy = segments_from_masks(Masks(pixels, quality), GRID)
    tensor = segments_from_masks(Masks(torch.from_numpy(pixels).to(device), quality), GRID)
    assert tensor.incidence.device.type == device
    np.testing.assert_array_equal(tensor.incidence.cpu(), numpy.incidence)
    assert len(tensor) == 19
    for name in ('centroids', 'boxes', 'areas', 'quality'):
        np.testing.assert_array_equal(getattr(tensor, name), getattr(numpy, name))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('projection', projections(), ids=lambda p: f'{type(p).__name__}-{p.dimension}')
@pytest.mark.parametrize('mixed', [False, True], ids=['tensor masks', 'numpy masks'])
@pytest.mark.parametrize('whitened', [False, True], ids=['as they are', 'whitened'])
def test_descriptors(scene, device, projection, mixed, whitened):
    pixels, features = scene
    random = np.random.default_rng(2)
    vocabulary = Vocabulary(random.standard_normal((WORDS, DIMENSION)) * 0.3, Whitening(
        random.standard_normal(DIMENSION) * 0.01, random.standard_normal((DIMENSION, DIMENSION))) if whitened else None)

    class Extractor:
        cell, dimension = GRID.cell, DIMENSION

    describer = Describer(None, Extractor(), vocabulary, projection, order=2, image_size=(GRID.width, GRID.height))
    quality = np.ones(len(pixels), np.float32)
    numpy = segments_from_masks(Masks(pixels, quality), GRID)
    tensor = numpy if mixed else segments_from_masks(Masks(torch.from_numpy(pixels).to(device), quality), GRID)
    want, kept = describer.describe_segments(FeatureGrid(features, GRID.rows, GRID.cols), numpy)
    with torch.inference_mode():  # as the extractor makes them
        on_device = torch.from_numpy(features).to(device) * 1
    got, also = describer.describe_segments(FeatureGrid(on_device, GRID.rows, GRID.cols), tensor)
    assert isinstance(got, np.ndarray)
    np.testing.assert_allclose(got, want, atol=2e-6)
    np.testing.assert_array_equal(also, kept)


def test_a_saved_tensor_is_a_vocabulary(tmp_path):
    centres = torch.randn(32, 768)
    torch.save(centres, tmp_path / 'c_centers.pt')
    np.testing.assert_array_equal(load_vocabulary(tmp_path / 'c_centers.pt').centres, centres)
    assert torch.equal(torch.load(tmp_path / 'c_centers.pt', weights_only=True), centres)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_tensors_that_are_not_finite_are_refused(scene, value):
    pixels, features = scene
    features[20, 3] = value
    vocabulary = Vocabulary(np.ones((WORDS, DIMENSION)))

    class Extractor:
        cell, dimension = GRID.cell, DIMENSION

    describer = Describer(None, Extractor(), vocabulary, NoProjection(WORDS, DIMENSION))
    segments = segments_from_masks(Masks(pixels, np.ones(len(pixels))), GRID)
    grid = FeatureGrid(torch.from_numpy(features), GRID.rows, GRID.cols)
    assert describer.describe_segments(grid, segments)[0] is None
