"""Fuzzing through the entries by which foreign data comes in: nothing but one line may come of it, and soon.

    python benchmark/fuzz.py [--only REGEX] [--minutes 60] [--seed 1]     goes on where results/fuzz.json ends

Each case is a good image, message or file that was changed at random (fuzz_targets.py), by the seed, the name of its
target and its number alone, so that `--case 'map files' 12345` does one of them again, with its traceback. A case is a
finding if anything but SegvladError is raised, memory included, if it takes more than 100 times the processor time of
the good ones (of the slowest, and of 1 ms at least), if the process takes 512 MB more than it had, or if it ends or
hangs in a case. What is found is kept with its case. All targets take turns, so that any sitting tries a bit of each.
"""
from __future__ import annotations

import json
import logging
import math
import mmap
import re
import resource
import struct
import tempfile
import time
import traceback
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fuzz_targets import TARGETS, Target
from tables import RESULTS, command_line, heading, table

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.types import SegvladError

SLOW, FLOOR_S = 100, 1e-3
BLOW_UP_KB = 512 * 1024
LIMIT_BYTES = 6 << 30  # of the process, so that the allocator refuses more
HANG_S = 120.0
TURN_S = 120.0
KEPT = 20  # findings of a target
_NUMBER = struct.Struct('<q')


@dataclass
class Tally:
    """What is known of one target.

    :ivar refused: cases that were refused in one line; the others were read
    :ivar slowest: the longest case, in usual times
    """

    done: int = 0
    refused: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)


class Trial:
    """One target, ready for its cases.

    :param folder: empty, for its files
    :ivar usual_s: processor time of the slowest good input, or FLOOR_S
    """

    def __init__(self, name: str, seed: int, folder: Path) -> None:
        self._target: Target = TARGETS[name]
        self._words, self._file = [seed, zlib.crc32(name.encode())], folder / f'case{self._target.suffix}'
        self._samples = self._target.samples(folder)
        for number, sample in enumerate(self._samples):  # what is imported, and made, once, is not a part of a case
            if not self.read(sample):
                raise SegvladError(f'{name}: input {number} is refused before it is changed')
        self.usual_s = max(FLOOR_S, *(min(self._timed(sample) for _ in range(3)) for sample in self._samples))

    def case(self, number: int) -> Any:
        """The input of a case."""
        rng = np.random.default_rng([*self._words, number])
        return self._target.mutated(self._samples[rng.integers(len(self._samples))], rng)

    def read(self, content: Any) -> bool:
        """Take one input; False if it was refused as it should be."""
        if isinstance(content, bytes):
            self._file.write_bytes(content)
            content = self._file
        try:
            self._target.read(content)
            return True
        except SegvladError as error:
            if '\n' in str(error):
                raise AssertionError(f'two lines: {error!r}') from error
            return False

    def _timed(self, content: Any) -> float:
        begin = time.thread_time()
        self.read(content)
        return time.thread_time() - begin

    def judge(self, number: int, tally: Tally) -> None:
        """Do one case."""
        content, before, begin = self.case(number), _peak_kb(), time.thread_time()
        problem = ''
        try:
            tally.refused += not self.read(content)
        except Exception as error:  # whatever it is, it is one too many
            problem = f'{type(error).__name__}: {error}'
        taken = (time.thread_time() - begin) / self.usual_s
        tally.done, tally.slowest = tally.done + 1, max(tally.slowest, round(taken, 1))
        if not problem and taken > SLOW:
            problem = f'takes {taken:.0f} times the usual {self.usual_s * 1e3:.2f} ms'
        if not problem and _peak_kb() - before > BLOW_UP_KB:
            problem = f'takes {(_peak_kb() - before) // 1024} MB more'
        if problem:
            note(tally, number, problem)


def note(tally: Tally, number: int, problem: str) -> None:
    """Keep a finding."""
    print(f'case {number}: {problem}', flush=True)
    if len(tally.findings) < KEPT:
        tally.findings.append(f'case {number}: {" ".join(problem.split())[:300]}')


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def work(name: str, seed: int, first: int, last: int, until_s: float, at: str, send: Connection) -> None:  # noqa: PLR0917
    """A turn of one target, in a process of its own.

    :param at: a file that says which case is being done
    """
    cv2.setNumThreads(1)
    logging.disable(logging.WARNING)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    tally, end = Tally(), time.monotonic() + until_s
    with tempfile.TemporaryDirectory() as folder, Path(at).open('r+b') as file, mmap.mmap(file.fileno(), 8) as where:
        trial, begin = Trial(name, seed, Path(folder)), time.process_time()
        for number in range(first, last):
            where[:] = _NUMBER.pack(number)
            trial.judge(number, tally)
            if time.monotonic() > end:
                break
        tally.seconds = time.process_time() - begin
    send.send(asdict(tally))


