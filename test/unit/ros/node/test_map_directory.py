"""No map name of a service caller leads out of the map directory."""
from types import SimpleNamespace

import pytest
from map_samples import make_keyframe

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.ros.node.map_directory import MapDirectory, keyframes_to_remove
from segvlad_ros.types import SegvladError


def test_names_get_the_suffix_once(tmp_path):
    directory = MapDirectory(str(tmp_path))
    assert directory.resolve('office') == tmp_path / 'office.segvlad'
    assert directory.resolve('office.segvlad') == tmp_path / 'office.segvlad'
    assert directory.resolve('v1.2') == tmp_path / 'v1.2.segvlad'
    assert directory.resolve('floor1/office') == tmp_path / 'floor1' / 'office.segvlad'


@pytest.mark.fault('service', 'map names with `..`, slashes, control characters',
                   'refused: nothing outside of `map_directory`')
@pytest.mark.parametrize('name', ['', ' ', '.', './', '..', '../office', 'a/../../b', '/etc/passwd', '~/x', 'a\0b',
                                  'a\nb', 'x '])
def test_names_that_leave_or_are_no_names_are_refused(tmp_path, name):
    with pytest.raises(SegvladError, match='map name'):
        MapDirectory(str(tmp_path)).resolve(name)


@pytest.mark.fault('service', 'a link that leads out of `map_directory`', 'refused')
def test_links_out_of_the_directory_are_refused(tmp_path):
    maps, outside = tmp_path / 'maps', tmp_path / 'outside'
    maps.mkdir()
    outside.mkdir()
    (maps / 'away').symlink_to(outside)
    (maps / 'file.segvlad').symlink_to(outside / 'target.segvlad')
    directory = MapDirectory(str(maps))
    for name in ('away/office', 'file'):
        with pytest.raises(SegvladError, match='link'):
            directory.resolve(name)


def test_links_within_the_directory_are_fine(tmp_path):
    (tmp_path / 'real.segvlad').write_bytes(b'')
    (tmp_path / 'newest.segvlad').symlink_to(tmp_path / 'real.segvlad')
    assert MapDirectory(str(tmp_path)).existing('newest').resolve() == tmp_path / 'real.segvlad'


def test_a_directory_that_is_a_link_itself_is_fine(tmp_path):
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'maps').symlink_to(tmp_path / 'disk')
    assert MapDirectory(str(tmp_path / 'maps')).resolve('office').name == 'office.segvlad'


@pytest.mark.fault('parameter', 'a `map_directory` that is a file, or lies in one', 'said at the start')
@pytest.mark.parametrize('directory', ['notes.txt', 'notes.txt/maps'])
def test_a_file_is_no_directory(tmp_path, directory):
    (tmp_path / 'notes.txt').touch()
    with pytest.raises(SegvladError, match=r'notes.txt is not a folder; give one'):
        MapDirectory(str(tmp_path / directory))


@pytest.mark.fault('service', '`save_map` under a name that exists', 'refused unless overwriting is asked for')
def test_overwriting_must_be_asked_for(tmp_path):
    directory = MapDirectory(str(tmp_path / 'new'))
    path = directory.for_writing('office', overwrite=False)
    path.write_bytes(b'a map')
    with pytest.raises(SegvladError, match='exists'):
        directory.for_writing('office', overwrite=False)
    assert directory.for_writing('office', overwrite=True) == path
    assert path.read_bytes() == b'a map'


def test_a_map_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SegvladError, match=r'no map office.segvlad'):
        MapDirectory(str(tmp_path)).existing('office')


def test_unused_names_are_unused(tmp_path):
    directory = MapDirectory(str(tmp_path))
    names = set()
    for _ in range(3):
        name = directory.unused_name()
        directory.for_writing(name, overwrite=False).write_bytes(b'')
        names.add(name)
    assert len(names) == 3


def test_home_is_expanded_and_nothing_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert MapDirectory('~/maps').resolve('a') == tmp_path / 'maps' / 'a.segvlad'
    with pytest.raises(SegvladError, match='map_directory'):
        MapDirectory('')


@pytest.mark.parametrize('radius', [-1.0, float('nan'), float('inf')])
def test_a_radius_that_is_none_removes_nothing(radius):
    """Beside a session_id it was not a condition, and all of the session was removed."""
    request = SimpleNamespace(session_id='today', keyframes=[], radius=radius)
    with pytest.raises(SegvladError, match='give one above 0, or 0 for none'):
        keyframes_to_remove(request, None)


def test_a_session_id_of_several_robots_needs_the_robot_in_a_request_too(tmp_path):
    def asked(session_id):
        return keyframes_to_remove(SimpleNamespace(session_id=session_id, keyframes=[], radius=0.0), place_map)

    with PlaceMap.create(tmp_path / 'two.segvlad', {'a': 1}, 8) as place_map:
        mine, others = make_keyframe(1, session='a', robot_id=0), make_keyframe(2, session='a', robot_id=7)
        place_map.append(mine)
        place_map.append(others)
        with pytest.raises(SegvladError, match="session id 'a' is of several robots: write 0/a or 7/a"):
            asked('a')
        assert asked('7/a') == [others.id]
