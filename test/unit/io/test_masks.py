"""Mask files, and the whole way of masks through bags and folders: pictures that differ by what is covered are one."""
from __future__ import annotations

import json
import re
import struct
import zlib

import cv2
import numpy as np
import pytest
from bag_samples import scene, write_quick_preset
from PIL import Image

from segvlad_ros.cli import main
from segvlad_ros.io.bag_frames import FrameReader
from segvlad_ros.io.bag_topics import BagTopics
from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.io.masks import MaskFiles, fitted, read_mask
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import SegvladError

SECOND = 1_000_000_000


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def half(value=255, shape=(120, 160)):
    pixels = np.full(shape, value, np.uint8)
    pixels[shape[0] // 2:] = 0
    return pixels


def with_alpha(pixels, alpha=None):
    opaque = np.full_like(pixels, np.iinfo(pixels.dtype).max)
    return np.dstack([pixels, pixels, pixels, opaque if alpha is None else alpha])


@pytest.mark.parametrize('pixels', [
    half(), half(1), np.dstack([half()] * 3), half(1).astype(np.uint16), half().astype(np.uint16) * 200,
    np.dstack([half(1).astype(np.uint16)] * 3), with_alpha(half(1)), with_alpha(half(1).astype(np.uint16))])
def test_zero_covers_and_anything_else_is_used(tmp_path, pixels):
    usable = read_mask(write(tmp_path / 'mask.png', pixels))
    assert usable.dtype == bool
    assert usable[:60].all()
    assert not usable[60:].any()


@pytest.mark.fault('camera', 'a mask that covers everything, is no image, or has another shape than the camera',
                   'refused, with the file')
def test_masks_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(SegvladError, match='covers everything: 0 covers'):
        read_mask(write(tmp_path / 'black.png', half() * 0))
    with pytest.raises(SegvladError, match='cannot be read'):
        MaskFiles(tmp_path / 'nothing.png', [])
    (tmp_path / 'text.png').write_text('no image')
    with pytest.raises(SegvladError, match='text.png'):
        read_mask(tmp_path / 'text.png')
    without_palette = png(tmp_path / 'no_palette.png', half()[..., None], colour_type=3)
    with pytest.raises(SegvladError, match='no_palette.png: .*palette'):
        read_mask(without_palette)
    with pytest.raises(SegvladError, match='mask a.png has 160 x 120 pixels, the image 160 x 100'):
        fitted(half() > 0, (100, 160, 3), 'mask a.png')


def palette(path, *colours, transparent=None):
    image = Image.fromarray(half(1), 'P')
    image.putpalette([*np.ravel(colours)])
    image.save(path, **({} if transparent is None else {'transparency': transparent}))
    return path


@pytest.mark.parametrize('colours', [[(0, 0, 0), (255, 255, 255)], [(0, 0, 0), (128, 0, 0)]])
def test_a_palette_whose_zero_is_black_means_one_thing(tmp_path, colours):
    usable = read_mask(palette(tmp_path / 'labels.png', *colours))
    assert usable[:60].all() and not usable[60:].any()


def test_sixteen_bits_of_grey_beside_an_alpha_channel(tmp_path):
    grey = np.dstack([half(1), np.full((120, 160), 65535)]).astype('>u2')
    assert read_mask(png(tmp_path / 'grey_alpha.png', grey, colour_type=4))[:60].all()


def png(path, pixels, colour_type):
    """A PNG of a kind that no library here writes."""
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    height, width = pixels.shape[:2]
    rows = b''.join(b'\0' + row.tobytes() for row in pixels)
    head = struct.pack('>IIBBBBB', width, height, 8 * pixels.itemsize, colour_type, 0, 0, 0)
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(rows))
                     + chunk(b'IEND', b''))
    return path


@pytest.mark.fault('camera', 'a mask that can be read in two ways: transparent pixels, colours, a palette whose 0 is '
                   'not black', 'refused, with the way to save it')
