"""Which files make up a bag: as ``metadata.yaml`` says, and where it is missing, damaged or wrong, as the folder shows.

Nothing else is taken from ``metadata.yaml``: topics, types and counts are in the files themselves. So its version does
not matter, nor whether the recorder lived to write it.
"""
from __future__ import annotations

import re
from pathlib import Path, PurePath

import yaml

from segvlad_ros.io import bag_mcap, bag_sqlite, mcap_records, zstd
from segvlad_ros.io.bag_storage import Storage, warn_once
from segvlad_ros.types import SegvladError

_BAG_FILE = re.compile(r'\.(mcap|db3)(\.zstd?)?$')
_PART = re.compile(r'^(.*)_(\d{1,5})$')  # a longer number is a date
_PAUSE_S = 60.0  # between two parts of one recording: each begins when the one before is full


def open_files(path: Path) -> list[Storage]:
    """Open the files of a bag, in their order. Parts that cannot be read are passed over (logged) if others can.

    :param path: folder of the bag, its ``metadata.yaml``, or one file
    :raises SegvladError: nothing there or nothing to read, or more than one recording
    """
    files = _find_files(path)
    opened: list[tuple[Path, Storage]] = []
    problems: list[SegvladError] = []
    for file in files:
        try:
            opened.append((file, _open_file(file)))
        except SegvladError as problem:
            problems.append(problem)
            if len(files) > 1:
                warn_once(f'{problem}; the other parts of the recording are read')
    if not opened:
        raise problems[0]
    if path.is_dir() and not (path / 'metadata.yaml').exists():
        _check_pauses(path, opened)
    return [storage for _, storage in opened]


def _find_files(path: Path) -> list[Path]:
    """The files of a bag, in their order."""
    if path.name == 'metadata.yaml' and path.is_file():
        path = path.parent
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise SegvladError(f'{path}: {"is neither file nor folder" if path.exists() else "no such bag"}')
    there = _unpacked_first([file for file in path.iterdir() if _BAG_FILE.search(file.name)
                             and not file.name.startswith('.') and file.is_file()])
    named = _named(path)
    return _as_named(path, named, there) if named else _as_found(path, there)


def _check_pauses(folder: Path, parts: list[tuple[Path, Storage]]) -> None:
    """Numbered files may be several runs as well as parts of one: parts follow each other without a pause."""
    for (file, storage), (next_file, next_storage) in zip(parts, parts[1:]):
        pause_s = (next_storage.start_ns - storage.end_ns) * 1e-9
        in_a_row = _in_order(file)[1] + 1 == _in_order(next_file)[1]
        if storage.count and next_storage.count and (pause_s < -_PAUSE_S or in_a_row and pause_s > _PAUSE_S):
            for _, opened in parts:
                opened.close()
            raise SegvladError(f'{folder}: holds several recordings and no metadata.yaml ({file.name} and '
                               f'{next_file.name} do not follow each other); give one of them')


def _open_file(path: Path) -> Storage:
    """Open one file of a bag, by what it begins with, whatever its name."""
    with path.open('rb') as file:
        begin = file.read(16)
    if not begin:
        raise SegvladError(f'{path}: is empty (0 bytes); the recorder was stopped before it wrote to it, or the copy '
                           'failed')
    if begin.startswith(zstd.MAGIC):
        return _open_file(zstd.unpacked(path))
    if begin.startswith(mcap_records.MAGIC):
        return bag_mcap.McapFile(path)
    if begin.startswith(bag_sqlite.MAGIC):
        return bag_sqlite.SqliteFile(path)
    if begin.startswith(b'#ROSBAG V') or path.suffix == '.bag':
        raise SegvladError(f'{path}: is a ROS 1 bag; convert it: rosbags-convert --src {path} --dst {path.stem}')
    if not begin.strip(b'\0'):
        raise SegvladError(f'{path}: begins with zeros, so nothing of it was saved; copy it anew from the robot')
    raise SegvladError(f'{path}: is not a bag; give a rosbag2 folder, or a .mcap or .db3 file')


def _unpacked_first(files: list[Path]) -> list[Path]:
    """Leave out packed files that lie beside their original: the recorder removes it last."""
    names = {file.name for file in files}
    return sorted((file for file in files if file.suffix in ('.mcap', '.db3') or file.stem not in names),
                  key=_in_order)


