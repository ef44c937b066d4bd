"""In which order the images of a bag become frames, and what waits for its turn meanwhile."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from segvlad_ros.io.bags import BagMessage
from segvlad_ros.io.stamps import LATE_S, order_of
from segvlad_ros.types import SegvladError


class FrameOrder:
    """The order of all images of a topic: that of their stamps, see :func:`segvlad_ros.io.stamps.order_of`.

    :param where: the topic, for messages
    :param stamps: header stamps as the images came, nanoseconds; None of messages too short to have one
    :ivar stamps: those that drivers set, in the order of the bag
    :ivar places: for each image its number among the frames, None for those that make none
    :ivar late: images that came behind newer ones and are sorted in
    :ivar left_out: images that make no frame, for their stamp is 0 or they came too late
    :ivar notes: a sentence for each reason to leave images out
    :raises SegvladError: all stamps are 0
    """

    def __init__(self, where: str, stamps: list[int | None]):
        self.stamps = [stamp for stamp in stamps if stamp is not None and stamp > 0]
        unset = sum(stamp is not None and stamp <= 0 for stamp in stamps)
        if unset and not self.stamps:
            raise SegvladError(f'all images have stamp 0 ({unset} on {where}); the camera driver must fill '
                               'header.stamp: without it no image has a place in time, odometry or truth')
        order = order_of(self.stamps)
        places = iter(order.places)
        self.places = [next(places) if stamp is not None and stamp > 0 else None for stamp in stamps]
        self.late, self.left_out = order.late, order.too_late + unset
        self.notes: list[str] = []
        if unset:
            self.notes.append(f'{unset} of {len(stamps)} images on {where} have stamp 0 and are left out; the camera '
                              'driver must fill header.stamp')
        if order.too_late:
            self.notes.append(f'{order.too_late} of {len(stamps)} images on {where} came more than {LATE_S:g} s behind '
                              'newer ones and are left out')


class Waiting:
    """Images until it is their turn and their depth image is there.

    :param places: of the images as they come, see :class:`FrameOrder`
    :param depth_of: for each the stamp of its depth image, None without
    """

    def __init__(self, places: list[int | None], depth_of: list[int | None]):
        self._incoming = zip(places, depth_of)
        self._awaited = Counter(stamp for stamp in depth_of if stamp is not None)
        self._images: dict[int, tuple[BagMessage, int | None]] = {}
        self._depth: dict[int, BagMessage] = {}
        self._turn = 0

    def add_image(self, message: BagMessage) -> bool:
        """Take the next image; False if it has no turn."""
        place, depth_stamp = next(self._incoming)
        if place is not None:
            self._images[place] = message, depth_stamp
        return place is not None

    def add_depth(self, stamp: int | None, message: BagMessage) -> None:
        """Take a depth image if an image wants it."""
        if stamp in self._awaited:
            self._depth.setdefault(stamp, message)

    def ready(self) -> Iterator[tuple[BagMessage, BagMessage | None]]:
        """Hand out the images whose turn it is, with their depth images."""
        while self._turn in self._images:
            image, stamp = self._images[self._turn]
            if stamp is not None and stamp not in self._depth:
                return
            del self._images[self._turn]
            self._turn += 1
            yield image, None if stamp is None else self._depth[stamp]
            if stamp is not None:
                self._awaited[stamp] -= 1
                if not self._awaited[stamp]:
                    del self._awaited[stamp], self._depth[stamp]
