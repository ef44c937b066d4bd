"""A patrol: the same loop again and again. Does an answer stay quick and sure, however often a place was seen?

    python benchmark/patrol.py [--laps 120] [--processes 2]     writes results/patrol.{json,md}

Made descriptors of 128 values, made keypoints; the decision is that of the preset ``classic`` with its calibration. A
loop of 30 m has LANDMARKS a metre; a keyframe every half metre sees those ahead of it, each as one segment and
POINTS keypoints. Landmarks are of KINDS that look alike; every visit sees them with other noise.

- *laps*: with and without odometry (and depth), with and without 1 m of drift a lap; keyframes become the map at once;
- *room*: a camera carried about in a room without odometry, 500 frames;
- *street*: 300 m straight on, a keyframe every 3 m and 3 s; far ends overlap, and nothing is to be found again;
- *twins*: two floors that look alike, mapped as two sessions, asked without odometry, with and without keypoints.

Only the front door is used: the script of this commit runs with the package of another on PYTHONPATH.
"""
from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import cv2
import numpy as np
from tables import command_line, heading, table, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.truth import PoseLimits
from segvlad_ros.pipeline.builders import build_recognizer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.pipeline.recognizer import Recognizer
from segvlad_ros.types import (
    CameraModel,
    Keyframe,
    KeyframeId,
    Keypoints,
    PlaceDescription,
    Pose,
    Recognition,
    Status,
    Verification,
)

LENGTH_M, STEP_M = 30.0, 0.5
DIMENSION, LANDMARKS, KINDS, POINTS = 128, 12, 16, 12
SEEN_M = 0.4, 2.6  # ahead of the camera
ALIKE, NOISE = 0.5, 0.75  # of landmarks of one kind; of one landmark seen again
CAMERA = CameraModel(640, 480, np.array([[465.0, 0, 319.5], [0, 465.0, 239.5], [0, 0, 1]]), np.zeros(0))
MOUNT = Pose(np.zeros(3), np.array([-0.5, 0.5, -0.5, 0.5]), 'base_link')
LIMITS = PoseLimits()


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class Loop:
    """What there is to see.

    :param seed: its looks
    :param landmarks: a metre
    :param seen_m: from and to, ahead of the camera
    """

    def __init__(self, seed: int, length_m: float = LENGTH_M, landmarks: float = LANDMARKS,
                 seen_m: tuple[float, float] = SEEN_M) -> None:
        self._rng = rng = np.random.default_rng(seed)
        count = round(length_m * landmarks)
        self.length_m, self._along, self._seen_m = length_m, np.arange(count) / landmarks, seen_m
        kinds = unit(rng.normal(size=(KINDS, DIMENSION)))[rng.integers(0, KINDS, count)]
        self._looks = unit(ALIKE ** 0.5 * kinds + (1 - ALIKE) ** 0.5 * unit(rng.normal(size=(count, DIMENSION))))
        self._points = rng.uniform([-0.15, -0.9, -0.6], [0.15, 0.9, 0.6], (count, POINTS, 3))
        self._patches = rng.integers(0, 160, (count, POINTS, 128))

    def seen(self, at_m: float, *, deep: bool, keypoints: bool = True) -> PlaceDescription:
        """What a keyframe shows that looks along the loop."""
        rng = self._rng
        ahead = (self._along - at_m) % self.length_m
        rows = np.flatnonzero((ahead > self._seen_m[0]) & (ahead < self._seen_m[1]))
        looks = unit(self._looks[rows] + NOISE * unit(rng.normal(size=(len(rows), DIMENSION)))).astype(np.float32)
        points = self._points[rows] + np.stack([ahead[rows], *np.zeros((2, len(rows)))], 1)[:, None]
        depth = points[..., 0]
        pixels = np.stack([-points[..., 1], -points[..., 2]], -1) / depth[..., None] * 465 + [319.5, 239.5]
        pixels += rng.normal(0, 0.4, pixels.shape)
        inside = pixels.clip(0, [639, 479])
        boxes = np.concatenate([inside.min(1), np.ptp(inside, axis=1) + 1], 1).astype(np.int32)
        shown = (depth > 0.3) & (pixels > 0).all(-1) & (pixels < [640, 480]).all(-1)
        patches = np.clip(self._patches[rows][shown] + rng.normal(0, 8, (shown.sum(), 128)), 0, 255).astype(np.uint8)
        depths = depth[shown] if deep else np.full(shown.sum(), np.nan)
        found = Keypoints(pixels[shown].astype(np.float32), patches, depths.astype(np.float32)) if keypoints else None
        return PlaceDescription(looks, boxes, np.ones(len(rows), np.int64), keypoints=found)


@dataclass(frozen=True)
class Visit:
    """A keyframe and where it truly was along the loop."""

    keyframe: Keyframe
    at_m: float


