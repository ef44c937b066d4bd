"""Geometric verification on real and simulated pairs of images: who passes, who does not, and how good the poses are.

    python benchmark/geometry_verification.py --data ../shared/data --output results.json

All true pairs of the ground truth are tried, and false ones beyond its `ignore` limits (hololens_office: a fixed random
choice of all, and one of the hard ones that see parts of the same room). Retrieval has no part in it: most false pairs
would never be proposed. One configuration for all: the shipped defaults. The simulated building has twin corridors on
purpose: what looks the same to the last point is beyond geometry, and its false pairs show how often that is so.
"""
from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from segvlad_ros.description.keypoints import BYTES_PER_KEYPOINT, KeypointDetector
from segvlad_ros.evaluation.image_paths import as_given
from segvlad_ros.evaluation.metrics import clopper_pearson
from segvlad_ros.evaluation.truth import PlaceTruth, read_truth
from segvlad_ros.geometry import compose, distance, identity, inverse, relative, rotation_angle
from segvlad_ros.io.images import list_images, read_image
from segvlad_ros.simulation.robot import SimulatedRobot
from segvlad_ros.simulation.scenario import load_scenario
from segvlad_ros.types import CameraModel, Keypoints, Pose
from segvlad_ros.verification.scale import with_odometry_depths
from segvlad_ros.verification.verify import Geometry, verify
from segvlad_ros.verification.view import DEPTH_ERROR, View

SEED = 0
FALSE_PAIRS, HARD_PAIRS = 1500, 500
HARD_DISTANCE_M, HARD_ANGLE_DEG = 4.0, 70.0
SIMULATED_STEP = 6  # every so many images of a simulated run
DEPTH_NOISE = 0.01
NEIGHBOUR_DISTANCE_M, NEIGHBOUR_REACH = 0.25, 20  # neighbouring keyframes, for the scale of odometry

Pairs = list[tuple[int, int]]


@dataclass
class Sequence:
    """The views of one sequence, the pairs to try, and the true poses of the cameras' bases if known."""

    views: list[View]
    pairs: dict[str, Pairs]
    poses: list[Pose] | None
    detection_ms: list[float]


def view(clock: list[float], rgb: np.ndarray, depth: np.ndarray | None = None, camera: CameraModel | None = None,
         mount: Pose | None = None) -> View:
    """Describe one image; its time goes on ``clock``."""
    begin = time.perf_counter()
    keypoints = KeypointDetector()(rgb, depth)
    clock.append(1e3 * (time.perf_counter() - begin))
    box = np.array([[0, 0, rgb.shape[1], rgb.shape[0]]], np.int32)
    source = '' if depth is None else 'depth'
    return View(keypoints, box, camera, mount, source, np.full(len(keypoints.depths), DEPTH_ERROR))


def without_depth(seen: View) -> View:
    """The same without a depth camera."""
    keypoints = seen.keypoints
    unknown = Keypoints(keypoints.positions, keypoints.descriptors, np.full_like(keypoints.depths, np.nan))
    return replace(seen, keypoints=unknown, scale_source='', depth_error=None)


def without_calibration(seen: View) -> View:
    """The same without a depth camera and without CameraInfo."""
    return replace(without_depth(seen), camera_model=None)


def choose(pairs: Pairs, count: int) -> Pairs:
    """A fixed random choice."""
    chosen = np.random.default_rng(SEED).permutation(len(pairs))[:count]
    return [pairs[i] for i in sorted(chosen)]


def pairs_of(truth: dict[Path, PlaceTruth], images: list[Path], exclude: int) -> dict[str, Pairs]:
    """True and false pairs (query, match); a match is at least ``exclude`` images older."""
    number = {as_given(path): i for i, path in enumerate(images)}
    true = [(number[q], number[m]) for q, place in truth.items() for m in sorted(place.true)]
    false = [(number[q], m) for q, place in truth.items() for m in range(max(0, number[q] - exclude + 1))
             if as_given(images[m]) not in place.true | place.ignored]
    return {'true': true, 'false': false}


