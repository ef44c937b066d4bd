"""What every evaluation shares: what was measured, image by image, and what it cost."""
from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segvlad_ros.evaluation.metrics import RANKS, ClosureError, Outcome
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.types import CameraModel, Keyframe, Pose, Recognition

Progress = Callable[..., Iterable]
"""Shows how far an iteration is: (values, title, number of values or None) -> the values."""
# Keyframes written to a map file to measure its size.
MEASURED_KEYFRAMES = 100


@dataclass
class Costs:
    """Costs, summed up while an evaluation runs."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    segments: list[int] = field(default_factory=list)
    sample: list[Keyframe] = field(default_factory=list)

    def described(self, keyframe: Keyframe) -> None:
        """Count one described image."""
        self.segments.append(len(keyframe.description))
        if len(self.sample) < MEASURED_KEYFRAMES and not keyframe.description.rejected:
            self.sample.append(keyframe)
        for stage, seconds in keyframe.description.timings.items():
            self.seconds[stage].append(seconds)

    def recognized(self, keyframe: Keyframe, answer: Recognition) -> None:
        """Count one answer."""
        for stage, seconds in answer.timings.items():
            if stage not in keyframe.description.timings:
                self.seconds[stage].append(seconds)


@dataclass(frozen=True)
class Picture:
    """What a report shows of an image.

    :ivar thumbnail: JPEG bytes, b'' if none
    :ivar boxes: (M, 4) int32 of its segments, x, y, width, height, pixels of the camera's image
    """

    thumbnail: bytes
    boxes: np.ndarray
    camera_model: CameraModel | None = None

    @classmethod
    def of(cls, keyframe: Keyframe) -> Picture:
        """Of a described image, without its descriptors."""
        return cls(keyframe.thumbnail, keyframe.description.boxes, keyframe.camera_model)


@dataclass(frozen=True)
class Evaluation:
    """All that was measured, before it is made into numbers.

    :ivar outcomes: one a query that counts, in order
    :ivar keyframes: names of the map's entries, by entry
    :ivar closures: of every metric closure whose keyframes have a true pose
    :ivar without_truth: keyframes of a bag that have no true pose and are not judged; None without such
    :ivar truth: of a bag: by what it was judged, for people and scripts
    :ivar pictures: of queries and map entries by name, for a report
    :ivar poses: true poses of queries and map entries by name, metres, all in one frame; those of images and of what
        has no truth are missing
    :ivar consecutive: the queries are one drive in its order, and neighbours see the same place
    """

    outcomes: Sequence[Outcome]
    keyframes: Sequence[str]
    costs: Costs
    fingerprint: dict
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    closures: Sequence[ClosureError] = ()
    without_truth: int | None = None
    truth: dict[str, object] = field(default_factory=dict)
    poses: Mapping[str, Pose] = field(default_factory=dict)
    consecutive: bool = False


def top_k(ignored: int) -> int:
    """Candidates to ask for, so that enough are left when the ignored ones are taken out."""
    return max(RANKS) + ignored


def bytes_per_keyframe(sample: Sequence[Keyframe], fingerprint: dict) -> float | None:
    """Size of a map file with these keyframes, a keyframe."""
    if not sample:
        return None
    with tempfile.TemporaryDirectory() as folder:
        dimension = sample[0].description.descriptors.shape[1]
        with PlaceMap.create(Path(folder) / 'size.segvlad', fingerprint, dimension) as place_map:
            for keyframe in sample:
                place_map.append(keyframe)
            return place_map.bytes / len(sample)
