"""The day of soak.py through real nodes, over DDS, as fast as they take it: do their memory, handles or threads grow?

    python benchmark/soak_nodes.py [--minutes 60]      writes results/soak_nodes.{json,md,png}

The day is that of robot_day.py. A map_builder with a novelty gate and a cap and a localizer that follows it are
processes as `segvlad demo` starts them, in a ROS domain of their own. They are sent JPEG images, depth, camera_info and
odometry; the next image goes out when the map_builder has said what became of the one before, and the localizer is no
more than one keyframe behind. Every 10 s of wall time, and at each hour of the robot's day, both are let finish, what
they count is compared with what was sent and heard, and both processes are looked at. Status 1: something has grown.
"""
from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import rclpy
from flatness import FLAT, SAMPLE_S, Gauge, growing, growth_table, look, percentiles_ms, plot, trend, verdict
from robot_day import ABOUT, EXPLAINED_SCORE, day_options, frames, rendered, small_preset
from robot_topics import BUILDER, LOCALIZER, NODES, Heard, Sensors
from tables import RESULTS, heading, write_results

from segvlad_ros.cli.processes import NodeCommand, NodeProcesses, loop_closure_nodes, own_domain, ros_running
from segvlad_ros.evaluation.measure import machine
from segvlad_ros.mapping.keyframes import KeyframeGate
from segvlad_ros.ros.input.pacer import ACTIVE, spin_until
from segvlad_ros.simulation.camera import BASE_FROM_CAMERA
from segvlad_ros.types import Frame, SegvladError

DEADLINE_S = 240.0  # for a machine that is busy with other work
TITLES = {'rss_mb': 'memory (RSS), MB', 'rss_anon_mb': 'memory of its own (RssAnon), MB',
          'pss_mb': 'its share of memory (PSS), MB', 'handles': 'open handles', 'threads': 'threads',
          'cpu_ms': 'process time a keyframe while it drives, ms',
          'latency_ms_p50': 'image sent to its message received, ms, median',
          'latency_ms_p95': 'image sent to its message received, ms, 95th percentile'}
FIGURES = {**{f'{name}_{figure}': f'{name}: {title}' for name in NODES for figure, title in TITLES.items()},
           'file_mb': "the map's file, MB",
           'machine_ms': 'this machine: the same image described by this script, process time, ms'}
FATES = ('{sent:,} images were sent: {described:,} described, {passed_by_gate:,} passed over by the gate, {lost} lost, '
         '{dropped} dropped, {rejected} rejected. Of the keyframes {stored:,} were stored, {explained:,} explained by '
         'the map, {refused:,} refused as it was full of other places, {evicted:,} given up; {answered:,} were '
         'answered, {matched:,} of them with a match.')


def both(*figures: str) -> list[str]:
    """Names of figures of both nodes."""
    return [f'{name}_{figure}' for name in NODES for figure in figures]


FLAT_FIGURES = both('rss_mb', 'rss_anon_mb', 'handles', 'threads')


def commands(folder: Path, preset: Path, cap: int) -> list[NodeCommand]:
    """Both nodes, with a map that stays small."""
    builder, localizer = loop_closure_nodes(str(preset), folder / 'maps', BASE_FROM_CAMERA)
    bounds = {'retention.explained_score': str(EXPLAINED_SCORE), 'retention.max_keyframes': str(cap)}
    return [replace(builder, parameters={**builder.parameters, 'map': 'day', **bounds}), localizer]