def test_a_mask_that_can_be_read_in_two_ways_is_refused(tmp_path):
    blue_red = np.zeros((120, 160, 3), np.uint8)
    blue_red[..., 0], blue_red[..., 2] = half(), 255 - half()
    files = {'transparent': [write(tmp_path / 'alpha.png', with_alpha(half() * 0 + 255, half())),
                             palette(tmp_path / 'trns.png', (0, 0, 0), (255, 255, 255), transparent=0)],
             'palette': [palette(tmp_path / 'palette.png', (255, 0, 0), (0, 255, 0)),
                         palette(tmp_path / 'inverse.png', (255, 255, 255), (0, 0, 0))],
             'colours': [write(tmp_path / 'colours.png', blue_red)]}
    for word, paths in files.items():
        for path in paths:
            for read in (read_mask, lambda path: MaskFiles(tmp_path, [path]).of(path, (120, 160, 3))):
                with pytest.raises(SegvladError, match=f'{path.name}: .*{word}.*: save it as grey PNG without alpha'):
                    read(path)


@pytest.mark.fault('camera', 'a mask as JPEG, whose edges are nearly black where the image is covered',
                   'refused, with the way to save it')
def test_what_is_nearly_black_in_a_jpeg_may_be_covered(tmp_path):
    white = np.full((120, 160), 255, np.uint8)
    body = cv2.circle(white.copy(), (80, 120), 50, 0, -1)
    with pytest.raises(SegvladError, match='body.jpg: it has nearly black pixels of a JPEG, .* save it as grey PNG'):
        read_mask(write(tmp_path / 'body.jpg', body))
    for name, plain in (('white.jpg', white), ('half.jpg', half())):  # nothing is in doubt
        np.testing.assert_array_equal(read_mask(write(tmp_path / name, plain)), plain > 0)


def test_a_mask_of_another_size_is_resized():
    small = fitted(half() > 0, (480, 640), 'it')
    assert small.shape == (480, 640)
    assert small[:240].all() and not small[240:].any()


def test_a_folder_has_one_for_each_image(tmp_path, caplog):
    write(tmp_path / 'masks/7.png', half())
    write(tmp_path / 'masks/8.jpg.png', half(1))
    (write(tmp_path / 'masks/10.png', half())).rename(tmp_path / 'masks/10.PNG')
    images = [tmp_path / f'{number}.jpg' for number in (7, 8, 9, 10)]
    masks = MaskFiles(tmp_path / 'masks', images)
    assert 'masks: has no mask for 1 of 4 images, they are used whole' in caplog.text
    assert [mask if mask is None else mask.sum() for mask in (masks.of(image, (120, 160, 3)) for image in images)] == [
        60 * 160, 60 * 160, None, 60 * 160]
    with pytest.raises(SegvladError, match='7.png has 160 x 120 pixels'):
        masks.of(tmp_path / '7.jpg', (120, 120, 3))


@pytest.mark.fault('camera', 'a folder of masks in which none is called as an image, or two are of one image',
                   'refused, with the names that are looked for')
def test_a_folder_whose_masks_are_of_no_image_is_refused(tmp_path):
    images = [tmp_path / '7.jpg', tmp_path / '8.jpg']
    write(tmp_path / 'masks/7_mask.png', half())
    with pytest.raises(SegvladError, match=r'masks: has no mask for any of the 2 images; that of 7\.jpg is called '
                                           r'7\.png or 7\.jpg\.png'):
        MaskFiles(tmp_path / 'masks', images)
    for name in ('7.png', '7.jpg.png'):
        write(tmp_path / 'masks' / name, half())
    with pytest.raises(SegvladError, match=r'masks: 7\.jpg\.png and 7\.png are both the mask of 7\.jpg; keep one'):
        MaskFiles(tmp_path / 'masks', images)
    (tmp_path / 'masks/7.jpg.png').rename(tmp_path / 'masks/7.PNG')
    with pytest.raises(SegvladError, match=r'masks: 7\.PNG and 7\.png are both the mask of 7\.jpg; keep one'):
        MaskFiles(tmp_path / 'masks', images)


