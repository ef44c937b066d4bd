"""A map_builder whose map must stay small, and a localizer that follows it: both hold the same keyframes."""
import numpy as np
import pytest
from node_harness import EVERY_IMAGE, Robot, image_message, real_images, reliable

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.msg import PlaceMatchArray
from segvlad_ros.srv import RemoveKeyframes

FOLLOWING = {'keyframes': 'map_builder/keyframes', 'get_keyframe': 'map_builder/get_keyframe',
             'removed_keyframes': 'map_builder/removed_keyframes'}
BOUNDED = {**EVERY_IMAGE, 'map': 'small', 'allow_removal': True, 'retention.max_keyframes': 3,
           'retention.explained_score': 0.3}


@pytest.fixture(scope='module')
def pictures():
    return real_images('hololens_office/images', [0, 60, 120, 200])


@pytest.fixture
def builder(peer, launch, namespace):
    robot = Robot(peer, launch('map_builder', {
        **BOUNDED, **reliable(namespace, 'image')}))
    robot.running()
    return robot


@pytest.fixture
def follow(peer, launch):
    def start():
        robot = Robot(peer, launch('localizer', {'source': 'descriptors'}, FOLLOWING))
        robot.running()
        return robot
    return start


def indices(ids, before=0):
    return [identity.index - before for identity in ids]


def connect(builder, localizer, camera, seconds=0.5):
    """Once the follower is found, let it answer a dark image, which nobody stores; returns its index."""
    builder.status(lambda s: s.keyframe_subscribers == 2, 'the follower, and us')
    builder.send(camera, image_message(np.zeros((360, 480, 3), np.uint8), seconds))
    return localizer.answer(1).query.index


def answer_to(localizer, index):
    """The answer to the keyframe with an index."""
    return localizer.peer.wait(lambda: next((answer for answer in localizer.matches if answer.query.index == index),
                                            None), f'the answer to keyframe {index}')


def test_a_follower_searches_what_the_builder_holds(builder, follow, pictures, tmp_path):
    localizer, camera = follow(), builder.camera()
    first = connect(builder, localizer, camera)

    def see(number, seconds):
        status = builder.send(camera, image_message(pictures[number], seconds))
        return answer_to(localizer, status.keyframes_processed)

    for number in range(4):
        see(number, 1.0 + number)
    status = builder.status(lambda s: s.keyframes_evicted == 1, 'an eviction')
    assert (status.keyframes, indices(status.evicted, first)) == (3, [1])
    assert 10_000 < status.bytes_per_keyframe < 1_000_000
    assert status.map_bytes_per_hour > 0
    localizer.status(lambda s: s.keyframes == 3, 'the follower without it')

    again = see(3, 100.0)  # explained by keyframe 4: answered, and not stored
    assert (again.status, again.matches[0].match.index - first) == (PlaceMatchArray.MATCHED, 4), again.reason
    status = builder.status(lambda s: s.keyframes_explained == 1, 'an explained keyframe')
    assert (status.keyframes, status.keyframes_processed - first) == (3, 5)
    builder.keyframe(first + 5)
    assert [message.passed_over for message in builder.keyframes] == [True] * first + [False] * 4 + [True]
    lost = see(0, 101.0)  # the keyframe that showed it has gone: nobody finds it, and it is stored again
    assert 1 not in indices((match.match for match in lost.matches), first)
    status = builder.status(lambda s: s.keyframes_evicted == 2, 'another eviction')
    assert indices(status.evicted, first) == [1, 2]
    localizer.status(lambda s: s.keyframes == 3, 'the follower with three')

    third = builder.keyframe(first + 3).keyframe
    removed = builder.peer.call(RemoveKeyframes, 'map_builder/remove_keyframes', keyframes=[third])
    assert removed.removed == 1, removed.message
    localizer.status(lambda s: s.keyframes == 2, 'the follower without what a user removed')
    with PlaceMap.open(tmp_path / 'maps' / 'small.segvlad') as place_map:
        assert indices(place_map.ids(), first) == [4, 6]


def test_who_follows_late_misses_nothing_that_is_held(builder, follow, pictures):
    camera = builder.camera()
    for number in range(4):
        builder.send(camera, image_message(pictures[number], 1.0 + number))
    builder.status(lambda s: s.keyframes_evicted == 1, 'an eviction')
    localizer = follow()
    connect(builder, localizer, camera, 50.0)
    builder.send(camera, image_message(pictures[0], 100.0))
    localizer.status(lambda s: s.keyframes == 3, 'three keyframes')
    values = builder.peer.wait(lambda: _input_values(localizer), 'diagnostics')
    assert values['keyframes missed'] == '0'


def _input_values(robot):
    found = [status for message in robot.diagnostics for status in message.status
             if status.name == f'{robot.node.name}: input']
    values = {value.key: value.value for value in found[-1].values} if found else {}
    return values if 'keyframes missed' in values else None
