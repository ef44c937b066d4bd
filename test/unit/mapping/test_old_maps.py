"""Maps of format 1 are read, not written, and converted."""
import json
from dataclasses import replace

import numpy as np
import pytest
from map_samples import as_stored, make_keyframe
from old_maps import write_old_map

from segvlad_ros.cli import main
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import OptimizedPose, SegvladError

KEYFRAMES = [make_keyframe(index, covariance=False, keypoints=None if index == 3 else 5) for index in (1, 2, 3, 7)]
FINGERPRINT = {'digest': 'f'}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'old.segvlad'
    write_old_map(path, KEYFRAMES, 8, FINGERPRINT, 'classic')
    return path


def test_an_old_map_is_read_as_it_was_written(path):
    with PlaceMap.open(path, fingerprint=FINGERPRINT, full_check=True) as old:
        assert (old.version, old.count, old.map_id, old.preset) == (1, 4, 'an old map', 'classic')
        for stored, original in zip(old.keyframes(), KEYFRAMES, strict=True):
            assert repr(replace(stored, description=None)) == repr(replace(original, description=None))
            mine, other = stored.description, original.description
            np.testing.assert_allclose(mine.descriptors, other.descriptors, atol=1e-3)
            np.testing.assert_allclose(np.linalg.norm(mine.descriptors, axis=1), 1, atol=1e-6)
            np.testing.assert_array_equal(mine.boxes, other.boxes)
            np.testing.assert_array_equal(mine.pixels, other.pixels)
            assert (mine.keypoints is None) == (other.keypoints is None)
            if mine.keypoints is not None:
                for name in ('positions', 'depths', 'descriptors'):
                    np.testing.assert_array_equal(getattr(mine.keypoints, name), getattr(other.keypoints, name))


def test_writing_to_an_old_map_is_refused_with_what_to_do(path):
    before = path.read_bytes()
    with pytest.raises(SegvladError, match=f'segvlad map convert {path} NEW.segvlad') as refused:
        PlaceMap.open(path, read_only=False)
    assert '\n' not in str(refused.value)
    assert path.read_bytes() == before


def test_an_old_map_is_converted_and_kept(path, tmp_path, capsys):
    before, output = path.read_bytes(), tmp_path / 'new.segvlad'
    assert main(['map', 'convert', str(path), str(output), '--json']) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts['keyframes'], facts['format']) == (4, 1)
    assert path.read_bytes() == before
    with PlaceMap.open(output, read_only=False, fingerprint=FINGERPRINT, full_check=True) as new:
        assert (new.version, new.map_id, new.preset) == (2, 'an old map', 'classic')
        assert new.ids() == [keyframe.id for keyframe in KEYFRAMES]
        assert [session.last_index for session in new.sessions()] == [7]
        for stored, original in zip(new.keyframes(), KEYFRAMES, strict=True):
            halves = original.description.descriptors.astype(np.float16).astype(np.float32)
            halves /= np.linalg.norm(halves, axis=1, keepdims=True)
            np.testing.assert_array_equal(stored.description.descriptors, as_stored(halves))
        new.append(make_keyframe(8))
    assert main(['map', 'convert', str(path), str(output)]) == 2
    assert 'exists already' in capsys.readouterr().err


def test_a_new_map_is_converted_to_the_same(tmp_path, capsys):
    """Codes of what was decoded are the same codes."""
    paths = [tmp_path / f'{name}.segvlad' for name in 'ab']
    PlaceMap.write(paths[0], KEYFRAMES, FINGERPRINT, 8)
    with PlaceMap.open(paths[0], read_only=False) as written:
        written.update_poses({KEYFRAMES[1].id: OptimizedPose(replace(KEYFRAMES[1].pose, frame='map'))})
    assert main(['map', 'convert', *map(str, paths)]) == 0
    with PlaceMap.open(paths[0]) as one, PlaceMap.open(paths[1], full_check=True) as other:
        for (_, mine), (_, theirs) in zip(one.packed(), other.packed(), strict=True):
            assert mine[:3] == theirs[:3]
            assert repr(mine.optimized) == repr(theirs.optimized)
        assert one.sessions() == other.sessions()


def test_a_damaged_old_map_is_not_converted(path, tmp_path, capsys):
    data = bytearray(path.read_bytes())
    where = data.find(KEYFRAMES[1].description.boxes.astype('<i4').tobytes())
    data[where] ^= 1
    path.write_bytes(bytes(data))
    assert main(['map', 'convert', str(path), str(tmp_path / 'new.segvlad')]) == 2
    assert 'row 2 is damaged: its digest differs' in capsys.readouterr().err
    assert [found.name for found in tmp_path.iterdir()] == ['old.segvlad']
