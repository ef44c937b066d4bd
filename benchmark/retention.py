"""A map that is kept small: how many keyframes it holds, and whether it recognises as well as one that holds all.

    python benchmark/retention.py --data ../shared/data --work /tmp/loops [--laps 10] [--seed 101] [--processes 1]

writes results/retention.{json,md}; rows that are not asked for (--only) keep their numbers. Every row is a map_builder
with these settings and a localizer that follows it: what the builder passes over or evicts, the localizer does not
search. The truth is that of all keyframes, kept or not, so that a place that was given up counts as missed.

- *real sets*: those of drives.py;
- *patrol*: the loop of patrol.py with odometry, 1 m of drift a lap;
- *day and night*: laps of one simulated building, each in a light of its own; at night a lamp on the robot lights a
  dark and noisy image (made from the simulated one). It is described once and kept in --work.
"""
from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import patrol
from drives import Trial, by_poses, real_trials
from recorded_runs import Recorder, Run, simulated_frames
from tables import RESULTS, command_line, heading, table, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.evaluation.metrics import Outcome, decision_metrics, ranking_metrics
from segvlad_ros.evaluation.truth import PlaceTruth
from segvlad_ros.mapping.novelty import NoveltySettings
from segvlad_ros.mapping.retention import RetentionSettings
from segvlad_ros.pipeline.builders import build_recognizer
from segvlad_ros.pipeline.map_keeper import Kept, MapKeeper
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import Frame, Keyframe, KeyframeId, Pose, Recognition

SCORES = 0.3, 0.2, 0.4
SHARES = 1.0, 0.5, 0.25  # of the keyframes that two laps, or a set, have: a cap
PER_LAP = round(patrol.LENGTH_M / patrol.STEP_M)
LIGHTS = ('day', 'day', 'night', 'day', 'night', 'day', 'night')
LAP_NS = 10**12  # between the first stamps of two laps
NIGHT_LEVEL, NIGHT_NOISE = 0.45, 7.0  # share of the light in the middle of the lamp's beam, grey levels


def settings_for(count: int) -> dict[str, RetentionSettings]:
    """What is compared, by name.

    :param count: keyframes that there are
    """
    gates = {f'explained_score {score}': RetentionSettings(novelty=NoveltySettings(score)) for score in SCORES}
    caps = {f'max_keyframes {round(share * count)}': RetentionSettings(round(share * count)) for share in SHARES}
    both = {f'{name}, explained_score {SCORES[0]}': replace(cap, novelty=NoveltySettings(SCORES[0]))
            for name, cap in caps.items()}
    return {'everything is kept': RetentionSettings(), **gates, **caps, **both}


class Robot:
    """A builder that keeps its map small, a localizer that follows, and all that was ever seen."""

    def __init__(self, settings: RetentionSettings) -> None:
        preset = load_preset('classic')
        self._keeper = MapKeeper(build_recognizer(preset), settings)
        self._localizer, self._seen = build_recognizer(preset), build_recognizer(preset)
        self._places: list[object] = []
        self._numbers: dict[KeyframeId, int] = {}

    @property
    def count(self) -> int:
        """Keyframes that are held."""
        return self._localizer.count

    def ask(self, keyframe: Keyframe, where: object, trial: Trial) -> Outcome | None:
        """What the localizer answers, in numbers of all that was seen; None where the truth is not known."""
        window = {'exclude_recent': False, 'exclude_frames': trial.exclude_frames}
        truth = self._truth(keyframe, where, trial, **window)
        answer = self._localizer.recognize(keyframe, independent=trial.single, top_k=10, **window)
        return None if truth is None else self._outcome(keyframe, answer, truth)

    def drive(self, keyframe: Keyframe, where: object, trial: Trial) -> Outcome | None:
        """Offer a keyframe to the map; what the builder hears of its map a localizer would hear as well."""
        truth = self._truth(keyframe, where, trial, exclude_recent=True)
        kept = self.add(keyframe, where)
        return None if truth is None else self._outcome(keyframe, kept.answer, truth)

    def add(self, keyframe: Keyframe, where: object) -> Kept:
        """Offer a keyframe to the map."""
        kept = self._keeper.add(keyframe)
        self._seen.add(keyframe)
        self._numbers[keyframe.id] = len(self._places)
        self._places.append(where)
        if kept.stored:
            self._localizer.add(keyframe)
        self._localizer.remove(kept.removed)
        return kept

    def _truth(self, keyframe: Keyframe, where: object, trial: Trial, exclude_recent: bool,
               exclude_frames: int = 0) -> PlaceTruth | None:
        usable = ~self._seen.excluded(keyframe, exclude_recent, exclude_frames)
        return list(trial.truths.values())[-1](where, self._places, usable)

    def _outcome(self, keyframe: Keyframe, answer: Recognition, truth: PlaceTruth) -> Outcome:
        candidates = tuple(replace(found, entry=self._numbers[found.id]) for found in answer.candidates)
        return Outcome(f'{keyframe.id.index:05d}', replace(answer, candidates=candidates), truth)


def figures(outcomes: list[Outcome], kept: int) -> dict:
    """The numbers of one row."""
    ranking, decision = ranking_metrics(outcomes), decision_metrics(outcomes)
    return {'kept': kept, 'queries_with_place': ranking['queries_with_place'], 'recall@1': ranking['recall@1'],
            **{key: decision[key] for key in ('accepted', 'precision', 'recall')},
            'false': sum(outcome.accepted is False for outcome in outcomes)}


