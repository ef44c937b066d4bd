"""Networks in files that need no Python code of their authors: ONNX and TorchScript.

An ONNX file is data. A TorchScript file holds no pickles that Python reads, but it is a program, to be trusted like one
(SECURITY.md of PyTorch); two of its operators write and read files by name, and a file that calls them is refused.
"""
from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segvlad_ros.io.devices import TENSORRT, runtime_providers, torch_device
from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.paths import cache_folder
from segvlad_ros.io.weights import sha256_of
from segvlad_ros.text import said_by
from segvlad_ros.types import SegvladError

Model = Callable[[np.ndarray], np.ndarray]
"""A network with one input, (1, 3, height, width) float32; its output, or the first of several."""

DATA_SUFFIX = '.data'
"""Weights of an ONNX file that are too many for it lie beside it: ``model.onnx`` and ``model.onnx.data``."""

_FILE_OPERATORS = re.compile(r'\b(?:torch|ops\.aten)\.(save|from_file)\s*\(')
_MAX_CODE_BYTES = 64 << 20


def load_onnx(path: Path, device: str = 'cpu') -> Model:
    """An ONNX file on ONNX Runtime; parameters and errors as :func:`load_onnx_outputs`."""
    run = load_onnx_outputs(path, device)
    return lambda image: run(image)[0]


def load_onnx_outputs(path: Path, device: str = 'cpu') -> Callable[[np.ndarray], list[np.ndarray]]:
    """An ONNX file on ONNX Runtime, with all that it gives.

    :raises SegvladError: see :func:`open_session`, or not for one image
    """
    session = open_session(path, device)
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != 'tensor(float)':
        shapes = ', '.join(f'{entry.type}{entry.shape}' for entry in inputs)
        raise SegvladError(f'model {path} takes {shapes}; one input of float32, (1, 3, height, width), is expected')
    return lambda image: session.run(None, {inputs[0].name: image})


def load_onnx_function(path: Path, inputs: Sequence[str], device: str = 'cpu') -> Callable[..., np.ndarray]:
    """An ONNX file on ONNX Runtime that makes one array of several.

    :param inputs: names of the arrays, all float32
    :raises SegvladError: see :func:`open_session`, or with other inputs
    """
    session = open_session(path, device)
    names = [entry.name for entry in session.get_inputs()]
    if names != list(inputs):
        raise SegvladError(f'model {path} takes {", ".join(names)}; {", ".join(inputs)} are expected')
    return lambda *arrays: session.run(None, dict(zip(names, arrays)))[0]


def open_session(path: Path, device: str = 'cpu') -> Any:
    """An ONNX file as an ``onnxruntime.InferenceSession``.

    :param device: see :func:`segvlad_ros.io.devices.runtime_providers`; all but 'cpu' where onnxruntime-gpu is
        installed. TensorRT takes minutes to compile a network, and keeps that in ``~/.cache/segvlad_ros/tensorrt``
    :raises SegvladError: damaged, with weights in other files than ``PATH.data``, or no such device
    """
    runtime = import_extra('onnxruntime')
    if path.suffix != '.onnx':
        raise SegvladError(f'model {path}: an ONNX file is called .onnx')
    _check_weights(path)
    providers = runtime_providers(device)
    wanted, chosen = providers[0]
    if wanted not in runtime.get_available_providers():
        raise SegvladError(f'model {path}: this onnxruntime has no {wanted}; use device cpu, or install '
                           'onnxruntime-gpu')
    if wanted == TENSORRT:
        chosen |= _kept_engines(path, runtime.__version__)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')  # its threads wait without burning cores
    try:
        session = runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises kinds of its own
        raise SegvladError(f'model {path} cannot be loaded by ONNX Runtime ({said_by(error, 160)})') from error
    if wanted not in session.get_providers():  # it says so in its log, and goes on with the CPU
        raise SegvladError(f'model {path}: ONNX Runtime cannot use its {wanted}: see that CUDA and cuDNN (and '
                           'TensorRT) are those that this onnxruntime-gpu is built for, or use device cpu')
    return session


def _kept_engines(path: Path, version: str) -> dict[str, str]:
    """Options of TensorRT that keep what it compiles of a network, in a folder that is made.

    A folder for each file's content: TensorRT's provider tells networks apart by their structure, and would run one
    with the weights of another.
    """
    data = path.with_name(path.name + DATA_SUFFIX)
    content = '-'.join(sha256_of(file)[:16] for file in (path, data) if file.is_file())
    folder = cache_folder() / 'tensorrt' / f'{content}-{version}'
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SegvladError(f'{folder}, for what TensorRT compiles, cannot be made ({error.strerror}); set '
                           'XDG_CACHE_HOME to a folder that can be written') from error
    return {'trt_engine_cache_enable': '1', 'trt_engine_cache_path': str(folder)}


def load_torchscript(path: Path, device: str = 'cpu') -> Model:
    """A TorchScript file. It is a program: load only what you trust.

    :param device: see :func:`segvlad_ros.io.devices.torch_device`
    :raises SegvladError: damaged, no TorchScript, a program that reads or writes files, or no such device
    """
    torch, where = import_extra('torch'), torch_device(device)
    _check_script(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # deprecated, and still what many models are published as
            module = torch.jit.load(str(path), map_location=where).eval()
    except Exception as error:  # torch raises RuntimeError and others, whatever the bytes provoke
        raise SegvladError(f'model {path} cannot be loaded as TorchScript ({said_by(error, 160)})') from error

    def run(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            output = module(torch.from_numpy(image).to(where))
        while isinstance(output, (tuple, list)) and output:
            output = output[0]
        if not isinstance(output, torch.Tensor):
            raise SegvladError(f'model {path} answers with {type(output).__name__}, not with a tensor')
        return output.float().cpu().numpy()
    return run


def _check_weights(path: Path) -> None:
    """Refuse weights in other files than the one whose digest is known."""
    onnx = import_extra('onnx')
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError, and others
        raise SegvladError(f'model {path} is damaged or no ONNX file ({said_by(error, 120)})') from error
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        tensors = list(getattr(graph, 'initializer', ()))
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            tensors += [attribute.t, *attribute.tensors]
            graphs += [inner for inner in (attribute.g, *attribute.graphs) if inner.node]
        for tensor in tensors:
            places = {entry.value for entry in tensor.external_data if entry.key == 'location'}
            if not places <= {path.name + DATA_SUFFIX}:
                raise SegvladError(f'model {path} has weights in {min(places)}; save it as one file, or with its '
                                   f'weights in {path.name}{DATA_SUFFIX}')


def _check_script(path: Path) -> None:
    """Refuse what is no TorchScript, and programs that name operators on files, before any of it runs."""
    if not zipfile.is_zipfile(path):
        raise SegvladError(f'model {path} is not a TorchScript file')
    with zipfile.ZipFile(path) as archive:
        code = [member for member in archive.infolist() if '/code/' in member.filename
                and member.filename.endswith('.py')]
        if not code:
            raise SegvladError(f'model {path} holds no program: it is not a TorchScript file; a checkpoint of weights '
                               'alone needs its own code, see "segvlad export hub"')
        if sum(member.file_size for member in code) > _MAX_CODE_BYTES:
            raise SegvladError(f'model {path} holds too large a program')
        for member in code:
            found = _FILE_OPERATORS.search(archive.read(member).decode(errors='replace'))
            if found:
                raise SegvladError(f'model {path} calls {found[1]}, which reads or writes files: not loaded')
