"""A day of a robot, as fast as the machine goes: do memory, open files, threads or the time of an answer grow?

    python benchmark/soak.py [--hours 24] [--cap 100]       writes results/soak.{json,md,png}

The robot stands two thirds of every hour, and drives laps through a simulated building for the rest of it, each hour
in another light: by day, on another day, at night with a lamp of its own. What it sees was rendered before; each frame
is shifted, lit and noisy in its own way, and comes with depth, calibration and odometry that drifts. A camera goes on
while the robot stands.

What runs is the core of a map_builder with a novelty gate and a cap (gate, description, map file, retention) and of a
localizer that follows it, with the messages between them, serialised, in one process. A sample is taken every 10 s of
wall time: memory of its own (RssAnon), handles, threads, and what a keyframe took since the one before, as process
time, which other work on the machine changes least.
"""
from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from retention import at_night
from tables import RESULTS, command_line, heading, table, write_results

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
from segvlad_ros.simulation.camera import BASE_FROM_CAMERA, CAMERA_FRAME
from segvlad_ros.simulation.robot import START_NS, SimulatedRobot
from segvlad_ros.simulation.routes import PlanarPath, odometry
from segvlad_ros.simulation.scenario import load_scenario
from segvlad_ros.threads import one_blas_thread
from segvlad_ros.types import CameraModel, Frame, SegvladError, Status

STEP_M = 0.55  # a keyframe each, whatever odometry makes of half a metre
LAPS_AN_HOUR, PARKED_S = 12, 2400.0
STANDING_PERIOD_S = 4.0
SHIFT, GAIN, NOISE = 0.015, 0.08, 3.0  # of the width, of the brightness, grey levels
EXPLAINED_SCORE, KEYPOINTS = 0.3, 150
SAMPLE_S = 10.0
FLAT = 0.02
HOUR_S = 3600.0
LIGHTS = ('day', 'another day', 'night')  # one an hour


def render(folder: Path, seed: int, width: int) -> None:
    """Take all pictures along a lap in each light; the world that is needed for it goes with the process that calls."""
    robots = [SimulatedRobot(load_scenario('demo', seed=seed, route='lap', run=run)) for run in range(2)]
    drive, model = robots[0].drive, robots[0].camera.model
    along = np.arange(0.0, drive.path.distance[-1], STEP_M)
    path = PlanarPath(*(np.interp(along, drive.path.distance, values)
                        for values in (drive.path.x, drive.path.y, drive.path.yaw)))
    step = model.width // width
    size = model.width // step, model.height // step
    shape = len(LIGHTS), len(path), size[1], size[0]
    rgb, depth = np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.float32)
    rng = np.random.default_rng(seed)
    for light, name in enumerate(LIGHTS):
        robot = robots[name == 'another day']
        for view in range(len(path)):
            frame = robot.place(path.x[view], path.y[view], path.yaw[view], view)
            frame = at_night(frame, rng) if name == 'night' else frame
            rgb[light, view] = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
            depth[light, view] = frame.depth[::step, ::step]
    for name, array in (('rgb', rgb), ('depth', depth), ('path', np.array([path.x, path.y, path.yaw])),
                        ('matrix', np.diag([1 / step, 1 / step, 1]) @ model.matrix)):
        np.save(folder / f'{name}.npy', array)


