"""GTSAM beside the other threads of a node."""
import threading

import gtsam
import numpy as np

from segvlad_ros.geometry import exponential
from segvlad_ros.slam.closures import Link
from segvlad_ros.slam.optimizer import Optimizer

NODES, LAP = 3000, 300
SURE = np.eye(6) * 1e-4


def test_other_threads_run_while_it_optimises(monkeypatch):
    """The heartbeats to nav2's lifecycle manager and map -> odom are sent by another thread than the optimiser's."""
    beats, within, done = [], [], threading.Event()
    optimize = gtsam.LevenbergMarquardtOptimizer.optimize

    def watched(self):
        before = len(beats)
        values = optimize(self)
        within.append((len(beats) - before, self.iterations()))
        return values

    def beat():
        while not done.wait(0.001):
            beats.append(None)
    monkeypatch.setattr(gtsam.LevenbergMarquardtOptimizer, 'optimize', watched)
    optimizer = Optimizer()
    optimizer.add_node(0, np.eye(4), None)
    step = exponential(np.array([1.0, 0, 0, 0, 0, 2 * np.pi / LAP + 0.01]))
    for node in range(1, NODES):
        optimizer.add_node(node, optimizer.pose(node - 1) @ step, Link(node - 1, node, step, SURE))
    closures = [optimizer.factor(Link(node, node + LAP, np.eye(4), SURE)) for node in range(0, NODES - LAP, 30)]
    other = threading.Thread(target=beat, daemon=True)
    other.start()
    optimizer.solve(closures)
    done.set()
    other.join()
    (beaten, iterations), = within
    assert iterations >= 8
    assert beaten > iterations / 2  # without a turn in between, a few at either end of the call
