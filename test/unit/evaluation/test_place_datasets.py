"""The paper's data sets on miniatures in their own layouts: the truth is computed here a second time, literally."""
import pickle
from pathlib import Path

import numpy as np
import pytest

from segvlad_ros.evaluation.place_datasets import DATASETS, place_dataset
from segvlad_ros.types import SegvladError

REFERENCES, QUERIES = 14, 9
UNIT = '1 0 0\n0 1 0\n0 0 1\n'


def literal(references, queries, radius):
    """Numbers of the references within a radius, pair by pair."""
    return [[number for number, one in enumerate(references) if np.linalg.norm(one - query) <= radius]
            for query in queries]


def names_of(side, count):
    return [f'{side}{number}.jpg' for number in range(count)]  # 10 comes after 9 in natural order only


def write_images(folder, names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def scattered(rng, radius):
    """References around, and queries near some of them."""
    references = rng.uniform(0, 5 * radius, (REFERENCES, 3))
    return references, references[:QUERIES] + rng.normal(0, radius / 2, (QUERIES, 3))


def make_baidu(folder, rng):
    references, queries = scattered(rng, 10)
    for side, table, images in (('training', references, 'training_images_undistort'),
                                ('query', queries, 'query_images_undistort')):
        write_images(folder / images, names_of(side, len(table)))
        (folder / f'{side}_gt').mkdir()
        for number, centre in enumerate(table):
            (folder / f'{side}_gt' / f'{side}{number}.camera').write_text(
                f'{UNIT}0 0\n{UNIT}' + ' '.join(map(repr, centre.tolist())) + '\n640 480\n')
    return literal(references, queries, 10)


def make_seventeen_places(folder, rng):
    write_images(folder / 'ref', names_of('r', 40))
    write_images(folder / 'query', names_of('q', 40))
    return [list(range(number - 15, number + 16)) for number in range(40)]


def make_inside_out(folder, rng):
    references, queries = (table[:, :2] for table in scattered(rng, 50))
    write_images(folder / 'ref_images', names_of('r', len(references)))
    write_images(folder / 'query_images', names_of('q', len(queries)))
    (folder / 'gps_db_correct.pkl').write_bytes(pickle.dumps(references))
    (folder / 'gps_q_new.pkl').write_bytes(pickle.dumps([tuple(row) for row in queries.tolist()]))
    return literal(references, queries, 50)


def with_utm(rng, folder, sides):
    """Names with coordinates, the lists of them as the folders sort, and the truth."""
    tables = [table[:, :2] + [550_000, 4_180_000] for table in scattered(rng, 25)]
    names = [[f'@{east:.2f}@{north:.2f}@{number}@.jpg' for number, (east, north) in enumerate(table)]
             for table in tables]
    places = []
    for side, some in zip(sides, names):
        write_images(folder / side, some)
        some.sort(key=lambda name: [float(part) for part in name.split('@')[1:3]])  # as long as all are alike
        places.append(np.array([[float(part) for part in name.split('@')[1:3]] for name in some]))
    return names, literal(*places, 25)


def make_sfxl(folder, rng):
    return with_utm(rng, folder, ('database', 'queries'))[1]


def make_pitts(folder, rng):
    beside = folder / 'pitts30k' / 'images' / 'test'
    names, truth = with_utm(rng, beside, ('database', 'queries'))
    for side, some in zip(('database', 'queries'), names):
        np.save(beside / f'{side}.npy', [f'images/test/{side}/{name}' for name in rng.permutation(some)])
    return truth


def make_amstertime(folder, rng):
    write_images(folder / 'new', names_of('n', REFERENCES))
    write_images(folder / 'old', names_of('o', REFERENCES))
    return [[number] for number in range(REFERENCES)]


def make_vpair(folder, rng):
    write_images(folder / 'reference_views', names_of('r', REFERENCES))
    write_images(folder / 'queries', names_of('q', QUERIES))
    truth = [sorted(rng.choice(REFERENCES, rng.integers(0, 4), replace=False).tolist()) for _ in range(QUERIES)]
    table = np.empty((QUERIES, 2), object)
    for number, true in enumerate(truth):
        table[number] = [number, np.array(true, int)]
    np.save(folder / 'vpair_gt.npy', table)
    return truth


def make_msls(city):
    """Lists of both cities in any order, with images that nobody asks for; of one city the images, too."""
    def make(folder, rng):
        database = [f'train_val/{which}/database/images/{which}_{number}.jpg' for which in ('cph', 'sf')
                    for number in range(REFERENCES)]
        asked = [f'train_val/{which}/query/images/q{number}.jpg' for which in ('cph', 'sf')
                 for number in range(QUERIES)]
        database, asked = rng.permutation(database), rng.permutation(asked)
        chosen = np.sort(rng.choice(len(asked), 2 * QUERIES - 3, replace=False))
        true = np.empty(len(chosen), object)
        for row, number in enumerate(chosen):
            of_city = [at for at, name in enumerate(database) if asked[number].split('/')[1] in name.split('/')]
            true[row] = rng.choice(of_city, rng.integers(1, 4), replace=False)
        beside = folder.parent / 'msls_npy_files'
        beside.mkdir()
        for name, table in (('dbImages', database), ('qImages', asked), ('qIdx', chosen), ('pIdx', true)):
            np.save(beside / f'msls_val_{name}.npy', table)
        references = names_of(f'{city}_', REFERENCES)
        rows = {asked[number]: true[row] for row, number in enumerate(chosen) if f'/{city}/' in asked[number]}
        queries = sorted(rows, key=lambda name: int(name.rsplit('/q', 1)[1][:-4]))
        write_images(folder / 'database', references)
        write_images(folder / 'query', [Path(name).name for name in queries])
        return [sorted(references.index(Path(database[at]).name) for at in rows[name]) for name in queries]
    return make


MINIATURES = {'baidu': make_baidu, '17places': make_seventeen_places, 'InsideOut': make_inside_out, 'SFXL': make_sfxl,
              'mslsSF': make_msls('sf'), 'mslsCPH': make_msls('cph'), 'pitts': make_pitts,
              'AmsterTime': make_amstertime, 'VPAir': make_vpair}


@pytest.mark.parametrize('name', DATASETS)
def test_the_truth_is_that_of_the_literal_rule(name, tmp_path):
    expected = MINIATURES[name](tmp_path / name, np.random.default_rng(5))
    found = DATASETS[name].true_references(tmp_path)
    assert [sorted(numbers.tolist()) for numbers in found] == expected
    assert any(expected)


@pytest.mark.parametrize('name', DATASETS)
def test_a_wrong_layout_is_one_line_that_says_what_belongs_where(name, tmp_path):
    dataset, rng = DATASETS[name], np.random.default_rng(5)
    with pytest.raises(SegvladError, match=f'no such folder; {name} has its references in {dataset.references}'):
        dataset.true_references(tmp_path)
    MINIATURES[name](tmp_path / name, rng)
    beside = [*(tmp_path / name).glob('*.*'), *(tmp_path / name).glob('*_gt/*'), *tmp_path.glob('msls_npy_files/*'),
              *(tmp_path / name).glob('pitts30k/images/test/*.npy')]
    for path in beside:
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(SegvladError, match='not there|camera files for'):
            dataset.true_references(tmp_path)
        path.write_bytes(content[:len(content) // 3])
        with pytest.raises(SegvladError) as refusal:
            dataset.true_references(tmp_path)
        assert '\n' not in str(refusal.value)
        path.write_bytes(content)


def test_sizes_are_those_of_the_paper():
    assert {name: (dataset.size, dataset.mask_size) for name, dataset in DATASETS.items()} == {
        **dict.fromkeys(('baidu', '17places', 'InsideOut', 'mslsSF', 'mslsCPH', 'pitts'), ((640, 480), (320, 240))),
        'SFXL': ((512, 512), (256, 256)), 'VPAir': ((800, 600), (400, 300)), 'AmsterTime': ((256, 256), (256, 256))}


def test_a_folder_of_ones_own_has_a_table_or_names_with_coordinates(tmp_path):
    _, truth = with_utm(np.random.default_rng(5), tmp_path / 'square', ('references', 'queries'))
    square = place_dataset('square', tmp_path)
    assert [numbers.tolist() for numbers in square.true_references(tmp_path)] == truth
    write_images(tmp_path / 'office' / 'references', ['a.jpg', 'b.jpg', 'c.jpg'])
    write_images(tmp_path / 'office' / 'queries', ['x.jpg', 'y.jpg'])
    (tmp_path / 'office' / 'truth.csv').write_text(
        'query,references\nqueries/y.jpg,references/c.jpg references/a.jpg\n')
    assert [numbers.tolist() for numbers in place_dataset('office', tmp_path).true_references(tmp_path)] == [[], [0, 2]]


def test_a_name_that_is_no_data_set_is_told_what_there_is(tmp_path):
    with pytest.raises(SegvladError, match=r"no data set 'nope': choose one of baidu, 17places.* or make a folder"):
        place_dataset('nope', tmp_path)
