"""From camera frames to described keyframes."""
from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from segvlad_ros.description.upright import quarter_turns, turned, turned_back
from segvlad_ros.io.image_codec import encode_jpeg
from segvlad_ros.types import Frame, Keyframe, KeyframeId

if TYPE_CHECKING:
    from segvlad_ros.description.describer import Describer
    from segvlad_ros.mapping.keyframes import KeyframeGate

# Small, for a map has one of each keyframe; on ~/match_image larger ones are hard to tell from these.
THUMBNAIL_WIDTH = 200
THUMBNAIL_HEIGHT = 800  # only of strips; JPEG itself ends at 65500
THUMBNAIL_QUALITY = 50


class Mapper:
    """Gate and describe.

    A keyframe whose image cannot be recognised (blank, dark) is handed back without segments and with the reason in
    ``description.rejected``: it takes an index, for every keyframe is answered, but no map stores it.
    After a jump of the clock a new session begins, for time and odometry do not go on from before.

    :param gate: decides which frames become keyframes; None takes every frame
    :param session_id: session of the keyframes; '' makes one up
    """

    def __init__(self, describer: Describer, gate: KeyframeGate | None = None, *, robot_id: int = 0,
                 session_id: str = '') -> None:
        self._describer = describer
        self._gate = gate
        self._robot_id = robot_id
        self.new_session(session_id)

    @property
    def session_id(self) -> str:
        """Session of the next keyframe."""
        return self._session_id

    def new_session(self, session_id: str = '') -> None:
        """Begin a session: indices count from 1 again, and the next frame becomes a keyframe."""
        self._session_id = session_id or uuid.uuid4().hex
        self._next_index = 1
        self._piece: int | None = None  # of odometry, that the last keyframe is of
        if self._gate is not None:
            self._gate.reset()

    def process(self, frame: Frame) -> Keyframe | None:
        """Take one frame, and return the described keyframe, None where the gate lets the frame pass by.

        :raises SegvladError: the frame cannot be described
        """
        frame = self._after_a_leap(frame)
        if self._gate is not None:
            answer = self._gate.check(frame.stamp_ns, frame.pose)
            if not answer.accept:
                return None
            if answer.reason == 'clock_jump':
                self.new_session()
                self._gate.check(frame.stamp_ns, frame.pose)  # the first keyframe of the new session
        keyframe = self.make_keyframe(frame)
        if frame.odometry_piece is not None:
            self._piece = frame.odometry_piece
        return keyframe

    def _after_a_leap(self, frame: Frame) -> Frame:
        """The first keyframe after odometry has leapt goes without its pose: no way leads to it from those before."""
        leapt = None not in (self._piece, frame.odometry_piece) and self._piece != frame.odometry_piece
        return replace(frame, pose=None) if leapt else frame

    def make_keyframe(self, frame: Frame) -> Keyframe:
        """Describe a frame whatever the gate says, under the next index."""
        self._next_index += 1
        return self.describe(frame, self._next_index - 1)

    def describe(self, frame: Frame, index: int = 0) -> Keyframe:
        """Describe a frame, upright by where its camera sits.

        :param index: of the keyframe; 0 is none, for a frame that is only asked about
        """
        turns = quarter_turns(frame.base_from_camera)
        given = {} if frame.descriptor is None else {'vector': frame.descriptor}
        if frame.mask is not None:
            given['usable'] = turned(frame.mask, turns)
        description = self._describer.describe(turned(frame.rgb, turns), turned(frame.depth, turns), **given)
        description = turned_back(description, turns, frame.rgb.shape)
        rows = description.descriptors.reshape(-1, self._describer.dimension)  # (0, d) of a rejected image too
        description = replace(description, descriptors=as_sent(rows))
        begin = time.perf_counter()
        picture = thumbnail(frame.rgb)
        timings = {**description.timings, 'thumbnail': time.perf_counter() - begin}
        identity = KeyframeId(self._robot_id, self._session_id, index, frame.stamp_ns, frame.camera)
        return Keyframe(identity, replace(description, timings=timings), frame.frame_id, frame.pose,
                        frame.camera_model, frame.base_from_camera, picture)


def as_sent(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors as a message hands them back, so that a keyframe has the same codes in every process.

    :param descriptors: (M, d) float32 unit rows
    :return: rounded to float16 and normalised again; float32
    """
    rows = descriptors.astype(np.float16).astype(np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def thumbnail(rgb: np.ndarray) -> bytes:
    """A small JPEG of an image, never enlarged.

    :param rgb: (height, width, 3) uint8
    """
    height, width = rgb.shape[:2]
    scale = min(THUMBNAIL_WIDTH / width, THUMBNAIL_HEIGHT / height)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(rgb, quality=THUMBNAIL_QUALITY)
