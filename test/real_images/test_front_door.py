"""The front door on real images: the README's example as it stands, in a script and in a notebook."""
from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from segvlad_ros import PlaceRecognizer
from segvlad_ros.io.images import list_images, read_image
from segvlad_ros.types import Status

ROOT = Path(__file__).resolve().parents[2]


EXAMPLE = re.search(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)[1]


@pytest.fixture
def office(data, tmp_path, monkeypatch):
    """A folder ``office`` and an image ``query.jpg``, as the example wants them."""
    (tmp_path / 'office').mkdir()
    for path in list_images(data / 'corridor/ref')[:12]:
        shutil.copy(path, tmp_path / 'office')
    shutil.copy(list_images(data / 'corridor/query')[4], tmp_path / 'query.jpg')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readmes_example_has_ten_lines():
    assert len(EXAMPLE.splitlines()) <= 10


def test_the_example_ends_in_a_match(office):
    told = subprocess.run([sys.executable, '-c', EXAMPLE], capture_output=True, text=True, timeout=120, check=True,
                          cwd=office).stdout
    assert told.startswith('MATCHED keyframe ')
    assert (office / 'office.segvlad').is_file()


def test_the_example_runs_in_a_notebook_cell(office, capsys):
    """A cell runs inside an event loop that is running already."""
    async def cell():
        exec(compile(EXAMPLE, 'cell', 'exec'), {})
    asyncio.run(cell())
    assert capsys.readouterr().out.startswith('MATCHED keyframe ')


def test_a_loaded_map_gives_the_same_scores(office):
    places = PlaceRecognizer()
    for path in list_images(office / 'office'):
        places.add(read_image(path))
    query = read_image(office / 'query.jpg')
    live = places.recognize(query)
    places.save(office / 'saved.segvlad')
    loaded = PlaceRecognizer.load(office / 'saved.segvlad')
    again = loaded.recognize(query)
    assert live.status == again.status == Status.MATCHED
    assert repr(live.candidates) == repr(again.candidates)
    assert loaded.add(query) == len(loaded) - 1 == 12
    assert len(PlaceRecognizer.load(office / 'saved.segvlad')) == 12  # the file stays as it is


def test_the_package_alone_costs_nothing():
    code = ('import sys, segvlad_ros; wrong = {"rclpy", "torch", "cv2", "numpy", "faiss"} & set(sys.modules); '
            'assert not wrong, wrong')
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60)
