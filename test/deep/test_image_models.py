"""Any descriptor as a file: ONNX and TorchScript networks behind presets, alike in both, refused in one line."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from segvlad_ros.io.model_files import _kept_engines, load_onnx, load_torchscript
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import SegvladError, Status

onnx = pytest.importorskip('onnx', reason='needs the extra onnx')
pytest.importorskip('onnxruntime', reason='needs the extra onnx')
pytest.importorskip('onnxscript', reason='needs the extra onnx')

SIZE = (64, 48)


class Pooled(torch.nn.Module):
    """A tiny convolutional network with one vector an image, (1, 16), in a tuple as some models have it."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 8, 8), torch.nn.Tanh())

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.layers(image)
        return features.mean((2, 3)), features


class Cells(Pooled):
    """One vector a cell of 8 pixels, (1, 48, 16)."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image).flatten(2).transpose(1, 2)


def save_onnx(network, path, external=False):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(network.eval(), (torch.zeros(1, 3, SIZE[1], SIZE[0]),), str(path), dynamo=True,
                          external_data=external, verbose=False)


def save_script(network, path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.trace(network.eval(), torch.zeros(1, 3, SIZE[1], SIZE[0])).save(str(path))


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    save_onnx(Pooled(), folder / 'pooled.onnx')
    save_onnx(Pooled(1), folder / 'other.onnx')
    save_onnx(Pooled(), folder / 'external.onnx', external=True)
    save_onnx(Cells(), folder / 'cells.onnx')
    save_script(Pooled(), folder / 'pooled.pt')
    return folder


def preset(path, kind='onnx', **changes):
    return load_preset('image_model', {
        'features.kind': kind, 'features.path': str(path), 'image.width': SIZE[0], 'image.height': SIZE[1],
        **{name.replace('__', '.'): value for name, value in changes.items()}})


@pytest.mark.parametrize(('name', 'kind'), [('pooled.onnx', 'onnx'), ('external.onnx', 'onnx'),
                                            ('pooled.pt', 'torchscript')])
def test_the_vector_is_the_networks(models, name, kind):
    picture = np.ascontiguousarray(data.astronaut()[:SIZE[1], :SIZE[0]])
    mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    image = ((picture / 255 - mean) / deviation).astype(np.float32).transpose(2, 0, 1)[None]
    with torch.inference_mode():
        wanted = Pooled().eval()(torch.from_numpy(image))[0][0].numpy()
    description = build_describer(preset(models / name, kind)).describe(picture)
    assert description.descriptors.shape == (1, 16)
    np.testing.assert_allclose(description.descriptors[0], wanted / np.linalg.norm(wanted), atol=1e-5)
    np.testing.assert_array_equal(description.boxes, [[0, 0, *SIZE]])


def test_normalisation_is_the_presets(models):
    picture = data.astronaut()
    plain = build_describer(preset(models / 'pooled.onnx', features__mean=[0.0, 0.0, 0.0],
                                   features__deviation=[1.0, 1.0, 1.0])).describe(picture)
    usual = build_describer(preset(models / 'pooled.onnx')).describe(picture)
    assert float(plain.descriptors[0] @ usual.descriptors[0]) < 0.99
    with pytest.raises(SegvladError, match='three values'):
        build_describer(preset(models / 'pooled.onnx', features__mean=[0.5]))


def test_places_are_recognised_by_it(models, tmp_path):
    places = PlaceRecognizer(preset(models / 'pooled.onnx', decision__min_score=0.1, decision__max_ambiguity=1.0))
    pictures = [np.ascontiguousarray(getattr(data, name)()[:300, :400, :3])
                for name in ('astronaut', 'coffee', 'chelsea', 'rocket')]
    for picture in pictures:
        places.add(picture)
    answer = places.recognize(np.ascontiguousarray(pictures[2][4:, 4:]))
    assert (answer.status, answer.candidates[0].entry) == (Status.MATCHED, 2)
    places.save(tmp_path / 'map.segvlad')
    with pytest.raises(SegvladError, match=r'features\.path is sha256'):
        places.load(tmp_path / 'map.segvlad', _file_of(preset(models / 'other.onnx'), tmp_path))


def _file_of(settings, folder):
    """A preset file with this model; the rest is as shipped."""
    path = folder / 'preset.yaml'
    path.write_text(f'name: model\nimage: {{width: {SIZE[0]}, height: {SIZE[1]}}}\n'
                    'segmenter: {kind: patches, rows: 1, cols: 1}\nprojection: {kind: none}\n'
                    'neighbourhood: {order: 0}\n'
                    f'features: {{kind: onnx, path: {settings.features.path}}}\n'
                    'decision: {min_score: 0.1, max_ambiguity: 0.95}\n')
    return path


def test_features_of_cells_are_vlad_as_those_of_other_extractors(models):
    words = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    np.save(models / 'words.npy', words)
    dense = preset(models / 'cells.onnx', features__cell=8, vocabulary=str(models / 'words.npy'),
                   segmenter__rows=2, segmenter__cols=2)
    assert build_describer(dense).describe(data.astronaut()).descriptors.shape == (4, 64)


def test_the_fingerprint_follows_file_size_and_normalisation(models, tmp_path):
    original = preset(models / 'external.onnx').fingerprint()
    for changes in ({'image__width': 128}, {'features__mean': [0.5, 0.5, 0.5]},
                    {'features__deviation': [1.0, 1.0, 1.0]}):
        changed = preset(models / 'external.onnx', **changes).fingerprint()
        name = next(iter(changes)).replace('__', '.')
        assert {key for key in original if original[key] != changed[key]} == {name, 'digest'}
    for name in ('external.onnx', 'external.onnx.data'):
        shutil.copy(models / name, tmp_path)
    assert preset(tmp_path / 'external.onnx').fingerprint() == original
    weights = bytearray((tmp_path / 'external.onnx.data').read_bytes())
    weights[7] ^= 1
    (tmp_path / 'external.onnx.data').write_bytes(weights)
    changed = preset(tmp_path / 'external.onnx').fingerprint()
    assert {key for key in original if original[key] != changed[key]} == {'features.path', 'digest'}


@pytest.mark.parametrize(('name', 'kind', 'changes', 'said'), [
    ('pooled.onnx', 'onnx', {'image__width': 96}, 'image.width and image.height'),
    ('pooled.onnx', 'onnx', {'features__cell': 8, 'vocabulary': 'classic'}, 'one vector a cell'),
    ('cells.onnx', 'onnx', {}, 'one vector an image'),
    ('pooled.pt', 'onnx', {}, 'is called .onnx'),
    ('pooled.onnx', 'torchscript', {}, 'not a TorchScript file'),
])
def test_models_that_do_not_fit_are_refused(models, name, kind, changes, said):
    if 'vocabulary' in changes:
        changes = {**changes, 'vocabulary': str(load_preset('classic').vocabulary)}
    with pytest.raises(SegvladError, match=said) as refusal:
        build_describer(preset(models / name, kind, **changes))
    assert '\n' not in str(refusal.value)


@pytest.mark.parametrize('content', [b'', b'no model', b'\x08\x07' * 50, b'PK\x03\x04' + bytes(60)])
def test_damaged_files_are_refused_in_one_line(tmp_path, content):
    for name, load in (('model.onnx', load_onnx), ('model.pt', load_torchscript)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SegvladError, match=name) as refusal:
            load(tmp_path / name)
        assert '\n' not in str(refusal.value)


def test_a_gpu_that_onnx_runtime_cannot_use_is_not_replaced_by_the_cpu(models, monkeypatch):
    """Where CUDA's libraries are not those that it was built for it offers the provider, and runs without it."""
    import onnxruntime
    offered = ['CUDAExecutionProvider', *onnxruntime.get_available_providers()]
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: offered)
    with warnings.catch_warnings(), pytest.raises(SegvladError, match='cannot use its CUDAExecutionProvider: see'):
        warnings.simplefilter('ignore')
        load_onnx(models / 'pooled.onnx', 'cuda')


