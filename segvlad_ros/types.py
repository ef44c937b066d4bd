"""The few types that travel between the rooms of the house.

Arrays are numpy. Images are RGB uint8 of shape (height, width, 3). Lengths are metres, angles radians,
stamps integer nanoseconds; boxes are pixels of the image as the camera delivered it. Poses follow the
``a_from_b`` naming: ``a_from_b`` maps coordinates of frame b to frame a.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from segvlad_ros.text import one_line


class SegvladError(Exception):
    """An input, file or configuration that cannot be used; the message says what to do.

    It is one line whatever the text quotes, see :func:`~segvlad_ros.text.one_line`.
    """

    def __init__(self, message: object = '') -> None:
        super().__init__(one_line(message))


@dataclass(frozen=True)
class CellGrid:
    """The grid of square feature cells that lies over a prepared image, anchored at its top left pixel.

    :ivar width, height: size of the prepared image, pixels
    :ivar cell: side of a cell, pixels; a remainder at the right or bottom belongs to the last column or row
    """

    width: int
    height: int
    cell: int

    @property
    def rows(self) -> int:
        """Rows of cells."""
        return self.height // self.cell

    @property
    def cols(self) -> int:
        """Columns of cells."""
        return self.width // self.cell

    @property
    def cells(self) -> int:
        """Number of cells N = rows x cols, numbered row by row."""
        return self.rows * self.cols


@dataclass(frozen=True)
class Masks:
    """What a segmenter finds, in its own order and at its own resolution.

    :ivar masks: (M, h, w) bool; masks may overlap, nest and leave pixels uncovered. A numpy array, or a torch
        tensor that stays on its device until the cells are known.
    :ivar quality: (M,) float32, the segmenter's own confidence in [0, 1]; 1 where it has none
    :ivar embedding: (C, side, side) float32, numpy or torch: what a network made of the image, which it scaled to fit
        into the top left; None where there is none
    """

    masks: object
    quality: np.ndarray
    embedding: object | None = None

    def __len__(self) -> int:
        return len(self.quality)


@dataclass(frozen=True)
class Segments:
    """M segments of one image on its cell grid.

    :ivar incidence: (M, N) bool, which cells a segment touches
    :ivar centroids: (M, 2) float64, mean column and mean row of the mask, mask pixels
    :ivar boxes: (M, 4) float64, x, y, width, height as fractions of the image's width and height
    :ivar areas: (M,) float64, share of the image's pixels that the segment covers, in [0, 1]
    :ivar quality: (M,) float32, see :class:`Masks`
    """

    incidence: np.ndarray
    centroids: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    quality: np.ndarray

    def __len__(self) -> int:
        return len(self.quality)


@dataclass(frozen=True)
class Keypoints:
    """Local features of one keyframe, for geometric verification.

    :ivar positions: (P, 2) float32, u (right) and v (down), pixels of the camera's image
    :ivar descriptors: (P, B) uint8
    :ivar depths: (P,) float32 metres along the optical axis, NaN where unknown
    """

    positions: np.ndarray
    descriptors: np.ndarray
    depths: np.ndarray


@dataclass(frozen=True)
class FeatureGrid:
    """One feature a cell: (rows x cols, D) float32, numbered row by row. Rows of zeros are cells without texture.

    :ivar keypoints: that the same pass found, pixels of the prepared image and without depths; None from features
        that find none
    :ivar cell: side of a cell, pixels, where features are kept away from their extractor, which knows it; else None
    """

    features: np.ndarray
    rows: int
    cols: int
    keypoints: Keypoints | None = None
    cell: int | None = None


@dataclass(frozen=True)
class PlaceDescription:
    """An image as the map sees it.

    :ivar descriptors: (M, d) float32, unit rows, one a segment; M may be 0
    :ivar boxes: (M, 4) int32, x, y, width, height, pixels of the camera's image
    :ivar pixels: (M,) int64, area, pixels of the camera's image
    :ivar rejected: '' or the one-line reason why the image cannot be recognised (blank, dark, too few segments)
    :ivar timings: seconds by stage name; some run side by side
    """

    descriptors: np.ndarray
    boxes: np.ndarray
    pixels: np.ndarray
    rejected: str = ''
    keypoints: Keypoints | None = None
    timings: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.descriptors)


@dataclass(frozen=True)
class Pose:
    """A rigid transform ``parent_from_child``.

    :ivar translation: (3,) float64, metres
    :ivar quaternion: (4,) float64, x y z w, unit
    :ivar frame: name of the parent frame; '' if unknown
    :ivar covariance: (6, 6) float64 in the order x y z roll pitch yaw, or None if unknown
    """

    translation: np.ndarray
    quaternion: np.ndarray
    frame: str = ''
    covariance: np.ndarray | None = None


@dataclass(frozen=True)
class OptimizedPose:
    """A base pose in the frame of a SLAM back-end: never compared with odometry, which is in another frame."""

    map_from_base: Pose


@dataclass(frozen=True)
class CameraModel:
    """Pinhole intrinsics of the camera's image (CameraInfo).

    :ivar width, height: pixels
    :ivar matrix: (3, 3) float64, K
    :ivar distortion: (n,) float64 coefficients of the distortion model, in ROS's order; empty for a rectified image
    :ivar distortion_model: 'plumb_bob', 'rational_polynomial' or 'equidistant' (see :mod:`segvlad_ros.io.camera_info`)
    """

    width: int
    height: int
    matrix: np.ndarray
    distortion: np.ndarray
    distortion_model: str = 'plumb_bob'

    @property
    def straight(self) -> bool:
        """Whether straight lines stay straight; never by an equidistant lens, however small its coefficients are."""
        return not np.any(self.distortion) and (self.distortion_model != 'equidistant' or not len(self.distortion))


@dataclass(frozen=True)
class Frame:
    """One camera image and what is known about it.

    :ivar rgb: (height, width, 3) uint8
    :ivar stamp_ns: header stamp of the image, nanoseconds
    :ivar camera: camera's name, '' with a single camera
    :ivar frame_id: optical frame of the image
    :ivar pose: pose of the robot's base in its odometry or map frame, or None
    :ivar depth: (height, width) float32 metres along the optical axis, NaN where unknown, or None
    :ivar base_from_camera: pose of the optical frame in the base frame (``frame`` names the base frame), or None
    :ivar odometry_piece: number of the unbroken piece of odometry that ``pose`` is of; poses of two pieces, before and
        after a driver was restarted, say nothing about each other; None where that is not known
    :ivar descriptor: (D,) float32, what describes the whole image, for presets with ``features.kind: given``
    :ivar mask: (height, width) bool, False where the image shows what belongs to no place, as the robot's own body or
        people, or None
    """

    rgb: np.ndarray
    stamp_ns: int
    camera: str = ''
    frame_id: str = ''
    pose: Pose | None = None
    depth: np.ndarray | None = None
    camera_model: CameraModel | None = None
    base_from_camera: Pose | None = None
    odometry_piece: int | None = None
    descriptor: np.ndarray | None = None
    mask: np.ndarray | None = None


class SessionKey(NamedTuple):
    """One run of one robot."""

    robot_id: int
    session_id: str


class KeyframeKey(NamedTuple):
    """What tells a keyframe from all others."""

    robot_id: int
    session_id: str
    index: int


@dataclass(frozen=True, order=True)
class KeyframeId:
    """Identity of a keyframe (msg/KeyframeId): index counts from 1 within (robot, session) and is never reused."""

    robot_id: int
    session_id: str
    index: int
    stamp_ns: int
    camera: str = ''

    @property
    def key(self) -> KeyframeKey:
        """Itself, without what is only known of it."""
        return KeyframeKey(self.robot_id, self.session_id, self.index)

    @property
    def session(self) -> SessionKey:
        """The run that it is of."""
        return SessionKey(self.robot_id, self.session_id)


FIXED_FRAMES = ('map', 'earth')
"""Frames of REP 105 that are the same in each session."""


@dataclass(frozen=True)
class Keyframe:
    """A described frame: all that the map stores and that a second node needs.

    :ivar pose: of the base by odometry, as measured
    :ivar thumbnail: JPEG bytes, b'' if none
    :ivar optimized: of the base, as a SLAM back-end has corrected it; None where it has not
    """

    id: KeyframeId
    description: PlaceDescription
    frame_id: str = ''
    pose: Pose | None = None
    camera_model: CameraModel | None = None
    base_from_camera: Pose | None = None
    thumbnail: bytes = b''
    optimized: OptimizedPose | None = None

    @property
    def best_pose(self) -> Pose | None:
        """Where it is as far as anybody knows: the optimised pose, else the measured one; its frame says which."""
        return self.pose if self.optimized is None else self.optimized.map_from_base

    def pose_for(self, asking: KeyframeId) -> Pose | None:
        """:attr:`best_pose` as it may be told to the session of another keyframe.

        Odometry begins anew in each session, and mostly under the same name: what another session has measured is in a
        frame that is named after that session, too, and not in the frame of that name today. A frame that is called as
        REP 105 calls fixed ones is taken at its word.
        """
        pose = self.best_pose
        own = self.id.session == asking.session
        if pose is None or own or self.optimized is not None or pose.frame in ('', *FIXED_FRAMES):
            return pose
        return replace(pose, frame=f'{pose.frame}/{self.id.session_id}')


class Status(IntEnum):
    """The answer to one query; values of msg/PlaceMatchArray."""

    MATCHED = 0
    NO_MATCH_LOW_SCORE = 1
    NO_MATCH_AMBIGUOUS = 2
    NO_MATCH_TEMPORAL = 3
    NO_MATCH_GEOMETRIC = 4
    MAP_EMPTY = 5
    MAP_ONLY_RECENT = 6
    QUERY_REJECTED = 7


class Verification(IntEnum):
    """How far a candidate was tested; values of msg/PlaceMatch."""

    UNVERIFIED = 0
    TEMPORAL = 1
    GEOMETRIC = 2
    REJECTED = 3


class SegmentMatch(NamedTuple):  # made by the thousand, and a dataclass takes five times as long to make
    """One query segment and the map segment that voted for the match; similarity is their cosine in [-1, 1]."""

    query_segment: int
    match_segment: int
    similarity: float


@dataclass(frozen=True)
class Candidate:
    """One map keyframe that the query may show.

    :ivar entry: position of the keyframe in the searched map (see ``SegmentIndex``)
    :ivar score: mean over query segments of the best clipped vote weight for this keyframe, in [0, 1]
    :ivar ambiguity: best score outside this keyframe's covisible neighbourhood divided by its score
    :ivar probability: calibrated P(same place) of the first candidate; NaN without a calibration and for the others
    :ivar matched_segments: query segments that voted for this keyframe
    :ivar supporting_queries: consecutive queries that agree, this one included
    :ivar query_pose_in_match: T_match_query in base frames, metric, or None
    :ivar scale_source: 'depth', 'stereo', 'odometry' or '': where the metric scale came from
    """

    entry: int
    id: KeyframeId
    score: float
    ambiguity: float
    matched_segments: int
    probability: float = float('nan')
    supporting_queries: int = 1
    verification: Verification = Verification.UNVERIFIED
    inliers: int = 0
    query_pose_in_match: Pose | None = None
    scale_source: str = ''
    evidence: tuple[SegmentMatch, ...] = ()


@dataclass(frozen=True)
class Recognition:
    """The answer to one query: a status with its reason, and the candidates, best first.

    :ivar timings: seconds by stage name
    :ivar evidence: all that is known of the first candidate (a :class:`segvlad_ros.recognition.evidence.Evidence`);
        None without a candidate
    """

    status: Status
    reason: str
    candidates: tuple[Candidate, ...] = ()
    map_keyframes: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    evidence: object | None = None
