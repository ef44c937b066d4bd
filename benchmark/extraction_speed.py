"""How busy extraction keeps a machine: one thread after the other, both engines, one decoded image or two.

Made photographs (JPEG, 1600 x 1200) are brought to 320 x 240 by the preset ``classic`` and by small seeded random
networks of the real architectures. Of every way: images a second, and the share of the time in which no network worked.
All that was made is compared byte by byte. Writes benchmark/results/extraction_speed.json.
"""
import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from random_models import SamSize, random_dinov2, random_sam

from segvlad_ros.evaluation.cluster_engine import ClusterEngine
from segvlad_ros.evaluation.extraction import ExtractionRecipe, ExtractionWorker, LocalEngine, extract
from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.occupancy import WaitingTimes
from segvlad_ros.evaluation.place_datasets import PlaceDataset
from segvlad_ros.io.extraction_store import ExtractionStore
from segvlad_ros.io.extras import import_extra
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.pipeline.sections import Preset

KINDS = ('features', 'masks')
DATASET = PlaceDataset('made', '', '', '', lambda *_: [], '', '', size=(320, 240))


class OneThread:
    """An engine without threads: what overlap is worth."""

    def __init__(self, recipe: ExtractionRecipe) -> None:
        self._worker = ExtractionWorker(recipe)

    def __enter__(self) -> 'OneThread':
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def made(self, images: Iterable) -> Iterable:
        """One after the other."""
        for image in images:
            yield image, self._worker.made(str(image.path), image.content, image.digests)

    def waiting_times(self) -> WaitingTimes:
        """Of the worker."""
        return self._worker.waiting_times()


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEG files of seeded texture."""
    rng, paths = np.random.default_rng(0), []
    for number in range(count):
        coarse = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (1600, 1200), interpolation=cv2.INTER_CUBIC)
        noise = rng.integers(0, 40, image.shape, dtype=np.uint8)
        paths.append(folder / f'{number:04d}.jpg')
        cv2.imwrite(str(paths[-1]), cv2.add(image, noise))
    return paths


def deep_preset(folder: Path) -> Preset:
    """SAM and DINOv2, small and random."""
    torch = import_extra('torch')
    torch.save(random_sam(1, SamSize(width=64, depth=4, global_blocks=(3,), prompt=32, side=256)).state_dict(),
               folder / 'sam_vit_b_01ec64.pth')
    torch.save(random_dinov2(1, 192, 6), folder / 'dinov2_vitb14_pretrain.pth')
    return load_preset('segvlad', {
        'segmenter.model': 'auto', 'segmenter.weights': str(folder / 'sam_vit_b_01ec64.pth'),
        'segmenter.points_per_side': 8, 'features.model': 'auto', 'features.block': 5,
        'features.weights': str(folder / 'dinov2_vitb14_pretrain.pth')})


def measured(preset: Preset, paths: list[Path], folder: Path, engine: Callable[[ExtractionRecipe], Any],
             passes: Iterable[tuple[str, ...]]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """One way to extract: figures, and all that it wrote. Networks are loaded, and have seen an image, before."""
    stores = {kind: ExtractionStore(folder / kind) for kind in KINDS}
    seconds, waited = 0.0, WaitingTimes()
    for kinds in passes:
        recipe = ExtractionRecipe.of(preset, DATASET, kinds, 'cpu')
        with engine(recipe) as opened:
            warm = {kind: ExtractionStore(folder / f'warm_{kind}') for kind in KINDS}
            list(extract(((path, warm) for path in paths[:4]), recipe, opened))
            before, start = opened.waiting_times(), time.perf_counter()
            list(extract(((path, stores) for path in paths), recipe, opened))
            seconds += time.perf_counter() - start
            waited = waited.plus(WaitingTimes(*(now - old for now, old in zip(opened.waiting_times(), before))))
    written = {str(path.relative_to(folder)): path.read_bytes() for kind in KINDS
               for path in (folder / kind).rglob('*.npz')}
    return {'images_per_s': round(len(paths) / seconds, 2),
            'networks_waited_for_images_percent': round(100 * waited.networks / waited.total, 1),
            'images_waited_for_a_network_percent': round(100 * waited.images / waited.total, 1)}, written


def main() -> None:
    """Measure every way on the same images, see that results are equal, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, default=24)
    parser.add_argument('--output', type=Path, default=Path(__file__).parent / 'results/extraction_speed.json')
    args = parser.parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'  # of a network, as Ray sets it; torch is imported later
    together, apart = [KINDS], [(kind,) for kind in KINDS]
    ways = {'one thread, two passes': (OneThread, apart), 'one thread, one pass': (OneThread, together),
            'local engine, two passes': (LocalEngine, apart), 'local engine, one pass': (LocalEngine, together),
            'ray engine, 2 workers': (lambda recipe: ClusterEngine(recipe, 'local', 2), together)}
    report: dict[str, Any] = {'machine': machine(), 'images': args.images}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = photographs(folder, args.images)
        for title, preset in {'classic': load_preset('classic'), 'small networks': deep_preset(folder)}.items():
            report[title], first = {}, None
            for number, (way, (engine, passes)) in enumerate(ways.items()):
                figures, written = measured(preset, paths, folder / f'{title} {number}', engine, passes)
                first = first or written
                report[title][way] = figures | {'bytes_equal': written == first and len(written) == 2 * len(paths)}
                print(title, way, report[title][way], file=sys.stderr)
    text = json.dumps(report, indent=1)
    args.output.write_text(text + '\n')
    print(text)


if __name__ == '__main__':
    main()