@pytest.mark.parametrize(('device', 'said'), [
    ('gpu', "'gpu' is not a device; use cpu, cuda or tensorrt"), ('cuda:one', "'cuda:one' is not a device; use"),
    ('tensorrt', 'this onnxruntime has no TensorrtExecutionProvider; use device cpu'), ('', "'' is not a device; use")])
def test_a_device_that_onnx_runtime_has_not_is_not_replaced_by_the_cpu(models, device, said):
    with pytest.raises(SegvladError, match=said):
        load_onnx(models / 'pooled.onnx', device)


def test_onnx_runtime_reports_to_nobody(models, tmp_path):
    """Since 1.29 it tells its makers of each model, unless it is told not to, or finds itself in CI."""
    code = ('import pathlib, sys; from segvlad_ros.io.model_files import load_onnx; '
            'load_onnx(pathlib.Path(sys.argv[1]))')
    quiet = {'CI', 'ORT_DISABLE_TELEMETRY', 'XDG_CACHE_HOME'}
    environment = {name: value for name, value in os.environ.items() if name not in quiet} | {'HOME': str(tmp_path)}
    subprocess.run([sys.executable, '-c', code, models / 'pooled.onnx'], env=environment, check=True)
    assert [path for path in tmp_path.rglob('*') if 'onnxruntime' in path.name] == []


