"""localizer as a SLAM front-end: every answer with its reason, metric closures, and what the back-end says to them.

A simulated robot has mapped a hall and comes again, in another light. Most tests play the map_builder themselves: what
was described once goes out as keyframes, so that the node need not describe it again.
"""
from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path as File

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from node_harness import DEADLINE_S, EVERY_IMAGE, LATCHED, SECOND, Robot, stamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from segvlad_ros.geometry import compose, distance, inverse, relative, rotation_angle
from segvlad_ros.io.image_codec import encode_jpeg
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.msg import LoopClosure, LoopClosureFeedback, PlaceDescriptor, PlaceMatch, PlaceMatchArray
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.mapper import Mapper
from segvlad_ros.pipeline.presets import config_directory, load_preset
from segvlad_ros.ros.output.conversions import (
    fill_pose,
    from_keyframe_id,
    from_pose,
    to_camera_info,
    to_keyframe_id,
    to_pose_with_covariance,
    to_time,
)
from segvlad_ros.ros.output.keyframe_messages import to_place_descriptor
from segvlad_ros.simulation.robot import SimulatedRobot
from segvlad_ros.simulation.scenario import load_scenario
from segvlad_ros.srv import LoadMap
from segvlad_ros.types import Frame, Keyframe, Pose, Status

MAPPED = [(2.0, 1.4, 0), (3.2, 1.4, 0), (4.4, 1.4, 0), (5.6, 1.4, 0), (6.8, 1.4, 0)]  # metres, metres, degrees
AGAIN = [(3.6, 1.6, 4), (4.9, 1.55, 4), (6.5, 1.5, 2)]
SHOWN = [2, 3, 5]  # the map's keyframes that these show
ELSEWHERE = (15.2, 3.0, 90)
ODOM = Pose(np.array([40.0, -7.0, 0.0]), np.array([0.0, 0.0, 0.6, 0.8]), 'odom')  # odometry has an origin of its own
WAITING, MATCHED = PlaceMatchArray.NO_MATCH_TEMPORAL, PlaceMatchArray.MATCHED


@dataclass
class Hall:
    """What is known of the hall.

    :ivar folder: of the maps
    :ivar mapped: keyframes of the map 'hall', numbered from 1, with true poses
    :ivar again: keyframes of the places where the robot comes again
    :ivar frames: their images
    """

    folder: File
    fingerprint: str
    mapped: list[Keyframe]
    again: list[Keyframe]
    elsewhere: Keyframe
    frames: list[Frame]


@pytest.fixture(scope='module')
def hall(tmp_path_factory):
    building = SimulatedRobot(load_scenario('demo'))
    preset, folder = load_preset('classic'), tmp_path_factory.mktemp('maps')
    mapper = Mapper(describer := build_describer(preset), session_id='mapping')

    def visit(spots, first_number, light=None):
        for number, (x, y, degrees) in enumerate(spots):
            frame = building.place(x, y, np.radians(degrees), first_number + 5 * number, light)  # a second apart
            yield replace(frame, depth=np.ascontiguousarray(frame.depth[::2, ::2]))  # a small message
    mapped = [mapper.make_keyframe(frame) for frame in visit(MAPPED, 5, building.light(0))]
    frames = list(visit([*AGAIN, ELSEWHERE], 5000))
    *again, elsewhere = [replace(key, pose=compose(ODOM, key.pose)) for key in map(mapper.make_keyframe, frames)]
    far_copies = [moved(key, key.id.index + 20, 50.0) for key in mapped]
    for name, keyframes in (
            ('hall', mapped), ('alone', mapped[2:3]),
            ('twins', [*mapped, *far_copies]),
            ('without_depth', [without_depth(key) for key in mapped]),
            ('bare', [replace(without_depth(key), pose=None) for key in mapped])):
        with PlaceMap.create(folder / f'{name}.segvlad', preset.fingerprint(), describer.dimension) as place_map:
            for key in keyframes:
                place_map.append(key)
    return Hall(folder, preset.fingerprint()['digest'], mapped, again, elsewhere, frames[:-1])