class Day:
    """The nodes and the robot that they belong to.

    :param node: ours
    :param maps: folder of the map
    :param since_ns: system time at which the nodes were started
    """

    def __init__(self, node: rclpy.node.Node, nodes: NodeProcesses, maps: Path, since_ns: int) -> None:
        self._node, self._nodes, self._maps = node, nodes, maps
        self._sensors, self._heard, self._gate = Sensors(node), Heard(node, since_ns), KeyframeGate()
        self._sent, self._passed = 0, 0
        self._sent_s: dict[int, float] = {}
        self._gauge = Gauge()
        self._looked_at, self._cpu_s = (0, 0), dict.fromkeys(NODES, 0.0)

    def start(self) -> None:
        """Wait until both nodes are active, and all have found each other."""
        status = self._heard.status
        self._wait(lambda: self._sensors.connected and all(self._heard.diagnosed.values())
                   and all(status[name].state in ACTIVE for name in NODES)
                   and status[BUILDER].keyframe_subscribers >= len(NODES), 'the nodes')
        self._cpu_s = {name: look(self._nodes.processes[name].pid).cpu_s for name in NODES}

    def take(self, frame: Frame) -> None:
        """One frame of the camera; returns when its fate is known."""
        heard, unseen = self._heard, self._heard.unseen
        self._sent += 1
        self._sent_s[frame.stamp_ns] = self._sensors.publish(frame)
        self._wait(lambda: heard.fates >= self._sent and heard.answers >= heard.keyframes - 1,
                   f'the fate of image {self._sent}')
        if heard.unseen == unseen:
            self._passed += not self._gate.check(frame.stamp_ns, frame.pose).accept

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        if not spin_until(self._node, condition, DEADLINE_S, self._nodes.check):
            raise SegvladError(f'waited {DEADLINE_S:g} s for {what}; last heard: {self._heard.status}')

    def sample(self, wall_s: float, hour: float) -> dict[str, Any]:
        """Let both nodes finish, and look at them.

        :raises SegvladError: what they count is not what was sent and heard
        """
        heard, status = self._heard, self._heard.status
        self._wait(lambda: heard.settled, 'the nodes to finish')
        figures: dict[str, Any] = {'wall_s': round(wall_s, 1), 'hour': round(hour, 4),
                                   'held': status[BUILDER].keyframes, 'machine_ms': self._gauge.ms()}
        sent, described = self._sent - self._looked_at[0], heard.keyframes - self._looked_at[1]
        for name in NODES:
            seen = asdict(look(self._nodes.processes[name].pid))
            cpu_s = seen.pop('cpu_s')
            spent_s, self._cpu_s[name] = cpu_s - self._cpu_s[name], cpu_s
            p50, p95 = percentiles_ms([at - self._sent_s[stamp] for stamp, at in heard.received_s[name].items()])
            driven = 2 * described > sent
            seen |= {'cpu_ms': round(spent_s * 1e3 / described, 2) if driven else None,
                     'latency_ms_p50': p50, 'latency_ms_p95': p95}
            figures |= {f'{name}_{figure}': value for figure, value in seen.items()}
            heard.received_s[name].clear()
        self._looked_at = self._sent, heard.keyframes
        self._sent_s.clear()
        size = sum(path.stat().st_size for path in self._maps.iterdir())
        return figures | {'file_mb': round(size / 1e6, 3), 'counts': self._account()}

    def _account(self) -> dict[str, int]:
        """What became of each image and keyframe."""
        heard, builder, localizer = self._heard, *self._heard.status.values()
        return accounted({
            'sent': self._sent, 'received': builder.images_received, 'lost': builder.images_lost,
            'dropped': builder.images_dropped, 'rejected': builder.images_rejected,
            'described': builder.keyframes_processed, 'passed_by_gate': self._passed,
            'explained': builder.keyframes_explained, 'refused': builder.keyframes_refused,
            'stored': heard.stored, 'evicted': builder.keyframes_evicted, 'held': builder.keyframes,
            'answered': localizer.keyframes_processed, 'matched': localizer.matches_published})

    def inputs(self) -> dict[str, int]:
        """What diagnostics count that the status does not have, once both nodes have nothing to do."""
        before = dict(self._heard.diagnosed)  # the next one may have been on its way
        self._wait(lambda: all(self._heard.diagnosed[name] >= before[name] + 2 for name in NODES), 'diagnostics')
        return {f'{name}, {value}': int(self._heard.input[name][value]) for name, value in (
            (BUILDER, 'images with a missing input'), (BUILDER, 'depth images lost'), (BUILDER, 'odometry leaps'),
            (LOCALIZER, 'descriptors rejected'), (LOCALIZER, 'keyframes missed'))}


def accounted(counts: dict[str, int]) -> dict[str, int]:
    """Counters in which each image and each keyframe has its fate.

    :param counts: ``sent`` and ``passed_by_gate`` as we know them, by a gate of our own; ``stored`` as was heard; the
        others as the nodes count
    :raises SegvladError: something has come to nothing, or from nowhere
    """
    for whole, parts in (('sent', ('received', 'lost')),
                         ('sent', ('described', 'passed_by_gate', 'lost', 'dropped', 'rejected')),
                         ('stored', ('held', 'evicted')), ('answered', ('described',))):
        if counts[whole] != sum(counts[part] for part in parts):
            raise SegvladError(f'{whole} is not {" + ".join(parts)}: {counts}')
    return counts


def live(stream: Iterable[tuple[float, Frame]], preset: Path, cap: int, folder: Path,
         every_s: float = SAMPLE_S) -> tuple[list[dict], dict[str, int]]:
    """Send frames to nodes.

    :param stream: each with the hour of the day
    :param folder: for the map and the logs
    :return: samples, and what the nodes found wrong with their inputs
    :raises SegvladError: a node has ended, does not answer, or counts other than what was sent
    """
    samples: list[dict] = []
    started_ns = time.time_ns()
    with ros_running(), NodeProcesses(commands(folder, preset, cap), folder / 'logs') as nodes:
        node = rclpy.create_node('soak')
        day = Day(node, nodes, folder / 'maps', started_ns)
        day.start()
        begin = last = time.monotonic()
        before = 0.0
        for hour, frame in stream:
            if time.monotonic() - last >= every_s or int(hour) > int(before):
                last = time.monotonic()
                samples.append(day.sample(last - begin, before))
                print(json.dumps(samples[-1]), flush=True)
            day.take(frame)
            before = hour
        samples.append(day.sample(time.monotonic() - begin, before))
        inputs = day.inputs()
        node.destroy_node()
    return samples, inputs


