from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from map_samples import as_stored, make_keyframe

from segvlad_ros.description.keypoint_codec import pack_keypoints, unpack_keypoints
from segvlad_ros.mapping.map_copy import COPY_BATCH, copying
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import KeyframeId, Keypoints, OptimizedPose, PlaceDescription, Pose, SegvladError

FINGERPRINT = {'preset': 'classic', 'image.width': 640, 'features': {'kind': 'root_sift', 'scales': [1, 2]},
               'digest': 'abc'}


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'office.segvlad'


@pytest.fixture
def place_map(path):
    with PlaceMap.create(path, FINGERPRINT, 8) as opened:
        yield opened


def refused(says, function, *args, **kwargs):
    with pytest.raises(SegvladError, match=says) as error:
        function(*args, **kwargs)
    assert '\n' not in str(error.value)
    return str(error.value)


def assert_same(stored, original):
    """Equal in every field, the arrays as near as a map holds them."""
    for field in dataclasses.fields(original):
        if field.name != 'description':
            np.testing.assert_equal(_plain(getattr(stored, field.name)), _plain(getattr(original, field.name)))
    mine, other = stored.description, original.description
    np.testing.assert_array_equal(mine.descriptors, as_stored(other.descriptors))
    np.testing.assert_array_equal(mine.boxes, other.boxes)
    np.testing.assert_array_equal(mine.pixels, other.pixels)
    coarse = other.keypoints and unpack_keypoints(pack_keypoints(other.keypoints))
    np.testing.assert_equal(_plain(mine.keypoints), _plain(coarse))
    assert (mine.descriptors.dtype, mine.boxes.dtype, mine.pixels.dtype) == (np.float32, np.int32, np.int64)


def _plain(value):
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_round_trip(tmp_path, data):
    path = tmp_path / 'map.segvlad'
    path.unlink(missing_ok=True)
    keyframes = [make_keyframe(
        index, segments=data.draw(st.integers(0, 5)), keypoints=data.draw(st.none() | st.integers(0, 4)),
        posed=data.draw(st.booleans()), covariance=data.draw(st.booleans()), camera_model=data.draw(st.booleans()),
        based=data.draw(st.booleans()), thumbnail=data.draw(st.binary(max_size=5000)),
        camera=data.draw(st.sampled_from(['', 'left', 'hintere Tür'])), stamp_ns=data.draw(st.integers(0, 2**63 - 1)))
        for index in range(1, data.draw(st.integers(1, 4)) + 1)]
    with PlaceMap.create(path, FINGERPRINT, 8) as written:
        rows = [written.append(keyframe) for keyframe in keyframes]
    assert not os.path.exists(f'{path}-journal')
    with PlaceMap.open(path, fingerprint=FINGERPRINT, full_check=True) as read:
        assert read.count == len(keyframes)
        assert read.segments == sum(len(keyframe.description) for keyframe in keyframes)
        assert (read.fingerprint, read.dimension, read.map_id) == (FINGERPRINT, 8, written.map_id)
        assert read.ids() == [keyframe.id for keyframe in keyframes]
        for row, original, stored in zip(rows, keyframes, read.keyframes()):
            assert_same(stored, original)
            assert_same(read.keyframe(row), original)
            assert_same(read.keyframe(original.id), original)
        assert read.verify() == []


def test_reading_and_verifying_tell_how_far_they_are(place_map):
    for index in (1, 2, 3):
        place_map.append(make_keyframe(index))
    for work in (lambda tell: list(place_map.keyframes(tell)), place_map.verify):
        told = []
        work(lambda *far: told.append(far))  # noqa: B023 - called at once
        assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_map_that_exists_is_not_made_again(place_map, path):
    refused('exists already', PlaceMap.create, path, FINGERPRINT, 8)
    place_map.append(make_keyframe(1))
    assert place_map.count == 1


def test_nothing_is_left_beside_the_file(place_map, path):
    place_map.append(make_keyframe(1))
    place_map.save_snapshot(path.with_name('copy.segvlad'))
    place_map.close()
    place_map.close()
    assert sorted(p.name for p in path.parent.iterdir()) == ['copy.segvlad', 'office.segvlad']


