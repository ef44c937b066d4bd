"""What each step beside the search costs in a map of 100, 1,000 and 10,000 keyframes, process time.

    python benchmark/map_growth.py

A robot drives laps of 400 m, with a keyframe a metre; keyframes have few short segments, since the search is measured
by ``segvlad benchmark map``. The column "before" is of commit fca63ab, by the same steps.
"""
from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rclpy.serialization import serialize_message
from tables import RESULTS, command_line, heading, page, write_results
from visualization_msgs.msg import MarkerArray

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.mapping.places import Places
from segvlad_ros.pipeline.builders import build_recognizer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.recognition.voting import FeedbackWeights, vote_online
from segvlad_ros.ros.input.optimized_path import OptimizedPath
from segvlad_ros.ros.output.markers import KeyframeMarkers, MatchMarkers
from segvlad_ros.ros.output.path_bytes import path_arrays, path_bytes
from segvlad_ros.slam.pose_graph import FRAME, PoseGraph
from segvlad_ros.types import Candidate, Keyframe, KeyframeId, PlaceDescription, Pose, Recognition, Status

SIZES = (100, 1000, 10_000)
SEGMENTS, DIMENSION, LAP = 4, 8, 400
SECOND_NS = 10**9
BEFORE = 'map_growth_fca63ab'


def pose(number: int, frame: str = 'odom', aside: float = 0.0) -> Pose:
    """Where the robot is at a keyframe."""
    angle = 2 * np.pi * (number % LAP) / LAP
    turn = np.array([0, 0, np.sin(angle / 2 + np.pi / 4), np.cos(angle / 2 + np.pi / 4)])
    return Pose(np.array([64 * np.cos(angle) + aside, 64 * np.sin(angle), 0.0]), turn, frame)