def test_images_of_one_name_have_masks_in_folders_called_as_theirs(tmp_path):
    images = [write(tmp_path / folder / '7.jpg', half(shape=(120, 160))) for folder in ('references', 'queries')]
    write(tmp_path / 'masks/references/7.png', half())
    write(tmp_path / 'masks/7.png', 255 - half())
    masks = MaskFiles(tmp_path / 'masks', images)
    upper = [masks.of(image, (120, 160, 3))[:60].all() for image in images]
    assert upper == [True, False]
    write(tmp_path / 'masks' / tmp_path.name / 'queries/7.png', half())
    assert MaskFiles(tmp_path / 'masks', images).of(images[1], (120, 160, 3))[:60].all()  # the most exact counts
    masks = MaskFiles(tmp_path / 'masks', [images[0], tmp_path / 'queries/../references/7.jpg'])  # one, spelled twice
    assert masks.of(images[0], (120, 160, 3))[:60].all()


def test_a_mask_of_two_images_is_refused(tmp_path):
    images = [write(tmp_path / name, scene(0)) for name in ('references/7.jpg', 'queries/7.jpg', 'queries/7.png')]
    write(tmp_path / 'masks/7.png', half())
    with pytest.raises(SegvladError, match=r'7\.png would be the mask of .*references/7\.jpg and of .*queries/7\.jpg: '
                                           "put it into a folder there that is called as its image's"):
        MaskFiles(tmp_path / 'masks', images[:2])
    with pytest.raises(SegvladError, match=r'of .*queries/7\.jpg and of .*queries/7\.png: call it 7\.jpg\.png or '
                                           r'7\.png\.png'):
        MaskFiles(tmp_path / 'masks', images[1:])


@pytest.mark.parametrize('command', [['map', 'build', 'images', '{0}', '--output', '{1}/no.segvlad'],
                                     ['describe', '{0}/0.png'], ['evaluate', 'images', '--references', '{0}',
                                      '--queries', '{0}', '--exclude-recent', '1', '--ground-truth', '{1}/truth.csv']])
def test_no_tool_passes_over_a_folder_of_masks_that_fits_no_image(tmp_path, capsys, command):
    write_quick_preset(tmp_path)
    write(tmp_path / 'images/0.png', scene(0))
    write(tmp_path / 'masks/zero.png', half())
    (tmp_path / 'truth.csv').write_text('query,references\nimages/0.png,\n')
    command = [word.format(tmp_path / 'images', tmp_path) for word in command]
    assert main([*command, '--mask', str(tmp_path / 'masks'), '--preset', str(tmp_path / 'small.yaml')]) == 2
    assert 'masks: has no mask for any of the 1 images' in capsys.readouterr().err
    assert not (tmp_path / 'no.segvlad').exists()


@pytest.mark.parametrize(('option', 'preset'), [('--mask', 'small.yaml'), ('--descriptors', 'given')])
def test_what_lies_beside_images_is_not_that_of_two_sets(tmp_path, capsys, option, preset):
    write_quick_preset(tmp_path)
    sets = []
    for day in ('monday', 'friday'):
        for folder, number in (('ref', 0), ('query', 1)):
            write(tmp_path / day / folder / f'{number}.jpg', scene(number))
            write(tmp_path / f'beside/{number}.png', half())
            np.save(tmp_path / f'beside/{number}.npy', np.ones(8, np.float32))
        (tmp_path / f'{day}.csv').write_text(f'query,references\n{day}/query/1.jpg,{day}/ref/0.jpg\n')
        sets += ['--references', tmp_path / day / 'ref', '--queries', tmp_path / day / 'query', '--ground-truth',
                 tmp_path / f'{day}.csv']
    arguments = ['calibrate', 'images', *sets, option, tmp_path / 'beside', '--output', tmp_path / 'out.json']
    preset = ['--preset', tmp_path / preset] if preset.endswith('.yaml') else [
        '--preset', preset, '--set', 'features.dimension=8', '--set', 'features.made_by=ones']
    assert main([str(word) for word in (*arguments, *preset)]) == 2
    error = capsys.readouterr().err
    assert re.search(r'0\.(png|npy) would be (the mask|that) of .*monday/ref/0\.jpg and of .*friday/ref/0\.jpg', error)


def robot_in(rgb, seed):
    """What the lower half of an image shows when the robot is in it."""
    return np.vstack([rgb[:60], scene(70 + seed, view=seed)[60:]])


def descriptors(path):
    with PlaceMap.open(path, read_only=True) as opened:
        return [opened.keyframe(identity).description.descriptors for identity in opened.ids()]


