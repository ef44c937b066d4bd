"""``segvlad fleet`` as people use it, its server among it."""
from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from fleet_samples import make_map, wait_for
from map_samples import make_keyframe

from segvlad_ros.cli import BELOW, OK, USAGE, main
from segvlad_ros.fleet.lite_server import LiteServer
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import SegvladError

# Where tests run in the background SIGINT is ignored, and would be by the command as well.
COMMAND = ('import signal, sys\nfrom segvlad_ros.cli import main\n'
           'signal.signal(signal.SIGINT, signal.default_int_handler)\nsys.exit(main(sys.argv[1:]))')


@pytest.fixture
def serve(tmp_path):
    """Starts ``segvlad fleet serve`` and gives the process and its address."""
    started = []

    def start(*arguments: str) -> tuple[subprocess.Popen, str]:
        process = subprocess.Popen(
            [sys.executable, '-c', COMMAND, 'fleet', 'serve', str(tmp_path / 'data'), '--port', '0',
             *arguments], stdout=subprocess.PIPE, text=True,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
        started.append(process)
        return process, re.search(r'http://\S+', process.stdout.readline()).group()
    yield start
    for process in started:
        process.kill()
        process.communicate()


def refuses(uri: str) -> bool:
    host, port = uri.removeprefix('http://').split(':')
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
        return False
    except OSError:
        return True


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_with_its_command_and_keeps_what_it_was_sent(serve, tmp_path, digest, capsys, number):
    process, uri = serve()
    with make_map(tmp_path / 'office.segvlad', digest, range(1, 6)) as place_map:
        assert main(['fleet', 'sync', str(place_map.path), '--uri', uri, '--json']) == OK
    assert json.loads(capsys.readouterr().out)['sent'] == 5
    process.send_signal(number)
    assert process.wait(30) == (-number if number == signal.SIGKILL else OK)
    wait_for(lambda: refuses(uri), 'the server to end')
    _process, uri = serve()  # the folder is free again
    assert main(['fleet', 'sync', str(place_map.path), '--uri', uri, '--json']) == OK
    (tmp_path / 'office.segvlad.fleet').unlink()
    assert json.loads(capsys.readouterr().out)['keyframes'] == 5
    assert 'Traceback' not in (tmp_path / 'data' / 'server.log').read_text()


def test_a_folder_or_port_in_use_is_refused(server, tmp_path):
    with LiteServer(tmp_path, '127.0.0.1', 0), pytest.raises(SegvladError, match='another server uses this folder'):
        LiteServer(tmp_path, '127.0.0.1', 0)
    with pytest.raises(SegvladError, match='cannot listen on 127.0.0.1'):
        LiteServer(tmp_path, '127.0.0.1', server.port)


def test_a_server_that_dies_ends_the_wait(tmp_path):
    with LiteServer(tmp_path, '127.0.0.1', 0) as server:
        server._process.kill()
        with pytest.raises(SegvladError, match='ended with status -9'):
            server.wait(30)


@pytest.fixture
def two_maps(tmp_path, server, capsys):
    """The maps of two robots of the preset, which saw the same."""
    fields, paths = load_preset('classic').fingerprint(), []
    for robot in (1, 2):
        paths.append(tmp_path / f'{robot}.segvlad')
        with PlaceMap.create(paths[-1], fields, 512) as place_map:
            for number in (1, 2):
                place_map.append(make_keyframe(number, segments=6, dimension=512, robot_id=robot))
        assert main(['fleet', 'sync', str(paths[-1]), '--uri', server.uri, '--site', str(tmp_path)]) == OK
    assert 'sent 2 keyframes; the database holds all 2' in capsys.readouterr().out
    return paths


def test_a_map_is_asked_about_keyframe_by_keyframe(two_maps, server, tmp_path, capsys):
    asked = ['fleet', 'query', str(two_maps[0]), '--uri', server.uri, '--site', str(tmp_path)]
    assert main([*asked, '--json']) == OK
    answers = json.loads(capsys.readouterr().out)
    assert [answer['places'][0]['index'] for answer in answers] == [1, 2]
    best = answers[1]['places'][0]
    assert (best['robot_id'], best['matched_segments'], best['frame']) == (2, 6, 'odom')
    assert best['score'] == pytest.approx(1.0, abs=1e-3)
    assert best['position'] == [1.0, 1.0, 0.0]
    assert main([*asked, '--top-k', '1']) == OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'keyframe 1 of session session'
    assert lines[1].startswith('  robot 2, session session, keyframe 1: score 1.000, 6 segments, at (0.50, 1.00, 0.00)')
    assert main([*asked[:-1], 'elsewhere']) == BELOW
    assert 'nothing is similar' in capsys.readouterr().out


def test_an_image_is_asked_about(two_maps, server, tmp_path, capsys):
    import cv2

    from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
    from segvlad_ros.simulation.robot import SimulatedRobot
    from segvlad_ros.simulation.scenario import load_scenario

    frame = SimulatedRobot(load_scenario('demo')).frame(0)
    picture = tmp_path / 'picture.png'
    cv2.imwrite(str(picture), frame.rgb[..., ::-1])
    asked = ['fleet', 'query', str(picture), '--uri', server.uri, '--site', str(tmp_path), '--json']
    assert main(asked) == BELOW  # nothing of random descriptors
    capsys.readouterr()
    places = PlaceRecognizer('classic', robot_id=7)
    places.add(frame)
    places.save(tmp_path / 'seen.segvlad')
    assert main(['fleet', 'sync', str(tmp_path / 'seen.segvlad'), *asked[3:-1]]) == OK
    capsys.readouterr()
    assert main(asked) == OK
    best = json.loads(capsys.readouterr().out)[0]['places'][0]
    assert (best['robot_id'], best['score']) == (7, pytest.approx(1.0, abs=0.01))


@pytest.fixture
def in_folder(tmp_path, monkeypatch, digest):
    make_map(tmp_path / 'office.segvlad', digest, (1, 2)).close()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(('arguments', 'says'), [
    (['sync', 'office.segvlad', '--uri', 'http://127.0.0.1:9'], 'place database http://127.0.0.1:9: '),
    (['sync', 'missing.segvlad', '--uri', 'http://127.0.0.1:9'], 'no such map file'),
    (['query', 'office.segvlad', '--uri', 'http://127.0.0.1:9'], 'made with another preset'),
    (['query', 'missing.jpg', '--uri', 'http://127.0.0.1:9'], 'missing.jpg'),
    (['serve', 'office.segvlad'], 'office.segvlad'),
    (['serve', 'folder', '--host', '203.0.113.7'], 'cannot listen on 203.0.113.7'),
])
def test_refusals_are_one_line(in_folder, capsys, arguments, says):
    assert main(['fleet', *arguments]) == USAGE
    message = capsys.readouterr().err.splitlines()
    assert len(message) == 1
    assert says in message[0]
