"""localizer as a process: every keyframe is answered, from images or from a map_builder's descriptors."""
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from node_harness import EVERY_IMAGE, Robot, compressed_message, image_message, real_images, reliable
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_srvs.srv import Trigger

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.msg import PlaceDescriptor, PlaceMatch, PlaceMatchArray, SegVladStatus
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.pipeline.presets import config_directory
from segvlad_ros.srv import GetKeyframe, LoadMap, RecognizeImage
from segvlad_ros.types import Frame

MAPPED = [0, 40, 80, 120, 160, 200]
MATCHED = PlaceMatchArray.MATCHED


@pytest.fixture(scope='module')
def pictures():
    return real_images('hololens_office/images', MAPPED)


@pytest.fixture(scope='module')
def office(pictures, tmp_path_factory):
    """The folder of a map that the core made, without any node."""
    folder = tmp_path_factory.mktemp('maps')
    places = PlaceRecognizer()
    for number, picture in enumerate(pictures):
        places.add(Frame(picture, 10**9 * (10 * number + 1)))
    places.save(folder / 'office.segvlad')
    with PlaceMap.create(folder / 'foreign.segvlad', {**places.preset.fingerprint(), 'image.width': 1}, 512):
        pass
    return folder


@pytest.fixture
def localizer(robot, namespace, office):
    def start(parameters=None, **named):
        return robot('localizer', {**EVERY_IMAGE, **reliable(namespace, 'image'), 'map_directory': office,
                                   **(parameters or {})}, **named)
    return start


def test_images_are_localised_in_a_loaded_map(localizer, pictures):
    robot = localizer({'map': 'office', 'publish_evidence': True, 'top_k': 2})
    camera = robot.camera()
    for number in (1, 2, 3, 4):
        robot.send(camera, image_message(pictures[2], 1000.0 + number))
    answers = [robot.answer(number) for number in (1, 2, 3, 4)]
    assert [answer.status for answer in answers] == [MATCHED] * 4  # geometry proves it at once
    last = answers[-1]
    assert last.reason
    assert last.map_keyframes == len(MAPPED)
    assert last.header.frame_id == 'camera_optical'
    assert last.header.stamp.sec == last.query.stamp.sec == 1004
    assert 1 <= len(last.matches) <= 2
    best = last.matches[0]
    assert (best.match.index, best.match.stamp.sec, best.rank) == (3, 21, 0)
    assert best.score > 0.8
    assert best.supporting_queries == 4
    assert best.verification == PlaceMatch.GEOMETRIC
    assert best.inliers >= 12
    assert (best.has_relative_pose, best.scale_source) == (False, '')  # nobody knows a depth or a calibration
    assert len(best.evidence) == best.matched_segments > 0
    assert all(pair.similarity > 0.9 for pair in best.evidence[:3])
    status = robot.status(lambda s: s.keyframes_processed == 4, 'four keyframes')
    assert (status.state, status.matches_published, status.keyframes) == (SegVladStatus.LOCALIZING, 4, len(MAPPED))
    assert status.map_id == last.map_id


def test_loading_is_told_in_percent(localizer):
    robot = localizer({'map': 'office', 'autostart': False}, wait=False)
    robot.status(lambda s: s.state == SegVladStatus.UNCONFIGURED, 'an unconfigured node')
    assert robot.transition(Transition.TRANSITION_CONFIGURE)
    robot.status(lambda s: s.state == SegVladStatus.PAUSED, 'a configured node')
    told = [status.message for status in robot.statuses if status.state == SegVladStatus.LOADING]
    percents = [int(message.split()[-2]) for message in told if message.endswith(' %')]
    assert percents and percents == sorted(percents)
    assert all(message.startswith('loading') for message in told)


def test_every_keyframe_is_answered_with_its_reason(localizer, pictures):
    robot = localizer()
    camera = robot.camera()
    robot.send(camera, image_message(pictures[0], 1.0))
    assert robot.answer(1).status == PlaceMatchArray.MAP_EMPTY
    robot.send(camera, image_message(pictures[0] * 0 + 100, 2.0))
    answer = robot.answer(2)
    assert answer.status == PlaceMatchArray.QUERY_REJECTED
    assert answer.reason


