"""How few bytes of a keyframe a map may keep: codes of segments and keypoints against recall and the decision.

    python benchmark/small_keyframes.py --data ../shared/data --work /tmp/small [--seeds /tmp/loops] [CODE ...]

writes results/small_keyframes.{json,md}; what is not asked for keeps the figures of an earlier call. Describes the real
sets once, into maps under --work, with the overlaps of their segments; simulated drives are those that loop_closures.py
has described into --seeds, as far as they are there. A code is BITS:PSI:KEYPOINTS:BITS: bits of a segment's value; the
largest overlap of two segments of the map or, above 1, how many of an image are kept, those that overlap least; the
keypoints of an image; and bits of their descriptor's values. 16:1:500:8 is what maps kept before. Codes change what the
map keeps; queries are as they were described, or, with ":both" behind the code, go through the segments' code as well,
as they would in a message.

Bytes are those of segments with box and area (12), of keypoints with position (4) and depth (2, where any is known),
those of 2 bits as keypoint_codec packs them, and of the thumbnail, as a map would make it of the thumbnail that the
described keyframes have. Identity, poses, camera model and the database's pages are not counted: about 1 kB more.
"""
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from calibration import LEARNED_SEEDS
from drives import Trial, play, real_trials, simulated_trials
from recorded_runs import Recorder, Run
from tables import RESULTS, command_line, heading, table, write_results
from version_figures import described_seeds, figures

from segvlad_ros.description.arrays import unit_rows
from segvlad_ros.description.describer import Describer
from segvlad_ros.description.keypoint_codec import pack_keypoints, unpack_keypoints
from segvlad_ros.description.scalar_quantizer import ScalarQuantizer
from segvlad_ros.description.segments import neighbours
from segvlad_ros.description.vlad import merge_neighbours
from segvlad_ros.evaluation.measure import machine
from segvlad_ros.io.image_codec import decode_compressed
from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.mapper import thumbnail
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.pipeline.sections import Preset
from segvlad_ros.types import FeatureGrid, Keyframe, KeyframeId, Keypoints, Segments

TODAY = '16:1:500:8'
CODES = (TODAY, *(f'{bits}:1:500:8' for bits in (8, 4, 3, 2)), *(f'16:{psi}:500:8' for psi in (0.8, 0.6, 0.4)),
         *(f'16:1:{count}:8' for count in (300, 200, 150)), *(f'16:1:500:{bits}' for bits in (4, 2, 1)))
"""One factor at a time; what was tried beyond these is in the results."""

# Width of a level of a value of variance 1, by bits: of least error for the normal distribution (J. Max 1960).
STEPS = {8: 0.0308, 2: 0.9957}


@dataclass(frozen=True)
class Code:
    """What a map keeps of a keyframe, see the module."""

    bits: int
    psi: float
    keypoints: int
    keypoint_bits: int
    both: bool = False

    @classmethod
    def of(cls, text: str) -> Code:
        """Read ``BITS:PSI:KEYPOINTS:BITS[:both]``."""
        bits, psi, keypoints, keypoint_bits, *both = text.split(':')
        return cls(int(bits), float(psi), int(keypoints), int(keypoint_bits), bool(both))

    def stored(self, keyframe: Keyframe, overlap: np.ndarray) -> Keyframe:
        """A keyframe as the map gives it back.

        :param overlap: (M,) of its segments, see :func:`overlaps`
        """
        place, points = keyframe.description, keyframe.description.keypoints
        kept = np.flatnonzero(overlap <= self.psi)
        if self.psi > 1:
            kept = np.sort(np.argsort(overlap, kind='stable')[:int(self.psi)])
        if points is not None:
            few = slice(self.keypoints)
            points = coded_keypoints(Keypoints(points.positions[few], points.descriptors[few], points.depths[few]),
                                     self.keypoint_bits)
        return replace(keyframe, description=replace(
            place, descriptors=coded(place.descriptors[kept], self.bits), boxes=place.boxes[kept],
            pixels=place.pixels[kept], keypoints=points))

    def asked(self, keyframe: Keyframe) -> Keyframe:
        """A keyframe as a query."""
        place = keyframe.description
        rows = coded(place.descriptors, self.bits) if self.both else place.descriptors
        return replace(keyframe, description=replace(place, descriptors=rows))

    def sizes(self, keyframe: Keyframe) -> list[int]:
        """Bytes of the segments, keypoints and thumbnail of what :meth:`stored` gave."""
        place, points = keyframe.description, keyframe.description.keypoints
        row = place.descriptors.shape[1] * self.bits // 8
        return [len(place) * (row + 12), 0 if points is None else self._keypoint_bytes(points),
                len(thumbnail(decode_compressed(keyframe.thumbnail))) if keyframe.thumbnail else 0]

    def _keypoint_bytes(self, points: Keypoints) -> int:
        if self.keypoint_bits == 2:
            return len(pack_keypoints(points))
        return len(points.depths) * (16 * self.keypoint_bits + 4 + 2 * bool(np.isfinite(points.depths).any()))


