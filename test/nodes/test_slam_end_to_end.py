"""A simulated robot, both nodes and the GTSAM back-end over DDS: closing loops straightens the path."""
from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import pytest
import rclpy
from nav_msgs.msg import Path
from node_harness import DEADLINE_S
from trajectory import absolute_trajectory_error

from segvlad_ros.cli.processes import NodeCommand, NodeProcesses, loop_closure_nodes
from segvlad_ros.geometry import PoseHistory
from segvlad_ros.msg import LoopClosure, LoopClosureFeedback
from segvlad_ros.ros.input.collector import Collector
from segvlad_ros.ros.input.pacer import spin_until
from segvlad_ros.ros.input.player import Player
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.output.conversions import from_time, to_keyframe_id
from segvlad_ros.simulation.camera import BASE_FROM_CAMERA
from segvlad_ros.simulation.robot import SimulatedRobot, write_bag
from segvlad_ros.simulation.scenario import load_scenario

pytestmark = pytest.mark.slam

FALSE_SHARE = 0.1
FEEDBACK, PATH = 'pose_graph/loop_closure_feedback', '/pose_graph/path'


@dataclass
class BackEnd:
    """What the back-end said, and a liar who adds false closures to those of the localizer."""

    player: Player
    collector: Collector
    false_share: float
    closures: list[LoopClosure] = field(default_factory=list)
    invented: list[LoopClosure] = field(default_factory=list)
    verdicts: dict[tuple[int, int], int] = field(default_factory=dict)
    path: Path | None = None

    def __post_init__(self) -> None:
        node, self._random = self.player.node, np.random.default_rng(0)
        self._publisher = node.create_publisher(LoopClosure, '/localizer/loop_closures', qos.reliable(100))
        self._subscriptions = [
            node.create_subscription(LoopClosure, '/localizer/loop_closures', self._take, qos.reliable(1000)),
            node.create_subscription(LoopClosureFeedback, f'/{FEEDBACK}', self._judged, qos.reliable(1000)),
            node.create_subscription(Path, PATH, self._moved, qos.latched())]

    def _take(self, message: LoopClosure) -> None:
        if message in self.invented:  # its own
            return
        self.closures.append(message)
        if len(self.invented) < self.false_share * len(self.closures):
            self.invented.append(self._lie(message))
            self._publisher.publish(self.invented[-1])

    def _lie(self, truth: LoopClosure) -> LoopClosure:
        """The pose of a true closure, between two other keyframes."""
        ids = [keyframe.id for keyframe in self.collector.keyframes]
        first, second = sorted(self._random.choice(len(ids), 2, replace=False))
        lie = deepcopy(truth)
        lie.match, lie.query = to_keyframe_id(ids[first]), to_keyframe_id(ids[second])
        return lie

    def _judged(self, message: LoopClosureFeedback) -> None:
        self.verdicts[message.match.index, message.query.index] = message.verdict

    def _moved(self, message: Path) -> None:
        self.path = message


def drive(tmp_path, domain, false_share: float, **changes) -> tuple[float, BackEnd]:
    """Drive a scenario through the nodes.

    :return: error of the optimised path as a share of the odometry's, and what the back-end said
    """
    robot = SimulatedRobot(load_scenario('demo', **changes))
    write_bag(robot, tmp_path / 'bag')
    commands = [*loop_closure_nodes('classic', tmp_path / 'maps', BASE_FROM_CAMERA),
                NodeCommand('pose_graph', {'odom': '/odom', 'loop_closures': '/localizer/loop_closures'},
                            {'qos_overrides./odom.subscription.reliability': 'reliable'})]
    back_end_topics = {'optimized_path': PATH}
    commands[0].remaps.update(back_end_topics)
    commands[1].remaps.update(back_end_topics | {'loop_closure_feedback': f'/{FEEDBACK}'})
    rclpy.init(domain_id=domain)
    try:
        with NodeProcesses(commands, tmp_path / 'logs') as nodes:
            player = Player(tmp_path / 'bag', paced=True, wait_for=('/map_builder', '/localizer'),
                            deadline_s=DEADLINE_S, on_wait=nodes.check)
            collector = Collector(player.node, '/map_builder/keyframes', '/localizer/matches')
            back_end = BackEnd(player, collector, false_share)
            # the player waits for those who take images only; map_builder and pose_graph listen to odometry
            assert spin_until(player.node, lambda: player.node.count_subscribers('/odom') == 2, DEADLINE_S, nodes.check)
            assert player.play().unanswered == 0
            wait_for_path(player, back_end)
            player.close()
    finally:
        rclpy.try_shutdown()
    return error_share(robot, back_end.path), back_end


def wait_for_path(player: Player, back_end: BackEnd) -> None:
    """Until every closure is judged and the path reaches the last of them."""
    def settled() -> bool:
        sent = [*back_end.closures, *back_end.invented]
        judged = all((each.match.index, each.query.index) in back_end.verdicts for each in sent)
        newest = max(from_time(each.query.stamp) for each in sent)
        return judged and back_end.path is not None and from_time(back_end.path.poses[-1].header.stamp) >= newest

    assert spin_until(player.node, settled, DEADLINE_S, lambda: None), (
        f'{len(back_end.verdicts)} verdicts, {len(back_end.closures)} closures')


def error_share(robot: SimulatedRobot, path: Path) -> float:
    """Absolute trajectory error of the path's poses as a share of the odometry's at the same stamps."""
    odometry, truth = PoseHistory(), PoseHistory()
    for stamp, reported, true in robot.poses():
        odometry.add(stamp, reported)
        truth.add(stamp, true)
    rows = []
    for pose in path.poses:
        stamp = from_time(pose.header.stamp)
        position = pose.pose.position
        rows.append(([position.x, position.y, position.z], odometry.at(stamp).translation, truth.at(stamp).translation))
    optimised, reported, true = (np.array(column) for column in zip(*rows))
    return absolute_trajectory_error(optimised, true).rmse / absolute_trajectory_error(reported, true).rmse


def test_closing_loops_straightens_the_path_and_false_closures_do_not_bend_it(tmp_path, domain):
    share, back_end = drive(tmp_path, domain, FALSE_SHARE, speed=1.2, image_rate_hz=2.0)
    assert len(back_end.closures) >= 15 and len(back_end.invented) >= 2
    assert share <= 0.35
    invented = [back_end.verdicts[lie.match.index, lie.query.index] for lie in back_end.invented]
    assert LoopClosureFeedback.ACCEPTED not in invented
    accepted = [back_end.verdicts[each.match.index, each.query.index] for each in back_end.closures]
    assert accepted.count(LoopClosureFeedback.ACCEPTED) >= 0.8 * len(accepted)


@pytest.mark.long
@pytest.mark.parametrize('route', ['loop', 'back'])
def test_the_whole_drive_without_false_closures(tmp_path, domain, route):
    assert drive(tmp_path, domain, 0.0, route=route)[0] <= 0.25
