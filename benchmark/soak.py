"""A day of a robot, as fast as the machine goes: do memory, open files, threads or the time of an answer grow?

    python benchmark/soak.py [--hours 24] [--cap 100]       writes results/soak.{json,md,png}

The day is that of robot_day.py. What runs is the core of a map_builder with a novelty gate and a cap (gate,
description, map file, retention) and of a localizer that follows it, with the messages between them, serialised, in one
process; soak_nodes.py does the same with real nodes. A sample is taken every 10 s of wall time: memory of its own
(RssAnon), handles, threads, and what a keyframe took since the one before, as process time, which other work on the
machine changes least.
"""
from __future__ import annotations

import json
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
from flatness import SAMPLE_S, growth_table, look, percentiles_ms, plot, verdict
from rclpy.serialization import deserialize_message, serialize_message
from robot_day import ABOUT, EXPLAINED_SCORE, Views, day_options, frames, rendered, small_preset
from tables import RESULTS, heading, write_results

from segvlad_ros.evaluation.measure import machine
from segvlad_ros.mapping.keyframes import KeyframeGate
from segvlad_ros.mapping.novelty import NoveltySettings
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.mapping.retention import RetentionSettings
from segvlad_ros.msg import PlaceDescriptor
from segvlad_ros.pipeline.builders import build_describer, build_recognizer
from segvlad_ros.pipeline.map_keeper import MapKeeper
from segvlad_ros.pipeline.mapper import Mapper
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.ros.output.keyframe_messages import from_place_descriptor, to_place_descriptor
from segvlad_ros.threads import one_blas_thread
from segvlad_ros.types import Frame, SegvladError, Status

FIGURES = {'rss_anon_mb': 'memory of its own (RssAnon), MB', 'handles': 'open handles', 'threads': 'threads',
           'keyframe_ms_p50': 'process time of a keyframe, ms, median', 'keyframe_ms_p95': 'its 95th percentile, ms'}


@dataclass
class Counts:
    """What has happened so far."""

    frames: int = 0
    described: int = 0
    stored: int = 0
    explained: int = 0
    evicted: int = 0
    matched: int = 0


@dataclass
class Sample:
    """What the process was like at one moment.

    :ivar wall_s: since the day began
    :ivar hour: of the robot's day
    :ivar rss_anon_mb: memory of its own
    :ivar keyframe_ms_p50, keyframe_ms_p95: process time of a described keyframe since the last sample, None without
        one
    """

    wall_s: float
    hour: float
    rss_anon_mb: float
    handles: int
    threads: int
    keyframe_ms_p50: float | None
    keyframe_ms_p95: float | None
    held: int
    counts: dict[str, int] = field(default_factory=dict)


def sample(wall_s: float, hour: float, taken: list[float], held: int, counts: Counts) -> Sample:
    """Look at this process."""
    seen = look()
    return Sample(round(wall_s, 1), round(hour, 4), seen.rss_anon_mb, seen.handles, seen.threads,
                  *percentiles_ms(taken), held, asdict(counts))


