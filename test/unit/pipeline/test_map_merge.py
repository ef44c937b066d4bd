"""Joining maps of the simulated building: aligned, refused, and nothing lost on the way."""
from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from map_samples import as_stored
from recorded_runs import simulated_frames

from segvlad_ros.description.keypoint_codec import pack_keypoints, unpack_keypoints
from segvlad_ros.geometry import angle_of, exponential, from_matrix, to_matrix
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.map_merge import merge_maps
from segvlad_ros.pipeline.mapper import Mapper
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import KeyframeId, OptimizedPose, Pose, SegvladError

PRESET = load_preset('classic')


@pytest.fixture(scope='module')
def described():
    """Keyframes of the runs, and the true poses of them all by session and index."""
    describer = build_describer(PRESET)
    truth = {}

    def run(session, count, **changes):
        mapper, keyframes = Mapper(describer, session_id=session), []
        for frame, pose in islice(simulated_frames('demo', route='lap', **changes), count):
            keyframes.append(mapper.process(frame))
            truth[session, keyframes[-1].id.index] = to_matrix(pose)
        return keyframes
    return {'first': run('first', 40), 'later': run('later', 18, run=1, start_m=12.0),
            'elsewhere': run('elsewhere', 32, seed=31)}, truth


@pytest.fixture
def write(tmp_path):
    """A map of keyframes."""
    def made(name, keyframes, **changes):
        path = tmp_path / f'{name}.segvlad'
        PlaceMap.write(path, keyframes, {**PRESET.fingerprint(), **changes}, 512, 'classic')
        return path
    return made


def read(path):
    with PlaceMap.open(path, full_check=True) as place_map:
        return {(keyframe.id.session_id, keyframe.id.index): keyframe for keyframe in place_map.keyframes()}


def local_errors(keyframes, truth):
    """Metres and degrees: how a later keyframe lies to the nearest of the first session, and how it truly does."""
    first = [(key, to_matrix(keyframe.best_pose)) for key, keyframe in keyframes.items() if key[0] == 'first']
    errors = []
    for key, keyframe in keyframes.items():
        if key[0] == 'later':
            near, pose = min(first, key=lambda item: np.linalg.norm(truth[item[0]][:3, 3] - truth[key][:3, 3]))
            known, got = (np.linalg.inv(one) @ other for one, other in (
                (truth[near], truth[key]), (pose, to_matrix(keyframe.best_pose))))
            apart = np.linalg.inv(known) @ got
            errors.append((np.linalg.norm(apart[:3, 3]), np.degrees(angle_of(apart))))
    return np.array(errors).max(axis=0)


def assert_kept(merged, *parts):
    """Every keyframe, as it was measured and described."""
    keyframes = [keyframe for part in parts for keyframe in part]
    assert len(merged) == len(keyframes)
    for keyframe in keyframes:
        kept = merged[keyframe.id.session_id, keyframe.id.index]
        assert kept.id == keyframe.id
        assert repr(kept.pose) == repr(keyframe.pose)
        np.testing.assert_array_equal(kept.description.descriptors, as_stored(keyframe.description.descriptors))
        points, before = kept.description.keypoints, unpack_keypoints(pack_keypoints(keyframe.description.keypoints))
        np.testing.assert_array_equal(points.descriptors, before.descriptors)
        assert kept.thumbnail == keyframe.thumbnail


def test_a_run_with_another_start_and_its_own_odometry_is_aligned(described, write, tmp_path):
    (runs, truth), output = described, tmp_path / 'c.segvlad'
    paths = write('a', runs['first']), write('b', runs['later'])
    before = [path.read_bytes() for path in paths]
    common, piece = merge_maps(paths, output)
    assert common.is_common and common.reason == piece.reason == ''
    assert piece.alignment.agreeing >= 10
    merged = read(output)
    assert {keyframe.best_pose.frame for keyframe in merged.values()} == {'map'}
    metres, degrees = local_errors(merged, truth)
    assert metres <= 0.10 and degrees <= 1.0
    assert_kept(merged, runs['first'], runs['later'])
    assert [path.read_bytes() for path in paths] == before
    with PlaceMap.open(output) as place_map:
        assert place_map.preset == 'classic'
        assert [(session.session_id, session.last_index) for session in place_map.sessions()] == [
            ('first', runs['first'][-1].id.index), ('later', runs['later'][-1].id.index)]


