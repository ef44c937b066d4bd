"""``segvlad reproduce``: the paper's experiments on its data sets (segvlad-spec.md 10, 13)."""
from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segvlad_ros.cli import OK, reproduce_extract, reproduce_train
from segvlad_ros.cli.options import (
    add_json,
    check_output_folder,
    check_partner,
    check_report_and_output,
    image_size,
    progress,
    whole,
)
from segvlad_ros.evaluation.experiments import AUTHORS_WORDS, EXPERIMENTS, VOCABULARIES, experiment
from segvlad_ros.evaluation.extracted_dataset import authors_archive
from segvlad_ros.evaluation.place_datasets import DATASETS, PlaceDataset, place_dataset
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    import numpy as np

    from segvlad_ros.evaluation.experiments import PaperExperiment
    from segvlad_ros.evaluation.paper_evaluation import PaperEvaluation
    from segvlad_ros.evaluation.reproduction import Retrieved

    _Found = tuple[PaperExperiment, Retrieved, tuple[np.ndarray, np.ndarray], dict[str, Any]]

_ACTIONS = {
    'list': 'list data sets and experiments: what is needed, what is there, what the paper says',
    'run': 'run all of it: extract what is missing, make the words, fit the PCA, evaluate',
    'extract': 'extract features and masks of all images; resumes where it was stopped',
    'vocabulary': "make words of the data set's own references, from extracted features",
    'pca': "fit the projection of an experiment's segments, from extracted features and masks",
    'miniature': 'render a small data set of the simulated building, to try all this on',
    'evaluate': 'compute the recall of one experiment, from what was extracted before, or from saved results',
    'train': 'train the fine-tuned network on GSV-Cities; resumes where it was stopped',
}
_EVALUATING = ('pca', 'evaluate', 'run')
_RULE = 'weighted'
_DESCRIBING = ('vocabulary', 'finetuned', 'centres', 'words', 'pca_dimension')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f'data sets: {", ".join(DATASETS)}\nexperiments:\n  ' + '\n  '.join(EXPERIMENTS)
    number = whole(1, 'a whole number of 1 or more')
    chosen = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    actions = {name: chosen.add_parser(name, help=what) for name, what in _ACTIONS.items()}
    for name, action in actions.items():
        action.add_argument('--data', required=True, type=Path, metavar='DATA', help='folder of the data sets')
        if name in ('list', 'evaluate', 'run'):
            add_json(action)
        if name in ('list', 'miniature', 'train'):
            continue
        action.add_argument('--dataset', required=True, metavar='NAME',
                            help='a name of "segvlad reproduce list", or a folder of your own')
        action.add_argument('--finetuned', action='store_true', help='use features and words of the fine-tuned network')
        action.add_argument('--size', type=image_size, metavar='WxH',
                            help='image size of a folder of your own, pixels (640x480)')
    reproduce_extract.add_what(actions['extract'])
    for name in ('extract', 'run'):
        reproduce_extract.add_arguments(actions[name])
    for name in ('vocabulary', *_EVALUATING):
        actions[name].add_argument('--words', type=number, default=32, metavar='K', help='number of words of a '
                                   'vocabulary that is made here (%(default)s)')
    reproduce_train.add_arguments(actions['train'])
    for name in _EVALUATING:
        _add_experiment(actions[name], number, saved=name == 'evaluate')
    for name in ('evaluate', 'run'):
        _add_vote(actions[name])


def _add_experiment(action: argparse.ArgumentParser, number: Callable[[str], int], saved: bool) -> None:
    """Options that name an experiment.

    :param saved: whether results that were saved may take its place
    """
    which = action.add_mutually_exclusive_group(required=True)
    which.add_argument('--experiment', metavar='NAME', help='a name of "segvlad reproduce list"')
    if saved:
        which.add_argument('--results', type=Path, metavar='DIR', help='recompute recall from a folder written by '
                           '--save-results or the research code')
    action.add_argument('--vocabulary', choices=VOCABULARIES, default='domain',
                        help='words of the kind of place, or of the data set itself (%(default)s)')
    action.add_argument('--centres', type=Path, metavar='FILE|DIR', help='the words: a file, or a folder like the '
                        f"authors' {AUTHORS_WORDS}; default: DATA/vocabulary")
    action.add_argument('--pca-dimension', type=number, default=1024, metavar='D',
                        help='dimension of the PCA, if it has to be fitted (%(default)s)')


