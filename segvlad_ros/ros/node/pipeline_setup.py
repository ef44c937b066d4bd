"""What a node needs of the pipeline before it begins."""
from __future__ import annotations

from segvlad_ros.mapping.keyframes import GateSettings, KeyframeGate
from segvlad_ros.mapping.novelty import NoveltySettings
from segvlad_ros.mapping.retention import RetentionSettings
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.ros.node.parameters import NodeParameters
from segvlad_ros.types import SegvladError


def node_pipeline(parameters: NodeParameters) -> PlaceRecognizer:
    """The core as a node's parameters have it, without a preset that no robot can use."""
    gate = KeyframeGate(lambda: gate_settings(parameters))
    places = PlaceRecognizer(parameters['preset'], device=parameters['device'], gate=gate,
                             robot_id=parameters['robot_id'])
    if places.preset.projection.kind == 'none' and not places.preset.one_segment:
        raise SegvladError(f'preset {parameters["preset"]}: projection none makes megabytes per keyframe and is for '
                           'offline use; set projection.kind to seeded or file')
    return places


def gate_settings(parameters: NodeParameters) -> GateSettings:
    """How far apart keyframes are, by what the parameters say now."""
    return GateSettings(*(parameters[f'keyframe.{name}'] for name in (
        'min_interval_s', 'min_distance_m', 'min_angle_rad', 'no_odometry_interval_s')))


def node_retention(parameters: NodeParameters) -> RetentionSettings:
    """How large a node's parameters let its map become."""
    novelty = NoveltySettings(*(parameters[f'retention.{name}'] for name in (
        'explained_score', 'explained_within_m', 'explained_within_rad')))
    return RetentionSettings(parameters['retention.max_keyframes'], parameters['retention.max_megabytes'] * 10**6,
                             parameters['retention.same_condition_score'], novelty)
