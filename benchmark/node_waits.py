"""What a robot waits for beside its images: a snapshot of a large map, and a long path of a SLAM back-end.

    python benchmark/node_waits.py [--keyframes 600] [--poses 5000]      writes results/node_waits.{json,md}

*snapshot*: keyframes of 150 segments of 512 values are appended as fast as they go while the map is saved; what counts
is the longest time that one of them waits. *path*: an optimized_path of one pose a keyframe, all of which have moved;
the first step, after which images have their turn.
"""
from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tables import command_line, heading, table, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.ros.input.optimized_path import OptimizedPath
from segvlad_ros.ros.output.path_bytes import path_bytes
from segvlad_ros.types import Keyframe, KeyframeId, Keypoints, PlaceDescription

SEGMENTS, DIMENSION, POINTS = 150, 512, 500
SECOND_NS = 10 ** 9


def keyframe(index: int) -> Keyframe:
    """A made keyframe of the usual size."""
    rng = np.random.default_rng(index)
    rows = rng.normal(size=(SEGMENTS, DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    keypoints = Keypoints(rng.uniform(0, 480, (POINTS, 2)).astype(np.float32),
                          rng.integers(0, 255, (POINTS, 128)).astype(np.uint8), np.full(POINTS, np.nan, np.float32))
    place = PlaceDescription(rows, np.tile(np.array([0, 0, 64, 48], np.int32), (SEGMENTS, 1)),
                             np.full(SEGMENTS, 3072, np.int64), keypoints=keypoints)
    return Keyframe(KeyframeId(0, 'run', index, index * SECOND_NS), place, thumbnail=bytes(8000))


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def appending(place_map: PlaceMap, index: int) -> float:
    """Seconds of one append."""
    made = keyframe(index)
    return seconds(lambda: place_map.append(made))


def snapshot(count: int, folder: Path) -> dict[str, float]:
    """Appending while the map is saved."""
    with PlaceMap.create(folder / 'map.segvlad', {'preset': 'made'}, DIMENSION) as place_map:
        for index in range(1, count + 1):
            place_map.append(keyframe(index))
        alone = [appending(place_map, index) for index in range(count + 1, count + 51)]
        taken: list[float] = []
        saver = threading.Thread(target=lambda: taken.append(seconds(
            lambda: place_map.save_snapshot(folder / 'copy.segvlad', overwrite=True))))
        saver.start()
        beside, index = [], count + 51
        while saver.is_alive():
            beside.append(appending(place_map, index))
            index += 1
        saver.join()
        return {'keyframes': count, 'snapshot_s': taken[0], 'append_alone_ms_p50': float(np.median(alone)) * 1e3,
                'append_beside_ms_p50': float(np.median(beside)) * 1e3, 'append_beside_ms_max': max(beside) * 1e3}


def path(count: int) -> dict[str, float]:
    """One path after another."""
    stamps, poses = np.arange(1, count + 1) * SECOND_NS, np.zeros((count, 7))
    poses[:, 0], poses[:, 6] = np.arange(count), 1.0
    keyframes = [KeyframeId(0, 'run', number, (number + 1) * SECOND_NS + SECOND_NS // 3) for number in range(count)]
    follower, taken = OptimizedPath(lambda: keyframes), []
    for _ in range(5):
        message = path_bytes('map', stamps, poses)
        taken.append(seconds(lambda: (follower.take(message), follower.moved())))  # noqa: B023 - called at once
        poses[:, 0] += 0.1
    return {'poses': count, 'path_ms_p50': float(np.median(taken)) * 1e3}


def main() -> None:
    """Measure and write."""
    parser = command_line(__doc__)
    parser.add_argument('--keyframes', type=int, default=600)
    parser.add_argument('--poses', type=int, default=5000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        numbers = {**snapshot(args.keyframes, Path(folder)), **path(args.poses)}
    where = machine('cpu')
    lines = [*heading('node_waits', 'node_waits.py', where),
             *table(('figure', 'value'), ((name, f'{value:.4g}') for name, value in numbers.items()))]
    write_results('node_waits', where, numbers, '\n'.join(lines) + '\n')
    print(numbers)


if __name__ == '__main__':
    main()
