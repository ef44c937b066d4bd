"""What happens to the map when the writer is killed, and what is said about files that are damaged or no maps."""
from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from map_samples import as_stored, make_keyframe
from old_maps import write_old_map

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import OptimizedPose, SegvladError

WRITER = textwrap.dedent("""
    import sys
    from map_samples import as_stored, make_keyframe
    from segvlad_ros.mapping.place_map import PlaceMap
    with PlaceMap.open(sys.argv[1], read_only=False) as place_map:
        index = max((session.last_index for session in place_map.sessions()), default=0)
        while True:
            index += 1
            place_map.append(make_keyframe(index, segments=40, dimension=512, thumbnail=bytes(8000)))
            print(index, flush=True)
            if len(sys.argv) > 2:
                place_map.save_snapshot(sys.argv[2], overwrite=True)
""")


def start_writer(*arguments: Path) -> subprocess.Popen:
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, '-c', WRITER, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
                            env=environment)


def kill_after(writer: subprocess.Popen, keyframes: int, seconds: float) -> int:
    """Kill -9 after some answers, at no particular point of the next append; the last index that was reported."""
    last = 0
    for _ in range(keyframes):
        last = int(writer.stdout.readline())
    time.sleep(seconds)  # waits for nothing: the writer may be anywhere
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.wait()
    return int(rest[-1]) if rest else last


def run_kill_loop(folder: Path, rounds: int) -> None:
    path, copy = folder / 'map.segvlad', folder / 'copy.segvlad'
    PlaceMap.create(path, {'a': 1}, 512).close()
    rng = random.Random(5)
    for turn in range(rounds):
        writer = start_writer(path, *([copy] if turn % 2 else []))
        reported = kill_after(writer, rng.randint(1, 6), rng.uniform(0, 0.02))
        with PlaceMap.open(path, full_check=True) as place_map:  # as the localizer does it, without writing
            assert place_map.count in (reported, reported + 1)
            assert [identity.index for identity in place_map.ids()] == list(range(1, place_map.count + 1))
            newest = place_map.keyframe(place_map.count)
            expected = make_keyframe(place_map.count, segments=40, dimension=512)
            np.testing.assert_array_equal(newest.description.descriptors,
                                          as_stored(expected.description.descriptors))
        if copy.exists():
            with PlaceMap.open(copy, full_check=True) as snapshot:
                assert snapshot.count <= reported + 1


@pytest.mark.fault('disk', 'a writer that is killed in the middle',
                   'at most the keyframe in flight is lost, also while a copy is saved')
def test_kill_loses_at_most_one_keyframe(tmp_path):
    run_kill_loop(tmp_path, 6)


@pytest.mark.long
def test_kill_loop(tmp_path):
    run_kill_loop(tmp_path, 300)


@pytest.mark.fault('disk', 'power is cut in the middle of a transaction', 'the next to open the map rolls it back')
def test_a_transaction_cut_off_on_the_disk_is_rolled_back_for_a_reader(tmp_path):
    """The journal holds the old pages, and the file half of the new ones."""
    path = tmp_path / 'map.segvlad'
    with PlaceMap.create(path, {}, 8) as place_map:
        for index in range(1, 20):
            place_map.append(make_keyframe(index))
    crash = textwrap.dedent("""
        import os, sqlite3, sys
        database = sqlite3.connect(sys.argv[1], isolation_level=None)
        database.execute('PRAGMA cache_size = 1')
        database.execute('BEGIN')
        database.execute("UPDATE segments SET codes = zeroblob(9000)")
        database.execute("UPDATE keyframes SET number = number + 100, thumbnail = zeroblob(9000)")
        os._exit(9)
    """)
    before = path.read_bytes()
    assert subprocess.run([sys.executable, '-c', crash, str(path)], check=False).returncode == 9
    assert path.with_name('map.segvlad-journal').stat().st_size > 0
    assert path.read_bytes() != before
    with PlaceMap.open(path, full_check=True) as place_map:
        assert [identity.index for identity in place_map.ids()] == list(range(1, 20))


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp('whole') / 'map.segvlad'
    with PlaceMap.create(path, {'preset': 'classic'}, 8) as place_map:
        for index in range(1, 13):
            place_map.append(make_keyframe(index, thumbnail=bytes(3000)))
        place_map.update_poses({make_keyframe(3).id: OptimizedPose(make_keyframe(9).pose)})
    return path.read_bytes()


