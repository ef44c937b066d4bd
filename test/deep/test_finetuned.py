"""The preset ``segvlad_finetuned`` with a checkpoint laid out as training leaves it (segvlad-spec.md 14)."""
from __future__ import annotations

import pickle
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from random_models import random_dinov2
from small_models import image_at, real_image, save_sam

from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.presets import Preset, load_preset
from segvlad_ros.pipeline.recognizer import Recognizer
from segvlad_ros.types import Keyframe, KeyframeId, SegvladError, Status

WIDTH, WORDS = 64, 32


def save_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """A Lightning checkpoint of a backbone with a NetVLAD head and its training state; returns the backbone alone."""
    backbone = random_dinov2(3, WIDTH, 4)
    head = {'centroids': torch.randn(64, WIDTH), 'conv.weight': torch.randn(64, WIDTH, 1, 1)}
    torch.save({
        'epoch': 3, 'global_step': 15620, 'pytorch-lightning_version': '2.1.0',
        'state_dict': {**{f'backbone.model.{name}': value for name, value in backbone.items()},
                       **{f'aggregator.{name}': value for name, value in head.items()}},
        'loops': {'fit_loop': {'state_dict': {}, 'epoch_progress': {'current': {'completed': 3}}}},
        'callbacks': {"ModelCheckpoint{'monitor': 'pitts30k_val/R1'}": {
            'best_model_score': torch.tensor(0.9), 'best_model_path': Path('LOGS/dnv2_NV/last.ckpt')}},
        'optimizer_states': [{'state': {0: {'step': torch.tensor(15620.0), 'exp_avg': torch.ones(5)}},
                              'param_groups': [{'lr': 6e-5, 'weight_decay': 9.5e-9, 'params': [0]}]}],
        'lr_schedulers': [{'last_epoch': 15620, '_last_lr': [1.2e-5]}],
        'hparams_name': 'kwargs', 'hyper_parameters': Namespace(lr=6e-5, loss_name='MultiSimilarityLoss'),
    }, path)
    return backbone


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Everything that the preset leaves to its user, small."""
    folder = tmp_path_factory.mktemp('finetuned')
    torch.save(save_checkpoint(folder / 'last.ckpt'), folder / 'backbone.pth')
    centres = torch.randn(WORDS, WIDTH, generator=torch.Generator().manual_seed(1))
    torch.save(0.5 * torch.nn.functional.normalize(centres, dim=1), folder / 'c_centers.pt')
    save_sam(folder, side=256)
    return folder


def finetuned(folder: Path, **overrides: str) -> Preset:
    """The published preset with small networks, and decisions left wide open because they are random."""
    return load_preset('segvlad_finetuned', {
        'features.model': 'auto', 'features.weights': str(folder / 'last.ckpt'),
        'vocabulary': str(folder / 'c_centers.pt'), 'segmenter.weights': str(folder / 'sam_vit_b_01ec64.pth'),
        'segmenter.model': 'auto', 'segmenter.points_per_side': 8, 'segmenter.iou_threshold': 0.8,
        'segmenter.stability_threshold': 0.8, 'segmenter.nms_threshold': 0.95,
        'decision.max_ambiguity': 1.0, 'decision.agreement': 1, **overrides})


def frame(number: int) -> np.ndarray:
    return image_at(real_image(f'hololens_office/images/{number:04d}.jpg'), 640, 480)


def test_the_checkpoint_needs_the_restricted_unpickler(folder):
    """Or these tests would not show that it reads such files."""
    with pytest.raises(pickle.UnpicklingError):
        torch.load(folder / 'last.ckpt', weights_only=True)


def test_images_are_described_and_a_place_is_recognised(folder):
    preset = finetuned(folder)
    assert preset.features.facet == 'patches'
    describer = build_describer(preset)
    recognizer = Recognizer(preset)
    numbers = (0, 90, 180, 270)
    for index, number in enumerate(numbers, start=1):
        description = describer.describe(frame(number))
        assert description.rejected == ''
        assert len(description) >= 5
        np.testing.assert_allclose(np.linalg.norm(description.descriptors, axis=1), 1, atol=1e-5)
        recognizer.add(Keyframe(KeyframeId(0, 'map', index, index * 10**10), description))
    for seen in (2, 0):
        query = Keyframe(KeyframeId(0, 'query', 1 + seen, 10**12), describer.describe(frame(numbers[seen])))
        answer = recognizer.recognize(query, exclude_recent=True, independent=True)
        assert answer.status == Status.MATCHED, answer.reason
        assert answer.candidates[0].entry == seen
        assert answer.candidates[0].score > 0.9


def test_the_backbone_of_the_checkpoint_is_what_describes(folder):
    """Not the head, and no other tensor of the file."""
    image = frame(0)
    expected = build_describer(finetuned(folder, **{'features.weights': str(folder / 'backbone.pth')})).describe(image)
    np.testing.assert_array_equal(build_describer(finetuned(folder)).describe(image).descriptors, expected.descriptors)


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda path: path.write_bytes(path.read_bytes()[:-5000]), 'truncated'),
    (lambda path: path.write_bytes(path.read_bytes()[:1000]), 'truncated'),
    (lambda path: torch.save({'epoch': 3, 'hyper_parameters': Namespace(lr=1)}, path), 'no state_dict'),
    (lambda path: torch.save({'state_dict': {'fc.weight': torch.zeros(3, 3)}, 'best': Path('a')}, path), 'patch embed'),
], ids=['end is missing', 'most is missing', 'no network', 'another network'])
def test_another_file_is_refused_in_one_line(folder, tmp_path, damage, message):
    path = tmp_path / 'last.ckpt'
    path.write_bytes((folder / 'last.ckpt').read_bytes())
    damage(path)
    with pytest.raises(SegvladError, match=message) as refusal:
        build_describer(finetuned(folder, **{'features.weights': str(path)}))
    assert str(path) in str(refusal.value)
    assert '\n' not in str(refusal.value)


def test_a_checkpoint_of_another_size_is_refused(folder):
    with pytest.raises(SegvladError, match='4 blocks of 64 dimensions, vitb14 has 12 of 768') as refusal:
        build_describer(finetuned(folder, **{'features.model': 'vitb14'}))
    assert '\n' not in str(refusal.value)
