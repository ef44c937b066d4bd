"""The share of time that networks waited for images, on a clock of our own."""
from contextlib import ExitStack, nullcontext

from segvlad_ros.evaluation.occupancy import Occupancy, WaitingTimes


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_two_images_and_one_network():
    clock = Clock()
    occupancy = Occupancy(clock)
    with ExitStack() as first, ExitStack() as second:
        clock.now = 100.0  # nothing counts before the first image
        first.enter_context(occupancy)
        clock.now = 103.0  # 3 s to decode it
        with occupancy.turn(nullcontext()):
            clock.now = 104.0
            second.enter_context(occupancy)  # decoded while the network works
            clock.now = 105.0
        clock.now = 105.5  # nobody works
        with occupancy.turn(nullcontext()):
            clock.now = 109.5
        second.close()
        clock.now = 110.0  # the first is packed
    assert occupancy.times() == WaitingTimes(total=10.0, networks=4.0, images=0.0)
    assert str(occupancy.times()) == ('the networks waited for images 40.0 % of the time, images for a network 0.0 %')


def test_an_image_that_waits_for_a_busy_network_counts():
    clock = Clock()
    occupancy = Occupancy(clock)

    class BusyFor:
        """A lock that another image holds for 2 s."""

        def __enter__(self):
            clock.now += 2.0

        def __exit__(self, *_):
            pass

    with occupancy, occupancy.turn(nullcontext()):
        clock.now += 1.0
        with occupancy.turn(BusyFor()):
            clock.now += 1.0
    assert occupancy.times() == WaitingTimes(total=4.0, networks=0.0, images=2.0)
    assert occupancy.times().plus(WaitingTimes(1.0, 1.0, 1.0)) == WaitingTimes(5.0, 1.0, 3.0)
