"""The bench of months: real nodes are fed as fast as they take it, and every image has its fate."""
import numpy as np
import pytest
import soak_nodes
from flatness import growing, verdict
from node_harness import SECOND, real_images
from robot_day import small_preset

from segvlad_ros.simulation.camera import BASE_FROM_CAMERA, CAMERA_FRAME, camera_model
from segvlad_ros.types import CameraModel, Frame, Pose

WIDTH, HEIGHT = 160, 120
LAPS, STANDS, CAP = 2, 3, 3
MODEL = CameraModel(WIDTH, HEIGHT, np.diag([1 / 4, 1 / 4, 1]) @ camera_model().matrix, np.zeros(5))


@pytest.fixture(scope='module')
def pictures():
    return real_images('hololens_office/images', [0, 60, 120, 200], (WIDTH, HEIGHT))


def stream(pictures):
    """Laps of a robot that takes several pictures at each place, a metre from the one before; the last one is late."""
    count = LAPS * len(pictures) * STANDS
    for number in range(count + 1):
        place, seconds = number // STANDS, 1000 + number if number < count else 998.5 + number
        pose = Pose(np.array([place, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]), 'odom')
        yield number / 10, Frame(pictures[place % len(pictures)], round(seconds * SECOND), '', CAMERA_FRAME, pose,
                                 np.full((HEIGHT, WIDTH), 2.0, np.float32), MODEL, BASE_FROM_CAMERA)


@pytest.fixture
def logs(tmp_path):
    """Shows what the nodes said when the test fails."""
    yield
    for log in sorted((tmp_path / 'logs').glob('*.log')):
        print(f'{log.name}:\n{log.read_text(errors="replace")}')


@pytest.mark.usefixtures('logs')
def test_every_image_has_its_fate(domain, pictures, tmp_path):
    samples, inputs = soak_nodes.live(stream(pictures), small_preset(tmp_path, MODEL), CAP, tmp_path)
    last, described = samples[-1], LAPS * len(pictures)
    assert last['counts'].items() >= {
        'sent': described * STANDS + 1, 'received': described * STANDS + 1, 'lost': 0, 'dropped': 0, 'rejected': 1,
        'described': described, 'passed_by_gate': described * (STANDS - 1), 'answered': described, 'held': CAP}.items()
    assert not any(inputs.values()), inputs
    assert {int(each['hour']) for each in samples} == {0, 1, 2}  # one at each full hour, and more where it is slow
    for name in soak_nodes.NODES:
        assert last[f'{name}_rss_mb'] > last[f'{name}_rss_anon_mb'] > 10
        assert min(last[f'{name}_handles'], last[f'{name}_threads']) > 3
        assert last[f'{name}_latency_ms_p50'] > 0
    assert last['file_mb'] > 0.01
    assert min(each['machine_ms'] for each in samples) > 1


@pytest.mark.long
def test_a_day_of_real_nodes(domain):
    samples, inputs = soak_nodes.run(9.0, 40, 11, WIDTH)
    figures = verdict(samples, 40, soak_nodes.FIGURES)
    assert not growing(figures, soak_nodes.FLAT_FIGURES), figures
    assert not any(inputs.values()), inputs
