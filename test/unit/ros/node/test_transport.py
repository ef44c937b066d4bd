"""The Fast DDS profile for raw images."""
from __future__ import annotations

import os
from xml.etree import ElementTree

import pytest

from segvlad_ros.ros.node.qos import VARIABLES, allow_large_images


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, '')  # so that what the test sets is undone


def test_the_profile_holds_a_full_hd_image():
    allow_large_images()
    root = ElementTree.parse(os.environ[VARIABLES[0]]).getroot()
    sizes = {element.tag.split('}')[1]: int(element.text) for element in root.iter() if element.text.strip().isdigit()}
    assert sizes['maxMessageSize'] > 1920 * 1080 * 3
    assert sizes['segment_size'] >= 4 * sizes['maxMessageSize']


@pytest.mark.parametrize('name', VARIABLES)
def test_a_profile_of_the_user_stays(monkeypatch, name):
    monkeypatch.setenv(name, '/etc/mine.xml')
    allow_large_images()
    assert os.environ[name] == '/etc/mine.xml'
    assert [os.environ[other] for other in VARIABLES if other != name] == ['']
