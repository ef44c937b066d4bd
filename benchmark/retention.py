"""A map that is kept small: how many keyframes it holds, and whether it recognises as well as one that holds all.

    python benchmark/retention.py --data ../shared/data --work /tmp/loops [--laps 20] [--seed 101] [--processes 1]

writes results/retention.{json,md}. Every row is a map_builder with these settings and a localizer that follows it: what
the builder passes over or evicts, the localizer does not search. The truth is that of all keyframes, kept or not, so
that a place that was given up counts as missed.

- *real sets*: those of drives.py;
- *patrol*: the loop of patrol.py with odometry, 1 m of drift a lap;
- *day and night*: laps of one simulated building, each in a light of its own; at night a lamp on the robot lights a
  dark and noisy image (made from the simulated one). It is described once and kept in --work.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import patrol
from drives import Recorder, Run, Trial, by_poses, real_trials, simulated_frames
from tables import command_line, heading, table, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.metrics import Outcome, decision_metrics, ranking_metrics
from segvlad_ros.mapping.novelty import NoveltySettings
from segvlad_ros.mapping.retention import RetentionSettings
from segvlad_ros.pipeline.map_keeper import MapKeeper
from segvlad_ros.pipeline.presets import Preset, build_recognizer, load_preset
from segvlad_ros.types import Frame, Keyframe, Pose, Recognition

SCORES = 0.2, 0.3, 0.4
SHARES = 0.5, 0.25  # of the keyframes that there are, as a cap
LIGHTS = ('day', 'day', 'night', 'day', 'night', 'day', 'night')
LAP_NS = 10**12  # between the first stamps of two laps
NIGHT_LEVEL, NIGHT_NOISE = 0.45, 7.0  # share of the light in the middle of the lamp's beam, grey levels


def settings_for(count: int) -> dict[str, RetentionSettings]:
    """What is compared, by name.

    :param count: keyframes that there are
    """
    gates = {f'explained_score {score}': RetentionSettings(novelty=NoveltySettings(score)) for score in SCORES}
    caps = {f'max_keyframes {round(share * count)}': RetentionSettings(round(share * count)) for share in SHARES}
    both = {f'{name}, explained_score 0.3': replace(cap, novelty=NoveltySettings(0.3)) for name, cap in caps.items()}
    return {'everything is kept': RetentionSettings(), **gates, **caps, **dict([*both.items()][-1:])}


class Robot:
    """A builder that keeps its map small, a localizer that follows, and all that was ever seen."""

    def __init__(self, preset: Preset, settings: RetentionSettings) -> None:
        self._keeper = MapKeeper(build_recognizer(preset), settings)
        self._localizer, self._seen = build_recognizer(preset), build_recognizer(preset)
        self._places: list[object] = []
        self._numbers: list[int] = []  # of the localizer's entries among all that was seen

    @property
    def count(self) -> int:
        """Keyframes that are held."""
        return self._localizer.count

    def ask(self, keyframe: Keyframe, where: object, trial: Trial) -> Outcome | None:
        """What the localizer answers, in numbers of all that was seen; None where the truth is not known."""
        window = {'exclude_recent': not trial.known and not trial.exclude_frames,
                  'exclude_frames': trial.exclude_frames}
        usable = ~self._seen.excluded(keyframe, *window.values())
        truth = list(trial.truths.values())[-1](where, self._places, usable)
        answer = self._localizer.recognize(keyframe, independent=trial.single, top_k=10, **window)
        return None if truth is None else Outcome(f'{keyframe.id.index:05d}', self._renumbered(answer), truth)

    def add(self, keyframe: Keyframe, where: object) -> None:
        """Offer a keyframe to the map."""
        kept = self._keeper.add(keyframe)
        self._seen.add(keyframe)
        self._places.append(where)
        if kept.stored:
            self._localizer.add(keyframe)
            self._numbers.append(len(self._places) - 1)
        self._localizer.remove(kept.removed)

    def _renumbered(self, answer: Recognition) -> Recognition:
        return replace(answer, candidates=tuple(
            replace(candidate, entry=self._numbers[candidate.entry]) for candidate in answer.candidates))


def played(trial: Trial, preset: Preset, settings: RetentionSettings) -> tuple[list[Outcome], list[int]]:
    """The answers to a trial, and how many keyframes were held after each."""
    robot, outcomes, counts = Robot(preset, settings), [], []
    for keyframe, where in trial.known:
        robot.add(keyframe, where)
    for keyframe, where in trial.queries:
        if (outcome := robot.ask(keyframe, where, trial)) is not None:
            outcomes.append(outcome)
        if not trial.known:
            robot.add(keyframe, where)
        counts.append(robot.count)
    return outcomes, counts


def figures(outcomes: list[Outcome], kept: int) -> dict:
    """The numbers of one row."""
    ranking, decision = ranking_metrics(outcomes), decision_metrics(outcomes)
    return {'kept': kept, 'queries_with_place': ranking['queries_with_place'], 'recall@1': ranking['recall@1'],
            **{key: decision[key] for key in ('accepted', 'precision', 'recall')},
            'false': sum(outcome.accepted is False for outcome in outcomes)}


def real_rows(data: Path, work: Path) -> dict[str, dict]:
    """Every setting on every real set."""
    rows, preset = {}, load_preset('classic')
    for title, trial in real_trials(Recorder(None, work), data):
        if ', ' in title:  # the same drive with less
            continue
        for name, settings in settings_for(len(trial.known or trial.queries)).items():
            outcomes, counts = played(trial, preset, settings)
            rows.setdefault(title, {})[name] = figures(outcomes, counts[-1])
            print(title, name, rows[title][name], flush=True)
    return rows


def patrol_rows(laps: int) -> dict[str, dict]:
    """Every setting on the patrol of patrol.py."""
    rows, per_lap = {}, round(patrol.LENGTH_M / patrol.STEP_M)
    for name, settings in settings_for(2 * per_lap).items():
        keeper, places, answers, counts = MapKeeper(patrol.make_recognizer(), settings), {}, [], []
        localizer = patrol.make_recognizer()
        for visit in patrol.laps(laps, True, 1.0):
            answer = localizer.recognize(visit.keyframe, exclude_recent=True)
            answers.append({'lap': len(answers) // per_lap + 1, 'seconds': 1.0,
                            **patrol.judged(answer, visit.at_m, places, patrol.LENGTH_M)})
            kept = keeper.add(visit.keyframe)
            if kept.stored:
                places[localizer.add(visit.keyframe)] = visit.at_m
            localizer.remove(kept.removed)
            counts.append(localizer.count)
        numbers = patrol.summary(answers)
        rows[name] = {'kept_by_lap': counts[per_lap - 1::per_lap], 'laps': laps, 'recall': numbers['recall'],
                      'false': numbers['false']}
        print('patrol', name, rows[name], flush=True)
    return rows


def at_night(frame: Frame, rng: np.random.Generator) -> Frame:
    """The same image by a lamp on the robot: bright in the middle, dark at the edges, noisy."""
    height, width = frame.rgb.shape[:2]
    down, right = np.mgrid[-1:1:height * 1j, -1:1:width * 1j]
    beam = NIGHT_LEVEL * np.exp(-1.5 * (right**2 + down**2))[..., None]
    noise = rng.normal(0.0, NIGHT_NOISE, frame.rgb.shape)
    return replace(frame, rgb=np.clip(frame.rgb * beam + noise, 0, 255).astype(np.uint8))


def lap_frames(seed: int, number: int, light: str) -> Iterator[tuple[Frame, Pose]]:
    """The keyframes' images of one lap."""
    rng = np.random.default_rng([seed, number])
    for frame, pose in simulated_frames('demo', seed=seed, route='lap', run=number):
        yield (at_night(frame, rng) if light == 'night' else frame), pose


