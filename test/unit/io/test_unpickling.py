"""Pickles of others: what is in them comes out, and nothing in them is executed."""
from __future__ import annotations

import collections
import os
import pickle
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segvlad_ros.io.unpickling import CONTAINERS, NUMPY, Holder, load_pickle
from segvlad_ros.types import SegvladError


@pytest.fixture
def fitted(monkeypatch):
    """An object of a class in a module that is gone when the pickle is read, as scikit-learn is on a robot."""
    module = types.ModuleType('elsewhere')
    kind = type('PCA', (), {'__module__': 'elsewhere'})
    module.PCA = kind
    monkeypatch.setitem(sys.modules, 'elsewhere', module)
    value = kind()
    value.components = np.arange(6.0).reshape(2, 3)
    value.fortran = np.asfortranarray(np.arange(6, dtype='>f4').reshape(2, 3))
    value.number, value.flag, value.plain = np.float64(3.5), np.bool_(True), 7
    value.objects = np.array([{'inner': np.arange(3)}, None], object)
    value.names, value.dtype, value.empty = np.array(['ab', 'c']), np.dtype('f4'), np.zeros((0, 3))
    value.ordered = collections.OrderedDict(x=np.ones(2))
    value.nested = (np.ones(2), [np.zeros(1)])
    value.same = value.components
    return value


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_objects_of_missing_classes_become_holders(fitted, monkeypatch, tmp_path, protocol):
    path = tmp_path / 'pca.pkl'
    path.write_bytes(pickle.dumps(fitted, protocol))
    monkeypatch.delitem(sys.modules, 'elsewhere')

    held = load_pickle(path, NUMPY | CONTAINERS | {'elsewhere.PCA'})

    assert isinstance(held, Holder)
    assert held.type_name == 'elsewhere.PCA'
    values = held.attributes
    np.testing.assert_array_equal(values['components'], fitted.components)
    np.testing.assert_array_equal(values['fortran'], fitted.fortran)
    assert (values['number'], values['flag'], values['plain']) == (3.5, True, 7)
    np.testing.assert_array_equal(values['objects'][0]['inner'], np.arange(3))
    np.testing.assert_array_equal(values['names'], fitted.names)
    assert values['dtype'] == np.float32
    assert values['empty'].shape == (0, 3)
    np.testing.assert_array_equal(values['ordered']['x'], np.ones(2))
    np.testing.assert_array_equal(values['nested'][0], np.ones(2))
    np.testing.assert_array_equal(values['nested'][1][0], np.zeros(1))
    assert values['same'] is values['components']
    values['components'][0, 0] = 5  # own memory


class Attack:
    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(('function', 'named'), [(os.system, 'system'), (eval, 'eval'), (getattr, 'getattr'),
                                                 (__import__, '__import__')])
def test_functions_are_refused_by_name(tmp_path, protocol, function, named):
    mark = tmp_path / 'mark'
    data = pickle.dumps({'weights': np.ones(2), 'x': Attack(function, f'open({str(mark)!r}, "w")')}, protocol)
    with pytest.raises(SegvladError, match=named) as refused:
        load_pickle(data, NUMPY | CONTAINERS)
    assert '\n' not in str(refused.value)
    assert not mark.exists()


def test_an_allowed_function_is_not_called_either(tmp_path):
    mark = tmp_path / 'mark'
    held = load_pickle(pickle.dumps(Attack(os.mkdir, str(mark))), {'posix.mkdir'})
    assert held.type_name == 'posix.mkdir'
    assert held.arguments == (str(mark),)
    assert not mark.exists()


@pytest.mark.parametrize('state', [
    (1, (2,), np.dtype('O'), False, b'\x01' * 16),  # object pointers from bytes
    (1, (10**12,), np.dtype('f8'), False, 10**12),  # memory for content that is not there
    (1, (4,), np.dtype('f8'), False, b'1234'),
])
def test_arrays_that_numpy_never_wrote_are_refused(state):
    class Crafted:
        def __reduce__(self):
            return np.ones(1).__reduce__()[0], (np.ndarray, (0,), b'b'), state

    with pytest.raises(SegvladError, match='pickle'):
        load_pickle(pickle.dumps(Crafted()), NUMPY)


def test_unallowed_class_is_named(fitted):
    with pytest.raises(SegvladError, match=r'elsewhere\.PCA, which is not allowed'):
        load_pickle(pickle.dumps(fitted), NUMPY)


def test_missing_file(tmp_path):
    with pytest.raises(SegvladError, match='No such file'):
        load_pickle(tmp_path / 'none.pkl', NUMPY)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_pickles_raise_one_line_or_give_something(data):
    whole = pickle.dumps({'a': np.arange(5), 'b': [1, 'two', (3.0, None)]}, data.draw(st.integers(0, 5)))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[:data.draw(st.integers(1, len(whole)))])
    try:
        load_pickle(cut, NUMPY)
    except SegvladError as error:
        assert '\n' not in str(error)


@given(st.binary(max_size=200))
def test_random_bytes(data):
    try:
        load_pickle(data, NUMPY)
    except SegvladError as error:
        assert '\n' not in str(error)
