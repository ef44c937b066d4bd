"""Where a place database is, and what is said where its packages are missing; needs neither of them."""
import sys

import pytest

from segvlad_ros.fleet.lite_server import LiteServer
from segvlad_ros.fleet.milvus import DatabaseAddress, MilvusPlaces
from segvlad_ros.types import SegvladError


@pytest.mark.parametrize(('fields', 'says'), [
    ({'uri': ''}, 'needs an address'),
    ({'uri': '192.168.0.10:19530'}, 'needs an address'),
    ({'uri': 'milvus.db'}, 'needs an address'),
    ({'uri': 'https://robot:secret@host:19530'}, 'token file'),
    ({'uri': 'http://host:19530', 'site': ''}, 'site'),
    ({'uri': 'http://host:19530', 'site': 'a\nb'}, 'site'),
    ({'uri': 'http://host:19530', 'site': 'x' * 201}, 'site'),
    ({'uri': 'http://host:19530', 'token_file': '/nowhere/token'}, 'token file /nowhere/token: no such file'),
    ({'uri': 'https://host:19530', 'ca_file': '/nowhere/ca.pem'}, 'certificate file /nowhere/ca.pem: no such file'),
])
def test_an_address_that_cannot_be_used_is_refused_in_one_line(fields, says):
    with pytest.raises(SegvladError, match=says) as refused:
        DatabaseAddress(**fields)
    assert '\n' not in str(refused.value)
    assert 'secret' not in str(refused.value)


def test_token_and_certificate_reach_the_client(tmp_path):
    """What pymilvus is called with: a cluster with TLS cannot be had here."""
    (tmp_path / 'token').write_text(' robot:secret\n')
    (tmp_path / 'ca.pem').write_text('certificate')
    calls = []

    class Pymilvus:
        @staticmethod
        def MilvusClient(uri, **named):  # noqa: N802
            calls.append((uri, named))

    DatabaseAddress('https://host:19530', 'a', str(tmp_path / 'token'), str(tmp_path / 'ca.pem')).client(Pymilvus)
    DatabaseAddress('http://host:19530').client(Pymilvus)
    (_, secured), (_, plain) = calls
    assert secured['token'] == 'robot:secret'
    assert secured['secure'] is True
    assert secured['server_pem_path'] == str(tmp_path / 'ca.pem')
    assert plain['token'] == ''
    assert 'secure' not in plain


def test_what_no_pipeline_is_named_for_is_not_shared():
    with pytest.raises(SegvladError, match='no digest'):
        MilvusPlaces(DatabaseAddress('http://127.0.0.1:9'), '', 8)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'pymilvus', None)
    monkeypatch.setitem(sys.modules, 'milvus_lite', None)
    with pytest.raises(SegvladError, match="pip install 'pymilvus=="):
        MilvusPlaces(DatabaseAddress('http://127.0.0.1:9'), 'digest', 8)
    with pytest.raises(SegvladError, match="pip install 'pymilvus=="):
        LiteServer(tmp_path, '127.0.0.1', 0)
