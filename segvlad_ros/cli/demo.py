"""``segvlad demo``: a simulated robot drives round a building, both nodes watch, and say where it has been before."""
from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.cli import BELOW, OK
from segvlad_ros.cli.options import add_json, add_preset_name, add_scenario, check_output_folder, progress
from segvlad_ros.io.paths import cache_folder
from segvlad_ros.types import Status

if TYPE_CHECKING:
    from segvlad_ros.evaluation.metrics import Outcome
    from segvlad_ros.ros.input.collector import Collector

MIN_PRECISION, MIN_RECALL = 0.95, 0.70
NODE_DEADLINE_S = 60.0
REPORT_S = 4.0
_MADE_HERE = re.compile('simulated_[0-9a-f]{12}')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    parser.add_argument('--output', type=Path, metavar='DIR',
                        help='folder for the bag, the picture and the logs (~/.cache/segvlad_ros/demo)')
    add_scenario(parser)
    add_preset_name(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`. Status 1: precision or recall is below what the demo asks for."""
    from segvlad_ros.evaluation.bag_evaluation import judge
    from segvlad_ros.evaluation.report import as_text
    from segvlad_ros.evaluation.true_poses import TruthSettings, read_true_poses
    from segvlad_ros.pipeline.presets import load_preset
    from segvlad_ros.simulation.robot import TRUTH_TOPIC

    begin = time.monotonic()
    output = args.output or cache_folder() / 'demo'
    check_output_folder(output, '--output')
    preset = load_preset(args.preset)
    bag = _simulated(args.scenario, output)
    collector, sent_s, unanswered = _drive(bag, args.preset, output)
    truth = read_true_poses(bag, TruthSettings(TRUTH_TOPIC))
    outcomes = judge(collector.keyframes, collector.answers, truth, preset.exclude)
    numbers = _numbers(outcomes, collector, sent_s) | {'unanswered': unanswered,
                                                      'seconds': round(time.monotonic() - begin, 1)}
    picture = _picture(outcomes, collector, bag, preset, output / 'matched_segments.png')
    if args.json:
        print(json.dumps(numbers | {'picture': picture and str(picture)}, indent=2))
    else:
        print(f'\n{as_text(numbers)}')
        if picture:
            print(f'\nquery and match side by side, matched segments in the same colours: {picture}')
    good = (numbers['precision'] or 0) >= MIN_PRECISION and (numbers['recall'] or 0) >= MIN_RECALL
    if not good:
        _say(f'below what the demo asks for: precision {MIN_PRECISION}, recall {MIN_RECALL}')
    return OK if good and not unanswered else BELOW


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _simulated(scenario_name: str, output: Path) -> Path:
    """The bag of the scenario, made once and kept."""
    import segvlad_ros.simulation
    from segvlad_ros.simulation.robot import SimulatedRobot, write_bag
    from segvlad_ros.simulation.scenario import load_scenario

    scenario = load_scenario(scenario_name)
    digest = hashlib.sha256(repr(scenario).encode())
    for source in sorted(Path(segvlad_ros.simulation.__file__).parent.glob('*.py')):
        digest.update(source.read_bytes())
    bag = output / f'simulated_{digest.hexdigest()[:12]}'
    if bag.is_dir():
        _say(f'using the bag of an earlier run: {bag}')
        return bag
    _say('building the world ...')
    robot = SimulatedRobot(scenario)
    _say(f'a simulated robot drives {robot.duration_s:.0f} s through it')
    write_bag(robot, bag, progress=lambda numbers: progress(numbers, 'images'))
    _remove_others(bag)
    return bag


def _remove_others(bag: Path) -> None:
    """Remove the bags that earlier versions of the simulation made; whatever else is beside it is the user's."""
    for other in bag.parent.iterdir():
        if other != bag and _MADE_HERE.fullmatch(other.name) and other.is_dir() and not other.is_symlink() \
                and {file.name for file in other.iterdir()} == {'metadata.yaml', f'{other.name}.mcap'}:
            shutil.rmtree(other)


def _drive(bag: Path, preset: str, output: Path) -> tuple[Collector, dict[int, float], int]:
    """Run both nodes on the bag.

    :return: what they said, when each image went out (steady seconds by stamp), images that nobody dealt with
    """
    from segvlad_ros.cli.processes import NodeProcesses, loop_closure_nodes, own_domain, ros_running
    from segvlad_ros.simulation.camera import BASE_FROM_CAMERA

    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    domain = nullcontext() if 'ROS_DOMAIN_ID' in os.environ else own_domain()  # away from whatever else runs here
    sent_s: dict[int, float] = {}
    teller = _Teller()
    with domain, ros_running(), tempfile.TemporaryDirectory() as maps, \
            NodeProcesses(loop_closure_nodes(preset, Path(maps), BASE_FROM_CAMERA), output) as nodes:
        from segvlad_ros.ros.input.collector import Collector
        from segvlad_ros.ros.input.player import Player

        _say('starting map_builder and localizer ...')

        def on_wait() -> None:
            nodes.check()
            teller.tell('the nodes are busy ...', 2 * REPORT_S)

        def on_image(count: int, stamp_ns: int) -> None:
            sent_s[stamp_ns] = time.monotonic()
            matched = sum(answer.status == Status.MATCHED for answer in collector.answers.values())
            teller.tell(f'{count} images, {len(collector.keyframes)} keyframes, {matched} places recognised')

        player = Player(bag, paced=True, wait_for=('/map_builder', '/localizer'), deadline_s=NODE_DEADLINE_S,
                        on_wait=on_wait)
        collector = Collector(player.node, '/map_builder/keyframes', '/localizer/matches')
        result = player.play(on_image)
        player.close()
    return collector, sent_s, result.unanswered


class _Teller:
    """Says something every few seconds, however often it is told to."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def tell(self, text: str, after_s: float = REPORT_S) -> None:
        """Say it if nothing was said for so long."""
        if time.monotonic() - self._last_s > after_s:
            self._last_s = time.monotonic()
            _say(text)


def _numbers(outcomes: list[Outcome], collector: Collector, sent_s: dict[int, float]) -> dict[str, object]:
    import numpy as np

    from segvlad_ros.evaluation.metrics import decision_metrics

    latencies = [received - sent_s[query.stamp_ns] for query, received in collector.received_s.items()
                 if query.stamp_ns in sent_s]
    p50, p95 = np.percentile(latencies, (50, 95)) if latencies else (None, None)
    return {'images': len(sent_s), 'keyframes': len(collector.keyframes),
            'revisited_keyframes': sum(bool(outcome.truth.true) for outcome in outcomes),
            **decision_metrics(outcomes),
            'latency_p50_ms': p50 and round(p50 * 1000), 'latency_p95_ms': p95 and round(p95 * 1000)}


def _picture(outcomes: list[Outcome], collector: Collector, bag: Path, preset, path: Path) -> Path | None:
    """The true match with the most matched segments, as a picture; None without a true match."""
    import cv2

    from segvlad_ros.evaluation.pictures import draw_matched_segments, matched_pairs
    from segvlad_ros.io.bag_frames import FrameReader
    from segvlad_ros.pipeline.builders import build_describer

    true = [outcome for outcome in outcomes if outcome.accepted]
    if not true:
        return None
    best = max(true, key=lambda outcome: outcome.recognition.candidates[0].matched_segments)
    candidate = best.recognition.candidates[0]
    query = next(k for k in collector.keyframes if f'{k.id.index:05d}' == best.query)
    match = collector.keyframes[candidate.entry]
    wanted = (query.id.stamp_ns, match.id.stamp_ns)
    images = {frame.stamp_ns: frame.rgb for frame in FrameReader(bag) if frame.stamp_ns in wanted}
    sides = tuple(images[stamp] for stamp in wanted)
    pairs = matched_pairs(build_describer(preset, 'cpu'), sides, (query.description, match.description), candidate)
    caption = (f'keyframe {query.id.index} (left) was recognised as keyframe {match.id.index}: '
               f'{candidate.matched_segments} of {len(query.description)} segments, score {candidate.score:.2f}')
    cv2.imwrite(str(path), cv2.cvtColor(draw_matched_segments(*sides, pairs, caption), cv2.COLOR_RGB2BGR))
    return path