def coded(rows: np.ndarray, bits: int) -> np.ndarray:
    """(M, d) float32 unit rows after codes of some bits a value; 16 are float16, as they come."""
    if bits == 16:
        return rows
    quantizer = quantizer_of(rows.shape[1], 3 if bits == 3 else 4)
    if bits in (3, 4):
        return quantizer.decode(quantizer.encode(rows))
    # equal levels about 0, an even number of them
    step, most = STEPS[bits] / rows.shape[1] ** 0.5, 1 << (bits - 1)
    levels = np.floor(quantizer.rotated(rows) / step).clip(-most, most - 1) + 0.5
    return quantizer.unrotated(unit_rows(levels.astype(np.float32)))


@cache
def quantizer_of(dimension: int, bits: int) -> ScalarQuantizer:
    """One for all keyframes."""
    return ScalarQuantizer(dimension, bits)


def coded_keypoints(points: Keypoints, bits: int) -> Keypoints:
    """Keypoints after codes of some bits a value of their descriptors; 8 are as they come."""
    if bits == 2:
        return unpack_keypoints(pack_keypoints(points))
    if bits == 8:
        return points
    if bits == 1:  # few values lie near this one, and the two stand for those below and above
        return replace(points, descriptors=np.where(points.descriptors >= 24, 60, 8).astype(np.uint8))
    step = 128 >> bits
    levels = np.minimum(np.rint(points.descriptors / step), (1 << bits) - 1)
    return replace(points, descriptors=(levels * step).astype(np.uint8))


def overlaps(incidence: np.ndarray) -> np.ndarray:
    """How much of each segment's cells another one shows that is more worth keeping, as intersection over union.

    The largest segment comes first, and then always the one that overlaps least with those before it (farthest-first
    traversal: T. Gonzalez, Theoretical Computer Science 1985). So the segments with at most psi are what the paper's
    IoU filter keeps: no two of them overlap by more, and each of the others overlaps with one of them by more.

    :param incidence: (M, N) bool, neighbours merged already
    :return: (M,) float32 in [0, 1], the largest overlap with a segment that comes before; 0 of the first
    """
    cells = incidence.astype(np.float32)
    common = cells @ cells.T
    sizes = common.diagonal()
    shared = common / np.maximum(sizes[:, None] + sizes - common, 1)
    overlap, left = np.zeros(len(sizes), np.float32), np.ones(len(sizes), bool)
    following = int(sizes.argmax()) if len(sizes) else 0
    for _ in range(len(sizes)):
        left[following] = False
        overlap[left] = np.maximum(overlap[left], shared[following, left])
        following = int(np.where(left, overlap, np.inf).argmin())
    return overlap


class Described:
    """The real sets, with the overlaps of their segments: maps of a :class:`Recorder`, a file beside each."""

    def __init__(self, work: Path) -> None:
        self._preset, self._work = load_preset('classic'), work
        self.overlaps: dict[KeyframeId, np.ndarray] = {}

    def keyframes(self, name: str, frames: Iterator, session: str) -> Run:
        """See :meth:`Recorder.keyframes`."""
        path, noted = self._work / f'{name}.overlaps.npz', []
        recorder = Recorder(self._preset, self._work, partial(noting_describer, noted))
        run = recorder.keyframes(name, frames, session)
        if noted:  # described now
            np.savez_compressed(path, **{str(keyframe.id.index): overlap
                                         for (keyframe, _), overlap in zip(run, noted, strict=True)})
        with np.load(path) as kept:
            self.overlaps |= {keyframe.id: kept[str(keyframe.id.index)] for keyframe, _ in run}
        return run


def noting_describer(noted: list[np.ndarray], preset: Preset) -> Describer:
    """The preset's describer, which notes the overlaps of the segments of every image that it describes."""
    describer = build_describer(preset)
    describe_segments = describer.describe_segments

    def noting(grid: FeatureGrid, segments: Segments) -> tuple[np.ndarray | None, np.ndarray]:
        rows, kept = describe_segments(grid, segments)
        near = neighbours(segments.centroids, describer.order, describer.rule)
        if len(kept):
            noted.append(overlaps(merge_neighbours(segments.incidence, near)[kept]))
        return rows, kept

    describer.describe_segments = noting
    return describer


