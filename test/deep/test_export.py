"""``segvlad export``: networks of small width as ONNX files; what answers otherwise is not written."""
from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from small_models import image_at, real_image, save_dinov2, save_preset, save_sam

from segvlad_ros.cli import main
from segvlad_ros.io import onnx_export
from segvlad_ros.io.model_files import load_onnx
from segvlad_ros.io.onnx_export import check_parity, export_onnx
from segvlad_ros.pipeline.builders import build_extractor, build_segmenter
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import SegvladError

pytest.importorskip('onnx', reason='needs the extra onnx')
pytest.importorskip('onnxruntime', reason='needs the extra onnx')
pytest.importorskip('onnxscript', reason='needs the extra onnx')

HUB = """
import torch

def small(width=8, weights=None):
    torch.manual_seed(0)
    if weights:
        torch.hub.load_state_dict_from_url(weights)
    return torch.nn.Sequential(torch.nn.Conv2d(3, width, 8, 8), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

def nothing():
    return 'no network'
"""


@pytest.fixture(scope='module')
def preset_file(tmp_path_factory):
    return save_preset(tmp_path_factory.mktemp('preset'))


def refusal(capsys, *arguments):
    capsys.readouterr()
    assert main(['export', *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert 'Traceback' not in said.err and not said.out
    return said.err.strip().splitlines()[-1]


def test_dinov2_answers_as_in_the_pipeline(preset_file, tmp_path, capsys):
    path = tmp_path / 'dinov2.onnx'
    assert main(['export', 'dinov2', '--preset', str(preset_file), '--output', str(path)]) == 0
    assert '308x238 pixels' in capsys.readouterr().out
    assert [entry.name for entry in tmp_path.iterdir()] == ['dinov2.onnx']
    rgb = image_at(real_image('hololens_office/images/0045.jpg'), 308, 238)
    wanted = build_extractor(load_preset(preset_file).features, 'cpu').extract(rgb).features
    model = build_extractor(load_preset(preset_file, {'features.kind': 'onnx', 'features.path': str(path),
                                                      'features.cell': 14}).features, 'cpu', (308, 238))
    np.testing.assert_allclose(model.extract(rgb).features, wanted, atol=1e-3)


def test_sam_encodes_as_in_the_pipeline(preset_file, tmp_path, capsys):
    path = tmp_path / 'sam.onnx'
    assert main(['export', 'sam', '--preset', str(preset_file), '--output', str(path)]) == 0
    assert '256x256 pixels' in capsys.readouterr().out
    encoder = build_segmenter(load_preset(preset_file).segmenter, 'cpu')._sam.image_encoder
    image = np.random.default_rng(5).standard_normal((1, 3, 256, 256), np.float32)
    with torch.inference_mode():
        wanted = encoder(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(load_onnx(path)(image), wanted, atol=1e-3)


def test_weights_too_many_for_one_file_stand_beside_it(preset_file, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, '_MOST_BYTES', 1000)
    path = tmp_path / 'dinov2.onnx'
    assert main(['export', 'dinov2', '--preset', str(preset_file), '--output', str(path)]) == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ['dinov2.onnx', 'dinov2.onnx.data']
    assert load_onnx(path)(np.zeros((1, 3, 238, 308), np.float32)).shape == (1, 374, 64)
    monkeypatch.undo()
    assert main(['export', 'dinov2', '--preset', str(preset_file), '--output', str(path)]) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ['dinov2.onnx']  # nothing of the one before is left


def test_a_model_of_other_weights_is_found_out(preset_file, tmp_path):
    network = build_extractor(load_preset(preset_file).features, 'cpu').network_for(308, 238)
    export_onnx(network, (308, 238), tmp_path / 'model.onnx')
    model = load_onnx(tmp_path / 'model.onnx')
    assert check_parity(model, network, (308, 238)) > 0.99999
    other = load_preset(preset_file, {'features.weights': str(save_dinov2(tmp_path, seed=9))})
    with pytest.raises(SegvladError, match=r'differs from PyTorch: cosine [-0-9.]+, at least 0.999'):
        check_parity(model, build_extractor(other.features, 'cpu').network_for(308, 238), (308, 238))


class Drifting(torch.nn.Module):
    """Answers otherwise from call to call, which no exported graph can."""

    calls = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        type(self).calls += 1
        return image.mean(3).flatten(1)[:, :32] * torch.arange(32.) ** (type(self).calls % 5)


def test_a_network_that_is_no_function_is_not_written(tmp_path):
    (tmp_path / 'model.onnx').write_text('as it was')
    with pytest.raises(SegvladError, match='differs from PyTorch'):
        export_onnx(Drifting(), (32, 32), tmp_path / 'model.onnx')
    assert [entry.name for entry in tmp_path.iterdir()] == ['model.onnx']
    assert (tmp_path / 'model.onnx').read_text() == 'as it was'


@pytest.mark.parametrize('kind', ['dinov2', 'sam'])
def test_weights_that_make_nan_leave_nothing_behind(kind, preset_file, tmp_path, capsys):
    folder = tmp_path / 'weights'
    folder.mkdir()
    path = save_dinov2(folder) if kind == 'dinov2' else save_sam(folder, side=64, depth=1, width=16, prompt=16)
    state = torch.load(path, weights_only=True)
    name = 'patch_embed.proj.bias' if kind == 'dinov2' else 'image_encoder.patch_embed.proj.bias'
    state[name][0] = float('nan')
    torch.save(state, path)
    key = 'features.weights' if kind == 'dinov2' else 'segmenter.weights'
    output = tmp_path / 'out'
    output.mkdir()
    line = refusal(capsys, kind, '--preset', preset_file, '--set', f'{key}={path}', '--output', output / 'm.onnx')
    assert 'NaN' in line and 'nothing is written' in line
    assert not list(output.iterdir())


def test_what_cannot_be_exported_is_said_in_one_line(preset_file, tmp_path, capsys):
    assert 'not dinov2' in refusal(capsys, 'dinov2', '--preset', 'classic', '--output', tmp_path / 'm.onnx')
    assert 'not sam' in refusal(capsys, 'sam', '--preset', 'classic', '--output', tmp_path / 'm.onnx')
    assert 'called .onnx' in refusal(capsys, 'dinov2', '--preset', preset_file, '--output', tmp_path / 'm.pt')
    assert 'folder does not exist' in refusal(capsys, 'dinov2', '--preset', preset_file, '--output',
                                              tmp_path / 'nowhere/m.onnx')

    class Chooses(torch.nn.Module):
        """Its way depends on what it sees."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.mean((2, 3)) if float(image.sum()) > 0 else image.amax((2, 3))
    with pytest.raises(SegvladError, match='cannot be exported') as said:
        export_onnx(Chooses(), (32, 32), tmp_path / 'm.onnx')
    assert '\n' not in str(said.value)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def repository(tmp_path):
    """A clone of a torch.hub repository."""
    folder = tmp_path / 'clone'
    folder.mkdir()
    (folder / 'hubconf.py').write_text(HUB)
    return folder


def test_a_hub_model_becomes_a_file(repository, tmp_path, capsys):
    path = tmp_path / 'hub.onnx'
    assert main(['export', 'hub', str(repository), 'small', '--argument', 'width=12', '--size', '64x48', '--output',
                 str(path)]) == 0
    assert load_onnx(path)(np.zeros((1, 3, 48, 64), np.float32)).shape == (1, 12)
    assert 'least cosine 1.0' in capsys.readouterr().out


def test_a_hub_model_may_not_download(repository, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    asked = ('hub', repository, 'small', '--argument', 'weights=https://localhost:9/weights.pth', '--size', '64x48',
             '--output', tmp_path / 'm.onnx')
    assert 'nothing is downloaded' in refusal(capsys, *asked)
    cache = tmp_path / 'cache/hub/checkpoints'
    cache.mkdir(parents=True, exist_ok=True)
    torch.save({}, cache / 'weights.pth')  # fetched by the user
    assert main(['export', *map(str, asked)]) == 0


def test_hub_refusals(repository, tmp_path, capsys):
    end = ('--size', '64x48', '--output', tmp_path / 'm.onnx')
    assert 'no hubconf.py' in refusal(capsys, 'hub', tmp_path, 'small', *end)
    assert 'absent' in refusal(capsys, 'hub', repository, 'absent', *end)
    assert 'no network' in refusal(capsys, 'hub', repository, 'nothing', *end)
    assert 'NAME=VALUE' in refusal(capsys, 'hub', repository, 'small', '--argument', 'width', *end)
    assert not (tmp_path / 'm.onnx').exists()
    assert 'hubconf' not in sys.modules