def moved(key: Keyframe, index: int, metres: float) -> Keyframe:
    """The same view as another keyframe, far away, where the robot has driven meanwhile."""
    pose = replace(key.pose, translation=key.pose.translation + [metres, 0, 0])
    later = key.id.stamp_ns + round(metres) * SECOND
    return replace(key, id=replace(key.id, index=index, stamp_ns=later), pose=pose)


def without_depth(key: Keyframe) -> Keyframe:
    points = replace(key.description.keypoints, depths=np.full_like(key.description.keypoints.depths, np.nan))
    return replace(key, description=replace(key.description, keypoints=points))


def without_odometry(key: Keyframe) -> Keyframe:
    return replace(key, pose=None)


class MapBuilder:
    """Publishes keyframes as a map_builder does, a second apart, and waits for the localizer's answer to each."""

    def __init__(self, robot: Robot, hall: Hall) -> None:
        self._robot, self._hall = robot, hall
        self._publisher = robot.peer.publisher(PlaceDescriptor, 'keyframes')
        robot.peer.matched(self._publisher)
        self._indices: dict[str, int] = {}

    def say(self, keyframe: Keyframe, session: str = 'again') -> PlaceMatchArray:
        index = self._indices[session] = self._indices.get(session, 0) + 1
        identity = replace(keyframe.id, session_id=session, index=index,
                           stamp_ns=self._hall.again[0].id.stamp_ns + index * SECOND)
        count = len(self._robot.matches)
        self._publisher.publish(to_place_descriptor(replace(keyframe, id=identity), self._hall.fingerprint))
        return self._robot.answer(count + 1)


@pytest.fixture
def localizer(robot, hall):
    """A localizer that receives keyframes, and the map_builder that publishes them."""
    def start(map_name, **parameters):
        node = robot('localizer', {'source': 'descriptors', 'follow': False, 'map': map_name,
                                   'map_directory': hall.folder, **parameters})
        return node, MapBuilder(node, hall)
    return start