def test_one_image_is_recognised_on_demand(localizer, pictures):
    robot = localizer({'map': 'office'})
    call = robot.peer.call
    raw = call(RecognizeImage, 'localizer/recognize_image', image=image_message(pictures[4], 0.0), top_k=1)
    assert raw.success, raw.message
    assert raw.result.status == MATCHED
    assert raw.result.matches[0].match.index == 5
    assert raw.result.matches[0].evidence
    png = call(RecognizeImage, 'localizer/recognize_image', compressed=compressed_message(pictures[1], 3.0))
    assert png.result.matches[0].match.index == 2
    other = call(RecognizeImage, 'localizer/recognize_image', image=image_message(pictures[4], 0.0), sessions=['none'])
    assert (other.result.status, len(other.result.matches)) == (PlaceMatchArray.MAP_ONLY_RECENT, 0)
    assert 'not to be searched' in other.result.reason
    broken = image_message(pictures[4], 0.0)
    broken.data = broken.data[:100]
    refused = call(RecognizeImage, 'localizer/recognize_image', image=broken)
    assert not refused.success
    assert 'too short' in refused.message
    assert not call(RecognizeImage, 'localizer/recognize_image').success


def test_only_the_wanted_sessions_are_searched(localizer, pictures, office):
    robot = localizer({'map': 'office', 'sessions': ['none']})
    camera = robot.camera()
    robot.send(camera, image_message(pictures[2], 1000.0))
    answer = robot.answer(1)
    assert (answer.status, len(answer.matches)) == (PlaceMatchArray.MAP_ONLY_RECENT, 0)
    assert 'office has no session of the parameter sessions' in robot.node.log.read_text()
    with PlaceMap.open(office / 'office.segvlad') as place_map:
        session, = (session.session_id for session in place_map.sessions())
    value = ParameterValue(type=ParameterType.PARAMETER_STRING_ARRAY, string_array_value=[session])
    changed = robot.peer.call(SetParameters, 'localizer/set_parameters',
                              parameters=[ParameterMessage(name='sessions', value=value)])
    assert changed.results[0].successful
    robot.send(camera, image_message(pictures[2], 1001.0))
    answer = robot.answer(2)
    assert answer.status == MATCHED
    best = answer.matches[0]
    assert (best.match.session_id, best.match_pose_in) == (session, PlaceMatch.IN_NONE)


@pytest.mark.fault('service', '`load_map` of a map that is missing, foreign or damaged',
                   'refused with the reason; the map so far is searched on')
def test_maps_are_loaded_and_refused_by_service(localizer, pictures):
    robot = localizer()
    call = robot.peer.call
    for name, words in (('foreign', 'image.width'), ('../office', 'map name'), ('/etc/passwd', 'map name'),
                        ('nowhere', 'no map')):
        refused = call(LoadMap, 'localizer/load_map', name=name, read_only=True)
        assert not refused.success
        assert words in refused.message
    assert not call(LoadMap, 'localizer/load_map', name='office', read_only=False).success
    loaded = call(LoadMap, 'localizer/load_map', name='office', read_only=True)
    assert (loaded.success, loaded.keyframes) == (True, len(MAPPED)), loaded.message
    camera = robot.camera()
    robot.send(camera, image_message(pictures[3], 1.0))
    match = robot.answer(1).matches[0].match
    assert match.index == 4
    fetched = call(GetKeyframe, 'localizer/get_keyframe', keyframe=match)
    assert fetched.success
    assert fetched.descriptor.segment_count > 0
    assert call(Trigger, 'localizer/reset_map').success
    robot.send(camera, image_message(pictures[3], 2.0))
    assert robot.answer(2).status == PlaceMatchArray.MAP_EMPTY


@pytest.mark.fault('node', 'deactivate, cleanup, configure, activate', 'works as the first time')
def test_the_lifecycle_goes_round_twice(localizer, pictures):
    robot = localizer({'autostart': False, 'map': 'office'}, wait=False)
    for turn in (1, 2):
        assert robot.transition(Transition.TRANSITION_CONFIGURE)
        assert robot.transition(Transition.TRANSITION_ACTIVATE)
        robot.running()
        camera = robot.camera()
        robot.send(camera, image_message(pictures[0], turn))
        assert robot.answer(turn).map_keyframes == len(MAPPED)
        assert robot.transition(Transition.TRANSITION_DEACTIVATE)
        robot.abandon(camera)
        assert robot.transition(Transition.TRANSITION_CLEANUP)


@pytest.mark.fault('map', 'a map of another preset, a map that is not there', 'one line with the fields that differ')
def test_a_wrong_map_ends_the_start_with_one_line(launch, office):
    foreign = launch('localizer', {'map_directory': office, 'map': 'foreign'})
    missing = launch('localizer', {'map_directory': office, 'map': 'nowhere'})
    for node, words in ((foreign, 'image.width'), (missing, 'no map nowhere')):
        assert node.wait() == 1
        assert words in node.text()
        assert 'Traceback' not in node.text()


