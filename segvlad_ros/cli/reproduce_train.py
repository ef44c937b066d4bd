"""``segvlad reproduce train``: the fine-tuned network of the paper, from GSV-Cities (segvlad-spec.md 14)."""
from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from segvlad_ros.cli import OK
from segvlad_ros.cli.options import MOST_SEED, add_device, check_output_folder, progress_bar, whole
from segvlad_ros.evaluation.place_datasets import place_dataset
from segvlad_ros.io.weights import default_folder, entry_named, sha256_of
from segvlad_ros.training.fine_tuning import BEST, LAST, FineTuning
from segvlad_ros.training.gsv_cities import street_places
from segvlad_ros.training.training_settings import TrainingSettings
from segvlad_ros.training.validation import RecallValidation

_BEGIN = 'dinov2_vitb14'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the action ``train``, beside ``--data``."""
    settings, number = TrainingSettings(), whole(1, 'a whole number of 1 or more')
    parser.add_argument('--weights', type=Path, metavar='FILE', help='DINOv2 to start from (default: that of "segvlad '
                        f'weights fetch {_BEGIN}")')
    parser.add_argument('--output', type=Path, metavar='FOLDER', help=f'folder of {LAST}; resumes from the one that is '
                        'there (default: DATA/models/DnV2_NV, as in the research code)')
    parser.add_argument('--cities', nargs='+', default=(), metavar='CITY', help='cities of DATA/gsv_cities (all)')
    parser.add_argument('--validation', metavar='NAME', help='a data set, or a folder of your own, to measure each '
                        f'epoch on; the best is kept as {BEST}')
    parser.add_argument('--places', type=whole(2, 'a whole number of 2 or more'), default=settings.places, metavar='P',
                        help=f'places per batch, {settings.images} images each (%(default)s)')
    parser.add_argument('--epochs', type=number, default=settings.epochs, metavar='N', help='(%(default)s)')
    parser.add_argument('--seed', type=whole(0, 'a whole number', MOST_SEED), default=settings.seed,
                        help='(%(default)s)')
    add_device(parser, 'cpu, cuda or cuda:N')
    parser.add_argument('--workers', type=whole(0, 'a whole number'), default=min(16, os.cpu_count() or 1),
                        metavar='N', help='processes that read images (%(default)s)')


def run(args: argparse.Namespace) -> int:
    """Train to the end, or say that it is there."""
    from segvlad_ros.features.dinov2_weights import load_weights
    from segvlad_ros.training.place_network import PlaceNetwork

    folder = args.output or args.data / 'models/DnV2_NV'
    check_output_folder(folder, '--output')
    settings = TrainingSettings(places=args.places, epochs=args.epochs, seed=args.seed)
    places = street_places(args.data / 'gsv_cities', args.cities, settings.images)
    validate = None
    if args.validation:
        validate = RecallValidation(place_dataset(args.validation, args.data), args.data, settings.side)
    weights = args.weights or default_folder() / entry_named(_BEGIN).file
    network = PlaceNetwork(load_weights(weights), settings.trained_blocks, settings.clusters, args.device)
    tuning = FineTuning(network, places, settings, folder, origin=sha256_of(weights), validate=validate,
                        workers=args.workers)
    if tuning.done:
        print(f'{folder / LAST}: {tuning.done} of {tuning.total} steps are done', file=sys.stderr)
    begun = tuning.done
    with progress_bar('training', ' steps') as show:
        for step in tuning.steps():
            show(step.number, step.total, begun, f'loss {step.loss:.4f}')
            if step.recall:
                shares = '  '.join(f'@{rank} {100 * share:.1f} %' for rank, share in enumerate(step.recall, 1))
                print(f'{args.validation} after {step.number} steps: recall{shares}', file=sys.stderr)
    print(f'{folder / LAST}: {tuning.done} steps over {len(places)} places; use it with --preset segvlad_finetuned '
          f'--set features.weights={folder / LAST}')
    return OK
