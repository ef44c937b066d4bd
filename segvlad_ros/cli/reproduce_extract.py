"""``segvlad reproduce extract``: features and masks of all images of a data set."""
from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

from segvlad_ros.cli import OK
from segvlad_ros.cli.options import add_preset, chosen_preset, progress_bar, whole
from segvlad_ros.evaluation.extracted_dataset import archive_kind, authors_archive, store_folder
from segvlad_ros.evaluation.place_datasets import SIDES, place_dataset
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.evaluation.cluster_engine import ClusterEngine
    from segvlad_ros.evaluation.extraction import ExtractionRecipe, LocalEngine

_KINDS = {'features': ('features',), 'masks': ('masks',), 'both': ('features', 'masks')}


def add_what(parser: argparse.ArgumentParser) -> None:
    """``--what``."""
    parser.add_argument('--what', choices=_KINDS, default='both', help='what to extract; one kind keeps only one '
                        'network in memory (%(default)s)')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to extract: preset, device and engine."""
    add_preset(parser)
    parser.add_argument('--engine', choices=('local', 'ray'), default='local',
                        help='in this process, or by workers on a Ray cluster (%(default)s)')
    parser.add_argument('--address', metavar='HOST:PORT', help='address of the Ray cluster: ray://HOST:PORT of a '
                        'remote one, "auto" for the one that runs here, or "local" to start one here (local)')
    parser.add_argument('--workers', type=whole(1, 'a whole number of 1 or more'), metavar='N',
                        help='number of workers on the Ray cluster, each with a GPU or a core (all of them)')


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    dataset, kinds = place_dataset(args.dataset, args.data, args.size), _KINDS[args.what]
    for kind in kinds:
        if there := authors_archive(dataset, args.data, kind, args.finetuned):
            raise SegvladError(f'{there} exists already and would be used: move it away to extract again')
    extract_kinds(args, kinds)
    return OK


def extract_kinds(args: argparse.Namespace, kinds: Sequence[str]) -> None:
    """Extract what is not there, of :data:`_KINDS`, and say how much that was."""
    from segvlad_ros.evaluation.extraction import PRESET_SECTIONS, ExtractionRecipe, extract
    from segvlad_ros.io.extraction_store import ExtractionStore

    preset = chosen_preset(args, [*PRESET_SECTIONS.values()])
    if not kinds:
        return
    dataset = place_dataset(args.dataset, args.data, args.size)
    recipe = ExtractionRecipe.of(preset, dataset, kinds, args.device)
    out = dataset.folder(args.data) / 'out'
    stores = {side: {kind: ExtractionStore(store_folder(dataset, out, archive_kind(kind, args.finetuned), side))
                     for kind in kinds} for side in SIDES}
    images = {side: [(path, stores[side]) for path in paths] for side, paths in zip(SIDES, dataset.images(args.data))}
    total, there = sum(map(len, images.values())), 0
    made: Counter = Counter()
    with _engine(args, recipe) as engine, progress_bar(' and '.join(kinds), ' images') as show:
        for done, (of, new) in enumerate(extract(chain(*images.values()), recipe, engine), 1):
            there += not new
            made.update(of[kind].folder for kind in new)
            show(done, total, there)
        waited = engine.waiting_times()
    for kind in kinds:
        for side in SIDES:
            folder = stores[side][kind].folder
            print(f'{folder}: {made[folder]} images extracted, {len(images[side]) - made[folder]} were there',
                  file=sys.stderr)
    if made:
        print(waited, file=sys.stderr)


def _engine(args: argparse.Namespace, recipe: ExtractionRecipe) -> LocalEngine | ClusterEngine:
    from segvlad_ros.evaluation.cluster_engine import ClusterEngine
    from segvlad_ros.evaluation.extraction import LocalEngine

    if args.engine == 'ray':
        return ClusterEngine(recipe, args.address or 'local', args.workers or 0)
    if args.address or args.workers:
        raise SegvladError('--address and --workers belong to a Ray cluster: add --engine ray')
    return LocalEngine(recipe)
