"""Fetching and verifying weights, against a server on loopback that cuts, refuses and lies."""
import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from file_server import serving

from segvlad_ros.cli import main
from segvlad_ros.io.weight_download import ATTEMPTS, fetch
from segvlad_ros.io.weights import CATALOGUE, PINS, Weights, entry_named, sha256_of, verify
from segvlad_ros.types import SegvladError


def archive(kilobytes=300, seed=0):
    """Bytes as torch writes them: a zip archive."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w') as file:
        file.writestr('archive/data/0', np.random.default_rng(seed).bytes(kilobytes * 1024))
    return data.getvalue()


CONTENT = archive()


@pytest.fixture
def server():
    with serving(CONTENT) as server:
        yield server


def entry(server, **changes):
    values = {'name': 'small', 'file': 'small.pth', 'url': server.url, 'licence': 'MIT', 'purpose': 'tests',
              'origin': 'the test', 'size': len(CONTENT), 'sha256': hashlib.sha256(CONTENT).hexdigest(),
              'digest_source': 'the test'}
    return Weights(**{**values, **changes})


def test_a_file_arrives_whole_and_nothing_else_stays(server, tmp_path):
    seen = []
    path = fetch(entry(server), tmp_path / 'new', progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in path.parent.iterdir()] == ['small.pth']


def test_what_is_there_is_verified_and_not_fetched(server, tmp_path):
    fetch(entry(server), tmp_path)
    fetch(entry(server), tmp_path)
    assert server.starts == [0]
    (tmp_path / 'small.pth').write_bytes(CONTENT[:-1] + b'?')
    with pytest.raises(SegvladError, match='is not small'):
        fetch(entry(server), tmp_path)


def test_a_cut_connection_is_continued_where_it_was_cut(server, tmp_path):
    server.cut = len(CONTENT) // 3 + 1
    assert fetch(entry(server), tmp_path).read_bytes() == CONTENT
    assert server.starts == [0, server.cut, 2 * server.cut]


def test_giving_up_keeps_what_arrived_for_the_next_call(server, tmp_path):
    server.cut = 10_000
    with pytest.raises(SegvladError, match='run the command again'):
        fetch(entry(server), tmp_path)
    part = tmp_path / 'small.pth.part'
    assert part.read_bytes() == CONTENT[:ATTEMPTS * 10_000]
    assert not (tmp_path / 'small.pth').exists()
    server.cut = None
    assert fetch(entry(server), tmp_path).read_bytes() == CONTENT
    assert server.starts[-1] == ATTEMPTS * 10_000


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.ranges = False
    (tmp_path / 'small.pth.part').write_bytes(b'x' * 5000)
    assert fetch(entry(server), tmp_path).read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / 'small.pth.part').write_bytes(b'x' * (len(CONTENT) + 5))
    assert fetch(entry(server, size=None), tmp_path).read_bytes() == CONTENT


def test_a_wrong_part_is_noticed_and_dropped(server, tmp_path):
    (tmp_path / 'small.pth.part').write_bytes(b'PK' * 1000)
    with pytest.raises(SegvladError, match='is not small|truncated'):
        fetch(entry(server), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(entry(server), tmp_path).read_bytes() == CONTENT


def test_another_file_of_the_same_length_is_refused(server, tmp_path):
    server.content = archive(seed=1)
    assert len(server.content) == len(CONTENT)
    with pytest.raises(SegvladError, match='SHA-256'):
        fetch(entry(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_length_is_refused_before_a_byte_is_written(server, tmp_path):
    server.content = archive(kilobytes=10)
    with pytest.raises(SegvladError, match='another file, not fetched'):
        fetch(entry(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('kind', ['text/html', 'application/octet-stream'])
def test_a_web_page_in_place_of_the_file_is_refused(server, tmp_path, kind):
    server.content, server.kind = b'<!doctype html><title>Sign in</title>', kind
    with pytest.raises(SegvladError, match='web page'):
        fetch(entry(server, size=None, sha256=None), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_and_a_missing_server_are_one_line(server, tmp_path):
    server.content = None
    with pytest.raises(SegvladError, match='404'):
        fetch(entry(server), tmp_path)
    with pytest.raises(SegvladError, match='could not be fetched'):
        fetch(entry(server), tmp_path, url='http://127.0.0.1:9/weights.pth')
    with pytest.raises(SegvladError, match='https://'):
        fetch(entry(server), tmp_path, url='file:///etc/passwd')
    for address in ('http://[bad', 'http://127.0.0.1/größe'):
        with pytest.raises(SegvladError, match='is not a web address'):
            fetch(entry(server), tmp_path, url=address)


def test_an_unpublished_digest_is_noted_and_a_change_noticed(server, tmp_path):
    unknown = entry(server, sha256=None, size=None)
    path = fetch(unknown, tmp_path)
    assert json.loads((tmp_path / PINS).read_text()) == {'small': sha256_of(path)}
    assert 'unchanged' in verify(path, unknown)
    path.write_bytes(archive(seed=2))
    with pytest.raises(SegvladError, match='has changed'):
        verify(path, unknown)


@pytest.mark.parametrize(('content', 'message'), [
    (b'', 'empty'), (CONTENT[:-100], 'truncated'), (b'\n <html>', 'web page')], ids=['empty', 'short', 'page'])
def test_damage_is_named(tmp_path, content, message):
    path = tmp_path / 'mine.pth'
    path.write_bytes(content)
    with pytest.raises(SegvladError, match=message):
        verify(path)


def test_damaged_notes_are_one_line(tmp_path):
    (tmp_path / 'mine.pth').write_bytes(CONTENT)
    for notes in ('{', '[]', '{"mine.pth": 3}', '[' * 100000):
        (tmp_path / PINS).write_text(notes)
        with pytest.raises(SegvladError, match='repair or delete'):
            verify(tmp_path / 'mine.pth')


def test_the_catalogue_is_consistent():
    for name, known in CATALOGUE.items():
        assert known.name == name
        assert known.url.startswith('https://')
        assert known.sha256 is None or (len(known.sha256) == 64 and known.digest_source)
    assert len({known.file for known in CATALOGUE.values()}) == len(CATALOGUE)
    with pytest.raises(SegvladError, match='did you mean sam_vit_h'):
        entry_named('sam_vith')


def test_the_command_lists_fetches_and_verifies(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(CATALOGUE, 'small', entry(server))
    folder = ['--folder', str(tmp_path)]
    assert main(['weights', 'list', '--json', *folder]) == 0
    rows = {row['name']: row for row in json.loads(capsys.readouterr().out)}
    assert rows['dinov2_vitg14']['licence'] == 'Apache-2.0'
    assert not rows['small']['here']
    assert main(['weights', 'list', *folder]) == 0
    assert main(['weights', 'verify', *folder]) == 2
    assert main(['weights', 'fetch', 'small', *folder]) == 0
    assert main(['weights', 'verify', *folder]) == 0
    assert 'good' in capsys.readouterr().out
    (tmp_path / 'small.pth').write_bytes(CONTENT[:1000])
    assert main(['weights', 'verify', 'small', *folder]) == 1
    assert 'truncated' in capsys.readouterr().out
    assert main(['weights', 'fetch', 'smal', *folder]) == 2
    assert main(['weights', 'fetch', 'small', 'sam_vit_b', '--url', server.url, *folder]) == 2
    assert main(['weights', 'verify', str(tmp_path / 'none.pth')]) == 2
    assert all(line.startswith(('segvlad weights:', 'small')) for line in capsys.readouterr().err.splitlines())
