"""Presets with networks: built from files, described on the CPU, refused in one line where something is missing."""
from __future__ import annotations

import numpy as np
import pytest
from small_models import image_at, real_image, save_dinov2, save_preset, save_sam

from segvlad_ros.pipeline.presets import build_describer, load_preset
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
    for overrides, message in (({'segmenter.weights': str(dinov2)}, 'no SAM checkpoint'),
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
