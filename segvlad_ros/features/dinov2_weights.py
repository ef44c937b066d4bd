"""Reading DINOv2 parameters and finding out which architecture they belong to (segvlad-spec.md 3, 14)."""
from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segvlad_ros.io.extras import import_extra
from segvlad_ros.io.unpickling import CONTAINERS, NUMPY, Holder, load_pickle
from segvlad_ros.text import said_by
from segvlad_ros.types import SegvladError

# Dimension and number of blocks of the official models.
MODELS = {'vits14': (384, 12), 'vitb14': (768, 12), 'vitl14': (1024, 24), 'vitg14': (1536, 40)}

# What Lightning checkpoints name beside tensors. None of it is imported: see segvlad_ros.io.unpickling.
_STORAGES = {'torch.FloatStorage': 'float32', 'torch.HalfStorage': 'float16', 'torch.BFloat16Storage': 'bfloat16'}
_LIGHTNING = ('pytorch_lightning', 'lightning.pytorch')
_CHECKPOINT_NAMES = NUMPY | CONTAINERS | {
    *_STORAGES, 'torch.LongStorage', 'torch.IntStorage', 'torch.BoolStorage', 'torch.DoubleStorage',
    'torch._utils._rebuild_tensor_v2', 'torch.Size', 'torch.device',
    'argparse.Namespace', 'pathlib.PosixPath', 'lightning_fabric.utilities.data.AttributeDict',
    'lightning.fabric.utilities.data.AttributeDict', 'pytorch_lightning.utilities.parsing.AttributeDict',
    *(f'{package}.callbacks.{name}' for package in _LIGHTNING
      for name in ('model_checkpoint.ModelCheckpoint', 'early_stopping.EarlyStopping'))}
_MAX_PICKLE_BYTES = 64 << 20

# Lightning checkpoints keep the network under a name of their own in front of these.
_FIRST = 'patch_embed.proj.weight'


@dataclass(frozen=True)
class Architecture:
    """What the parameters say about the network.

    :ivar prefix: what stands in front of the official names
    :ivar dimension: D, width of a token
    :ivar hidden: width of the feed-forward layer, both halves of a SwiGLU together
    """

    prefix: str
    dimension: int
    depth: int
    hidden: int
    swiglu: bool

    def official_name(self, name: str) -> str:
        """The official name of a parameter of timm's block."""
        if self.swiglu:
            return name.replace('.mlp.fc1.', '.mlp.w12.').replace('.mlp.fc2.', '.mlp.w3.')
        return name


def load_weights(path: str | Path, model: str | None = None) -> Mapping[str, Any]:
    """Read an official ``.pth`` state dict or the state dict of a Lightning checkpoint.

    :param model: name in :data:`MODELS` that the weights must have; None for any
    :raises SegvladError: missing, truncated, or another network's file
    """
    state = _read(Path(path))
    try:
        found = architecture(state)
    except SegvladError as error:
        raise SegvladError(f'weights {path}: {error}') from None
    if model is not None and model not in MODELS:
        raise SegvladError(f'unknown DINOv2 model {model!r}: use one of {", ".join(MODELS)}')
    if model is not None and (found.dimension, found.depth) != MODELS[model]:
        raise SegvladError(f'weights {path}: {found.depth} blocks of {found.dimension} dimensions, {model} has '
                           f'{MODELS[model][1]} of {MODELS[model][0]}; give the weights of {model}')
    return state


def architecture(weights: Mapping[str, Any]) -> Architecture:
    """Find the network that parameters belong to; every parameter that will be needed is there with its shape.

    :raises SegvladError: they are not a DINOv2 network's without registers
    """
    prefixes = [name[:-len(_FIRST)] for name in weights if name.endswith(_FIRST)]
    if len(prefixes) != 1:
        raise SegvladError('not a DINOv2 network (no single patch embedding in it); give an official .pth file or a '
                           'checkpoint that contains one')
    prefix = prefixes[0]
    if prefix + 'register_tokens' in weights:
        raise SegvladError('a DINOv2 network with registers; give the one without')
    blocks = {int(match[1]) for name in weights
              if name.startswith(prefix) and (match := re.match(r'blocks\.(\d+)\.norm1\.weight$', name[len(prefix):]))}
    width = int(weights[prefix + _FIRST].shape[0])
    swiglu = f'{prefix}blocks.0.mlp.w12.weight' in weights
    feed_forward = weights.get(f'{prefix}blocks.0.mlp.{"w12" if swiglu else "fc1"}.weight')
    if not blocks or blocks != set(range(len(blocks))) or feed_forward is None:
        raise SegvladError('not a complete DINOv2 network (blocks are missing); get the file again')
    found = Architecture(prefix, width, len(blocks), int(feed_forward.shape[0]), swiglu)
    for name, shape in _expected_shapes(found).items():
        value = weights.get(prefix + name)
        if value is None or tuple(value.shape) != shape:
            have = 'missing' if value is None else f'of shape {tuple(value.shape)}'
            raise SegvladError(f'not a DINOv2 network: {name} is {have}, {shape} expected; give an official file')
    positions = weights.get(prefix + 'pos_embed')
    patches = positions.shape[1] - 1 if positions is not None and positions.ndim == 3 else 0
    if not patches or round(patches ** 0.5) ** 2 != patches:
        raise SegvladError('not a DINOv2 network (no square grid of position embeddings); give an official file')
    return found