class TestIndices:
    def test_sessions(self, place_map, path):
        first = 'monday'
        assert place_map.sessions() == []
        for index in (1, 2, 5):
            place_map.append(make_keyframe(index, robot_id=3, session=first))
        place_map.append(make_keyframe(1, session='another robot'))  # comes over the network: known from now on
        place_map.close()
        with PlaceMap.open(path) as read:
            assert [(s.robot_id, s.session_id, s.name, s.last_index, s.keyframes) for s in read.sessions()] == [
                (3, first, '', 5, 3), (0, 'another robot', '', 1, 1)]

    def test_no_index_is_reused_after_removal_and_reopening(self, place_map, path):
        session = 'monday'
        rows = [place_map.append(make_keyframe(index, session=session)) for index in (1, 2, 3)]
        assert place_map.remove([KeyframeId(0, session, 3, 0), KeyframeId(0, session, 77, 0)]) == 1
        assert (place_map.count, place_map.segments) == (2, 8)
        refused('not in the map', place_map.keyframe, rows[-1])
        place_map.close()
        with PlaceMap.open(path, read_only=False) as again:
            assert again.sessions()[0].last_index == 3
            assert again.append(make_keyframe(4, session=session)) > rows[-1]
            assert again.verify() == []

    def test_room_is_made_in_the_transaction_that_stores(self, place_map):
        first, second, third = (make_keyframe(index, segments=index + 1) for index in (1, 2, 3))
        place_map.append(first)
        place_map.append(second)
        refused('in the map already', place_map.append, second, instead_of=[first.id])
        assert first.id in place_map
        place_map.append(third, instead_of=[first.id, make_keyframe(8).id])
        assert place_map.ids() == [second.id, third.id]
        assert (place_map.count, place_map.segments, first.id in place_map) == (2, 3 + 4, False)

    def test_what_is_removed_leaves_room_in_the_file(self, place_map):
        place_map.append(make_keyframe(1, thumbnail=bytes(50_000)))
        for index in range(2, 12):
            place_map.append(make_keyframe(index, thumbnail=bytes(50_000)), instead_of=[make_keyframe(index - 1).id])
        assert 50_000 < place_map.used_bytes <= place_map.bytes < 250_000
        place_map.remove([make_keyframe(11).id])
        assert place_map.used_bytes < 50_000

    def test_witnesses_are_noted_in_the_file(self, place_map, path):
        assert place_map.witnesses() == []
        ids = [make_keyframe(index).id for index in (1, 2, 3, 4)]
        for index in (1, 2, 3):
            place_map.append(make_keyframe(index))
        place_map.note_witnesses(ids)
        place_map.note_witnesses(ids[:1], witness=False)
        place_map.note_witnesses(ids[1:2])
        assert place_map.witnesses() == ids[1:3]
        place_map.remove(ids[2:3])
        place_map.save_snapshot(path.with_name('copy.segvlad'))
        place_map.close()
        for name in (path, path.with_name('copy.segvlad')):
            with PlaceMap.open(name, full_check=True) as again:
                assert again.witnesses() == ids[1:2]

    def test_twice_the_same(self, place_map):
        place_map.append(make_keyframe(1))
        refused('keyframe 1 of session .* in the map already', place_map.append, make_keyframe(1))
        place_map.append(make_keyframe(2))
        assert place_map.count == 2

    @pytest.mark.parametrize('index', [0, -1, 2**63])
    def test_impossible_index(self, place_map, index):
        refused('index', place_map.append, make_keyframe(index))