@pytest.fixture(scope='module')
def whole_old(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp('old') / 'map.segvlad'
    write_old_map(path, (make_keyframe(index, thumbnail=bytes(3000), covariance=False) for index in range(1, 13)), 8,
                  {'preset': 'classic'})
    return path.read_bytes()


def read_all(path: Path) -> list:
    with PlaceMap.open(path) as place_map:
        return [(k.id, k.description.descriptors.tobytes(), k.thumbnail, k.pose and k.pose.translation.tobytes(),
                 k.frame_id) for k in place_map.keyframes()]


def refuses_or_is_right(path: Path, truth: list) -> bool:
    """Never a traceback, never a silent wrong answer; True if it was refused."""
    try:
        found = read_all(path)
    except SegvladError as error:
        assert '\n' not in str(error)
        assert str(path) in str(error)
        return True
    assert found == truth
    return False


@pytest.mark.fault('map', 'a map file that is cut off at any length', 'refused in one line, or right')
def test_every_kind_of_truncation(whole, tmp_path):
    path = tmp_path / 'map.segvlad'
    path.write_bytes(whole)
    truth = read_all(path)
    for size in [*range(0, 200, 7), *range(200, len(whole), 997), len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert refuses_or_is_right(path, truth), f'cut to {size} bytes'


def run_flips(whole: bytes, path: Path, rounds: int) -> None:
    path.write_bytes(whole)
    truth = read_all(path)
    rng = random.Random(7)
    refused = 0
    for _ in range(rounds):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 1, 50])):
            damaged[rng.randrange(len(whole))] = rng.randrange(256)
        path.write_bytes(damaged)
        refused += refuses_or_is_right(path, truth)
    assert refused > rounds // 4  # the flips do hit what matters


@pytest.mark.fault('map', 'bytes that have changed', 'refused, or what is read is what was stored')
def test_flipped_bytes(whole, tmp_path):
    run_flips(whole, tmp_path / 'map.segvlad', 300)


def test_flipped_bytes_of_an_old_map(whole_old, tmp_path):
    run_flips(whole_old, tmp_path / 'map.segvlad', 300)


@pytest.mark.long
def test_many_flipped_bytes(whole, tmp_path):
    run_flips(whole, tmp_path / 'map.segvlad', 50_000)


@pytest.mark.long
def test_many_flipped_bytes_of_an_old_map(whole_old, tmp_path):
    run_flips(whole_old, tmp_path / 'map.segvlad', 50_000)


@pytest.mark.fault('map', 'a row that claims to be larger than any memory',
                   'refused in one line, which leaves open whether the file or the memory is at fault')
def test_a_row_that_claims_to_be_huge(whole, tmp_path):
    path, row = tmp_path / 'map.segvlad', whole.index(b'tablesegments')
    path.write_bytes(whole[:row - 9] + b'\xff' * 13 + whole[row + 4:])  # lengths stand before the texts
    with pytest.raises(SegvladError, match='map.segvlad: it is damaged, or there is no memory left to read it'):
        PlaceMap.open(path)


@pytest.mark.fault('map', 'random bytes under the name of a map', 'refused, the file stays as it is')
@pytest.mark.parametrize('read_only', [True, False])
def test_random_bytes(tmp_path, read_only):
    rng = random.Random(3)
    path = tmp_path / 'map.segvlad'
    header = b'SQLite format 3\0'
    for content in (b'', b'\0', b'\0' * 5000, rng.randbytes(10), rng.randbytes(100_000), header,
                    header + rng.randbytes(5000), b'x' * 4096):
        path.write_bytes(content)
        with pytest.raises(SegvladError) as refused:
            PlaceMap.open(path, read_only=read_only)
        assert '\n' not in str(refused.value)
        assert path.read_bytes() == content


