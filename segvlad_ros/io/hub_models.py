"""Models of torch.hub from a folder on the disk: code of somebody else, run when it is asked for, without network."""
from __future__ import annotations

import sys
import urllib.error
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from segvlad_ros.io.extras import import_extra
from segvlad_ros.text import said_by
from segvlad_ros.types import SegvladError

_OUTWARD = ('urllib.Request', 'socket.getaddrinfo', 'socket.connect')
_offline = [0]  # depth of nested offline blocks; the hook below, once added, stays
_hooked: list[bool] = []


def load_hub_model(folder: Path, entry: str, arguments: Mapping[str, Any]) -> Any:
    """What an entry of a folder's ``hubconf.py`` returns, on the CPU, in evaluation mode. This runs the folder's code.

    :param folder: a clone of the repository
    :param entry: name of a function of its ``hubconf.py``
    :param arguments: of that function
    :raises SegvladError: no such folder or entry, it fails, or it wants to download; what it needs must be in
        torch.hub's cache, ``~/.cache/torch/hub``
    """
    torch = import_extra('torch')
    if not (folder / 'hubconf.py').is_file():
        raise SegvladError(f'{folder} has no hubconf.py: give a folder with a clone of the repository')
    try:
        with offline(), redirect_stdout(sys.stderr):  # its chatter is no result
            model = torch.hub.load(str(folder), entry, source='local', **arguments)
    except Exception as error:  # whatever that code raises
        raise SegvladError(f'{folder}: {entry} cannot be loaded ({said_by(error, 240)})') from error
    if not isinstance(model, torch.nn.Module):
        raise SegvladError(f'{folder}: {entry} returns {type(model).__name__}, no network')
    return model.eval().requires_grad_(False)


@contextmanager
def offline() -> Iterator[None]:
    """Within it Python code opens no connection; ``URLError`` lets torch.hub fall back to what it has."""
    if not _hooked:
        sys.addaudithook(_refuse)
        _hooked.append(True)
    _offline[0] += 1
    try:
        yield
    finally:
        _offline[0] -= 1


def _refuse(event: str, arguments: tuple) -> None:
    if _offline[0] and event in _OUTWARD:
        what = f' {arguments[0]}' if event == 'urllib.Request' else ''
        raise urllib.error.URLError(f'it wants to download{what}; nothing is downloaded: put the file where torch.hub '
                                    'looks for it')
