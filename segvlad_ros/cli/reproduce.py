"""``segvlad reproduce``: the paper's experiments on its data sets (segvlad-spec.md 10, 13)."""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segvlad_ros.cli import OK, reproduce_extract
from segvlad_ros.cli.options import add_json, progress, whole
from segvlad_ros.evaluation.experiments import EXPERIMENTS, VOCABULARIES, PaperExperiment, experiment
from segvlad_ros.evaluation.extracted_dataset import ExtractedDataset, authors_archive
from segvlad_ros.evaluation.place_datasets import DATASETS, PlaceDataset, place_dataset
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.description.projection import Projection
    from segvlad_ros.evaluation.reproduction import Descriptors


_ACTIONS = {
    'list': 'data sets and experiments: what is needed, what is there, what the paper says',
    'run': 'all of it: extract what is not there, make the words, fit the PCA, evaluate',
    'extract': 'features and masks of all images; goes on where it was stopped',
    'vocabulary': "words of the data set's own references, from extracted features",
    'evaluate': 'recall of one experiment, from what was extracted before',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    number = whole(1, 'a whole number of 1 or more')
    chosen = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    actions = {name: chosen.add_parser(name, help=what) for name, what in _ACTIONS.items()}
    for name, action in actions.items():
        action.add_argument('--data', required=True, type=Path, metavar='DATA', help='folder of the data sets')
        if name in ('list', 'evaluate', 'run'):
            add_json(action)
        if name == 'list':
            continue
        action.add_argument('--dataset', required=True, metavar='NAME',
                            help='a name of "segvlad reproduce list", or a folder of your own')
        action.add_argument('--finetuned', action='store_true', help='features, and words, of the fine-tuned network')
        action.add_argument('--size', type=_size, metavar='WxH', help='of a folder of your own, pixels (640x480)')
    reproduce_extract.add_what(actions['extract'])
    for name in ('extract', 'run'):
        reproduce_extract.add_arguments(actions[name])
    for name in ('vocabulary', 'evaluate', 'run'):
        actions[name].add_argument('--words', type=number, default=32, metavar='K', help='of a vocabulary that is '
                                   'made here (%(default)s)')
    for name in ('evaluate', 'run'):
        _add_experiment(actions[name], number)


def _add_experiment(action: argparse.ArgumentParser, number: Callable[[str], int]) -> None:
    from segvlad_ros.evaluation.reference_voting import RULES

    action.add_argument('--experiment', required=True, metavar='NAME', help='a name of "segvlad reproduce list"')
    action.add_argument('--vocabulary', choices=VOCABULARIES, default='domain',
                        help='words of the kind of place, or of the data set itself (%(default)s)')
    action.add_argument('--rule', choices=RULES, default='weighted', help='how segments vote (%(default)s)')
    action.add_argument('--centres', type=Path, metavar='FILE|DIR', help='the words: a file, or a folder as the '
                        "authors' cache/vocabulary/dinov2_vitg14/l31_value_c32; default: DATA/vocabulary")
    action.add_argument('--pca-dimension', type=number, default=1024, metavar='D',
                        help='of the PCA, where it has to be fitted (%(default)s)')


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is no size such as 640x480') from None
    return width, height


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    return {'list': _list, 'run': _run, 'extract': reproduce_extract.run, 'vocabulary': _make_words,
            'evaluate': _evaluate}[args.action](args)


def _run(args: argparse.Namespace) -> int:
    row, dataset = experiment(args.experiment), _dataset(args)
    dataset.true_references(args.data)  # found out before long work
    kinds = ('features', 'masks') if row.order is not None else ('features',)
    reproduce_extract.extract_kinds(args, [
        kind for kind in kinds if authors_archive(dataset, args.data, kind, args.finetuned) is None])
    if args.vocabulary == 'map' and not _words_file(args, dataset).is_file():
        _make_words(args)
    return _evaluate(args)


def _dataset(args: argparse.Namespace) -> PlaceDataset:
    return place_dataset(args.dataset, args.data, args.size)


def _list(args: argparse.Namespace) -> int:
    rows = []
    for dataset in DATASETS.values():
        try:
            references, queries = map(len, dataset.images(args.data))
            dataset.true_references(args.data)
            state, problem = f'{references} references, {queries} queries', ''
        except SegvladError as error:
            state, problem = 'not complete', str(error)
        rows.append({'name': dataset.name, 'state': state, 'problem': problem, 'references': dataset.references,
                     'queries': dataset.queries, 'truth': dataset.needs, 'size': list(dataset.size),
                     'domain': dataset.domain, 'paper': dataset.recall, 'source': dataset.source})
    if args.json:
        print(json.dumps({'datasets': rows, 'experiments': [vars(row) for row in EXPERIMENTS.values()]}, indent=1))
        return OK
    for row in rows:
        print(f'{row["name"]:11} {row["state"]}; paper, recall@1 / @5: {row["paper"]}')
        if row['problem']:
            needed = [row['references'], row['queries'], *([row['truth']] if row['truth'] else [])]
            print(f'{"":11} {row["problem"]}\n{"":11} needed in {args.data / row["name"]}: {", ".join(needed)}\n'
                  f'{"":11} ask for it: {row["source"]}')
    print('\nexperiment                          neighbours  PCA')
    for row in EXPERIMENTS.values():
        print(f'{row.name:35} {"whole image" if row.order is None else row.order!s:11} {"1024" if row.pca else "-"}')
    return OK


def _make_words(args: argparse.Namespace) -> int:
    import numpy as np

    from segvlad_ros.description.vocabulary import fit_vocabulary
    from segvlad_ros.evaluation.reproduction import vocabulary_cells, vocabulary_images

    extracted = ExtractedDataset(_dataset(args), args.data, finetuned=args.finetuned, masks=False)
    count = len(extracted.names['r'])
    chosen = vocabulary_images(count)
    cells = np.concatenate([vocabulary_cells(image, count) for image in progress(
        extracted.images('r', chosen), 'vocabulary', len(chosen))])
    path = _own_words(args)
    path.parent.mkdir(parents=True, exist_ok=True)
    fit_vocabulary(cells, args.words).save(path)
    print(f'{path}: {args.words} words from {len(cells)} cells of {len(chosen)} images', file=sys.stderr)
    return OK


def _evaluate(args: argparse.Namespace) -> int:
    from segvlad_ros.description.vocabulary import load_vocabulary
    from segvlad_ros.evaluation.reproduction import Descriptors, SegmentRows, nearest_images, ranked_images, recall

    row, dataset = experiment(args.experiment), _dataset(args)
    truth = dataset.true_references(args.data)
    extracted = ExtractedDataset(dataset, args.data, finetuned=args.finetuned, masks=row.order is not None)
    descriptors = Descriptors(dataset.size, load_vocabulary(_words_file(args, dataset)), row.order)
    projection = _projection(args, row, extracted, descriptors) if row.pca else None

    def rows_of(side: str, title: str) -> SegmentRows:
        return SegmentRows.of(descriptors.of(image, projection) for image in progress(
            extracted.images(side), title, len(extracted.names[side])))
    references, queries = rows_of('r', 'references'), rows_of('q', 'queries')
    if row.order is None:
        ranked = nearest_images(references, queries)
    else:
        ranked = ranked_images(references, queries, len(truth), args.rule)
    report = {'dataset': dataset.name, 'experiment': row.name, 'vocabulary': args.vocabulary,
              'finetuned': args.finetuned, 'rule': args.rule, 'references': len(extracted.names['r']),
              'queries': sum(bool(len(true)) for true in truth), 'map_segments': len(references.rows),
              'query_segments': len(queries.rows), 'recall': recall(ranked, truth).tolist(), 'paper': dataset.recall}
    print(json.dumps(report, indent=1) if args.json else _as_text(report))
    return OK


def _as_text(report: dict[str, Any]) -> str:
    shares = '  '.join(f'@{rank} {100 * share:.1f} %' for rank, share in enumerate(report['recall'], 1))
    paper = f'\npaper, recall@1 / @5 in %: {report["paper"]}' if report['paper'] else ''
    return (f'{report["dataset"]}, {report["experiment"]}, {report["vocabulary"]} vocabulary: {report["queries"]} '
            f'queries of {report["query_segments"]} segments, {report["references"]} references of '
            f'{report["map_segments"]}\n'
            f'recall{shares}{paper}')


def _words_of(args: argparse.Namespace, name: str) -> str:
    return name + ('NVFinetuned' if args.finetuned else '')


def _words_file(args: argparse.Namespace, dataset: PlaceDataset) -> Path:
    where = args.centres or args.data / 'vocabulary'
    if where.is_file() or args.centres and not where.is_dir():
        return where
    name = dataset.domain if args.vocabulary == 'domain' else args.dataset
    if not name:
        raise SegvladError(f'{args.dataset} is of no domain of the paper: give the words as --centres FILE, or take '
                           '--vocabulary map')
    authors = where / _words_of(args, name) / 'c_centers.pt'
    return authors if authors.is_file() or args.vocabulary == 'domain' else _own_words(args)


def _own_words(args: argparse.Namespace) -> Path:
    """The file of words of a data set's own references: features that were extracted anew have other words."""
    extracted = ExtractedDataset(_dataset(args), args.data, finetuned=args.finetuned, masks=False)
    return (args.data / 'vocabulary' / _words_of(args, args.dataset)
            / f'c_centers.{extracted.digest(str(args.words))}.npz')


def _projection(args: argparse.Namespace, row: PaperExperiment, extracted: ExtractedDataset,
                descriptors: Descriptors) -> Projection:
    """A PCA that lies beside the archives, else one of the references' segments, which is kept there."""
    from segvlad_ros.description.projection import load_projection
    from segvlad_ros.evaluation.reproduction import fit_pca

    given = extracted.folder / row.pca_file(args.dataset, args.vocabulary, args.finetuned)
    own = given.with_suffix(f'.{extracted.digest(descriptors.vocabulary_digest, str(args.pca_dimension))}.npz')
    for path in (given, given.with_suffix('.npz'), own):
        if path.is_file():
            return load_projection(path)
    counts = extracted.mask_counts('r')
    tables = (descriptors.of(image) for image in progress(extracted.images('r'), 'PCA', len(counts)))
    projection = fit_pca(tables, counts, args.pca_dimension)
    projection.save(own)
    return projection