def lap_runs(recorder: Recorder, seed: int) -> list[tuple[str, Run]]:
    """All laps, each a session of its own, one after the other."""
    laps = []
    for number, light in enumerate(LIGHTS):
        name = f'lap_{number}_{light}'
        run = recorder.keyframes(f'{name}_{seed}', lap_frames(seed, number, light), name)
        laps.append((light, [(replace(keyframe, id=replace(
            keyframe.id, stamp_ns=keyframe.id.stamp_ns + (number + 1) * LAP_NS)), pose) for keyframe, pose in run]))
    return laps


def light_rows(work: Path, seed: int) -> dict[str, dict]:
    """Every setting on the laps by day and at night; the first lap of each light only makes the map."""
    preset = load_preset('classic')
    laps, rows = lap_runs(Recorder(preset, work), seed), {}
    for name, settings in settings_for(2 * len(laps[0][1])).items():
        robot, outcomes, counts, known = Robot(preset, settings), {'day': [], 'night': []}, [], set()
        for light, run in laps:
            trial = Trial(run, by_poses())
            for keyframe, pose in run:
                outcome = robot.ask(keyframe, pose, trial)
                if light in known:
                    outcomes[light].append(outcome)
                robot.add(keyframe, pose)
            known.add(light)
            counts.append(robot.count)
        rows[name] = {'kept_by_lap': counts,
                      **{light: figures(outcomes[light], counts[-1]) for light in outcomes}}
        print('day and night', name, rows[name], flush=True)
    return rows