def trials(data: Path, work: Path, seeds: Path | None) -> tuple[dict[str, Trial], dict[KeyframeId, np.ndarray]]:
    """Real sets and simulated drives by name, and the overlaps of the real keyframes."""
    described = Described(work)
    found = dict(real_trials(described, data))
    if seeds is not None:
        recorder = Recorder(None, seeds)
        found |= {f'{title.removeprefix("simulated: ")} {seed}': trial for seed in described_seeds(seeds)
                  if seed in LEARNED_SEEDS for title, trial in simulated_trials(recorder, seed)}
    return found, described.overlaps


def measured(trial: Trial, code: Code, overlap: dict[KeyframeId, np.ndarray]) -> dict:
    """The numbers of one drive with one code, by the truth that ignores what shows the same from further back."""
    sizes: list[list[int]] = []

    def stored(keyframe: Keyframe) -> Keyframe:
        unknown = np.zeros(len(keyframe.description))
        kept = code.stored(keyframe, overlap.get(keyframe.id, unknown))
        sizes.append(code.sizes(kept))
        return kept

    asked = replace(trial, queries=[(code.asked(keyframe), where) for keyframe, where in trial.queries])
    played = play(asked, load_preset('classic'), ranked=True, stored=stored)
    row = figures(played.outcomes, played.seconds)
    names = ('segments', 'keypoints', 'thumbnail')
    return {'found': round((row['recall@1'] or 0) * row['queries_with_place']),
            **{name: row[name] for name in ('queries_with_place', 'accepted', 'ignored', 'precision', 'recall', 'false',
                                            'matched_proven')},
            'bytes': dict(zip(names, np.mean(sizes, axis=0).round().astype(int).tolist()))}


def rows_of(text: str, data: Path, work: Path, seeds: Path | None, only: str) -> dict[str, dict]:
    """The numbers of one code, by drive."""
    cv2.setNumThreads(1)
    found, overlap = trials(data, work, seeds)
    return {title: measured(trial, Code.of(text), overlap) for title, trial in found.items() if re.match(only, title)}


def as_markdown(results: dict[str, dict[str, dict]], where: dict) -> str:
    """One row a drive and code."""
    rows = []
    for title, by_code in results.items():
        for text, row in by_code.items():
            code, size = Code.of(text), row['bytes']
            precision, recall = ('-' if row[key] is None else f'{row[key]:.3f}' for key in ('precision', 'recall'))
            rows.append((title + ' *' * row.get('earlier', False), f'{code.bits}{", both" if code.both else ""}',
                         code.psi, code.keypoints, code.keypoint_bits, f'{sum(size.values()) / 1000:.1f}',
                         ' + '.join(f'{size[part] / 1000:.1f}' for part in size),
                         f'{row["found"]} of {row["queries_with_place"]}', row['accepted'], row['ignored'],
                         len(row['false']), precision, recall, row['matched_proven']))
    lines = [*heading('Small keyframes', 'small_keyframes.py', where,
                      'Preset `classic`. Bits: of a value of a segment, and of a keypoint descriptor. Psi: the largest '
                      'overlap of two segments of the map. `ignored`: answered with a reference that counts neither '
                      'way, left out of recall. Bytes: segments + keypoints + thumbnail; without identity, poses, '
                      'camera model and the pages of the database, about 1 kB. Both: queries go through the code, too. '
                      'Rows with * were measured by an earlier form of the script: equal levels at 3 bits, '
                      'least-error levels and another rotation at 4, decoded rows of length 1, keypoints of 2 bits '
                      'without zlib. What drives without a row of 16 bits reach today: shipped.md.'),
             *table(('set', 'bits', 'psi', 'keypoints', 'bits of theirs', 'kB a keyframe', 'of these', 'recall@1',
                     'accepted', 'ignored', 'false', 'precision', 'recall', 'proven'), rows)]
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Play and write."""
    parser = command_line(__doc__, sets=True)
    parser.add_argument('codes', nargs='*', metavar='CODE', default=CODES)
    parser.add_argument('--seeds', type=Path, help='folder of the described simulated drives')
    parser.add_argument('--only', default='', help='a regular expression that the names of drives begin with')
    parser.add_argument('--processes', type=int, default=1)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    where = machine('cpu')
    job = partial(rows_of, data=args.data, work=args.work, seeds=args.seeds, only=args.only)
    trials(args.data, args.work, None)  # described by one process only
    with get_context('spawn').Pool(args.processes) as pool:
        for text, rows in zip(args.codes, pool.imap(job, args.codes)):
            path = RESULTS / 'small_keyframes.json'  # to which another call may have added
            results = json.loads(path.read_text())['sets'] if path.is_file() else {}
            for title, row in rows.items():
                results.setdefault(title, {})[text] = row
                print(text, title, row['found'], row['accepted'], row['ignored'], len(row['false']), row['bytes'],
                      flush=True)
            write_results('small_keyframes', where, {'sets': results}, as_markdown(results, where))


if __name__ == '__main__':
    main()
