"""An installation prefix of this checkout, as colcon makes one: for `ros2 launch`, which looks nodes and files up."""
from __future__ import annotations

import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NODES = sorted(path.stem for path in (ROOT / 'segvlad_ros' / 'nodes').glob('[a-z]*.py'))


def make_prefix(folder: Path) -> Path:
    """Make the prefix; to be put first in AMENT_PREFIX_PATH."""
    index, share, lib = (folder / part for part in (
        'share/ament_index/resource_index/packages', 'share/segvlad_ros', 'lib/segvlad_ros'))
    for made in (index, share, lib):
        made.mkdir(parents=True)
    (index / 'segvlad_ros').touch()
    for name in ('launch', 'config', 'package.xml'):
        (share / name).symlink_to(ROOT / name)
    for name in NODES:
        add_executable(lib / name, f'exec {shlex.quote(sys.executable)} -m segvlad_ros.nodes.{name} "$@"')
    return folder


def add_executable(path: Path, line: str) -> None:
    """Write a shell script of one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{line}\n')
    path.chmod(0o755)
