"""A preset and its sections: first what shapes a descriptor, then what decides."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segvlad_ros.features import dinov2, dinov2_weights
from segvlad_ros.io.model_files import DATA_SUFFIX
from segvlad_ros.io.weights import entry_of, sha256_of
from segvlad_ros.mapping.odometry import OdometrySettings
from segvlad_ros.mapping.places import PlaceSettings
from segvlad_ros.mapping.segment_index import EXACT_SEGMENTS
from segvlad_ros.recognition.decision import DecisionSettings
from segvlad_ros.segmentation import completion, sam, sam_checkpoint, sam_onnx
from segvlad_ros.segmentation.sam_grid import SamGridSettings
from segvlad_ros.settings import flatten, one_of, setting
from segvlad_ros.types import SegvladError
from segvlad_ros.verification.matchers import NEAREST
from segvlad_ros.verification.verify import VerificationSettings

# Counts up whenever the same settings begin to give other descriptors, so that old maps are refused.
DESCRIPTION_VERSION = 1
DESCRIPTION_SECTIONS = ('image', 'segmenter', 'features', 'projection', 'neighbourhood')
SIFT, XFEAT = 'sift', 'xfeat'
# Settings that came later, with what all maps before were made with: so they count as if they were not there.
_LATER = {'segmenter.image_size': None, 'segmenter.gaps': 'leave', 'keypoints': SIFT, 'geometry.matcher': NEAREST}


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
class GraphSettings:
    """See :class:`segvlad_ros.segmentation.classic.FelzenszwalbSegmenter`; kind 'graph' is OpenCV's, and quicker."""

    kind: str
    scale: float = setting(low=1.0)
    sigma: float = setting(low=0.0, high=10.0)
    min_size: int = setting(low=1)
    max_segments: int = setting(low=1, high=1000)


@dataclass(frozen=True)
class PatchSettings:
    """See :class:`segvlad_ros.segmentation.classic.PatchSegmenter`; 4 x 4 is the paper's (Table 6)."""

    kind: str
    rows: int = setting(4, low=1, high=32)
    cols: int = setting(4, low=1, high=32)


@dataclass(frozen=True)
class SamNetworkSettings:
    """See :class:`segvlad_ros.segmentation.sam.SamSegmenter`.

    :ivar weights: a checkpoint, or the ``.onnx`` that ``segvlad export sam`` wrote, which needs no PyTorch
    :ivar image_size: side of the network's input, pixels; None: what it was trained with
    :ivar gaps: what is done with the uncovered part of an image, see
        :class:`segvlad_ros.segmentation.completion.CompletedSegmenter`
    """

    kind: str
    model: str = setting(choices=(*sam_checkpoint.MODELS, 'auto'))
    weights: Path | None = None
    mode: str = setting('grid', choices=sam.MODES)
    precision: str = setting('float32', choices=sam.PRECISIONS)
    image_size: int | None = setting(None, low=64, high=4096)
    gaps: str = setting('leave', choices=completion.GAPS)


@dataclass(frozen=True)
class SamSettings(SamGridSettings, SamNetworkSettings):
    """The network's keys, then those of the grid; the defaults are the stock masks (segvlad-spec.md 4)."""


@dataclass(frozen=True)
class RootSiftSettings:
    """See :class:`segvlad_ros.features.root_sift.RootSiftExtractor`."""

    kind: str
    cell: int = setting(low=4, high=128)
    bin_sizes: tuple[int, ...] = setting(low=4, high=64)
    min_gradient: float = setting(low=0.0)


@dataclass(frozen=True)
class Dinov2Settings:
    """See :class:`segvlad_ros.features.dinov2.Dinov2Extractor`."""

    kind: str
    model: str = setting(choices=(*dinov2_weights.MODELS, 'auto'))
    weights: Path | None = None
    block: int = setting(31, low=0, high=39)
    facet: str = setting('value', choices=dinov2.FACETS)
    precision: str = setting('float32', choices=dinov2.PRECISIONS)