def _in_order(file: Path) -> tuple:
    """Parts by their number: 10 comes after 9."""
    stem = _BAG_FILE.sub('', file.name)
    part = _PART.match(stem)
    return (part[1], int(part[2]), file.name) if part else (stem, -1, file.name)


def _named(folder: Path) -> list[str]:
    """The files that ``metadata.yaml`` names; none (said) where it cannot tell."""
    metadata = folder / 'metadata.yaml'
    if not metadata.exists():
        return []
    try:
        names = yaml.safe_load(metadata.read_bytes())['rosbag2_bagfile_information']['relative_file_paths']
        if not isinstance(names, list):
            raise TypeError('no list of files')
        return [PurePath(name).name for name in names]
    except OSError as error:
        cause = error.strerror
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, ValueError, RecursionError) as error:
        cause = 'it is empty' if not metadata.stat().st_size else f'damaged, {type(error).__name__}'
    warn_once(f'{metadata} cannot be read ({cause}); the files beside it are taken')
    return []


def _as_named(folder: Path, named: list[str], there: list[Path]) -> list[Path]:
    """The files that ``metadata.yaml`` names, and what stands in for those that are missing."""
    by_name = {file.name: file for file in there}
    files: list[Path] = []
    missing: list[str] = []
    for name in named:
        names = (name, f'{name}.zstd', f'{name}.zst', name.removesuffix('.zstd').removesuffix('.zst'))
        same = next((n for n in names if n in by_name), None)
        if same is None:
            missing.append(name)
        else:
            files.append(by_name.pop(same))
    if not missing:
        return files
    others = list(by_name.values())
    text = ', '.join(missing)
    if not files and not others:
        raise SegvladError(f'{folder}: metadata.yaml names {text}, and the folder has no bag file (.mcap, .db3); copy '
                           f'{"it" if len(missing) == 1 else "them"} there')
    if len(others) == len(missing) and (len(others) == 1 or _one_recording(others)):
        warn_once(f'{folder}: metadata.yaml names {text}, which {_is(missing)} not there; '
                  f'{", ".join(file.name for file in others)} {_is(others)} taken instead')
        return sorted([*files, *others], key=_in_order)
    if not files:
        raise SegvladError(f'{folder}: metadata.yaml names {text}, which {_is(missing)} not there; give one of the '
                           f'files that are: {", ".join(file.name for file in others)}')
    warn_once(f'{folder}: {text} {_is(missing)} missing, {len(missing)} of the {len(named)} parts of this recording; '
              f'only {", ".join(file.name for file in files)} {_is(files)} read')
    return files


def _as_found(folder: Path, there: list[Path]) -> list[Path]:
    """The files of a folder that has no usable ``metadata.yaml``."""
    if not there:
        bags = sorted(inner.parent.name for inner in folder.glob('*/metadata.yaml'))
        advice = 'give the folder of a bag, or a .mcap or .db3 file'
        if bags:
            advice = f'but bags are in it; give one of them: {", ".join(bags[:5])}{" ..." if len(bags) > 5 else ""}'
        raise SegvladError(f'{folder}: is not a bag: there is no bag file (.mcap, .db3) in it; {advice}')
    if len(there) > 1 and not _one_recording(there):
        raise SegvladError(f'{folder}: holds several recordings and no metadata.yaml; give one of its files: '
                           f'{", ".join(file.name for file in there)}')
    numbers = [_in_order(file)[1] for file in there]
    if len(there) > 1 and (gaps := sorted(set(range(numbers[-1] + 1)) - set(numbers))):
        warn_once(f'{folder}: of the parts _0 to _{numbers[-1]} of this recording, {", ".join(f"_{n}" for n in gaps)} '
                  f'{_is(gaps)} missing; the others are read')
    return there


def _one_recording(files: list[Path]) -> bool:
    """Whether files are the parts of one recording: the same name, and different numbers behind it."""
    keys = [_in_order(file)[:2] for file in files]
    return len({name for name, _ in keys}) == 1 and len(set(keys)) == len(keys) and keys[0][1] >= 0


def _is(things: list) -> str:
    return 'is' if len(things) == 1 else 'are'
