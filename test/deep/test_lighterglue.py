"""LighterGlue from checkpoint to ONNX, and what it matches with its real weights on real images."""
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import package_weights
import pytest
import torch
from converted_files import same_bytes_wherever_made
from small_models import real_image

from segvlad_ros.description.keypoint_codec import pack_keypoints, unpack_keypoints
from segvlad_ros.features.xfeat import XFeatExtractor
from segvlad_ros.io.images import read_image
from segvlad_ros.io.lighterglue_conversion import build_network, convert, write_network
from segvlad_ros.io.lighterglue_graph import INPUTS
from segvlad_ros.io.model_files import load_onnx_function, load_onnx_outputs
from segvlad_ros.io.weights import entry_named
from segvlad_ros.io.weights import verify as verify_file
from segvlad_ros.pipeline.builders import build_describer, build_matcher
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.recognition.calibration import load_calibration
from segvlad_ros.types import SegvladError, Status
from segvlad_ros.verification.matchers import LearnedMatcher, nearest_matcher
from segvlad_ros.verification.verify import verify_pairs
from segvlad_ros.verification.view import View

for package in ('onnx', 'onnxruntime'):
    pytest.importorskip(package, reason='needs the extra onnx')

LIGHTERGLUE = {'geometry.matcher': 'lighterglue'}
SIZE = (640, 480)


def seeded(seed=0):
    torch.manual_seed(seed)
    return build_network()


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """As the authors' file has it: with XFeat, and with when to leave layers out."""
    path = tmp_path_factory.mktemp('checkpoint') / 'xfeat-lighterglue.pt'
    state = {f'matcher.{name}': value for name, value in seeded().state_dict().items()}
    torch.save({**state, 'extractor.model.net.skip1.1.bias': torch.zeros(24),
                'matcher.token_confidence.0.token.0.bias': torch.zeros(1)}, path)
    return path


