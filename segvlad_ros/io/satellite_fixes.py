"""Positions by satellite: the NavSatFix messages of a bag, and metres east and north of one of them."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segvlad_ros.io.bags import NAV_SAT_FIX, bag_info, open_bag
from segvlad_ros.io.stamps import stamp_ns
from segvlad_ros.types import SegvladError

# WGS 84 (NIMA TR8350.2, table 3.1): semi-major axis in metres, flattening.
_AXIS_M, _FLATTENING = 6378137.0, 1 / 298.257223563
_NO_FIX = -1
_COVARIANCE_UNKNOWN = 0


@dataclass(frozen=True)
class SatelliteFixes:
    """Fixes of one receiver, by header stamp.

    :ivar stamps: (n,) int64 nanoseconds, ascending
    :ivar degrees: (n, 2) float64, latitude and longitude, WGS 84
    :ivar sigma_m: (n,) float64, standard deviation of the horizontal position that the receiver claims: of the axis in
        which it is larger; 0 where it claims nothing
    """

    stamps: np.ndarray
    degrees: np.ndarray
    sigma_m: np.ndarray

    def __len__(self) -> int:
        return len(self.stamps)


def read_fixes(path: str | Path, topic: str) -> SatelliteFixes:
    """All fixes of a NavSatFix topic; messages without a fix, with stamp 0 or impossible numbers are left out.

    :raises SegvladError: no such topic
    """
    known = [each.name for each in bag_info(path).topics if each.msgtype == NAV_SAT_FIX]
    if topic not in known:
        raise SegvladError(f'{path}: has no NavSatFix on {topic!r}; topics with it: {", ".join(known) or "none"}')
    fixes: dict[int, tuple[float, float, float]] = {}
    with open_bag(path) as bag:
        for message in bag.messages({topic}):
            fields = bag.decode(message)
            if fields is None or stamp_ns(fields) <= 0 or fields.status.status <= _NO_FIX:
                continue
            if abs(fields.latitude) <= 90 and abs(fields.longitude) <= 360:  # NaN is not
                fixes[stamp_ns(fields)] = fields.latitude, fields.longitude, _sigma(fields)
    stamps = sorted(fixes)
    table = np.array([fixes[stamp] for stamp in stamps]).reshape(-1, 3)
    return SatelliteFixes(np.array(stamps, np.int64), table[:, :2], table[:, 2])


def _sigma(fields) -> float:
    if fields.position_covariance_type == _COVARIANCE_UNKNOWN:
        return 0.0
    variance = max(fields.position_covariance[0], fields.position_covariance[4])
    return float(np.sqrt(variance)) if variance > 0 else 0.0


def east_north(degrees: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Metres east and north of an origin, on the plane that touches the ellipsoid there.

    Geodetic to earth-centred to local coordinates as in J. Sanz Subirana et al., "GNSS Data Processing", ESA TM-23/1
    (2013), B.1 and B.2. Heights count as 0: at a height of 1000 m a way is some 0.02 % longer than this says.

    :param degrees: (n, 2) float64, latitude and longitude
    :param origin: (2,) float64, likewise
    :return: (n, 2) float64
    """
    latitude, longitude = np.radians(origin)
    apart = _earth_centred(degrees) - _earth_centred(origin)
    east = np.array([-np.sin(longitude), np.cos(longitude), 0.0])
    north = np.array([-np.sin(latitude) * np.cos(longitude), -np.sin(latitude) * np.sin(longitude), np.cos(latitude)])
    return apart @ np.column_stack([east, north])


def _earth_centred(degrees: np.ndarray) -> np.ndarray:
    """(..., 3) metres of (..., 2) degrees at height 0."""
    latitude, longitude = np.moveaxis(np.radians(degrees), -1, 0)
    eccentricity2 = _FLATTENING * (2 - _FLATTENING)
    normal = _AXIS_M / np.sqrt(1 - eccentricity2 * np.sin(latitude) ** 2)
    return np.stack([normal * np.cos(latitude) * np.cos(longitude), normal * np.cos(latitude) * np.sin(longitude),
                     (1 - eccentricity2) * normal * np.sin(latitude)], -1)
