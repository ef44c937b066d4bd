"""Matrices so small are multiplied on one thread: a second one only spins (OpenCV 5 brought OpenBLAS to an answer)."""
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from segvlad_ros.pipeline import recognizer as recognizer_module
from segvlad_ros.pipeline.presets import build_describer, build_recognizer, load_preset
from segvlad_ros.types import Keyframe, KeyframeId


def blas_threads():
    return {pool['num_threads'] for pool in threadpool_info() if pool['user_api'] == 'blas'}


def test_a_description_and_an_answer_use_one_blas_thread(monkeypatch):
    preset, seen = load_preset('classic'), {}
    describer = build_describer(preset)
    describer.find_keypoints = lambda rgb, depth: seen.update(described=blas_threads())
    recognizer = build_recognizer(preset)
    vote = recognizer_module.vote_online
    monkeypatch.setattr(recognizer_module, 'vote_online',
                        lambda *values: (seen.update(answered=blas_threads()), vote(*values))[1])
    rgb = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    with threadpool_limits(2, user_api='blas'):
        description = describer.describe(rgb)
        recognizer.add(Keyframe(KeyframeId(0, 'map', 1, 10 ** 9), description))
        recognizer.recognize(Keyframe(KeyframeId(0, 'query', 1, 2 * 10 ** 9), description), exclude_recent=False)
    assert seen == {'described': {1}, 'answered': {1}}
