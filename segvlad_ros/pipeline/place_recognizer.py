"""The front door: SegVLAD in a few lines, for notebooks, scripts, nodes and tools alike."""
from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segvlad_ros.mapping.keyframes import KeyframeGate
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.builders import build_describer, build_recognizer
from segvlad_ros.pipeline.mapper import Mapper
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.pipeline.sections import Preset
from segvlad_ros.pipeline.sound_frames import sound
from segvlad_ros.types import Frame, Keyframe, Pose, Recognition, SegvladError

if TYPE_CHECKING:
    from segvlad_ros.description.describer import Describer
    from segvlad_ros.pipeline.recognizer import Recognizer

STEP_NS = 1_000_000_000
"""Images without a stamp count as taken one after another, this far apart."""


class PlaceRecognizer:
    """Remembers places by their images, and recognises them.

    An image is an array, (height, width, 3) uint8 RGB, a :class:`~segvlad_ros.types.Frame` with stamp, depth, camera
    and odometry, or a keyframe that was described before. An array without a pose is answered on its own; everything
    else belongs to a drive, in which consecutive queries must agree. Not thread-safe.

    Its parts are built on first use: code that only maps builds no search index, code that is sent keyframes loads no
    networks. Missing weights or a missing vocabulary raise SegvladError at that point.

    :param preset: a preset, the name of a shipped one, or the path of a YAML file
    :param device: 'cpu' or 'cuda', for presets with networks
    :param gate: which frames of a camera :meth:`process` makes keyframes of; None takes every one
    :param robot_id: of what is described
    :ivar named: how the preset was named, which a map notes
    :raises SegvladError: no such preset
    """

    def __init__(self, preset: str | Path | Preset = 'classic', *, device: str = 'cpu',
                 gate: KeyframeGate | None = None, robot_id: int = 0) -> None:
        self.preset = preset if isinstance(preset, Preset) else load_preset(preset)
        self.named = preset.name if isinstance(preset, Preset) else str(preset)
        self._device, self._gate, self._robot_id = device, gate, robot_id
        self._last: tuple[np.ndarray | Frame, np.ndarray, Keyframe] | None = None
        self._newest_ns = 0

    @cached_property
    def describer(self) -> Describer:
        """Image to description."""
        return build_describer(self.preset, self._device)

    @cached_property
    def mapper(self) -> Mapper:
        """Frame to keyframe."""
        return Mapper(self.describer, self._gate, robot_id=self._robot_id)

    @cached_property
    def recognizer(self) -> Recognizer:
        """Keyframe to answer."""
        return build_recognizer(self.preset)

    @classmethod
    def load(cls, path: str | Path, preset: str | Path | None = None, *, device: str = 'cpu') -> PlaceRecognizer:
        """Continue with a map that was saved, or made by a map_builder; the file itself is not changed.

        :param preset: the map's own where it is None
        :raises SegvladError: no map, damaged, or made by another pipeline
        """
        with PlaceMap.open(path) as saved:
            if preset is None and not saved.preset:
                raise SegvladError(f'{path}: does not name the preset that it was made with: give preset')
            places = cls(preset or saved.preset, device=device)
            saved.check_fingerprint(places.preset.fingerprint())
            places.recognizer.load(saved)
        places._newest_ns = max((identity.stamp_ns for identity in places.recognizer.ids), default=0)
        return places

    def __len__(self) -> int:
        return self.recognizer.count

    def process(self, frame: Frame) -> Keyframe | None:
        """Describe a camera's next frame, unless the gate lets it pass by; the keyframe is not added.

        :raises SegvladError: it cannot be described
        """
        return self.mapper.process(sound(frame))

    def describe(self, image: np.ndarray | Frame, pose: Pose | None = None) -> Keyframe:
        """Describe an image whatever the gate says; one that was just described is not described again.

        :param pose: of the robot's base by odometry, where the image is an array
        """
        if self._last is not None and self._last[0] is image:
            rgb = image.rgb if isinstance(image, Frame) else image
            if np.array_equal(rgb, self._last[1]):  # a camera may have filled its buffer anew
                return self._last[2] if isinstance(image, Frame) else replace(self._last[2], pose=pose)
        frame = sound(image if isinstance(image, Frame) else Frame(image, self._newest_ns + STEP_NS, pose=pose))
        keyframe = self.mapper.make_keyframe(frame)
        self._last = image, frame.rgb.copy(), keyframe
        self._newest_ns = max(self._newest_ns, frame.stamp_ns)
        return keyframe

    def add(self, image: np.ndarray | Frame | Keyframe, pose: Pose | None = None) -> int:
        """Remember an image.

        :return: its number, ``Candidate.entry`` of later answers
        :raises SegvladError: it cannot be described
        """
        keyframe = image if isinstance(image, Keyframe) else self.describe(image, pose)
        if keyframe.description.rejected:
            raise SegvladError(f'image not added: {keyframe.description.rejected}')
        self._last = None
        return self.recognizer.add(keyframe)

    def recognize(self, image: np.ndarray | Frame | Keyframe, pose: Pose | None = None, *,
                  exclude_recent: bool = False, **asked: Any) -> Recognition:
        """Which of the images that were added shows the place of this one; the answer that the nodes publish.

        :param exclude_recent: leave out what the robot has just seen (the preset's ``exclude``), to close loops
        :param asked: more of :meth:`~segvlad_ros.pipeline.recognizer.Recognizer.recognize`, as ``top_k``
        """
        keyframe = image if isinstance(image, Keyframe) else self.describe(image, pose)
        asked.setdefault('independent', isinstance(image, np.ndarray) and pose is None)
        return self.recognizer.recognize(keyframe, exclude_recent=exclude_recent, **asked)

    def clear(self, session_id: str = '') -> None:
        """Forget what was added; what comes next is a session of its own, '' makes up its name."""
        self.mapper.new_session(session_id)
        self.recognizer.clear()
        self._last = None

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write what was added as a map, which nodes load as well.

        :raises SegvladError: it exists, or cannot be written
        """
        PlaceMap.write(path, self.recognizer.keyframes(), self.preset.fingerprint(), self.describer.dimension,
                       self.named, overwrite=overwrite)