def eventually(attempt, what):
    """Repeat an attempt until it has a result: no peer can see when another input has taken effect."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if result := attempt():
            return result
    raise AssertionError(f'tried {DEADLINE_S:g} s for {what}')


def assert_right(closure: LoopClosure, match: Pose, query: Pose) -> None:
    """The pose is T_match_query: the other direction is more than ten times its error away."""
    found = from_pose(closure.query_pose_in_match.pose, '')
    truth = relative(match, query)
    assert distance(inverse(truth), truth) > 0.3
    assert distance(found, truth) < 0.03
    assert np.degrees(rotation_angle(found, truth)) < 0.5
    covariance = np.array(closure.query_pose_in_match.covariance).reshape(6, 6)
    np.testing.assert_allclose(covariance, covariance.T)
    deviations = np.sqrt(np.linalg.eigvalsh(covariance))
    assert 0.003 < deviations.min() <= deviations.max() < 0.1  # radians and metres


def assert_names_the_match(closure: LoopClosure, answer: PlaceMatchArray) -> None:
    best = answer.matches[0]
    assert (closure.match, closure.query, closure.header) == (best.match, best.query, answer.header)
    assert closure.base_frame == answer.base_frame == 'base_link'
    assert best.has_relative_pose
    assert (closure.query_pose_in_match, closure.scale_source, closure.inliers) == (
        best.query_pose_in_match, best.scale_source, best.inliers)
    assert from_keyframe_id(closure.match).stamp_ns < from_keyframe_id(closure.query).stamp_ns


def test_every_status_has_its_reason(localizer, hall, tmp_path):
    strict = yaml.safe_load((config_directory() / 'classic.yaml').read_text())
    strict['geometry']['max_distance_m'] = 2.0
    for name in ('vocabulary', 'calibration'):
        strict[name] = str(config_directory() / strict[name])
    (tmp_path / 'strict.yaml').write_text(yaml.safe_dump(strict))
    robot, builder = localizer('', follow=True, preset=tmp_path / 'strict.yaml')
    first, second, third = hall.again
    blank = replace(hall.mapped[0].description, descriptors=np.zeros((0, 512), np.float32), keypoints=None,
                    boxes=np.zeros((0, 4), np.int32), pixels=np.zeros(0, np.int64), rejected='blank image')
    answers = [builder.say(keyframe, 'first') for keyframe in (
        first, second, replace(third, description=blank))]

    def load(name):
        loaded = robot.peer.call(LoadMap, 'localizer/load_map', name=name, read_only=True)
        assert loaded.success, loaded.message
    load('alone')
    answers.append(builder.say(without_odometry(hall.mapped[4]), 'ahead'))  # 2.4 m before the only keyframe
    answers.append(builder.say(hall.elsewhere, 'elsewhere'))
    load('twins')
    answers.append(builder.say(without_odometry(first), 'look-alikes'))
    load('hall')
    builder.say(first, 'hall')
    answers += [builder.say(keyframe, 'hall') for keyframe in (second, moved(third, 1, 20.0))]  # odometry says: no
    assert [(Status(answer.status).name, len(answer.matches) > 0) for answer in answers] == [
        ('MAP_EMPTY', False), ('MAP_ONLY_RECENT', False), ('QUERY_REJECTED', False), ('NO_MATCH_GEOMETRIC', True),
        ('NO_MATCH_LOW_SCORE', True), ('NO_MATCH_AMBIGUOUS', True), ('MATCHED', True), ('NO_MATCH_TEMPORAL', True)]
    assert {answer.status for answer in answers} == {int(status) for status in Status}
    for answer, words in zip(answers, ('no keyframes', 'too recent', 'no segments', 'seen from 2.4 m away',
                                       'has a probability of', 'a double elsewhere in the map, keyframe 2',
                                       'correspondences agree on one pnp model', 'by odometry the robot is')):
        assert words in answer.reason
    geometric, twin = answers[3].matches[0], answers[5].matches[0]
    assert (geometric.verification, geometric.has_relative_pose) == (PlaceMatch.REJECTED, False)
    assert geometric.inliers >= 12
    assert twin.ambiguity == pytest.approx(1.0, abs=1e-3)


class Sensors:
    """The robot's camera, depth camera and odometry."""

    def __init__(self, robot: Robot) -> None:
        self._robot, peer = robot, robot.peer
        self._publishers = {kind: peer.publisher(kind, topic) for kind, topic in (
            (Odometry, 'odom'), (CameraInfo, 'camera_info'), (Image, 'depth'), (CompressedImage, 'image/compressed'))}
        for publisher in self._publishers.values():
            peer.matched(publisher)

    def see(self, frame: Frame) -> PlaceMatchArray:
        count, header = len(self._robot.matches), {'seconds': frame.stamp_ns / SECOND, 'frame': frame.frame_id}
        odometry = Odometry(child_frame_id='base_link')
        odometry.pose = to_pose_with_covariance(compose(ODOM, frame.pose))
        height, width = frame.depth.shape
        millimetres = np.nan_to_num(frame.depth * 1000).astype('<u2')
        image = CompressedImage(format='jpeg', data=encode_jpeg(frame.rgb, quality=90))
        depth = Image(height=height, width=width, encoding='16UC1', step=2 * width, data=millimetres.tobytes())
        info = to_camera_info(frame.camera_model, stamped(Image(), **header).header)
        for message in (stamped(odometry, header['seconds'], 'odom'), info, stamped(depth, **header),
                        stamped(image, **header)):
            message.header.stamp = to_time(frame.stamp_ns)
            self._publishers[type(message)].publish(message)
        return self._robot.answer(count + 1)


def test_a_revisit_becomes_a_metric_loop_closure(peer, robot, namespace, hall):
    closures = peer.listen(LoopClosure, 'localizer/loop_closures')
    mount = hall.frames[0].base_from_camera
    reliable = {f'qos_overrides.{namespace}/{topic}.subscription.reliability': 'reliable'
                for topic in ('image/compressed', 'depth', 'camera_info', 'odom')}
    node = robot('localizer', {**EVERY_IMAGE, **reliable, 'map': 'hall', 'map_directory': hall.folder,
                               'image_transport': 'compressed', 'sync_timeout_s': 10.0,
                               'base_from_camera': [*map(float, mount.translation), *map(float, mount.quaternion)]})
    sensors = Sensors(node)
    answers = [sensors.see(frame) for frame in hall.frames]
    assert [answer.status for answer in answers] == [MATCHED] * 3, [a.reason for a in answers]
    assert [answer.matches[0].match.index for answer in answers] == SHOWN
    assert [answer.matches[0].verification for answer in answers] == [PlaceMatch.GEOMETRIC] * 3
    peer.wait(lambda: len(closures) == 3, 'three closures')
    for closure, answer, frame in zip(closures, answers, hall.frames):
        assert_names_the_match(closure, answer)
        assert closure.scale_source == 'depth'
        assert closure.inliers >= 12
        assert_right(closure, hall.mapped[closure.match.index - 1].pose, frame.pose)
    assert peer.call(Trigger, 'localizer/trigger_localization').success
    carried = sensors.see(replace(hall.frames[2], stamp_ns=hall.frames[2].stamp_ns + 60 * SECOND))
    assert (carried.status, carried.query.index, carried.matches[0].supporting_queries) == (MATCHED, 1, 1)
    assert carried.query.session_id != answers[-1].query.session_id


