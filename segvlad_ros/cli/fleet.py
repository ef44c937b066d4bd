"""``segvlad fleet serve|sync|query``: one place database for many robots."""
from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.cli import BELOW, OK
from segvlad_ros.cli.options import add_image_bits, add_json, add_preset, check_partner, chosen_preset, progress, whole
from segvlad_ros.types import SegvladError, SessionKey

if TYPE_CHECKING:
    from segvlad_ros.fleet.milvus import DatabaseAddress
    from segvlad_ros.fleet.remote_places import RemotePlace

MAP_SUFFIX = '.segvlad'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    actions = parser.add_subparsers(dest='action', metavar='serve|sync|query', required=True)
    serve = actions.add_parser('serve', help="run milvus-lite's server for the robots of one site")
    serve.add_argument('folder', type=Path, help='folder of the data; only one server at a time can use it')
    serve.add_argument('--host', default='127.0.0.1', help='address to listen on; 0.0.0.0: all (%(default)s). The '
                       'server asks for no password: only robots should be able to reach it')
    serve.add_argument('--port', type=whole(0, 'a port, 0 for a free one', 65535), default=19530, help='(%(default)s)')
    sync = actions.add_parser('sync', help='upload the keyframes of a map that the database does not have')
    sync.add_argument('map', type=Path, help='map file (*.segvlad); it is only read')
    query = actions.add_parser('query', help='find keyframes of other robots that look like an image, or like each '
                                             'keyframe of a map; exit status 1 if there are none')
    query.add_argument('query', type=Path, metavar='IMAGE|MAP', help='image file, or map file (*.segvlad), whose own '
                                                                     'sessions are not searched')
    query.add_argument('--top-k', type=whole(1, 'a number of keyframes, 1 or more'), default=5, metavar='N',
                       help='most keyframes in an answer (%(default)s)')
    add_preset(query)
    add_image_bits(query)
    for action in (sync, query):
        action.add_argument('--uri', required=True, help='address of the place database: http://HOST:PORT, or https:// '
                                                         'with TLS')
        action.add_argument('--site', default='default', help='building or area that the robots share (%(default)s)')
        action.add_argument('--token-file', default='', metavar='FILE', help='file with the token, or user:password')
        action.add_argument('--ca-file', default='', metavar='FILE', help="certificate (PEM) to check the server's "
                                                                          "against (default: the system's)")
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    return {'serve': _serve, 'sync': _sync, 'query': _query}[args.action](args)


def _serve(args: argparse.Namespace) -> int:
    from segvlad_ros.fleet.lite_server import LiteServer

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(OK))  # as a service manager ends it; the server ends first
    with LiteServer(args.folder, args.host, args.port) as server:
        print(f'serving {args.folder} on {server.uri}', flush=True)
        try:
            server.wait()
        except KeyboardInterrupt:
            print('stopping', file=sys.stderr)
    return OK


def _address(args: argparse.Namespace) -> DatabaseAddress:
    from segvlad_ros.fleet.milvus import DatabaseAddress

    return DatabaseAddress(args.uri, args.site, args.token_file, args.ca_file)


def _sync(args: argparse.Namespace) -> int:
    from segvlad_ros.fleet.milvus import MilvusPlaces
    from segvlad_ros.fleet.outbox import Outbox
    from segvlad_ros.mapping.place_map import PlaceMap

    address = _address(args)
    with PlaceMap.open(args.map) as place_map, \
            MilvusPlaces(address, str(place_map.fingerprint.get('digest', '')), place_map.dimension) as database:
        outbox = Outbox(place_map, address.destination)
        sent = sum(1 for _ in progress(outbox.sync(database), 'keyframes', outbox.waiting))
        facts = {'map': str(args.map), 'site': args.site, 'sent': sent, 'keyframes': outbox.sent}
    print(json.dumps(facts) if args.json else
          f'{args.map}: sent {sent} keyframes; the database holds all {outbox.sent}')
    return OK


def _query(args: argparse.Namespace) -> int:
    answers = list(_of_map(args) if args.query.suffix == MAP_SUFFIX else _of_image(args))
    if args.json:
        print(json.dumps([{'query': name, 'places': [_as_json(place) for place in places]}
                          for name, places in answers]))
    else:
        print('\n'.join(_as_text(name, places) for name, places in answers))
    return OK if any(places for _name, places in answers) else BELOW


def _of_image(args: argparse.Namespace) -> Iterator[tuple[str, list[RemotePlace]]]:
    from segvlad_ros.fleet.milvus import MilvusPlaces
    from segvlad_ros.fleet.remote_places import find_places
    from segvlad_ros.io.images import read_image
    from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer

    address, preset = _address(args), chosen_preset(args)
    rgb = read_image(args.query, args.image_bits)
    description = PlaceRecognizer(preset, device=args.device).describer.describe(rgb)
    if description.rejected:
        raise SegvladError(f'{args.query}: {description.rejected}')
    rows = description.descriptors
    with MilvusPlaces(address, preset.fingerprint()['digest'], rows.shape[1]) as database:
        yield str(args.query), find_places(database, rows, preset.vote.floor, top_k=args.top_k)


def _of_map(args: argparse.Namespace) -> Iterator[tuple[str, list[RemotePlace]]]:
    from segvlad_ros.fleet.milvus import MilvusPlaces
    from segvlad_ros.fleet.remote_places import find_places
    from segvlad_ros.mapping.place_map import PlaceMap

    check_partner('--image-bits', args.image_bits, 'an image as query', False)
    address, preset = _address(args), chosen_preset(args)
    with PlaceMap.open(args.query, fingerprint=preset.fingerprint()) as place_map, \
            MilvusPlaces(address, str(place_map.fingerprint.get('digest', '')), place_map.dimension) as database:
        own = [SessionKey(session.robot_id, session.session_id) for session in place_map.sessions()]
        for keyframe in progress(place_map.keyframes(), 'keyframes', place_map.count):
            yield (f'keyframe {keyframe.id.index} of session {keyframe.id.session_id}',
                   find_places(database, keyframe.description.descriptors, preset.vote.floor, top_k=args.top_k,
                               leave_out=own))


def _as_json(place: RemotePlace) -> dict:
    facts = {'robot_id': place.id.robot_id, 'session_id': place.id.session_id, 'index': place.id.index,
             'stamp_ns': place.id.stamp_ns, 'score': place.score, 'matched_segments': place.matched_segments}
    pose = place.pose
    return facts if pose is None else {**facts, 'frame': pose.frame, 'position': pose.translation.tolist(),
                                       'quaternion': pose.quaternion.tolist()}


def _as_text(name: str, places: list[RemotePlace]) -> str:
    lines = [f'  robot {place.id.robot_id}, session {place.id.session_id}, keyframe {place.id.index}: score '
             f'{place.score:.3f}, {place.matched_segments} segments{_where(place)}' for place in places]
    return '\n'.join([name, *(lines or ['  nothing is similar'])])


def _where(place: RemotePlace) -> str:
    if place.pose is None:
        return ''
    x, y, z = place.pose.translation
    return f', at ({x:.2f}, {y:.2f}, {z:.2f}) in {place.pose.frame!r}'
