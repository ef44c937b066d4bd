"""The training loop: goes on where it was stopped, and the same seed gives the same weights (segvlad-spec.md 14)."""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.whole_files import remove_unfinished, whole_file
from segvlad_ros.training.batches import batch_plan, image_of_side, load_batches
from segvlad_ros.training.gsv_cities import StreetPlace
from segvlad_ros.training.place_network import PlaceNetwork
from segvlad_ros.training.training_settings import TrainingSettings
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    import torch

LAST, BEST = 'last.ckpt', 'best.ckpt'
_SAVE_EVERY = 250  # steps, and at the end of each epoch
# NetVLAD begins with cells of so many images of this city, where it is there.
_CLUSTER_CITY, _CLUSTER_IMAGES, _CLUSTER_CELLS = 'London', 500, 100


class TrainingStep(NamedTuple):
    """How far training is.

    :ivar number: of steps done, of ``total``
    :ivar loss: of this step
    :ivar recall: of the validation after the last step of an epoch, a share by rank; empty where there was none
    """

    number: int
    total: int
    loss: float
    recall: list[float]


class FineTuning:
    """One training in one folder.

    :param folder: takes the checkpoints: ``last.ckpt``, and ``best.ckpt`` by recall@1 where ``validate`` is given
    :param origin: digest of the weights that the network was made of
    :param validate: recall by rank of a network, asked after each epoch
    :param workers: processes that read images
    :raises SegvladError: the folder holds another training
    """

    def __init__(self, network: PlaceNetwork, places: Sequence[StreetPlace], settings: TrainingSettings, folder: Path,
                 *, origin: str = '', validate: Callable[[PlaceNetwork], list[float]] | None = None,
                 workers: int = 0) -> None:
        torch = import_extra('torch')
        losses, miners, distances = (import_extra(f'pytorch_metric_learning.{part}')
                                     for part in ('losses', 'miners', 'distances'))
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # or cuBLAS gives other sums each time
        self._network, self._places, self._settings, self._folder = network, places, settings, folder
        self._validate, self._workers = validate, workers
        self._loss = losses.MultiSimilarityLoss(1.0, 50.0, 0.0, distance=distances.DotProductSimilarity())
        self._miner = miners.MultiSimilarityMiner(0.1, distance=distances.CosineSimilarity())
        self._optimizer = torch.optim.AdamW(network.trained, settings.rate(0), weight_decay=settings.weight_decay)
        self._scaler = torch.amp.GradScaler('cuda', enabled=network.device.type == 'cuda')
        self._digest = _digest(places, settings, origin)
        self._done, self._recalls = 0, []
        self._epoch_steps = len(batch_plan(places, settings, 0))
        if (folder / LAST).exists():
            self._resume()
        else:
            with _deterministic():
                network.start_clusters(self._some_cells(), settings.seed)

    @property
    def done(self) -> int:
        """Steps done, also before the process was started."""
        return self._done

    @property
    def total(self) -> int:
        """Steps of all epochs."""
        return self._settings.epochs * self._epoch_steps

    def steps(self) -> Iterator[TrainingStep]:
        """Train, from where the folder's checkpoint stands to the end.

        :raises SegvladError: an image cannot be read, or the loss is not a number any more
        """
        for epoch in range(self._done // self._epoch_steps, self._settings.epochs):
            plan = batch_plan(self._places, self._settings, epoch)[self._done % self._epoch_steps:]
            for pixels, numbers in load_batches(self._places, plan, self._settings, epoch, self._workers):
                with _deterministic():
                    loss = self._step(pixels, numbers)
                self._done += 1
                ends, recall = self._done % self._epoch_steps == 0, []
                if ends and self._validate is not None:
                    recall = self._validated()
                if ends or self._done % _SAVE_EVERY == 0:
                    self._save()
                yield TrainingStep(self._done, self.total, loss, recall)

    def _step(self, pixels: torch.Tensor, numbers: torch.Tensor) -> float:
        for group in self._optimizer.param_groups:
            group['lr'] = self._settings.rate(self._done)
        vectors, numbers = self._network.describe(pixels), numbers.to(self._network.device)
        loss = self._loss(vectors, numbers, self._miner(vectors, numbers))
        value = loss.item()
        if not np.isfinite(value):
            raise SegvladError(f'the loss of step {self._done + 1} is {value}: check the weights that it began with')
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return value

    def _validated(self) -> list[float]:
        recall = [float(share) for share in self._validate(self._network)]
        if not self._recalls or recall[0] > max(before[0] for before in self._recalls):
            _write(self._folder / BEST, {'state_dict': self._network.state()})
        self._recalls.append(recall)
        return recall

    def _some_cells(self) -> np.ndarray:
        """(n, D) float32: cells of images of one city, none of them augmented."""
        torch, generator = import_extra('torch'), np.random.default_rng(self._settings.seed)
        city = next((place.folder for place in self._places if place.folder.name == _CLUSTER_CITY),
                    self._places[0].folder)
        paths = [city / name for place in self._places if place.folder == city for name in place.images]
        chosen, cells = generator.permutation(len(paths))[:_CLUSTER_IMAGES], []
        for number in chosen:
            image = np.array(image_of_side(paths[number], self._settings.side))
            with torch.no_grad():
                table = self._network.cells(torch.from_numpy(image)[None])[0].cpu().numpy()
            cells.append(table[generator.permutation(len(table))[:_CLUSTER_CELLS]])
        return np.concatenate(cells)

    def _save(self) -> None:
        _write(self._folder / LAST, {
            'state_dict': self._network.state(), 'optimizer': self._optimizer.state_dict(),
            'scaler': self._scaler.state_dict(), 'global_step': self._done, 'recalls': self._recalls,
            'settings': asdict(self._settings), 'digest': self._digest})

    def _resume(self) -> None:
        torch, path = import_extra('torch'), self._folder / LAST
        try:
            content = torch.load(path, map_location='cpu', weights_only=True)
            fits = content['digest'] == self._digest
        except Exception:  # torch, pickle and zipfile each raise their own for a foreign or damaged file
            raise SegvladError(f'{path}: is not a whole checkpoint of this command; move it away, or give another '
                               '--output') from None
        if not fits:
            raise SegvladError(f'{path}: is of a training with other settings, weights or images, and cannot be gone '
                               'on with; move it away, or give another --output')
        self._network.restore(content['state_dict'])
        self._optimizer.load_state_dict(content['optimizer'])
        if self._scaler.is_enabled() and content['scaler']:
            self._scaler.load_state_dict(content['scaler'])
        self._done, self._recalls = content['global_step'], content['recalls']


def _digest(places: Sequence[StreetPlace], settings: TrainingSettings, origin: str) -> str:
    """Of all that changes the weights after a number of steps; a finished training may be given more epochs."""
    digest = hashlib.sha256(json.dumps([origin, {**asdict(settings), 'epochs': 0}], sort_keys=True).encode())
    for place in places:
        digest.update('\n'.join((place.folder.name, *place.images, '')).encode())
    return digest.hexdigest()


@contextmanager
def _deterministic() -> Iterator[None]:
    """Only algorithms of torch that give the same numbers each time."""
    torch = import_extra('torch')
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path)  # a kill amid a save leaves a gigabyte
    with whole_file(path) as temporary, temporary.open('wb') as file:
        import_extra('torch').save(content, file)
