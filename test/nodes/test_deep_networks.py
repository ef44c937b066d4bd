"""Both nodes with a small random SAM and DINOv2: real frames described, mapped and matched over DDS."""
from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from node_harness import EVERY_IMAGE, image_message, real_images, reliable

pytestmark = pytest.mark.deep
if not os.environ.get('SEGVLAD_REQUIRE_DEEP'):
    for needed in ('torch', 'torchvision', 'timm', 'segment_anything'):
        pytest.importorskip(needed)
sys.path.append(str(Path(__file__).resolve().parents[1] / 'deep'))

import package_weights  # noqa: E402
import torch  # noqa: E402
from small_models import save_preset  # noqa: E402

from segvlad_ros.io.onnx_export import export_onnx  # noqa: E402
from segvlad_ros.msg import PlaceMatchArray  # noqa: E402
from segvlad_ros.pipeline.presets import config_directory  # noqa: E402

FRAMES = [0, 90, 180, 270]


def test_frames_are_described_mapped_and_matched(robot, namespace, tmp_path):
    map_and_match(robot, namespace, tmp_path, save_preset(tmp_path), 5)


def test_real_segments_of_mobile_sam(robot, namespace, tmp_path):
    """The preset that ships for them, with fewer points."""
    preset = tmp_path / 'mobile.yaml'
    shipped = (config_directory() / 'segvlad_mobile.yaml').read_text()
    words = config_directory() / 'classic/vocabulary.npz'
    for old, new in (('weights:mobile_sam', str(package_weights.mobile_sam())), ('classic/vocabulary.npz', str(words)),
                     ('points_per_side: 16', 'points_per_side: 4'), ('image_size: 512', 'image_size: 256'),
                     ('agreement: 3', 'agreement: 1'), ('max_ambiguity: 0.95', 'max_ambiguity: 1.0')):
        assert old in shipped
        shipped = shipped.replace(old, new)
    preset.write_text(shipped)
    map_and_match(robot, namespace, tmp_path, preset, 20)


def test_any_network_in_a_file_describes_them(robot, namespace, tmp_path):
    """One vector an image, M = 1, through both nodes."""
    pytest.importorskip('onnxruntime', reason='needs the extra onnx')
    torch.manual_seed(0)
    export_onnx(torch.nn.Sequential(torch.nn.Conv2d(3, 32, 16, 16), torch.nn.Tanh(), torch.nn.AdaptiveAvgPool2d(2),
                                    torch.nn.Flatten()), (96, 96), tmp_path / 'model.onnx')
    preset = tmp_path / 'model.yaml'
    shipped = (config_directory() / 'image_model.yaml').read_text()
    preset.write_text(shipped.replace('path: null', 'path: model.onnx').replace('322', '96').replace(
        'max_ambiguity: 0.95', 'max_ambiguity: 1.0').replace('agreement: 3', 'agreement: 1'))
    map_and_match(robot, namespace, tmp_path, preset, 1)


def map_and_match(robot, namespace, tmp_path, preset, least_segments):
    """Drive through four frames, and recognise two of them in the map."""
    pictures = real_images('hololens_office/images', FRAMES, size=(320, 240))
    parameters = {**EVERY_IMAGE, 'preset': preset, 'map_directory': tmp_path / 'maps', 'map': 'office',
                  **reliable(namespace, 'image')}
    builder = robot('map_builder', parameters)
    camera = builder.camera()
    for number, picture in enumerate(pictures, start=1):
        status = builder.send(camera, image_message(picture, number))
        keyframe = builder.keyframe(number)
        assert keyframe.keyframe.index == number
        assert keyframe.segment_count >= least_segments
    assert (status.keyframes, status.images_rejected) == (len(FRAMES), 0)
    assert builder.node.stop() == 0
    builder.abandon(camera)

    localizer = robot('localizer', parameters)
    camera = localizer.camera()
    for number, seen in enumerate((2, 0), start=1):
        localizer.send(camera, image_message(pictures[seen], 1000.0 + number))
        answer = localizer.answer(number)
        assert answer.status == PlaceMatchArray.MATCHED, answer.reason
        assert answer.map_keyframes == len(FRAMES)
        assert answer.matches[0].match.index == seen + 1
        assert answer.matches[0].score > 0.9


def test_a_checkpoint_that_is_none_ends_the_start_with_one_line(robot, tmp_path):
    preset = save_preset(tmp_path)
    (tmp_path / 'dinov2_vitb14_pretrain.pth').write_text('<html>not found</html>')
    refused = robot('map_builder', {**EVERY_IMAGE, 'preset': preset, 'map': 'office'}, wait=False)
    assert refused.node.wait() == 1
    assert 'dinov2_vitb14_pretrain.pth' in refused.node.text()
    assert 'Traceback' not in refused.node.text()
