"""XFeat from checkpoint to ONNX, and the preset with its real weights on real images."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import package_weights
import pytest
import torch
from converted_files import same_bytes_wherever_made
from small_models import real_image

from segvlad_ros.description.keypoint_codec import pack_keypoints, unpack_keypoints
from segvlad_ros.features.xfeat import XFeatExtractor
from segvlad_ros.io.images import read_image
from segvlad_ros.io.model_files import load_onnx_outputs
from segvlad_ros.io.weights import entry_named
from segvlad_ros.io.weights import verify as verify_file
from segvlad_ros.io.xfeat_conversion import build_network, convert, write_network
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import SegvladError, Status
from segvlad_ros.verification.verify import verify
from segvlad_ros.verification.view import View

for package in ('onnx', 'onnxruntime'):
    pytest.importorskip(package, reason='needs the extra onnx')

SIZE = (160, 96)


def seeded(seed=0):
    torch.manual_seed(seed)
    return build_network()


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('checkpoint') / 'xfeat.pt'
    torch.save({**seeded().state_dict(), 'fine_matcher.0.weight': torch.zeros(3)}, path)
    return path


@pytest.fixture(scope='module')
def converted(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp('converted') / 'xfeat.onnx'
    convert({'package/weights/xfeat.pt': checkpoint}, path)
    return path


@pytest.mark.parametrize('size', [SIZE, (320, 224)])
def test_the_file_answers_as_the_network_at_any_size(converted, size):
    rgb = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), np.uint8)
    grid = XFeatExtractor(load_onnx_outputs(converted), size, 8).extract(rgb)
    with torch.inference_mode():
        features, _, _ = seeded()(torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255)
    np.testing.assert_allclose(grid.features, features[0].flatten(1).T, atol=1e-4)


def test_the_same_weights_give_the_same_bytes(converted, tmp_path):
    same_bytes_wherever_made(write_network, seeded, converted, tmp_path)


def test_the_real_file_is_that_of_the_catalogue():
    assert 'made of the member' in verify_file(package_weights.xfeat(), entry_named('xfeat'))


def test_what_is_no_checkpoint_of_xfeat_is_refused_and_writes_nothing(checkpoint, tmp_path):
    target = tmp_path / 'xfeat.onnx'
    target.write_text('before')
    other, damaged = tmp_path / 'xfeat.pt', tmp_path / 'damaged.pt'
    torch.save({'weight': torch.zeros(3)}, other)
    damaged.write_bytes(checkpoint.read_bytes()[:5000])
    for sources, message in (({}, 'no xfeat.pt among nothing'), ({'a/lighterglue.pt': checkpoint}, 'no xfeat.pt among'),
                             ({'xfeat.pt': other}, 'not a checkpoint of XFeat'),
                             ({'xfeat.pt': damaged}, 'not a checkpoint of XFeat')):
        with pytest.raises(SegvladError, match=message):
            convert(sources, target)
    assert target.read_text() == 'before' and not list(tmp_path.glob('.*'))


def test_nothing_in_a_pickle_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path / 'seen').touch, ()

    torch.save({'a': Evil()}, tmp_path / 'xfeat.pt')
    with pytest.raises(SegvladError, match='not a checkpoint of XFeat'):
        convert({'xfeat.pt': tmp_path / 'xfeat.pt'}, tmp_path / 'xfeat.onnx')
    assert not (tmp_path / 'seen').exists()


def test_a_file_that_answers_otherwise_is_refused(tmp_path):
    network = seeded()
    with torch.no_grad():
        network.heatmap_head[2].bias.fill_(float('nan'))
    with pytest.raises(SegvladError, match='differs from PyTorch'):
        write_network(network, tmp_path / 'xfeat.onnx')
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Where presets look for weights, with XFeat's."""
    home = tmp_path_factory.mktemp('home')
    (home / 'segvlad/weights').mkdir(parents=True)
    (home / 'segvlad/weights/xfeat.onnx').symlink_to(package_weights.xfeat())
    return home


@pytest.fixture
def learned(weights, monkeypatch):
    monkeypatch.setenv('XDG_DATA_HOME', str(weights))
    return load_preset('learned')


def loop_image(number):
    return read_image(real_image(f'rtabmap_corridor_loop/images/{number:04d}.jpg'))


def test_the_preset_recognises_a_corridor_with_real_weights(learned, tmp_path):
    places = PlaceRecognizer(learned)
    for number in range(1, 41, 3):
        places.add(loop_image(number))
    queries = [loop_image(number) for number in (44, 53, 71)]
    answers = [places.recognize(image) for image in queries]
    assert [answer.status for answer in answers] == [Status.MATCHED] * 3, [answer.reason for answer in answers]
    places.save(tmp_path / 'loop.segvlad')
    again = PlaceRecognizer.load(tmp_path / 'loop.segvlad', 'learned')
    assert [again.recognize(image).status for image in queries] == [Status.MATCHED] * 3


def test_maps_of_other_keypoints_are_refused(learned, tmp_path):
    PlaceMap.create(tmp_path / 'a.segvlad', learned.fingerprint(), 512).close()
    with pytest.raises(SegvladError, match='keypoints'):
        PlaceMap.open(tmp_path / 'a.segvlad', fingerprint=replace(learned, keypoints='sift').fingerprint())


def test_keypoints_prove_two_views_of_the_office(learned):
    """Some steps apart, and by what a map keeps of one of them."""
    describer = build_describer(learned)
    first, second = (describer.describe(read_image(real_image(f'hololens_office/images/{number:04d}.jpg')))
                     for number in (100, 104))
    kept = unpack_keypoints(pack_keypoints(second.keypoints))
    found = verify(View(first.keypoints, first.boxes), View(kept, second.boxes), settings=learned.geometry)
    assert found.proven, found.reason
