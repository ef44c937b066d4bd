"""Evaluation on made images and bags: what counts as a query, as true, as a revisit; the same result each time."""
from __future__ import annotations

import json
import logging
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml
from bag_samples import scene, write_mcap, write_quick_preset

from segvlad_ros.cli import main
from segvlad_ros.evaluation.bag_evaluation import BagEvaluation
from segvlad_ros.evaluation.report import as_text, summarize
from segvlad_ros.evaluation.true_poses import TruthSettings, read_true_poses
from segvlad_ros.io.bag_frames import FrameReader
from segvlad_ros.io.bag_topics import BagTopics
from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.io.bags import read_messages
from segvlad_ros.mapping.keyframes import KeyframeGate
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.types import Pose, SegvladError

SECOND = 1_000_000_000


@pytest.fixture
def preset_file(tmp_path):
    return write_quick_preset(tmp_path)


@pytest.fixture
def folder(tmp_path):
    for name, numbers in (('ref', range(6)), ('query', [3, 0, 4, 50, 1])):
        (tmp_path / name).mkdir()
        for position, number in enumerate(numbers):
            image = scene(number, view=1 + (name == 'query'))
            cv2.imwrite(str(tmp_path / name / f'{position}.png'), image[..., ::-1])
    return tmp_path


def evaluate(capsys, preset_file, folder, truth, *options, references='ref', queries='query'):
    (folder / 'truth.csv').write_text(truth)
    status = main(['evaluate', 'images', '--references', str(folder / references), '--queries', str(folder / queries),
                   '--ground-truth', str(folder / 'truth.csv'), '--preset', str(preset_file), '--json', *options])
    assert status == 0
    return json.loads(capsys.readouterr().out)


KEYS = {'queries', 'recall@1', 'recall@5', 'recall@10', 'average_precision', 'recall@100precision', 'accepted',
        'precision', 'recall', 'precision_bounds', 'recall_bounds', 'statuses', 'ms_per_image', 'segments_per_image',
        'bytes_per_keyframe'}


def test_map_and_queries(capsys, preset_file, folder):
    numbers = evaluate(capsys, preset_file, folder,
                       'query,references,ignore\n'
                       'query/0.png,ref/3.png,\n'
                       'query/1.png,ref/0.png,\n'
                       'query/2.png,,ref/4.png\n'  # matches what is ignored
                       'query/3.png,,\n')  # a place that is not in the map
    assert numbers.keys() >= KEYS
    assert (numbers['queries'], numbers['queries_with_place'], numbers['images']) == (4, 2, 10)  # 4.png is not asked
    assert numbers['recall@1'] == numbers['precision'] == numbers['recall'] == 1.0
    assert numbers['accepted'] == 2
    assert numbers['statuses'] == {'MATCHED': 3, 'NO_MATCH_LOW_SCORE': 1}
    assert numbers['segments_per_image'] == 9.0
    assert numbers['bytes_per_keyframe'] > 9 * 64 * 2
    stages = dict(numbers['ms_per_image'])
    total = stages.pop('total')
    assert {'read', 'features', 'segments', 'description', 'search', 'vote', 'decision'} <= stages.keys()
    assert total == pytest.approx(sum(stages.values()), abs=0.01)


def test_wrong_truth_lowers_the_numbers(capsys, preset_file, folder):
    numbers = evaluate(capsys, preset_file, folder,
                       'query,references\nquery/0.png,ref/5.png\nquery/1.png,ref/0.png\n')
    assert numbers['recall@1'] == numbers['precision'] == numbers['recall'] == 0.5


def test_lists_of_images(capsys, preset_file, folder):
    (folder / 'some.txt').write_text('ref/0.png\nref/1.png\n')
    numbers = evaluate(capsys, preset_file, folder,
                       'query,references\nquery/0.png,ref/3.png\nquery/1.png,ref/0.png\n', references='some.txt')
    assert numbers['map_keyframes'] == 2
    assert numbers['queries_with_place'] == 1  # the reference of the other query is not in this map


