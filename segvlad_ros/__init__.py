"""SegVLAD visual place recognition for ROS 2: where has this robot been before?"""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer

__all__ = ['PlaceRecognizer']


def __getattr__(name: str) -> type[PlaceRecognizer]:
    """The front door, imported on first access: ``import segvlad_ros`` alone costs nothing."""
    if name == 'PlaceRecognizer':
        from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
        return PlaceRecognizer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