def test_a_map_of_images_does_not_know_what_a_mask_covers(tmp_path, capsys):
    write_quick_preset(tmp_path)
    for seed, folder in enumerate(('clean', 'robot'), 1):
        for number in range(3):
            write(tmp_path / folder / f'{number}.png', robot_in(scene(number), seed)[:, :, ::-1])
    mask = write(tmp_path / 'mask.png', half())
    preset = ['--preset', str(tmp_path / 'small.yaml')]
    for folder in ('clean', 'robot'):
        assert main(['map', 'build', 'images', str(tmp_path / folder), '--all-images', '--mask', str(mask),
                     '--output', str(tmp_path / f'{folder}.segvlad'), *preset]) == 0
    clean, robot = (descriptors(tmp_path / f'{folder}.segvlad') for folder in ('clean', 'robot'))
    assert len(clean) == 3
    assert all(map(np.array_equal, clean, robot))
    (tmp_path / 'truth.csv').write_text('query,references\n' + ''.join(
        f'robot/{number}.png,clean/{number}.png\n' for number in range(3)))
    capsys.readouterr()
    command = ['evaluate', 'images', '--references', str(tmp_path / 'clean'), '--queries', str(tmp_path / 'robot'),
               '--ground-truth', str(tmp_path / 'truth.csv'), '--json', *preset]
    scores = []
    for options in ([], ['--mask', str(mask)]):
        assert main([*command, *options, '--output', str(tmp_path / 'out.json')]) == 0
        scores.append(json.loads((tmp_path / 'out.json').read_text())['answers'])
    assert scores[0] != scores[1]
    capsys.readouterr()
    assert main(['describe', str(tmp_path / 'robot/0.png'), '--mask', str(mask), '--json', *preset]) == 0
    assert all(y + height <= 60 for _, y, _, height in json.loads(capsys.readouterr().out)['boxes'])
    assert main([*command, '--mask', str(write(tmp_path / 'other.png', half(shape=(99, 160))))]) == 2
    assert 'has 160 x 99 pixels, the image 160 x 120' in capsys.readouterr().err


@pytest.fixture
def bag(tmp_path):
    path = tmp_path / 'run'
    with BagWriter(path) as written:
        for second in range(1, 7):
            written.write_image('/camera/image_raw', second * SECOND, 'camera', robot_in(scene(second), second))
            if second != 3:
                written.write_mask('/people', second * SECOND + 5_000_000, 'camera', half() > 0)
            written.write_depth('/camera/depth', second * SECOND, 'camera', np.ones((120, 160), np.float32))
    return path


def test_masks_of_a_bag_come_by_stamp(bag):
    frames = list(FrameReader(bag, BagTopics(mask='/people')))  # and the images are found without naming them
    assert [frame.mask is None for frame in frames] == [second == 3 for second in range(1, 7)]
    assert all(frame.depth is not None for frame in frames)
    assert frames[0].mask[:60].all() and not frames[0].mask[60:].any()
    with pytest.raises(SegvladError, match="no masks on '/nobody'"):
        FrameReader(bag, BagTopics(mask='/nobody'))


def test_bags_by_the_command_line(tmp_path, bag, capsys):
    write_quick_preset(tmp_path)
    static = write(tmp_path / 'mask.png', half())
    command = ['map', 'build', 'bag', str(bag), '--preset', str(tmp_path / 'small.yaml'), '--image-topic',
               '/camera/image_raw']
    for name, options in (('topic', ['--mask-topic', '/people']), ('static', ['--mask', str(static)])):
        assert main([*command, *options, '--output', str(tmp_path / f'{name}.segvlad')]) == 0
    by_topic, by_file = (descriptors(tmp_path / f'{name}.segvlad') for name in ('topic', 'static'))
    assert [np.array_equal(*each) for each in zip(by_topic, by_file)] == [second != 3 for second in range(1, 7)]
    capsys.readouterr()
    twice = ['--mask', str(static), '--mask', str(static), '--output', str(tmp_path / 'no.segvlad')]
    assert main([*command, *twice]) == 2
    assert 'give it once per --image-topic' in capsys.readouterr().err


