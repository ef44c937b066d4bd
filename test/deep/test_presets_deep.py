"""Presets with networks: built from files, described on the CPU, refused in one line where something is missing."""
from __future__ import annotations

import numpy as np
import pytest
from small_models import image_at, real_image, save_dinov2, save_preset, save_sam

from segvlad_ros.cli import main
from segvlad_ros.pipeline.builders import build_describer, build_segmenter
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import SegvladError


@pytest.fixture(scope='module')
def preset_file(tmp_path_factory):
    return save_preset(tmp_path_factory.mktemp('preset'))


def test_a_frame_is_described(preset_file):
    preset = load_preset(preset_file)
    describer = build_describer(preset)
    frames = [image_at(real_image(f'hololens_office/images/{number:04d}.jpg'), 640, 480) for number in (0, 180)]
    first, again, other = (describer.describe(frame) for frame in (frames[0], frames[0], frames[1]))
    assert first.rejected == ''
    assert len(first) >= 5
    assert first.descriptors.shape[1] == describer.dimension
    np.testing.assert_allclose(np.linalg.norm(first.descriptors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(first.descriptors, again.descriptors)
    assert (first.pixels > 0).all()
    best = (first.descriptors @ other.descriptors.T).max(axis=1)
    assert best.mean() < 0.99  # another place is another description
    assert {'segments', 'features', 'description'} <= set(first.timings)


def test_the_fingerprint_follows_the_weights(preset_file, tmp_path):
    before = load_preset(preset_file).fingerprint()
    sam = save_sam(tmp_path, seed=9, side=64, depth=1, width=16, prompt=16)
    changed = load_preset(preset_file, {'segmenter.weights': str(sam)}).fingerprint()
    assert [name for name in before if before[name] != changed[name]] == ['segmenter.weights', 'digest']


def test_wrong_weights_are_refused(preset_file, tmp_path):
    sam = save_sam(tmp_path, side=64, depth=1, width=16, prompt=16)
    dinov2 = save_dinov2(tmp_path)
    for overrides, message in (({'segmenter.weights': str(dinov2)}, 'not a SAM checkpoint'),
                               ({'features.weights': str(sam)}, 'DINOv2'),
                               ({'segmenter.model': 'vit_h'}, 'not vit_h'),
                               ({'features.model': 'vitg14'}, 'vitg14')):
        with pytest.raises(SegvladError, match=message) as refusal:
            build_describer(load_preset(preset_file, overrides))
        assert '\n' not in str(refusal.value)


def test_the_published_presets_say_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
    for name in ('segvlad', 'anyloc'):
        with pytest.raises(SegvladError, match='segvlad weights fetch'):
            build_describer(load_preset(name))


def test_one_pass_of_sam_serves_masks_and_features(preset_file, office_images, tmp_path):
    words = tmp_path / 'words.npz'
    listed = tmp_path / 'images.txt'
    listed.write_text('\n'.join(map(str, office_images[:4])))
    neck = {'features.kind': 'sam_neck', 'features.cell': 20, 'segmenter.gaps': 'patches'}
    settings = [f'--set={name}={value}' for name, value in neck.items()]
    assert main(['fit', 'vocabulary', str(listed), '--preset', str(preset_file), '--words=4', f'--output={words}',
                 *settings]) == 0
    describer = build_describer(load_preset(preset_file, {**neck, 'vocabulary': str(words)}))
    passes = []
    describer.extractor.segmenter._sam.image_encoder.register_forward_hook(lambda *call: passes.append(1))
    description = describer.describe(image_at(office_images[0], 640, 480))
    assert len(passes) == 1
    assert description.rejected == ''
    assert len(description) >= 5


@pytest.mark.parametrize(('overrides', 'message'), [
    ({'segmenter.mode': 'stock'}, 'mode grid'),
    ({'segmenter.kind': 'patches'}, 'segmenter.kind to sam'),
])
def test_features_of_a_network_that_is_not_there_are_refused(preset_file, overrides, message):
    with pytest.raises(SegvladError, match=message):
        build_describer(load_preset(preset_file, {'features.kind': 'sam_neck', **overrides}))


def test_a_sam_in_onnx_has_one_mode(preset_file, tmp_path):
    (tmp_path / 'sam.onnx').write_bytes(b'')
    with pytest.raises(SegvladError, match='mode grid and precision float32 alone'):
        build_segmenter(load_preset(preset_file, {'segmenter.weights': str(tmp_path / 'sam.onnx'),
                                                  'segmenter.mode': 'stock'}).segmenter, 'cpu')


def test_old_fingerprints_hold_and_new_settings_count(preset_file, tmp_path):
    before = load_preset(preset_file).fingerprint()
    assert 'segmenter.gaps' not in before and 'segmenter.image_size' not in before
    changed = load_preset(preset_file, {'segmenter.gaps': 'patches', 'segmenter.image_size': 128}).fingerprint()
    assert changed.keys() - before.keys() == {'segmenter.gaps', 'segmenter.image_size'}
    for name in ('sam.onnx', 'sam.points.onnx', 'sam.masks.onnx'):
        (tmp_path / name).write_text(name)
    files = {'segmenter.weights': str(tmp_path / 'sam.onnx')}
    one = load_preset(preset_file, files).fingerprint()
    (tmp_path / 'sam.masks.onnx').write_text('another')
    other = load_preset(preset_file, files).fingerprint()
    assert [name for name in one if one[name] != other[name]] == ['segmenter.weights', 'digest']
