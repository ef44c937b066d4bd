"""MobileSAM with its real weights: the masks of real images, by PyTorch, by the stock generator and by ONNX Runtime."""
from __future__ import annotations

import package_weights
import pytest
from small_models import image_at, real_image
from test_mobile_sam import assert_iou

from segvlad_ros.segmentation.sam import SamSegmenter
from segvlad_ros.segmentation.sam_checkpoint import load_sam
from segvlad_ros.segmentation.sam_export import export_sam
from segvlad_ros.segmentation.sam_grid import SamGridSettings
from segvlad_ros.segmentation.sam_onnx import OnnxSamSegmenter
from segvlad_ros.types import Masks

SIDE = 512
SETTINGS = SamGridSettings(points_per_side=6, iou_threshold=0.8, stability_threshold=0.9)
IMAGES = {
    'corridor/query/0010.jpg': (6, 0.742),
    'corridor/ref/0050.jpg': (5, 0.995),
    'rtabmap_corridor_loop/images/0020.jpg': (6, 0.513),
    'hololens_office/images/0100.jpg': (18, 0.512),
    'training/0149.jpg': (7, 0.921),
}
"""Number of masks, and the share of the image that they cover."""


@pytest.fixture(scope='module')
def sam():
    return load_sam(package_weights.mobile_sam(), 'vit_t', SIDE)


@pytest.fixture(scope='module')
def found(sam) -> dict[str, Masks]:
    """Masks of all images by mode grid."""
    segmenter = SamSegmenter(sam, settings=SETTINGS)
    return {name: segmenter.segment(image_at(real_image(name))) for name in IMAGES}


def test_masks_are_those_that_were_seen(found):
    seen = {name: (len(masks), round(float(masks.masks.any(0).float().mean()), 3)) for name, masks in found.items()}
    for name, (count, coverage) in IMAGES.items():
        assert seen[name][0] == count, seen
        assert seen[name][1] == pytest.approx(coverage, abs=0.005), seen


def test_grid_finds_what_stock_finds(sam, found):
    stock = SamSegmenter(sam, mode='stock', settings=SETTINGS)
    for name, masks in found.items():
        assert_iou(masks, stock.segment(image_at(real_image(name))), 0.99)


def test_onnx_runtime_finds_what_torch_finds(sam, found, tmp_path):
    pytest.importorskip('onnxruntime', reason='needs the extra onnx')
    path = tmp_path / 'mobile_sam.onnx'
    assert export_sam(sam, path) > 0.99999
    segmenter = OnnxSamSegmenter(path, settings=SETTINGS)
    for name, masks in found.items():
        assert_iou(segmenter.segment(image_at(real_image(name))), masks, 0.99)