def _expected_shapes(found: Architecture) -> dict[str, tuple[int, ...]]:
    width, hidden = found.dimension, found.hidden
    shapes: dict[str, tuple[int, ...]] = {
        'cls_token': (1, 1, width), 'patch_embed.proj.weight': (width, 3, 14, 14), 'patch_embed.proj.bias': (width,),
        'norm.weight': (width,), 'norm.bias': (width,)}
    up, down = ('w12', 'w3') if found.swiglu else ('fc1', 'fc2')
    inner = hidden // 2 if found.swiglu else hidden
    layers = {'norm1': (width,), 'norm2': (width,), 'attn.qkv': (3 * width, width), 'attn.proj': (width, width),
              f'mlp.{up}': (hidden, width), f'mlp.{down}': (width, inner)}
    for block in range(found.depth):
        for layer, shape in layers.items():
            shapes[f'blocks.{block}.{layer}.weight'] = shape
            shapes[f'blocks.{block}.{layer}.bias'] = shape[:1]
        shapes |= {f'blocks.{block}.{scale}.gamma': (width,) for scale in ('ls1', 'ls2')}
    return shapes


def _read(path: Path) -> Mapping[str, Any]:
    torch = import_extra('torch')
    if not path.is_file():
        raise SegvladError(f'weights {path}: no such file; get them with "segvlad weights fetch"')
    archive = zipfile.is_zipfile(path)
    try:
        # Mapped, blocks that are not needed never leave the disk.
        state = torch.load(path, map_location='cpu', weights_only=True, mmap=archive)
    except Exception as error:  # torch, pickle and zipfile each raise their own for a damaged file
        if archive and isinstance(error, pickle.UnpicklingError):
            return _read_checkpoint(path)
        raise SegvladError(f'weights {path}: truncated or not a PyTorch file ({said_by(error, 120)}); get it again '
                           'with "segvlad weights fetch" and check it with "segvlad weights verify"') from error
    if isinstance(state, Mapping) and isinstance(state.get('state_dict'), Mapping):
        state = state['state_dict']
    if not isinstance(state, Mapping):
        raise SegvladError(f'weights {path}: no parameters by name in it; give an official .pth file or a checkpoint')
    return state


def _read_checkpoint(path: Path) -> Mapping[str, Any]:
    """The state dict of a Lightning checkpoint, which also holds objects that ``torch.load`` refuses to read.

    The pickle goes through the restricted unpickler; tensors are read from the archive only where they are wanted.
    """
    with zipfile.ZipFile(path) as archive:
        pickled = next((member for member in archive.infolist() if member.filename.endswith('/data.pkl')), None)
        if pickled is None or pickled.file_size > _MAX_PICKLE_BYTES:
            raise SegvladError(f'weights {path}: not a checkpoint of PyTorch; get it again')
        try:
            content = load_pickle(archive.read(pickled), _CHECKPOINT_NAMES, persistent_load=tuple)
            state = content.get('state_dict') if isinstance(content, Mapping) else None
            if not isinstance(state, Mapping):
                raise SegvladError('no state_dict in it; give a Lightning checkpoint')
            folder = pickled.filename[:-len('data.pkl')] + 'data/'
            return {name: _stored_tensor(archive, folder, value) for name, value in state.items()
                    if isinstance(value, Holder) and value.arguments and value.arguments[0][1].type_name in _STORAGES}
        except SegvladError as error:
            raise SegvladError(f'weights {path}: {error}') from None
        except Exception as error:  # whatever a damaged file provokes
            raise SegvladError(f'weights {path}: a damaged checkpoint ({type(error).__name__}); '
                               'get it again') from error


def _stored_tensor(archive: zipfile.ZipFile, folder: str, rebuilt: Holder) -> Any:
    """The tensor that a pickle describes as (storage, offset, size, stride, ...)."""
    torch = import_extra('torch')
    (_, storage, key, *_), offset, size, stride, *_ = rebuilt.arguments
    values = torch.frombuffer(bytearray(archive.read(folder + key)), dtype=getattr(torch, _STORAGES[storage.type_name]))
    return torch.as_strided(values, size, stride, offset)
