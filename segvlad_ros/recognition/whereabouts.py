"""Where the robot can be, by odometry: from where the map was made, or from where it was last recognised."""
from __future__ import annotations

import math

import numpy as np

from segvlad_ros.recognition.odometry import Motion, OdometryPaths
from segvlad_ros.recognition.temporal import Sighting, along
from segvlad_ros.types import KeyframeId

# Odometry that has drifted further than this rules little out, and what it allows is no support.
_KNOWN_POSITION_M = 4.0
_KNOWN_ANGLE_RAD = math.radians(30)


class Whereabouts:
    """Says how a query should lie to a keyframe of the map, as far as odometry knows.

    Two ways lead from one to the other: the one that the robot drove between them, if both are of one session, and
    the one by way of its last accepted match. The one that is known better counts.
    """

    def __init__(self, paths: OdometryPaths) -> None:
        self._paths = paths
        self._accepted: dict[tuple[int, str], Sighting] = {}

    def accept(self, sighting: Sighting) -> None:
        """Take note of an accepted match."""
        self._accepted[sighting.match.robot_id, sighting.match.session_id] = sighting

    def withdraw(self, query: KeyframeId, match: KeyframeId) -> None:
        """Forget a match that turned out to be wrong."""
        self._accepted = {session: sighting for session, sighting in self._accepted.items()
                          if (sighting.query, sighting.match) != (query, match)}

    def forget(self) -> None:
        """The robot may be anywhere."""
        self._accepted.clear()

    def expected(self, query: KeyframeId, match: KeyframeId) -> Motion | None:
        """``match_from_query``, base frames; None where odometry says nothing."""
        ways = [self._paths.between(match, query)]
        before = self._accepted.get((match.robot_id, match.session_id))
        if before is not None:
            ways.append(along(self._paths, before, query, match))
        return min((way for way in ways if way is not None), key=lambda way: way.position_m, default=None)

    def possible(self, query: KeyframeId, match: KeyframeId, motion: Motion) -> bool | None:
        """Whether a query can lie so to a keyframe of the map.

        :return: True where odometry expects it, False where odometry rules it out, None where it says nothing of use
        """
        expected = self.expected(query, match)
        if expected is None:
            return None
        if not expected.agrees(motion):
            return False
        return True if expected.position_m <= _KNOWN_POSITION_M and expected.angle_rad <= _KNOWN_ANGLE_RAD else None


def explain(expected: Motion, motion: Motion) -> str:
    """The contradiction between two motions, for people."""
    distance, angle = expected.difference(motion)
    return (f'by odometry the robot is {distance:.1f} m and {np.degrees(angle):.0f} degrees from there, give or take '
            f'{expected.position_m:.1f} m and {np.degrees(expected.angle_rad):.0f} degrees')
