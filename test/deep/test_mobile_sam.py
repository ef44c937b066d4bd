"""MobileSAM's encoder and SAM by ONNX Runtime, on seeded networks of small width."""
from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from small_models import TINY_VIT, image_at, real_image, save_mobile_sam, save_sam
from test_sam import SETTINGS

from segvlad_ros.segmentation.sam import SamSegmenter
from segvlad_ros.segmentation.sam_checkpoint import load_sam
from segvlad_ros.segmentation.sam_export import export_sam
from segvlad_ros.segmentation.sam_grid import SamGridSettings
from segvlad_ros.segmentation.sam_onnx import OnnxSamSegmenter, boxes_of, files_of, suppressed
from segvlad_ros.types import Masks, SegvladError

SIDE = 256


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return save_mobile_sam(tmp_path_factory.mktemp('mobile'))


@pytest.fixture(scope='module')
def exported(checkpoint):
    """All files of the small SAM in ONNX."""
    pytest.importorskip('onnxruntime', reason='needs the extra onnx')
    path = checkpoint.with_name('small.onnx')
    path.with_name('small.onnx.data').write_bytes(b'weights of another SAM, which this file had before')
    assert export_sam(load_sam(checkpoint, image_size=SIDE), path) > 0.9999
    assert sorted(file.name for file in path.parent.glob('small*')) == ['small.masks.onnx', 'small.onnx',
                                                                        'small.points.onnx']
    return path


@pytest.fixture(scope='module')
def office():
    return image_at(real_image('hololens_office/images/0100.jpg'))


def assert_same(found: Masks, wanted: Masks, least_iou: float) -> None:
    """Many masks, and the same."""
    assert len(wanted) > 15
    assert_iou(found, wanted, least_iou)


def assert_iou(found: Masks, wanted: Masks, least_iou: float) -> None:
    """The same count and order, and pair by pair the same pixels."""
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found.quality, wanted.quality, atol=1e-5)
    ours, theirs = (np.asarray(masks.masks) for masks in (found, wanted))
    assert ((ours & theirs).sum((1, 2)) >= least_iou * (ours | theirs).sum((1, 2))).all()


def test_grid_finds_the_segments_of_stock(checkpoint, office):
    pair = [SamSegmenter(load_sam(checkpoint, image_size=SIDE), mode=mode, settings=SETTINGS)
            for mode in ('grid', 'stock')]
    assert_same(*(segmenter.segment(office) for segmenter in pair), 0.999)


def test_sizes_are_read_off_the_file(checkpoint):
    sam = load_sam(checkpoint)
    assert sam.image_encoder.img_size == 1024
    assert sam.prompt_encoder.image_embedding_size == (64, 64)
    assert [len(layer['blocks']) for layer in sam.image_encoder.layers] == list(TINY_VIT.depths)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in sam.image_encoder.modules())


def test_the_classifier_may_be_missing(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    without = {name: value for name, value in state.items() if 'head.' not in name or 'mask_decoder' in name}
    assert len(state) - len(without) == 4
    torch.save(without, tmp_path / 'sam.pt')
    image = torch.randn(1, 3, 64, 64)
    encoders = [load_sam(path, image_size=64).image_encoder for path in (checkpoint, tmp_path / 'sam.pt')]
    torch.testing.assert_close(*(encoder(image) for encoder in encoders), rtol=0, atol=0)


def test_windows_see_no_further_than_their_border(checkpoint):
    """And beside them only what the convolutions carry: a change in one corner stays there."""
    encoder = load_sam(checkpoint, image_size=512).image_encoder
    image = torch.randn(1, 3, 512, 512)
    other = image.clone()
    other[..., :16, :16] += 1
    changed = (encoder(image) - encoder(other)).abs().amax(1)[0] > 1e-6
    assert changed[:7, :7].all()
    assert not changed[-8:, -8:].any()


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda state: state.pop('image_encoder.neck.0.weight'), 'not a SAM checkpoint'),
    (lambda state: state.pop('image_encoder.layers.1.blocks.1.local_conv.bn.running_var'), 'does not fit'),
    (lambda state: state.update({'image_encoder.more': torch.zeros(1)}), 'does not fit'),
    (lambda state: state.update({'image_encoder.layers.2.blocks.0.attn.qkv.bias': torch.zeros(5)}), 'does not fit'),
])
def test_what_does_not_fit_is_refused(checkpoint, tmp_path, damage, message):
    state = torch.load(checkpoint, weights_only=True)
    damage(state)
    torch.save(state, tmp_path / 'sam.pt')
    with pytest.raises(SegvladError, match=message) as refusal:
        load_sam(tmp_path / 'sam.pt')
    assert '\n' not in str(refusal.value)