@pytest.fixture
def follower(peer, launch):
    """A localizer that follows the map_builder of the same namespace."""
    def start():
        node = launch('localizer', {'source': 'descriptors'}, {
            'keyframes': 'map_builder/keyframes', 'get_keyframe': 'map_builder/get_keyframe'})
        follower = Robot(peer, node)
        follower.running()
        return follower
    return start


def until(peer, condition, attempts):
    """Make attempts until one takes effect: no peer can see when two other processes have matched."""
    for attempt in attempts:
        attempt()
        try:
            return peer.wait(condition, 'an effect', deadline_s=5)
        except AssertionError:
            continue
    pytest.fail('the nodes did not connect')


@pytest.mark.fault('topic', 'a localizer that starts after its map_builder', 'fetches what it has missed')
def test_two_nodes_close_loops_and_refill_what_was_missed(robot, namespace, follower, pictures):
    builder = robot('map_builder', {**EVERY_IMAGE, **reliable(namespace, 'image')})
    camera, peer = builder.camera(), builder.peer

    def drive(index):
        builder.send(camera, image_message(pictures[index], 2.0 * index + 1.0))
    for index in (0, 1, 2):  # before the localizer lives
        drive(index)
    localizer = follower()
    until(peer, lambda: localizer.matches, [lambda index=index: drive(index) for index in (3, 4, 5)])
    mapped = builder.status(lambda s: s.keyframes == len(builder.keyframes), 'the map').keyframes
    assert mapped >= 4
    localizer.status(lambda s: s.keyframes == mapped, 'all keyframes, the first ones fetched')
    before = len(localizer.matches)
    assert localizer.matches[0].query.index >= 4
    assert {answer.status for answer in localizer.matches} <= {PlaceMatchArray.MAP_EMPTY,
                                                               PlaceMatchArray.MAP_ONLY_RECENT}

    for number in range(3):  # the first place again, a minute later
        builder.send(camera, image_message(pictures[0], 120.0 + number))
    answers = [localizer.answer(before + number) for number in (1, 2, 3)]
    assert [answer.status for answer in answers] == [MATCHED] * 3
    assert [answer.matches[0].match.index for answer in answers] == [1, 1, 1]
    assert answers[-1].matches[0].match.session_id == answers[-1].query.session_id
    status = localizer.status(lambda s: s.keyframes == mapped + 3, 'the new keyframes')
    assert (status.keyframes_processed, status.matches_published) == (before + 3, 3)


@pytest.mark.fault('topic', 'keyframes of another preset or model', 'refused, with both named')
def test_descriptors_of_another_model_are_refused(robot, namespace, follower, pictures, tmp_path):
    preset = yaml.safe_load((config_directory() / 'classic.yaml').read_text())
    preset['vocabulary'] = str(config_directory() / preset['vocabulary'])
    preset['projection'] = {'kind': 'seeded', 'dimension': 64, 'seed': 7}
    other = tmp_path / 'other.yaml'
    other.write_text(yaml.safe_dump(preset))
    builder = robot('map_builder', {**EVERY_IMAGE, **reliable(namespace, 'image'), 'preset': other})
    camera, localizer = builder.camera(), follower()
    until(builder.peer, lambda: 'another model' in localizer.statuses[-1].message,
          [lambda number=number: builder.send(camera, image_message(pictures[0], number)) for number in (1, 2, 3, 4)])
    status = localizer.statuses[-1]
    assert (status.keyframes, status.keyframes_processed) == (0, 0)


@pytest.mark.fault('topic', 'a map_builder that falls silent', "the localizer's diagnostics say so")
def test_diagnostics_say_how_keyframes_of_another_node_come(robot):
    """A localizer that worked was called not active, and none was warned of keyframes that never came."""
    localizer = robot('localizer', {'source': 'descriptors', 'diagnostics.no_images_warn_s': 0.5})
    topic = f'{localizer.peer.namespace}/keyframes'

    def told(level, words):
        def found():
            return any(s.level == level and words in s.message for message in localizer.diagnostics[-1:]
                       for s in message.status if s.name == f'{localizer.node.name}: input')
        return localizer.peer.wait(found, f'diagnostics that say {words}')

    told(DiagnosticStatus.WARN, f's on {topic}')  # no keyframes for so many
    publisher = localizer.peer.publisher(PlaceDescriptor, 'keyframes')
    localizer.peer.matched(publisher)
    told(DiagnosticStatus.WARN, f's on {topic}')  # there is who makes them, and has made none
    publisher.publish(PlaceDescriptor())  # of another model, but it came
    told(DiagnosticStatus.OK, 'the robot seems to be standing still')
    localizer.peer.node.destroy_publisher(publisher)
    told(DiagnosticStatus.WARN, f's on {topic}')
    assert localizer.warnings('no keyframes for') == 2
    assert localizer.warnings('is the map_builder active') == 2
