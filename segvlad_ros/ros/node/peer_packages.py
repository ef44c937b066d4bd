"""Messages and services of packages that a robot need not have."""
from __future__ import annotations

import importlib
from typing import Any

from segvlad_ros.types import SegvladError


def interfaces(package: str, install: str, *names: str) -> list[Any]:
    """Message and service classes of another package.

    :param install: how to get the package, for people
    :param names: such as 'msg/PoseGraph'
    :raises SegvladError: the package is not installed
    """
    try:
        return [getattr(importlib.import_module(f'{package}.{kind}'), name)
                for kind, name in (path.split('/') for path in names)]
    except ImportError as error:
        raise SegvladError(f'the ROS package {package} is missing: {install}, then source its workspace') from error