def visit(loop: Loop, index: int, at_m: float, session: str, *, pose: Pose | None = None, deep: bool = False,
          keypoints: bool = True, seconds: int = 1) -> Visit:
    """One keyframe, some seconds after the one before."""
    identity = KeyframeId(0, session, index, (index * seconds + 10 ** 6 * (session == 'today')) * 10 ** 9)
    return Visit(Keyframe(identity, loop.seen(at_m, deep=deep, keypoints=keypoints), pose=pose,
                          camera_model=CAMERA if deep else None, base_from_camera=MOUNT), at_m)


def laps(count: int, odometry: bool, drift_m: float) -> Iterator[Visit]:
    """The keyframes of a patrol."""
    loop, radius = Loop(1), LENGTH_M / (2 * np.pi)
    for number in range(round(count * LENGTH_M / STEP_M)):
        way = number * STEP_M
        turn = way / radius
        place = np.array([radius * np.sin(turn) + drift_m * way / LENGTH_M, radius * (1 - np.cos(turn)), 0.0])
        pose = Pose(place, np.array([0, 0, np.sin(turn / 2), np.cos(turn / 2)]), 'odom') if odometry else None
        yield visit(loop, number + 1, way % LENGTH_M, 'patrol', pose=pose, deep=odometry)


def apart(loop_m: float, first: float, second: float) -> float:
    """Metres along the loop."""
    return min((first - second) % loop_m, (second - first) % loop_m)