def real_row(title: str, data: Path, work: Path, settings: RetentionSettings) -> dict:
    """One setting on one real set."""
    trial, robot, outcomes = dict(real_trials(Recorder(None, work), data))[title], Robot(settings), []
    for keyframe, where in trial.known:
        robot.add(keyframe, where)
    for keyframe, where in trial.queries:
        outcomes.append(robot.ask(keyframe, where, trial))
        if not trial.known:
            robot.add(keyframe, where)
    return figures([outcome for outcome in outcomes if outcome is not None], robot.count)


def patrol_row(laps: int, settings: RetentionSettings) -> dict:
    """One setting on the patrol of patrol.py."""
    keeper, places, answers, counts = MapKeeper(patrol.make_recognizer(), settings), {}, [], []
    for visit in patrol.laps(laps, True, 1.0):
        kept = keeper.add(visit.keyframe)
        seen = {candidate.entry: places[candidate.id] for candidate in kept.answer.candidates}
        answers.append({'lap': len(answers) // PER_LAP + 1, 'seconds': 1.0,
                        **patrol.judged(kept.answer, visit.at_m, seen, patrol.LENGTH_M)})
        places[visit.keyframe.id] = visit.at_m
        counts.append(keeper.recognizer.count)
    numbers = patrol.summary(answers)
    return {'kept_by_lap': counts[PER_LAP - 1::PER_LAP], 'laps': laps, 'recall': numbers['recall'],
            'false': numbers['false']}


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


def light_row(work: Path, seed: int, settings: RetentionSettings) -> dict:
    """One setting on the laps by day and at night; the first lap of each light only makes the map."""
    robot, outcomes, counts = Robot(settings), {}, []
    for light, run in lap_runs(Recorder(None, work), seed):
        found = [robot.drive(keyframe, pose, Trial(run, by_poses())) for keyframe, pose in run]
        outcomes[light] = [] if light not in outcomes else outcomes[light] + found
        counts.append(robot.count)
    return {'kept_by_lap': counts, **{light: figures(found, counts[-1]) for light, found in outcomes.items()}}


def called(work: tuple[tuple[str, ...], partial]) -> tuple[tuple[str, ...], dict]:
    """Name and numbers of a row, on one core."""
    cv2.setNumThreads(1)
    return work[0], work[1]()


def jobs(data: Path, work: Path, laps: int, seed: int) -> dict[tuple[str, ...], partial]:
    """All rows, by the headings above them and their name: one setting on every set, then the next setting."""
    known = lap_runs(Recorder(load_preset('classic'), work), seed)
    sets = {('patrol',): (2 * PER_LAP, partial(patrol_row, laps)),
            ('day and night',): (2 * len(known[0][1]), partial(light_row, work, seed))}
    for title, trial in real_trials(Recorder(None, work), data):
        if ', ' not in title:  # the others are the same drive with less
            sets['real sets', title] = (len(trial.known or trial.queries), partial(real_row, title, data, work))
    rows = {above: [((*above, name), partial(row, settings)) for name, settings in settings_for(count).items()]
            for above, (count, row) in sets.items()}
    return dict(chain.from_iterable(zip(*rows.values())))


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'


def as_markdown(results: dict, where: dict) -> str:
    """The tables."""
    lines = heading('retention', 'retention.py', where, 'Preset `classic`. `recall@1` and `recall` count a place that '
                    'was given up as missed; `false`: accepted matches that are wrong.')
    for title, settings in sorted(results.get('real sets', {}).items()):
        lines += [f'## {title}', '', *table(
            ('settings', 'keyframes', 'with place', 'recall@1', 'accepted', 'false', 'precision', 'recall'),
            ((name, row['kept'], row['queries_with_place'], _number(row['recall@1']), row['accepted'], row['false'],
              _number(row['precision']), _number(row['recall'])) for name, row in sorted(settings.items()))), '']
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
             for name, row in sorted(results['day and night'].items()))), '']
    return '\n'.join(lines).rstrip() + '\n'


def _patrol_table(rows: dict[str, dict]) -> Iterable[str]:
    laps = next(iter(rows.values()))['laps']
    shown = [lap for lap in (1, 2, 3, 5, 10, 20, 40, 80, 120) if lap <= laps]
    return table(('settings', f'keyframes after lap {_listed(shown)}', 'recall', 'false'),
                 ((name, _listed(row['kept_by_lap'][lap - 1] for lap in shown), _number(row['recall']), row['false'])
                  for name, row in sorted(rows.items())))


def _listed(values: Iterable[object]) -> str:
    return ' / '.join(map(str, values))


def main() -> None:
    """Measure and write."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('--laps', type=int, default=10)
    parser.add_argument('--seed', type=int, default=101, help='of the simulated building')
    parser.add_argument('--processes', type=int, default=1, help='no more than there are idle cores')
    parser.add_argument('--only', default='', help='a regular expression that the rows begin with, such as "patrol"')
    args = parser.parse_args()
    path, where = RESULTS / 'retention.json', machine('cpu')
    results = json.loads(path.read_text())['rows'] if path.is_file() else {}
    wanted = {names: row for names, row in jobs(args.data, args.work, args.laps, args.seed).items()
              if re.match(args.only, ' '.join(names))}
    with get_context('spawn').Pool(args.processes) as pool:
        for (*headings, name), numbers in pool.imap_unordered(called, wanted.items()):
            rows = results
            for above in headings:
                rows = rows.setdefault(above, {})
            rows[name] = numbers
            print(*headings, name, numbers, flush=True)
            write_results('retention', where, {'rows': results}, as_markdown(results, where))


if __name__ == '__main__':
    main()
