"""The one way to read pickles that others made (a fitted PCA, annotations, checkpoints): nothing in them is executed.

A pickle names functions and classes and has them called. Here every name must be in an allow-list, and none of them is
ever imported: names of :data:`NUMPY` and :data:`CONTAINERS` are answered by constructors of this module that take only
what those pickles hold, and any other allowed name becomes a :class:`Holder`.
"""
from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Collection
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.text import one_line
from segvlad_ros.types import SegvladError

MAX_BYTES = 4_000_000_000


class Holder:
    """Stands in for an object of an allowed class: what the pickle says about it, and nothing of the class itself.

    :ivar type_name: dotted name of the class or function
    :ivar arguments: what it was called with
    :ivar attributes: its state, if that is a dictionary, else ``{'state': ...}``
    """

    type_name = ''

    def __new__(cls, *arguments, **_named):
        """Every way in which pickle makes an object ends here."""
        holder = super().__new__(cls)
        holder.arguments = arguments
        holder.attributes = {}
        return holder

    def __init__(self, *_arguments, **_named):
        """All is done in ``__new__``."""

    def __setstate__(self, state):
        """Keep the state."""
        self.attributes = dict(state) if isinstance(state, dict) else {'state': state}

    def __repr__(self):
        return f'<{self.type_name}: {", ".join(map(str, self.attributes))}>'


class _Dtype:
    """A dtype by its code and byte order: numbers, strings of fixed length, or objects; no records."""

    def __init__(self, code, *_flags):
        self.dtype = np.dtype(code.decode() if isinstance(code, bytes) else str(code))
        if self.dtype.names or self.dtype.subdtype:
            raise SegvladError(f'arrays of {self.dtype} are not read')

    def __setstate__(self, state):
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order in ('<', '>') and not self.dtype.hasobject:
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array under construction; :func:`_finish` puts the real one in its place."""

    array: np.ndarray | None = None

    def __setstate__(self, state):
        _, shape, dtype, is_fortran, data = state
        self.array = _array(data, dtype, shape, 'F' if is_fortran else 'C')


def _array(data, dtype: _Dtype, shape, order: str = 'C') -> np.ndarray:
    if dtype.dtype.hasobject:
        if not isinstance(data, list):
            raise SegvladError('an array of objects without its list of objects')
        array = np.empty(len(data), object)
        array[:] = data
        return array.reshape(shape, order=order)
    if isinstance(data, str):
        data = data.encode('latin1')
    if not isinstance(data, (bytes, bytearray)):
        raise SegvladError(f'an array whose content is of type {type(data).__name__}')
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order).copy(order='K')


def _frombuffer(data, dtype: _Dtype, shape, order='C', *_axis_order):
    made = _Array()
    made.array = _array(data, dtype, shape, order)
    return made


def _scalar(dtype: _Dtype, data=b'\0' * 8):
    return _array(data, dtype, (1,))[0]


def _encode(text: str, codec: str = 'latin1') -> bytes:
    """Pickle protocols below 3 write bytes as text."""
    if codec != 'latin1':
        raise SegvladError(f'bytes written with codec {codec!r} are not read')
    return text.encode('latin1')


def _reconstructor(kind, *_base_and_state):
    if not (isinstance(kind, type) and issubclass(kind, Holder)):
        raise SegvladError('an object of a class that is not allowed here')
    return kind()


_NUMPY: dict[str, Any] = {
    'numpy.ndarray': 'numpy.ndarray',  # only ever an argument
    'numpy.dtype': _Dtype, '_codecs.encode': _encode, 'builtins.bytes': lambda: b'',
    **{f'numpy.{core}.multiarray._reconstruct': lambda *_: _Array() for core in ('core', '_core')},
    **{f'numpy.{core}.multiarray.scalar': _scalar for core in ('core', '_core')},
    **{f'numpy.{core}.numeric._frombuffer': _frombuffer for core in ('core', '_core')},
}
NUMPY = frozenset(_NUMPY)
"""Arrays, scalars and dtypes of NumPy 1 and 2, pickle protocols 0 to 5."""

_CONTAINERS: dict[str, Any] = {
    'collections.OrderedDict': OrderedDict, 'builtins.set': set, 'builtins.frozenset': frozenset,
    'builtins.object': 'object',  # only ever an argument
    'copyreg._reconstructor': _reconstructor, 'copy_reg._reconstructor': _reconstructor,
}
CONTAINERS = frozenset(_CONTAINERS)
"""Plain containers that pickles name, and how protocols 0 and 1 make objects."""

_CONSTRUCTORS = _NUMPY | _CONTAINERS


class _Unpickler(pickle._Unpickler):
    """Python's own in Python: the one in C takes memory for numbers that the file makes up."""

    def __init__(self, file, allowed: Collection[str]):
        super().__init__(file)
        self._allowed = allowed

    def find_class(self, module: str, name: str):
        """Answer a name of the allow-list."""
        full = f'{module.replace("__builtin__", "builtins")}.{name}'
        if full not in self._allowed:
            raise SegvladError(f'it asks for {full}, which is not allowed here')
        if full in _CONSTRUCTORS:
            return _CONSTRUCTORS[full]
        return type('Holder', (Holder,), {'type_name': full})


