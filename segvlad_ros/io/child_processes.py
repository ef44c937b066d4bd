"""Child processes that end with the process that started them, however that ends.

``python -m segvlad_ros.io.child_processes MODULE ARGUMENTS...`` runs a module as ``python -m`` does, as such a child.
"""
from __future__ import annotations

import ctypes
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have Linux send this process a SIGINT when its parent ends, also by kill -9."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


if __name__ == '__main__':
    end_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
