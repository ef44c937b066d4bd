"""``segvlad map info|verify|build|merge|prune``: the life of a map file outside of the nodes."""
from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.cli import BELOW, OK, map_build
from segvlad_ros.cli.options import add_json, check_output, check_partner, progress, progress_bar, real, whole
from segvlad_ros.text import one_line
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.mapping.place_map import PlaceMap
    from segvlad_ros.pipeline.map_merge import Piece

_MERGE = ('Join maps of one fingerprint into a new one. No keyframe is removed or gets another identity. Each session '
          'is aligned to the frame of the first map by the places of that map that it recognises: its keyframes get '
          'optimised poses in that frame beside the measured ones. A session that cannot be aligned is joined without '
          'alignment, and the reason is reported. If interrupted, it leaves no map; the input maps are not changed.')
_PRUNE = ('Write a map without some of its keyframes; the map itself is not changed. Keyframes that fulfil all of '
          '--session, --before and --near are removed. Then, if the size is limited, the most redundant ones are '
          'removed: first the one with the most others within 1 m and 30 degrees of it (without poses: up to two '
          'before and two after it), the oldest of several, and so on. If interrupted, it leaves no map.')

_CONVERT = ('Write a map of an older format in the newest one, as the same map; descriptors and keypoints become '
            'coarser, as in every new map. If interrupted, it leaves no map; the old one is not changed.')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    actions = parser.add_subparsers(dest='action', metavar='info|verify|build|merge|prune|convert', required=True)
    for name, text in (('info', 'show sessions, sizes and the preset that made the map'),
                       ('verify', 'check the structure and every digest; exit status 1 if something is damaged')):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument('map', type=Path, help='map file (*.segvlad)')
        add_json(action)
    map_build.add_arguments(actions.add_parser('build', help='build a map offline from images or bags'))
    merge = actions.add_parser('merge', help='join maps, aligned by the places they share', description=_MERGE)
    merge.add_argument('maps', type=Path, nargs='+', metavar='MAP', help='map files; the first one gives the frame')
    merge.add_argument('--output', required=True, type=Path, metavar='FILE', help='the new map (*.segvlad)')
    merge.add_argument('--preset', help='name of a shipped preset, or a YAML file (default: that of the first map)')
    merge.add_argument('--anyway', action='store_true', help='also join maps that have nothing in common')
    prune = actions.add_parser('prune', help='write a map without some of its keyframes', description=_PRUNE)
    prune.add_argument('map', type=Path, help='map file (*.segvlad)')
    prune.add_argument('--output', type=Path, metavar='FILE', help='the new map (*.segvlad)')
    prune.add_argument('--session', action='append', default=[], metavar='ID',
                       help='remove keyframes of this session; ROBOT/ID where several robots have the id; may be '
                            'repeated')
    prune.add_argument('--before', type=_moment, metavar='DATE',
                       help='remove keyframes older than this, e.g. 2026-11-27 or 2026-11-27T13:00 (UTC)')
    prune.add_argument('--near', nargs=4, metavar=('X', 'Y', 'Z', 'RADIUS'),
                       type=real(lambda value: abs(value) < float('inf'), 'a finite number'),
                       help='remove keyframes within RADIUS metres of a point')
    prune.add_argument('--frame', default='', help="frame of that point (default: the only one of the map's poses)")
    number = whole(1, 'a whole number, 1 or more')
    prune.add_argument('--max-keyframes', type=number, metavar='N', help='largest number of keyframes of the new map')
    prune.add_argument('--max-mb', type=real(lambda value: 0 < value < float('inf'), 'a number above 0'), metavar='MB',
                       help='largest size of the new map, megabytes')
    prune.add_argument('--dry-run', action='store_true', help='only report what would be removed; sizes are estimated '
                                                              'from the mean per keyframe')
    convert = actions.add_parser('convert', help='write a map of an older format in the newest one',
                                 description=_CONVERT)
    convert.add_argument('map', type=Path, help='map file (*.segvlad)')
    convert.add_argument('output', type=Path, help='the new map')
    for action in (merge, prune, convert):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    from segvlad_ros.mapping.place_map import PlaceMap

    if args.action not in ('info', 'verify'):
        check_output(args.output, 'the new map' if args.action == 'convert' else '--output')
    if args.action == 'build':
        return map_build.run(args)
    if args.action == 'merge':
        return _merge(args)
    with PlaceMap.open(args.map) as place_map:
        return {'info': _info, 'verify': _verify, 'prune': _prune, 'convert': _convert}[args.action](place_map, args)