class Views:
    """What there is to see along a lap in each light, read from files: it is no memory of this process.

    :param folder: of :func:`render`
    :ivar path: where each was taken
    """

    def __init__(self, folder: Path) -> None:
        self.path = PlanarPath(*np.load(folder / 'path.npy'))
        self._rgb, self._depth = (np.load(folder / f'{name}.npy', mmap_mode='r') for name in ('rgb', 'depth'))
        height, width = self._depth.shape[2:]
        self.model = CameraModel(width, height, np.load(folder / 'matrix.npy'), np.zeros(5))

    def __len__(self) -> int:
        return len(self.path)

    def seen(self, light: int, view: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(h, w, 3) uint8 and (h, w) float32 metres: a view as it is seen this time."""
        rgb, depth = self._rgb[light, view], self._depth[light, view]
        size = rgb.shape[1::-1]
        right, down = rng.uniform(-SHIFT, SHIFT, 2) * size[0]
        shift = np.float32([[1, 0, right], [0, 1, down]])
        rgb = cv2.warpAffine(rgb, shift, size, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        rgb *= np.float32(rng.uniform(1 - GAIN, 1 + GAIN))
        rgb += NOISE * rng.standard_normal(rgb.shape, dtype=np.float32)
        depth = cv2.warpAffine(depth, shift, size, flags=cv2.INTER_NEAREST, borderValue=float('nan'))
        return np.clip(rgb, 0, 255).astype(np.uint8), depth


def frames(views: Views, hours: float, seed: int) -> Iterator[tuple[float, Frame]]:
    """What the camera delivers, with the hour of the day."""
    rng = np.random.default_rng([seed, 1])
    laps, an_hour = round(hours * LAPS_AN_HOUR), len(views) * LAPS_AN_HOUR
    path = PlanarPath(np.tile(views.path.x, laps), np.tile(views.path.y, laps),
                      np.unwrap(np.tile(views.path.yaw, laps)))
    reported = odometry(path, rng)

    def frame(number: int, seconds: float) -> tuple[float, Frame]:
        rgb, depth = views.seen(number // an_hour % len(LIGHTS), number % len(views), rng)
        return seconds / HOUR_S, Frame(rgb, START_NS + round(seconds * 1e9), '', CAMERA_FRAME,
                                       reported.pose(number, 'odom'), depth, views.model, BASE_FROM_CAMERA)

    for number in range(len(path)):
        hour, within = divmod(number, an_hour)
        begins_s = hour * HOUR_S + PARKED_S
        if not within:  # it stands where it will begin
            for standing_s in np.arange(hour * HOUR_S, begins_s, STANDING_PERIOD_S):
                yield frame(number, standing_s)
        yield frame(number, begins_s + (HOUR_S - PARKED_S) * within / an_hour)


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
    :ivar keyframe_ms_p50, keyframe_ms_p95: process time of a described keyframe since the last sample
    """

    wall_s: float
    hour: float
    rss_anon_mb: float
    handles: int
    threads: int
    keyframe_ms_p50: float
    keyframe_ms_p95: float
    held: int
    counts: dict[str, int] = field(default_factory=dict)


def sample(wall_s: float, hour: float, taken: list[float], held: int, counts: Counts) -> Sample:
    """Look at this process."""
    lines = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
    p50, p95 = np.percentile(taken, (50, 95)) * 1e3 if taken else (float('nan'),) * 2
    return Sample(round(wall_s, 1), round(hour, 4), int(lines['RssAnon'].split()[0]) / 1024,
                  len(os.listdir('/proc/self/fd')), int(lines['Threads']), round(float(p50), 2), round(float(p95), 2),
                  held, asdict(counts))


class Robot:
    """A map_builder that keeps its map small and a localizer that follows it, without the wires."""

    def __init__(self, file: Path, views: Views, cap: int) -> None:
        preset = load_preset('classic', {'image.width': views.model.width, 'image.height': views.model.height,
                                          'geometry.max_keypoints': KEYPOINTS})
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
        with get_context('spawn').Pool(1) as pool:
            pool.apply(render, (Path(folder), seed, width))
        views = Views(Path(folder))
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


def verdict(samples: list[Sample], cap: int) -> dict[str, float]:
    """Whether it was flat: the last round of lights against the first one with a full map.

    What differs from hour to hour, with the light, is the same in every round.
    """
    full = next((each.hour for each in samples if each.held >= cap), None)
    if full is None:
        raise SegvladError(f'the map never held {cap} keyframes: choose a smaller cap, or more hours')
    first, rounds = np.ceil(full), len(LIGHTS)
    last = samples[-1].hour - rounds
    if last < first + rounds:
        raise SegvladError(f'the map was full after {full:.1f} hours: two rounds of {rounds} hours must follow')
    figures: dict[str, float] = {'full_after_hours': full}
    for name in ('rss_anon_mb', 'handles', 'threads', 'keyframe_ms_p50', 'keyframe_ms_p95'):
        before, after = (np.nanmedian([getattr(each, name) for each in samples if begin < each.hour <= begin + rounds])
                         for begin in (first, last))
        figures |= {f'{name}_first': round(float(before), 2), f'{name}_last': round(float(after), 2),
                    f'{name}_growth': round(float(after / before - 1), 4)}
    return figures


def plot(samples: list[Sample], cap: int, path: Path) -> None:
    """Four curves over the day."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    hours = [each.hour for each in samples]
    figure, axes = pyplot.subplots(4, 1, figsize=(8, 8), sharex=True, layout='constrained')
    curves = (('memory [MB]', ('rss_anon_mb',)), ('keyframes held', ('held',)), ('handles, threads',
              ('handles', 'threads')), ('process time\nof a keyframe [ms]', ('keyframe_ms_p50', 'keyframe_ms_p95')))
    for axis, (label, names) in zip(axes, curves):
        for name in names:
            axis.plot(hours, [getattr(each, name) for each in samples], label=name, linewidth=1)
        axis.set(ylabel=label, ylim=(0, None))
        if len(names) > 1:
            axis.legend(loc='lower right', fontsize=8)
    counts = samples[-1].counts
    axes[0].set_title(f'{counts["described"]:,} keyframes described, {counts["stored"]:,} stored, '
                      f'{counts["evicted"]:,} given up, at most {cap} held', fontsize=9)
    axes[-1].set_xlabel("hour of the robot's day")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def as_markdown(where: dict, figures: dict, samples: list[Sample]) -> str:
    """The page."""
    names = {'rss_anon_mb': 'memory of its own (RssAnon), MB', 'handles': 'open handles', 'threads': 'threads',
             'keyframe_ms_p50': 'process time of a keyframe, ms, median', 'keyframe_ms_p95': 'its 95th percentile, ms'}
    counts = samples[-1].counts
    rows = [(title, figures[f'{name}_first'], figures[f'{name}_last'], f'{figures[f"{name}_growth"]:+.2%}')
            for name, title in names.items()]
    return '\n'.join([
        *heading('soak', 'soak.py', where, ' '.join(__doc__.split('\n\n')[2].split())),
        f'{counts["frames"]:,} frames, {counts["described"]:,} keyframes described and answered twice, '
        f'{counts["matched"]:,} of them matched; {counts["stored"]:,} stored, {counts["explained"]:,} explained by the '
        f'map, {counts["evicted"]:,} given up. The map was full after {figures["full_after_hours"]:.1f} hours. '
        f'It took {samples[-1].wall_s / 60:.0f} minutes.', '',
        *table(('figure', 'first three hours with a full map', 'last three hours', 'growth'), rows), '',
        '![memory, keyframes, handles and threads, process time over the day](soak.png)']) + '\n'


def main() -> None:
    """Measure and write results."""
    parser = command_line(__doc__)
    parser.add_argument('--hours', type=float, default=24.0)
    parser.add_argument('--cap', type=int, default=100)
    parser.add_argument('--seed', type=int, default=11)
    parser.add_argument('--width', type=int, default=160, help='of the images, pixels: the larger, the longer it takes')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    where = machine()
    samples = run(args.hours, args.cap, args.seed, args.width)
    figures = verdict(samples, args.cap)
    numbers = {'hours': args.hours, 'cap': args.cap, 'seed': args.seed, 'width': args.width, 'verdict': figures,
               'samples': [asdict(each) for each in samples]}
    write_results('soak', where, numbers, as_markdown(where, figures, samples))
    plot(samples, args.cap, RESULTS / 'soak.png')
    print(json.dumps(figures, indent=1))


if __name__ == '__main__':
    main()
