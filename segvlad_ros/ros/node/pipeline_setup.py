"""What a node needs of the pipeline before it begins."""
from __future__ import annotations

import numpy as np

from segvlad_ros.description.describer import Describer
from segvlad_ros.mapping.keyframes import GateSettings, KeyframeGate
from segvlad_ros.pipeline.presets import Preset, build_describer, load_preset
from segvlad_ros.ros.node.parameters import NodeParameters
from segvlad_ros.types import SegvladError

WARM_UP_SIZE = (480, 640)


def load_node_preset(name: str) -> Preset:
    """Read a preset and refuse what no robot can use."""
    preset = load_preset(name)
    if preset.projection.kind == 'none':
        raise SegvladError(f'preset {name}: projection none makes megabytes a keyframe and is for offline use; '
                           'set projection.kind to seeded or file')
    return preset


def keyframe_gate(parameters: NodeParameters) -> KeyframeGate:
    """What decides which frames become keyframes."""
    return KeyframeGate(GateSettings(*(parameters[f'keyframe.{name}'] for name in (
        'min_interval_s', 'min_distance_m', 'min_angle_rad', 'no_odometry_interval_s'))))


def load_describer(preset: Preset, device: str) -> Describer:
    """Load the models and describe one image, so that the first real one is not late and what fails, fails here."""
    describer = build_describer(preset, device)
    describer.describe(np.random.default_rng(0).integers(0, 256, (*WARM_UP_SIZE, 3), np.uint8))
    return describer