class TestPoses:
    def test_optimised_poses_stand_beside_the_measured_ones(self, place_map, path):
        for index in (1, 2):
            place_map.append(make_keyframe(index))
        better = OptimizedPose(Pose(np.array([9.0, 8, 7]), np.array([0, 0, 1.0, 0]), 'map', np.eye(6)))
        identity = make_keyframe(2).id
        unknown = dataclasses.replace(identity, index=50)
        assert place_map.update_poses({identity: OptimizedPose(make_keyframe(1).pose)}) == 1
        assert place_map.update_poses({identity: better, unknown: better}) == 1
        place_map.close()
        with PlaceMap.open(path, full_check=True) as read:
            moved, still = read.keyframe(identity), read.keyframe(1)
            np.testing.assert_equal(_plain(moved.optimized.map_from_base), _plain(better.map_from_base))
            np.testing.assert_equal(_plain(moved.pose), _plain(make_keyframe(2).pose))
            np.testing.assert_equal(_plain(still.pose), _plain(make_keyframe(1).pose))
            assert still.optimized is None
            assert [pose.frame for pose in read.poses().values()] == [still.pose.frame, 'map']

    def test_no_numbers(self, place_map):
        place_map.append(make_keyframe(1))
        place_map.append(make_keyframe(2))
        bad = OptimizedPose(Pose(np.array([np.nan, 0, 0]), np.array([0, 0, 0, 1.0])))
        good = OptimizedPose(Pose(np.zeros(3), np.array([0, 0, 0, 1.0])))
        refused('NaN', place_map.update_poses, {make_keyframe(1).id: good, make_keyframe(2).id: bad})
        assert place_map.keyframe(1).optimized is None


@pytest.mark.parametrize('description', [
    PlaceDescription(np.zeros((2, 7), np.float32), np.zeros((2, 4)), np.zeros(2)),
    PlaceDescription(np.full((2, 8), np.nan, np.float32), np.zeros((2, 4)), np.zeros(2)),
    PlaceDescription(np.zeros((2, 8), np.float32), np.zeros((3, 4)), np.zeros(2)),
    PlaceDescription(np.zeros((2, 8), np.float32), np.zeros((2, 4)), np.zeros(1)),
    PlaceDescription(np.zeros((65536, 8), np.float32), np.zeros((65536, 4)), np.zeros(65536)),
    PlaceDescription(np.zeros((2, 8), np.float32), np.zeros((2, 4)), np.zeros(2),
                     keypoints=Keypoints(np.zeros((2, 2)), np.zeros((1, 32), np.uint8), np.zeros(2))),
])
def test_what_does_not_fit_is_refused_and_the_map_goes_on(place_map, description):
    good = make_keyframe(1)
    refused('segments|keypoints|descriptors', place_map.append, dataclasses.replace(good, description=description))
    place_map.append(good)
    assert (place_map.count, place_map.verify()) == (1, [])