@dataclass(frozen=True)
class XFeatSettings:
    """See :class:`segvlad_ros.features.xfeat.XFeatExtractor`.

    :ivar bin_sizes: of RootSIFT beside it, see :class:`segvlad_ros.features.root_sift.RootSiftExtractor`; none: XFeat
        alone
    """

    kind: str
    weights: Path | None = None
    cell: int = setting(16, low=8, high=128)
    bin_sizes: tuple[int, ...] = setting((), low=4, high=64)
    min_gradient: float = setting(1.0, low=0.0)


@dataclass(frozen=True)
class SamNeckSettings:
    """See :class:`segvlad_ros.features.sam_neck.SamNeckExtractor`; the network is the segmenter's."""

    kind: str
    cell: int = setting(16, low=4, high=128)


@dataclass(frozen=True)
class OrbWordsSettings:
    """See :class:`segvlad_ros.description.binary_words.BagOfWords`; its words are the preset's vocabulary."""

    kind: str
    keypoints: int = setting(1000, low=50, high=10_000)


@dataclass(frozen=True)
class ImageModelSettings:
    """See :class:`segvlad_ros.features.image_model.ImageModel`; the image size of the preset is the network's."""

    kind: str
    path: Path | None = None
    mean: tuple[float, ...] = setting((0.485, 0.456, 0.406))  # of ImageNet, as nearly all networks have it
    deviation: tuple[float, ...] = setting((0.229, 0.224, 0.225), low=1e-3)
    cell: int | None = setting(None, low=4, high=128)


@dataclass(frozen=True)
class GivenSettings:
    """See :class:`segvlad_ros.features.given_vectors.GivenVectors`.

    :ivar dimension: of the vectors
    :ivar made_by: what made them, in your words; maps of one do not fit another
    """

    kind: str
    dimension: int = setting(low=1, high=0xFFFF)
    made_by: str = ''


FeatureSettings = (RootSiftSettings | Dinov2Settings | SamNeckSettings | XFeatSettings | OrbWordsSettings
                   | ImageModelSettings | GivenSettings)


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
class SearchSettings:
    """How the map is searched.

    :ivar neighbours: map segments retrieved for every query segment, where a map is small enough to compare all
    :ivar exact_segments: a map of more segments is compared in its best keyframes only; more cost time and 2 kB of
        memory each
    """

    neighbours: int = setting(50, low=1, high=1000)
    exact_segments: int = setting(EXACT_SEGMENTS, low=0, high=10_000_000)


@dataclass(frozen=True)
class VoteSettings:
    """:ivar floor: cosine similarity below which a segment has no vote; a vote's weight grows from 0 there to 1"""

    floor: float = setting(0.0, low=-1.0, high=0.99)


@dataclass(frozen=True)
class ExcludeSettings:
    """What is too recent to be a loop closure: keyframes of the query's own session.

    :ivar time_s: younger than this, seconds
    :ivar distance_m: less than this travelled since, metres (where odometry is known)
    """

    time_s: float = setting(30.0, low=0.0)
    distance_m: float = setting(5.0, low=0.0)


@dataclass(frozen=True)
class RecognitionSettings:
    """The sections of a preset that decide; none of them changes a descriptor."""

    search: SearchSettings
    vote: VoteSettings
    places: PlaceSettings
    decision: DecisionSettings
    geometry: VerificationSettings
    odometry: OdometrySettings
    exclude: ExcludeSettings


