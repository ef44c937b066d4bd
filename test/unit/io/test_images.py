from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segvlad_ros.io.image_codec import encode_jpeg
from segvlad_ros.io.images import list_images, read_image
from segvlad_ros.types import SegvladError


@pytest.fixture
def folder(tmp_path) -> Path:
    data = encode_jpeg(np.full((8, 10, 3), 99, np.uint8))
    for name in ('out10.jpg', 'out2.JPG', 'out1.jpeg', 'out2b.jpg', 'a.png'):
        (tmp_path / name).write_bytes(data)
    (tmp_path / 'notes.txt').write_text('not an image')
    (tmp_path / 'more').mkdir()
    return tmp_path


def test_natural_order(folder):
    assert [path.name for path in list_images(folder)] == ['a.png', 'out1.jpeg', 'out2.JPG', 'out2b.jpg', 'out10.jpg']


def test_hidden_files_are_left_out_and_tiff_is_not(folder):
    for name in ('._out1.jpeg', '.foo.png', 'b.TIF', 'c.tiff'):
        (folder / name).write_bytes(b'Mac OS X')
    assert [path.name for path in list_images(folder)] == [
        'a.png', 'b.TIF', 'c.tiff', 'out1.jpeg', 'out2.JPG', 'out2b.jpg', 'out10.jpg']


def test_other_endings_of_what_can_be_read(folder):
    """Windows and browsers write JPEG as .jfif, OpenCV reads it as .jpe, too, and BMP as .dib."""
    for name in ('b.jfif', 'c.JPE', 'd.dib'):
        (folder / 'a.png').rename(folder / name)
        assert list_images(folder)[0].name == name
        (folder / name).rename(folder / 'a.png')


def test_images_that_cannot_be_read_are_left_out_and_that_is_said(folder, caplog):
    list_images(folder)
    assert not caplog.text
    for name in ('b.heic', 'c.HEIC', 'd.jp2', '._d.jp2', 'e.yaml'):
        (folder / name).write_bytes(b'none')
    assert len(list_images(folder)) == 5
    assert caplog.messages == [f'{folder}: 3 images (.heic, .jp2) are left out, their format is not read; make PNG of '
                               'them']


def test_list_keeps_its_order_and_is_relative_to_itself(folder, tmp_path):
    listing = tmp_path / 'more' / 'images.txt'
    listing.write_text(f'../out10.jpg\n\n{folder / "a.png"}\r\n../out1.jpeg')
    assert [path.name for path in list_images(listing)] == ['out10.jpg', 'a.png', 'out1.jpeg']
    listing.write_text('\ufeff../a.png', encoding='utf-8')
    assert [path.name for path in list_images(listing)] == ['a.png']


def test_read(folder):
    assert read_image(folder / 'a.png').shape == (8, 10, 3)


def refused(function, path, says):
    with pytest.raises(SegvladError, match=says) as error:
        function(path)
    assert '\n' not in str(error.value)
    assert str(path) in str(error.value)


def test_faults(tmp_path, folder):
    refused(list_images, tmp_path / 'none', 'no such folder or list')
    refused(list_images, folder / 'more', 'holds no images')
    empty = tmp_path / 'empty.txt'
    empty.write_text('\n')
    refused(list_images, empty, 'holds no images')
    empty.write_text('gone.jpg\n')
    refused(list_images, empty, 'lists .*gone.jpg')
    empty.write_bytes(bytes(range(256)))
    refused(list_images, empty, 'neither a folder')
    empty.write_bytes(b'a\0b\n')
    refused(list_images, empty, 'neither a folder|lists')
    empty.write_text('x' * 10000)
    refused(list_images, empty, 'neither a folder|lists')
    refused(read_image, tmp_path / 'none.jpg', 'No such file')
    refused(read_image, folder / 'more', 'cannot be read')
    (tmp_path / 'junk.jpg').write_bytes(b'junk')
    refused(read_image, tmp_path / 'junk.jpg', 'not a JPEG')
