"""`segvlad reproduce train` on a miniature of GSV-Cities with a small seeded network (segvlad-spec.md 14)."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from random_models import random_dinov2
from small_gsv_cities import CITIES, VIEWS, save_gsv_cities

if not os.environ.get('SEGVLAD_REQUIRE_DEEP'):
    pytest.importorskip('pytorch_metric_learning', reason='needs the extra "train"')
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.losses import MultiSimilarityLoss

from segvlad_ros.cli import OK, USAGE, main
from segvlad_ros.features.dinov2 import Dinov2Extractor
from segvlad_ros.io.whole_files import whole_file
from segvlad_ros.pipeline.builders import build_extractor
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.training.batches import batch_plan, image_of_side, load_batches
from segvlad_ros.training.fine_tuning import LAST, FineTuning
from segvlad_ros.training.gsv_cities import street_places
from segvlad_ros.training.place_network import PlaceNetwork
from segvlad_ros.training.training_settings import TrainingSettings
from segvlad_ros.types import SegvladError

WIDTH, DEPTH = 64, 6
SMALL = TrainingSettings(places=3, side=70, clusters=8, epochs=2, learning_rate=1e-3)
TRAINED = [f'blocks.{number}.' for number in range(2, DEPTH)] + ['norm.']


@pytest.fixture(scope='module')
def cities(tmp_path_factory) -> Path:
    return save_gsv_cities(tmp_path_factory.mktemp('data') / 'gsv_cities')


@pytest.fixture(scope='module')
def places(cities):
    return street_places(cities)


def tuning(places, folder, settings=SMALL, **more) -> tuple[PlaceNetwork, FineTuning]:
    network = PlaceNetwork(random_dinov2(5, WIDTH, DEPTH), settings.trained_blocks, settings.clusters)
    return network, FineTuning(network, places, settings, folder, **more)


def state_of(folder) -> dict[str, torch.Tensor]:
    return torch.load(folder / LAST, weights_only=True)['state_dict']


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope='module')
def trained(places, tmp_path_factory):
    """(folder, network, steps) of an uninterrupted training."""
    folder = tmp_path_factory.mktemp('trained')
    network, run = tuning(places, folder)
    return folder, network, list(run.steps())


def test_places_are_those_with_enough_images_and_files_are_found_by_their_columns(places):
    assert [(place.folder.name, len(place.images)) for place in places] == [
        (city, VIEWS) for city, photographs in CITIES.items() for _ in photographs]
    assert places[0].images[1] == 'London_0000004_2015_02_009_51.4371_-0.14_pano_4-1.jpg'


def test_cities_can_be_chosen(cities):
    assert {place.folder.name for place in street_places(cities, ['OSL'])} == {'OSL'}


def test_a_city_that_is_named_twice_counts_once(cities):
    """Its places came as two of each, which were trained to differ."""
    assert street_places(cities, ['OSL', 'London', 'OSL']) == street_places(cities, ['OSL', 'London'])


def test_a_place_that_is_left_over_alone_makes_no_step(places, tmp_path):
    """Its loss is 0 whatever it shows, and all that such a step does is decay the weights."""
    settings = replace(SMALL, places=5)
    assert [len(batch) for batch in batch_plan(places, settings, 0)] == [5]
    _, run = tuning(places, tmp_path, settings)
    steps = list(run.steps())
    assert [(step.number, step.total) for step in steps] == [(1, 2), (2, 2)]
    assert all(step.loss > 0 for step in steps)


def test_every_place_is_once_in_an_epoch_beside_others_of_its_city(places):
    settings = replace(SMALL, places=2)
    plans = [batch_plan(places, settings, epoch) for epoch in (0, 1)]
    for plan in plans:
        assert [len(batch) for batch in plan] == [2, 2, 2]
        assert sorted(sum(plan, [])[:3]) == [0, 1, 2] and sorted(sum(plan, [])[3:]) == [3, 4, 5]
    assert plans[0] != plans[1]


def test_a_batch_can_be_made_again(places):
    plan = batch_plan(places, SMALL, 0)
    pixels, numbers = list(load_batches(places, plan, SMALL, 0))[1]
    assert (pixels.shape, pixels.dtype) == ((12, 70, 70, 3), torch.uint8)
    assert numbers.tolist() == np.repeat(plan[1], 4).tolist()
    torch.rand(7)  # whatever else draws numbers
    [(again, _)] = load_batches(places, plan[1:], SMALL, 0)
    assert torch.equal(again, pixels)
    [(other, _)] = load_batches(places, plan[1:], SMALL, 1)
    assert not torch.equal(other, pixels)


def test_a_worker_makes_the_same_batch_and_says_in_one_line_what_it_cannot_read(cities, tmp_path):
    root = Path(shutil.copytree(cities, tmp_path / 'gsv_cities'))
    for path in (root / 'Images/OSL').iterdir():
        path.write_bytes(b'no image')
    places = street_places(root)
    batches = load_batches(places, [[0], [3]], SMALL, 0, workers=1)
    [(here, _)] = load_batches(places, [[0]], SMALL, 0)
    assert torch.equal(next(batches)[0], here)
    with pytest.raises(SegvladError, match='Images/OSL/OSL_') as refusal:
        next(batches)
    assert '\n' not in str(refusal.value)


def loss_of_all(network, places) -> float:
    """Of three images of each place that are not augmented, without mining."""
    images = [np.array(image_of_side(place.folder / name, SMALL.side)) for place in places for name in place.images[:3]]
    with torch.no_grad():
        vectors = network.describe(torch.from_numpy(np.stack(images)))
    numbers = torch.arange(len(places)).repeat_interleave(3)
    return MultiSimilarityLoss(1, 50, 0, distance=DotProductSimilarity())(vectors, numbers).item()


def test_the_loss_falls(places, tmp_path):
    settings = replace(SMALL, places=6, epochs=12, learning_rate=3e-4, augmentations=0)
    network, run = tuning(places, tmp_path, settings)
    before = loss_of_all(network, places)
    assert [(step.number, step.total) for step in run.steps()] == [(number, 12) for number in range(1, 13)]
    assert loss_of_all(network, places) < 0.95 * before


def test_only_the_last_blocks_the_norm_and_netvlad_change(trained):
    folder, _, _ = trained
    before, after = random_dinov2(5, WIDTH, DEPTH), state_of(folder)
    backbone = {name[len('backbone.model.'):]: value for name, value in after.items() if name.startswith('backbone.')}
    assert backbone.keys() == before.keys()
    for name, value in backbone.items():
        assert torch.equal(value, before[name]) != name.startswith(tuple(TRAINED)), name
    assert after['aggregator.centroids'].shape == (8, WIDTH)
    assert after['aggregator.conv.weight'].shape == (8, WIDTH, 1, 1)


def test_without_a_learning_rate_nothing_changes(places, tmp_path):
    network, run = tuning(places, tmp_path, replace(SMALL, learning_rate=0.0, epochs=1))
    before = {name: value.clone() for name, value in network.state().items()}
    list(run.steps())
    assert same(network.state(), before)


def test_netvlad_is_the_sum_of_shared_residuals(places, tmp_path):
    """Against the definition (Arandjelovic et al., 2016), cell by cell in float64."""
    network, _ = tuning(places, tmp_path)
    pixels = torch.from_numpy(np.array(image_of_side(places[0].folder / places[0].images[0], 70)))[None]
    state = {name: value.double().numpy() for name, value in network.state().items()}
    centroids, assignment = state['aggregator.centroids'], state['aggregator.conv.weight'][:, :, 0, 0]
    with torch.no_grad():
        cells, vector = network.cells(pixels)[0].double().numpy(), network.describe(pixels)[0].numpy()
    sums = np.zeros_like(centroids)
    for cell in cells / np.linalg.norm(cells, axis=1, keepdims=True):
        shares = np.exp(assignment @ cell - (assignment @ cell).max())
        sums += (shares / shares.sum())[:, None] * (cell - centroids)
    sums /= np.linalg.norm(sums, axis=1, keepdims=True)
    np.testing.assert_allclose(vector, (sums / np.linalg.norm(sums)).ravel(), atol=2e-5)


def test_the_loss_is_that_of_multi_similarity(places, tmp_path):
    """Wang et al., 2019, equations 8 to 11 with the constants of segvlad-spec.md 14, anchor by anchor in float64."""
    network, run = tuning(places, tmp_path)
    [(pixels, numbers), *_] = load_batches(places, batch_plan(places, SMALL, 0), SMALL, 0)
    with torch.no_grad():
        vectors = network.describe(pixels).double().numpy()
    cosines, same_place, losses = vectors @ vectors.T, np.equal.outer(*2 * (numbers.numpy(),)), []
    for anchor, row in enumerate(cosines):
        positives, negatives = row[same_place[anchor] & (np.arange(len(row)) != anchor)], row[~same_place[anchor]]
        hard_positives = positives[positives < negatives.max() + 0.1]
        hard_negatives = negatives[negatives > positives.min() - 0.1]
        losses.append(np.log(1 + np.exp(-hard_positives).sum()) + np.log(1 + np.exp(50 * hard_negatives).sum()) / 50)
    assert next(run.steps()).loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_learning_rate_falls_to_a_fifth_within_4000_steps():
    rates = [TrainingSettings().rate(step) for step in (0, 1000, 4000, 9000)]
    assert rates == pytest.approx([6e-5, 4.8e-5, 1.2e-5, 1.2e-5])


def test_the_rate_of_the_step_is_the_one_that_is_applied(places, tmp_path):
    """The first step of Adam moves a weight by the rate, as far as its gradient is not tiny."""
    for rate in (1e-3, 1e-5):
        settings = replace(SMALL, learning_rate=rate)
        network, run = tuning(places, tmp_path / str(rate), settings)
        before = network.state()['aggregator.centroids'].clone()
        next(run.steps())
        moved = (network.state()['aggregator.centroids'] - before).abs()
        assert moved.max().item() == pytest.approx(rate, rel=0.02)


def test_a_missing_extra_is_named(places, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pytorch_metric_learning.losses', None)
    with pytest.raises(SegvladError, match="pip install 'pytorch-metric-learning>="):
        tuning(places, tmp_path)


@pytest.mark.parametrize('stop', [1, 2, 3])
def test_a_stopped_training_goes_on_to_the_same_bytes(places, trained, tmp_path, monkeypatch, stop):
    folder, _, whole = trained
    monkeypatch.setattr('segvlad_ros.training.fine_tuning._SAVE_EVERY', 1)
    first = tuning(places, tmp_path)[1].steps()
    losses = [next(first).loss for _ in range(stop)]
    first.close()
    torch.rand(3)
    network, second = tuning(places, tmp_path)
    assert second.done == stop
    losses += [step.loss for step in second.steps()]
    assert losses == [step.loss for step in whole]
    assert same(state_of(tmp_path), state_of(folder))
    assert same(network.state(), state_of(folder))


def test_what_was_done_after_the_last_checkpoint_is_done_again(places, trained, tmp_path):
    steps = tuning(places, tmp_path)[1].steps()
    for _ in range(3):  # the checkpoint is of the first epoch, two steps
        next(steps)
    steps.close()
    assert tuning(places, tmp_path)[1].done == 2
    list(tuning(places, tmp_path)[1].steps())
    assert same(state_of(tmp_path), state_of(trained[0]))


def test_what_a_kill_left_of_a_save_goes_with_the_next_one(places, tmp_path):
    killed = whole_file(tmp_path / LAST)
    killed.__enter__().write_text('half')
    list(tuning(places, tmp_path)[1].steps())
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_another_seed_gives_other_weights(places, trained, tmp_path):
    list(tuning(places, tmp_path, replace(SMALL, seed=2))[1].steps())
    assert not same(state_of(tmp_path), state_of(trained[0]))


def test_a_finished_training_can_be_given_more_epochs(places, trained, tmp_path):
    shutil.copy(trained[0] / LAST, tmp_path)
    _, finished = tuning(places, tmp_path)
    assert list(finished.steps()) == []
    _, more = tuning(places, tmp_path, replace(SMALL, epochs=3))
    assert [step.number for step in more.steps()] == [5, 6]


def cut(path):
    path.write_bytes(path.read_bytes()[:-3000])


def of_others(path):
    torch.save({'state_dict': {}, 'hyper_parameters': Path('a')}, path)


def refusal_of(*arguments, **more) -> str:
    """What is said of the checkpoint in the folder, which stays as it is."""
    path = arguments[1] / LAST
    before = path.read_bytes()
    with pytest.raises(SegvladError) as refusal:
        tuning(*arguments, **more)
    assert path.read_bytes() == before
    assert '\n' not in str(refusal.value)
    return str(refusal.value)


def test_a_checkpoint_of_another_training_is_refused(places, trained):
    folder = trained[0]
    assert 'other settings' in refusal_of(places, folder, replace(SMALL, seed=2))
    assert 'other settings' in refusal_of(places[1:], folder)
    assert 'other settings' in refusal_of(places, folder, origin='other weights')


@pytest.mark.parametrize('damage', [cut, of_others])
def test_what_is_no_checkpoint_of_ours_is_refused(places, trained, tmp_path, damage):
    damage(Path(shutil.copy(trained[0] / LAST, tmp_path)))
    assert 'not a whole checkpoint' in refusal_of(places, tmp_path)


def test_the_best_epoch_is_kept(places, tmp_path):
    answers = iter([[0.4, 0.5], [0.9, 0.9], [0.6, 0.9]])
    states = []

    def validate(network):
        states.append({name: value.clone() for name, value in network.state().items()})
        return next(answers)
    steps = list(tuning(places, tmp_path, replace(SMALL, epochs=3), validate=validate)[1].steps())
    assert [step.recall for step in steps] == [[], [0.4, 0.5], [], [0.9, 0.9], [], [0.6, 0.9]]
    assert same(torch.load(tmp_path / 'best.ckpt', weights_only=True)['state_dict'], states[1])
    assert same(state_of(tmp_path), states[2])


def test_the_preset_describes_as_the_network_that_was_trained(trained, places):
    folder, network, _ = trained
    preset = load_preset('segvlad_finetuned', {'features.model': 'auto', 'features.weights': str(folder / LAST)})
    rgb = np.array(image_of_side(places[4].folder / places[4].images[0], 98))
    features = build_extractor(preset.features, 'cpu').extract(rgb).features
    with torch.no_grad():
        np.testing.assert_array_equal(features, network.cells(torch.from_numpy(rgb)[None])[0].numpy())
    before = Dinov2Extractor(random_dinov2(5, WIDTH, DEPTH), 'patches', 0).extract(rgb).features
    assert np.abs(features - before).mean() > 0.01 * np.abs(before).mean()


def remove_tables(root):
    shutil.rmtree(root / 'Dataframes')


def remove_images(root):
    shutil.rmtree(root / 'Images/OSL')


def remove_one(root):
    next((root / 'Images/London').iterdir()).unlink()


def edit(old, new):
    def damage(root):
        table = root / 'Dataframes/OSL.csv'
        table.write_text(table.read_text().replace(old, new))
    return damage


@pytest.mark.parametrize(('damage', 'problem'), [
    (remove_tables, 'Dataframes: holds no tables'), (remove_images, 'Images/OSL: cannot be read'),
    (remove_one, 'and 0 other images'), (edit('panoid', 'pano'), 'OSL.csv: has no column panoid'),
    (edit(',2015,3,', ',2015,March,'), 'OSL.csv, line 4'), (edit(',OSL,', ','), 'OSL.csv, line 2'),
], ids=['no tables', 'no images', 'an image less', 'no column', 'no number', 'a field less'])
def test_a_wrong_layout_is_one_line(cities, tmp_path, damage, problem):
    root = Path(shutil.copytree(cities, tmp_path / 'gsv_cities'))
    damage(root)
    with pytest.raises(SegvladError, match=problem) as refusal:
        street_places(root)
    assert '\n' not in str(refusal.value)


def arguments(cities, weights) -> list[str]:
    return ['reproduce', 'train', '--data', str(cities.parent), '--weights', str(weights), '--places', '3',
            '--epochs', '1', '--workers', '0']


def train(cities, weights, *more) -> int:
    return main([*arguments(cities, weights), *more])


def test_the_command_trains_validates_and_says_how_to_use_it(cities, tmp_path, capsys):
    weights, output = tmp_path / 'backbone.pth', tmp_path / 'models'
    torch.save(random_dinov2(5, WIDTH, DEPTH), weights)
    office = cities.parent / 'office'
    for folder, number in (('references', 0), ('queries', 4)):
        (office / folder).mkdir(parents=True)
        for path in cities.glob(f'Images/*/*_2015_0{number + 1}_*'):
            shutil.copy(path, office / folder / f'{path.name[:14]}.jpg')
    names = sorted(path.name for path in (office / 'queries').iterdir())
    (office / 'truth.csv').write_text('query,references\n' + ''.join(
        f'queries/{name},references/{name}\n' for name in names))
    assert train(cities, weights, '--output', str(output), '--validation', 'office') == OK
    said = capsys.readouterr()
    assert f'--preset segvlad_finetuned --set features.weights={output / LAST}' in said.out
    assert 'office after 2 steps: recall@1' in said.err
    assert {path.name for path in output.iterdir()} == {'last.ckpt', 'best.ckpt'}
    assert train(cities, weights, '--output', str(output), '--validation', 'office') == OK
    assert '2 of 2 steps are done' in capsys.readouterr().err
    assert train(cities, weights, '--output', str(output), '--seed', '9') == USAGE
    error = capsys.readouterr().err
    assert 'other settings' in error and error.count('\n') == 1


@pytest.mark.long
def test_killed_at_random_moments_it_resumes_to_the_same_bytes(cities, tmp_path):
    weights, generator = tmp_path / 'backbone.pth', np.random.default_rng(0)
    torch.save(random_dinov2(5, WIDTH, DEPTH), weights)
    folders = [tmp_path / 'whole', tmp_path / 'killed']
    more = ['--epochs', '40', '--output']
    assert train(cities, weights, *more, str(folders[0])) == OK
    for kill in range(10):
        process = subprocess.Popen([sys.executable, '-m', 'segvlad_ros.cli', *arguments(cities, weights), *more,
                                    str(folders[1])], stdout=subprocess.DEVNULL)
        deadline, before = time.monotonic() + 120, kept(folders[1])
        while kept(folders[1]) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(generator.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert kept(folders[1]) is not None, kill
    assert train(cities, weights, *more, str(folders[1])) == OK
    assert same(*map(state_of, folders))
    assert [path.name for path in folders[1].iterdir()] == [LAST]


def kept(folder) -> int | None:
    """When its checkpoint was written."""
    return (folder / LAST).stat().st_mtime_ns if (folder / LAST).exists() else None


@pytest.mark.parametrize(('more', 'problem'), [
    (['--cities', 'Oslo'], 'no table Oslo.csv; there are London, OSL'),
    (['--weights', '/nowhere.pth'], '/nowhere.pth'), (['--validation', 'nowhere'], "no data set 'nowhere'"),
])
def test_what_is_missing_is_one_line(cities, tmp_path, capsys, more, problem):
    weights = tmp_path / 'backbone.pth'
    torch.save(random_dinov2(5, WIDTH, DEPTH), weights)
    assert train(cities, weights, '--output', str(tmp_path), *more) == USAGE
    error = capsys.readouterr().err
    assert problem in error and error.count('\n') == 1
