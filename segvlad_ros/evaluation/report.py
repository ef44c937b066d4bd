"""An evaluation as numbers and as text."""
from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from segvlad_ros.evaluation.measured import Evaluation, bytes_per_keyframe
from segvlad_ros.evaluation.metrics import closure_metrics, decision_metrics, ranking_metrics

if TYPE_CHECKING:
    from segvlad_ros.pipeline.presets import Preset

def summarize(evaluation: Evaluation, preset: Preset) -> dict[str, object]:
    """The numbers of design.md 7, ready for JSON; what cannot be known (no accepted match) is None."""
    costs = evaluation.costs
    stages = {stage: statistics.fmean(seconds) * 1000 for stage, seconds in costs.seconds.items()}
    return {
        'preset': preset.name,
        'fingerprint': evaluation.fingerprint['digest'],
        'images': len(costs.segments),
        'map_keyframes': len(evaluation.keyframes),
        **({'truth': evaluation.truth} if evaluation.truth else {}),
        **({} if evaluation.without_truth is None else {'keyframes_without_truth': evaluation.without_truth}),
        **ranking_metrics(evaluation.outcomes),
        **decision_metrics(evaluation.outcomes),
        'closures': closure_metrics(evaluation.closures),
        'ms_per_image': {**{stage: round(ms, 3) for stage, ms in stages.items()},
                         'total': round(sum(stages.values()), 3)},
        'segments_per_image': statistics.fmean(costs.segments),
        'bytes_per_keyframe': bytes_per_keyframe(costs.sample, evaluation.fingerprint),
    }


def as_text(numbers: dict[str, object]) -> str:
    """The numbers as an aligned table."""
    lines = []
    for name, value in numbers.items():
        if name.endswith('_bounds'):
            continue
        entries = value if isinstance(value, list) else [value]
        lines += [f'{"" if number else name:24} {_shown(name, entry, numbers)}' for number, entry in enumerate(entries)]
    return '\n'.join(lines)


def _shown(name: str, value: object, numbers: dict[str, object]) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{key} {_number(entry)}' for key, entry in value.items())
    if not isinstance(value, float):
        return '-' if value is None else str(value)
    bounds = numbers.get(f'{name}_bounds')
    interval = f'   (95% interval {bounds[0]:.3f} to {bounds[1]:.3f})' if bounds else ''
    return (f'{value:.3f}' if value < 100 else f'{value:.0f}') + interval


def _number(value: object) -> str:
    """A number with the digits that say something: 0.0031 and 123.4."""
    if not isinstance(value, float):
        return '-' if value is None else str(value)
    return f'{value:.1f}' if abs(value) >= 1 else f'{value:.2g}'
