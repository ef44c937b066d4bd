"""The place database on a Milvus server, embedded (milvus-lite) or a cluster: one row a segment."""
from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from segvlad_ros.fleet.place_database import FoundSegments, KeyframeFacts
from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.paths import from_home
from segvlad_ros.types import Keyframe, KeyframeId, KeyframeKey, Pose, SegvladError, SessionKey

TIMEOUT_S = 30.0
"""Longest time that one request may take: milvus-lite stands still while it writes a segment or answers another robot.
Nobody but the asking thread waits for it."""
MAX_TEXT = 200  # characters of a site or session
COLLECTION = 'segvlad_places_'  # what its name begins with, before the digest
_PAGE = 1000  # keyframes a request, where they are listed or deleted
# milvus-lite searches its rows exactly: what it is for fits that, and an index of it costs more than it saves.
_INDEX = {'index_type': 'IVF_RABITQ', 'params': {'nlist': 1024, 'refine': True, 'refine_type': 'SQ8'}}
_SEARCH = {'nprobe': 32, 'refine_k': 2}
_LITE_INDEX = {'index_type': 'FLAT'}


@dataclass(frozen=True)
class DatabaseAddress:
    """Where the place database is, and which part of it counts.

    :ivar uri: http://HOST:PORT, or https://HOST:PORT with TLS
    :ivar site: the building or area that the robots share; other sites are not searched
    :ivar token_file: file with the token, or user:password, of a server that asks for one; '' for none
    :ivar ca_file: certificate (PEM) that the server's is checked against; '' takes the system's
    """

    uri: str
    site: str = 'default'
    token_file: str = ''
    ca_file: str = ''

    def __post_init__(self) -> None:
        if not self.uri.startswith(('http://', 'https://')) or '@' in self.uri:
            raise SegvladError('the place database needs an address such as http://192.168.0.10:19530 (https:// with '
                               'TLS); a password belongs in the token file')
        if not self.site or len(self.site) > MAX_TEXT or not self.site.isprintable():
            raise SegvladError(f'site {self.site[:MAX_TEXT]!r} is not usable: give a name of 1 to {MAX_TEXT} letters')
        for name, path in (('token', self.token_file), ('certificate', self.ca_file)):
            if path and not from_home(path).is_file():
                raise SegvladError(f'{name} file {path}: no such file')

    @property
    def destination(self) -> str:
        """Database and site in one text."""
        return f'{self.uri} {self.site}'

    def client(self, pymilvus: Any) -> Any:
        """A connected client with a channel of its own."""
        token = from_home(self.token_file).read_text(encoding='utf-8').strip() if self.token_file else ''
        secure = {'secure': True} if self.uri.startswith('https://') else {}
        if self.ca_file:
            secure['server_pem_path'] = str(from_home(self.ca_file))
        return pymilvus.MilvusClient(self.uri, token=token, timeout=TIMEOUT_S, dedicated=True, **secure)


