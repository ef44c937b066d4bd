"""``segvlad benchmark``: how fast this package's stages are, on this machine."""
from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import segvlad_ros
from segvlad_ros.cli import BELOW, OK, benchmark_preset
from segvlad_ros.cli.options import add_device, add_json, check_output, real, whole
from segvlad_ros.evaluation.measure import busy_machine
from segvlad_ros.io.whole_files import whole_file
from segvlad_ros.types import SegvladError

_MAP = ('Write maps of synthetic keyframes with the statistics of real ones, answer queries in each, and compare the '
        'results with an exact search: time, recall, memory and size. A million segments take up to 20 minutes.')
STAGES = ('sam', 'dinov2', 'description', 'vote')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    number = whole(1, 'a whole number of 1 or more')
    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    stock = actions.add_parser('stock', help='compare each stage with stock or literal code, on the same weights and '
                                             'images')
    stock.add_argument('--stage', action='append', choices=STAGES, help='only this one; may be repeated')
    stock.add_argument('--repeats', type=number, default=3,
                       help='timed pairs for SAM, of which the median is taken; three times as many for the other '
                            'stages (%(default)s)')
    stock.add_argument('--points', type=number, default=16, help='side of the grid of SAM points (%(default)s)')
    add_device(stock, 'torch device: cpu, cuda')
    threads = stock.add_mutually_exclusive_group()
    threads.add_argument('--cpu-time', action='store_true',
                         help='measure the CPU time of one thread, which other load on the machine does not affect')
    threads.add_argument('--threads', type=whole(1, 'a number of threads, 1 or more', 1024), metavar='N',
                         help='threads of numpy, OpenCV and torch (default: unchanged)')
    stock.add_argument('--output', type=Path, metavar='FILE.json',
                       help='write the result there, and a table beside it as FILE.md')
    add_json(stock)
    growth = actions.add_parser('map', description=_MAP,
                                help='compare the search of synthetic maps, from 1e3 segments, with an exact one')
    growth.add_argument('--data', type=Path, help='folder of the image sets that maps are made from (default: '
                        'shared/data beside the repository if it exists, else images of the simulated building)')
    growth.add_argument('--work', type=Path,
                        help='folder that keeps the described images (default: a temporary one)')
    segments = real(lambda value: 1000 <= value < float('inf'), 'a number of at least 1000')
    growth.add_argument('--largest', type=segments, default=1e6, metavar='SEGMENTS',
                        help='size of the largest map: 1e7 takes hours, and 5 GB (%(default)g)')
    growth.add_argument('--queries', type=number, default=400, metavar='N', help='queries per size (%(default)s)')
    growth.add_argument('--exact-queries', type=number, metavar='N',
                        help='queries also searched exactly (default: all up to 1e6 segments, 40 beyond)')
    growth.add_argument('--output', type=Path, metavar='FILE.json',
                        help='write the result there, and a table and a plot beside it as FILE.md and FILE.png')
    add_json(growth)
    benchmark_preset.add_arguments(actions.add_parser(
        'preset', help='measure what a preset costs here: milliseconds per stage, memory, bytes per keyframe'))


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`. Exit status 1 where a ratio is below its floor."""
    if args.action != 'preset':
        check_output(args.output, '--output')
    return {'stock': _stock, 'map': _map, 'preset': benchmark_preset.run}[args.action](args)


def _map(args: argparse.Namespace) -> int:
    map_search = _script('map_search')
    shared = _repository().parent / 'shared' / 'data'
    data = args.data or (shared if shared.is_dir() else None)
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        report = map_search.measure(data, work, args.largest, args.queries, args.exact_queries)
    page = map_search.as_markdown(report)
    if args.output:
        _write(args.output, report, page)
        map_search.plot(report, args.output.with_suffix('.png'))
    print(json.dumps(report, indent=1) if args.json else page)
    return OK


def _stock(args: argparse.Namespace) -> int:
    stock = _script('stock')

    from segvlad_ros.evaluation.measure import machine

    stages = args.stage or STAGES
    now = time.process_time if args.cpu_time else time.perf_counter
    results = []
    with _threads(1 if args.cpu_time else args.threads):
        if 'sam' in stages:
            results += stock.compare_sam(args.points, args.repeats, args.device, now)
        if 'dinov2' in stages:
            results.append(stock.compare_dinov2(args.repeats, args.device, now))
        if 'description' in stages:
            results.append(stock.compare_description(args.repeats, now))
        if 'vote' in stages:
            results.append(stock.compare_vote(args.repeats, now))
        facts = machine(args.device)
    report = {'machine': facts, 'weights': 'seeded random', 'repeats': args.repeats,
              'clock': 'CPU time of one thread' if args.cpu_time else 'wall time',
              'comparisons': [result.as_dict() for result in results]}
    if args.output:
        _write(args.output, report, _as_markdown(report))
    print(json.dumps(report, indent=1) if args.json else _as_text(report))
    return OK if all(row['good'] for row in report['comparisons']) else BELOW


def _write(output: Path, report: dict[str, Any], page: str) -> None:
    for path, text in ((output, json.dumps(report, indent=1) + '\n'), (output.with_suffix('.md'), page)):
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding='utf-8')


def _repository() -> Path:
    return Path(segvlad_ros.__file__).resolve().parents[1]


def _script(name: str) -> ModuleType:
    """A module of the folder ``benchmark``, which is not part of the installed package."""
    folder = _repository() / 'benchmark'
    if not (folder / f'{name}.py').is_file():
        raise SegvladError('the code to compare with is not installed with the package: git clone the repository, and '
                           'run this there')
    sys.path.append(os.fspath(folder))
    return importlib.import_module(name)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Limit the threads of numpy, OpenCV and torch, whichever are loaded; None limits nothing."""
    if count is None:
        yield
        return
    import cv2

    from segvlad_ros.io.extras import import_base

    threadpool_limits = import_base('threadpoolctl', 'benchmarks with --threads').threadpool_limits
    cv2.setNumThreads(count)
    with suppress(ImportError):
        import torch

        torch.set_num_threads(count)
    with threadpool_limits(count):
        yield


def _as_text(report: dict[str, Any]) -> str:
    facts = report['machine']
    lines = [f'{facts.get("gpu") or facts["cpu"]}, {facts["cores"]} cores, {report["clock"]}']
    if report['clock'] == 'wall time' and (busy := busy_machine(facts)):
        lines.append(f'{busy}; see --cpu-time')
    for row in report['comparisons']:
        memory = ('' if row['ours_mb'] is None else
                  f'; memory {row["ours_mb"]:.0f} MB, {row["baseline_mb"]:.0f} MB before')
        lines.append(f'{"ok" if row["good"] else "BELOW":5} {row["name"]}: {row["ours_ms"]:.3g} ms, '
                     f'{row["ratio"]:.3g} times as fast as {row["baseline"]} ({row["baseline_ms"]:.3g} ms; '
                     f'at least {row["floor"]:g} asked){memory}')
    return '\n'.join(lines)


def _as_markdown(report: dict[str, Any]) -> str:
    facts = report['machine']
    lines = ['# Against stock and literal code', '',
             f'Written by `segvlad benchmark stock` in one run on {facts.get("gpu") or facts["cpu"]}, {facts["cores"]} '
             f'cores; {facts.get("torch_threads", "no")} torch threads, {report["clock"]}, load average '
             f'{facts["load_average"]:.1f}; weights are {report["weights"]}. Ours and theirs are called in turn; the '
             f'ratio is the median of {report["repeats"]} pairs ({3 * report["repeats"]} where no SAM is in it), its '
             'range beside it. Memory is what one call takes on top of what was there.', '',
             '| stage | against | ours, ms | theirs, ms | ratio | range | asked | memory, MB | of | |',
             '|---|---|---|---|---|---|---|---|---|---|']
    for row in report['comparisons']:
        memory = ['' if row[key] is None else f'{row[key]:.0f}' for key in ('ours_mb', 'baseline_mb')]
        low, high = row['ratio_range']
        details = ', '.join(f'{key} {value:.2g}' if isinstance(value, float) else f'{key} {value}'
                            for key, value in row['details'].items())
        lines.append(f'| {row["name"]} | {row["baseline"]} | {row["ours_ms"]:.4g} | {row["baseline_ms"]:.4g} '
                     f'| {row["ratio"]:.3g} | {low:.3g} to {high:.3g} | {row["floor"]:g} | {memory[0]} | {memory[1]} '
                     f'| {details} |')
    return '\n'.join(lines) + '\n'