def keyframe(number: int) -> Keyframe:
    """A keyframe of the drive."""
    rows = np.random.default_rng(number).standard_normal((SEGMENTS, DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    place = PlaceDescription(rows, np.zeros((SEGMENTS, 4), np.int32), np.ones(SEGMENTS, np.int64))
    return Keyframe(KeyframeId(0, 'drive', number + 1, (number + 1) * SECOND_NS), place, pose=pose(number))


def milliseconds(step: Callable[[], object], times: int = 10) -> float:
    """Process time of one step, the least of a few: the machine has other work."""
    step()
    taken = []
    for _ in range(times):
        begin = time.process_time()
        step()
        taken.append(time.process_time() - begin)
    return min(taken) * 1e3


def markers_of(*parts: KeyframeMarkers | MatchMarkers, whole: bool = False) -> bytes:
    """What goes out on ~/markers."""
    return serialize_message(MarkerArray(markers=[marker for part in parts for marker in part.markers(1, whole)]))


def path(count: int, aside: float) -> bytes:
    """A back-end's path with a node at each keyframe."""
    poses = [pose(number, 'map', aside) for number in range(count)]
    return path_bytes('map', np.arange(1, count + 1) * SECOND_NS,
                      np.array([[*each.translation, *each.quaternion] for each in poses]))


def marker_steps(count: int) -> dict[str, float]:
    """One more keyframe, and one more answer, for somebody who looks."""
    dots, matches = KeyframeMarkers(), MatchMarkers()
    answer = Recognition(Status.MATCHED, '', (Candidate(0, keyframe(0).id, 0.9, 0.1, 5),))
    for number in range(count):
        dots.place(keyframe(number).id, pose(number))
        matches.add(answer, pose(number), pose(number))
    whole = milliseconds(lambda: markers_of(dots, matches, whole=True), 3)
    numbers = iter(range(count, 2 * count))

    def one_more(*parts: KeyframeMarkers | MatchMarkers) -> None:
        number = next(numbers)
        dots.place(KeyframeId(0, 'drive', number + 1, 1), pose(number))
        matches.add(answer, pose(number), pose(number))
        markers_of(*parts)
    return {'markers of map_builder, a keyframe': milliseconds(lambda: one_more(dots)),
            'markers of localizer, an answer': milliseconds(lambda: one_more(dots, matches)),
            'all markers, once for each viewer': whole}


def path_steps(count: int, place_map: PlaceMap) -> dict[str, float]:
    """A path that comes every second, and what it moves, in steps between which images are handled."""
    still, bent = path(count, 0.5), path(count, 0.7)
    ids = place_map.ids()
    steps: dict[str, float] = {'optimized_path: to arrays': milliseconds(lambda: path_arrays(still))}
    follower = OptimizedPath(lambda: ids)
    follower.take(still)
    while follower.waiting:
        follower.moved()
    steps['optimized_path: nothing moved'] = milliseconds(lambda: follower.take(still))
    follower.take(bent)
    moved: list[dict] = []
    steps['optimized_path: a step of moving all'] = milliseconds(
        lambda: (follower.take(still if len(moved) % 2 else bent), moved.append(follower.moved())))
    steps['optimized_path: a step of storing all'] = milliseconds(lambda: place_map.update_poses(moved[0]))
    recognizer = build_recognizer(load_preset('classic'))
    for kept in place_map.keyframes():
        recognizer.add(kept)
    steps['optimized_path: a step in the searched map'] = milliseconds(lambda: recognizer.update_poses(moved[0]))
    return steps


def graph_steps(count: int) -> dict[str, float]:
    """A pose graph with as many nodes; without GTSAM there is none."""
    graph = PoseGraph()
    numbers = iter(range(10 * count))
    for number in range(count):
        graph.add_odometry((number + 1) * SECOND_NS, pose(next(numbers)))

    def publish() -> bytes:
        number = next(numbers)
        graph.add_odometry((number + 1) * SECOND_NS, pose(number))
        return path_bytes(FRAME, *graph.path())
    return {'~/path of pose_graph, while it grows': milliseconds(publish)}


def other_steps(count: int, place_map: PlaceMap) -> dict[str, float]:
    """Feedback, votes, places, what status asks for."""
    rng = np.random.default_rng(0)
    places = Places()
    for entry in range(count):
        places.found(entry)
    everywhere, points = np.arange(count), np.arange(count)[:, None] * 0.3
    owners = rng.integers(0, 100, (100, 200))
    similarities = np.sort(rng.random((100, 200), dtype=np.float32))[:, ::-1].copy()
    feedback, own = FeedbackWeights(), np.arange(count)
    for entry in range(0, count, 10):
        feedback.learn(keyframe(0).id, entry, False)

    def vote() -> None:
        votes = vote_online(similarities, owners, own, 0.3, feedback.weights(count))
        votes.ranked_places(), votes.ranked_keyframes(own, 15)
    verdicts = iter(range(1, 10**6))
    return {'vote, 100 segments that find 100 keyframes': milliseconds(vote),
            'feedback on a closure': milliseconds(lambda: feedback.learn(keyframe(next(verdicts)).id, 5, False)),
            'places: a back-end moves them all': milliseconds(
                lambda: places.move(everywhere, points)),
            'places: around one': milliseconds(lambda: places.around(count // 2)),
            'map file: bytes, for status': milliseconds(lambda: place_map.bytes)}


def measure(count: int) -> dict[str, float]:
    """All steps in a map of this size, milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'map.segvlad'
        PlaceMap.write(file, map(keyframe, range(count)), {}, DIMENSION)
        with PlaceMap.open(file, read_only=False) as place_map:
            return {**marker_steps(count), **path_steps(count, place_map), **graph_steps(count),
                    **other_steps(count, place_map)}


def as_markdown(where: dict, steps: dict[str, list[float]], before: dict[str, list[float]]) -> str:
    """The table."""
    rows = [[name, *(f'{value:.3g}' for value in values), f'{values[-1] / max(values[0], 0.05):.1f}',
             f'{before[name][-1]:.3g}' if name in before else ''] for name, values in steps.items()]
    return page(heading('map_growth', 'map_growth.py', where, __doc__.split('\n\n')[-1].replace('\n', ' ')),
                ['step, ms of process time', *(f'{size:,}' for size in SIZES), 'ratio', 'before, 10,000'], rows)


def main() -> None:
    """Measure and write results."""
    command_line(__doc__).parse_args()
    where = machine()
    measured = []
    for size in SIZES:
        measured.append(measure(size))
        sys.stderr.write(f'{size} keyframes\n')
    steps = {name: [sizes[name] for sizes in measured] for name in measured[0]}
    file = RESULTS / f'{BEFORE}.json'
    before = json.loads(file.read_text())['steps'] if file.is_file() else {}
    write_results('map_growth', where, {'sizes': SIZES, 'steps': steps}, as_markdown(where, steps, before))


if __name__ == '__main__':
    main()
