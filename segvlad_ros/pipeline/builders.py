"""What a preset names, built: models, vocabulary, projection and calibration are loaded, and joined."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segvlad_ros.io.devices import check_device
from segvlad_ros.pipeline.description_sections import (
    SIFT,
    XFEAT,
    Dinov2Settings,
    FeatureSettings,
    GivenSettings,
    GraphSettings,
    ImageModelSettings,
    OrbWordsSettings,
    PatchSettings,
    ProjectionFile,
    ProjectionSeeded,
    RootSiftSettings,
    SamNeckSettings,
    SamSettings,
    XFeatSettings,
)
from segvlad_ros.pipeline.sections import Preset, existing_file
from segvlad_ros.types import SegvladError
from segvlad_ros.verification.matchers import NEAREST

if TYPE_CHECKING:
    from segvlad_ros.description.describer import Describer
    from segvlad_ros.description.projection import Projection
    from segvlad_ros.features import FeatureExtractor
    from segvlad_ros.pipeline.recognizer import Recognizer
    from segvlad_ros.segmentation import Segmenter
    from segvlad_ros.verification.matchers import Matcher
    from segvlad_ros.verification.verification_settings import VerificationSettings


def build_describer(preset: Preset, device: str = 'cpu') -> Describer:
    """Load models, vocabulary and projection, and join them.

    :param device: where networks run, see :mod:`segvlad_ros.io.devices`
    :raises SegvladError: what is missing, and the command that makes it; a device of no such name
    """
    from segvlad_ros.description.describer import Describer
    from segvlad_ros.description.keypoints import KeypointDetector
    from segvlad_ros.description.vocabulary import load_vocabulary, no_words
    from segvlad_ros.features.sam_neck import SamNeckExtractor

    check_device(device)  # a preset without networks would not look at it
    if preset.whole_image:
        extractor = build_image_extractor(preset, device)
        vocabulary = no_words(extractor.dimension)
    else:
        vocabulary = load_vocabulary(_vocabulary_file(preset))
        extractor = build_cell_extractor(preset, device)
    network = extractor.segmenter if isinstance(extractor, SamNeckExtractor) else None
    return Describer(
        build_segmenter(preset.segmenter, device, network), extractor, vocabulary,
        build_projection(preset, len(vocabulary), vocabulary.dimension),
        order=preset.neighbourhood.order, rule=preset.neighbourhood.rule,
        image_size=(preset.image.width, preset.image.height), segment_scale=preset.image.segment_scale,
        min_segments=preset.image.min_segments,
        find_keypoints=(KeypointDetector(preset.geometry.max_keypoints)
                        if preset.geometry.max_keypoints and preset.keypoints == SIFT else None))


def _vocabulary_file(preset: Preset) -> Path:
    if preset.vocabulary is None:
        raise SegvladError(
            f'preset {preset.name!r} has no vocabulary: make one with "segvlad fit vocabulary IMAGES --preset '
            f'{preset.name} --output FILE.npz" and set vocabulary to that file')
    return existing_file(preset.vocabulary, 'vocabulary')


def build_image_extractor(preset: Preset, device: str) -> FeatureExtractor:
    """What makes one vector of an image, its files loaded.

    :raises SegvladError: the preset cuts images into segments all the same, or has words that nothing uses
    """
    from segvlad_ros.description.binary_words import BagOfWords, load_binary_vocabulary
    from segvlad_ros.features.given_vectors import GivenVectors
    from segvlad_ros.features.orb import OrbDetector

    settings, size = preset.features, (preset.image.width, preset.image.height)
    if not preset.one_segment:
        raise SegvladError(f'features.kind {settings.kind} makes one vector of an image: set segmenter to '
                           '{kind: patches, rows: 1, cols: 1}, its only segment')
    if isinstance(settings, OrbWordsSettings):
        return BagOfWords(OrbDetector(settings.keypoints), load_binary_vocabulary(_vocabulary_file(preset)), min(size))
    if preset.vocabulary is not None:
        raise SegvladError(f'features.kind {settings.kind} makes one vector of an image, which needs no words: set '
                           'vocabulary to null')
    if isinstance(settings, GivenSettings):
        return GivenVectors(settings.dimension, min(size))
    return _build_image_model(settings, size, device)


def _build_image_model(settings: ImageModelSettings, size: tuple[int, int], device: str) -> FeatureExtractor:
    from segvlad_ros.features.image_model import ImageModel
    from segvlad_ros.io.model_files import load_onnx, load_torchscript

    load = load_onnx if settings.kind == 'onnx' else load_torchscript
    model = load(existing_file(settings.path, 'features.path'), device)
    return ImageModel(model, size, settings.mean, settings.deviation, settings.cell)


def build_segmenter(settings: GraphSettings | PatchSettings | SamSettings, device: str,
                    network: Segmenter | None = None) -> Segmenter:
    """The segmenter that a preset names, its weights loaded.

    :param network: SAM with these settings, if it is loaded already
    """
    from segvlad_ros.segmentation import classic

    if isinstance(settings, GraphSettings):
        kinds = {'felzenszwalb': classic.FelzenszwalbSegmenter, 'graph': classic.GraphSegmenter}
        return kinds[settings.kind](settings.scale, settings.sigma, settings.min_size, settings.max_segments)
    if isinstance(settings, PatchSettings):
        return classic.PatchSegmenter(settings.rows, settings.cols)
    from segvlad_ros.segmentation.completion import CompletedSegmenter, filler

    segmenter = network or _build_sam(settings, device)
    return segmenter if settings.gaps == 'leave' else CompletedSegmenter(segmenter, filler(settings.gaps))


def _build_sam(settings: SamSettings, device: str) -> Segmenter:
    from segvlad_ros.segmentation.sam import SamSegmenter
    from segvlad_ros.segmentation.sam_onnx import OnnxSamSegmenter

    path = existing_file(settings.weights, 'segmenter.weights')
    if path.suffix == '.onnx':
        if (settings.mode, settings.precision) != ('grid', 'float32'):
            raise SegvladError('segmenter.weights is an ONNX file, which has mode grid and precision float32 alone')
        return OnnxSamSegmenter(path, device=device, image_size=settings.image_size, settings=settings)
    return SamSegmenter.from_checkpoint(
        path, model=settings.model, mode=settings.mode, device=device, precision=settings.precision,
        image_size=settings.image_size, settings=settings)


def build_cell_extractor(preset: Preset, device: str) -> FeatureExtractor:
    """The extractor of features a cell that a preset names, which may be the network of its segmenter."""
    size = preset.image.width, preset.image.height
    if not isinstance(preset.features, SamNeckSettings):
        keypoints = preset.geometry.max_keypoints if preset.keypoints == XFEAT else 0
        return build_extractor(preset.features, device, size, keypoints)
    from segvlad_ros.description.describer import segment_size
    from segvlad_ros.features.sam_neck import SamNeckExtractor

    if not isinstance(preset.segmenter, SamSettings) or preset.segmenter.mode != 'grid':
        raise SegvladError('features.kind sam_neck shares the network of the segmenter: set segmenter.kind to sam, '
                           'mode grid')
    return SamNeckExtractor(_build_sam(preset.segmenter, device), size,
                            segment_size(size, preset.image.segment_scale), preset.features.cell)


def build_extractor(settings: FeatureSettings, device: str, size: tuple[int, int] = (640, 480),
                    keypoints: int = 0) -> FeatureExtractor:
    """The extractor of features a cell that a preset names, its weights loaded.

    :param size: width and height of the images, which a network in a file may insist on
    :param keypoints: how many it finds beside, where it can
    :raises SegvladError: it makes one vector of an image, see :func:`build_image_extractor`
    """
    from segvlad_ros.features import dinov2, root_sift, side_by_side, xfeat
    from segvlad_ros.io.model_files import load_onnx_outputs

    if isinstance(settings, RootSiftSettings):
        return root_sift.RootSiftExtractor(settings.cell, settings.bin_sizes, settings.min_gradient)
    if isinstance(settings, ImageModelSettings) and settings.cell is not None:
        return _build_image_model(settings, size, device)
    if isinstance(settings, XFeatSettings):
        model = load_onnx_outputs(existing_file(settings.weights, 'features.weights'), device)
        learned = xfeat.XFeatExtractor(model, size, settings.cell, keypoints)
        if not settings.bin_sizes:
            return learned
        return side_by_side.SideBySide(
            [root_sift.RootSiftExtractor(settings.cell, settings.bin_sizes, settings.min_gradient), learned])
    if isinstance(settings, SamNeckSettings):
        raise SegvladError('features.kind sam_neck is the network of the segmenter, and no network of its own')
    if not isinstance(settings, Dinov2Settings):
        raise SegvladError(f'features.kind {settings.kind} makes one vector of an image, and no features of its cells')
    return dinov2.Dinov2Extractor.from_checkpoint(
        existing_file(settings.weights, 'features.weights'), None if settings.model == 'auto' else settings.model,
        facet=settings.facet, block=settings.block, device=device, precision=settings.precision)


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


def build_recognizer(preset: Preset) -> Recognizer:
    """A recogniser with an empty map, and with the preset's calibration if it has one.

    :raises SegvladError: the calibration is not there, or another preset's
    """
    from segvlad_ros.pipeline.recognizer import Recognizer
    from segvlad_ros.recognition.calibration import load_calibration

    calibration = None
    if preset.calibration is not None:
        calibration = load_calibration(existing_file(preset.calibration, 'calibration'), preset.evidence_digest())
    return Recognizer(preset, calibration, build_matcher(preset.geometry))


def build_matcher(settings: VerificationSettings) -> Matcher:
    """What pairs keypoints in a preset, its weights loaded.

    :raises SegvladError: the weights, or what runs them, are not there
    """
    from segvlad_ros.io.lighterglue_graph import INPUTS
    from segvlad_ros.io.model_files import load_onnx_function
    from segvlad_ros.verification.matchers import LearnedMatcher, nearest_matcher

    if settings.matcher == NEAREST:
        return nearest_matcher(settings.max_ratio)
    model = load_onnx_function(existing_file(settings.weights, 'geometry.weights'), INPUTS)
    return LearnedMatcher(model, settings.learned_keypoints)
