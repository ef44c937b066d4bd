"""nav_msgs/Path as the bytes that go over the wire, with its poses as arrays.

A path has a pose for every node of a drive and comes every second. As Python objects 10,000 poses take 0.4 s to make,
and as long to read; as one array they take milliseconds. CDR puts what is fixed in size one behind the other, so that
poses whose frames have names of one length are the rows of a table.
"""
from __future__ import annotations

import numpy as np
from nav_msgs.msg import Path
from rclpy.serialization import deserialize_message

_LITTLE_ENDIAN = b'\x00\x01\x00\x00'
_HEADER = 12  # bytes of a stamp and of the length of the name behind it
_POSE = 56  # bytes of 7 float64, which begin at a multiple of 8


def path_bytes(frame: str, stamps: np.ndarray, poses: np.ndarray) -> bytes:
    """A path for ``Publisher.publish``, with the newest stamp in its header.

    :param stamps: (n,) int64, nanoseconds, n at least 1
    :param poses: (n, 7) float64, translation and quaternion x y z w
    """
    name = frame.encode() + b'\0'
    begin = _HEADER + len(name)
    begin += -begin % 4
    rows = np.zeros(len(stamps), _row(len(name)))
    rows['seconds'], rows['nanoseconds'] = np.divmod(stamps, 10**9)
    rows['length'], rows['frame'], rows['pose'] = len(name), name, poses
    head = rows[-1:].tobytes()[:_HEADER + len(name)].ljust(begin, b'\0') + np.uint32(len(rows)).tobytes()
    first = rows[0].tobytes()
    padding = bytes(-(len(head) + _HEADER + len(name)) % 8)
    return b''.join([_LITTLE_ENDIAN, head, first[:_HEADER + len(name)], padding, first[-_POSE:], rows[1:].tobytes()])


def path_arrays(data: bytes) -> tuple[str, np.ndarray, np.ndarray]:
    """The frame, the stamps (n,) int64 nanoseconds and the poses (n, 7) float64 of a path, as they are.

    :param data: what a subscription with ``raw=True`` receives
    """
    fast = _table(data)
    if fast is not None:
        return fast
    path = deserialize_message(data, Path)
    stamps = [pose.header.stamp.sec * 10**9 + pose.header.stamp.nanosec for pose in path.poses]
    poses = [(place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w) for place, turn in (
        (stamped.pose.position, stamped.pose.orientation) for stamped in path.poses)]
    return path.header.frame_id, np.array(stamps, np.int64), np.array(poses, np.float64).reshape(-1, 7)


def _table(data: bytes) -> tuple[str, np.ndarray, np.ndarray] | None:
    """A path whose poses have frames with names of one length; None of any other."""
    body = memoryview(data)[len(_LITTLE_ENDIAN):]
    if bytes(data[:2]) != _LITTLE_ENDIAN[:2] or len(body) < _HEADER:
        return None
    length = int.from_bytes(body[8:_HEADER], 'little')
    frame = bytes(body[_HEADER:_HEADER + length])
    begin = _HEADER + length
    begin += -begin % 4 + 4  # of the first pose
    if not frame.endswith(b'\0') or len(body) < begin + _HEADER:
        return None
    count = int.from_bytes(body[begin - 4:begin], 'little')
    length = int.from_bytes(body[begin + 8:begin + _HEADER], 'little')
    row = _row(length)
    after = begin + _HEADER + length
    after += -after % 8 + _POSE  # of the first pose, which may begin at a multiple of 4 only
    if not 1 <= length <= len(body) or len(body) < after or (len(body) - after) != (count - 1) * row.itemsize:
        return None
    first = np.frombuffer(bytes(body[begin:begin + _HEADER + length]).ljust(row.itemsize - _POSE, b'\0')
                          + bytes(body[after - _POSE:after]), row)
    rows = np.concatenate([first, np.frombuffer(body[after:], row)])
    if (rows['length'] != length).any():
        return None
    stamps = rows['seconds'].astype(np.int64) * 10**9 + rows['nanoseconds']
    return frame[:-1].decode(errors='replace'), stamps, rows['pose'].copy()


def _row(length: int) -> np.dtype:
    """A pose that begins at a multiple of 8, ``length`` being that of its frame's name, the zero behind it included."""
    return np.dtype([('seconds', '<i4'), ('nanoseconds', '<u4'), ('length', '<u4'), ('frame', f'S{length}'),
                     ('padding', f'V{-(_HEADER + length) % 8}'), ('pose', '<f8', 7)])