@pytest.fixture(scope='module')
def converted(checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp('converted') / 'lighterglue.onnx'
    convert({'package/weights/xfeat-lighterglue.pt': checkpoint}, path)
    return path


def keypoints(count, seed):
    random = np.random.default_rng(seed)
    features = random.standard_normal((count, 64)).astype(np.float32)
    return (random.uniform(-1, 1, (count, 2)).astype(np.float32),
            features / np.linalg.norm(features, axis=1, keepdims=True))


@pytest.mark.parametrize('counts', [(400, 250), (1, 30), (12, 1)])
def test_the_file_answers_as_the_network_for_any_numbers_of_keypoints(converted, counts):
    arrays = [array for seed, count in enumerate(counts) for array in keypoints(count, seed)]
    found = load_onnx_function(converted, INPUTS)(*arrays)
    with torch.inference_mode():
        wanted = seeded()(*map(torch.from_numpy, arrays)).numpy()
    assert found.shape == counts
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_same_weights_give_the_same_bytes(converted, tmp_path):
    same_bytes_wherever_made(write_network, seeded, converted, tmp_path)


def test_the_real_file_is_that_of_the_catalogue():
    assert 'made of the member' in verify_file(package_weights.lighterglue(), entry_named('lighterglue'))


def test_other_checkpoints_are_refused_and_leave_the_file_as_it_was(checkpoint, tmp_path):
    target = tmp_path / 'lighterglue.onnx'
    target.write_text('before')
    other = tmp_path / 'xfeat-lighterglue.pt'
    torch.save({'matcher.input_proj.weight': torch.zeros(3)}, other)
    for sources, message in (({'xfeat.pt': checkpoint}, 'no xfeat-lighterglue.pt among xfeat.pt'),
                             ({'xfeat-lighterglue.pt': other}, 'not a checkpoint of LighterGlue')):
        with pytest.raises(SegvladError, match=message):
            convert(sources, target)
    network = seeded()
    with torch.no_grad():
        network.transformers[3]['cross_attn'].to_v.bias.fill_(float('nan'))
    with pytest.raises(SegvladError, match='differs from PyTorch'):
        write_network(network, target)
    assert target.read_text() == 'before' and not list(tmp_path.glob('.*'))


def test_another_network_is_no_matcher():
    with pytest.raises(SegvladError, match='takes image; query_points, query_features, match_points'):
        load_onnx_function(package_weights.xfeat(), INPUTS)


@pytest.fixture(scope='module')
def matcher():
    return LearnedMatcher(load_onnx_function(package_weights.lighterglue(), INPUTS), 512)


@pytest.fixture(scope='module')
def image():
    return cv2.resize(read_image(real_image('hololens_office/images/0100.jpg')), SIZE)


@pytest.fixture(scope='module')
def seen():
    """The view of an image, as the network of features sees it."""
    extractors = {}

    def view(rgb):
        size = rgb.shape[1::-1]
        if size not in extractors:
            extractors[size] = XFeatExtractor(load_onnx_outputs(package_weights.xfeat()), size, 16, 600)
        return View(extractors[size].extract(rgb).keypoints, np.array([[0, 0, *size]], np.int32))

    return view


@pytest.mark.parametrize(('warp', 'size'), [
    ([[0.95, 0.12, 5], [-0.1, 0.9, 40], [0, 0, 1]], SIZE),  # turned
    ([[0.5, 0.04, 10], [0.02, 0.5, 8], [1e-4, -5e-5, 1]], (352, 256))])  # smaller, and from the side
def test_a_warped_image_is_matched_where_it_was_warped_to(matcher, seen, image, warp, size):
    """Of what a map keeps of the other one; nearly all pairs are right, and more than by the nearest descriptor."""
    warp = np.array(warp, np.float64)
    first, second = seen(image), seen(cv2.warpPerspective(image, warp, size))
    second = View(unpack_keypoints(pack_keypoints(second.keypoints)), second.boxes)

    def right(pairs):
        """To a cell of the network."""
        positions = np.column_stack([first.keypoints.positions[pairs.query], np.ones(len(pairs))]) @ warp.T
        where = positions[:, :2] / positions[:, 2:]
        return np.linalg.norm(where - second.keypoints.positions[pairs.match], axis=1) < 8

    learned, nearest = right(matcher(first, second, None)), right(nearest_matcher(0.8)(first, second, None))
    assert len(learned) > 100 and learned.mean() > 0.95
    assert learned.sum() > nearest.sum()


def test_other_places_have_few_pairs(matcher, seen, image):
    other = cv2.resize(read_image(real_image('hololens_office/images/0250.jpg')), SIZE)
    assert len(matcher(seen(image), seen(other), None)) < 30


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """Where presets look for weights, with both networks."""
    home = tmp_path_factory.mktemp('home')
    (home / 'segvlad/weights').mkdir(parents=True)
    for name in ('xfeat', 'lighterglue'):
        (home / f'segvlad/weights/{name}.onnx').symlink_to(getattr(package_weights, name)())
    return home


@pytest.fixture
def learned(home, monkeypatch):
    monkeypatch.setenv('XDG_DATA_HOME', str(home))
    return load_preset('learned', LIGHTERGLUE)


def test_views_far_apart_are_proven_that_the_nearest_descriptors_do_not_prove(learned):
    """By the same tests, of images alone."""
    describer, settings = build_describer(learned), replace(learned.geometry, min_epipolar_inliers=30,
                                                            min_planar_inliers=30)
    first, second = (describer.describe(read_image(real_image(f'hololens_office/images/{number:04d}.jpg')))
                     for number in (174, 133))
    views = View(first.keypoints, first.boxes), View(second.keypoints, second.boxes)
    proven = [verify_pairs(*views, find(*views, None), settings).proven
              for find in (build_matcher(settings), nearest_matcher(settings.max_ratio))]
    assert proven == [True, False]


def test_the_preset_recognises_a_corridor_by_what_the_network_proves(learned, tmp_path):
    def loop_image(number):
        return read_image(real_image(f'rtabmap_corridor_loop/images/{number:04d}.jpg'))

    places = PlaceRecognizer(learned)
    for number in range(1, 41, 3):
        places.add(loop_image(number))
    queries = [loop_image(number) for number in (44, 53)]
    answers = [places.recognize(image) for image in queries]
    assert [answer.status for answer in answers] == [Status.MATCHED] * 2, [answer.reason for answer in answers]
    assert all(answer.candidates[0].inliers for answer in answers)
    places.save(tmp_path / 'loop.segvlad')
    assert len(PlaceRecognizer.load(tmp_path / 'loop.segvlad', 'learned')) == 14  # a map is of any matcher


def test_a_calibration_belongs_to_its_matcher(learned):
    nearest = load_preset('learned')
    assert nearest.calibration is not None and learned.calibration is None
    assert nearest.fingerprint() == learned.fingerprint()
    assert nearest.evidence_digest() == nearest.fingerprint()['digest'] != learned.evidence_digest()
    load_calibration(nearest.calibration, nearest.evidence_digest())
    with pytest.raises(SegvladError, match='or with another matcher'):
        load_calibration(nearest.calibration, learned.evidence_digest())
