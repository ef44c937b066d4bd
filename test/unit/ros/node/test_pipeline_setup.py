"""Which presets a node takes."""
import pytest

from segvlad_ros.pipeline.presets import config_directory
from segvlad_ros.ros.node.pipeline_setup import node_pipeline
from segvlad_ros.types import SegvladError

GATE = {'keyframe.min_interval_s': 1.0, 'keyframe.min_distance_m': 1.0, 'keyframe.min_angle_rad': 1.0,
        'keyframe.no_odometry_interval_s': 1.0}


def pipeline(preset):
    return node_pipeline({**GATE, 'preset': str(preset), 'device': 'cpu', 'robot_id': 0})


@pytest.mark.parametrize('preset', ['image_model', 'classic_image', 'orb_words'])
def test_a_vector_an_image_needs_no_projection(preset):
    assert pipeline(preset).preset.projection.kind == 'none'


def test_segments_need_one(tmp_path):
    text = (config_directory() / 'classic_image.yaml').read_text()
    path = tmp_path / 'segments.yaml'
    path.write_text(text.replace('rows: 1', 'rows: 4').replace('classic/', f'{config_directory()}/classic/'))
    with pytest.raises(SegvladError, match='megabytes per keyframe'):
        pipeline(path)