@pytest.mark.fault('odometry', 'a robot that is carried elsewhere',
                   'after `trigger_localization` nothing of before counts')
def test_odometry_rules_out_what_it_contradicts_until_the_robot_is_carried(localizer, hall):
    robot, builder = localizer('hall')
    first, second, third = hall.again
    answers = [builder.say(keyframe) for keyframe in (first, second, third)]
    assert [answer.status for answer in answers] == [MATCHED] * 3
    far = builder.say(moved(second, 1, 20.0))
    assert far.status == WAITING and 'by odometry' in far.reason
    triggered = robot.peer.call(Trigger, 'localizer/trigger_localization')
    assert triggered.success, triggered.message
    answers = [builder.say(moved(keyframe, 1, 20.0)) for keyframe in (second, third)]
    assert [answer.status for answer in answers] == [MATCHED] * 2
    assert [answer.matches[0].supporting_queries for answer in answers] == [1, 2]
    assert answers[0].map_keyframes == len(MAPPED)


@pytest.mark.fault('camera', 'neither depth nor odometry', 'a match, but no metric loop closure is made up')
def test_without_any_scale_there_is_a_match_but_no_loop_closure(peer, localizer, hall):
    closures = peer.listen(LoopClosure, 'localizer/loop_closures')
    _, builder = localizer('bare')
    bare = [without_odometry(without_depth(keyframe)) for keyframe in hall.again]
    answers = [builder.say(keyframe) for keyframe in bare]
    answers.append(builder.say(without_odometry(hall.again[2])))  # with depth: what is published now came last
    assert [answer.status for answer in answers] == [MATCHED] * 4
    assert [answer.matches[0].has_relative_pose for answer in answers] == [False, False, False, True]
    assert [answer.matches[0].scale_source for answer in answers] == ['', '', '', 'depth']
    assert all(answer.matches[0].verification == PlaceMatch.GEOMETRIC for answer in answers)
    peer.wait(lambda: closures, 'a closure')
    assert [closure.query.index for closure in closures] == [4]


def test_odometry_between_the_maps_keyframes_gives_the_scale(peer, localizer, hall):
    closures = peer.listen(LoopClosure, 'localizer/loop_closures')
    _, builder = localizer('without_depth')
    answers = [builder.say(without_depth(keyframe)) for keyframe in hall.again[:2]]
    assert [answer.status for answer in answers] == [MATCHED] * 2
    closure = peer.wait(lambda: next((c for c in closures if c.query == answers[1].query), None), 'the second closure')
    assert_names_the_match(closure, answers[1])
    assert closure.scale_source == 'odometry'
    assert_right(closure, hall.mapped[SHOWN[1] - 1].pose, hall.frames[1].pose)


def test_the_back_ends_verdicts_are_counted_and_change_the_score(localizer, hall):
    robot, builder = localizer('hall')
    feedback = robot.peer.publisher(LoopClosureFeedback, 'loop_closure_feedback')
    robot.peer.matched(feedback)

    def score():
        answer = builder.say(hall.again[0])
        return next(match.score for match in answer.matches if match.match.index == SHOWN[0])

    def say(verdict, expected, index):
        query = to_keyframe_id(replace(hall.again[0].id, session_id='again', index=index))
        feedback.publish(LoopClosureFeedback(query=query, match=to_keyframe_id(hall.mapped[SHOWN[0] - 1].id),
                                             verdict=verdict, reason='a test'))
        eventually(lambda: score() == pytest.approx(expected, rel=1e-4), f'the score {expected:.3f}')
    before = score()
    say(LoopClosureFeedback.REJECTED_GEOMETRY, 0.8 * before, 1)
    say(LoopClosureFeedback.REJECTED_OPTIMIZATION, 0.64 * before, 2)
    say(LoopClosureFeedback.ACCEPTED, 0.8 * before, 3)
    say(LoopClosureFeedback.UNUSABLE, 0.8 * before, 4)  # was not judged, and says nothing of the match
    robot.peer.wait(lambda: counted(robot) == ('1', '2'), 'one accepted and two rejected in the diagnostics')