def test_another_model_or_size_is_refused(checkpoint):
    with pytest.raises(SegvladError, match='width 32 and 5 blocks, not vit_t'):
        load_sam(checkpoint, 'vit_t')
    with pytest.raises(SegvladError, match='multiple of 16'):
        load_sam(checkpoint, image_size=250)


def test_vit_takes_other_sizes_too(tmp_path, office):
    path = save_sam(tmp_path, side=256)
    pair = [SamSegmenter.from_checkpoint(path, mode=mode, image_size=192, settings=SETTINGS)
            for mode in ('grid', 'stock')]
    assert_same(*(segmenter.segment(office) for segmenter in pair), 0.999)
    whole = load_sam(path)
    torch.testing.assert_close(load_sam(path, image_size=256).image_encoder.pos_embed, whole.image_encoder.pos_embed)


def test_bfloat16_encoder_runs(checkpoint, office):
    exact, rounded = (SamSegmenter(load_sam(checkpoint, image_size=SIDE), precision=precision, settings=SETTINGS)
                      .encode(office) for precision in ('float32', 'bfloat16'))
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0).mean() > 0.99


@pytest.mark.parametrize(('file', 'size'), [('hololens_office/images/0100.jpg', (320, 240)),
                                            ('corridor/ref/0003.jpg', (101, 171))])
def test_onnx_runtime_finds_the_same_masks(checkpoint, exported, file, size):
    image = image_at(real_image(file), *size)
    wanted = SamSegmenter(load_sam(checkpoint, image_size=SIDE), settings=SETTINGS).segment(image)
    found = OnnxSamSegmenter(exported, settings=SETTINGS).segment(image)
    assert_same(found, wanted, 0.99)
    np.testing.assert_allclose(found.embedding, wanted.embedding, atol=1e-4)


def test_onnx_runtime_without_masks(exported, office):
    settings = SamGridSettings(points_per_side=2, iou_threshold=1)
    assert OnnxSamSegmenter(exported, settings=settings).segment(office).masks.shape == (0, 240, 320)


def test_pytorch_is_not_needed(exported):
    code = ('import sys\nsys.modules["torch"] = sys.modules["segment_anything"] = None\n'
            'from pathlib import Path\nimport numpy as np\n'
            'from segvlad_ros.segmentation.sam_onnx import OnnxSamSegmenter\n'
            f'found = OnnxSamSegmenter(Path({str(exported)!r})).segment(np.zeros((24, 32, 3), np.uint8))\n'
            'assert found.masks.shape[1:] == (24, 32)')
    subprocess.run([sys.executable, '-c', code], check=True)


def test_files_that_are_not_of_one_sam_are_refused(exported, tmp_path):
    path = tmp_path / 'sam.onnx'
    path.write_bytes(exported.read_bytes())
    with pytest.raises(SegvladError, match=r'sam\.points\.onnx does not exist: "segvlad export sam"'):
        OnnxSamSegmenter(path)
    for theirs, ours in zip(files_of(exported)[1:], files_of(path)[1:]):
        ours.write_bytes(theirs.read_bytes())
    with pytest.raises(SegvladError, match='image_size is 512'):
        OnnxSamSegmenter(path, image_size=512)
    files_of(path)[1].write_bytes(files_of(path)[2].read_bytes())
    with pytest.raises(SegvladError, match='write all files anew'):
        OnnxSamSegmenter(path)


def test_suppression_is_torchvisions():
    draw = np.random.default_rng(0)
    corners = draw.uniform(0, 30, (200, 2))
    boxes = np.hstack([corners, corners + draw.uniform(0, 30, (200, 2))]).astype(np.float32)
    quality = draw.random(200).astype(np.float32)
    from torchvision.ops import nms

    wanted = nms(torch.from_numpy(boxes), torch.from_numpy(quality), 0.3).numpy()
    assert 10 < len(wanted) < 190
    np.testing.assert_array_equal(suppressed(boxes, quality, 0.3), wanted)


def test_boxes_are_segment_anythings():
    from segment_anything.utils.amg import batched_mask_to_box

    masks = np.random.default_rng(0).random((20, 9, 11)) > 0.97
    masks[0] = False
    np.testing.assert_array_equal(boxes_of(masks), batched_mask_to_box(torch.from_numpy(masks)).numpy())
