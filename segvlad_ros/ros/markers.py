"""What RViz shows of a map and its matches: keyframes as dots, accepted matches green, the candidate yellow."""
from __future__ import annotations

from collections.abc import Iterable

from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from segvlad_ros.ros.conversions import to_time
from segvlad_ros.types import Pose

Link = tuple[Pose, Pose]

DOT_M, LINE_M = 0.15, 0.05
BLUE = ColorRGBA(r=0.2, g=0.5, b=1.0, a=1.0)
GREEN = ColorRGBA(r=0.1, g=0.8, b=0.2, a=1.0)
YELLOW = ColorRGBA(r=1.0, g=0.8, b=0.0, a=1.0)


def keyframe_markers(poses: Iterable[Pose | None], stamp_ns: int) -> list[Marker]:
    """One list of dots for each frame that poses are in."""
    frames: dict[str, list[Point]] = {}
    for pose in poses:
        if pose is not None and pose.frame:
            frames.setdefault(pose.frame, []).append(_point(pose))
    return [_marker(f'keyframes in {frame}', Marker.SPHERE_LIST, points, frame=frame, stamp_ns=stamp_ns,
                    size_m=DOT_M, colour=BLUE)
            for frame, points in frames.items()]


def match_markers(accepted: Iterable[Link], candidate: Link | None, stamp_ns: int) -> list[Marker]:
    """Lines from the query's pose to the match's; poses in two different frames have no line.

    :param candidate: the best place of the last query where it was not accepted
    """
    markers = []
    for name, links, colour in (('accepted', accepted, GREEN), ('candidate', [candidate] if candidate else [], YELLOW)):
        frames: dict[str, list[Point]] = {}
        for query, match in links:
            if query.frame and query.frame == match.frame:
                frames.setdefault(query.frame, []).extend((_point(query), _point(match)))
        markers += [_marker(f'{name} in {frame}', Marker.LINE_LIST, points, frame=frame, stamp_ns=stamp_ns,
                            size_m=LINE_M, colour=colour)
                    for frame, points in frames.items()]
    return markers


def marker_array(markers: list[Marker]) -> MarkerArray:
    """The message: what was shown before goes."""
    return MarkerArray(markers=[Marker(action=Marker.DELETEALL), *markers])


def _point(pose: Pose) -> Point:
    x, y, z = map(float, pose.translation)
    return Point(x=x, y=y, z=z)


def _marker(namespace: str, kind: int, points: list[Point], *, frame: str, stamp_ns: int, size_m: float,
            colour: ColorRGBA) -> Marker:
    marker = Marker(ns=namespace, type=kind, action=Marker.ADD, points=points, color=colour)
    marker.header.frame_id, marker.header.stamp = frame, to_time(stamp_ns)
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = size_m
    return marker