def _finish(value, seen: dict[int, tuple]):
    """Put finished arrays in the place of those under construction, all the way down.

    :param seen: by id the value before, which keeps it alive and its id its own, and after
    """
    if id(value) in seen:
        return seen[id(value)][1]
    finished = value
    if isinstance(value, _Dtype):
        finished = value.dtype
    elif isinstance(value, _Array):
        if value.array is None:
            raise SegvladError('an array without content')
        finished = value.array
    seen[id(value)] = value, finished
    if isinstance(value, tuple):
        finished = tuple(_finish(item, seen) for item in value)
        seen[id(value)] = value, finished
    else:
        _finish_inside(finished, seen)
    return finished


def _finish_inside(value, seen: dict[int, tuple]) -> None:
    if isinstance(value, dict):
        value.update({key: _finish(item, seen) for key, item in value.items()})
    elif isinstance(value, list):
        value[:] = [_finish(item, seen) for item in value]
    elif isinstance(value, np.ndarray) and value.dtype.hasobject:
        for at, item in enumerate(value.flat):
            value.flat[at] = _finish(item, seen)
    elif isinstance(value, Holder):
        value.arguments, value.attributes = _finish(value.arguments, seen), _finish(value.attributes, seen)


def load_pickle(source: str | Path | bytes, allowed: Collection[str],
                persistent_load: Callable[[Any], Any] | None = None) -> Any:
    """Read a pickle without executing anything.

    :param source: a file, or the pickled bytes
    :param allowed: dotted names that may occur, e.g. ``NUMPY | {'sklearn.decomposition._pca.PCA'}``; those of
        :data:`NUMPY` and :data:`CONTAINERS` become what they say, all others :class:`Holder` objects
    :param persistent_load: answers references to what is stored outside the pickle (see :mod:`pickle`); None refuses
        them
    :raises SegvladError: unreadable, damaged, or naming the first thing that it asks for and may not have
    """
    what = 'pickle' if isinstance(source, bytes) else str(source)
    try:
        if not isinstance(source, bytes):
            if Path(source).stat().st_size > MAX_BYTES:
                raise SegvladError(f'larger than {MAX_BYTES // 1_000_000} MB')
            source = Path(source).read_bytes()
        unpickler = _Unpickler(BytesIO(source), allowed)
        if persistent_load is not None:
            unpickler.persistent_load = persistent_load
        return _finish(unpickler.load(), {})
    except OSError as error:
        raise SegvladError(f'{what}: cannot be read ({error.strerror})') from None
    except SegvladError as error:
        raise SegvladError(f'{what}: {error}') from None
    except Exception as error:  # damaged pickles raise nearly anything
        raise SegvladError(f'{what}: is not a sound pickle ({type(error).__name__})') from error


def load_npy(path: str | Path) -> np.ndarray:
    """Read a ``.npy`` file; one of objects, which is a pickle inside, without executing anything.

    :raises SegvladError: naming the file, when it is missing or damaged
    """
    path = Path(path)
    try:
        with path.open('rb') as file:
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else \
                np.lib.format.read_array_header_2_0
            shape, _, dtype = read_header(file)
            if not dtype.hasobject:
                return np.load(path, allow_pickle=False)
            found = load_pickle(file.read(MAX_BYTES), NUMPY | CONTAINERS)
        if not isinstance(found, np.ndarray) or found.shape != shape:
            raise SegvladError('holds no array of the shape that it claims')
        return found
    except OSError as error:
        raise SegvladError(f'{path}: cannot be read ({error.strerror or error})') from None
    except SegvladError as error:
        raise SegvladError(f'{path}: {error}') from None
    except (ValueError, EOFError) as error:
        raise SegvladError(f'{path}: is not a sound .npy file ({one_line(error, 80)})') from None
