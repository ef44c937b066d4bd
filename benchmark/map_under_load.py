"""A map of a million segments that grows by 5 keyframes a second while it is searched without a pause.

    python benchmark/map_under_load.py --data ../shared/data --work /tmp/loops [--seconds 300]

writes results/map_under_load.{json,md}. One thread adds made keyframes (made_maps.py), another asks, in turn, for
places of the map that was loaded and for ones that were just added. Every candidate's identity is compared with the one
that was added under its entry.
"""
from __future__ import annotations

import threading
import time
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from made_maps import MadeMap
from map_search import Made, made_map, make
from tables import command_line, heading, page, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.builders import build_recognizer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.pipeline.recognizer import Recognizer

RATE_HZ = 5.0
_ASKED = 200  # places of the loaded map that are asked for


class Growing:
    """Adds keyframes at a rate, in a thread of its own."""

    def __init__(self, recognizer: Recognizer, made: MadeMap, first: int, total: int) -> None:
        self.seconds: list[float] = []
        self.late_s = 0.0
        self._recognizer, self._made, self._numbers = recognizer, made, range(first, first + total)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether more is to come."""
        return self._thread.is_alive()

    def _run(self) -> None:
        begin = time.perf_counter()
        for turn, number in enumerate(self._numbers):
            keyframe, due = self._made.keyframe(number), begin + turn / RATE_HZ
            time.sleep(max(due - time.perf_counter(), 0))
            self.late_s = max(self.late_s, time.perf_counter() - due)
            started = time.perf_counter()
            self._recognizer.add(keyframe)
            self.seconds.append(time.perf_counter() - started)


def measure(written: Made, data: Path, work: Path, seconds: float) -> dict:
    """Load the map, let it grow, ask."""
    made, recognizer = made_map(data, work), build_recognizer(load_preset('classic'))
    with PlaceMap.open(written.path) as place_map:
        recognizer.load(place_map)
    known = {number: written.query(number) for number in written.wanted[:_ASKED]}
    growing = Growing(recognizer, made, written.keyframes, round(seconds * RATE_HZ))
    spent, right, wrong = [], {'loaded': [], 'added': []}, 0
    for turn in count():
        if not growing.running:
            break
        added = written.keyframes + len(growing.seconds) - 1
        kind = 'added' if turn % 2 and added >= written.keyframes else 'loaded'
        number = added if kind == 'added' else written.wanted[turn // 2 % _ASKED]
        query = made.query(number) if kind == 'added' else known[number]
        begin = time.perf_counter()
        answer = recognizer.recognize(query, exclude_recent=False, independent=True)
        spent.append(time.perf_counter() - begin)
        right[kind].append(bool(answer.candidates) and answer.candidates[0].id.index == number + 1)
        wrong += sum(candidate.id.index != candidate.entry + 1 for candidate in answer.candidates)
    return {'segments_before': written.segments, 'segments_after': recognizer.segments, 'added': len(growing.seconds),
            'seconds': seconds, 'answers': len(spent), 'wrong_ids': wrong, 'latest_add_s': growing.late_s,
            **{f'recall_at_1_{kind}': float(np.mean(found)) for kind, found in right.items()},
            **{f'{name}_ms_{label}': 1e3 * float(np.percentile(values, share))
               for name, values in (('answer', spent), ('add', growing.seconds))
               for label, share in (('p50', 50), ('p95', 95), ('longest', 100))}}


def as_markdown(row: dict, where: dict) -> str:
    """One table."""
    rows = [(name, f'{row[f"{name}_ms_p50"]:.0f}', f'{row[f"{name}_ms_p95"]:.0f}', f'{row[f"{name}_ms_longest"]:.0f}')
            for name in ('answer', 'add')]
    about = (f'{row["added"]} keyframes were added in {row["seconds"]:g} s to a map of {row["segments_before"]:,} '
             f'segments (then {row["segments_after"]:,}), and {row["answers"]} queries answered meanwhile, one after '
             f'another: {row["wrong_ids"]} wrong identities; recall@1 {row["recall_at_1_loaded"]:.3f} of what was '
             f'loaded and {row["recall_at_1_added"]:.3f} of what had just been added. Times include waiting for the '
             'other thread.')
    return page(heading('A map that grows while it is searched', 'map_under_load.py', where, about),
                ('', 'p50 ms', 'p95 ms', 'longest ms'), rows)


def main() -> None:
    """Measure and write."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('--seconds', type=float, default=300.0, help='(%(default)g)')
    parser.add_argument('--segments', type=float, default=1e6, help='of the map at the beginning (%(default)g)')
    args = parser.parse_args()
    where = machine('cpu')
    with get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        written = pool.apply(make, (args.segments, _ASKED, args.data, args.work))
        row = pool.apply(measure, (written, args.data, args.work, args.seconds))
    write_results('map_under_load', where, row, as_markdown(row, where))


if __name__ == '__main__':
    main()