def _moment(text: str) -> int:
    """Nanoseconds of a date, or of a date and a time."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return (moment - datetime.fromtimestamp(0, timezone.utc)) // timedelta(microseconds=1) * 1000
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f'{text!r} is not a date: write 2026-11-27 or 2026-11-27T13:00') from None


def _info(place_map: PlaceMap, args: argparse.Namespace) -> int:
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
          f'{place_map.bytes / 1e6:.1f} MB ({size / 1e3:.0f} kB per keyframe), id {place_map.map_id}')
    for session in place_map.sessions():
        print(one_line(f'session {session.session_id} of robot {session.robot_id}: {session.keyframes} keyframes'))
    for name, value in place_map.fingerprint.items():
        print(one_line(f'{name:28} {value}'))
    return OK


def _verify(place_map: PlaceMap, args: argparse.Namespace) -> int:
    with progress_bar('verify') as show:
        problems = place_map.verify(show)
    if args.json:
        print(json.dumps({'map': str(args.map), 'keyframes': place_map.count, 'problems': problems}))
    else:
        print('\n'.join(problems) or f'{args.map}: {place_map.count} keyframes, all sound')
    return BELOW if problems else OK


def _convert(place_map: PlaceMap, args: argparse.Namespace) -> int:
    with progress_bar('convert') as show:
        place_map.convert(args.output, show)
    before, after = place_map.bytes, args.output.stat().st_size
    facts = {'map': str(args.map), 'output': str(args.output), 'keyframes': place_map.count,
             'format': place_map.version, 'bytes_before': before, 'bytes': after}
    print(json.dumps(facts) if args.json else
          f'{args.output}: {place_map.count} keyframes, {after / 1e6:.1f} MB (was {before / 1e6:.1f} MB)')
    return OK


def _merge(args: argparse.Namespace) -> int:
    from segvlad_ros.pipeline.map_merge import merge_maps

    if args.output.exists():  # it is written last, after long work
        raise SegvladError(f'{args.output}: exists already; give another name')
    pieces = merge_maps(args.maps, args.output, preset=args.preset, anyway=args.anyway, progress=progress)
    facts = [_facts(piece) for piece in pieces]
    if args.json:
        print(json.dumps({'map': str(args.output), 'bytes': args.output.stat().st_size, 'pieces': facts}))
        return OK
    print(f'{args.output}: {args.output.stat().st_size / 1e6:.1f} MB')
    for piece, fact in zip(pieces, facts):
        print(f'{piece.where}: session {", ".join(fact["sessions"])}: {fact["keyframes"]} keyframes, {_fate(piece)}')
    return OK


def _facts(piece: Piece) -> dict:
    """What scripts may know of a part of a merged map."""
    facts = {'map': str(piece.where), 'sessions': piece.sessions, 'keyframes': len(piece.ids),
             'is_common_frame': piece.is_common, 'recognized': piece.recognized, 'measured': piece.measured,
             'aligned': piece.alignment is not None, 'reason': piece.reason}
    if piece.alignment is None:
        return facts
    import numpy as np

    from segvlad_ros.geometry import from_matrix

    alignment = piece.alignment
    rigid = from_matrix(alignment.map_from_session)
    (median_m, p95_m), (median_rad, p95_rad) = (
        np.percentile(values, (50, 95)).tolist() for values in (alignment.residuals_m, alignment.residuals_rad))
    return {**facts, 'agreeing': alignment.agreeing, 'sightings': alignment.sightings,
            'residual_m': {'median': median_m, 'p95': p95_m}, 'residual_rad': {'median': median_rad, 'p95': p95_rad},
            'bent_m': alignment.bent_m,
            'map_from_session': [*rigid.translation.tolist(), *rigid.quaternion.tolist()]}


def _fate(piece: Piece) -> str:
    """What became of it, for people."""
    if piece.is_common:
        return 'the frame of the map'
    if piece.alignment is None:
        return f'joined without alignment: {piece.reason}'
    facts = _facts(piece)
    metres, radians = facts['residual_m'], facts['residual_rad']
    return (f'aligned by {facts["agreeing"]} of {facts["sightings"]} recognised places; residual median '
            f'{metres["median"]:.3f} m, {math.degrees(radians["median"]):.2f} degrees, 95 % {metres["p95"]:.3f} m, '
            f'{math.degrees(radians["p95"]):.2f} degrees; odometry bent by up to {facts["bent_m"]:.2f} m')


def _prune(place_map: PlaceMap, args: argparse.Namespace) -> int:
    import numpy as np

    from segvlad_ros.mapping.pruning import Selection, prune, session_names, to_prune

    if not (args.session or args.before is not None or args.near or args.max_keyframes or args.max_mb):
        raise SegvladError('say what to remove: --session, --before, --near, --max-keyframes or --max-mb')
    check_partner('--frame', args.frame, '--near', args.near)
    if args.output is None and not args.dry_run:
        raise SegvladError('give the new map with --output, or --dry-run')
    *center, radius = args.near or (0.0,)
    selection = Selection(tuple(args.session), args.before, np.array(center) if center else None, radius, args.frame)
    limits = {'max_keyframes': args.max_keyframes, 'max_bytes': args.max_mb and int(args.max_mb * 1e6)}
    gone = (to_prune(place_map, selection, **limits) if args.dry_run
            else prune(place_map, args.output, selection, **limits))
    names = session_names(identity.session for identity in place_map.ids())
    sessions = Counter(names[identity.session] for identity in gone)
    output = None if args.dry_run else args.output
    facts = {'map': str(args.map), 'output': output and str(output), 'keyframes': place_map.count - len(gone),
             'removed': len(gone), 'removed_by_session': sessions,
             'bytes': None if output is None else output.stat().st_size}
    if args.json:
        print(json.dumps(facts))
        return OK
    size = '' if output is None else f', {facts["bytes"] / 1e6:.1f} MB'
    print(f'{output or args.map}: {facts["keyframes"]} keyframes{size}; '
          f'{"would be removed" if args.dry_run else "removed"}: {len(gone)}')
    for session, count in sessions.items():
        print(f'session {session}: {count}')
    return OK
