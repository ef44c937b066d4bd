"""DINOv2 on small seeded networks, against timm's own forward pass; every way in which a file can be wrong.

The facets against the reference itself are in test/golden.
"""
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from small_dinov2 import small_dinov2
from timm.layers import SwiGLUPacked

from segvlad_ros.features.dinov2 import Dinov2Extractor, resampled_positions
from segvlad_ros.features.dinov2_weights import architecture, load_weights
from segvlad_ros.types import SegvladError

SMALL = small_dinov2(width=64, depth=3, side=5)
IMAGE = np.random.default_rng(0).integers(0, 256, (70, 70, 3), dtype=np.uint8)  # 5 x 5 cells: no resampling


def timm_network(state, side, swiglu):
    """timm's whole network with these parameters, as its model zoo defines DINOv2."""
    width, depth = state['norm.weight'].shape[0], architecture(state).depth
    if swiglu:
        state = {name.replace('.w12.', '.fc1.').replace('.w3.', '.fc2.'): value for name, value in state.items()}
    network = timm.models.VisionTransformer(
        img_size=14 * side, patch_size=14, num_classes=0, global_pool='', embed_dim=width, depth=depth,
        num_heads=width // 64, init_values=1e-5, mlp_ratio=state['blocks.0.mlp.fc1.weight'].shape[0] / width,
        **({'mlp_layer': SwiGLUPacked, 'act_layer': torch.nn.SiLU} if swiglu else {}))
    missing = network.load_state_dict({k: v for k, v in state.items() if k != 'mask_token'}, strict=True)
    assert not missing.missing_keys
    return network.eval()


def network_input(rgb):
    levels = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (levels - mean[:, None, None]) / deviation[:, None, None]


@pytest.mark.parametrize('swiglu', [False, True], ids=['mlp', 'swiglu'])
def test_facets_are_those_of_the_whole_network(swiglu):
    state = small_dinov2(width=128, depth=3, hidden=88, swiglu=swiglu, side=5)
    network = timm_network(state, 5, swiglu)
    qkv = []
    network.blocks[1].attn.qkv.register_forward_hook(lambda *hook: qkv.append(hook[2]))
    with torch.inference_mode():
        tokens = network.forward_intermediates(network_input(IMAGE), indices=[1], norm=False, output_fmt='NLC',
                                               intermediates_only=True)[0]
        final = network.forward_features(network_input(IMAGE))[:, 1:]
    whole = dict(zip(('query', 'key', 'value'), qkv[0][:, 1:].chunk(3, dim=-1)), token=tokens, patches=final)
    for facet, want in whole.items():
        got = Dinov2Extractor(state, facet, 1).extract(IMAGE)
        assert (got.rows, got.cols) == (5, 5)
        assert got.features.dtype == np.float32
        np.testing.assert_allclose(got.features, want[0].numpy(), atol=2e-5 * float(want.abs().max()))


def test_only_what_is_needed_is_built():
    def parameters(*settings):
        return sum(p.numel() for p in Dinov2Extractor(SMALL, *settings)._network.module.parameters())

    block = sum(value.numel() for name, value in SMALL.items() if name.startswith('blocks.0.'))
    assert parameters('value', 2) - parameters('value', 1) == block
    assert parameters('token', 0) - parameters('value', 0) == block - (64 * 65 + 2 * 64)


def test_the_centre_is_cropped():
    wide = np.zeros((75, 81, 3), np.uint8)
    wide[2:72, 6:76] = IMAGE  # 5 rows left: 2.5 rounds to the even 2; 11 columns: 5.5 rounds to 6
    extractor = Dinov2Extractor(SMALL, 'value', 1)
    np.testing.assert_allclose(extractor.extract(wide).features, extractor.extract(IMAGE).features, atol=1e-5)


def test_positions_are_resampled_with_the_offset():
    positions = torch.randn(1, 1 + 37 * 37, 3)
    assert resampled_positions(positions, 37, 37) is positions
    got = resampled_positions(positions, 34, 45)
    want = torch.nn.functional.interpolate(positions[:, 1:].reshape(1, 37, 37, 3).permute(0, 3, 1, 2),
                                           scale_factor=(34.1 / 37, 45.1 / 37), mode='bicubic')
    torch.testing.assert_close(got[:, 1:], want.flatten(2).transpose(1, 2))
    torch.testing.assert_close(got[:, :1], positions[:, :1])
    plain = torch.nn.functional.interpolate(positions[:, 1:].reshape(1, 37, 37, 3).permute(0, 3, 1, 2), size=(34, 45),
                                            mode='bicubic')
    assert (got[:, 1:] - plain.flatten(2).transpose(1, 2)).abs().max() > 1e-3


def test_bfloat16_agrees_closely():
    exact, fast = (Dinov2Extractor(SMALL, 'value', 2, precision=precision).extract(IMAGE).features
                   for precision in ('float32', 'bfloat16'))
    cosines = (exact * fast).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(fast, axis=1)
    assert fast.dtype == np.float32
    assert np.isfinite(fast).all()
    assert cosines.min() > 0.999


