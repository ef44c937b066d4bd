"""Bags as people have them: after a power loss, renamed, packed, in pieces, of other tools. Read, or one line."""
from __future__ import annotations

import logging
import os
import shutil
import sqlite3

import numpy as np
import pytest
import yaml
from bag_samples import IMAGE_TOPIC, MAGIC, write_mcap, write_run, zstd_library

from segvlad_ros.io.bag_frames import FrameReader
from segvlad_ros.io.bag_topics import BagTopics
from segvlad_ros.io.bags import bag_info, read_messages, read_poses
from segvlad_ros.types import SegvladError


def refused(says, path):
    with pytest.raises(SegvladError, match=says) as error:
        list(read_messages(path))
    assert '\n' not in str(error.value)


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / 'run')


@pytest.fixture
def messages(run):
    return list(read_messages(run))


def without_metadata(path):
    (path / 'metadata.yaml').unlink()
    file, = path.iterdir()
    return file


def warned(caplog, *words):
    """One warning, with these words."""
    texts = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(texts) == 1, texts
    for word in words:
        assert word in texts[0]


class TestMcapThatEndsInTheMiddle:
    @pytest.mark.fault('bag', 'a bag that ends in the middle, after a power cut', 'read up to there, and said')
    @pytest.mark.parametrize('compression', ['zstd', 'lz4', ''])
    def test_whole_chunks_are_read(self, tmp_path, messages, caplog, compression):
        file = tmp_path / 'cut.mcap'
        ends = write_mcap(file, messages, compression=compression)  # 31 messages in 8 chunks
        file.write_bytes(file.read_bytes()[:ends[6] - 3])
        assert list(read_messages(file)) == messages[:20]
        assert bag_info(file).messages == 20
        assert len(list(FrameReader(file))) == 6
        warned(caplog, 'cut.mcap: ends in the middle', '20 messages', '2023-11-14 22:13:20 UTC (1700000000.600 s)')

    def test_messages_outside_of_chunks(self, tmp_path, messages, caplog):
        file = tmp_path / 'cut.mcap'
        ends = write_mcap(file, messages, per_chunk=0)
        file.write_bytes(file.read_bytes()[:ends[6] - 1])
        assert list(read_messages(file)) == messages[:5]
        warned(caplog, '5 messages')

    def test_no_footer_is_as_good_as_a_cut(self, tmp_path, messages, caplog):
        write_mcap(tmp_path / 'cut.mcap', messages, end=False)
        assert list(read_messages(tmp_path / 'cut.mcap')) == messages
        warned(caplog, 'ends in the middle', '31 messages')

    def test_blocks_of_zeros_at_the_end(self, tmp_path, messages, caplog):
        """File systems give a file its length before its contents."""
        file = tmp_path / 'cut.mcap'
        ends = write_mcap(file, messages)
        data = file.read_bytes()[:ends[3]]
        file.write_bytes(data + bytes(10000))
        assert list(read_messages(file)) == messages[:12]
        warned(caplog, '12 messages')

    def test_every_length_gives_the_messages_before_the_cut_or_one_line(self, tmp_path, messages):
        file = tmp_path / 'cut.mcap'
        ends = write_mcap(file, messages, per_chunk=8)
        whole = file.read_bytes()
        for length in [*range(0, ends[1], 97), *range(ends[1] - 2, len(whole), 101)]:
            file.write_bytes(whole[:length])
            os.utime(file, ns=(length, length))
            complete = sum(length >= end for end in ends[1:])
            if complete:
                assert list(read_messages(file)) == messages[:8 * complete]
            else:
                refused('nothing can be read|is empty|is not a bag', file)

    @pytest.mark.parametrize('content', [b'', MAGIC, MAGIC + b'\x01', bytes(4096)])
    def test_nothing_of_it_is_left(self, tmp_path, content):
        file = tmp_path / 'cut.mcap'
        file.write_bytes(content)
        refused('copy', file)

    def test_a_file_without_summary_is_whole(self, tmp_path, messages, caplog):
        for compression in ('zstd', 'lz4', ''):
            file = tmp_path / f'{compression}.mcap'
            write_mcap(file, messages, compression=compression)
            assert list(read_messages(file)) == messages
        assert not caplog.records

    @pytest.mark.fault('bag', 'damaged chunks', 'passed over, with how many messages')
    def test_damaged_chunks_are_passed_over(self, tmp_path, messages, caplog):
        file = tmp_path / 'spot.mcap'
        ends = write_mcap(file, messages, compression='')
        data = bytearray(file.read_bytes())
        data[ends[2] + 200] ^= 255
        file.write_bytes(data)
        assert list(read_messages(file)) == messages[:8] + messages[12:]
        warned(caplog, 'is damaged: its 27 messages', '1 damaged piece')

    def test_the_piece_that_names_the_topics_is_damaged(self, tmp_path, messages, caplog):
        file = tmp_path / 'first.mcap'
        ends = write_mcap(file, messages)
        data = bytearray(file.read_bytes())
        data[ends[1] - 40] ^= 255
        file.write_bytes(data)
        refused('before its first complete message', file)
        write_mcap(tmp_path / 'other.mcap', messages)  # that of one more topic, later
        extra = (tmp_path / 'other.mcap').read_bytes()
        file.write_bytes(bytes(data[:ends[4]]) + extra[ends[0]:ends[1]])
        assert list(read_messages(file)) == sorted(messages[:4] + messages[4:16], key=lambda m: m.stamp_ns)
        warned(caplog, '1 damaged piece')

    def test_damage_in_a_file_with_index(self, run, messages, caplog):
        file = run / 'run.mcap'
        data = bytearray(file.read_bytes())
        data[600:700] = bytes(100)
        file.write_bytes(data)
        assert list(read_messages(run)) == []
        warned(caplog, 'has damaged pieces')

    def test_chunks_that_overlap_in_time(self, tmp_path, messages):
        file = tmp_path / 'late.mcap'
        write_mcap(file, [*messages[4:8], *messages[:4], *messages[8:]])
        assert [m.stamp_ns for m in read_messages(file)] == [m.stamp_ns for m in messages]


