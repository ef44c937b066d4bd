"""The paper on a miniature of each data set, from image files to recall, through small seeded networks.

What the networks make of the images is read from the archives; from there on the recall of the specification, word for
word, is computed a second time (literal_experiments.py).
"""
import json

import cv2
import literal
import numpy as np
import place_miniatures
import pytest
import torch
from literal_experiments import DIMENSION, literal_result
from place_miniatures import MINIATURES, Miniature
from random_models import random_dinov2
from small_models import save_sam

from segvlad_ros.cli import OK, main
from segvlad_ros.evaluation.experiments import EXPERIMENTS
from segvlad_ros.evaluation.place_datasets import DATASETS
from segvlad_ros.io.extraction_store import ExtractionStore

COUNT = 12  # references and queries of each set; 17places has 40 of each, for its rule of truth
WORDS = 5
SAME = 0.6  # share of a query's parts that look like its place


class Extracted(Miniature):
    """A data set of real image files, and what was extracted of them."""

    def __init__(self, data, name, networks):
        self.rng = np.random.default_rng([11, list(DATASETS).index(name)])
        self.name, self.dataset = name, DATASETS[name]
        self.truth = MINIATURES[name](data / name, self.rng)
        self.paths = dict(zip('rq', self.dataset.images(data)))
        self.looks = self.paths['r']
        self.photograph()
        assert main(['reproduce', 'extract', '--data', str(data), '--dataset', name, '--preset', 'segvlad_fast',
                     *networks]) == OK
        self.images = {side: [self.read(data, side, path.name) for path in paths] for side, paths in self.paths.items()}
        self.cells = {side: [literal.incidence(masks, *self.dataset.size, 14) for masks, _ in images]
                      for side, images in self.images.items()}
        self.centres = {}

    def photograph(self):
        """Write images: of a query some parts look like its place, and the others like any other."""
        places = [self.rng.integers(0, 256, (6, 8, 3)).astype(np.uint8) for _ in self.paths['r']]
        asked = [places[true[len(true) // 2] if true else 0] for true in self.valid_truth()]
        for side, of_side in (('r', places), ('q', asked)):
            for path, place in zip(self.paths[side], of_side):
                if side == 'q':
                    other = places[self.rng.integers(len(places))]
                    shown = np.where(self.rng.random((6, 8, 1)) < SAME, place, other)
                else:
                    shown = place
                picture = cv2.resize(shown, (160, 120), interpolation=cv2.INTER_NEAREST)
                cv2.imwrite(str(path), cv2.GaussianBlur(picture, (0, 0), 1 + 2 * (side == 'q')))

    def read(self, data, side, name):
        out = data / self.name / 'out'
        masks, features = (ExtractionStore(out / self.dataset.archives(kind, side)[0].removesuffix('.h5'))
                           for kind in ('masks', 'dino'))
        return masks.masks(name).masks, features.features(name).features


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('networks')
    torch.save(random_dinov2(5, 64, 2), folder / 'dinov2.pth')
    settings = {'segmenter.model': 'auto', 'segmenter.weights': save_sam(folder, side=128, depth=2, prompt=32),
                'segmenter.points_per_side': 5, 'segmenter.iou_threshold': 0.0, 'segmenter.stability_threshold': 0.5,
                'segmenter.nms_threshold': 0.95, 'features.model': 'auto', 'features.weights': folder / 'dinov2.pth',
                'features.block': 1}
    return [word for key, value in settings.items() for word in ('--set', f'{key}={value}')]


@pytest.mark.parametrize('name', DATASETS)
def test_recall_from_image_files_is_that_of_the_specification(name, tmp_path, networks, monkeypatch, capsys):
    monkeypatch.setattr(place_miniatures, 'REFERENCES', COUNT)
    monkeypatch.setattr(place_miniatures, 'QUERIES', COUNT)
    made, recalls = Extracted(tmp_path, name, networks), []
    for experiment, row in EXPERIMENTS.items():
        capsys.readouterr()
        assert main(['reproduce', 'evaluate', '--data', str(tmp_path), '--dataset', name, '--experiment', experiment,
                     '--vocabulary', 'map', '--words', str(WORDS), '--pca-dimension', str(DIMENSION), '--json']) == OK
        report = json.loads(capsys.readouterr().out)
        with np.load(report['words']) as words:
            made.centres['map'] = words['centres']
        recalls.append(report['recall'])
        assert recalls[-1] == pytest.approx(literal_result(made, row, 'map')), experiment
    assert all(0.2 <= recall[0] <= 0.9 for recall in recalls)
    assert len(set(map(tuple, recalls))) > 1
