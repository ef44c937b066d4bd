"""What a kill in the middle of merging, pruning or converting leaves behind: the maps as they were, and a new map whole
or not at all.
"""
from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from map_samples import make_keyframe
from old_maps import write_old_map

from segvlad_ros.cli import main
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.presets import load_preset

KEYFRAMES = 60


@pytest.fixture(scope='module')
def maps(tmp_path_factory) -> tuple[Path, ...]:
    """Two maps without anything in common, and one of format 1."""
    folder, fingerprint = tmp_path_factory.mktemp('maps'), load_preset('classic').fingerprint()
    made = []
    for name, first in (('a', 1), ('b', 1001)):
        made.append(folder / f'{name}.segvlad')
        keyframes = [make_keyframe(index, session=name, segments=20, dimension=512, thumbnail=bytes(8000),
                                   covariance=False) for index in range(first, first + KEYFRAMES)]
        PlaceMap.write(made[-1], keyframes, fingerprint, 512, 'classic')
    write_old_map(folder / 'old.segvlad', keyframes, 512, fingerprint)
    return *made, folder / 'old.segvlad'


def merging(maps: tuple[Path, ...], output: Path) -> list[str]:
    return ['map', 'merge', *map(str, maps[:2]), '--anyway', '--output', str(output)]


def converting(maps: tuple[Path, ...], output: Path) -> list[str]:
    return ['map', 'convert', str(maps[2]), str(output)]


def pruning(maps: tuple[Path, ...], output: Path) -> list[str]:
    return ['map', 'prune', str(maps[0]), '--max-keyframes', '20', '--output', str(output)]


def start(arguments: list[str]) -> subprocess.Popen:
    """The command, at the moment when it has been imported; where tests run in the background, SIGINT is ignored."""
    program = ('import signal, sys, segvlad_ros.pipeline.map_merge, segvlad_ros.mapping.pruning\n'
               'signal.signal(signal.SIGINT, signal.default_int_handler)\n'
               'from segvlad_ros.cli import main\nprint("ready", flush=True)\nsys.exit(main(sys.argv[1:]))')
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, '-c', program, *arguments], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, env=environment)
    assert process.stdout.readline() == 'ready\n'
    return process


def run_kills(maps: tuple[Path, ...], folder: Path, rounds: int) -> None:
    before = [path.read_bytes() for path in maps]
    rng = random.Random(11)
    lasted, expected, killed = {}, {merging: 2 * KEYFRAMES, pruning: 20, converting: KEYFRAMES}, 0
    for command in expected:
        process = start(command(maps, folder / 'whole.segvlad'))
        begin = time.monotonic()
        assert process.wait() == 0
        lasted[command] = time.monotonic() - begin
        (folder / 'whole.segvlad').unlink()
    for turn in range(10 * rounds):  # a machine with other work may be done sooner than it was measured to be
        if killed == rounds:
            break
        command, output = (merging, converting, merging, pruning)[turn % 4], folder / f'{turn}.segvlad'
        process = start(command(maps, output))
        time.sleep(rng.uniform(0, lasted[command]))  # waits for nothing: the command may be anywhere
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        assert [path.read_bytes() for path in maps] == before
        assert not Path(f'{maps[0]}-journal').exists()
        if output.exists():
            with PlaceMap.open(output, full_check=True) as place_map:
                assert place_map.count == expected[command]
            output.unlink()
    assert killed == rounds  # the kills do hit the work
    left = sorted(path.name for path in folder.iterdir())
    assert all(name.startswith('.') and '.tmp' in name for name in left), left


@pytest.mark.fault('disk', '`map merge`, `prune`, `convert` are killed', 'the result is there whole, or not at all')
def test_a_kill_leaves_a_map_whole_or_not_at_all(maps, tmp_path):
    run_kills(maps, tmp_path, 6)


@pytest.mark.long
def test_many_kills(maps, tmp_path):
    run_kills(maps, tmp_path, 400)  # half of them of merging


@pytest.mark.fault('disk', 'Ctrl-C in these', 'nothing is left of it')
def test_an_interrupt_leaves_nothing(maps, tmp_path):
    process = start(merging(maps, tmp_path / 'c.segvlad'))
    while not any('.tmp' in path.name for path in tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    process.stdout.close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_in_common_is_one_line(maps, tmp_path, capsys):
    assert main([word for word in merging(maps, tmp_path / 'c.segvlad') if word != '--anyway']) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith('segvlad')]
    assert len(said) == 1 and 'b.segvlad: has nothing in common' in said[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('options', 'says'), [
    (['--max-keyframes', '5'], '--output'), ([], 'say what to remove'), (['--before', 'monday'], 'is not a date'),
    (['--session', 'x', '--dry-run'], "no keyframe of session 'x'; the sessions are a"),
    (['--near', '0', '0', '0', 'nan', '--dry-run'], 'not a finite number'),
    (['--near', '0', '0', '0', '-5', '--dry-run'], 'radius is -5 m: give one above 0'),
    (['--near', '0', '0', '0', '0', '--dry-run'], 'radius is 0 m: give one above 0'),
    (['--frame', 'map', '--max-keyframes', '5', '--dry-run'], '--frame changes nothing without --near'),
    (['--max-mb', '-1'], 'not a number above 0'),
    (['--near', '0', '0', '0', '1', '--frame', 'map', '--dry-run'], "the poses are in 'odom'"),
    (['--before', '2030-01-01', '--dry-run'], 'nothing would be left')])
def test_prunes_that_cannot_be_done(maps, capsys, options, says):
    try:
        status = main(['map', 'prune', str(maps[0]), *options])
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr().err.splitlines()
    assert (status, len(said)) == (2, 1), said
    assert says in said[0]


@pytest.mark.parametrize(('before', 'going'), [('1970-01-01T00:00:10.400', 10), ('1970-01-01T00:00:10.600', 10),
                                               ('1970-01-01T00:00:11.000001', 11)])
def test_the_moment_is_taken_as_it_is_written(maps, capsys, before, going):
    """It was rounded to a second, and what came up to half a second after it went, too."""
    assert main(['map', 'prune', str(maps[0]), '--before', before, '--dry-run']) == 0
    assert f'would be removed: {going}' in capsys.readouterr().out


def test_a_dry_run_changes_nothing_and_says_what_would_go(maps, capsys):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in maps[0].parent.iterdir())
    assert main(['map', 'prune', str(maps[0]), '--before', '1970-01-01T00:00:11', '--dry-run']) == 0
    assert capsys.readouterr().out.splitlines() == [
        f'{maps[0]}: 50 keyframes; would be removed: 10', 'session a: 10']
    assert sorted((path.name, path.stat().st_mtime_ns) for path in maps[0].parent.iterdir()) == before
