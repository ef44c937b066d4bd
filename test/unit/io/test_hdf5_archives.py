import numpy as np
import pytest
from made_archives import MadeArchive

from segvlad_ros.evaluation.reproduction import grid_of
from segvlad_ros.io.hdf5_archives import Hdf5Archive
from segvlad_ros.types import FeatureGrid, Masks, SegvladError

h5py = pytest.importorskip('h5py')


def some_masks(rng, count=3):
    return Masks(rng.random((count, 12, 16)) < 0.3, rng.random(count).astype(np.float32))


def some_features(rng):
    return FeatureGrid(rng.standard_normal((6, 5)).astype(np.float32), 2, 3)


def refused(path, read, match):
    with Hdf5Archive(path) as archive, pytest.raises(SegvladError, match=match) as refusal:
        read(archive)
    assert '\n' not in str(refusal.value)


def test_features_come_back_in_the_layout_of_the_research_code(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / '17places_r_dino_640.h5'
    given = {f'frame{number}.jpg': some_features(rng) for number in (10, 9, 1)}
    with MadeArchive(path) as archive:
        for name, grid in given.items():
            archive.add_features(name, grid)
    with h5py.File(path) as file:
        table = file['frame10.jpg/ift_dino'][()]
    assert (table.shape, table.dtype) == ((1, 5, 2, 3), np.float32)
    np.testing.assert_array_equal(table[0, :, 1, 2], given['frame10.jpg'].features[5])
    with Hdf5Archive(path) as archive:
        assert archive.names == ['frame1.jpg', 'frame9.jpg', 'frame10.jpg']
        for name, grid in given.items():
            np.testing.assert_array_equal(archive.features(name).features, grid.features)
            assert (archive.features(name).rows, archive.features(name).cols) == (2, 3)
        assert grid_of(archive.features('frame1.jpg'), (42, 28)).cell == 14  # 13 would fit the small image, too


def test_masks_come_back_in_the_layout_of_the_research_code(tmp_path):
    rng, path = np.random.default_rng(1), tmp_path / '17places_r_masks_320.h5'
    given = some_masks(rng, 12)  # 10 comes after 9
    with MadeArchive(path) as archive:
        archive.add_masks('a.jpg', given)
        archive.add_masks('none.jpg', some_masks(rng, 0))
    with h5py.File(path) as file:
        one = file['a.jpg/masks/11']
        assert set(one) == {'segmentation', 'area', 'bbox', 'predicted_iou', 'point_coords', 'stability_score',
                            'crop_box'}
        assert one['segmentation'].dtype == bool
        assert one['area'][()] == np.count_nonzero(given.masks[11])
    with Hdf5Archive(path) as archive:
        found = archive.masks('a.jpg')
        assert len(archive.masks('none.jpg')) == 0
    np.testing.assert_array_equal(found.masks, given.masks)
    np.testing.assert_array_equal(found.quality, given.quality)


@pytest.mark.fault('tool', 'HDF5 with links into other files', 'refused')
def test_what_lies_in_another_file_is_refused(tmp_path):
    secret, path = tmp_path / 'secret.h5', tmp_path / 'archive.h5'
    with h5py.File(secret, 'w') as file:
        file['ift_dino'] = np.zeros((1, 5, 2, 3), np.float32)
    (tmp_path / 'raw').write_bytes(bytes(120))
    layout = h5py.VirtualLayout((1, 5, 2, 3), np.float32)
    layout[:] = h5py.VirtualSource(secret, 'ift_dino', (1, 5, 2, 3))
    with h5py.File(path, 'w') as file:
        file['image'] = h5py.ExternalLink(secret, '/')
        file.create_group('link')['ift_dino'] = h5py.ExternalLink(secret, 'ift_dino')
        file.create_group('soft')['ift_dino'] = h5py.SoftLink('/link/ift_dino')
        file.create_group('raw').create_dataset('ift_dino', (1, 5, 2, 3), np.float32,
                                                external=[(tmp_path / 'raw', 0, 120)])
        file.create_group('virtual').create_virtual_dataset('ift_dino', layout)
    for name, match in (('image', 'is a link'), ('link', 'is a link'), ('soft', 'is a link'),
                        ('raw', 'lies in another file'), ('virtual', 'lies in another file')):
        refused(path, lambda archive, name=name: archive.features(name), match)
    with Hdf5Archive(path) as archive:
        assert archive.holds('link') and not archive.holds('image')


def test_other_contents_are_one_line(tmp_path):
    path = tmp_path / 'archive.h5'
    with h5py.File(path, 'w') as file:
        file['flat/ift_dino'] = np.zeros((5, 6), np.float32)
        file['nan/ift_dino'] = np.full((1, 5, 2, 3), np.nan, np.float32)
        file['words/ift_dino'] = 'no numbers'
        file.create_group('huge').create_dataset('ift_dino', (1, 1 << 16, 1 << 10, 1 << 10), np.float32, chunks=True)
        file['group/ift_dino/inside'] = 1
        file['grey/masks/0/segmentation'] = np.zeros((4, 4), np.uint8)
        file['sizes/masks/0/segmentation'] = np.zeros((4, 4), bool)
        file['sizes/masks/1/segmentation'] = np.zeros((4, 5), bool)
    for name, match in (('flat', 'not float32'), ('nan', 'not finite'), ('words', 'no numbers'),
                        ('huge', 'more than 1024 MB'), ('group', 'no such array'), ('gone', 'no such group')):
        refused(path, lambda archive, name=name: archive.features(name), match)
    for name, match in (('grey', 'not bool'), ('sizes', 'the first has')):
        refused(path, lambda archive, name=name: archive.masks(name), match)


@pytest.mark.fault('tool', 'damaged HDF5', 'one line')
def test_a_damaged_file_is_one_line(tmp_path):
    path = tmp_path / 'archive.h5'
    with MadeArchive(path) as archive:
        archive.add_features('a.jpg', some_features(np.random.default_rng(0)))
    content = path.read_bytes()
    path.write_bytes(content[:200])
    with pytest.raises(SegvladError, match='not an HDF5 file that can be opened'):
        Hdf5Archive(path)
    rng = np.random.default_rng(0)
    for _ in range(300):  # whatever is flipped, it is read or refused
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            with Hdf5Archive(path) as archive:
                for name in archive.names:
                    archive.features(name)
        except SegvladError as error:
            assert '\n' not in str(error)