def test_links_to_one_file_are_images_of_their_own(capsys, preset_file, folder):
    (folder / 'links').mkdir()
    for number in range(6):
        (folder / f'links/{number}.png').symlink_to(folder / f'ref/{max(2, number)}.png')
    truth = 'query,references\nquery/0.png,links/3.png\nquery/2.png,links/4.png\n'
    numbers = evaluate(capsys, preset_file, folder, truth, references='links')
    assert (numbers['map_keyframes'], numbers['queries_with_place'], numbers['recall@1']) == (6, 2, 1.0)
    (folder / 'set').symlink_to(folder)
    numbers = evaluate(capsys, preset_file, folder, truth, references='set/links', queries='links/../set/query')
    assert (numbers['map_keyframes'], numbers['queries_with_place'], numbers['recall@1']) == (6, 2, 1.0)


def test_agreement_is_asked_of_sequences_only(capsys, preset_file, folder):
    truth = 'query,references\nquery/0.png,ref/3.png\nquery/2.png,ref/4.png\n'
    assert evaluate(capsys, preset_file, folder, truth)['accepted'] == 2
    numbers = evaluate(capsys, preset_file, folder, truth, '--sequence')
    # the queries without truth are part of the sequence; the third query agrees with the first over the one between
    assert numbers['statuses'] == {'NO_MATCH_TEMPORAL': 1, 'MATCHED': 1}
    assert numbers['images'] == 11
    preset = yaml.safe_load(preset_file.read_text())
    preset['decision']['misses'] = 0
    preset_file.write_text(yaml.safe_dump(preset))
    assert evaluate(capsys, preset_file, folder, truth, '--sequence')['statuses'] == {'NO_MATCH_TEMPORAL': 2}


def test_one_sequence_leaves_out_recent_images(capsys, preset_file, folder):
    (folder / 'run').mkdir()
    for position, number in enumerate([0, 1, 2, 3, 4, 5, 0, 1, 2, 3]):
        cv2.imwrite(str(folder / f'run/{position}.png'), scene(number, view=position)[..., ::-1])
    rows = [f'run/{position},{f"run/{position - 6}.png" if position > 5 else ""}' for position in range(10)]
    truth = 'query,references\n' + '\n'.join(row.replace(',', '.png,', 1) for row in rows)
    numbers = evaluate(capsys, preset_file, folder, truth, '--exclude-recent', '4', references='run', queries='run')
    assert (numbers['queries'], numbers['queries_with_place']) == (10, 4)
    assert numbers['statuses']['MAP_EMPTY'] == 1
    assert numbers['statuses']['MAP_ONLY_RECENT'] == 3
    assert numbers['recall@1'] == numbers['precision'] == 1.0
    assert numbers['recall'] == 0.75  # the first revisit has nobody to agree with
    numbers = evaluate(capsys, preset_file, folder, truth, '--exclude-recent', '7', references='run', queries='run')
    assert numbers['queries_with_place'] == 0  # all true references are inside the window


def test_report_page_escapes_names(capsys, preset_file, folder):
    (folder / 'ref/0.png').rename(folder / 'ref/<b>&.png')
    evaluate(capsys, preset_file, folder, 'query,references\nquery/1.png,ref/<b>&.png\n',
             '--report', str(folder / 'page.html'))
    page = (folder / 'page.html').read_text()
    assert r'ref/\u003cb\u003e\u0026.png' in page and '<b>&.png' not in page
    pictures = re.findall('data:image/jpeg;base64,[^"]+', page)
    assert 2 <= len(pictures) == len(set(pictures))


def test_a_result_that_is_written_can_be_compared(capsys, preset_file, folder):
    numbers = evaluate(capsys, preset_file, folder, 'query,references\nquery/0.png,ref/3.png\nquery/3.png,\n',
                       '--output', str(folder / 'a.json'))
    result = json.loads((folder / 'a.json').read_text())
    assert {name: result[name] for name in numbers} == numbers
    assert (len(result['answers']), result['consecutive']) == (numbers['queries'], False)
    assert result['answers'][0]['query'] == '0.png'  # without the folder that all are in
    assert main(['evaluate', 'compare', *[str(folder / 'a.json')] * 2]) == 0
    assert capsys.readouterr().out.count('too few queries to tell') == 4