class TestPowerLossOfSqlite:
    @pytest.fixture
    def lost(self, tmp_path):
        """Messages after the first ten are in the log only; no metadata.yaml."""
        file = without_metadata(write_run(tmp_path / 'lost', 'sqlite3')).rename(tmp_path / 'lost' / 'run.db3')
        recorder = sqlite3.connect(file, isolation_level=None)
        for command in ('PRAGMA journal_mode=WAL', 'PRAGMA wal_autocheckpoint=0',
                        'CREATE TEMP TABLE last AS SELECT * FROM messages WHERE id > 10',
                        'DELETE FROM messages WHERE id > 10', 'PRAGMA wal_checkpoint(TRUNCATE)',
                        'INSERT INTO messages SELECT * FROM last'):
            recorder.execute(command).fetchall()
        left = {path: path.read_bytes() for path in (file, file.with_name('run.db3-wal'))}
        recorder.close()
        for path, data in left.items():
            path.write_bytes(data)
        return file

    def test_the_log_is_read_and_nothing_is_written(self, lost, messages, caplog):
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in lost.parent.iterdir()}
        assert [m.data for m in read_messages(lost)] == [m.data for m in messages]
        assert bag_info(lost.parent).messages == 31
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in lost.parent.iterdir()} == before
        assert len(before) == 2
        warned(caplog, 'not stopped properly', '31 messages', '1700000000.900 s', 'run.db3-wal')

    def test_an_index_of_the_log_that_is_there_too(self, lost):
        lost.with_name('run.db3-shm').write_bytes(bytes(32768))
        assert bag_info(lost).messages == 31

    def test_a_log_that_ends_in_the_middle(self, lost):
        log = lost.with_name('run.db3-wal')
        log.write_bytes(log.read_bytes()[:-5])
        assert bag_info(lost).messages == 10

    @pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
    def test_in_a_folder_that_is_read_only(self, lost):
        lost.parent.chmod(0o500)
        try:
            assert bag_info(lost).messages == 31
        finally:
            lost.parent.chmod(0o700)

    @pytest.mark.fault('bag', 'an sqlite3 bag whose writer was killed', 'what was written is read')
    def test_an_interrupted_transaction(self, tmp_path):
        file = without_metadata(write_run(tmp_path / 'run', 'sqlite3'))
        file.with_name('run.db3-journal').write_bytes(b'\xd9\xd5\x05\xf9\x20\xa1\x63\xd7' + bytes(504))
        refused(r'run.db3-journal beside it .* sqlite3 run.db3 .tables', file)
        file.with_name('run.db3-journal').write_bytes(bytes(512))  # of a transaction that ended
        assert bag_info(file).messages == 31

    def test_a_row_that_claims_to_be_huge(self, tmp_path):
        file = without_metadata(write_run(tmp_path / 'run', 'sqlite3'))
        whole = file.read_bytes()
        row = whole.index(b'tablemessages')
        file.write_bytes(whole[:row - 9] + b'\xff' * 18 + whole[row + 9:])  # lengths stand before the texts
        refused('cannot be read as a ROS 2 bag .a row claims to be larger than the memory', file)

    def test_the_end_of_the_file_is_missing(self, tmp_path, caplog):
        file = without_metadata(write_run(tmp_path / 'run', 'sqlite3', images=40))
        file.write_bytes(file.read_bytes()[:-file.stat().st_size // 3])
        count = bag_info(file).messages
        assert 20 < count < 121
        assert all(np.diff([m.stamp_ns for m in read_messages(file)]) >= 0)
        assert 'damaged' in caplog.text

    def test_names_that_mean_something_in_addresses(self, tmp_path):
        file = without_metadata(write_run(tmp_path / 'run', 'sqlite3'))
        odd = file.rename(tmp_path / 'run #1?mode=rw%20.db3')
        assert bag_info(odd).messages == 31


class TestPacked:
    def test_messages_of_a_bare_file(self, tmp_path, messages):
        bag = write_run(tmp_path / 'packed', 'sqlite3')
        database = sqlite3.connect(bag / 'packed.db3')
        for row, data in database.execute('SELECT id, data FROM messages').fetchall():
            database.execute('UPDATE messages SET data = ? WHERE id = ?', (zstd_library().compress(data), row))
        database.commit()
        database.close()
        (bag / 'metadata.yaml').unlink()
        assert [m.data for m in read_messages(bag / 'packed.db3')] == [m.data for m in messages]
        assert len(list(FrameReader(bag))) == 10

    @pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
    def test_files(self, tmp_path, messages, storage):
        bag = write_run(tmp_path / 'packed', storage)
        file, = bag.glob('packed.*')
        packed = file.with_name(f'{file.name}.zstd')
        packed.write_bytes(zstd_library().compress(file.read_bytes()))
        file.unlink()
        assert [m.data for m in read_messages(packed)] == [m.data for m in messages]
        assert bag_info(bag).messages == 31  # metadata.yaml names the file before it was packed
        (bag / 'metadata.yaml').unlink()
        assert bag_info(bag).messages == 31
        packed.write_bytes(packed.read_bytes()[:-20])
        refused('damaged or cut off.*zstd -dc', bag)


class TestWhichFiles:
    def test_the_file_was_renamed(self, run, messages, caplog):
        (run / 'run.mcap').rename(run / 'monday.mcap')
        assert list(read_messages(run)) == messages
        assert list(read_messages(run / 'metadata.yaml')) == messages
        warned(caplog, 'names run.mcap', 'monday.mcap is taken instead')

    def test_no_file_is_there(self, run):
        (run / 'run.mcap').unlink()
        refused('metadata.yaml names run.mcap, and the folder has no bag file', run)

    def parts(self, folder, messages, numbers, each=10):
        folder.mkdir()
        for number in numbers:
            write_mcap(folder / f'run_{number}.mcap', messages[each * number:each * (number + 1)])

    def name(self, folder, *names):
        (folder / 'metadata.yaml').write_text(yaml.safe_dump(
            {'rosbag2_bagfile_information': {'version': 99, 'relative_file_paths': list(names)}}))

    @pytest.mark.fault('bag', 'a part of a split bag is missing', 'the rest is read, and the part named')
    def test_a_part_is_missing(self, tmp_path, messages, caplog):
        self.parts(tmp_path / 'bag', messages, [0, 2])
        self.name(tmp_path / 'bag', 'run_0.mcap', 'run_1.mcap', 'run_2.mcap')
        assert list(read_messages(tmp_path / 'bag')) == messages[:10] + messages[20:30]
        warned(caplog, 'run_1.mcap is missing', 'only run_0.mcap, run_2.mcap are read')

    def test_parts_without_metadata(self, tmp_path, messages, caplog):
        self.parts(tmp_path / 'bag', messages, range(11), each=3)
        assert list(read_messages(tmp_path / 'bag')) == [*messages]  # 10 behind 9
        assert not caplog.records
        (tmp_path / 'bag' / 'run_4.mcap').unlink()
        assert bag_info(tmp_path / 'bag').messages == 28
        warned(caplog, '_4 is missing')

    def test_the_last_part_is_empty(self, tmp_path, messages, caplog):
        self.parts(tmp_path / 'bag', messages, [0, 1])
        (tmp_path / 'bag' / 'run_2.mcap').write_bytes(b'')
        assert bag_info(tmp_path / 'bag').messages == 20
        warned(caplog, 'run_2.mcap: is empty', 'the other parts')

    def test_several_recordings(self, tmp_path, messages):
        folder = tmp_path / 'bags'
        folder.mkdir()
        write_mcap(folder / 'a.mcap', messages)
        write_mcap(folder / 'b.mcap', messages)
        refused('several recordings and no metadata.yaml; give one of its files: a.mcap, b.mcap', folder)
        self.name(folder, 'c.mcap')
        refused('names c.mcap, which is not there; give one of the files that are: a.mcap, b.mcap', folder)
        for name in ('a.mcap', 'b.mcap', 'metadata.yaml'):
            (folder / name).unlink()
        write_mcap(folder / 'run_1.mcap', messages)
        write_mcap(folder / 'run_2.mcap', [m.__class__(m.topic, m.msgtype, m.stamp_ns + 1000 * 10**9, m.data)
                                           for m in messages])
        refused('run_1.mcap and run_2.mcap do not follow each other', folder)

    def test_a_folder_of_bags(self, run):
        refused('bags are in it; give one of them: run', run.parent)

    @pytest.mark.fault('bag', 'a damaged metadata.yaml', 'the files are read without it')
    @pytest.mark.parametrize('content', [b'', b'\xff\xfe', b'- 1', b'rosbag2_bagfile_information:\n  version: 9\n',
                                         b'rosbag2_bagfile_information: 7', b'{{{{', b'\0' * 100, b'[' * 1000,
                                         b'rosbag2_bagfile_information: {relative_file_paths: run.db3}'])
    def test_damaged_metadata(self, run, messages, caplog, content):
        (run / 'metadata.yaml').write_bytes(content)
        assert list(read_messages(run)) == messages
        warned(caplog, 'metadata.yaml cannot be read')
        caplog.clear()
        (run / 'run.mcap').unlink()
        refused('no bag file', run)
        assert not caplog.records

    @pytest.mark.parametrize(('version', 'qos'), [
        (4, ''), (5, '- history: 3\n  durability: 1\n'), (9, '- history: keep_last\n  durability: transient_local\n')])
    def test_metadata_of_every_version(self, run, version, qos):
        """Only the names of the files are taken from it, so newer versions are no trouble either."""
        metadata = yaml.safe_load((run / 'metadata.yaml').read_text())
        information = metadata['rosbag2_bagfile_information']
        information['version'] = version
        for topic in information['topics_with_message_count']:
            topic['topic_metadata']['offered_qos_profiles'] = qos
        (run / 'metadata.yaml').write_text(yaml.safe_dump(metadata))
        assert [topic.name for topic in bag_info(run).topics if topic.latched] == ['/tf_static']

    def test_hidden_files_are_none(self, run, messages):
        (run / 'metadata.yaml').unlink()
        (run / '._run.mcap').write_bytes(b'\0\5\x16\7')
        assert list(read_messages(run)) == messages

    def test_a_wrong_suffix(self, run, tmp_path, messages):
        shutil.copy(run / 'run.mcap', tmp_path / 'run.db3')
        assert list(read_messages(tmp_path / 'run.db3')) == messages


class TestMessagesOfOthers:
    @pytest.mark.parametrize('profile', ['ros1', 'ros2', ''])
    @pytest.mark.parametrize('encoding', ['ros1', 'cdr'])
    def test_ros_1(self, tmp_path, messages, profile, encoding):
        write_mcap(tmp_path / 'old.mcap', messages, profile=profile, encoding=encoding, schema='ros1msg')
        refused('holds ROS 1 messages; .*rosbags-convert', tmp_path / 'old.mcap')

    @pytest.mark.parametrize(('encoding', 'schema'), [('protobuf', 'protobuf'), ('json', 'jsonschema')])
    def test_foxglove(self, tmp_path, messages, encoding, schema):
        write_mcap(tmp_path / 'fox.mcap', messages, profile='', encoding=encoding, schema=schema)
        refused(f'holds {encoding} messages', tmp_path / 'fox.mcap')

    def test_beside_ros_2(self, tmp_path, messages):
        def json(topic):
            return 'json' if topic == '/truth' else 'cdr'
        file = tmp_path / 'both.mcap'
        write_mcap(file, messages, profile='', encoding=json,
                   schema=lambda topic: 'jsonschema' if topic == '/truth' else 'ros2msg')
        assert len(list(FrameReader(file))) == 10
        assert {m.topic for m in read_messages(file)} == {'/tf_static', '/odom', IMAGE_TOPIC}
        with pytest.raises(SegvladError, match=r'no ROS 2 messages: /truth \(json\)'):
            FrameReader(file, BagTopics(image='/truth'))

    def test_types_that_are_not_known(self, tmp_path, messages):
        file = tmp_path / 'own.mcap'
        write_mcap(file, [m if m.topic != '/truth' else type(m)('/truth', 'my_robot/msg/Own', m.stamp_ns, m.data)
                          for m in messages])
        assert len(list(FrameReader(file))) == 10
        assert bag_info(file).messages == 31

    def test_a_ros_1_bag_of_another_name(self, tmp_path):
        (tmp_path / 'run.mcap').write_bytes(b'#ROSBAG V2.0\n' + bytes(100))
        refused('is a ROS 1 bag', tmp_path / 'run.mcap')


def test_our_reader_gives_what_rosbags_gives(run, tmp_path):
    from rosbags.rosbag2 import Reader
    for path in (run, write_run(tmp_path / 'other', 'sqlite3')):
        with Reader(path) as reader:
            expected = [(connection.topic, connection.msgtype, stamp, bytes(data))
                        for connection, stamp, data in reader.messages()]
        assert [(m.topic, m.msgtype, m.stamp_ns, m.data) for m in read_messages(path)] == expected


def test_poses_of_a_cut_bag(tmp_path, messages):
    file = tmp_path / 'cut.mcap'
    ends = write_mcap(file, messages)
    file.write_bytes(file.read_bytes()[:ends[4]])
    assert len(read_poses(file, '/truth')[0]) == 5