def turn(name: str, seed: int, tally: Tally, until_s: float) -> None:
    """Do a few seconds of cases of one target, and add them to its tally."""
    with tempfile.NamedTemporaryFile() as at:
        at.write(_NUMBER.pack(tally.done))
        at.flush()
        receive, send = get_context('spawn').Pipe(False)
        process = get_context('spawn').Process(target=work, args=(
            name, seed, tally.done, TARGETS[name].wanted, until_s, at.name, send))
        process.start()
        send.close()
        with suppress(EOFError):
            if receive.poll(until_s + HANG_S):
                more = receive.recv()
                for key in ('done', 'refused', 'seconds'):
                    setattr(tally, key, getattr(tally, key) + more[key])
                tally.slowest = max(tally.slowest, more['slowest'])
                tally.findings = (tally.findings + more['findings'])[:KEPT]
                process.join()
                return
        process.join(1.0)
        ended = process.exitcode
        process.kill()
        process.join()
        if ended is not None and ended > 0:
            raise SegvladError(f'{name} cannot be tried, as is said above')
        number = _NUMBER.unpack(Path(at.name).read_bytes())[0]
        note(tally, number, 'hangs' if ended is None else f'ends the process with signal {-ended}')
        tally.done = number + 1


def campaign(path: Path, seed: int, only: str = '', minutes: float = math.inf) -> dict[str, Tally]:
    """Go on with what was done, for so long.

    :param path: keeps what was done
    """
    known = json.loads(path.read_text()) if path.is_file() else {}
    if known.get('seed', seed) != seed:
        raise SegvladError(f'{path} is of seed {known["seed"]}: go on with that, or move it away')
    tallies = {name: Tally(**known.get('targets', {}).get(name, {})) for name in TARGETS}
    end, where = time.monotonic() + 60 * minutes, machine()
    chosen = [name for name in TARGETS if re.search(only, name)]
    while time.monotonic() < end and any(tallies[name].done < TARGETS[name].wanted for name in chosen):
        # those that have come least far go first
        for name in sorted(chosen, key=lambda name: tallies[name].done / TARGETS[name].wanted):
            if tallies[name].done < TARGETS[name].wanted and time.monotonic() < end:
                turn(name, seed, tallies[name], TURN_S)
                print(name, asdict(tallies[name]), flush=True)
                path.write_text(json.dumps({'machine': where, 'seed': seed, 'targets': {
                    each: asdict(tally) for each, tally in tallies.items()}}, indent=1) + '\n')
                path.with_suffix('.md').write_text(as_markdown(where, seed, tallies))
    return tallies


def as_markdown(where: dict, seed: int, tallies: dict[str, Tally]) -> str:
    """The page."""
    done, wanted = sum(tally.done for tally in tallies.values()), sum(target.wanted for target in TARGETS.values())
    left_s = sum((TARGETS[name].wanted - tally.done) * tally.seconds / tally.done
                 for name, tally in tallies.items() if tally.done)
    spent_s = sum(tally.seconds for tally in tallies.values())
    rows = [(name, f'{tally.done:,}', f'{TARGETS[name].wanted:,}', f'{tally.refused / max(tally.done, 1):.0%}',
             f'{tally.slowest:g}', f'{1e3 * tally.seconds / max(tally.done, 1):.2f}', len(tally.findings))
            for name, tally in tallies.items()]
    lines = [*heading('fuzz', 'fuzz.py', where),
             f'Seed {seed}: {done:,} of {wanted:,} cases in {spent_s / 3600:.2f} hours of processor time; at these '
             f'speeds the rest takes {left_s / 3600:.1f} more. `slowest`: in times the usual.', '',
             *table(('target', 'done', 'wanted', 'refused', 'slowest', 'ms each', 'findings'), rows)]
    found = [f'- {name}, {finding}' for name, tally in tallies.items() for finding in tally.findings]
    return '\n'.join([*lines, *(['', *found] if found else [])]) + '\n'


def again(name: str, number: int, seed: int) -> None:
    """Do one case here, with all that it says."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(name, seed, Path(folder))
        content = trial.case(number)
        print(content if len(repr(content)) < 2000 else f'{len(content)} bytes')
        try:
            print('read' if trial.read(content) else 'refused')
        except Exception:
            traceback.print_exc()


def main() -> None:
    """Go on, or do one case again."""
    parser = command_line(__doc__)
    parser.add_argument('--only', default='', help='a regular expression that names of targets match')
    parser.add_argument('--minutes', type=float, default=60.0)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--state', type=Path, default=RESULTS / 'fuzz.json', help='what was done so far')
    parser.add_argument('--case', nargs=2, metavar=('TARGET', 'NUMBER'))
    args = parser.parse_args()
    if args.case:
        again(args.case[0], int(args.case[1]), args.seed)
    else:
        campaign(args.state, args.seed, args.only, args.minutes)


if __name__ == '__main__':
    main()
