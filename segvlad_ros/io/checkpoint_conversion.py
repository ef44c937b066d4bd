"""From a checkpoint of PyTorch to an ONNX file that answers alike, or to nothing."""
from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.model_files import open_session
from segvlad_ros.io.whole_files import take_place
from segvlad_ros.text import said_by
from segvlad_ros.types import SegvladError

_MAX_DIFFERENCE = 1e-3  # of any value, all of which are at most 1


def load_parameters(network: Any, sources: Mapping[str, Path], file: str, named: Callable[[str], str | None]) -> None:
    """Give a network the parameters of a checkpoint.

    :param sources: extracted files by their names in a package
    :param file: the checkpoint's name there, without folders
    :param named: the network's name of a parameter of the checkpoint; None: it has none such
    :raises SegvladError: no such file, or another network's
    """
    torch = import_extra('torch')
    checkpoint = next((path for name, path in sources.items() if name.rpartition('/')[2] == file), None)
    if checkpoint is None:
        raise SegvladError(f'no {file} among {", ".join(sources) or "nothing"}')
    try:
        state = torch.load(checkpoint, map_location='cpu', weights_only=True)
        network.load_state_dict({ours: value for name, value in state.items() if (ours := named(name)) is not None})
    except Exception as error:  # torch has many kinds, whatever the bytes provoke
        raise SegvladError(f'{checkpoint} is not a checkpoint of {type(network).__name__.removesuffix("Network")} '
                           f'({said_by(error, 160)})') from error


def parameters_of(network: Any) -> dict[str, np.ndarray]:
    """By their names."""
    return {name: value.numpy() for name, value in network.state_dict().items()}


def write_checked(model: bytes, target: Path, network: Any, examples: Iterable[tuple[np.ndarray, ...]]) -> None:
    """Write an ONNX file if ONNX Runtime answers as PyTorch does.

    :param examples: inputs of the network, in its order; all that it gives is at most 1
    :raises SegvladError: otherwise; nothing is written then
    """
    torch = import_extra('torch')
    with tempfile.TemporaryDirectory(prefix=f'.{target.name}.', dir=target.parent) as folder:
        written = Path(folder) / target.name
        written.write_bytes(model)
        session = open_session(written)
        names = [entry.name for entry in session.get_inputs()]
        for example in examples:
            with torch.inference_mode():
                wanted = network(*map(torch.from_numpy, example))
            wanted = [wanted] if isinstance(wanted, torch.Tensor) else wanted
            found = session.run(None, dict(zip(names, example, strict=True)))
            worst = np.max([np.abs(ours - right.numpy()).max() for ours, right in zip(found, wanted, strict=True)])
            if not worst <= _MAX_DIFFERENCE:  # NaN is no answer either
                shapes = ' and '.join(str(array.shape) for array in example)
                raise SegvladError(f'the converted model differs from PyTorch by {worst:.1g} for {shapes}: nothing is '
                                   'written')
        take_place(written, target)