class TestOpening:
    def test_fingerprint_names_the_field_and_both_values(self, place_map, path):
        place_map.close()
        text = refused('made with another preset', PlaceMap.open, path, fingerprint={
            **FINGERPRINT, 'features': {'kind': 'dinov2', 'scales': [1, 2]}, 'digest': 'other'})
        assert 'features.kind is root_sift in the map but dinov2 here' in text
        assert 'more' not in text
        text = refused('another', PlaceMap.open, path, fingerprint={**FINGERPRINT, 'image.width': 320, 'new': 1})
        assert 'image.width is 640 in the map but 320 here (and 1 more)' in text
        refused('digest is abc', PlaceMap.open, path, fingerprint={**FINGERPRINT, 'digest': 'other'})
        refused('is missing here|missing', PlaceMap.open, path, fingerprint={})
        PlaceMap.open(path, fingerprint={**FINGERPRINT, 'features': {'kind': 'root_sift', 'scales': (1, 2)}}).close()

    def test_missing_folder_and_foreign_files(self, tmp_path):
        refused('no such map file', PlaceMap.open, tmp_path / 'none.segvlad')
        refused('is a folder', PlaceMap.open, tmp_path)
        refused('does not exist', PlaceMap.create, tmp_path / 'no' / 'map.segvlad', {}, 8)
        other = tmp_path / 'other.db'
        with sqlite3.connect(other) as database:
            database.execute('CREATE TABLE t (x)')
        database.close()
        before = other.read_bytes()
        for read_only in (True, False):
            refused('no segvlad map', PlaceMap.open, other, read_only=read_only)
        assert other.read_bytes() == before

    def test_another_version(self, place_map, path):
        place_map.close()
        with sqlite3.connect(path) as database:
            database.execute('PRAGMA user_version = 3')
        database.close()
        refused('map format 3, this program reads 1 to 2', PlaceMap.open, path)

    @pytest.mark.parametrize('statement', [
        'CREATE TRIGGER t AFTER INSERT ON keyframes BEGIN DELETE FROM segments; END',
        'CREATE VIEW v AS SELECT * FROM keyframes', 'DROP TABLE keypoints', 'ALTER TABLE sessions ADD COLUMN x',
    ])
    def test_foreign_schema(self, place_map, path, statement):
        place_map.close()
        with sqlite3.connect(path) as database:
            database.execute(statement)
        database.close()
        refused('not those of a segvlad map', PlaceMap.open, path)

    def test_additional_tables_are_ignored(self, place_map, path):
        place_map.close()
        with sqlite3.connect(path) as database:
            database.execute('CREATE TABLE later (x)')
        database.close()
        PlaceMap.open(path).close()

    def test_read_only(self, place_map, path):
        place_map.append(make_keyframe(1))
        with PlaceMap.open(path) as read:
            for call in (lambda: read.append(make_keyframe(2)), lambda: read.remove([])):
                refused('read-only', call)

    def test_without_write_permission(self, place_map, path):
        place_map.append(make_keyframe(1))
        place_map.close()
        path.chmod(0o444)
        path.parent.chmod(0o555)
        try:
            with PlaceMap.open(path) as read:
                assert read.count == 1
        finally:
            path.parent.chmod(0o755)

    def test_closed(self, place_map):
        place_map.close()
        refused('closed', place_map.keyframe, 1)
        refused('closed', place_map.append, make_keyframe(1))


class TestWriters:
    def test_a_second_writer_is_refused_and_readers_are_not(self, place_map, path):
        place_map.append(make_keyframe(1))
        refused('being written by another process', PlaceMap.open, path, read_only=False)
        with PlaceMap.open(path) as reader:
            keyframes = reader.keyframes()
            next(keyframes)
            place_map.append(make_keyframe(2))  # while the reader is in the middle
            assert [keyframe.id.index for keyframe in keyframes] == [2]
        place_map.close()
        with PlaceMap.open(path, read_only=False) as again:
            assert again.append(make_keyframe(3)) == 3

    def test_reading_the_own_map_does_not_give_up_the_lock(self, place_map, path):
        """POSIX locks vanish when the process closes any descriptor of the file."""
        PlaceMap.open(path).close()
        place_map.save_snapshot(path.with_name('copy.segvlad'))
        assert place_map.bytes > 0
        refused('being written', _in_another_process, path)

    def test_threads(self, place_map):
        done = threading.Event()

        def read():
            while not done.is_set():
                assert len(list(place_map.keyframes())) <= place_map.count

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            for index in range(1, 30):
                place_map.append(make_keyframe(index))
        finally:
            done.set()
            for reader in readers:
                reader.join()
        assert place_map.count == 29

    def test_full_disk(self, place_map):
        place_map.append(make_keyframe(1))
        pages, = place_map._db.execute('PRAGMA page_count').fetchone()
        place_map._db.execute(f'PRAGMA max_page_count = {pages + 2}')
        refused('full', place_map.append, make_keyframe(2, thumbnail=bytes(100_000)))
        assert (place_map.count, place_map.verify()) == (1, [])
        place_map._db.execute('PRAGMA max_page_count = 100000')
        place_map.append(make_keyframe(2))
        assert [identity.index for identity in place_map.ids()] == [1, 2]


def _in_another_process(path):
    """Try to write from another process; its one line becomes this one's."""
    import subprocess
    import sys
    program = ('import sys; from segvlad_ros.mapping.place_map import PlaceMap; from segvlad_ros.types import '
               'SegvladError\ntry: PlaceMap.open(sys.argv[1], read_only=False)\nexcept SegvladError as e: print(e)')
    result = subprocess.run([sys.executable, '-c', program, str(path)], capture_output=True, text=True, check=True)
    if result.stdout:
        raise SegvladError(result.stdout.strip())


