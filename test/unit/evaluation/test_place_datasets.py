"""The paper's data sets on miniatures in their own layouts."""
import pickle

import numpy as np
import pytest
from place_miniatures import MINIATURES, with_utm, write_images

from segvlad_ros.evaluation.place_datasets import DATASETS, place_dataset
from segvlad_ros.types import SegvladError


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


PAIRS = np.array([[0, 0], [1, 0]])


@pytest.mark.parametrize(('name', 'file', 'content'), [
    ('VPAir', 'vpair_gt.npy', np.arange(6)), ('VPAir', 'vpair_gt.npy', np.zeros((6, 1), int)),
    ('VPAir', 'vpair_gt.npy', np.array(3)), ('VPAir', 'vpair_gt.npy', np.full((6, 2), 0.5)),
    ('VPAir', 'vpair_gt.npy', np.zeros((6, 2, 1), int)[:, :, None]), ('VPAir', 'vpair_gt.npy', np.full((6, 2), -1)),
    ('mslsSF', '../msls_npy_files/msls_val_qIdx.npy', np.array([0, 10**6])),
    ('mslsSF', '../msls_npy_files/msls_val_qIdx.npy', np.array([0.0, 1.0])),
    ('mslsSF', '../msls_npy_files/msls_val_pIdx.npy', PAIRS[:1]),
    ('mslsSF', '../msls_npy_files/msls_val_dbImages.npy', np.array('one')),
    ('InsideOut', 'gps_db_correct.pkl', {'a': 1}), ('InsideOut', 'gps_q_new.pkl', [[1.0, 2.0], [3.0]]),
    ('InsideOut', 'gps_q_new.pkl', np.full((6, 2), np.nan))])
def test_annotations_of_another_form_are_one_line(name, file, content, tmp_path):
    MINIATURES[name](tmp_path / name, np.random.default_rng(5))
    path = tmp_path / name / file
    assert path.exists()
    if path.suffix == '.npy':
        np.save(path, content)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(SegvladError) as refusal:
        DATASETS[name].true_references(tmp_path)
    assert str(tmp_path / name) in str(refusal.value) or str(path.resolve()) in str(refusal.value)


def test_a_camera_file_may_leave_out_what_is_not_read(tmp_path):
    expected = MINIATURES['baidu'](tmp_path / 'baidu', np.random.default_rng(5))
    for path in tmp_path.glob('baidu/*_gt/*.camera'):
        path.write_text('\n'.join(path.read_text().splitlines()[-2:]))
    assert [sorted(numbers.tolist()) for numbers in DATASETS['baidu'].true_references(tmp_path)] == expected


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


@pytest.fixture
def office(tmp_path):
    """``office(rows)`` writes its table of truth and gives what is true."""
    for side in ('references', 'queries', 'elsewhere'):
        write_images(tmp_path / 'office' / side, ['a.jpg', 'b.jpg'])

    def of(*rows, columns='query,references'):
        (tmp_path / 'office' / 'truth.csv').write_text('\n'.join([columns, *rows]))
        return [true.tolist() for true in place_dataset('office', tmp_path).true_references(tmp_path)]
    return of


def test_a_table_of_ones_own_speaks_of_the_images_that_are_there(office, caplog):
    assert office('queries/a.jpg,references/b.jpg') == [[1], []]
    assert not caplog.text
    assert office('queries/a.jpg,references/b.jpg elsewhere/b.jpg', 'elsewhere/a.jpg,references/a.jpg') == [[1], []]
    assert '1 of 2 queries and 1 of 3 references of the ground truth are not among the given images' in caplog.text
    with pytest.raises(SegvladError, match='names none of the queries'):
        office('elsewhere/a.jpg,references/b.jpg')
    with pytest.raises(SegvladError, match='names none of the references'):
        office('queries/a.jpg,elsewhere/b.jpg')


def test_a_table_of_ones_own_ignores_nothing_for_the_paper_does_not(office):
    columns = 'query,references,ignore'
    assert office('queries/a.jpg,references/b.jpg,', 'queries/b.jpg,,elsewhere/a.jpg', columns=columns) == [[1], []]
    with pytest.raises(SegvladError, match=r'truth\.csv: ignores references of 1 of 2 queries.*evaluate images'):
        office('queries/a.jpg,references/b.jpg,references/a.jpg', 'queries/b.jpg,,', columns=columns)


def test_a_name_that_is_no_data_set_is_told_what_there_is(tmp_path):
    with pytest.raises(SegvladError, match=r"no data set 'nope': choose one of baidu, 17places.* or make a folder"):
        place_dataset('nope', tmp_path)
    (tmp_path / 'office/references').mkdir(parents=True)
    for path in ('office/', './office', str(tmp_path / 'office'), '.'):
        with pytest.raises(SegvladError, match='give the name of the folder alone'):
            place_dataset(path, tmp_path)


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('form', [np.asfortranarray, lambda table: [*table], lambda table: table.astype('>f4'),
                                  lambda table: [(np.float64(x), np.float64(y)) for x, y in table],
                                  lambda table: tuple(map(list, table.tolist()))],
                         ids=['Fortran', 'list of arrays', 'big-endian', 'NumPy scalars', 'tuple of lists'])
def test_coordinates_of_inside_out_may_be_pickled_in_any_plain_form(tmp_path, form, protocol):
    expected = MINIATURES['InsideOut'](tmp_path / 'InsideOut', np.random.default_rng(5))
    for path in (tmp_path / 'InsideOut').glob('*.pkl'):
        path.write_bytes(pickle.dumps(form(np.array(pickle.loads(path.read_bytes()))), protocol))
    found = DATASETS['InsideOut'].true_references(tmp_path)
    assert [numbers.tolist() for numbers in found] == expected


def test_coordinates_of_inside_out_execute_nothing(tmp_path):
    MINIATURES['InsideOut'](tmp_path / 'InsideOut', np.random.default_rng(5))
    (tmp_path / 'InsideOut' / 'gps_q_new.pkl').write_bytes(b'cposix\nsystem\n(S"touch ' + bytes(tmp_path) + b'/x"\ntR.')
    with pytest.raises(SegvladError, match=r'gps_q_new\.pkl: it asks for posix\.system, which is not allowed'):
        DATASETS['InsideOut'].true_references(tmp_path)
    assert not (tmp_path / 'x').exists()
