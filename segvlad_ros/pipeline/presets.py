"""A pipeline as one YAML file: read, checked, fingerprinted and built (design.md 3)."""
from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import segvlad_ros
from segvlad_ros.io.weights import sha256_of
from segvlad_ros.pipeline.backends import (
    Dinov2Settings,
    FelzenszwalbSettings,
    PatchSettings,
    RootSiftSettings,
    SamSettings,
    build_extractor,
    build_segmenter,
    existing_file,
)
from segvlad_ros.pipeline.recognition_settings import (
    DecisionSettings,
    ExcludeSettings,
    OdometrySettings,
    PlaceSettings,
    RecognitionSettings,
    SearchSettings,
    VerificationSettings,
    VoteSettings,
)
from segvlad_ros.pipeline.settings_reader import flatten, read_settings
from segvlad_ros.settings import one_of, setting
from segvlad_ros.types import SegvladError

if TYPE_CHECKING:
    from segvlad_ros.description.describer import Describer
    from segvlad_ros.description.projection import Projection
    from segvlad_ros.pipeline.recognizer import Recognizer

logger = logging.getLogger(__name__)

# Counts up whenever the same settings begin to give other descriptors, so that old maps are refused.
DESCRIPTION_VERSION = 1
_DESCRIPTION_SECTIONS = ('image', 'segmenter', 'features', 'projection', 'neighbourhood')
_DESCRIPTION_KEYS = (*_DESCRIPTION_SECTIONS, 'vocabulary')
_PATH_KEYS = ('vocabulary', 'calibration', 'weights', 'path')


@dataclass(frozen=True)
class ImageSettings:
    """Size that images are brought to.

    :ivar width, height: of the feature image, pixels
    :ivar segment_scale: size of the segmented image as a share of the feature image
    :ivar min_segments: an image with fewer segments is rejected
    """

    width: int = setting(640, low=32, high=4096)
    height: int = setting(480, low=32, high=4096)
    segment_scale: float = setting(0.5, low=0.1, high=1.0)
    min_segments: int = setting(1, low=1, high=100)


@dataclass(frozen=True)
class ProjectionFile:
    """A projection fitted by ``segvlad fit projection``."""

    kind: str
    path: Path


@dataclass(frozen=True)
class ProjectionSeeded:
    """A random projection that needs no data; the seed names it."""

    kind: str
    dimension: int = setting(512, low=8, high=8192)
    seed: int = setting(0, low=0)


@dataclass(frozen=True)
class ProjectionNone:
    """The full vector, for offline use."""

    kind: str


@dataclass(frozen=True)
class NeighbourhoodSettings:
    """Which segments are described together (segvlad-spec.md 6).

    :ivar order: hops in the Delaunay graph of the segments; 0 describes every segment alone
    :ivar rule: 'robust', or 'reference' for parity with the published code
    """

    order: int = setting(3, low=0, high=8)
    rule: str = setting('robust', choices=('robust', 'reference'))


@dataclass(frozen=True)
class Preset:
    """One pipeline; the sections are those of the YAML file, ``source`` is the file."""

    name: str
    image: ImageSettings
    segmenter: FelzenszwalbSettings | PatchSettings | SamSettings = one_of(
        felzenszwalb=FelzenszwalbSettings, patches=PatchSettings, sam=SamSettings)
    features: RootSiftSettings | Dinov2Settings = one_of(root_sift=RootSiftSettings, dinov2=Dinov2Settings)
    projection: ProjectionFile | ProjectionSeeded | ProjectionNone = one_of(
        file=ProjectionFile, seeded=ProjectionSeeded, none=ProjectionNone)
    neighbourhood: NeighbourhoodSettings
    search: SearchSettings
    vote: VoteSettings
    places: PlaceSettings
    decision: DecisionSettings
    geometry: VerificationSettings
    odometry: OdometrySettings
    exclude: ExcludeSettings
    vocabulary: Path | None = None
    calibration: Path | None = None

    @property
    def recognition(self) -> RecognitionSettings:
        """The sections that decide, none of which changes a descriptor."""
        return RecognitionSettings(self.search, self.vote, self.places, self.decision, self.geometry, self.odometry,
                                   self.exclude)

    def fingerprint(self) -> dict[str, Any]:
        """Named fields of all that changes a descriptor, and their ``digest``.

        Files count with their content, not with their path; the preset's name and what only decides do not count.
        """
        named: dict[str, Any] = {'description_version': DESCRIPTION_VERSION}
        for section in _DESCRIPTION_SECTIONS:
            named.update(flatten(getattr(self, section), section))
        named.pop('segmenter.points_per_batch', None)  # memory against time, the masks are the same
        named['vocabulary'] = self.vocabulary
        for name, value in named.items():
            if isinstance(value, Path):
                named[name] = _file_digest(value, name)
        text = json.dumps(named, sort_keys=True)
        return {**named, 'digest': hashlib.sha256(text.encode()).hexdigest()}


