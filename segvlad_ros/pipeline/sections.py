"""A preset: what shapes its descriptors, and the sections that decide."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segvlad_ros.io.model_files import DATA_SUFFIX
from segvlad_ros.io.weights import entry_of, sha256_of
from segvlad_ros.mapping.odometry import OdometrySettings
from segvlad_ros.mapping.places import PlaceSettings
from segvlad_ros.mapping.segment_index import EXACT_SEGMENTS
from segvlad_ros.pipeline.description_sections import (
    DESCRIPTION_SECTIONS,
    SIFT,
    XFEAT,
    DescriptionSettings,
    GivenSettings,
    ImageModelSettings,
    OrbWordsSettings,
    PatchSettings,
)
from segvlad_ros.recognition.decision import DecisionSettings
from segvlad_ros.segmentation import sam_onnx
from segvlad_ros.settings import flatten, setting
from segvlad_ros.types import SegvladError
from segvlad_ros.verification.matchers import NEAREST
from segvlad_ros.verification.verification_settings import VerificationSettings

# Counts up whenever the same settings begin to give other descriptors, so that old maps are refused.
DESCRIPTION_VERSION = 1
# Settings that came later, with what all maps before were made with: so they count as if they were not there.
_LATER = {'segmenter.image_size': None, 'segmenter.gaps': 'leave', 'keypoints': SIFT, 'geometry.matcher': NEAREST}


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
class Preset(DescriptionSettings, RecognitionSettings):
    """One pipeline, as in its YAML file.

    :ivar keypoints: for verification: 'sift', or those that ``features.kind: xfeat`` finds in the same pass
    """

    name: str
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
        return self._described()

    def evidence_digest(self) -> str:
        """Digest of all that changes the evidence that a calibration weighs: the fingerprint's, and what pairs points.

        Thresholds of geometry do not count.
        """
        matcher = {'geometry.matcher': self.geometry.matcher}
        if self.geometry.matcher != NEAREST:
            matcher['geometry.weights'] = self.geometry.weights
        return self._described(**matcher)['digest']

    def section_digest(self, section: str) -> str:
        """Likewise, of all in one section that changes what it makes of an image: 'features' or 'segmenter'."""
        return self._named((section,))['digest']

    def _described(self, **more: Any) -> dict[str, Any]:
        return self._named(DESCRIPTION_SECTIONS, vocabulary=self.vocabulary, keypoints=self.keypoints, **more)

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