@dataclass(frozen=True)
class Preset(RecognitionSettings):
    """One pipeline, as in its YAML file.

    :ivar keypoints: for verification: 'sift', or those that ``features.kind: xfeat`` finds in the same pass
    """

    name: str
    image: ImageSettings
    segmenter: GraphSettings | PatchSettings | SamSettings = one_of(
        felzenszwalb=GraphSettings, graph=GraphSettings, patches=PatchSettings, sam=SamSettings)
    features: FeatureSettings = one_of(
        root_sift=RootSiftSettings, dinov2=Dinov2Settings, sam_neck=SamNeckSettings, xfeat=XFeatSettings,
        orb_words=OrbWordsSettings, onnx=ImageModelSettings, torchscript=ImageModelSettings, given=GivenSettings)
    projection: ProjectionFile | ProjectionSeeded | ProjectionNone = one_of(
        file=ProjectionFile, seeded=ProjectionSeeded, none=ProjectionNone)
    neighbourhood: NeighbourhoodSettings
    vocabulary: Path | None = None
    keypoints: str = setting(SIFT, choices=(SIFT, XFEAT))
    calibration: Path | None = None

    @property
    def whole_image(self) -> bool:
        """Whether the features are one vector an image: a keyframe is then one segment, and no VLAD is made of it."""
        return isinstance(self.features, (OrbWordsSettings, GivenSettings)) or (
            isinstance(self.features, ImageModelSettings) and self.features.cell is None)

    @property
    def one_segment(self) -> bool:
        """Whether a keyframe is one segment, the image."""
        return self.segmenter == PatchSettings('patches', 1, 1)

    @property
    def decides_by(self) -> str:
        """What makes a candidate a match, in words."""
        if self.calibration is None:
            return 'uncalibrated, thresholds decide'
        return 'calibrated probability' if self.decision.min_probability > 0 else 'calibrated, but thresholds decide'

    def fingerprint(self) -> dict[str, Any]:
        """Named fields of all that changes a descriptor, and their ``digest``.

        Files count with their content, not with their path; the preset's name and what only decides do not count.
        """
        return self._named(DESCRIPTION_SECTIONS, vocabulary=self.vocabulary, keypoints=self.keypoints)

    def evidence_digest(self) -> str:
        """Digest of all that changes the evidence that a calibration weighs: the fingerprint's, and what pairs points.

        Thresholds of geometry do not count.
        """
        matcher = {'geometry.matcher': self.geometry.matcher}
        if self.geometry.matcher != NEAREST:
            matcher['geometry.weights'] = self.geometry.weights
        return self._named(DESCRIPTION_SECTIONS, vocabulary=self.vocabulary, keypoints=self.keypoints,
                           **matcher)['digest']

    def section_digest(self, section: str) -> str:
        """Likewise, of all in one section that changes what it makes of an image: 'features' or 'segmenter'."""
        return self._named((section,))['digest']

    def _named(self, sections: Iterable[str], **more: Any) -> dict[str, Any]:
        named: dict[str, Any] = {'description_version': DESCRIPTION_VERSION}
        for section in sections:
            named.update(flatten(getattr(self, section), section))
        named.pop('segmenter.points_per_batch', None)  # memory against time, the masks are the same
        named.update(more)
        for name, before in _LATER.items():
            if named.get(name, '') == before:
                del named[name]
        for name, value in named.items():
            if isinstance(value, Path):
                named[name] = '+'.join(f'sha256:{sha256_of(file)}' for file in _files_of(existing_file(value, name)))
        text = json.dumps(named, sort_keys=True)
        return {**named, 'digest': hashlib.sha256(text.encode()).hexdigest()}


def _files_of(path: Path) -> list[Path]:
    """The file, and those that belong to an ONNX file: weights that are too many for it, and the parts of a SAM."""
    beside = [path.with_name(path.name + DATA_SUFFIX), *sam_onnx.files_of(path)[1:]]
    return [path, *(file for file in beside if path.suffix == '.onnx' and file.is_file())]


def existing_file(path: Path | None, name: str) -> Path:
    """The path if there is a file.

    :param name: what it is in the preset
    :raises SegvladError: with the command that brings the file, if there is one
    """
    if path is None:
        raise SegvladError(f'the preset leaves {name} to you: set it to your file, e.g. --set {name}=FILE')
    if path.is_file():
        return path
    entry = entry_of(path)
    bring = f'get it with "segvlad weights fetch {entry.name}"' if entry else f'set {name} to an existing file'
    raise SegvladError(f'{name} {path} does not exist: {bring}')
