"""Times, peak memory and the machine that they were measured on."""
from __future__ import annotations

import ctypes
import os
import platform
import resource
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


def median(values: Sequence[float]) -> float:
    """Middle value."""
    return statistics.median(values)


def peak_memory(function: Callable[[], Any], device: str = 'cpu') -> float | None:
    """Megabytes that one call takes at most, on top of what was taken before it.

    On a GPU that of PyTorch's allocator; on a CPU that of the process, which only Linux can tell.
    """
    if device.startswith('cuda'):
        import torch

        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    try:
        before = _forget_peak()
        function()
        return (_resident('VmHWM') - before) / 1e6
    except (OSError, AttributeError):
        return None


def peak_of_process(function: Callable[[], Any], device: str = 'cpu') -> tuple[float, float | None]:
    """Megabytes that this process has at most during a call, all in all: of main memory, and of the GPU.

    Where the system does not forget an earlier peak of main memory, it counts. On a GPU it is what PyTorch's allocator
    has given out; None without one.
    """
    with suppress(OSError, AttributeError):
        _forget_peak()
    cuda = _cuda_of_torch(device)
    if cuda:
        cuda.reset_peak_memory_stats(device)
    function()
    return _peak_mb(), cuda.max_memory_allocated(device) / 1e6 if cuda else None


def _cuda_of_torch(device: str) -> Any:
    """``torch.cuda``; None without a GPU, or where PyTorch cannot use it and something else may (ONNX Runtime)."""
    if not device.startswith('cuda'):
        return None
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda if torch.cuda.is_available() else None


def _peak_mb() -> float:
    try:
        return _resident('VmHWM') / 1e6
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _forget_peak() -> int:
    """Begin anew to look for the most memory of this process. :return: bytes that it has now"""
    # memory that was freed but kept by the allocator would hide what a call takes
    ctypes.CDLL(None).malloc_trim(0)
    before = _resident('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')
    return before


def machine(device: str = 'cpu') -> dict[str, Any]:
    """What a reader needs to judge the numbers."""
    facts: dict[str, Any] = {'cpu': _processor(), 'cores': os.cpu_count(), 'python': platform.python_version(),
                             'system': platform.platform(), 'load_average': os.getloadavg()[0]}
    try:
        import torch
    except ImportError:
        return facts
    facts |= {'torch': torch.__version__, 'torch_threads': torch.get_num_threads()}
    if cuda := _cuda_of_torch(device):
        properties = cuda.get_device_properties(device)
        facts |= {'gpu': properties.name, 'gpu_memory_gb': round(properties.total_memory / 1e9, 1),
                  'cuda': torch.version.cuda}
    return facts


def busy_machine(facts: dict[str, Any]) -> str:
    """'' or, where other work disturbs the times, a line that says so.

    :param facts: of :func:`machine`
    """
    if facts['load_average'] <= facts['cores'] + 1:
        return ''
    return f'this machine is busy (load {facts["load_average"]:.1f}): do not trust the times'


def _resident(field_name: str) -> int:
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(field_name))
    return int(line.split()[1]) * 1024


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(':')[1].strip() for line in lines if line.startswith('model name')), platform.machine())
