"""Small seeded networks as files under their official names, and images to try them on."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from random_models import SamSize, random_dinov2, random_mobile_sam, random_sam
from shared_data import shared

from segvlad_ros.segmentation.tiny_vit import TinyVitSizes


def real_image(name: str) -> Path:
    """An image of the shared data sets."""
    return shared(f'data/{name}')


def small_sam(seed: int, *, side: int = 1024, width: int = 32, depth: int = 3, prompt: int = 64,
              offset: float = 250.0) -> Any:
    """A SAM with windowed blocks and a last global one."""
    return random_sam(seed, SamSize(width, depth, 2, (depth - 1,), prompt, side), offset)


def save_sam(folder: Path, seed: int = 1, **size: int) -> Path:
    """A small SAM checkpoint under ViT-B's official name."""
    path = folder / 'sam_vit_b_01ec64.pth'
    torch.save(small_sam(seed, **size).state_dict(), path)
    return path


def save_dinov2(folder: Path, seed: int = 1, width: int = 64, depth: int = 4, swiglu: bool = False) -> Path:
    """A small DINOv2 checkpoint under ViT-B's official name."""
    path = folder / 'dinov2_vitb14_pretrain.pth'
    torch.save(random_dinov2(seed, width, depth, swiglu=swiglu), path)
    return path


def image_at(path: Path, width: int = 320, height: int = 240) -> np.ndarray:
    """An image file as RGB at the size that is segmented."""
    image = cv2.imread(str(path))
    assert image is not None, path
    return np.ascontiguousarray(cv2.resize(image, (width, height))[..., ::-1])


def save_preset(folder: Path) -> Path:
    """A preset of small networks with all its files; random ones, so that decisions are left wide open."""
    words = 8
    centres = np.random.default_rng(0).normal(size=(words, 64)).astype(np.float32)
    np.save(folder / 'vocabulary.npy', 0.5 * centres / np.linalg.norm(centres, axis=1, keepdims=True))
    path = folder / 'small.yaml'
    path.write_text(f"""name: small
image: {{width: 320, height: 240}}
segmenter:
  kind: sam
  model: auto
  weights: {save_sam(folder, side=256)}
  points_per_side: 8
  iou_threshold: 0.8
  stability_threshold: 0.8
  nms_threshold: 0.95
features: {{kind: dinov2, model: auto, weights: {save_dinov2(folder)}, block: 2}}
vocabulary: {folder / 'vocabulary.npy'}
projection: {{kind: seeded, dimension: 128}}
neighbourhood: {{order: 1}}
search: {{}}
vote: {{floor: 0.5}}
decision: {{min_score: 0.3, max_ambiguity: 1.0, agreement: 1}}
exclude: {{}}
""")
    return path


TINY_VIT = TinyVitSizes(widths=(8, 16, 24, 32), depths=(1, 2, 1, 1), hidden=(16, 32, 48, 64), heads=(2, 3, 4),
                        windows=(7, 14, 7), stem=4, output=64)


def save_mobile_sam(folder: Path, seed: int = 1, side: int = 256) -> Path:
    """A small MobileSAM checkpoint under its official name."""
    path = folder / 'mobile_sam.pt'
    torch.save(random_mobile_sam(seed, TINY_VIT, side), path)
    return path
