"""What runs on a GPU answers as the CPU does, from several threads, and says in one line what it lacks."""
from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import faiss
import numpy as np
import pytest
import torch
from gpu_keyframe import mask_agreement
from small_dinov2 import small_dinov2
from small_gsv_cities import save_gsv_cities
from small_models import image_at, real_image, save_mobile_sam, save_preset, small_sam

from segvlad_ros.features.dinov2 import Dinov2Extractor
from segvlad_ros.io.devices import runtime_providers
from segvlad_ros.io.onnx_export import MIN_COSINE
from segvlad_ros.mapping.exact_search import uses_gpu
from segvlad_ros.mapping.segment_index import SegmentIndex
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.segmentation.sam import SamSegmenter
from segvlad_ros.segmentation.sam_checkpoint import load_sam
from segvlad_ros.segmentation.sam_export import export_sam
from segvlad_ros.segmentation.sam_grid import SamGridSettings
from segvlad_ros.segmentation.sam_onnx import OnnxSamSegmenter
from segvlad_ros.training.batches import image_of_side
from segvlad_ros.training.fine_tuning import FineTuning
from segvlad_ros.training.gsv_cities import street_places
from segvlad_ros.training.place_network import PlaceNetwork
from segvlad_ros.training.training_settings import TrainingSettings
from segvlad_ros.types import CellGrid, Masks, SegvladError

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='this machine has no GPU')

# looser than the stock thresholds, which would leave too few random masks
SETTINGS = SamGridSettings(points_per_side=16, iou_threshold=0.8, stability_threshold=0.8, nms_threshold=0.95)
SIDE = 256  # of small networks, pixels
DINOV2 = small_dinov2(width=128, depth=4, swiglu=True, side=5)


def cosines(first, second):
    first, second = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (first, second))
    return (first * second).sum(1)


def on_host(masks: Masks) -> Masks:
    return Masks(masks.masks.cpu().numpy(), masks.quality)


def assert_same_masks(here, there):
    agreement = mask_agreement(here, there, CellGrid(640, 480, 14))
    assert len(here) > 15
    assert abs(agreement['count_difference']) <= 0.05 * len(here)
    assert agreement['matched_at_0.9'] >= 0.95
    assert agreement['mean_iou'] >= 0.99


@pytest.fixture(scope='module')
def preset_file(tmp_path_factory):
    return save_preset(tmp_path_factory.mktemp('preset'))


@pytest.fixture(scope='module')
def frames():
    return [image_at(real_image(f'hololens_office/images/{number:04d}.jpg'), 640, 480) for number in range(0, 360, 45)]


@pytest.mark.parametrize('number', range(0, 360, 90))
@pytest.mark.parametrize('mode', ['grid', 'stock'])
def test_masks_are_those_of_the_cpu(number, mode):
    """Sums of a GPU are rounded in another order: few masks with a pixel at the threshold may differ."""
    image = image_at(real_image(f'hololens_office/images/{number:04d}.jpg'))
    here = SamSegmenter(small_sam(1, side=SIDE), mode='stock', settings=SETTINGS).segment(image)
    there = SamSegmenter(small_sam(1, side=SIDE).to('cuda'), mode=mode, settings=SETTINGS).segment(image)
    assert there.masks.device.type == 'cuda'
    assert_same_masks(on_host(here), on_host(there))


@pytest.fixture(scope='module')
def mobile_sam(tmp_path_factory):
    return save_mobile_sam(tmp_path_factory.mktemp('mobile'))


@pytest.mark.parametrize('mode', ['grid', 'stock'])
def test_masks_of_mobile_sam_are_those_of_the_cpu(mobile_sam, frames, mode):
    here, there = (SamSegmenter(load_sam(mobile_sam, image_size=SIDE).to(device), mode=mode, settings=SETTINGS)
                   .segment(frames[1]) for device in ('cpu', 'cuda'))
    assert there.masks.device.type == 'cuda'
    assert_same_masks(on_host(here), on_host(there))


@pytest.mark.parametrize('device', ['cuda', 'tensorrt'])
def test_onnx_runtime_finds_on_the_gpu_what_it_finds_on_the_cpu(mobile_sam, frames, tmp_path, monkeypatch, device):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    runtime = pytest.importorskip('onnxruntime', reason='needs the extra onnx')
    if runtime_providers(device)[0][0] not in runtime.get_available_providers():
        pytest.skip('needs onnxruntime-gpu')
    path = tmp_path / 'small.onnx'
    export_sam(load_sam(mobile_sam, image_size=SIDE), path)
    here, there = (OnnxSamSegmenter(path, device=where, settings=SETTINGS).segment(frames[1])
                   for where in ('cpu', device))
    assert cosines(here.embedding.reshape(len(here.embedding), -1).T,
                   there.embedding.reshape(len(there.embedding), -1).T).min() > MIN_COSINE
    assert_same_masks(here, there)