@pytest.mark.parametrize(('settings', 'message'), [
    ({'block': 3}, 'blocks 0 to 2'), ({'block': -1}, 'blocks 0 to 2'), ({'facet': 'attention'}, 'query, key, value'),
    ({'precision': 'float16'}, 'float32, bfloat16'), ({'heads': 7}, '7 attention heads'),
    ({'device': 'toaster'}, 'use cpu, cuda'),
], ids=str)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(SegvladError, match=message):
        Dinov2Extractor(SMALL, **{'facet': 'value', 'block': 1, **settings})


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')
def test_a_missing_gpu_is_named():
    with pytest.raises(SegvladError, match='no CUDA device'):
        Dinov2Extractor(SMALL, 'value', 1, device='cuda')


def test_an_image_without_a_cell_is_refused():
    with pytest.raises(SegvladError, match='larger image'):
        Dinov2Extractor(SMALL, 'value', 1).extract(IMAGE[:10])


def test_an_official_file(tmp_path):
    torch.save(SMALL, tmp_path / 'w.pth')
    got = Dinov2Extractor.from_checkpoint(tmp_path / 'w.pth', facet='value', block=1).extract(IMAGE).features
    np.testing.assert_array_equal(got, Dinov2Extractor(SMALL, 'value', 1).extract(IMAGE).features)


@pytest.mark.parametrize('swiglu', [False, True])
def test_attention_is_the_fused_one(swiglu):
    """A matrix of all pairs of tokens would take 220 MB of a GPU at 640x480, for ViT-g."""
    extractor = Dinov2Extractor(small_dinov2(swiglu=swiglu), 'value', 2)
    blocks = extractor._network.module['blocks']
    assert len(blocks) == 2
    assert all(block.attn.fused_attn for block in blocks)


def test_the_model_is_checked(tmp_path):
    torch.save(small_dinov2(width=384, depth=12, hidden=8, side=2), tmp_path / 'w.pth')
    load_weights(tmp_path / 'w.pth', 'vits14')
    with pytest.raises(SegvladError, match='12 blocks of 384 dimensions, vitb14 has 12 of 768'):
        load_weights(tmp_path / 'w.pth', 'vitb14')
    with pytest.raises(SegvladError, match='vitx14'):
        load_weights(tmp_path / 'w.pth', 'vitx14')


@pytest.mark.parametrize('name', ['pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint', None])
def test_a_lightning_checkpoint(tmp_path, monkeypatch, name):
    """With and without an object of the training code in it."""
    checkpoint = {'epoch': 3, 'pytorch-lightning_version': '1.8.0', 'hyper_parameters': {'lr': 6e-5},
                  'state_dict': {f'backbone.model.{key}': value for key, value in SMALL.items()}
                  | {'aggregator.centroids': torch.zeros(64, 768), 'aggregator.steps': torch.tensor(3)},
                  'optimizer_states': [{'state': {0: {'exp_avg': torch.ones(5)}}}]}
    if name:
        module, kind = name.rsplit('.', 1)
        callback = type(kind, (), {'__module__': module})
        for depth in range(1, module.count('.') + 2):
            package = '.'.join(module.split('.')[:depth])
            monkeypatch.setitem(sys.modules, package, types.SimpleNamespace(**{kind: callback}))
        checkpoint['callbacks'] = {'best': callback()}
        checkpoint['callbacks']['best'].score = 3.0
    torch.save(checkpoint, tmp_path / 'last.ckpt')
    monkeypatch.undo()
    got = Dinov2Extractor.from_checkpoint(tmp_path / 'last.ckpt', facet='patches').extract(IMAGE).features
    np.testing.assert_array_equal(got, Dinov2Extractor(SMALL, 'patches').extract(IMAGE).features)


class Evil:
    def __reduce__(self):
        return os.mkdir, ('segvlad_was_here',)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'state_dict': SMALL, 'hook': Evil()}, 'last.ckpt')
    with pytest.raises(SegvladError, match=r'mkdir, which is not allowed'):
        load_weights('last.ckpt')
    assert not Path('segvlad_was_here').exists()


def without(*names):
    return {name: value for name, value in SMALL.items() if name not in names}


@pytest.mark.parametrize(('state', 'message'), [
    (without('patch_embed.proj.weight'), 'no single patch embedding'),
    (without('pos_embed'), 'square grid'),
    (without('blocks.1.norm1.weight'), 'blocks are missing'),
    (without('blocks.2.mlp.fc2.bias'), 'blocks.2.mlp.fc2.bias is missing'),
    ({**SMALL, 'blocks.0.attn.qkv.weight': torch.zeros(5, 64)}, r'qkv.weight is of shape \(5, 64\)'),
    ({**SMALL, 'pos_embed': torch.zeros(1, 8, 64)}, 'square grid'),
    ({**SMALL, 'register_tokens': torch.zeros(1, 4, 64)}, 'registers'),
    ({}, 'no single patch embedding'), ([1, 2], 'no parameters by name'),
], ids=lambda value: value if isinstance(value, str) else '')
def test_another_network_is_refused(tmp_path, state, message):
    torch.save(state, tmp_path / 'w.pth')
    with pytest.raises(SegvladError, match=message) as error:
        load_weights(tmp_path / 'w.pth')
    assert '\n' not in str(error.value)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / 'w.pth'
    torch.save(SMALL, path)
    whole = path.read_bytes()
    for content in (b'', b'junk' * 1000, whole[:len(whole) // 2], whole[:-40]):
        path.write_bytes(content)
        with pytest.raises(SegvladError, match='get it again') as error:
            load_weights(path)
        assert '\n' not in str(error.value)
    path.unlink()
    with pytest.raises(SegvladError, match='weights fetch'):
        load_weights(path)