class MilvusPlaces:
    """A site's keyframes in the collection of one fingerprint. A context manager that closes the connection.

    Primary key is the text ``site/robot/session/keyframe/segment``, so a segment that is sent again replaces itself;
    site is the partition key, too. What is known of a keyframe beside its segments is with segment 0.

    :param digest: of the fingerprint of all that is stored and asked
    :param dimension: d of the descriptors
    :raises SegvladError: not reachable, or pymilvus is not installed
    """

    def __init__(self, address: DatabaseAddress, digest: str, dimension: int) -> None:
        if not digest.isalnum():
            raise SegvladError('the map cannot be shared: its fingerprint has no digest to tell which pipeline made it')
        self._address = address
        self.collection = COLLECTION + digest
        pymilvus = import_extra('pymilvus')
        logging.getLogger('pymilvus').setLevel(logging.CRITICAL)  # it logs what it raises, with tracebacks
        with self._reporting():
            self._client = address.client(pymilvus)
            try:
                self._lite = 'lite' in self._client.get_server_version(timeout=TIMEOUT_S)
                self._open(pymilvus, dimension)
            except BaseException:
                self._client.close()
                raise

    def __enter__(self) -> MilvusPlaces:
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a request of another thread ends with an error."""
        self._client.close()

    def upsert(self, keyframe: Keyframe) -> None:
        """See :class:`~segvlad_ros.fleet.place_database.PlaceDatabase`."""
        identity = keyframe.id
        if len(identity.session_id) > MAX_TEXT:
            raise SegvladError(f'session {identity.session_id[:40]!r}... has a name of more than {MAX_TEXT} letters')
        common = {'site': self._address.site, 'robot': identity.robot_id, 'session': identity.session_id,
                  'keyframe': identity.index}
        rows = [{**common, 'id': self._segment_key(identity.key, number), 'segment': number,
                 'facts': _pack_facts(keyframe) if number == 0 else {}, 'vector': row}
                for number, row in enumerate(keyframe.description.descriptors)]
        if rows:
            with self._reporting():
                self._client.upsert(self.collection, rows, timeout=TIMEOUT_S)

    def search(self, descriptors: np.ndarray, neighbours: int,
               leave_out: Collection[SessionKey] = ()) -> FoundSegments:
        """See :class:`~segvlad_ros.fleet.place_database.PlaceDatabase`."""
        similarities = np.full((len(descriptors), neighbours), -np.inf, np.float32)
        owners = np.full(similarities.shape, -1, np.int64)
        known: dict[KeyframeKey, int] = {}
        if not len(descriptors):
            return FoundSegments(similarities, owners, [])
        unwanted = f' and not ({_of_sessions(leave_out)})' if leave_out else ''
        with self._reporting():
            answers = self._client.search(
                self.collection, list(descriptors), limit=neighbours, filter=self._of_site() + unwanted,
                output_fields=['id'], timeout=TIMEOUT_S,
                search_params={'metric_type': 'IP', 'params': {} if self._lite else _SEARCH})
        for row, hits in enumerate(answers):
            for rank, hit in enumerate(hits):
                similarities[row, rank] = hit['distance']
                owners[row, rank] = known.setdefault(_keyframe_of(hit['id']), len(known))
        return FoundSegments(similarities, owners, list(known))

    def delete(self, keyframes: Iterable[KeyframeKey]) -> None:
        """See :class:`~segvlad_ros.fleet.place_database.PlaceDatabase`."""
        for session, keys in groupby(sorted(keyframes), key=_session_of):
            while page := [key.index for key in islice(keys, _PAGE)]:
                with self._reporting():
                    self._client.delete(self.collection, timeout=TIMEOUT_S, filter=(
                        f'{self._of_site()} and {_of_sessions([session])} and keyframe in {page}'))

    def count(self, sessions: Collection[SessionKey]) -> int:
        """See :class:`~segvlad_ros.fleet.place_database.PlaceDatabase`."""
        if not sessions:
            return 0
        with self._reporting():
            answer = self._client.query(self.collection, filter=self._first_segments(sessions), timeout=TIMEOUT_S,
                                        output_fields=['count(*)'], consistency_level='Strong')
        return answer[0]['count(*)']

    def keyframes(self, sessions: Collection[SessionKey]) -> set[KeyframeKey]:
        """See :class:`~segvlad_ros.fleet.place_database.PlaceDatabase`."""
        found: set[KeyframeKey] = set()
        if not sessions:
            return found
        with self._reporting():
            pages = self._client.query_iterator(
                self.collection, batch_size=_PAGE, filter=self._first_segments(sessions), output_fields=['id'],
                timeout=TIMEOUT_S, consistency_level='Strong')
            while page := pages.next():
                found.update(_keyframe_of(row['id']) for row in page)
            pages.close()
        return found

    def facts(self, keyframes: Iterable[KeyframeKey]) -> dict[KeyframeKey, KeyframeFacts]:
        """See :class:`~segvlad_ros.fleet.place_database.PlaceDatabase`."""
        keys = [self._segment_key(key, 0) for key in keyframes]
        if not keys:
            return {}
        with self._reporting():
            rows = self._client.get(self.collection, keys, output_fields=['id', 'facts'], timeout=TIMEOUT_S)
        return {key: _unpack_facts(key, row['facts']) for row in rows for key in [_keyframe_of(row['id'])]}

    def _open(self, pymilvus: Any, dimension: int) -> None:
        """Make the collection, unless another robot has, and load it."""
        if not self._client.has_collection(self.collection, timeout=TIMEOUT_S):
            schema, index = _schema(pymilvus, dimension), self._client.prepare_index_params()
            index.add_index('vector', metric_type='IP', **(_LITE_INDEX if self._lite else _INDEX))
            try:
                self._client.create_collection(self.collection, schema=schema, index_params=index, timeout=TIMEOUT_S)
            except pymilvus.MilvusException:
                if not self._client.has_collection(self.collection, timeout=TIMEOUT_S):
                    raise
        self._client.load_collection(self.collection, timeout=TIMEOUT_S)

    def _segment_key(self, key: KeyframeKey, segment: int) -> str:
        """Names are percent-encoded: pymilvus pages by primary keys that it does not quote."""
        site, session = (quote(name, safe='') for name in (self._address.site, key.session_id))
        return f'{site}/{key.robot_id}/{session}/{key.index}/{segment}'

    def _of_site(self) -> str:
        return f'site == {_text(self._address.site)}'

    def _first_segments(self, sessions: Collection[SessionKey]) -> str:
        return f'{self._of_site()} and segment == 0 and ({_of_sessions(sessions)})'

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turn what pymilvus and gRPC raise into one line that names the database."""
        import grpc
        from pymilvus import MilvusException

        try:
            yield
        except MilvusException as error:
            reason = error.message
        except grpc.RpcError as error:
            reason = error.details() if hasattr(error, 'details') else str(error)
        except (OSError, ValueError) as error:  # a file that cannot be read; a closed channel
            reason = str(error)
        else:
            return
        raise SegvladError(f'place database {self._address.uri}: {" ".join(str(reason).split())[:200]}; is the server '
                           'running and reachable?')