def called(work: tuple[str, partial]) -> tuple[str, dict]:
    """Name and numbers of a part, on one core."""
    cv2.setNumThreads(1)
    return work[0], work[1]()


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'


def as_markdown(results: dict, where: dict) -> str:
    """The tables."""
    lines = heading('retention', 'retention.py', where, 'Preset `classic`. `recall@1` and `recall` count a place that '
                    'was given up as missed; `false`: accepted matches that are wrong.')
    for title, settings in results.get('real sets', {}).items():
        lines += [f'## {title}', '', *table(
            ('settings', 'keyframes', 'with place', 'recall@1', 'accepted', 'false', 'precision', 'recall'),
            ((name, row['kept'], row['queries_with_place'], _number(row['recall@1']), row['accepted'], row['false'],
              _number(row['precision']), _number(row['recall'])) for name, row in settings.items())), '']
    if 'patrol' in results:
        lines += ['## patrol', '', *_patrol_table(results['patrol']), '']
    if 'day and night' in results:
        lines += ['## day and night', '', f'Laps: {", ".join(LIGHTS)}.', '', *table(
            ('settings', 'keyframes after each lap', 'day: recall@1', 'accepted', 'false', 'recall',
             'night: recall@1', 'accepted', 'false', 'recall'),
            ((name, _listed(row['kept_by_lap']), *(
                cell for light in ('day', 'night') for cell in (
                    _number(row[light]['recall@1']), row[light]['accepted'], row[light]['false'],
                    _number(row[light]['recall']))))
             for name, row in results['day and night'].items())), '']
    return '\n'.join(lines).rstrip() + '\n'


def _patrol_table(rows: dict[str, dict]) -> Iterable[str]:
    laps = next(iter(rows.values()))['laps']
    shown = [lap for lap in (1, 2, 3, 5, 10, 20, 40, 80, 120) if lap <= laps]
    return table(('settings', f'keyframes after lap {_listed(shown)}', 'recall', 'false'),
                 ((name, _listed(row['kept_by_lap'][lap - 1] for lap in shown), _number(row['recall']), row['false'])
                  for name, row in rows.items()))


def _listed(values: Iterable[object]) -> str:
    return ' / '.join(map(str, values))


def main() -> None:
    """Measure and write."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('--laps', type=int, default=20)
    parser.add_argument('--seed', type=int, default=101, help='of the simulated building')
    parser.add_argument('--processes', type=int, default=1, help='no more than there are idle cores')
    args = parser.parse_args()
    parts = {'patrol': partial(patrol_rows, args.laps), 'day and night': partial(light_rows, args.work, args.seed),
             'real sets': partial(real_rows, args.data, args.work)}
    results, where = {}, machine('cpu')
    with get_context('spawn').Pool(args.processes, maxtasksperchild=1) as pool:
        for name, numbers in pool.imap(called, parts.items(), chunksize=1):
            results[name] = numbers
            write_results('retention', where, results, as_markdown(results, where))


if __name__ == '__main__':
    main()
