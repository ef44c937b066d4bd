"""A map and everything that can be wrong around it: each is said in one line, and nothing that was stored is lost."""
from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from map_samples import make_keyframe
from small_disk import on_small_disk

from segvlad_ros.mapping.map_format import FORMAT_VERSION, STATEMENTS
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.types import SegvladError

FINGERPRINT = {'preset': 'classic'}
PROLOGUE = textwrap.dedent("""
    import os, sys
    from contextlib import suppress
    from pathlib import Path
    from map_samples import make_keyframe
    from segvlad_ros.mapping.place_map import PlaceMap
    from segvlad_ros.types import SegvladError
    folder = Path(sys.argv[1])

    def refusal(call, *arguments, **named):
        try:
            call(*arguments, **named)
        except SegvladError as error:
            print(error)
        else:
            raise AssertionError('it was not refused')
""")


def run(prefix: list[str], program: str, folder: Path) -> list[str]:
    """Run a program on a disk of its own, and return the lines that it printed."""
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    done = subprocess.run([*prefix, sys.executable, '-c', PROLOGUE + textwrap.dedent(program), str(folder)],
                          capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / 'office.segvlad'
    with PlaceMap.create(path, FINGERPRINT, 8) as place_map:
        for index in range(1, 13):
            place_map.append(make_keyframe(index, thumbnail=bytes(3000)))
    return path


@pytest.fixture
def disk(tmp_path) -> Path:
    (tmp_path / 'disk').mkdir()
    return tmp_path / 'disk'


def test_a_full_disk(disk):
    lines = run(on_small_disk(disk, 600), """
        filler = folder / 'filler'
        filler.write_bytes(bytes(200_000))
        path, copy = folder / 'office.segvlad', folder / 'copy.segvlad'
        with PlaceMap.create(path, {}, 8) as place_map:
            place_map.save_snapshot(copy)
            stored = 0
            try:
                while stored < 100:
                    place_map.append(make_keyframe(stored + 1, thumbnail=bytes(20_000)))
                    stored += 1
            except SegvladError as error:
                print(error)
            assert place_map.count == stored > 5
            refusal(place_map.append, make_keyframe(stored + 1, thumbnail=bytes(20_000)))
            with suppress(OSError):  # the room that is left
                (folder / 'crumbs').write_bytes(bytes(600_000))
            assert (place_map.count, place_map.verify()) == (stored, [])
            refusal(place_map.save_snapshot, copy, overwrite=True)
            refusal(PlaceMap.create, folder / 'other.segvlad', {}, 8)
            there = sorted(name for name in os.listdir(folder) if 'journal' not in name)
            assert there == ['copy.segvlad', 'crumbs', 'filler', 'office.segvlad'], there
            PlaceMap.open(copy, full_check=True).close()
            filler.unlink()
            place_map.append(make_keyframe(stored + 1, thumbnail=bytes(20_000)))
        with PlaceMap.open(path, full_check=True) as place_map:
            assert [identity.index for identity in place_map.ids()] == list(range(1, stored + 2))
    """, disk)
    assert len(lines) == 4, lines
    for line, name in zip(lines, ('office', 'office', 'copy', 'other')):
        assert line.startswith(f'{disk / name}.segvlad: the disk is full; free some space'), line


def test_a_read_only_disk(disk, path):
    lines = run(on_small_disk(disk, 600, holding=path, read_only=True), """
        path = folder / 'office.segvlad'
        refusal(PlaceMap.open, path, read_only=False)
        refusal(PlaceMap.create, folder / 'other.segvlad', {}, 8)
        with PlaceMap.open(path, full_check=True) as place_map:
            assert len(list(place_map.keyframes())) == 12
            refusal(place_map.save_snapshot, folder / 'copy.segvlad')
        assert os.listdir(folder) == ['office.segvlad']
    """, disk)
    assert len(lines) == 3, lines
    assert lines[0].endswith('office.segvlad: cannot be written: the file, its folder or the disk is read-only')
    assert all('cannot be' in line and line.startswith(str(disk)) for line in lines), lines


@pytest.mark.fault('disk', 'the same, on a disk that has become read-only', 'says that it cannot be rolled back there')
def test_what_a_power_cut_left_on_a_read_only_disk(disk, path):
    """Half a transaction is on the disk, and its journal can be rolled back only where one may write."""
    crash = textwrap.dedent("""
        import os, sqlite3, sys
        database = sqlite3.connect(sys.argv[1], isolation_level=None)
        database.execute('PRAGMA cache_size = 1')
        database.execute('BEGIN')
        database.execute("UPDATE keyframes SET number = number + 100, thumbnail = zeroblob(9000)")
        os._exit(9)
    """)
    subprocess.run([sys.executable, '-c', crash, str(path)], check=False)
    journal = path.with_name('office.segvlad-journal')
    assert journal.stat().st_size > 0
    prefix = on_small_disk(disk, 2000, holding=path)
    prefix[5] = prefix[5].replace('exec', f'cp "{journal}" "$0" && mount -o remount,ro "$0" && exec')
    lines = run(prefix, "refusal(PlaceMap.open, folder / 'office.segvlad')", disk)
    assert len(lines) == 1
    assert 'its writer was cut off' in lines[0]
    assert 'copy it with office.segvlad-journal to a folder that can be written' in lines[0]
    with PlaceMap.open(path, full_check=True) as place_map:
        assert [identity.index for identity in place_map.ids()] == list(range(1, 13))


def damaged_schemas(whole: bytes):
    """The file with each byte of its tables' texts replaced in turn, so that SQLite quotes it."""
    for statement in STATEMENTS[FORMAT_VERSION].values():
        first = whole.index(statement.encode())
        for at in range(first, first + len(statement)):
            for value in (b'\n', b'\x1b', b'\xff', b"'")[at % 4:at % 4 + 1]:
                yield whole[:at] + value + whole[at + 1:]


@pytest.mark.fault('disk', 'the file of a map is deleted, moved or replaced while it is written',
                   'each append says so; the disk is not blamed')
@pytest.mark.parametrize('change', [
    Path.unlink, lambda path: path.rename(path.with_name('moved.segvlad')),
    lambda path: os.replace(shutil.copy(path, path.with_name('copy.segvlad')), path)],
    ids=['deleted', 'moved', 'replaced'])
def test_a_file_that_goes_from_under_its_writer(path, change):
    with PlaceMap.open(path, read_only=False) as place_map:
        change(path)
        for _ in range(2):
            with pytest.raises(SegvladError, match=r'office\.segvlad: was moved, deleted or replaced while it was'):
                place_map.append(make_keyframe(13))


@pytest.mark.fault('map', 'a snapshot takes the name of a map that another node writes', 'refused, both maps go on')
def test_a_snapshot_replaces_no_map_that_is_being_written(path, tmp_path):
    with (PlaceMap.create(tmp_path / 'lab.segvlad', FINGERPRINT, 8) as other,
          PlaceMap.open(path, read_only=False) as place_map):
        with pytest.raises(SegvladError, match=r'office\.segvlad: is being written by another process'):
            other.save_snapshot(path, overwrite=True)
        place_map.append(make_keyframe(13))
        other.append(make_keyframe(1))
    with PlaceMap.open(tmp_path / 'lab.segvlad') as other, PlaceMap.open(path) as read:
        other.save_snapshot(path, overwrite=True)  # readers keep what they have open
        assert read.count == 13
    with PlaceMap.open(path, full_check=True) as saved:
        assert saved.count == 1
    assert sorted(os.listdir(tmp_path)) == ['lab.segvlad', 'office.segvlad']


def test_a_snapshot_replaces_what_is_no_map(path, tmp_path):
    (tmp_path / 'copy.segvlad').write_bytes(b'no map')
    with PlaceMap.open(path) as place_map:
        place_map.save_snapshot(tmp_path / 'copy.segvlad', overwrite=True)
    PlaceMap.open(tmp_path / 'copy.segvlad', full_check=True).close()


@pytest.mark.fault('map', 'a damaged or foreign schema', 'refused in one printable line')
@pytest.mark.parametrize('read_only', [True, False])
def test_a_damaged_schema_is_refused_in_one_line(path, read_only):
    """But for a few bytes that SQLite does not look at: with those the map is as it was."""
    sound, refused = 0, 0
    with PlaceMap.open(path) as place_map:
        truth = place_map.ids()
    for damaged in damaged_schemas(path.read_bytes()):
        path.write_bytes(damaged)
        try:
            with PlaceMap.open(path, read_only=read_only, full_check=True) as place_map:
                assert place_map.ids() == truth
            sound += 1
        except SegvladError as error:
            assert str(error).isprintable()
            assert str(error).startswith(f'{path}: ')
            refused += 1
    assert sound < refused / 20


def rewritten(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    with database:
        for statement in statements:
            database.execute(statement)
    database.close()


FOREIGN = {
    'newer version': (lambda path: rewritten(path, 'PRAGMA user_version = 9'), 'has map format 9, this program reads'),
    'foreign database': (lambda path: rewritten(path, 'PRAGMA application_id = 7'), 'an SQLite file but no segvlad'),
    'foreign file': (lambda path: path.write_bytes(b'\x89PNG\r\n\x1a\n' * 1000), 'is not a map file'),
    'other preset': (lambda path: None, 'made with another preset or model: preset is classic in the map but other'),
    'odd names': (lambda path: rewritten(path, 'CREATE TABLE "a\n\x1b[2Jb" (c)', 'CREATE VIEW "v\n" AS SELECT 1'),
                  'its tables are not those of a segvlad map'),
}


@pytest.mark.fault('map', "another program's database, a newer version", 'refused, no byte changed')
@pytest.mark.parametrize('read_only', [True, False])
@pytest.mark.parametrize('kind', FOREIGN)
def test_what_is_no_map_of_ours_stays_as_it_is(path, kind, read_only):
    change, says = FOREIGN[kind]
    change(path)
    before = path.read_bytes()
    with pytest.raises(SegvladError, match=says) as refused:
        PlaceMap.open(path, read_only=read_only, fingerprint={'preset': 'other'})
    assert str(refused.value).isprintable()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_names_that_are_no_text(tmp_path):
    for name in ('two\nlines\x1b[2J.segvlad', os.fsdecode(b'\xff.segvlad'), 'x' * 300, 'a\0b'):
        for call, arguments in ((PlaceMap.open, ()), (PlaceMap.create, ({}, 8))):
            with pytest.raises(SegvladError) as refused:
                call(tmp_path / name / 'in a folder that is not there.segvlad', *arguments)
            assert str(refused.value).isprintable()
    odd = tmp_path / 'two\nlines?#%.segvlad'
    with PlaceMap.create(odd, {}, 8) as place_map:
        place_map.append(make_keyframe(1))
        place_map.save_snapshot(tmp_path / os.fsdecode(b'\xff.segvlad'))
    assert sorted(os.listdir(tmp_path)) == [odd.name, os.fsdecode(b'\xff.segvlad')]


def handles() -> int:
    return len(os.listdir('/proc/self/fd'))


@pytest.mark.fault('memory', 'a map is opened and closed a thousand times, good or damaged', 'no handle is left open')
def test_a_thousand_cycles_leave_no_handle_open(path):
    damaged, busy = path.with_name('damaged.segvlad'), path.with_name('busy.segvlad')
    damaged.write_bytes(path.read_bytes()[:-5000])

    def cycle(number: int) -> None:
        PlaceMap.open(path).close()
        with PlaceMap.open(path, read_only=False) as place_map:
            if number % 50 == 0:
                place_map.save_snapshot(path.with_name('copy.segvlad'), overwrite=True)
                assert len(list(place_map.keyframes())) == 12
        for refused in (lambda: PlaceMap.open(damaged), lambda: PlaceMap.open(busy, read_only=False),
                        lambda: PlaceMap.open(path, fingerprint={}), lambda: PlaceMap.create(path, {}, 8)):
            with pytest.raises(SegvladError):
                refused()
        PlaceMap.open(busy).close()

    with PlaceMap.create(busy, {}, 8) as writer:  # SQLite keeps the handles of a file that its process has locked
        writer.append(make_keyframe(1))
        cycle(0)
        before = handles()
        for number in range(1000):
            cycle(number)
            assert handles() <= before
        writer.append(make_keyframe(2))


def test_a_query_session_changes_nothing(disk, tmp_path):
    """Not the map, not its folder, where nothing can be written and where it can."""
    squares = np.random.default_rng(0).integers(0, 255, (3, 12, 16, 3), np.uint8)
    images = squares.repeat(10, axis=1).repeat(10, axis=2)
    path = tmp_path / 'maps' / 'office.segvlad'
    path.parent.mkdir()
    places = PlaceRecognizer('classic')
    for image in images:
        places.add(image)
    places.save(path)
    np.savez(tmp_path / 'images.npz', *images)
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    program = f"""
        import numpy as np
        from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
        places = PlaceRecognizer.load(folder / 'office.segvlad')
        for image in np.load({str(tmp_path / 'images.npz')!r}).values():
            print(places.recognize(image).candidates[0].entry)
        assert os.listdir(folder) == ['office.segvlad'], os.listdir(folder)
        print((folder / 'office.segvlad').read_bytes() == Path({str(path)!r}).read_bytes())
    """
    for prefix, folder in (([], path.parent), (on_small_disk(disk, 2000, holding=path, read_only=True), disk)):
        assert run(prefix, program, folder) == ['0', '1', '2', 'True']
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, stamp)
    assert os.listdir(path.parent) == ['office.segvlad']