class Robot:
    """A map_builder that keeps its map small and a localizer that follows it, without the wires."""

    def __init__(self, file: Path, views: Views, cap: int) -> None:
        preset = load_preset(small_preset(file.parent, views.model))
        self._digest = preset.fingerprint()['digest']
        describer = build_describer(preset)
        self._mapper = Mapper(describer, KeyframeGate())
        self._map = PlaceMap.create(file, preset.fingerprint(), describer.dimension)
        self._keeper = MapKeeper(build_recognizer(preset),
                                 RetentionSettings(cap, novelty=NoveltySettings(EXPLAINED_SCORE)), self._map)
        self._localizer = build_recognizer(preset)
        self.counts = Counts()

    @property
    def held(self) -> int:
        """Keyframes of the map.

        :raises SegvladError: the two do not hold the same
        """
        if not self._map.count == self._localizer.count == self._keeper.recognizer.count:
            raise SegvladError(f'the file holds {self._map.count} keyframes, its builder '
                               f'{self._keeper.recognizer.count}, its follower {self._localizer.count}')
        return self._map.count

    def take(self, frame: Frame) -> bool:
        """One frame of the camera; returns whether it was described."""
        self.counts.frames += 1
        keyframe = self._mapper.process(frame)
        if keyframe is None:
            return False
        kept = self._keeper.add(keyframe)
        message = serialize_message(to_place_descriptor(keyframe, self._digest, passed_over=not kept.stored))
        received = from_place_descriptor(deserialize_message(message, PlaceDescriptor))
        answer = self._localizer.recognize(received, exclude_recent=True)
        if kept.stored:
            self._localizer.add(received)
        self._localizer.remove(kept.removed)
        self._localizer.compact()
        for name, more in (('described', 1), ('stored', kept.stored), ('explained', bool(kept.explained)),
                           ('evicted', len(kept.removed)), ('matched', answer.status == Status.MATCHED)):
            setattr(self.counts, name, getattr(self.counts, name) + int(more))
        return True

    def close(self) -> None:
        """Close the map."""
        self._map.close()


def run(hours: float, cap: int, seed: int, width: int, every_s: float = SAMPLE_S) -> list[Sample]:
    """The whole day."""
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as folder, one_blas_thread():
        views = rendered(Path(folder), seed, width)
        begin = last = time.monotonic()
        taken: list[float] = []
        with closing(Robot(Path(folder) / 'day.segvlad', views, cap)) as robot:
            for hour, frame in frames(views, hours, seed):
                before = time.process_time()
                if robot.take(frame):
                    taken.append(time.process_time() - before)
                if time.monotonic() - last >= every_s:
                    last = time.monotonic()
                    samples.append(sample(last - begin, hour, taken, robot.held, robot.counts))
                    taken = []
                    print(json.dumps(asdict(samples[-1])), flush=True)
            samples.append(sample(time.monotonic() - begin, hours, taken, robot.held, robot.counts))
    return samples


def as_markdown(where: dict, figures: dict, samples: list[Sample]) -> str:
    """The page."""
    counts = samples[-1].counts
    return '\n'.join([
        *heading('soak', 'soak.py', where, ABOUT),
        f'{counts["frames"]:,} frames, {counts["described"]:,} keyframes described and answered twice, '
        f'{counts["matched"]:,} of them matched; {counts["stored"]:,} stored, {counts["explained"]:,} explained by the '
        f'map, {counts["evicted"]:,} given up. The map was full after {figures["full_after_hours"]:.1f} hours. '
        f'It took {samples[-1].wall_s / 60:.0f} minutes.', '',
        *growth_table(figures, FIGURES), '',
        '![memory, keyframes, handles and threads, process time over the day](soak.png)']) + '\n'


def main() -> None:
    """Measure and write results."""
    args = day_options(__doc__).parse_args()
    cv2.setNumThreads(1)
    where = machine()
    samples = run(**vars(args))
    rows = [asdict(each) for each in samples]
    figures, counts = verdict(rows, args.cap, FIGURES), samples[-1].counts
    numbers = {**vars(args), 'verdict': figures, 'samples': rows}
    write_results('soak', where, numbers, as_markdown(where, figures, samples))
    plot(RESULTS / 'soak.png', f'{counts["described"]:,} keyframes described, {counts["stored"]:,} stored, '
         f'{counts["evicted"]:,} given up, at most {args.cap} held', rows, {
             'memory [MB]': ['rss_anon_mb'], 'keyframes held': ['held'], 'handles, threads': ['handles', 'threads'],
             'process time\nof a keyframe [ms]': ['keyframe_ms_p50', 'keyframe_ms_p95']})
    print(json.dumps(figures, indent=1))


if __name__ == '__main__':
    main()
