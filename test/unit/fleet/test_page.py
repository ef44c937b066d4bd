"""docs/fleet.md names what is on the server as the code does, so that it can be looked up there."""
import re
from pathlib import Path

from segvlad_ros.fleet.milvus import COLLECTION, MilvusPlaces

PAGE = (Path(__file__).resolve().parents[3] / 'docs/fleet.md').read_text()


def test_the_page_names_the_collection():
    assert re.findall(r'`(\w+)<digest>`', PAGE) == [COLLECTION]


def test_the_page_names_the_primary_key():
    key, = re.findall(r'primary key is `([\w/]+)`', PAGE)
    assert f'``{key}``' in MilvusPlaces.__doc__
