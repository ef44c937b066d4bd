"""The grid on which extracted features lie: they say it, and where they do not, it is not made up."""
import io

import numpy as np
import pytest

from segvlad_ros.evaluation.extraction import ExtractionRecipe, ExtractionWorker
from segvlad_ros.evaluation.place_datasets import PlaceDataset
from segvlad_ros.evaluation.reproduction import grid_of
from segvlad_ros.io.extraction_store import ExtractionStore, packed_features
from segvlad_ros.io.image_codec import encode_jpeg
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import CellGrid, FeatureGrid, SegvladError


def features(rows, cols, cell=None):
    return FeatureGrid(np.ones((rows * cols, 3), np.float32), rows, cols, cell=cell)


@pytest.mark.parametrize('cell', [20, 24, 40])
@pytest.mark.parametrize('side', [256, 512])
def test_extracted_features_lie_on_the_grid_of_their_extractor(tmp_path, side, cell):
    dataset = PlaceDataset('own', '', '', '', lambda *_: [], '', '', size=(side, side))
    preset = load_preset('classic', {'features.cell': cell})
    rgb = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    worker = ExtractionWorker(ExtractionRecipe.of(preset, dataset, ('features',), 'cpu'))
    store = ExtractionStore(tmp_path)
    store.add('a.png', worker.made('a.png', encode_jpeg(rgb), {'features': 'digest'})['features'])
    assert grid_of(store.features('a.png'), dataset.size) == CellGrid(side, side, cell)


def test_a_network_of_one_size_extracts_at_that_size(tmp_path, monkeypatch):
    def cells_of_16(images):
        assert images.shape == (1, 3, 240, 320), 'the size of the network'
        return np.ones((1, 15 * 20, 3), np.float32)
    monkeypatch.setattr('segvlad_ros.io.model_files.load_onnx', lambda path, device: cells_of_16)
    (tmp_path / 'network.onnx').touch()
    preset = load_preset('image_model', {'features.path': str(tmp_path / 'network.onnx'), 'features.cell': 16})
    dataset = PlaceDataset('own', '', '', '', lambda *_: [], '', '', size=(320, 240))
    ExtractionWorker(ExtractionRecipe.of(preset, dataset, ('features',), 'cpu'))


def test_a_file_of_before_is_read_and_knows_no_cell(tmp_path):
    store, file = ExtractionStore(tmp_path), io.BytesIO()
    np.savez(file, made_of=np.array('digest'), features=features(34, 45).features, grid=np.array([34, 45]))
    store.add('a.png', file.getvalue())
    read = store.features('a.png')
    assert (read.rows, read.cols, read.cell, store.made_of('a.png')) == (34, 45, None, 'digest')
    store.add('b.png', packed_features(read, 'digest'))
    assert store.features('b.png').cell is None


@pytest.mark.parametrize('size', [(640, 480), (512, 512), (800, 600), (256, 256)])
def test_features_of_the_authors_which_do_not_say_it_can_be_of_one_cell_only(size):
    assert grid_of(features(size[1] // 14, size[0] // 14), size) == CellGrid(*size, 14)


def test_where_several_cells_fit_none_is_taken():
    with pytest.raises(SegvladError, match='24 to 25 pixels fit an image of 256x256: move them away and extract'):
        grid_of(features(10, 10), (256, 256))
    assert grid_of(features(10, 10, 24), (256, 256)).cell == 24


@pytest.mark.parametrize('given', [features(34, 45), features(34, 45, 14), features(10, 10, 23), features(0, 0)])
def test_features_of_another_size_are_refused(given):
    with pytest.raises(SegvladError, match='are not those of an image of 256x256 pixels'):
        grid_of(given, (256, 256))
