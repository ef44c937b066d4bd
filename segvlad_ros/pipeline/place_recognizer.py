"""The front door: SegVLAD in a few lines, for notebooks, scripts, nodes and tools alike."""
from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from segvlad_ros.io.camera_info import checked
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.mapper import Mapper
from segvlad_ros.pipeline.presets import build_describer, build_recognizer, load_preset
from segvlad_ros.types import Frame, Keyframe, Pose, Recognition, SegvladError

# Images without a stamp count as taken one after another, this far apart.
_STEP_NS = 1_000_000_000


class PlaceRecognizer:
    """Remembers places by their images, and recognises them.

    An image is an array, (height, width, 3) uint8 RGB, or a :class:`~segvlad_ros.types.Frame` with stamp, depth,
    camera and odometry. Arrays without a pose are asked for themselves; frames, and arrays with a pose, are a drive:
    queries that follow each other must agree. Not thread-safe.

    :param preset: name of a shipped preset, or the path of a YAML file
    :param device: 'cpu' or 'cuda', for presets with networks
    :raises SegvladError: no such preset, or what it needs is not there
    """

    def __init__(self, preset: str | Path = 'classic', *, device: str = 'cpu') -> None:
        settings = load_preset(preset)
        self._describer = build_describer(settings, device)
        self._recognizer = build_recognizer(settings, self._describer.dimension)
        self._folder = tempfile.TemporaryDirectory(prefix='segvlad_')
        self._file = Path(self._folder.name) / 'map.segvlad'
        self._use(PlaceMap.create(self._file, settings.fingerprint(), self._describer.dimension, os.fspath(preset)))

    @classmethod
    def load(cls, path: str | Path, preset: str | Path | None = None, *, device: str = 'cpu') -> PlaceRecognizer:
        """Go on with a map that was saved, or made by a map_builder; the file itself stays as it is.

        :param preset: the map's own where it is None
        :raises SegvladError: no map, damaged, or made by another pipeline
        """
        with PlaceMap.open(path) as saved:
            if preset is None and not saved.preset:
                raise SegvladError(f'{path}: does not say by which preset it was made: give preset')
            places = cls(preset or saved.preset, device=device)
            PlaceMap.open(path, fingerprint=places._map.fingerprint).close()
            places._map.close()
            saved.save_snapshot(places._file, overwrite=True)
        places._use(PlaceMap.open(places._file, read_only=False))
        places._recognizer.load(places._map)
        places._newest_ns = max((identity.stamp_ns for identity in places._map.ids()), default=0)
        return places

    def __len__(self) -> int:
        return self._recognizer.count

    def add(self, image: np.ndarray | Frame, pose: Pose | None = None) -> int:
        """Remember an image.

        :param pose: of the robot's base by odometry, where the image is an array
        :return: its number, ``Candidate.entry`` of later answers
        :raises SegvladError: it cannot be described
        """
        keyframe = self._keyframe(image, pose)
        if keyframe.description.rejected:
            raise SegvladError(f'image not added: {keyframe.description.rejected}')
        self._map.append(keyframe)
        self._last = None
        return self._recognizer.add(keyframe)

    def recognize(self, image: np.ndarray | Frame, pose: Pose | None = None, *,
                  exclude_recent: bool = False) -> Recognition:
        """Which of the images that were added shows the place of this one; the answer that the nodes publish.

        :param exclude_recent: leave out what the robot has just seen (the preset's ``exclude``), to close loops
        """
        keyframe = self._keyframe(image, pose)
        alone = not isinstance(image, Frame) and pose is None
        return self._recognizer.recognize(keyframe, exclude_recent=exclude_recent, independent=alone)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the map to a file, which nodes load as well.

        :raises SegvladError: it exists, or cannot be written
        """
        self._map.save_snapshot(path, overwrite)

    def _keyframe(self, image: np.ndarray | Frame, pose: Pose | None) -> Keyframe:
        """The described image; one that was just asked about is not described again to be added."""
        if self._last is None or self._last[0] is not image:
            frame = image if isinstance(image, Frame) else Frame(image, self._newest_ns + _STEP_NS, pose=pose)
            self._last = image, self._mapper.make_keyframe(_sound(frame))
            self._newest_ns = max(self._newest_ns, frame.stamp_ns)
        return self._last[1]

    def _use(self, place_map: PlaceMap) -> None:
        """Add to this map from now on, in a session of its own."""
        self._map, self._mapper = place_map, Mapper(self._describer, place_map=place_map)
        self._last: tuple[np.ndarray | Frame, Keyframe] | None = None
        self._newest_ns = 0


def _sound(frame: Frame) -> Frame:
    """A frame that can be described.

    :raises SegvladError: its arrays are not what they should be
    """
    rgb = frame.rgb
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        kind = f'{rgb.dtype} of shape {rgb.shape}' if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise SegvladError(f'an image is an array (height, width, 3) uint8 RGB, not {kind}')
    return frame if frame.camera_model is None else replace(frame, camera_model=checked(frame.camera_model))
