"""Networks written as ONNX files, and only if ONNX Runtime then answers as PyTorch does."""
from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.model_files import DATA_SUFFIX, Model, load_onnx, open_session
from segvlad_ros.io.whole_files import take_place
from segvlad_ros.text import said_by
from segvlad_ros.types import SegvladError

MIN_COSINE = 0.999
"""Of each vector of the output with PyTorch's, below which nothing is written."""

# Protocol buffers end at 2 GB: weights of more than this go into a file of their own.
_MOST_BYTES = 1_500_000_000
_IMAGES = 3


def export_onnx(network: Any, size: tuple[int, int], path: Path) -> float:
    """Write a network for images of one size, in float32.

    :param network: a torch module on the CPU, from (1, 3, height, width) to (1, N, D), (1, D) or (1, D, h, w), or to a
        tuple that begins so
    :param size: width and height, pixels
    :param path: is replaced; where there are many weights, so is ``PATH.data`` beside it
    :return: the smallest cosine between a vector of ONNX Runtime and of PyTorch
    :raises SegvladError: it cannot be exported, or what was exported answers otherwise; nothing is written then
    """
    network = _first_output(network).eval()
    return _write(network, {'image': _image(size, 0)}, path,
                  lambda written: check_parity(load_onnx(written), network, size), output_names=['features'])


def export_function(network: Any, example: Callable[[int], dict[str, np.ndarray]], path: Path, *,
                    outputs: Sequence[str], any_number: Collection[str]) -> float:
    """Write a network of several inputs and outputs, in float32.

    :param network: a torch module on the CPU; its vectors stand along the last axis of each output
    :param example: makes inputs by name, in order, of a seed
    :param outputs: their names
    :param any_number: inputs whose first axis may have any length
    :return, raises: as :func:`export_onnx`
    """
    torch = import_extra('torch')
    network = network.eval()

    def check(written: Path) -> float:
        session, least = open_session(written), 1.0
        for seed in range(_IMAGES):
            inputs = example(seed)
            with torch.inference_mode():
                wanted = network(*map(torch.from_numpy, inputs.values()))
            wanted = wanted if isinstance(wanted, tuple) else (wanted,)
            for ours, theirs in zip(session.run(None, inputs), wanted):
                least = min(least, _least_cosine(ours, theirs.numpy()))
        return _checked(least)

    lengths = {name: {0: torch.export.Dim.DYNAMIC} if name in any_number else {} for name in example(0)}
    return _write(network, example(0), path, check, output_names=list(outputs), dynamic_shapes=tuple(lengths.values()))


def _write(network: Any, inputs: dict[str, np.ndarray], path: Path, check: Callable[[Path], float],
           **options: Any) -> float:
    """Write a file under its name if what it holds passes.

    :param check: of the written file, the least cosine; raises if that is too small
    :param options: of the exporter
    """
    torch = import_extra('torch')
    for module in ('onnx', 'onnxscript', 'onnxruntime'):
        import_extra(module)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    with tempfile.TemporaryDirectory(prefix=f'.{path.name}.', dir=path.parent) as folder:
        written = Path(folder) / path.name  # under its own name, which an ONNX file with weights beside it holds
        try:
            with _quiet(), torch.no_grad():
                torch.onnx.export(network, tuple(map(torch.from_numpy, inputs.values())), str(written), dynamo=True,
                                  external_data=weights > _MOST_BYTES, input_names=list(inputs), verbose=False,
                                  **options)
        except Exception as error:  # the exporter has kinds of its own, and raises those of the network
            raise SegvladError(f'the network cannot be exported ({said_by(error, 200)})') from error
        cosine = check(written)
        beside = written.with_name(written.name + DATA_SUFFIX)
        if beside.is_file():
            take_place(beside, path.with_name(beside.name))
        else:
            path.with_name(beside.name).unlink(missing_ok=True)  # of another network, which this file had before
        take_place(written, path)
    return cosine


def check_parity(model: Model, network: Any, size: tuple[int, int]) -> float:
    """Compare a model with the network that it was exported from, on seeded images.

    :return: the smallest cosine
    :raises SegvladError: NaN, another shape, or a cosine below :data:`MIN_COSINE`
    """
    torch = import_extra('torch')
    least = 1.0
    for seed in range(_IMAGES):
        image = _image(size, seed)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(image)).float().numpy()
        least = min(least, _least_cosine(model(image), wanted))
    return _checked(least)


def _least_cosine(found: np.ndarray, wanted: np.ndarray) -> float:
    if found.shape != wanted.shape:
        raise SegvladError(f'the exported model answers with shape {found.shape}, PyTorch with {wanted.shape}: '
                           'nothing is written')
    if not np.isfinite(found).all() or not np.isfinite(wanted).all():
        raise SegvladError('the exported model answers with NaN or infinite values: nothing is written')
    return float(_cosines(found, wanted).min())


def _checked(least: float) -> float:
    if least < MIN_COSINE:
        raise SegvladError(f'the exported model differs from PyTorch: cosine {least:.4f}, at least {MIN_COSINE} is '
                           'asked for; nothing is written')
    return least


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of all vectors, which stand along the last axis, or along the second one of a feature map."""
    if left.ndim == 4:
        left, right = np.moveaxis(left, 1, -1), np.moveaxis(right, 1, -1)
    left, right = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    cosines = (left * right).sum(axis=-1) / np.maximum(lengths, 1e-300)
    return np.where(lengths > 0, cosines, (left == right).all(axis=-1))


def _image(size: tuple[int, int], seed: int) -> np.ndarray:
    """(1, 3, height, width) float32, as normalised images are spread: noise on a slope."""
    width, height = size
    slope = np.linspace(-1.5, 1.5, width, dtype=np.float32) * (seed - 1)
    return slope + np.random.default_rng(seed).standard_normal((1, 3, height, width), np.float32)


def _first_output(network: Any) -> Any:
    """The network, with the first of its outputs where it has several."""
    torch = import_extra('torch')

    class FirstOutput(torch.nn.Module):
        """What a tuple begins with."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Any) -> Any:
            output = self.network(image)
            while isinstance(output, (tuple, list)):
                output = output[0]
            return output

    return FirstOutput()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter tells of its progress and of its own future."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)
