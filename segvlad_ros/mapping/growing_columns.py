"""Numbers of many things, by name."""
from __future__ import annotations

import numpy as np


class GrowingColumns:
    """Arrays of one length that grow together. Each lies in memory by itself: going through one reads no other.

    :param kinds: a structured type, whose fields name the columns
    """

    def __init__(self, kinds: np.dtype) -> None:
        self._arrays = {name: np.zeros((64, *kinds[name].shape), kinds[name].base) for name in kinds.names}

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def select(self, rows: np.ndarray) -> None:
        """Keep some rows and no others, with room for as many again."""
        room = max(64, 2 * len(rows))
        kept = {name: np.zeros((room, *array.shape[1:]), array.dtype) for name, array in self._arrays.items()}
        for name, array in self._arrays.items():
            kept[name][:len(rows)] = array[rows]
        self._arrays = kept

    def hold(self, rows: int) -> None:
        """See that there is room for so many rows; else twice as many as before at least, of zeros."""
        if rows <= len(self):
            return
        more = max(rows - len(self), len(self))
        self._arrays = {name: np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])
                        for name, array in self._arrays.items()}