def drive(visits: Iterator[Visit], recognizer: Recognizer, length_m: float = LENGTH_M,
          per_lap: int = round(LENGTH_M / STEP_M)) -> list[dict]:
    """Ask about every keyframe, then add it to the map: one row a keyframe."""
    rows, places = [], []
    for each in visits:
        begin = time.perf_counter()
        answer = recognizer.recognize(each.keyframe, exclude_recent=True)
        spent = time.perf_counter() - begin - answer.timings.get('search', 0.0)
        rows.append({'lap': len(rows) // per_lap + 1, 'seconds': spent, **judged(answer, each.at_m, places, length_m)})
        recognizer.add(each.keyframe)
        places.append(each.at_m)
    return rows


def judged(answer: Recognition, at_m: float, places: Mapping[int, float] | list[float], length_m: float) -> dict:
    """What an answer is worth: right within 1 m, wrong beyond 3.5 m, between them it counts neither way (None)."""
    if not answer.candidates:
        return {'status': answer.status.name, 'right': False, 'score': 0.0}
    best = answer.candidates[0]
    off_m = apart(length_m, places[best.entry], at_m)
    right = off_m <= LIMITS.true_distance_m or (None if off_m <= LIMITS.ignored_distance_m else False)
    return {'status': answer.status.name, 'right': right, 'score': best.score}


def summary(rows: list[dict]) -> dict:
    """The numbers of one patrol."""
    last = rows[-1]['lap']
    marks = sorted({lap for lap in (5, 20, 60, 120) if lap < last} | {last})
    later = [row for row in rows if row['lap'] >= min(5, last)]
    times = {lap: np.array([row['seconds'] for row in rows if row['lap'] == lap]) * 1e3 for lap in marks}
    scores = {lap: float(np.median([row['score'] for row in rows if row['lap'] == lap])) for lap in marks}
    median = {lap: float(np.median(values)) for lap, values in times.items()}
    return {
        'laps': last, 'answer_ms_p50': median, 'answer_ms_p95': {lap: float(np.percentile(values, 95))
                                                                 for lap, values in times.items()},
        'growth': median[marks[-1]] / median[marks[0]], 'median_score': scores,
        'recall': float(np.mean([row['status'] == 'MATCHED' and row['right'] for row in later
                                 if row['right'] is not None or row['status'] != 'MATCHED'])),
        'true_but_ambiguous': sum(row['right'] is True and row['status'] == 'NO_MATCH_AMBIGUOUS' for row in later),
        'false': sum(row['status'] == 'MATCHED' and row['right'] is False for row in rows),
        'peak_memory_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def room(frames: int) -> Iterator[Visit]:
    """A camera that wanders about: forwards and back along a closed way through the room."""
    loop, rng, at_m = Loop(2, 18.0), np.random.default_rng(3), 0.0
    for number in range(frames):
        if number % 40 == 0:
            speed = rng.uniform(0.1, 0.3) * rng.choice([-1, 1, 1])
        at_m += speed
        yield visit(loop, number + 1, at_m % 18.0, 'room')


def street(odometry: bool, keypoints: bool) -> dict:
    """A robot that never comes back: no match is right."""
    recognizer, loop, accepted, refused = make_recognizer(), Loop(5, 700.0, 0.8, (2.0, 45.0)), 0, 0
    for number in range(100):
        at_m = 3.0 * number
        pose = Pose(np.array([at_m, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), 'odom') if odometry else None
        each = visit(loop, number + 1, at_m, 'street', pose=pose, keypoints=keypoints, seconds=3)
        answer = recognizer.recognize(each.keyframe, exclude_recent=True)
        accepted += answer.status == Status.MATCHED
        refused += 'trails' in answer.reason or 'odometry' in answer.reason
        recognizer.add(each.keyframe)
    return {'queries': 100, 'accepted': accepted, 'refused_as_trailing_or_by_odometry': refused}


def twins(keypoints: bool) -> dict:
    """Answers about two floors that look alike; none may be believed unproven."""
    recognizer, loop, places = make_recognizer(), Loop(4), []
    for floor in ('first floor', 'second floor'):
        for number in range(round(LENGTH_M / STEP_M)):
            each = visit(loop, number + 1, number * STEP_M, floor, keypoints=keypoints)
            recognizer.add(each.keyframe)
            places.append(each.at_m)
    found = [recognizer.recognize(visit(loop, number + 1, number * STEP_M + 0.2, 'today', keypoints=keypoints).keyframe,
                                  exclude_recent=True) for number in range(round(LENGTH_M / STEP_M))]
    matched = [answer for answer in found if answer.status == Status.MATCHED]
    return {'queries': len(found), 'matched': len(matched),
            'matched_unproven': sum(answer.candidates[0].verification != Verification.GEOMETRIC for answer in matched),
            'median_ambiguity': float(np.median([answer.candidates[0].ambiguity for answer in found]))}


def make_recognizer() -> Recognizer:
    """The decision of ``classic``."""
    return build_recognizer(load_preset('classic'))


def runs(count: int, frames: int = 500) -> dict[str, partial]:
    """What there is to measure, by name."""
    wanted = {f'laps, odometry with {drift_m:g} m of drift a lap': partial(patrolled, count, True, drift_m)
              for drift_m in (0.0, 1.0)}
    wanted['laps, no odometry'] = partial(patrolled, count, False, 0.0)
    wanted['room'] = partial(wandered, frames)
    for odometry, keypoints in ((True, True), (False, True), (False, False)):
        name = f'street, {"odometry" if odometry else "images only"}{"" if keypoints else ", no keypoints"}'
        wanted[name] = partial(street, odometry, keypoints)
    for keypoints in (True, False):
        wanted[f'twin floors, {"with" if keypoints else "without"} keypoints'] = partial(twins, keypoints)
    return wanted


def patrolled(count: int, odometry: bool, drift_m: float) -> dict:
    """The numbers of some laps."""
    return summary(drive(laps(count, odometry, drift_m), make_recognizer()))


def wandered(frames: int) -> dict:
    """The numbers of the room."""
    return summary(drive(room(frames), make_recognizer(), 18.0, 100))


def measured(run: tuple[str, partial]) -> tuple[str, dict]:
    """Name and numbers of a run, on one core."""
    cv2.setNumThreads(1)
    name, work = run
    return name, work()


def measure(count: int, processes: int) -> dict[str, dict]:
    """All runs by name, each in a process of its own."""
    results = {}
    with get_context('spawn').Pool(processes, maxtasksperchild=1) as pool:
        for name, numbers in pool.imap(measured, runs(count).items(), chunksize=1):
            results[name] = numbers
            print(name, numbers, flush=True)
    return results


def as_markdown(results: dict[str, dict], where: dict, title: str) -> str:
    """A table of the patrols, and the twins."""
    rows = []
    for name, row in results.items():
        if 'growth' in row:
            first, last = min(row['answer_ms_p50']), max(row['answer_ms_p50'])
            middle, score = row['answer_ms_p50'], row['median_score']
            rows.append((name, row['laps'], f'{middle[first]:.1f} / {middle[last]:.1f}',
                         f'{row["answer_ms_p95"][last]:.1f}', f'{row["growth"]:.2f}',
                         f'{score[first]:.3f} / {score[last]:.3f}', f'{row["recall"]:.3f}', row['true_but_ambiguous'],
                         row['false'], f'{row["peak_memory_mb"]:.0f}'))
    lines = [*heading(title, 'patrol.py', where, 'Each run on one core. Times are of an answer without the search, '
                      'geometry included; recall and true answers refused as ambiguous from lap 5 on.'),
             *table(('run', 'laps', 'ms p50 first / last', 'p95 last', 'growth', 'median score first / last', 'recall',
                     'ambiguous', 'false', 'peak MB'), rows)]
    lines += ['', *(f'{name}: {row["matched"]} of {row["queries"]} matched, {row["matched_unproven"]} of them '
                    f'unproven; median ambiguity {row["median_ambiguity"]:.2f}.' for name, row in results.items()
                    if 'matched_unproven' in row),
              '', *(f'{name}: {row["accepted"]} of {row["queries"]} accepted.' for name, row in results.items()
                    if 'accepted' in row)]
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Measure and write."""
    parser = command_line(__doc__)
    parser.add_argument('--laps', type=int, default=120)
    parser.add_argument('--name', default='patrol', help='of the files')
    parser.add_argument('--processes', type=int, default=1, help='no more than there are idle cores')
    args = parser.parse_args()
    results, where = measure(args.laps, args.processes), machine('cpu')
    write_results(args.name, where, {'runs': results}, as_markdown(results, where, args.name))


if __name__ == '__main__':
    main()
