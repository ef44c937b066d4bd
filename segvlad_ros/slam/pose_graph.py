"""The pose graph: odometry and loop closures in, an optimised path and a verdict on each closure out."""
from __future__ import annotations

import numpy as np

from segvlad_ros.geometry import from_matrix
from segvlad_ros.io.stamps import StampDoubt
from segvlad_ros.slam.closures import Closure, Link, link_of, make_closure
from segvlad_ros.slam.consensus import Consensus, Judgement, Verdict
from segvlad_ros.slam.odometry_chain import MAX_GAP_S, OdometryChain, PoseGraphSettings
from segvlad_ros.slam.optimizer import Optimizer
from segvlad_ros.types import Pose, SegvladError

FRAME = 'map'
MAX_WAITING = 1000
LATE_S = 1.0  # odometry further behind the newest is of a clock that has jumped back, if the next is so, too


class PoseGraph:
    """One robot's path in the frame ``map``, which is the frame of its odometry until a closure moves it.

    Which closures move it, their :class:`~segvlad_ros.slam.consensus.Consensus` says. Not thread-safe.

    :raises SegvladError: GTSAM is not installed
    """

    def __init__(self, settings: PoseGraphSettings | None = None) -> None:
        self._settings = settings or PoseGraphSettings()
        self._count = 0  # closures
        self._doubt = StampDoubt(LATE_S)
        self._begin()

    def _begin(self) -> None:
        self._chain = OdometryChain(self._settings)
        self._optimizer = Optimizer()
        self._consensus = Consensus(self._chain, self._optimizer)
        self._frame = ''
        self._other_ns: int | None = None  # when odometry in another frame came, and none in this one since
        self._waiting: dict[int, Closure] = {}

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self._chain)

    @property
    def leaps(self) -> int:
        """How often odometry has leapt, as if its driver was started again."""
        return self._chain.leaps

    @property
    def strays(self) -> int:
        """How many odometry messages were left out since their stamps were far off those before and after."""
        return self._doubt.strays

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest odometry, nanoseconds, or None."""
        return self._chain.newest_ns

    @property
    def newest_node_ns(self) -> int | None:
        """Stamp of the newest node, nanoseconds, or None."""
        return self._chain.stamps[-1] if len(self._chain) else None

    @property
    def waiting(self) -> int:
        """Number of closures that odometry has not reached."""
        return len(self._waiting)

    def add_odometry(self, stamp_ns: int, pose: Pose) -> bool:
        """Take an odometry pose; a late one is left out, and one of another clock waits until the next agrees with it.

        :return: True where the clock jumped back, or the odometry's frame changed, and a new graph was begun
        :raises SegvladError: it is in another frame than odometry that came just before; the graph stays as it was
        """
        return any([self._take(*message) for message in self._doubt.believed(stamp_ns, pose)])

    def _take(self, stamp_ns: int, pose: Pose) -> bool:
        newest = self._chain.newest_ns
        anew = newest is not None and (newest - stamp_ns > LATE_S * 1e9 or self._has_changed(stamp_ns, pose.frame))
        if anew:
            self._begin()
        elif newest is not None and stamp_ns <= newest:
            return False
        self._frame = pose.frame
        first = len(self._chain)
        self._chain.add(stamp_ns, pose)
        for node in range(first, len(self._chain)):
            self._add_node(node)
        return anew

    def _has_changed(self, stamp_ns: int, frame: str) -> bool:
        """Whether odometry has come in another frame, and in no other, for longer than a graph bridges."""
        if frame == self._frame:
            self._other_ns = None
            return False
        if self._other_ns is None:
            self._other_ns = stamp_ns
        if stamp_ns - self._other_ns <= MAX_GAP_S * 1e9:
            raise SegvladError(f'it is in {frame!r}, and odometry in {self._frame!r} came just before: see that one '
                               'driver alone publishes it')
        return True

    def _add_node(self, node: int) -> None:
        if node == 0:
            self._optimizer.add_node(0, self._chain.poses[0], None)
            return
        step = self._chain.between(node - 1, node)
        self._optimizer.add_node(node, self._optimizer.pose(node - 1) @ step, Link(
            node - 1, node, step, np.diag(self._chain.step_variances(node - 1))))

    def add_closure(self, match_stamp_ns: int, query_stamp_ns: int, query_pose_in_match: Pose) -> int:
        """Take a loop closure; :meth:`optimize` tells what becomes of it.

        :param query_pose_in_match: T_match_query of the robot's base, covariance in ROS' order and axes, or None
        :return: its number
        :raises SegvladError: numbers that are not a pose or not a covariance
        """
        closure = make_closure(match_stamp_ns, query_stamp_ns, query_pose_in_match, self._settings)
        number = self._count
        self._count += 1
        self._waiting[number] = closure
        if len(self._waiting) > MAX_WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            self._consensus.set_aside(oldest, f'odometry did not reach its stamps while {MAX_WAITING} others came')
        return number

    def optimize(self) -> dict[int, Judgement]:
        """Take in what odometry has reached, and optimise if there are new ones; all closures by their numbers."""
        self._attach()
        self._consensus.judge()
        waiting = Judgement(Verdict.WAITING, 'odometry has not reached its stamps')
        return {**self._consensus.judgements, **{number: waiting for number in self._waiting}}

    def path(self) -> tuple[np.ndarray, np.ndarray]:
        """The optimised base poses at the nodes, and the newest one.

        :return: stamps (n,) int64 in nanoseconds; (n, 7) float64, translations and quaternions x y z w
        """
        stamps, poses, newest = np.array(self._chain.stamps, np.int64), self._optimizer.poses(), self._chain.newest_ns
        if newest is not None and newest > stamps[-1]:
            last = self.pose_at(newest)
            stamps, poses = np.append(stamps, newest), np.vstack([poses, [*last.translation, *last.quaternion]])
        return stamps, poses

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """The optimised base pose at a stamp, None where there was no odometry."""
        moment = self._chain.attach(stamp_ns)
        return None if moment is None else from_matrix(
            self._optimizer.pose(moment.node) @ moment.node_from_base, FRAME)

    @property
    def odometry_frame(self) -> str:
        """The frame of the odometry, '' before the first."""
        return self._frame

    def map_from_odometry(self) -> Pose | None:
        """By how much odometry has drifted until the newest node; None before the first."""
        if not len(self._chain):
            return None
        newest = len(self._chain) - 1
        return from_matrix(self._optimizer.pose(newest) @ np.linalg.inv(self._chain.poses[newest])
                           @ self._chain.frame_from_odometry, FRAME)

    def _attach(self) -> None:
        """Give the closures that odometry has reached their nodes."""
        newest, consensus = self._chain.newest_ns, self._consensus
        ready = [number for number, closure in self._waiting.items()
                 if newest is not None and max(closure.match_stamp_ns, closure.query_stamp_ns) <= newest]
        for number in ready:
            closure = self._waiting.pop(number)
            moments = [self._chain.attach(stamp) for stamp in (closure.match_stamp_ns, closure.query_stamp_ns)]
            missing = [name for name, moment in zip(('match', 'query'), moments) if moment is None]
            if missing:
                consensus.set_aside(number, f'there is no odometry at the stamp of the {" and the ".join(missing)}')
            elif moments[0].node == moments[1].node:
                consensus.set_aside(number, 'match and query are at one place of the path')
            else:
                consensus.add(number, link_of(closure, *moments))
