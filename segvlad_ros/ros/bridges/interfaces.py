"""Message definitions of other packages, imported when a bridge is configured, and what bridges read from messages."""
from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np

from segvlad_ros.ros.output.conversions import from_pose
from segvlad_ros.types import Pose, SegvladError


def interface(package: str, kind: str, name: str, install: str) -> Any:
    """A message or service class.

    :param kind: 'msg' or 'srv'
    :param install: how to get the package, for people
    :raises SegvladError: the package is not installed
    """
    try:
        return getattr(importlib.import_module(f'{package}.{kind}'), name)
    except ImportError as error:
        raise SegvladError(f'the ROS package {package} is missing: {install}, then source its workspace') from error


def apt(package: str) -> str:
    """The apt line of a released package."""
    distribution = os.environ.get('ROS_DISTRO', 'jazzy')
    return f'sudo apt install ros-{distribution}-{package.replace("_", "-")}'


def match_from_query(message: Any) -> Pose:
    """``query_pose_in_match`` of a LoopClosure or PlaceMatch with its covariance, None if that is unknown.

    :raises SegvladError: numbers that are no pose or no covariance
    """
    given = message.query_pose_in_match
    pose = from_pose(given.pose, '', given.covariance)
    if pose.covariance is not None and not np.isfinite(pose.covariance).all():
        raise SegvladError('a pose whose covariance is not finite')
    return pose


def copy_stamp(stamp: Any, target: Any) -> None:
    """Write a stamp into another one, to the nanosecond."""
    target.sec, target.nanosec = stamp.sec, stamp.nanosec
