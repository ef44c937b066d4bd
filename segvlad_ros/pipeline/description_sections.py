"""The sections of a preset that shape a descriptor: image, segmenter, features, projection, neighbourhood."""
from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from segvlad_ros.features import dinov2, dinov2_weights
from segvlad_ros.segmentation import completion, sam, sam_checkpoint
from segvlad_ros.segmentation.sam_grid import SamGridSettings
from segvlad_ros.settings import one_of, setting

SIFT, XFEAT = 'sift', 'xfeat'


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
    min_size: int = setting(low=1, high=10_000_000)
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
class DescriptionSettings:
    """The sections of a preset that change a descriptor."""

    image: ImageSettings
    segmenter: GraphSettings | PatchSettings | SamSettings = one_of(
        felzenszwalb=GraphSettings, graph=GraphSettings, patches=PatchSettings, sam=SamSettings)
    features: FeatureSettings = one_of(
        root_sift=RootSiftSettings, dinov2=Dinov2Settings, sam_neck=SamNeckSettings, xfeat=XFeatSettings,
        orb_words=OrbWordsSettings, onnx=ImageModelSettings, torchscript=ImageModelSettings, given=GivenSettings)
    projection: ProjectionFile | ProjectionSeeded | ProjectionNone = one_of(
        file=ProjectionFile, seeded=ProjectionSeeded, none=ProjectionNone)
    neighbourhood: NeighbourhoodSettings


DESCRIPTION_SECTIONS = tuple(entry.name for entry in fields(DescriptionSettings))