def test_two_buildings_are_refused_unless_asked_for(described, write, tmp_path):
    (runs, _), output = described, tmp_path / 'c.segvlad'
    paths = write('a', runs['first']), write('b', runs['elsewhere'])
    with pytest.raises(SegvladError, match=r'b.segvlad: has nothing in common .*--anyway'):
        merge_maps(paths, output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.segvlad', 'b.segvlad']
    _, piece = merge_maps(paths, output, anyway=True)
    assert piece.alignment is None and piece.reason
    merged = read(output)
    assert_kept(merged, runs['first'], runs['elsewhere'])
    assert {key[0]: keyframe.best_pose.frame for key, keyframe in merged.items()} == {
        'first': 'map', 'elsewhere': 'odom'}


def test_without_depth_and_odometry_maps_are_joined_and_the_reason_said(described, write, tmp_path):
    runs, _ = described

    def bare(keyframe):
        points = keyframe.description.keypoints
        unknown = replace(points, depths=np.full_like(points.depths, np.nan))
        return replace(keyframe, pose=None, camera_model=None,
                       description=replace(keyframe.description, keypoints=unknown))
    first, later = ([bare(keyframe) for keyframe in runs[name]] for name in ('first', 'later'))
    one, two = merge_maps([write('a', first), write('b', later)], tmp_path / 'c.segvlad')
    assert not one.is_common and two.recognized > 8
    assert 'none with a metric pose' in two.reason
    assert one.reason == 'the first map has no poses'
    assert_kept(read(tmp_path / 'c.segvlad'), first, later)


def test_a_map_by_itself_has_no_maps_before(described, write, tmp_path):
    runs, _ = described
    generator = np.random.default_rng(0)

    def unlike_all(keyframe):
        rows = generator.standard_normal(keyframe.description.descriptors.shape).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return replace(keyframe, id=replace(keyframe.id, session_id='again'),
                       description=replace(keyframe.description, descriptors=rows))
    started_again = [unlike_all(keyframe) for keyframe in runs['later'][:5]]
    home, other = merge_maps([write('a', runs['first'] + started_again)], tmp_path / 'c.segvlad')
    assert home.is_common
    assert other.reason == 'none of its keyframes recognised a place in the frame of the map'


def test_a_copy_that_has_grown_brings_only_what_is_new(described, write, tmp_path):
    (runs, _), output = described, tmp_path / 'c.segvlad'
    first = runs['first']
    common, piece = merge_maps([write('a', first[:30]), write('b', first)], output)
    assert piece.recognized >= 30 and np.median(piece.alignment.residuals_m) < 1e-3
    merged = read(output)
    assert_kept(merged, first)
    for keyframe in merged.values():
        # what is new follows the places that it recognises, too, where odometry has drifted meanwhile
        near = 1e-9 if keyframe.id.index <= first[29].id.index else 0.2
        np.testing.assert_allclose(to_matrix(keyframe.best_pose), to_matrix(keyframe.pose), atol=near)


def test_another_keyframe_of_the_same_identity_is_refused(described, write, tmp_path):
    runs, _ = described
    other = replace(runs['later'][0], id=runs['first'][0].id)
    with pytest.raises(SegvladError, match='b.segvlad: keyframe 1 of session first is another one than in .*a.seg'):
        merge_maps([write('a', runs['first'][:3]), write('b', [other])], tmp_path / 'c.segvlad')


def test_frames_of_two_back_ends_of_one_name_are_told_apart(described, write, tmp_path):
    """What cannot be aligned keeps its poses, in a frame of its own name."""
    runs, _ = described

    def optimised(keyframes, shift):
        return [replace(each, optimized=OptimizedPose(replace(from_matrix(shift @ to_matrix(each.pose)), frame='map')))
                for each in keyframes]
    far = exponential(np.array([50.0, 0, 0, 0, 0, 1]))
    first, elsewhere = optimised(runs['first'][:10], far), optimised(runs['elsewhere'][:10], np.eye(4))
    merge_maps([write('a', first), write('b', elsewhere)], tmp_path / 'c.segvlad', anyway=True)
    merged = read(tmp_path / 'c.segvlad')
    for keyframe in first:
        assert repr(merged['first', keyframe.id.index].best_pose) == repr(keyframe.best_pose)
    with PlaceMap.open(tmp_path / 'b.segvlad') as place_map:
        name = f'map/{place_map.map_id[:8]}'
    for keyframe in elsewhere:
        got = merged['elsewhere', keyframe.id.index].best_pose
        assert repr(got) == repr(replace(keyframe.best_pose, frame=name))


def test_wrong_maps(described, write, tmp_path):
    runs, _ = described
    paths = write('a', runs['first'][:2]), write('b', runs['later'][:2], **{'image.width': 320, 'digest': 'x'})
    with pytest.raises(SegvladError, match=r'b.segvlad: made with another preset .*image.width is 320 .* 640 there'):
        merge_maps(paths, tmp_path / 'c.segvlad')
    with pytest.raises(SegvladError, match='unknown preset'):
        merge_maps(paths[:1], tmp_path / 'c.segvlad', preset='wibble')
    with pytest.raises(SegvladError, match='no such map file'):
        merge_maps([tmp_path / 'none.segvlad'], tmp_path / 'c.segvlad')
    (tmp_path / 'c.segvlad').write_bytes(b'mine')
    with pytest.raises(SegvladError, match='exists already'):
        merge_maps(paths[:1], tmp_path / 'c.segvlad')
    assert (tmp_path / 'c.segvlad').read_bytes() == b'mine'


def test_old_odometry_is_in_a_frame_of_its_own_for_others(described):
    keyframe = described[0]['first'][0]
    today, own = KeyframeId(0, 'today', 1, 1), replace(keyframe.id, index=9)
    assert keyframe.pose_for(own).frame == 'odom'
    assert keyframe.pose_for(today).frame == 'odom/first'
    assert keyframe.pose_for(replace(own, robot_id=3)).frame == 'odom/first'
    pose = Pose(keyframe.pose.translation, keyframe.pose.quaternion, 'map')
    assert replace(keyframe, pose=pose).pose_for(today).frame == 'map'  # REP 105
    moved = replace(keyframe, optimized=OptimizedPose(replace(pose, frame='optimised')))
    assert moved.pose_for(today).frame == moved.pose_for(own).frame == 'optimised'
    assert replace(keyframe, pose=None).pose_for(today) is None
