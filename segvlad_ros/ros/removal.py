"""Which keyframes of a map a removal means."""
from __future__ import annotations

from typing import Any

import numpy as np

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.ros.conversions import from_keyframe_id
from segvlad_ros.types import KeyframeId, SegvladError


def keyframes_to_remove(request: Any, place_map: PlaceMap) -> list[KeyframeId]:
    """The keyframes that fulfil every condition of a request.

    :param request: RemoveKeyframes.Request
    :raises SegvladError: it has no condition, or asks for a radius in another frame than the poses'
    """
    if not (request.session_id or request.keyframes or request.radius > 0):
        raise SegvladError('give a session_id, keyframes or a radius: the whole map is not removed')
    found = place_map.ids()
    if request.session_id:
        found = [identity for identity in found if identity.session_id == request.session_id]
    if request.keyframes:
        wanted = {_key(from_keyframe_id(message)) for message in request.keyframes}
        found = [identity for identity in found if _key(identity) in wanted]
    if request.radius > 0:
        found = _within(place_map, found, request.center, request.radius)
    return found


def _key(identity: KeyframeId) -> tuple[int, str, int]:
    return identity.robot_id, identity.session_id, identity.index


def _within(place_map: PlaceMap, identities: list[KeyframeId], center: Any, radius: float) -> list[KeyframeId]:
    """Those whose pose in the frame of the centre, measured or optimised, lies within the radius."""
    found, frames, position = [], set(), center.pose.position
    for identity in identities:
        keyframe = place_map.keyframe(identity)
        poses = [keyframe.pose, keyframe.optimized and keyframe.optimized.map_from_base]
        for pose in poses:
            if pose is None:
                continue
            frames.add(pose.frame)
            distance = np.linalg.norm(pose.translation - (position.x, position.y, position.z))
            if pose.frame == center.header.frame_id and distance <= radius:
                found.append(identity)
                break
    if frames and center.header.frame_id not in frames:
        raise SegvladError(f'the poses are in {" and ".join(sorted(map(repr, frames)))}: give the center in one of '
                           'these frames')
    return found
