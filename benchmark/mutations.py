"""Good data changed at random: bytes, lines of text, and fields of messages."""
from __future__ import annotations

import copy
from typing import Any

import numpy as np

NUMBERS = (0, 1, -1, 2, 255, 256, 65535, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 63 - 1, -2 ** 31, -2 ** 63)
REALS = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, float('nan'), float('inf'), float('-inf'))
TEXTS = ('', ' ', 'nan', '-inf', '1e999', '9' * 400, '\n', '\0', '../..', '/', '%s%n', 'ä\ud7ff\u202e', 'x' * 5000,
         '[' * 200, '{}', '- a', '&a *a', '!!python/object:os.system {}', '~', 'true', '0x7fffffff', ',,,', '"')
ENCODINGS = ('rgb8', 'bgr8', 'mono8', 'mono16', 'bgra8', '8UC1', '16UC1', '32FC1', '64FC4', 'bayer_rggb8', 'uyvy',
             'nv12', 'nv24', 'yuv422_yuy2', '', 'rgb', '8UC5', 'RGB8 ')


def mutated_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Bits and bytes that have changed, pieces that were lost, doubled, moved, or are zero, and what was cut off."""
    mutable = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        size = len(mutable)
        if not size:
            break
        # headers are short, and most of what can be wrong is in them
        at = int(rng.integers(size if rng.random() < 0.5 else min(size, 256)))
        length = int(min(rng.integers(1, 64), size - at))
        kind = rng.integers(8)
        if kind == 0:
            mutable[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            mutable[at:at + length] = rng.bytes(length)
        elif kind == 2:
            del mutable[at:at + length]
        elif kind == 3:
            mutable[at:at] = mutable[at:at + length]
        elif kind == 4:
            mutable[at:at + length] = bytes(length)
        elif kind == 5:
            mutable[at:at + length] = b'\xff' * length
        elif kind == 6:
            value = int(rng.choice(NUMBERS[:10])) & (2 ** 32 - 1)
            mutable[at:at + 4] = value.to_bytes(4, rng.choice(['little', 'big']))
        else:
            del mutable[at:]
    return bytes(mutable)


def mutated_text(data: bytes, rng: np.random.Generator) -> bytes:
    """Words and lines that have changed places, were lost, or say something else; now and then only bytes."""
    if rng.random() < 0.2:
        return mutated_bytes(data, rng)
    lines = data.decode().splitlines()
    for _ in range(rng.integers(1, 4)):
        if not lines:
            break
        at, other = rng.integers(len(lines), size=2)
        words, kind = lines[at].replace(',', ' , ').replace(':', ' : ').split(' '), rng.integers(5)
        if kind == 0:
            words[rng.integers(len(words))] = str(rng.choice(TEXTS))
            lines[at] = ' '.join(words)
        elif kind == 1:
            words[rng.integers(len(words))] = str(rng.choice([*NUMBERS, *map(repr, REALS)]))
            lines[at] = ' '.join(words)
        elif kind == 2:
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 3:
            del lines[at]
        else:
            lines.insert(at, lines[other])
    return '\n'.join(lines).encode('utf-8', 'surrogatepass')


def mutated_message(message: Any, rng: np.random.Generator) -> Any:
    """A message of which some fields have other values that their types allow."""
    message = copy.deepcopy(message)
    for _ in range(rng.integers(1, 4)):
        owner = message
        while True:
            name, kind = list(owner.get_fields_and_field_types().items())[
                rng.integers(len(owner.get_fields_and_field_types()))]
            value = getattr(owner, name)
            if isinstance(value, list) and value and hasattr(value[0], 'get_fields_and_field_types'):
                owner = value[rng.integers(len(value))]
            elif hasattr(value, 'get_fields_and_field_types'):
                owner = value
            else:
                break
        setattr(owner, name, _other_value(kind, value, rng))
    return message


def _other_value(kind: str, value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, str):
        return str(rng.choice([*ENCODINGS, *TEXTS]))
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return float(rng.choice(REALS))
    if isinstance(value, int):
        return _in_range(int(rng.choice(NUMBERS)), kind)
    if kind.startswith('sequence<uint8'):
        return type(value)('B', mutated_bytes(bytes(value), rng)) if hasattr(value, 'typecode') else list(
            mutated_bytes(bytes(value), rng))
    changed = copy.deepcopy(value)
    if len(changed) and rng.random() < 0.7:
        at = rng.integers(len(changed))
        changed[at] = rng.choice(REALS) if 'float' in kind or 'double' in kind else _in_range(
            int(rng.choice(NUMBERS)), kind.replace('sequence<', '').rstrip('>'))
        return changed
    return changed[:rng.integers(len(changed) + 1)] if kind.startswith('sequence') else changed


def _in_range(number: int, kind: str) -> int:
    signed = not kind.startswith('u') and kind not in ('octet', 'byte')
    bits = int(''.join(filter(str.isdigit, kind)) or 8)
    low, high = (-2 ** (bits - 1), 2 ** (bits - 1) - 1) if signed else (0, 2 ** bits - 1)
    return min(max(number, low), high)
