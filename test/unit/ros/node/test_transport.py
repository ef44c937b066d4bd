"""The Fast DDS profile for raw images, and what is said where they are lost."""
from __future__ import annotations

import os
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from sensor_msgs.msg import Image

from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.events import UnsupportedEventTypeError
from segvlad_ros.ros.node.qos import VARIABLES, allow_large_images


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, '')  # so that what the test sets is undone


def test_the_profile_holds_a_full_hd_image():
    allow_large_images()
    root = ElementTree.parse(next(filter(None, map(os.environ.get, VARIABLES)))).getroot()
    sizes = {element.tag.split('}')[1]: int(element.text) for element in root.iter() if element.text.strip().isdigit()}
    assert sizes['maxMessageSize'] > 1920 * 1080 * 3
    assert sizes['segment_size'] >= 4 * sizes['maxMessageSize']


@pytest.mark.parametrize('name', VARIABLES)
def test_a_profile_of_the_user_stays(monkeypatch, name):
    monkeypatch.setenv(name, '/etc/mine.xml')
    allow_large_images()
    assert os.environ[name] == '/etc/mine.xml'
    assert [os.environ[other] for other in VARIABLES if other != name] == ['']


def test_what_helps_against_loss_is_a_file_that_is_there():
    raw = qos.against_loss('/camera/image', compressed=False)
    _, _, path = raw.split(' (')[0].partition(f'{VARIABLES[0]}=')
    assert os.path.basename(path) == 'fastdds_large_images.xml' and os.path.isfile(path)
    assert raw.startswith('start the process that publishes /camera/image with')
    assert 'fastdds' not in qos.against_loss('/camera/image/compressed', compressed=True)


@pytest.mark.parametrize('tells', [True, False])
def test_a_middleware_that_does_not_tell_of_losses_is_subscribed_to_all_the_same(tells):
    """None that is installed here is such: the node is a stand-in."""
    made, lost = [], []

    def create_subscription(*args, event_callbacks, **kwargs):
        if event_callbacks.message_lost is not None and not tells:
            raise UnsupportedEventTypeError('no such event')
        made.append(event_callbacks)
        return 'subscription'
    node = SimpleNamespace(resolve_topic_name=lambda topic: topic, create_subscription=create_subscription)
    assert qos.subscribe(node, Image, '/image', print, qos.sensor(), on_lost=lost.append) == 'subscription'
    assert lost == [0] * tells
    if tells:
        made[0].message_lost(SimpleNamespace(total_count=9, total_count_change=2))
        assert lost == [0, 2]


def test_the_variable_is_that_of_the_fast_dds_that_is_there(monkeypatch, tmp_path):
    monkeypatch.setattr('sys.prefix', str(tmp_path / 'nothing'))
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    allow_large_images()
    assert os.environ[VARIABLES[0]]
    monkeypatch.setenv(VARIABLES[0], '')
    (tmp_path / 'lib').mkdir()
    (tmp_path / 'lib' / 'libfastdds.so.3.2').touch()
    allow_large_images()
    assert (os.environ[VARIABLES[0]], bool(os.environ[VARIABLES[1]])) == ('', True)