def whole_hours(stream: Iterable[tuple[float, Frame]], minutes: float) -> Iterator[tuple[float, Frame]]:
    """What comes until the first full hour of the day after so many minutes of wall time."""
    end, before = time.monotonic() + 60 * minutes, 0
    for hour, frame in stream:
        if int(hour) > before and time.monotonic() > end:
            return
        before = int(hour)
        yield hour, frame


def run(hours: float, cap: int, seed: int, width: int, minutes: float = math.inf) -> tuple[list[dict], dict[str, int]]:
    """The whole day, see :func:`live`, or as much of it as there is time for, see :func:`whole_hours`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        views = rendered(folder, seed, width)
        day = whole_hours(frames(views, hours, seed), minutes)
        return live(day, small_preset(folder, views.model), cap, folder)


def judged(samples: list[dict], cap: int) -> dict[str, float]:
    """Whether the day was flat, and how the nodes' process times went beside the machine's."""
    figures = verdict(samples, cap, FIGURES)
    full = [each for each in samples if each['hour'] > figures['full_after_hours']]
    for name in NODES:
        growth, error = trend(full, f'{name}_cpu_ms', 'machine_ms')
        figures |= {f'{name}_trend': round(growth, 4), f'{name}_trend_95': round(error, 4)}
    return figures


def as_markdown(where: dict, figures: dict, samples: list[dict], inputs: dict[str, int]) -> str:
    """The page."""
    counts, grown = samples[-1]['counts'], growing(figures, FLAT_FIGURES)
    said = ', '.join(f'{name}: {count}' for name, count in inputs.items())
    found = f'{", ".join(grown)} grew by more than' if grown else 'flat within'
    return '\n'.join([
        *heading('soak_nodes', 'soak_nodes.py', where, ABOUT),
        ' '.join(__doc__.split('\n\n')[-1].split()).removesuffix(' Status 1: something has grown.'), '',
        f'{samples[-1]["hour"]:.0f} hours of the robot\'s day were run, in {samples[-1]["wall_s"] / 60:.0f} minutes. '
        + FATES.format(**counts) + f' The map was full after {figures["full_after_hours"]:.1f} hours. {said}.', '',
        *growth_table(figures, FIGURES), '',
        f'Memory, handles and threads of both nodes: {found} {FLAT:.0%}. Times depend on what else the machine does: '
        "the nodes' process time a keyframe, divided by that of the same work in this script at the same moments, "
        'changed along a straight line through the hours with a full map by '
        + ' and '.join(f'{figures[f"{name}_trend"]:+.1%} +- {figures[f"{name}_trend_95"]:.1%} ({name})'
                       for name in NODES) + ', 95% intervals.', '',
        '![memory, keyframes, handles, threads and latencies over the day](soak_nodes.png)']) + '\n'


def main() -> int:
    """Measure and write results."""
    parser = day_options(__doc__)
    parser.add_argument('--minutes', type=float, default=math.inf,
                        help='end at the next full hour of the day after so many minutes (go through all of it)')
    args = parser.parse_args()
    where = machine()
    with own_domain():
        samples, inputs = run(**vars(args))
    figures, counts = judged(samples, args.cap), samples[-1]['counts']
    numbers = {'hours': round(samples[-1]['hour'], 2), 'cap': args.cap, 'seed': args.seed, 'width': args.width,
               'verdict': figures, 'inputs': inputs, 'samples': samples}
    write_results('soak_nodes', where, numbers, as_markdown(where, figures, samples, inputs))
    plot(RESULTS / 'soak_nodes.png', f'{counts["described"]:,} keyframes described, {counts["stored"]:,} stored, '
         f'{counts["evicted"]:,} given up, at most {args.cap} held', samples, {
             'memory [MB]': both('rss_mb', 'rss_anon_mb'), 'keyframes held': ['held'], 'file [MB]': ['file_mb'],
             'handles, threads': both('handles', 'threads'),
             'process time\na keyframe [ms]': [*both('cpu_ms'), 'machine_ms'],
             'latency [ms]': both('latency_ms_p50', 'latency_ms_p95')})
    print(json.dumps(figures, indent=1))
    return bool(growing(figures, FLAT_FIGURES))


if __name__ == '__main__':
    sys.exit(main())