def _schema(pymilvus: Any, dimension: int) -> Any:
    kind = pymilvus.DataType
    schema = pymilvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field('id', kind.VARCHAR, is_primary=True, max_length=2 * 12 * MAX_TEXT + 64)
    schema.add_field('site', kind.VARCHAR, max_length=4 * MAX_TEXT, is_partition_key=True)  # bytes, of UTF-8
    schema.add_field('robot', kind.INT64)
    schema.add_field('session', kind.VARCHAR, max_length=4 * MAX_TEXT)
    schema.add_field('keyframe', kind.INT64)
    schema.add_field('segment', kind.INT64)
    schema.add_field('facts', kind.JSON)
    schema.add_field('vector', kind.FLOAT_VECTOR, dim=dimension)
    return schema


def _keyframe_of(segment_key: str) -> KeyframeKey:
    _site, robot, session, keyframe, _segment = segment_key.split('/')
    return KeyframeKey(int(robot), unquote(session), int(keyframe))


def _session_of(key: KeyframeKey) -> SessionKey:
    return SessionKey(key.robot_id, key.session_id)


def _of_sessions(sessions: Collection[SessionKey]) -> str:
    """Filter expression: in one of these sessions."""
    robots = groupby(sorted(sessions), key=lambda session: session.robot_id)
    return ' or '.join(f'(robot == {robot} and session in [{", ".join(_text(key.session_id) for key in keys)}])'
                       for robot, keys in robots)


def _text(value: str) -> str:
    """A text in a filter expression, quoted."""
    return json.dumps(value, ensure_ascii=False)


def _pack_facts(keyframe: Keyframe) -> dict[str, Any]:
    pose = keyframe.best_pose
    facts: dict[str, Any] = {'stamp_ns': keyframe.id.stamp_ns, 'camera': keyframe.id.camera}
    if pose is not None:
        facts |= {'pose': [*map(float, pose.translation), *map(float, pose.quaternion)], 'frame': pose.frame}
    return facts


def _unpack_facts(key: KeyframeKey, facts: dict[str, Any] | str) -> KeyframeFacts:
    facts = json.loads(facts) if isinstance(facts, (str, bytes)) else facts
    pose = Pose(np.array(facts['pose'][:3]), np.array(facts['pose'][3:]), facts['frame']) if 'pose' in facts else None
    return KeyframeFacts(KeyframeId(*key, facts['stamp_ns'], facts['camera']), pose)
