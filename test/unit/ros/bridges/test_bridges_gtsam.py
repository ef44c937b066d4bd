"""GTSAM itself reads the edges as Hydra and RTAB-Map do: the query is where it was, as uncertain as it was measured."""
import numpy as np
import peer_interfaces as peers
import pytest
from test_bridges import ADD_LINK, GRAPH, closure_of, differentiated, matrix_of, tangent_error, world  # noqa: F401

from segvlad_ros.geometry import identity
from segvlad_ros.ros.bridges import pose_graph_tools, rtabmap
from segvlad_ros.ros.bridges.rtabmap_nodes import Located

pytestmark = pytest.mark.slam
gtsam = pytest.importorskip('gtsam', reason='the slam extra is not installed')
MATCH, QUERY = 1, 2
ROTATION_FIRST = np.ix_([3, 4, 5, 0, 1, 2], [3, 4, 5, 0, 1, 2])


def hydra_factor(closure):
    """Hydra's backend: a factor from ``to`` to ``from`` with to_T_from."""
    edge, = peers.over_the_wire(pose_graph_tools.to_pose_graph(closure, GRAPH)).edges
    keys = {closure.match.robot_id: MATCH, closure.query.robot_id: QUERY}
    return gtsam.BetweenFactorPose3(
        keys[edge.robot_to], keys[edge.robot_from], gtsam.Pose3(matrix_of(edge.pose.position, edge.pose.orientation)),
        gtsam.noiseModel.Gaussian.Covariance(edge.covariance.reshape(6, 6)))


def rtabmap_factor(closure):
    """RTAB-Map's OptimizerGTSAM: a factor from ``from`` to ``to``, the blocks of the information exchanged."""
    ends = Located(QUERY, identity()), Located(MATCH, identity())
    link = peers.over_the_wire(rtabmap.to_add_link(closure, *ends, ADD_LINK)).link
    return gtsam.BetweenFactorPose3(
        link.from_id, link.to_id, gtsam.Pose3(matrix_of(link.transform.translation, link.transform.rotation)),
        gtsam.noiseModel.Gaussian.Information(link.information.reshape(6, 6)[ROTATION_FIRST]))


@pytest.mark.parametrize('factor_of', [hydra_factor, rtabmap_factor])
def test_the_query_is_found_with_its_covariance(world, factor_of):  # noqa: F811
    match, query, spread = world
    graph, start = gtsam.NonlinearFactorGraph(), gtsam.Values()
    graph.add(gtsam.PriorFactorPose3(MATCH, gtsam.Pose3(match), gtsam.noiseModel.Isotropic.Sigma(6, 1e-7)))
    graph.add(factor_of(closure_of(world)))
    start.insert(MATCH, gtsam.Pose3(match))
    start.insert(QUERY, gtsam.Pose3(query).compose(gtsam.Pose3.Expmap(np.full(6, 0.05))))
    found = gtsam.LevenbergMarquardtOptimizer(graph, start).optimize()
    np.testing.assert_allclose(found.atPose3(QUERY).matrix(), query, atol=1e-5)
    wanted = differentiated(lambda pose: pose, np.linalg.inv(match) @ query, spread, tangent_error)[ROTATION_FIRST]
    covariance = gtsam.Marginals(graph, found).marginalCovariance(QUERY)
    np.testing.assert_allclose(covariance, wanted, rtol=1e-3, atol=1e-5 * wanted.max())