@pytest.mark.parametrize(('precision', 'least'), [('float32', 0.99999), ('bfloat16', 0.999)])
@pytest.mark.parametrize('facet', ['value', 'patches'])
def test_features_are_those_of_the_cpu(frames, precision, least, facet):
    block = 3 if facet == 'value' else 2
    here = Dinov2Extractor(DINOV2, facet, block).extract(frames[0])  # numpy, on the CPU
    there = Dinov2Extractor(DINOV2, facet, block, device='cuda', precision=precision).extract(frames[0])
    assert there.features.device.type == 'cuda'
    assert cosines(here.features, there.features.cpu().numpy()).min() > least


def test_places_are_recognised_as_on_the_cpu(preset_file, frames):
    answers = {}
    for device in ('cpu', 'cuda'):
        places = PlaceRecognizer(preset_file, device=device)
        for frame in frames:
            places.add(frame)
        answers[device] = [places.recognize(np.roll(frame, 8, axis=1)) for frame in frames]
    for number, (here, there) in enumerate(zip(answers['cpu'], answers['cuda'])):
        assert here.candidates[0].entry == there.candidates[0].entry == number
        assert there.candidates[0].score == pytest.approx(here.candidates[0].score, abs=0.02)


def test_many_threads_describe_as_one_does(preset_file, frames):
    """Each describer has a stream of its own for features, and the threads share one for the rest."""
    describers = [build_describer(load_preset(preset_file), 'cuda') for _ in range(3)]
    alone = [describers[0].describe(frame).descriptors for frame in frames]
    with ThreadPoolExecutor(len(describers)) as pool:
        for _ in range(4):
            together = pool.map(lambda job: [job.describe(frame).descriptors for frame in frames], describers)
            for found in together:
                for want, got in zip(alone, found):
                    assert want.shape == got.shape
                    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_full_gpu_is_said_in_one_line_and_survived(preset_file, frames):
    describer = build_describer(load_preset(preset_file), 'cuda')
    want = describer.describe(frames[0])
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (1 << 20)) / total)
    try:
        with pytest.raises(SegvladError, match='out of memory') as refusal:
            describer.describe(frames[0])
        assert '\n' not in str(refusal.value)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    again = describer.describe(frames[0])
    np.testing.assert_allclose(again.descriptors, want.descriptors, atol=1e-5)


@pytest.mark.skipif(importlib.util.find_spec('pytorch_metric_learning') is None, reason='needs the extra "train"')
def test_fine_tuning_in_mixed_precision_can_be_stopped_and_is_the_same_each_time(tmp_path):
    places = street_places(save_gsv_cities(tmp_path / 'gsv_cities'))
    settings = TrainingSettings(places=3, side=112, clusters=8, epochs=12, learning_rate=3e-4)
    before, states = small_dinov2(width=128, depth=6), []
    for stops in ([], [9]):
        folder = tmp_path / f'stops{len(stops)}'
        for count in (*stops, 2 * settings.epochs):
            network = PlaceNetwork(before, settings.trained_blocks, settings.clusters, 'cuda')
            run = FineTuning(network, places, settings, folder)
            steps = list(islice(run.steps(), count))
        assert steps[-1].number == 24
        states.append(torch.load(folder / 'last.ckpt', weights_only=True)['state_dict'])
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    changed = {name[len('backbone.model.'):] for name, value in states[0].items() if name.startswith('backbone.')
               and not torch.equal(value, before[name[len('backbone.model.'):]])}
    assert changed == {name for name in before if name.startswith(('blocks.2', 'blocks.3', 'blocks.4', 'blocks.5',
                                                                   'norm.'))}
    rgb = np.array(image_of_side(places[0].folder / places[0].images[0], 112))
    features = Dinov2Extractor(states[0], 'patches', 0).extract(rgb).features
    with torch.no_grad():
        assert cosines(features, network.cells(torch.from_numpy(rgb)[None])[0].cpu().numpy()).min() > 0.999


@pytest.mark.skipif(not uses_gpu(faiss), reason='faiss was not built for a GPU')
def test_segments_are_searched_on_the_gpu():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20000, 512)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = SegmentIndex(codes=None)
    for part in np.split(rows, 200):
        index.add(part)
    queries = rows[rng.choice(len(rows), 60, replace=False)] + 0.02 * rng.standard_normal((60, 512)).astype(np.float32)
    excluded = {3, 4, 77}
    for neighbours in (10, 200, 3000):  # more than faiss finds on a GPU
        similarities, owners, segments = index.search(queries, neighbours, excluded)
        expected = queries @ rows.T
        expected[:, np.isin(np.arange(len(rows)) // 100, list(excluded))] = -np.inf
        order = np.argsort(-expected, axis=1, kind='stable')[:, :neighbours]
        np.testing.assert_allclose(similarities, np.take_along_axis(expected, order, 1), atol=1e-5)
        np.testing.assert_array_equal(owners[:, :5], order[:, :5] // 100)
        np.testing.assert_array_equal(segments[:, :5], order[:, :5] % 100)
