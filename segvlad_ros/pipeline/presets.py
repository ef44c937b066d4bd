"""A pipeline as one YAML file: found, read and checked (design.md 3)."""
from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import segvlad_ros
from segvlad_ros.io.paths import from_home
from segvlad_ros.io.yaml_text import read_yaml
from segvlad_ros.pipeline.description_sections import DESCRIPTION_SECTIONS, XFEAT, XFeatSettings
from segvlad_ros.pipeline.sections import Preset
from segvlad_ros.settings import read_settings
from segvlad_ros.types import SegvladError
from segvlad_ros.verification.matchers import LIGHTERGLUE

logger = logging.getLogger(__name__)

_DESCRIPTION_KEYS = (*DESCRIPTION_SECTIONS, 'vocabulary', 'keypoints')
_PATH_KEYS = ('vocabulary', 'calibration', 'weights', 'path')
# What decides where probabilities do not, and what it decides where they do.
_THRESHOLDS = {'decision.agreement': 'nothing', 'decision.agreement_proven': 'nothing',
               'decision.min_score': 'only which candidates support the keyframes after them'}


def load_preset(name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> Preset:
    """Read one preset.

    :param name_or_path: name of a shipped preset, or the path of a YAML file
    :param overrides: values by dotted name that replace the file's (``{'vocabulary': 'office.npz'}``); their
        relative paths are relative to the working directory, the file's own to the file. Replacing a ``kind``
        drops the section's other values; replacing what shapes a descriptor drops the calibration
    :raises SegvladError: unknown preset, key or value, naming it and what is allowed
    """
    if not isinstance(name_or_path, (str, Path)):
        raise SegvladError(f'{name_or_path!r} is not a preset: give the name of one ({", ".join(preset_names())}), '
                           'or the path of a YAML file')
    path = _find(str(name_or_path))
    overrides = overrides or {}
    _check_once(overrides)
    try:
        values = read_yaml(path)
        if not isinstance(values, dict):
            raise SegvladError('the file must consist of "key: value" lines')
        _without_calibration(values, overrides)
        for key, value in sorted(overrides.items(), key=lambda item: not item[0].endswith('.kind')):
            _override(values, key, value)
        preset = read_settings(Preset, values, '', path.parent)
        _check_together(preset)
        _say_what_is_idle(preset, overrides)
        return preset
    except OSError as error:
        raise SegvladError(f'preset {path}: {error.strerror}') from error
    except SegvladError as error:
        raise SegvladError(f'preset {path}: {error}') from error


def _find(name: str) -> Path:
    path = from_home(name)
    if path.suffix in ('.yaml', '.yml') or len(path.parts) != 1:
        if not path.is_file():
            raise SegvladError(f'preset {name}: no such file; give an existing YAML file or one of the names '
                               f'{", ".join(preset_names())}')
        return path
    shipped = config_directory() / f'{name}.yaml'
    if not shipped.is_file():
        raise SegvladError(f'unknown preset {name!r}: use one of {", ".join(preset_names())}, '
                           'or the path of a YAML file')
    return shipped


def _check_once(overrides: dict[str, Any]) -> None:
    """Refuse a section beside one of its own values: which of the two holds would depend on their order."""
    for key in overrides:
        section = next((other for other in overrides if key.startswith(f'{other}.')), None)
        if section is not None:
            raise SegvladError(f'{key} is replaced beside the whole section {section}: write it into the section')


def _without_calibration(values: dict[str, Any], overrides: dict[str, Any]) -> None:
    """Drop the calibration, and what acts on it, where the overrides make another description or ask for none."""
    shaping = [key for key in overrides if key.split('.')[0] in _DESCRIPTION_KEYS or key == 'geometry.matcher']
    if not values.get('calibration') or not shaping and overrides.get('calibration', '') is not None:
        return
    values.pop('calibration')
    if isinstance(values.get('decision'), dict):
        values['decision'].pop('min_probability', None)
    if shaping and 'calibration' not in overrides:
        logger.warning('%s shapes descriptors or what is proven by them: the calibration of the preset does not hold, '
                       'and thresholds decide instead of probabilities', shaping[0])


def _override(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split('.')
    for section in sections:
        inner = values.get(section)
        if not isinstance(inner, dict) or key == 'kind':
            inner = values[section] = {}
        values = inner
    values[key] = _from_here(key, value)


def _from_here(key: object, value: Any) -> Any:
    """An override's value with its paths made absolute, those in a whole section as well."""
    if isinstance(value, dict):
        return {inner: _from_here(inner, values) for inner, values in value.items()}
    if key in _PATH_KEYS and isinstance(value, str) and not value.startswith('weights:'):
        return str(from_home(value).absolute())
    return value


def _check_together(preset: Preset) -> None:
    """Refuse values that are right by themselves, and not beside each other."""
    if preset.calibration is None and preset.decision.min_probability > 0:
        raise SegvladError('decision.min_probability needs a calibration: learn one with "segvlad calibrate", or '
                           'set min_probability to 0')
    if preset.keypoints == XFEAT and not isinstance(preset.features, XFeatSettings):
        raise SegvladError('keypoints: xfeat are found by features.kind xfeat only; set keypoints to sift')
    if preset.geometry.matcher == LIGHTERGLUE and preset.keypoints != XFEAT:
        raise SegvladError('geometry.matcher: lighterglue takes keypoints of xfeat only, as the preset learned has '
                           'them; set it to nearest')


def _say_what_is_idle(preset: Preset, overrides: dict[str, Any]) -> None:
    """Who sets what decides by thresholds shall know where probabilities decide in its place."""
    if preset.decision.min_probability > 0:
        for key in sorted(_THRESHOLDS.keys() & overrides.keys()):
            logger.warning('%s decides %s: the preset has a calibration, and decision.min_probability decides in its '
                           'place; set that, or min_probability to 0 as well', key, _THRESHOLDS[key])


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    return sorted(path.stem for path in config_directory().glob('*.yaml'))


def config_directory() -> Path:
    """Folder with the shipped presets: of the source tree, a pip prefix or a colcon prefix, whichever holds us."""
    for parent in Path(segvlad_ros.__file__).parents:
        if (parent / 'package.xml').is_file() and (parent / 'config').is_dir():
            return parent / 'config'
        if (parent / 'share' / 'segvlad_ros' / 'config').is_dir():
            return parent / 'share' / 'segvlad_ros' / 'config'
    raise SegvladError('the folder with the presets is missing from this installation: install segvlad_ros again')