def test_networks_alike_in_structure_share_nothing_that_tensorrt_has_compiled(models, tmp_path, monkeypatch):
    """It tells them apart by structure alone: https://github.com/microsoft/onnxruntime/issues/6455."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        save_onnx(Pooled(seed), tmp_path / str(seed) / 'model.onnx')
    first, again, other, newer = (
        Path(_kept_engines(tmp_path / seed / 'model.onnx', version)['trt_engine_cache_path'])
        for seed, version in (('0', '1.30'), ('0', '1.30'), ('1', '1.30'), ('0', '1.31')))
    assert first == again
    assert len({first, other, newer}) == 3
    assert all(folder.is_dir() and folder.parent == tmp_path / 'segvlad_ros/tensorrt'
               for folder in (first, other, newer))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / '0/model.onnx'))
    with pytest.raises(SegvladError, match='set XDG_CACHE_HOME to a folder that can be written'):
        _kept_engines(tmp_path / '0' / 'model.onnx', '1.30')


def test_weights_elsewhere_are_refused(models, tmp_path):
    """The digest covers FILE.onnx and FILE.onnx.data; a model must not read anything else."""
    shutil.copy(models / 'external.onnx.data', tmp_path / 'other.bin')
    model = onnx.load(str(models / 'external.onnx'), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == 'location':
                entry.value = 'other.bin'
    (tmp_path / 'moved.onnx').write_bytes(model.SerializeToString())
    with pytest.raises(SegvladError, match=r'weights in other\.bin'):
        load_onnx(tmp_path / 'moved.onnx')


class Writes(torch.nn.Module):
    """A program that leaves a file behind."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        torch.save(image, self.path)
        return image


class Reads(Writes):
    """A program that looks into a file."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.from_file(self.path, False, 4, dtype=torch.uint8).float()


@pytest.mark.parametrize('program', [Writes, Reads])
def test_a_program_that_touches_files_is_not_loaded(tmp_path, program):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.script(program(str(tmp_path / 'left behind'))).save(str(tmp_path / 'model.pt'))
    with pytest.raises(SegvladError, match='reads or writes files'):
        load_torchscript(tmp_path / 'model.pt')
    assert not (tmp_path / 'left behind').exists()


class _Bomb:
    def __reduce__(self):
        return exec, ('open("exploded", "w").close()',)


def test_pickles_are_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'weights': _Bomb()}, tmp_path / 'model.pt')
    with pytest.raises(SegvladError, match='no program'):
        load_torchscript(tmp_path / 'model.pt')
    assert not (tmp_path / 'exploded').exists()


def test_a_torchscript_archive_with_a_foreign_pickle_is_not_executed(models, tmp_path, monkeypatch):
    """The archive's own pickles are read by libtorch, which knows no Python."""
    import pickle
    import zipfile

    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(models / 'pooled.pt') as whole, zipfile.ZipFile(tmp_path / 'model.pt', 'w') as changed:
        for member in whole.namelist():
            bomb = member.endswith(('data.pkl', 'debug_pkl'))
            changed.writestr(member, pickle.dumps(_Bomb(), 2) if bomb else whole.read(member))
    with pytest.raises(SegvladError, match='cannot be loaded as TorchScript'):
        load_torchscript(tmp_path / 'model.pt')
    assert not (tmp_path / 'exploded').exists()