def _add_vote(action: argparse.ArgumentParser) -> None:
    from segvlad_ros.evaluation.reference_voting import RULES

    action.add_argument('--rule', type=_rule, choices=RULES, default=_RULE, help='how segments vote (%(default)s)')
    action.add_argument('--report', type=Path, metavar='FILE.html', help='also write a report with pictures')
    action.add_argument('--output', type=Path, metavar='FILE.json', help='also write what was found for each query, '
                        'for "segvlad evaluate compare"')
    action.add_argument('--save-results', action='store_true', help='save what was found, in the files of the research '
                        'code, in DATA/NAME/out/results/global')


def _rule(name: str) -> str:
    return _RULE if name == 'max_seg_topk_wt_borda_Im' else name  # as the research code calls it


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    from segvlad_ros.cli.reproduce_list import show

    if args.action in ('run', 'evaluate'):
        _check_outputs(args)
    return {'list': show, 'run': _run, 'extract': reproduce_extract.run, 'vocabulary': _vocabulary, 'pca': _pca,
            'miniature': _miniature, 'evaluate': _evaluate, 'train': reproduce_train.run}[args.action](args)


def _check_outputs(args: argparse.Namespace) -> None:
    from segvlad_ros.evaluation.page import check_drawing

    check_report_and_output(args)
    if args.report:
        check_drawing()
    if args.save_results:
        from segvlad_ros.evaluation.saved_results import check_saving, results_folder

        check_output_folder(results_folder(_dataset(args), args.data), '--save-results')
        if args.experiment:
            check_saving(_experiment(args))


def _run(args: argparse.Namespace) -> int:
    row, dataset = _experiment(args), _dataset(args)
    truth = _truth(args, dataset)  # found out before long work, as are the words
    _evaluation(args).given_words()
    kinds = ('features', 'masks') if row.order is not None else ('features',)
    reproduce_extract.extract_kinds(args, [
        kind for kind in kinds if authors_archive(dataset, args.data, kind, args.finetuned) is None])
    return _measure(args, truth)


def _truth(args: argparse.Namespace, dataset: PlaceDataset) -> list[np.ndarray]:
    truth = dataset.true_references(args.data)
    if not any(len(true) for true in truth):
        raise SegvladError(f'{dataset.name}: none of {len(truth)} queries has a true reference, so there is no recall: '
                           'check the ground truth')
    return truth


def _dataset(args: argparse.Namespace) -> PlaceDataset:
    return place_dataset(args.dataset, args.data, args.size)


def _experiment(args: argparse.Namespace) -> PaperExperiment:
    return _voting(_described(experiment(args.experiment), args), args)


def _described(row: PaperExperiment, args: argparse.Namespace) -> PaperExperiment:
    """The same, if the number of words is that of words that are made here."""
    from segvlad_ros.evaluation.paper_evaluation import PaperEvaluation

    made = args.vocabulary == 'map' and (args.centres is None or args.centres.is_dir())
    check_partner('--words', args.words != PaperEvaluation.words, '--vocabulary map', made)
    return row


def _voting(row: PaperExperiment, args: argparse.Namespace) -> PaperExperiment:
    """The same, if it has votes for ``--rule``."""
    check_partner('--rule', args.rule != _RULE, 'an experiment on segments', row.order is not None)
    return row


def _evaluation(args: argparse.Namespace) -> PaperEvaluation:
    from segvlad_ros.evaluation.paper_evaluation import PaperEvaluation

    said = vars(args)
    return PaperEvaluation(_dataset(args), args.data, progress,
                           **{name: said[name] for name in _DESCRIBING if name in said})


