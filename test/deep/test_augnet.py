"""AugNet from checkpoint to ONNX: the third stage of a ResNet-50, cell by cell, and real weights on a real image."""
from __future__ import annotations

import numpy as np
import package_weights
import pytest
import torch
from converted_files import same_bytes_wherever_made
from small_models import image_at, real_image
from torchvision.models import resnet50

from segvlad_ros.features.image_model import ImageModel
from segvlad_ros.io.augnet_conversion import build_network, convert, write_network
from segvlad_ros.io.augnet_graph import CELL, WIDTH
from segvlad_ros.io.model_files import load_onnx
from segvlad_ros.io.weights import entry_named
from segvlad_ros.io.weights import verify as verify_file
from segvlad_ros.types import SegvladError

for package in ('onnx', 'onnxruntime'):
    pytest.importorskip(package, reason='needs the extra onnx')

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def seeded(seed=0):
    """With normalisations that do something, as trained ones do."""
    torch.manual_seed(seed)
    network = build_network()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 1.5)
            for values in (module.bias.data, module.running_mean):
                values.normal_(0, 0.1)
    return network


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """As imgsim has it: its last layer is another than ResNet's."""
    path = tmp_path_factory.mktemp('checkpoint') / 'model.pth'
    whole = {**resnet50(weights=None).state_dict(), **seeded().state_dict(), 'fc.weight': torch.zeros(768, 2048),
             'fc.bias': torch.zeros(768)}
    torch.save({f'module.pre.{name}': value for name, value in whole.items()}, path)
    return path


@pytest.fixture(scope='module')
def converted(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp('converted') / 'augnet.onnx'
    convert({'imgsim/model.pth': checkpoint}, path)
    return path


@pytest.mark.parametrize('size', [(96, 64), (320, 240)])
def test_cells_are_those_of_the_third_stage_at_any_size(converted, checkpoint, size):
    """Of torchvision's own network, whose stages are called one by one."""
    network = resnet50(weights=None)
    network.load_state_dict({name.removeprefix('module.pre.'): value for name, value in torch.load(checkpoint).items()
                             if '.fc.' not in name}, strict=False)
    rgb = np.random.default_rng(3).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    grid = ImageModel(load_onnx(converted), size, MEAN, DEVIATION, CELL).extract(rgb)
    values = torch.from_numpy((rgb / 255 - MEAN) / DEVIATION).permute(2, 0, 1)[None].float()
    network.eval()
    with torch.inference_mode():
        for name in ('conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3'):
            values = getattr(network, name)(values)
    wanted = values[0].permute(1, 2, 0).numpy()
    assert (grid.rows, grid.cols, WIDTH) == wanted.shape == (size[1] // 16, size[0] // 16, 1024)
    wanted = wanted / np.linalg.norm(wanted, axis=2, keepdims=True)
    np.testing.assert_allclose(grid.features.reshape(wanted.shape), wanted, atol=1e-4)


def test_the_same_weights_give_the_same_bytes(converted, tmp_path):
    same_bytes_wherever_made(write_network, seeded, converted, tmp_path)


def test_what_is_no_checkpoint_of_augnet_is_refused_and_writes_nothing(checkpoint, tmp_path):
    target, other = tmp_path / 'augnet.onnx', tmp_path / 'model.pth'
    torch.save({'module.pre.conv1.weight': torch.zeros(64, 3, 7, 7)}, other)
    for sources, message in (({}, 'no model.pth among nothing'),
                             ({'imgsim/model.pth': other}, 'not a checkpoint of AugNet')):
        with pytest.raises(SegvladError, match=message):
            convert(sources, target)
    assert not target.exists()


def test_the_real_file_is_that_of_the_catalogue_and_knows_places():
    """Cell by cell, less what is common to all, images of a corridor find the one taken at the same place of ten."""
    path = package_weights.augnet()
    assert 'made of the member' in verify_file(path, entry_named('augnet'))
    extractor = ImageModel(load_onnx(path), (320, 240), MEAN, DEVIATION, CELL)
    seen, mapped = (np.array([extractor.extract(image_at(real_image(f'corridor/{folder}/{number:04d}.jpg'))).features
                              for number in range(0, 100, 10)]) for folder in ('query', 'ref'))
    common = mapped.mean(axis=0)
    seen, mapped = ((images - common).reshape(10, -1) for images in (seen, mapped))
    found = (seen @ (mapped / np.linalg.norm(mapped, axis=1, keepdims=True)).T).argmax(axis=1)
    assert (found == np.arange(10)).sum() >= 8  # 9 where this was written