def rtabmap(data: Path) -> Sequence:
    """The corridor loop: neither intrinsics nor poses."""
    folder, clock = data / 'rtabmap_corridor_loop', []
    images = list_images(folder / 'images')
    views = [view(clock, read_image(path)) for path in images]
    return Sequence(views, pairs_of(read_truth(folder / 'loop_truth.csv'), images, 10), None, clock)


def hololens(data: Path) -> Sequence:
    """The office: intrinsics, depth of half the size, poses of the camera."""
    folder, clock = data / 'hololens_office', []
    images = list_images(folder / 'images')
    camera, views, poses = CameraModel(540, 360, np.loadtxt(folder / 'K.txt'), np.zeros(0)), [], []
    with (folder / 'poses.csv').open() as file:
        for row in csv.DictReader(file):
            values = np.array([float(row[key]) for key in ('tx', 'ty', 'tz', 'qx', 'qy', 'qz', 'qw')])
            poses.append(Pose(values[:3], values[3:], 'world'))
    for path in images:
        depth = cv2.imread(str(folder / 'depth' / f'{path.stem}.png'), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
        depth[depth == 0] = np.nan
        views.append(view(clock, read_image(path), depth, camera, identity('camera')))
    pairs = pairs_of(read_truth(folder / 'loop_truth.csv'), images, 40)
    hard = [(q, m) for q, m in pairs['false'] if distance(poses[q], poses[m]) < HARD_DISTANCE_M
            and rotation_angle(poses[q], poses[m]) < np.radians(HARD_ANGLE_DEG)]
    pairs = {'true': pairs['true'], 'false': choose(pairs['false'], FALSE_PAIRS), 'hard': choose(hard, HARD_PAIRS)}
    return Sequence(views, pairs, poses, clock)


def simulated(name: str) -> Sequence:
    """A simulated run with other light on the second visit; depth with noise."""
    robot, clock = SimulatedRobot(load_scenario(name)), []
    rng, views, poses = np.random.default_rng(SEED), [], []
    for number in range(0, robot.image_count, SIMULATED_STEP):
        frame = robot.frame(number)
        depth = frame.depth * (1 + DEPTH_NOISE * rng.standard_normal(frame.depth.shape, dtype=np.float32))
        views.append(view(clock, frame.rgb, depth, frame.camera_model, frame.base_from_camera))
        poses.append(frame.pose)
    all_pairs = [(q, m) for q in range(len(poses)) for m in range(q - 8)]
    true = [(q, m) for q, m in all_pairs if distance(poses[q], poses[m]) <= 1
            and rotation_angle(poses[q], poses[m]) <= np.radians(40)]
    false = [(q, m) for q, m in all_pairs if distance(poses[q], poses[m]) > 2
             or rotation_angle(poses[q], poses[m]) > np.radians(60)]
    return Sequence(views, {'true': true, 'false': choose(false, FALSE_PAIRS)}, poses, clock)


def odometry_view(sequence: Sequence) -> Callable[[int], View]:
    """Views whose depths come from the true way to their neighbours, as exact odometry would give it."""
    views, poses = [without_depth(seen) for seen in sequence.views], sequence.poses

    def at(number: int) -> View:
        near = sorted(range(len(views)), key=lambda n: abs(n - number))[1:2 * NEIGHBOUR_REACH]
        beside = [n for n in near if distance(poses[n], poses[number]) >= NEIGHBOUR_DISTANCE_M][:2]
        return with_odometry_depths(views[number], [(views[n], relative(poses[number], poses[n])) for n in beside])
    return at


def measure(sequence: Sequence, query: Callable[[int], View], match: Callable[[int], View]) -> dict:
    """Verify all pairs of a sequence."""
    result, milliseconds, matches = {}, [], {}
    for label, pairs in sequence.pairs.items():
        answers = []
        for q, m in pairs:
            matches.setdefault(m, match(m))
            seen = query(q)
            begin = time.perf_counter()
            answers.append(verify(seen, matches[m]))
            milliseconds.append(1e3 * (time.perf_counter() - begin))
        accepted = sum(answer.proven for answer in answers)
        result[label] = {'pairs': len(pairs), 'accepted': accepted, 'rate': accepted / max(len(pairs), 1),
                         'rate_bounds': list(clopper_pearson(accepted, len(pairs))),
                         'cases': dict(Counter(f'{answer.case} {answer.model}'.strip() for answer in answers)),
                         'wrongly_accepted': [] if label == 'true' else [
                             pair for pair, answer in zip(pairs, answers) if answer.proven]}
        if sequence.poses is not None:
            result[label] |= pose_errors(list(zip(pairs, answers)), sequence)
    result['verify_ms'] = {'median': float(np.median(milliseconds)), 'p95': float(np.percentile(milliseconds, 95))}
    return result


def pose_errors(answers: list[tuple[tuple[int, int], Geometry]], sequence: Sequence) -> dict:
    """Errors of the relative poses of accepted pairs, and their squares in the covariance's measure."""
    errors = np.array(list(_errors(answers, sequence)))
    if not len(errors):
        return {}
    names = ('translation_m', 'rotation_deg', 'mahalanobis_squared')
    return {name: {str(p): float(np.percentile(column, p)) for p in (50, 90, 100)}
            for name, column in zip(names, errors.T)}


def _errors(answers: list[tuple[tuple[int, int], Geometry]], sequence: Sequence) -> Iterator[tuple[float, ...]]:
    for (q, m), answer in answers:
        pose = answer.query_pose_in_match
        if pose is None:
            continue
        truth = relative(sequence.poses[m], sequence.poses[q])
        turn = compose(Pose(np.zeros(3), pose.quaternion), inverse(Pose(np.zeros(3), truth.quaternion)))
        x, y, z, w = turn.quaternion
        vector = np.array([x, y, z]) * (2 if w >= 0 else -2)
        error = np.concatenate([pose.translation - truth.translation, vector])
        yield (distance(pose, truth), float(np.degrees(rotation_angle(pose, truth))),
               float(error @ np.linalg.solve(pose.covariance, error)))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--output', type=Path, required=True)
    arguments = parser.parse_args()
    cv2.setNumThreads(2)
    results: dict = {'opencv': cv2.__version__, 'bytes_per_keypoint': BYTES_PER_KEYPOINT}
    jobs = {'rtabmap_corridor_loop': lambda: rtabmap(arguments.data),
            'hololens_office': lambda: hololens(arguments.data), 'simulated demo': lambda: simulated('demo')}
    for name, load in jobs.items():
        sequence = load()
        counts = [len(seen.keypoints.depths) for seen in sequence.views]
        results[name] = {'images': len(counts), 'keypoints': float(np.mean(counts)),
                         'bytes_per_keyframe': float(np.mean(counts)) * BYTES_PER_KEYPOINT,
                         'detect_ms': float(np.median(sequence.detection_ms))}
        plain = [without_depth(seen) for seen in sequence.views]
        bare = [without_calibration(seen) for seen in sequence.views]
        modes = {'uncalibrated': (bare.__getitem__, bare.__getitem__)}
        if sequence.poses is not None:
            modes |= {'calibrated': (plain.__getitem__, plain.__getitem__),
                      'depth': (sequence.views.__getitem__, sequence.views.__getitem__),
                      'odometry': (plain.__getitem__, odometry_view(sequence))}
        for mode, (query, match) in modes.items():
            results[name][mode] = measure(sequence, query, match)
            print(name, mode, {label: f"{part['accepted']} of {part['pairs']}" for label, part in
                               results[name][mode].items() if 'pairs' in part}, flush=True)
        arguments.output.write_text(json.dumps(results, indent=1) + '\n')


if __name__ == '__main__':
    main()