def _miniature(args: argparse.Namespace) -> int:
    from segvlad_ros.simulation.image_set import write_image_set

    folder = args.data / 'miniature'
    write_image_set(folder, lambda numbers: progress(numbers, 'images'))
    print(f'{folder}: now "segvlad reproduce run --data {args.data} --dataset miniature --preset classic '
          '--vocabulary map --experiment exp5_global_SegLoc_VLAD_o1"')
    return OK


def _vocabulary(args: argparse.Namespace) -> int:
    print(_evaluation(args).fit_vocabulary())
    return OK


def _pca(args: argparse.Namespace) -> int:
    print(_evaluation(args).fit_pca(_described(experiment(args.experiment), args)))
    return OK


def _evaluate(args: argparse.Namespace) -> int:
    return _measure(args, _truth(args, _dataset(args)))


def _measure(args: argparse.Namespace, truth: list[np.ndarray]) -> int:
    from segvlad_ros.evaluation.paper_evaluation import result_of
    from segvlad_ros.evaluation.recall_page import Ranking, write_ranking, write_recall_page

    evaluation = _evaluation(args)
    row, retrieved, images, made_with = _read_results(args, evaluation) if getattr(args, 'results', None) else \
        _search(args, evaluation)
    result = result_of(row, retrieved, images, truth, args.rule)
    if args.action == 'run':
        made_with['preset'] = args.preset
    report = {'dataset': evaluation.dataset.name, 'experiment': row.name, **made_with,
              'rule': None if row.order is None else args.rule, 'queries': sum(bool(len(true)) for true in truth),
              'query_segments': result.query_segments, 'map_segments': result.map_segments,
              'recall': result.recall.tolist(), 'paper': evaluation.dataset.recall}
    print(json.dumps(report, indent=1) if args.json else _as_text(report))
    if args.report or args.output:
        ranking = Ranking(result.ranked, truth, *evaluation.dataset.images(args.data))
    if args.report:
        write_recall_page(args.report, ranking, report)
    if args.output:
        write_ranking(args.output, ranking, report)
    return OK


def _search(args: argparse.Namespace, evaluation: PaperEvaluation) -> _Found:
    """What is found, and the files that it was found with."""
    from segvlad_ros.evaluation.reproduction import NEIGHBOURS, SAVED_NEIGHBOURS
    from segvlad_ros.evaluation.saved_results import ResultFiles

    row = _experiment(args)
    searched = evaluation.search(row, SAVED_NEIGHBOURS if args.save_results else NEIGHBOURS)
    made_with = {'words': str(searched.words), 'pca': searched.pca and str(searched.pca)}
    if args.save_results:
        files = ResultFiles.new(args.data, evaluation.dataset, row, evaluation.words_name)
        files.write(searched)
        made_with['results'] = str(files.folder)
    return row, searched.retrieved, (searched.references.images, searched.queries.images), made_with


def _read_results(args: argparse.Namespace, evaluation: PaperEvaluation) -> _Found:
    from segvlad_ros.evaluation.saved_results import ResultFiles

    if args.save_results:
        raise SegvladError('--save-results: the results of --results are already saved')
    for name in _DESCRIBING:  # what was found was found with those of its own; which network's it is may be said
        given = name != 'finetuned' and getattr(args, name) != getattr(type(evaluation), name)
        check_partner(f'--{name.replace("_", "-")}', given, '--experiment', False)
    files = ResultFiles.found(args.results, evaluation.dataset)
    return _voting(files.row, args), *files.read(args.data), {'results': str(files.folder)}


def _as_text(report: dict[str, Any]) -> str:
    shares = '  '.join(f'@{rank} {100 * share:.1f} %' for rank, share in enumerate(report['recall'], 1))
    lines = [f'{report["dataset"]}, {report["experiment"]}: {report["queries"]} queries of '
             f'{report["query_segments"]} segments, a map of {report["map_segments"]}', f'recall{shares}']
    lines += [f'{what}: {report[what]}' for what in ('preset', 'words', 'pca', 'results') if report.get(what)]
    if report['paper']:
        lines.append(f'paper, with SAM ViT-H and DINOv2 ViT-g, recall@1 / @5 in %: {report["paper"]}')
    return '\n'.join(lines)
