"""bridge: hands loop closures and matches to a SLAM back-end or a localiser, in its own messages."""
from __future__ import annotations

import sys

from diagnostic_msgs.msg import DiagnosticStatus
from std_srvs.srv import Trigger

from segvlad_ros.msg import SegVladStatus
from segvlad_ros.ros.bridges.base_bridge import Bridge
from segvlad_ros.ros.bridges.cslam import Cslam
from segvlad_ros.ros.bridges.initial_pose import InitialPose
from segvlad_ros.ros.bridges.pose_graph_tools import PoseGraphTools
from segvlad_ros.ros.bridges.rtabmap import Rtabmap
from segvlad_ros.ros.node.base_node import SegvladNode
from segvlad_ros.ros.node.run import run_node
from segvlad_ros.ros.output.diagnostics import bridge_status
from segvlad_ros.ros.output.node_statistics import Snapshot

TARGETS = {'pose_graph_tools': PoseGraphTools, 'rtabmap': Rtabmap, 'cslam': Cslam, 'initial_pose': InitialPose}


class BridgeNode(SegvladNode):
    """One bridge, chosen by the parameter ``target``; a system with two back-ends runs two such nodes."""

    ACTIVE_STATE = SegVladStatus.LOCALIZING

    def __init__(self) -> None:
        super().__init__('bridge')
        self._bridge_to: Bridge | None = None
        self.serve(Trigger, '~/trigger_localization', self._trigger)

    def configure(self) -> None:
        """See :class:`SegvladNode`."""
        self._bridge_to = TARGETS[self.parameters['target']](self)

    def cleanup(self) -> None:
        """See :class:`SegvladNode`."""
        if self._bridge_to is not None:
            self._bridge_to.close()
        self._bridge_to = None

    def activate(self) -> None:
        """See :class:`SegvladNode`."""
        self.at_deactivation(self._bridge_to.close)
        self._bridge_to.open()

    def diagnose(self, snapshot: Snapshot) -> list[DiagnosticStatus]:
        """See :class:`SegvladNode`."""
        bridge = self._bridge_to
        silence = [bridge.silence() if bridge else '', *(sentence for _, sentence in self.status.wrong_types())]
        return [bridge_status(
            self.get_fully_qualified_name(), target=self.parameters['target'],
            problem=self.failure or self.status.problem, failed=bool(self.failure),
            silence='; '.join(filter(None, silence)), sent=snapshot.counts.matches_published,
            waiting=bridge.waiting() if bridge else 0, given_up=bridge.given_up if bridge else 0)]

    def _trigger(self, request: Trigger.Request, response: Trigger.Response) -> str:
        return self._bridge_to.trigger()


def main(args: list[str] | None = None) -> None:
    """Run the node."""
    sys.exit(run_node(BridgeNode, args))


if __name__ == '__main__':
    main()