@pytest.mark.fault('map', 'values that were changed by a tool', 'the row is named')
@pytest.mark.parametrize(('statement', 'says'), [
    ('UPDATE keyframes SET segment_count = 1000000000 WHERE id = 2', '1000000000 segments'),
    ('UPDATE keyframes SET segment_count = 5 WHERE id = 2', '5 segments of dimension 8'),
    ('UPDATE keyframes SET keypoint_count = 99999 WHERE id = 2', 'digest'),
    ('UPDATE segments SET codes = zeroblob(50000000) WHERE keyframe = 2', '50000000'),
    ('UPDATE keyframes SET thumbnail = zeroblob(50000000) WHERE id = 2', 'thumbnail'),
    ("UPDATE keyframes SET segment_count = 'many' WHERE id = 2", 'not numbers'),
    ('DELETE FROM segments WHERE keyframe = 2', 'blocks of None'),
    ('DELETE FROM keypoints WHERE keyframe = 2', 'keypoints that are missing'),
    ('UPDATE keyframes SET stamp_ns = stamp_ns + 1 WHERE id = 2', 'digest'),
    ("UPDATE keyframes SET camera = 'right' WHERE id = 2", 'digest'),
    ('UPDATE sessions SET robot_id = 7', 'row 1 is damaged: its digest'),
    ('UPDATE keyframes SET session = 9 WHERE id = 2', 'digest|missing row'),
    ('UPDATE keyframes SET pose = NULL WHERE id = 2', 'digest'),
    ('UPDATE optimized_poses SET frame = 1', 'row 3 is damaged'),
])
def test_changed_values_are_noticed(whole, tmp_path, statement, says):
    path = tmp_path / 'map.segvlad'
    path.write_bytes(whole)
    database = sqlite3.connect(path)
    with database:
        database.execute(statement)
    database.close()
    with pytest.raises(SegvladError, match=says):
        read_all(path)
    with pytest.raises(SegvladError, match=says):
        PlaceMap.open(path, full_check=True)
    with PlaceMap.open(path) as place_map:
        problems = place_map.verify()
    assert any(re.search(says, problem) for problem in problems)


def test_changed_metadata_is_noticed(whole, tmp_path):
    path = tmp_path / 'map.segvlad'
    path.write_bytes(whole)
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE metadata SET value = '16' WHERE key = 'dimension'")
    database.close()
    with pytest.raises(SegvladError, match='metadata is damaged'):
        PlaceMap.open(path)


def test_full_disk(tmp_path):
    """The file may not grow beyond a limit of the process: appending is refused, what is stored stays."""
    path = tmp_path / 'map.segvlad'
    program = textwrap.dedent("""
        import resource, signal, sys
        from map_samples import as_stored, make_keyframe
        from segvlad_ros.mapping.place_map import PlaceMap
        from segvlad_ros.types import SegvladError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with PlaceMap.create(sys.argv[1], {}, 8) as place_map:
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
            stored = 0
            try:
                for index in range(1, 100):
                    place_map.append(make_keyframe(index, thumbnail=bytes(20_000)))
                    stored = index
            except SegvladError as error:
                print(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            assert place_map.count == stored > 5
            place_map.append(make_keyframe(stored + 1))
    """)
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, '-c', program, str(path)], capture_output=True, text=True, check=True,
                            env=environment)
    assert len(result.stdout.splitlines()) == 1
    assert 'map.segvlad: ' in result.stdout
    with PlaceMap.open(path, full_check=True) as place_map:
        assert [identity.index for identity in place_map.ids()] == list(range(1, place_map.count + 1))