def at(x, y=0.0):
    return Pose(np.array([x, y, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), 'odom')


def write_run(path, places, truth=True, corrupt=(), *, truth_every=1, truth_shift_s=0):
    """A drive past places that are a metre apart, one a second; odometry drifts, truth does not."""
    with BagWriter(path) as bag:
        for second, number in enumerate(places, 1):
            stamp = second * SECOND
            bag.write_odometry('/odom', stamp, at(number + 0.02 * second))
            if truth and second % truth_every == 1 % truth_every:
                bag.write_pose('/ground_truth/pose', stamp + truth_shift_s * SECOND, at(float(number)))
            image = np.zeros((120, 160, 3), np.uint8) if second in corrupt else scene(number, view=second)
            bag.write_image('/camera/image_raw', stamp, 'camera', image)
    return path


def evaluated(path, preset_file, topics=None):
    places = PlaceRecognizer(preset_file, gate=KeyframeGate())
    evaluation = BagEvaluation([FrameReader(path, topics)], read_true_poses(path), places)
    return evaluation.run(lambda values, title, total: values), places.preset


def bag_numbers(path, preset_file, topics=None):
    return summarize(*evaluated(path, preset_file, topics))


THERE_AND_AGAIN = [*range(12), *range(12)]


def test_bag_with_a_second_lap(tmp_path, preset_file):
    numbers = bag_numbers(write_run(tmp_path / 'run', THERE_AND_AGAIN), preset_file)
    assert numbers['queries'] == numbers['map_keyframes'] == 24
    assert numbers['queries_with_place'] == 12
    assert numbers['recall@1'] == numbers['precision'] == 1.0
    assert numbers['recall'] == pytest.approx(11 / 12)
    assert numbers['statuses']['MAP_ONLY_RECENT'] == 5
    assert 'recall@1' in as_text(numbers)


def test_bag_tells_the_true_poses_of_what_is_judged(tmp_path, preset_file):
    path = write_run(tmp_path / 'run', THERE_AND_AGAIN, truth_every=2)
    evaluation, _ = evaluated(path, preset_file)
    assert set(evaluation.poses) == {outcome.query for outcome in evaluation.outcomes} < set(evaluation.pictures)
    assert [pose.translation[0] for pose in evaluation.poses.values()][:3] == [0.0, 1.0, 2.0]
    assert {pose.frame for pose in evaluation.poses.values()} == {'odom'} and evaluation.consecutive


def test_bag_gives_the_same_numbers_again(tmp_path, preset_file):
    path = write_run(tmp_path / 'run', THERE_AND_AGAIN)
    first, second = (bag_numbers(path, preset_file) for _ in range(2))
    for numbers in (first, second):
        del numbers['ms_per_image']
    assert first == second


def test_dark_images_are_answered_and_not_stored(tmp_path, preset_file):
    numbers = bag_numbers(write_run(tmp_path / 'run', THERE_AND_AGAIN, corrupt={2, 15}), preset_file)
    assert numbers['statuses']['QUERY_REJECTED'] == 2
    assert (numbers['images'], numbers['map_keyframes']) == (24, 22)


def test_bag_without_truth_is_refused(tmp_path, preset_file):
    path = write_run(tmp_path / 'run', range(3), truth=False)
    with pytest.raises(SegvladError, match='/ground_truth/pose'):
        bag_numbers(path, preset_file)
    with pytest.raises(SegvladError, match='/elsewhere'):
        bag_numbers(write_run(tmp_path / 'other', range(3)), preset_file, topics=BagTopics(image='/elsewhere'))


def test_rare_truth_is_interpolated_where_the_robot_moved_little(tmp_path, preset_file):
    """Every other second: not known are second 24, behind the last, and 12, from which the robot jumps 10 m back."""
    numbers = bag_numbers(write_run(tmp_path / 'run', THERE_AND_AGAIN, truth_every=2), preset_file)
    assert (numbers['images'], numbers['queries'], numbers['keyframes_without_truth']) == (24, 22, 2)
    assert numbers['recall@1'] == numbers['precision'] == 1.0
    assert 'keyframes_without_truth  2' in as_text(numbers)
    numbers = bag_numbers(write_run(tmp_path / 'rarer', THERE_AND_AGAIN, truth_every=3), preset_file)
    assert (numbers['queries'], numbers['keyframes_without_truth']) == (8, 16)  # three seconds are too long
    assert numbers['precision'] == 1.0


def test_true_poses_between_sparse_ones(tmp_path):
    turned = Pose(np.zeros(3), np.array([0.0, 0.0, np.sin(0.6), np.cos(0.6)]), 'map')  # by 1.2 rad, 69 degrees
    with BagWriter(tmp_path / 'run') as bag:
        for second, pose in ((10, at(0.0)), (12, at(2.5)), (14, at(6.0)), (17, at(6.1)), (20, at(0.0)), (21, turned)):
            bag.write_pose('/truth', second * SECOND, Pose(pose.translation, pose.quaternion, 'map'))
    truth = read_true_poses(tmp_path / 'run', TruthSettings('/truth'))
    assert truth.at(11 * SECOND).translation[0] == pytest.approx(1.25)
    assert truth.at(12 * SECOND).translation[0] == 2.5
    assert [truth.at(round(second * SECOND)) for second in (9, 13, 15.5, 20.5, 22)] == [None] * 5


def test_truth_of_another_clock_is_refused_in_one_line(capsys, tmp_path, preset_file):
    path = write_run(tmp_path / 'run', THERE_AND_AGAIN, truth_shift_s=1_700_000_000)
    assert main(['evaluate', 'bag', str(path), '--preset', str(preset_file), '--json']) == 2
    line, = capsys.readouterr().err.splitlines()
    assert 'the truth on /ground_truth/pose of run (2023-11-14 22:13:21 UTC' in line
    assert 'the images on /camera/image_raw (1.000 s to 24.000 s) do not meet' in line


def test_a_cut_bag_that_is_refused_is_refused_in_one_line(capsys, caplog, tmp_path, preset_file):
    """What is lost of it matters when it is taken only."""
    file, = write_run(tmp_path / 'run', THERE_AND_AGAIN).glob('*.mcap')
    messages = list(read_messages(file))
    cut = tmp_path / 'cut.mcap'
    ends = write_mcap(cut, messages)
    cut.write_bytes(cut.read_bytes()[:ends[10]])
    command = ['evaluate', 'bag', str(cut), '--preset', str(preset_file), '--ground-truth-topic']
    assert main([*command, '/none']) == 2
    line, = capsys.readouterr().err.splitlines()
    assert 'no poses on' in line
    assert caplog.records == []
    assert main([*command, '/ground_truth/pose']) == 0
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum('ends in the middle' in text for text in said) == 1, said
    rest = [text for text in said if 'ends in the middle' not in text and 'odometry leaps' not in text]
    assert rest == []  # it leaps from lap to lap


def test_late_images_change_no_number(tmp_path, preset_file):
    numbers = {}
    for name, late_ns in (('run', 0), ('late', 1_300_000_000)):
        file, = write_run(tmp_path / name, THERE_AND_AGAIN).glob('*.mcap')
        messages = list(read_messages(file))
        pictures = [message for message in messages if message.topic == '/camera/image_raw']
        moved = {message.stamp_ns: message.stamp_ns + late_ns for message in pictures[::2]}
        late = [replace(message, stamp_ns=moved.get(message.stamp_ns, message.stamp_ns))
                if message.topic == '/camera/image_raw' else message for message in messages]
        write_mcap(tmp_path / f'{name}.mcap', late)
        numbers[name] = bag_numbers(tmp_path / f'{name}.mcap', preset_file)
        assert numbers[name].pop('truth')['poses'] == f'the truth on /ground_truth/pose of {name}.mcap'
        del numbers[name]['ms_per_image']
    assert numbers['late'] == numbers['run']
    assert numbers['run']['images'] == 24


def test_truth_that_is_no_pose_is_refused(tmp_path, preset_file):
    with BagWriter(tmp_path / 'run') as bag:
        bag.write_image('/image', SECOND, 'camera', scene(0))
        bag.write_pose('/ground_truth/pose', SECOND, Pose(np.full(3, np.nan), np.array([0, 0, 0, 1.0]), 'map'))
    with pytest.raises(SegvladError, match='no message on /ground_truth/pose is a pose'):
        bag_numbers(tmp_path / 'run', preset_file)


def test_evaluate_bag_command(capsys, tmp_path, preset_file):
    path = write_run(tmp_path / 'run', THERE_AND_AGAIN)
    assert main(['evaluate', 'bag', str(path), '--preset', str(preset_file), '--json']) == 0
    assert json.loads(capsys.readouterr().out)['recall@1'] == 1.0
