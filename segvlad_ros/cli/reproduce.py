"""``segvlad reproduce``: the paper's experiments on its data sets (segvlad-spec.md 10, 13)."""
from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segvlad_ros.cli import OK
from segvlad_ros.cli.options import add_json, add_preset, chosen_preset, progress
from segvlad_ros.evaluation.experiments import EXPERIMENTS, VOCABULARIES, PaperExperiment, experiment
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.description.projection import Projection
    from segvlad_ros.evaluation.extracted_dataset import ExtractedDataset
    from segvlad_ros.evaluation.reproduction import Descriptors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    from segvlad_ros.evaluation.reference_voting import RULES

    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    listing = actions.add_parser('list', help='data sets and experiments: what is needed, what is there, what the '
                                 'paper says')
    evaluating = actions.add_parser('evaluate', help='recall of one experiment, from features and masks that were '
                                    'extracted before')
    evaluating.add_argument('--experiment', required=True, metavar='NAME', help='a name of "segvlad reproduce list"')
    evaluating.add_argument('--vocabulary', choices=VOCABULARIES, default='domain',
                            help='words of the kind of place, or of the data set itself (%(default)s)')
    evaluating.add_argument('--rule', choices=RULES, default='weighted', help='how segments vote (%(default)s)')
    evaluating.add_argument('--centres', type=Path, metavar='FILE|DIR', help='the words: a file, or a folder as the '
                            "authors' cache/vocabulary/dinov2_vitg14/l31_value_c32; default: DATA/vocabulary")
    evaluating.add_argument('--pca-dimension', type=int, default=1024, metavar='D',
                            help='of the PCA, where it has to be fitted (%(default)s)')
    extracting = actions.add_parser('extract', help='features and masks of all images; goes on where it was stopped')
    extracting.add_argument('--what', choices=('features', 'masks', 'both'), default='both', help='(%(default)s)')
    add_preset(extracting)
    for action in (evaluating, extracting):
        action.add_argument('--dataset', required=True, metavar='NAME',
                            help='a name of "segvlad reproduce list", or a folder of your own')
        action.add_argument('--finetuned', action='store_true', help='of the fine-tuned network')
        action.add_argument('--size', type=_size, metavar='WxH', help='of a folder of your own, pixels (640x480)')
    for action in (listing, evaluating):
        add_json(action)
    for action in (listing, evaluating, extracting):
        action.add_argument('--data', required=True, type=Path, metavar='DATA', help='folder of the data sets')


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is no size such as 640x480') from None
    return width, height


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    return {'list': _list, 'extract': _extract, 'evaluate': _evaluate}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from segvlad_ros.evaluation.place_datasets import DATASETS

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


def _extract(args: argparse.Namespace) -> int:
    from segvlad_ros.evaluation.extracted_dataset import store_folder
    from segvlad_ros.evaluation.extraction import extract, image_work
    from segvlad_ros.evaluation.place_datasets import SIDES, place_dataset
    from segvlad_ros.io.extraction_store import ExtractionStore

    preset, dataset = chosen_preset(args), place_dataset(args.dataset, args.data, args.size)
    kinds = {'features': 'dinoNV' if args.finetuned else 'dino', 'masks': 'masks'}
    images, out = dict(zip(SIDES, dataset.images(args.data))), dataset.folder(args.data) / 'out'
    for what in kinds if args.what == 'both' else (args.what,):
        there = next((out / name for side in SIDES for name in dataset.archives(kinds[what], side)
                      if (out / name).is_file()), None)
        if there:
            raise SegvladError(f'{there} is there already and would be taken: move it away to extract anew')
        made = {side: store_folder(dataset, out, kinds[what], side) for side in SIDES}
        work = image_work(what, preset, dataset, args.device)
        for side in SIDES:
            store = ExtractionStore(made[side])
            done = list(progress(extract(images[side], work, store), f'{what} {side}', len(images[side])))
            print(f'{made[side]}: {sum(done)} images extracted, {len(done) - sum(done)} were there')
    return OK


def _evaluate(args: argparse.Namespace) -> int:
    from segvlad_ros.evaluation.extracted_dataset import ExtractedDataset
    from segvlad_ros.evaluation.place_datasets import place_dataset
    from segvlad_ros.evaluation.reproduction import Descriptors, SegmentRows, nearest_images, ranked_images, recall

    row, dataset = experiment(args.experiment), place_dataset(args.dataset, args.data, args.size)
    truth = dataset.true_references(args.data)
    extracted = ExtractedDataset(dataset, args.data, finetuned=args.finetuned, masks=row.order is not None)
    descriptors = Descriptors(dataset.size, _vocabulary(args, dataset.domain), row.order)
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


def _vocabulary(args: argparse.Namespace, domain: str) -> Any:
    from segvlad_ros.description.vocabulary import load_vocabulary

    where = args.centres or args.data / 'vocabulary'
    if where.is_dir():
        name = domain if args.vocabulary == 'domain' else args.dataset
        if not name:
            raise SegvladError(f'{args.dataset} is of no domain of the paper: give the words as --centres FILE')
        where = where / (name + ('NVFinetuned' if args.finetuned else '')) / 'c_centers.pt'
    return load_vocabulary(where)


def _projection(args: argparse.Namespace, row: PaperExperiment, extracted: ExtractedDataset,
                descriptors: Descriptors) -> Projection:
    """The fitted PCA beside the archives, else one of the references' segments, which is kept there."""
    from segvlad_ros.description.projection import load_projection
    from segvlad_ros.evaluation.reproduction import fit_pca

    path = extracted.folder / row.pca_file(args.dataset, args.vocabulary, args.finetuned)
    for found in (path, path.with_suffix('.npz')):
        if found.is_file():
            return load_projection(found)
    counts = [len(image.masks) for image in extracted.images('r')]
    tables = (descriptors.of(image) for image in progress(extracted.images('r'), 'PCA', len(counts)))
    projection = fit_pca(tables, counts, args.pca_dimension)
    projection.save(path.with_suffix('.npz'))
    return projection
