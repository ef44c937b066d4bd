"""What keyframes brought, in memory or read from their map."""
import gc
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from map_samples import make_keyframe

from segvlad_ros.description.keypoint_codec import pack_keypoints, unpack_keypoints
from segvlad_ros.mapping.arrays_v2 import quantizer
from segvlad_ros.mapping.keyframe_store import KeyframeGone, KeyframeStore
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import SegvladError

KEYFRAMES = [make_keyframe(index, keypoints=None if index == 2 else 6) for index in range(1, 6)]


@pytest.fixture
def path(tmp_path):
    PlaceMap.write(tmp_path / 'a.segvlad', KEYFRAMES, {}, 8)
    return tmp_path / 'a.segvlad'


def loaded(path):
    store = KeyframeStore()
    with PlaceMap.open(path) as place_map:
        for row, packed in place_map.packed():
            store.append_stored(place_map, row, packed)
    return store


def live():
    store = KeyframeStore()
    for keyframe in KEYFRAMES:
        store.append(keyframe)
    return store


@pytest.mark.parametrize('how', ['live', 'loaded'])
def test_keyframes_are_as_a_map_holds_them(how, path):
    store = live() if how == 'live' else loaded(path)
    for entry, keyframe in enumerate(KEYFRAMES):
        kept, place = store.keyframe(entry), keyframe.description
        assert (kept.id, kept.thumbnail, kept.frame_id, repr(kept.pose)) == (
            keyframe.id, keyframe.thumbnail, keyframe.frame_id, repr(keyframe.pose))
        assert len(kept.description.descriptors) == 0
        np.testing.assert_array_equal(kept.description.boxes, place.boxes)
        assert store.has_keypoints(entry) == (place.keypoints is not None)
        if place.keypoints is not None:
            coarse = unpack_keypoints(pack_keypoints(place.keypoints))
            np.testing.assert_array_equal(kept.description.keypoints.descriptors, coarse.descriptors)
    for entries in ([4, 0, 2], [0, 1, 2, 3, 4], [3, 3], []):
        assert [codes.tolist() for codes in store.codes(entries)] == [
            quantizer(8).encode(KEYFRAMES[entry].description.descriptors).tolist() for entry in entries]


def test_what_is_removed_from_the_file_is_gone_and_nothing_else(path):
    store = loaded(path)
    with PlaceMap.open(path, read_only=False) as place_map:
        place_map.remove([KEYFRAMES[3].id])
    for asked in (lambda entry: store.codes([0, entry]), store.keyframe):
        with pytest.raises(KeyframeGone, match='keyframe 4 of session') as gone:
            asked(3)
        assert gone.value.identity == KEYFRAMES[3].id
    assert store.keyframe(4).id == KEYFRAMES[4].id


def test_a_file_that_was_put_in_the_place_of_a_map_is_not_read_for_it(path, tmp_path):
    store, elsewhere = loaded(path), tmp_path / 'b.segvlad'
    PlaceMap.write(elsewhere, [make_keyframe(index + 10) for index in range(5)], {}, 8)
    path.write_bytes(elsewhere.read_bytes())  # as `cp` does, which keeps the file that is open
    with pytest.raises(SegvladError):
        store.keyframe(0)
    again = loaded(elsewhere)
    elsewhere.unlink()
    assert again.keyframe(0).id.index == 10  # what is open stays


def test_a_damaged_keyframe_is_gone(path):
    store, data = loaded(path), bytearray(path.read_bytes())
    where = data.find(KEYFRAMES[2].description.boxes.astype('<u2').tobytes())
    data[where] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(KeyframeGone, match='digest'):
        store.keyframe(2)
    assert store.keyframe(1).id == KEYFRAMES[1].id


def test_what_is_forgotten_has_nothing(path):
    for store in (live(), loaded(path)):
        store.keyframe(1)
        store.forget(1)
        assert store.keyframe(1) is None
        assert store.codes([2, 1])[1].shape == (0, 3)
        assert not store.has_keypoints(1)
        assert store.keyframe(2).id == KEYFRAMES[2].id


def test_nothing_of_another_length_is_kept():
    store = live()
    with pytest.raises(SegvladError, match='dimension 8'):
        store.append(make_keyframe(9, dimension=16))
    store.append(make_keyframe(10))
    assert store.keyframe(5).id.index == 10


def open_files(path):
    """How often this process has a file open."""
    links = []
    for descriptor in Path('/proc/self/fd').iterdir():
        with suppress(OSError):  # the one that lists them
            links.append(os.readlink(descriptor))
    return links.count(str(path))


def test_files_are_closed_with_the_store(path):
    store = loaded(path)
    assert open_files(path) == 1
    store.close()
    assert open_files(path) == 0
    store = loaded(path)
    del store
    gc.collect()
    assert open_files(path) == 0
