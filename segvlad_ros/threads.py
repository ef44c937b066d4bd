"""How many threads the small matrices of an answer are multiplied on: one."""
from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from functools import lru_cache

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager:
    """Keep the BLAS of every library on one thread, as a context.

    A second thread gains little with matrices so small, and waits by spinning: where other nodes keep the cores busy
    the two wait for each other (a description took 15 to 40 times longer, measured), and where nothing else runs an
    answer burns a second core (OpenCV 5 brings OpenBLAS: 25 s of CPU time in 12 s, with one thread 12 in 11).
    """
    return _libraries(len(sys.modules)).limit(limits=1, user_api='blas')


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """Those of this process; looked for again where more modules are imported, since faiss and SciPy come late.

    :param modules: how many are imported
    """
    return ThreadpoolController()