def counted(robot: Robot) -> tuple[str, str] | None:
    """Accepted and rejected closures in the latest diagnostics of a node."""
    statuses = (status for message in reversed(robot.diagnostics) for status in message.status)
    found = next((status for status in statuses if status.name == f'{robot.node.name}: input'), None)
    values = {value.key: value.value for value in found.values} if found else {}
    return found and (values['closures accepted by the back-end'], values['closures rejected by the back-end'])


def test_an_optimised_path_moves_the_poses_of_later_matches(localizer, hall):
    robot, builder = localizer('hall')
    optimised = robot.peer.publisher(Path, 'optimized_path')
    robot.peer.matched(optimised)
    path = stamped(Path(), 1.0, 'optimised')
    shift = Pose(np.array([5.0, 2.0, 0.0]), np.array([0.0, 0.0, 0.28, 0.96]))
    for keyframe in hall.mapped[1:]:  # the first is not on the path
        node = PoseStamped()
        node.header.stamp = to_time(keyframe.id.stamp_ns)
        fill_pose(node.pose, compose(shift, keyframe.pose))
        path.poses.append(node)

    def poses(frame):
        matches = builder.say(hall.again[0]).matches
        found = {match.match.index: match.match_pose for match in matches}
        return found if found[SHOWN[0]].header.frame_id == frame else None

    def assert_moved():
        found = eventually(lambda: poses('optimised'), 'the optimised poses')
        assert {index: pose.header.frame_id for index, pose in found.items()} == {
            1: 'map', **dict.fromkeys(range(2, 6), 'optimised')}
        for index, pose in found.items():
            truth = hall.mapped[index - 1].pose if index == 1 else compose(shift, hall.mapped[index - 1].pose)
            assert distance(from_pose(pose.pose, ''), truth) < 1e-6
            assert rotation_angle(from_pose(pose.pose, ''), truth) < 1e-6
    assert poses('map')
    optimised.publish(path)
    assert_moved()
    assert robot.peer.call(LoadMap, 'localizer/load_map', name='hall', read_only=True).success
    assert poses('map')
    optimised.publish(path)  # as it was, but the poses of the map are not
    assert_moved()


def test_pictures_are_made_only_for_somebody_who_looks(localizer, hall):
    robot, builder = localizer('hall')

    def stages(count):
        return set(robot.status(lambda s: s.keyframes_processed == count, f'{count} keyframes').stages)
    builder.say(hall.again[0])
    assert {'search', 'vote', 'decision'} <= stages(1)
    assert not {'match_image', 'markers'} & stages(1)
    pictures = robot.peer.listen(Image, 'localizer/match_image')
    markers = robot.peer.listen(MarkerArray, 'localizer/markers', LATCHED)
    eventually(lambda: builder.say(hall.again[1]) and pictures and markers, 'a picture and markers')
    answer = robot.matches[-1]
    picture = robot.peer.wait(lambda: pictures[-1].header == answer.header and pictures[-1], 'the last picture')
    assert (picture.encoding, picture.width, picture.height, picture.step) == ('rgb8', 2 * 360 + 6, 372, 3 * 726)
    assert len(picture.data) == picture.height * picture.step
    pixels = np.frombuffer(picture.data, np.uint8).reshape(372, 726, 3)
    assert pixels[34:304, :360].std() > 20  # the query
    assert pixels[34:304, 366:].std() > 20  # the match
    assert {'match_image', 'markers'} <= stages(len(robot.matches))
    kinds = {marker.ns: marker.type for message in markers for marker in message.markers if marker.action == Marker.ADD}
    assert kinds['keyframes in map'] == Marker.SPHERE_LIST
