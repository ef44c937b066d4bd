"""``segvlad map info|verify``: what is in a map file, and whether it is sound."""
from __future__ import annotations

import argparse
import json
from pathlib import Path

from segvlad_ros.cli import BELOW, OK
from segvlad_ros.cli.options import add_json, progress_bar
from segvlad_ros.text import one_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    actions = parser.add_subparsers(dest='action', metavar='info|verify', required=True)
    for name, text in (('info', 'sessions, sizes and the preset that made the map'),
                       ('verify', 'check the structure and every digest; exit status 1 if something is damaged')):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument('map', type=Path, help='map file (*.segvlad)')
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    from segvlad_ros.mapping.place_map import PlaceMap

    with PlaceMap.open(args.map) as place_map:
        return _verify(place_map, args) if args.action == 'verify' else _info(place_map, args)


def _info(place_map, args: argparse.Namespace) -> int:
    facts = {
        'map': str(args.map), 'map_id': place_map.map_id, 'keyframes': place_map.count,
        'segments': place_map.segments, 'dimension': place_map.dimension, 'bytes': place_map.bytes,
        'sessions': [vars(session) for session in place_map.sessions()], 'fingerprint': place_map.fingerprint,
    }
    if args.json:
        print(json.dumps(facts))
        return OK
    size = place_map.bytes / max(place_map.count, 1)
    print(f'{args.map}: {place_map.count} keyframes, {place_map.segments} segments of {place_map.dimension} values, '
          f'{place_map.bytes / 1e6:.1f} MB ({size / 1e3:.0f} kB a keyframe), id {place_map.map_id}')
    for session in place_map.sessions():
        print(one_line(f'session {session.session_id} of robot {session.robot_id}: {session.keyframes} keyframes'))
    for name, value in place_map.fingerprint.items():
        print(one_line(f'{name:28} {value}'))
    return OK


def _verify(place_map, args: argparse.Namespace) -> int:
    with progress_bar('verify') as progress:
        problems = place_map.verify(progress)
    if args.json:
        print(json.dumps({'map': str(args.map), 'keyframes': place_map.count, 'problems': problems}))
    else:
        print('\n'.join(problems) or f'{args.map}: {place_map.count} keyframes, all sound')
    return BELOW if problems else OK