class TestSnapshots:
    def test_snapshot_is_a_map_of_its_own(self, place_map, path):
        place_map.append(make_keyframe(1))
        copy = path.with_name('copy.segvlad')
        place_map.save_snapshot(copy)
        place_map.append(make_keyframe(2))
        with PlaceMap.open(copy, read_only=False, fingerprint=FINGERPRINT, full_check=True) as snapshot:
            assert (snapshot.count, snapshot.map_id) == (1, place_map.map_id)
            assert snapshot.append(make_keyframe(2)) == 2

    def test_the_map_goes_on_while_it_is_copied(self, place_map, path):
        """Whatever happens between two steps is in the copy: it is the map as it was at the last one."""
        copy, many = path.with_name('copy.segvlad'), 2 * COPY_BATCH + 3
        for index in range(1, many + 1):
            place_map.append(make_keyframe(index))
        steps = copying(path, copy)
        assert next(steps) == COPY_BATCH
        place_map._db.execute('PRAGMA busy_timeout = 0')  # the writer need not wait
        ids = place_map.ids()
        place_map.append(make_keyframe(many + 1))
        place_map.remove([ids[0], ids[-1], place_map.ids()[-1]])
        place_map.update_poses({ids[1]: OptimizedPose(Pose(np.ones(3), np.array([0, 0, 0, 1.0]), 'map'))})
        place_map.append(make_keyframe(1, session='another'))
        assert list(steps) == [COPY_BATCH, 3]
        with PlaceMap.open(copy, read_only=False, fingerprint=FINGERPRINT, full_check=True) as snapshot:
            assert (snapshot.ids(), snapshot.sessions()) == (place_map.ids(), place_map.sessions())
            for copied, original in zip(snapshot.keyframes(), place_map.keyframes(), strict=True):
                assert_same(copied, original)
            assert snapshot.append(make_keyframe(many + 2)) == place_map.append(make_keyframe(many + 2)) == many + 3

    def test_copies_what_it_does_not_know(self, place_map, path):
        place_map.append(make_keyframe(1))
        place_map.close()
        with sqlite3.connect(path) as other:
            other.execute('CREATE TABLE "of a ""later"" version" (value)')
            other.execute('INSERT INTO "of a ""later"" version" VALUES (7)')
        other.close()
        with PlaceMap.open(path) as read:
            read.save_snapshot(path.with_name('copy.segvlad'))
        with sqlite3.connect(path.with_name('copy.segvlad')) as copy:
            assert copy.execute('SELECT * FROM "of a ""later"" version"').fetchall() == [(7,)]
        copy.close()

    def test_overwriting_is_explicit(self, place_map, path):
        copy = path.with_name('copy.segvlad')
        copy.write_text('mine')
        refused('exists already', place_map.save_snapshot, copy)
        assert copy.read_text() == 'mine'
        place_map.save_snapshot(copy, overwrite=True)
        PlaceMap.open(copy).close()
        refused('is the map itself', place_map.save_snapshot, path, overwrite=True)
        refused('is a folder', place_map.save_snapshot, path.parent, overwrite=True)
        refused('does not exist', place_map.save_snapshot, path.parent / 'no' / 'x.segvlad')
        assert sorted(p.name for p in path.parent.iterdir() if 'journal' not in p.name) == [
            'copy.segvlad', 'office.segvlad']

    def test_of_a_read_only_map(self, place_map, path):
        place_map.append(make_keyframe(1))
        place_map.close()
        with PlaceMap.open(path) as read:
            read.save_snapshot(path.with_name('copy.segvlad'))
        with PlaceMap.open(path.with_name('copy.segvlad')) as copy:
            assert copy.count == 1

    def test_a_closed_file_can_be_copied(self, place_map, path, tmp_path):
        place_map.append(make_keyframe(1))
        place_map.close()
        shutil.copy(path, tmp_path / 'plain.segvlad')
        with PlaceMap.open(tmp_path / 'plain.segvlad', full_check=True) as copy:
            assert copy.count == 1
