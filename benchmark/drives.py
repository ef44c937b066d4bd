"""Drives that benchmarks measure on: real sets and simulated conditions, played to a recogniser.

Real sets: corridor (images to be found one by one in a map), rtabmap_corridor_loop (neither intrinsics nor odometry),
hololens_office (depth, intrinsics, and the device's own poses as odometry; without odometry; images only).
Simulated conditions of a seed: *loop*, a second lap in other light, beside the first; *back*, the way back in reverse
gear; *other day*, a map of one run, localised in on another day, in other light and in reverse gear; *twins*, two
corridors that share more than four fifths of their textured area, one driven long after the other; *street*, 300 m
straight on, where nothing comes twice, with odometry and depth, by images only, and without keypoints.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from recorded_runs import Recorder, Run, image_frames, simulated_frames, without

from segvlad_ros.evaluation.measured import top_k
from segvlad_ros.evaluation.metrics import Outcome
from segvlad_ros.evaluation.truth import PlaceTruth, PoseLimits, as_given, read_truth, truth_of_pose
from segvlad_ros.geometry import distance, relative, rotation_angle
from segvlad_ros.io.images import list_images
from segvlad_ros.pipeline.builders import build_recognizer
from segvlad_ros.pipeline.presets import Preset
from segvlad_ros.types import Keyframe, Pose, Status

REAL_SETS = 'corridor', 'rtabmap_corridor_loop', 'hololens_office'

Truth = Callable[[Pose | Path, list, np.ndarray], PlaceTruth | None]
"""(where a query was taken, where the map entries were, which were searched) -> the truth; None: it is not a query."""


@dataclass(frozen=True)
class Trial:
    """Queries in order, and what they are compared with.

    :ivar truths: by name; of several the last ignores what shows the same from further back
    :ivar known: a map to begin with; empty: the queries themselves become the map
    :ivar exclude_frames: younger keyframes are left out, in place of the preset's window
    :ivar single: every query is asked for itself
    """

    queries: Run
    truths: dict[str, Truth]
    known: Run = ()
    exclude_frames: int = 0
    single: bool = False

    def seen(self, **changes: bool) -> Trial:
        """The same drive of a robot with less: see :func:`without`."""
        return replace(self, queries=without(self.queries, **changes), known=without(self.known, **changes))


@dataclass(frozen=True)
class Played:
    """The answers to a trial.

    :ivar by_truth: one outcome a query that counts, by name of the truth
    :ivar errors: (metres, degrees) of the metric poses of matches, where true poses are known
    :ivar seconds: of each answer, without the search
    """

    by_truth: dict[str, list[Outcome]]
    errors: list[tuple[float, float]]
    seconds: list[float]

    @property
    def outcomes(self) -> list[Outcome]:
        """By the last truth."""
        return list(self.by_truth.values())[-1]


def by_poses() -> dict[str, Truth]:
    """Truths that true poses know: beyond 2 m, or 3.5 m, a match is false."""
    return {'near': partial(truth_of_pose, limits=PoseLimits(ignored_distance_m=2.0)), 'far': truth_of_pose}


def by_files(folder: Path, *names: str) -> dict[str, Truth]:
    """Truths that ground-truth files know.

    :param names: of the files, without ending
    """
    def truth_of(path: Path) -> Truth:
        truth = read_truth(path)
        return lambda image, entries, usable: truth[image].in_entries(entries, usable) if image in truth else None

    return {name: truth_of(folder / f'{name}.csv') for name in names}


def real_trials(recorder: Recorder, data: Path, names: Collection[str] = REAL_SETS) -> Iterator[tuple[str, Trial]]:
    """The real sets.

    :param names: of those that are wanted
    """
    corridor, loop, office = (data / name for name in REAL_SETS)
    if corridor.name in names:
        queries, known = (_with_images(recorder, corridor / part, f'corridor_{part}') for part in ('query', 'ref'))
        yield corridor.name, Trial(queries, by_files(corridor, 'ground_truth', 'place_truth'), known, single=True)
    if loop.name in names:
        yield loop.name, Trial(_with_images(recorder, loop / 'images', loop.name), by_files(loop, 'loop_truth'),
                               exclude_frames=10)
    if office.name not in names:
        return
    whole = Trial(_with_images(recorder, office / 'images', office.name),
                  by_files(office, 'loop_truth', 'place_truth'), exclude_frames=40)
    yield office.name, whole
    yield f'{office.name}, no odometry', whole.seen(odometry=True)
    yield f'{office.name}, images only', whole.seen(odometry=True, camera=True)


def _with_images(recorder: Recorder, folder: Path, name: str) -> Run:
    """The keyframes of a folder of images, each with its image, by which its truth is known."""
    images = list_images(folder)
    return [(keyframe, as_given(images[keyframe.id.index - 1]))
            for keyframe, _ in recorder.keyframes(name, image_frames(folder), name)]


# Of each simulated run the scenario, the session, and what differs from the scenario.
RUNS = {'loop': ('demo', 'a', {}), 'back': ('demo', 'a', {'route': 'back'}), 'lap': ('demo', 'a', {'route': 'lap'}),
        'rev': ('demo', 'b', {'route': 'lap', 'reverse': True, 'run': 1}), 'twins': ('aliasing', 'a', {}),
        'street': ('street', 'a', {})}
# Of each simulated condition the queries, and the map where it is another run.
CONDITIONS = {'loop': ('loop',), 'back': ('back',), 'other day': ('rev', 'lap'), 'twins': ('twins',)}


def simulated_run(recorder: Recorder, name: str, seed: int) -> Run:
    """One of :data:`RUNS`."""
    scenario, session, changes = RUNS[name]
    return recorder.keyframes(f'{name}_{seed}', simulated_frames(scenario, seed=seed, **changes), session)


def simulated_trials(recorder: Recorder, seed: int) -> Iterator[tuple[str, Trial]]:
    """The simulated conditions of one seed."""
    for title, names in CONDITIONS.items():
        if recorder.can_give(*(f'{name}_{seed}' for name in names)):
            queries, *known = (simulated_run(recorder, name, seed) for name in names)
            yield f'simulated: {title}', Trial(queries, by_poses(), *known)


def street_trials(recorder: Recorder, seed: int) -> Iterator[tuple[str, Trial]]:
    """A simulated street: no match is right. Without keypoints geometry cannot tell, as in tiny or bare images."""
    if recorder.can_give(f'street_{seed}'):
        street = Trial(simulated_run(recorder, 'street', seed), by_poses())
        yield 'simulated: street', street
        yield 'simulated: street, images only', street.seen(odometry=True, camera=True)
        yield 'simulated: street, no keypoints', street.seen(odometry=True, camera=True, keypoints=True)


def play(trial: Trial, preset: Preset, *, ranked: bool = False,
         stored: Callable[[Keyframe], Keyframe] = lambda keyframe: keyframe) -> Played:
    """Drive through a trial.

    :param ranked: ask for as many candidates as recall@10 needs
    :param stored: what the map keeps of a keyframe; queries are as they were described
    """
    recognizer = build_recognizer(preset)
    for keyframe, _ in trial.known:
        recognizer.add(stored(keyframe))
    places, own = [where for _, where in trial.known], not trial.known
    window = {'exclude_recent': own and not trial.exclude_frames, 'exclude_frames': trial.exclude_frames}
    played = Played({name: [] for name in trial.truths}, [], [])
    for keyframe, where in trial.queries:
        usable = ~recognizer.excluded(keyframe, *window.values())
        truths = {name: place for name, of in trial.truths.items()
                  if (place := of(where, places, usable)) is not None}
        wanted = {'top_k': top_k(max((len(place.ignored) for place in truths.values()), default=0))} if ranked else {}
        begin = time.perf_counter()
        answer = recognizer.recognize(keyframe, independent=trial.single, **window, **wanted)
        played.seconds.append(time.perf_counter() - begin - answer.timings.get('search', 0.0))
        for name, place in truths.items():
            played.by_truth[name].append(Outcome(f'{keyframe.id.index:05d}', answer, place))
        if answer.status == Status.MATCHED and isinstance(where, Pose):
            best = answer.candidates[0]
            claimed, true = best.query_pose_in_match, relative(places[best.entry], where)
            if claimed is not None:
                played.errors.append((distance(claimed, true), float(np.degrees(rotation_angle(claimed, true)))))
        if own:
            recognizer.add(stored(keyframe))
            places.append(where)
    return played
