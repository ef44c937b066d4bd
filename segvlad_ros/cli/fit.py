"""``segvlad fit vocabulary|projection``: what a preset needs, from one's own images (segvlad-spec.md 8, 12)."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segvlad_ros.cli import OK
from segvlad_ros.cli.options import (
    add_image_bits,
    add_preset,
    check_npz,
    check_output,
    check_partner,
    chosen_preset,
    progress,
    real,
    whole,
)
from segvlad_ros.pipeline.description_sections import OrbWordsSettings
from segvlad_ros.pipeline.presets import Preset
from segvlad_ros.text import one_line
from segvlad_ros.types import SegvladError

SEED = 42


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    number = whole(1, 'a whole number of 1 or more')
    kinds = parser.add_subparsers(dest='kind', metavar='vocabulary|projection', required=True)
    vocabulary = kinds.add_parser('vocabulary', help='fit visual words, by k-means on the features of the images')
    vocabulary.add_argument('--words', type=number, metavar='K',
                            help='number of words (32; for a preset with binary words at most 10,000)')
    vocabulary.add_argument('--cells', type=number, default=200_000, metavar='N',
                            help='features used, drawn evenly from the images (%(default)s)')
    vocabulary.add_argument('--whiten', action='store_true', help='whiten the features first')
    projection = kinds.add_parser('projection', help='fit a PCA of the segments of the images')
    projection.add_argument('--dimension', type=number, default=512, metavar='D',
                            help='length of a descriptor (%(default)s)')
    projection.add_argument('--segments', type=number, default=20_000, metavar='N',
                            help='segments used, drawn evenly from the images (%(default)s)')
    projection.add_argument('--whiten', action='store_true', help='give all components the same variance')
    share = real(lambda value: 0 <= value <= 1, 'a number from 0 to 1')
    projection.add_argument('--shrinkage', type=share, default=0.0, metavar='S',
                            help='shrinkage of --whiten, from 0 (whitens fully) to 1 (not at all) (%(default)s)')
    for kind in (vocabulary, projection):
        kind.add_argument('images', nargs='+', metavar='IMAGES', help='folders of images, or text files that list them')
        kind.add_argument('--output', required=True, type=Path, metavar='FILE.npz', help='file to write')
        add_preset(kind)
        add_image_bits(kind)


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    from segvlad_ros.io.images import list_images

    if args.kind == 'projection':
        check_partner('--shrinkage', args.shrinkage, '--whiten', args.whiten)
    preset = chosen_preset(args)
    images = [image for source in args.images for image in list_images(source)]
    check_npz(args.output)
    check_output(args.output, '--output')
    if args.kind == 'vocabulary':
        _fit_vocabulary(args, preset, images)
    else:
        _fit_projection(args, preset, images)
    return OK


def _fit_vocabulary(args: argparse.Namespace, preset: Preset, images: Sequence[Path]) -> None:
    from segvlad_ros.description.binary_words import WORDS, fit_binary_vocabulary
    from segvlad_ros.description.vocabulary import fit_vocabulary

    if isinstance(preset.features, OrbWordsSettings):
        if args.whiten:
            raise SegvladError(f'--whiten: the words of preset {preset.name} are binary and cannot be whitened: leave '
                               'it out')
        samples = list(_binary_features(args, preset, images))
        vocabulary = fit_binary_vocabulary(samples, args.words or WORDS, SEED)
        if not vocabulary.idf.any():  # the weight of a word is how few images have it
            raise SegvladError(f'each word occurs in all of the {len(images)} images, so the words tell no images '
                               'apart: give images of several places, and more of them')
        kind = 'binary words'
    else:
        samples = list(_features(args, preset, images))
        vocabulary = fit_vocabulary(np.concatenate(samples), args.words or 32, SEED, whiten=args.whiten)
        kind = f'words of {vocabulary.dimension} dimensions'
    vocabulary.save(args.output)
    print(f'{args.output}: {len(vocabulary)} {kind} from {sum(map(len, samples))} '
          f'features of {len(images)} images; use it with --set vocabulary={args.output}')


def _fit_projection(args: argparse.Namespace, preset: Preset, images: Sequence[Path]) -> None:
    from segvlad_ros.description.pca import PcaFit

    fit = PcaFit(args.dimension)
    for rows in _rows(args, preset, images):
        fit.add(rows)
    projection = fit.finish(args.whiten, args.shrinkage)
    projection.save(args.output, 'float16')
    print(f'{args.output}: {projection.dimension} components of {fit.count} segments of {len(images)} images; '
          f'use it with --set projection.kind=file --set projection.path={args.output}')


def _binary_features(args: argparse.Namespace, preset: Preset, images: Sequence[Path]) -> Iterator[np.ndarray]:
    """ORB descriptors of every image, at most the same number of each."""
    from segvlad_ros.description.describer import resized
    from segvlad_ros.features.orb import OrbDetector
    from segvlad_ros.io.images import read_image

    detector = OrbDetector(preset.features.keypoints)
    generator = np.random.default_rng(SEED)
    for path in progress(images, 'keypoints'):
        rgb = resized(read_image(path, args.image_bits), (preset.image.width, preset.image.height))
        yield _sample(detector.describe(rgb), -(-args.cells // len(images)), generator)


def _features(args: argparse.Namespace, preset: Preset, images: Sequence[Path]) -> Iterator[np.ndarray]:
    """Textured cells of every image, at most the same number of each."""
    from segvlad_ros.description.arrays import to_numpy
    from segvlad_ros.description.describer import resized
    from segvlad_ros.io.images import read_image
    from segvlad_ros.pipeline.builders import build_cell_extractor

    size = (preset.image.width, preset.image.height)
    extractor = build_cell_extractor(preset, args.device)
    generator = np.random.default_rng(SEED)
    for path in progress(images, 'features'):
        grid = extractor.extract(resized(read_image(path, args.image_bits), size))
        features = to_numpy(grid.features)
        yield _sample(features[(features != 0).any(axis=1)], -(-args.cells // len(images)), generator)


def _rows(args: argparse.Namespace, preset: Preset, images: Sequence[Path]) -> Iterator[np.ndarray]:
    """Unprojected segment descriptors of every image, at most the same number of each."""
    from segvlad_ros.io.images import read_image
    from segvlad_ros.pipeline.builders import build_describer
    from segvlad_ros.pipeline.description_sections import ProjectionNone

    describer = build_describer(replace(preset, projection=ProjectionNone('none')), args.device)
    generator = np.random.default_rng(SEED)
    for path in progress(images, 'segments'):
        description = describer.describe(read_image(path, args.image_bits))
        if description.rejected:
            print(one_line(f'{path} is left out: {description.rejected}'), file=sys.stderr)
        yield _sample(description.descriptors, -(-args.segments // len(images)), generator)


def _sample(rows: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """Up to ``most`` of the rows."""
    return rows if len(rows) <= most else rows[np.sort(generator.choice(len(rows), most, replace=False))]