def load_preset(name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> Preset:
    """Read one preset.

    :param name_or_path: name of a shipped preset, or the path of a YAML file
    :param overrides: values by dotted name that replace the file's (``{'vocabulary': 'office.npz'}``); their
        relative paths are relative to the working directory, the file's own to the file. Replacing a ``kind``
        drops the section's other values; replacing what shapes a descriptor drops the calibration
    :raises SegvladError: unknown preset, key or value, naming it and what is allowed
    """
    import yaml

    path = _find(str(name_or_path))
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8'))
        if not isinstance(values, dict):
            raise SegvladError('the file must consist of "key: value" lines')
        _without_calibration(values, overrides or {})
        for key, value in sorted((overrides or {}).items(), key=lambda item: not item[0].endswith('.kind')):
            _override(values, key, value)
        preset = read_settings(Preset, values, '', path.parent)
        if preset.calibration is None and preset.decision.min_probability > 0:
            raise SegvladError('decision.min_probability needs a calibration: learn one with "segvlad calibrate", or '
                               'set min_probability to 0')
        return preset
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SegvladError(f'preset {path}: not readable as YAML ({_first_line(error)})') from error
    except OSError as error:
        raise SegvladError(f'preset {path}: {error.strerror}') from error
    except SegvladError as error:
        raise SegvladError(f'preset {path}: {error}') from error


def _without_calibration(values: dict[str, Any], overrides: dict[str, Any]) -> None:
    """Drop the calibration, and what acts on it, where the overrides make another description or ask for none."""
    shaping = [key for key in overrides if key.split('.')[0] in _DESCRIPTION_KEYS]
    if not values.get('calibration') or not shaping and overrides.get('calibration', '') is not None:
        return
    values.pop('calibration')
    if isinstance(values.get('decision'), dict):
        values['decision'].pop('min_probability', None)
    if shaping and 'calibration' not in overrides:
        logger.warning('%s shapes descriptors: the calibration of the preset does not hold for them, and thresholds '
                       'decide instead of probabilities', shaping[0])


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


def build_describer(preset: Preset, device: str = 'cpu') -> Describer:
    """Load models, vocabulary and projection, and join them.

    :param device: torch device of the deep backends, 'cpu' or 'cuda'
    :raises SegvladError: what is missing, and the command that makes it
    """
    from segvlad_ros.description.describer import Describer
    from segvlad_ros.description.keypoints import KeypointDetector
    from segvlad_ros.description.vocabulary import load_vocabulary

    if preset.vocabulary is None:
        raise SegvladError(
            f'preset {preset.name!r} has no vocabulary: make one with "segvlad fit vocabulary IMAGES --preset '
            f'{preset.name} --output FILE.npz" and set vocabulary to that file')
    vocabulary = load_vocabulary(existing_file(preset.vocabulary, 'vocabulary'))
    extractor = build_extractor(preset.features, device)
    return Describer(
        build_segmenter(preset.segmenter, device), extractor, vocabulary,
        build_projection(preset, len(vocabulary), vocabulary.dimension),
        order=preset.neighbourhood.order, rule=preset.neighbourhood.rule,
        image_size=(preset.image.width, preset.image.height), segment_scale=preset.image.segment_scale,
        min_segments=preset.image.min_segments, concurrent=device != 'cpu',
        find_keypoints=KeypointDetector(preset.geometry.max_keypoints) if preset.geometry.max_keypoints else None)


def build_recognizer(preset: Preset, dimension: int) -> Recognizer:
    """A recogniser with an empty map, and with the preset's calibration if it has one.

    :param dimension: length of a segment's descriptor
    :raises SegvladError: the calibration is not there, or another preset's
    """
    from segvlad_ros.pipeline.recognizer import Recognizer
    from segvlad_ros.recognition.calibration import load_calibration

    calibration = None
    if preset.calibration is not None:
        calibration = load_calibration(existing_file(preset.calibration, 'calibration'), preset.fingerprint()['digest'])
    return Recognizer(preset.recognition, dimension, calibration)


def build_projection(preset: Preset, words: int, feature_dimension: int) -> Projection:
    """The projection that a preset names.

    :param words, feature_dimension: K and D of the vocabulary
    """
    from segvlad_ros.description import projection

    settings = preset.projection
    if isinstance(settings, ProjectionFile):
        return projection.load_projection(settings.path)
    if isinstance(settings, ProjectionSeeded):
        return projection.SeededProjection(words, feature_dimension, settings.dimension, settings.seed)
    return projection.NoProjection(words, feature_dimension)


def _find(name: str) -> Path:
    path = Path(name).expanduser()
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


def _override(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split('.')
    for section in sections:
        inner = values.get(section)
        if not isinstance(inner, dict) or key == 'kind':
            inner = values[section] = {}
        values = inner
    if key in _PATH_KEYS and isinstance(value, str) and not value.startswith('weights:'):
        value = str(Path(value).expanduser().absolute())
    values[key] = value


def _file_digest(path: Path, name: str) -> str:
    return f'sha256:{sha256_of(existing_file(path, name))}'


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
