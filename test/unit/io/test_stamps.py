"""Stamps that are late, zero, or of another clock."""
from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from bag_samples import IMAGE_TOPIC, SECOND, START, STEP, at_x, picture

from segvlad_ros.io import bags
from segvlad_ros.io.bag_frames import FrameReader
from segvlad_ros.io.bag_writer import BagWriter
from segvlad_ros.io.stamps import StampDoubt, StampRhythm, as_time, order_of, spans_apart
from segvlad_ros.types import SegvladError


def ordered(seconds):
    """Stamps as they are handed out, and the counts of late, too late and jumps."""
    order = order_of([round(s * SECOND) for s in seconds])
    places = {place: s for place, s in zip(order.places, seconds) if place is not None}
    return [places[place] for place in range(len(places))], (order.late, order.too_late, order.jumps)


@pytest.mark.parametrize(('came', 'handed_out', 'counts'), [
    ([], [], (0, 0, 0)),
    ([1, 2, 2, 3], [1, 2, 2, 3], (0, 0, 0)),
    ([0.5, 0, 1.5, 1, 2.5, 2], [0, 0.5, 1, 1.5, 2, 2.5], (3, 0, 0)),
    ([1, 2, 3, 1.5, 1.7, 4], [1, 1.5, 1.7, 2, 3, 4], (2, 0, 0)),
    ([5, 6, 7, 4.5], [4.5, 5, 6, 7], (1, 0, 0)),  # the last image of the bag is late
    ([10, 11, 2, 12, 13], [10, 11, 12, 13], (0, 1, 0)),  # nobody waits for nine seconds
    ([10, 11, 12, 1, 2, 3], [10, 11, 12, 1, 2, 3], (0, 0, 1)),  # the bag starts again
    ([10, 11, 12, 11.5, 1, 3, 2, 4, 5], [10, 11, 11.5, 12, 1, 2, 3, 4, 5], (2, 0, 1)),
    ([100, 101, *range(1, 110), 0.5], [100, 101, 0.5, *range(1, 110)], None),
])
def test_order(came, handed_out, counts):
    if counts is None:  # after a jump, an image that comes much too late is left out, not sorted in
        handed_out, counts = [s for s in handed_out if s != 0.5], (0, 1, 1)
    assert ordered(came) == (handed_out, counts)


@pytest.mark.parametrize('late_s', [0.05, 0.4, 0.7, 1.3, 2.9])
@pytest.mark.parametrize('rate_hz', [1, 2, 10, 30])
def test_every_third_image_late(late_s, rate_hz):
    stamps = np.arange(60) / rate_hz
    came = sorted(range(60), key=lambda i: (stamps[i] + late_s * (i % 3 == 0), i))
    handed_out, counts = ordered(stamps[came])
    assert handed_out == stamps.tolist()
    assert counts[1:] == (0, 0)


def test_any_delay_up_to_the_threshold():
    rng = np.random.default_rng(4)
    stamps = np.arange(300) / 10
    for _ in range(20):
        came = np.argsort(stamps + rng.uniform(0, 2.9, 300), kind='stable')
        handed_out, counts = ordered(stamps[came])
        assert handed_out == stamps.tolist()
        assert counts[1:] == (0, 0)


def test_times_for_people():
    assert as_time(37_250_000_000) == '37.250 s'
    assert as_time(START + 37 * SECOND) == '2023-11-14 22:13:57 UTC (1700000037.000 s)'


def test_spans():
    assert spans_apart('a', [3 * SECOND, SECOND], 'b', [2 * SECOND]) is None
    assert spans_apart('a', [], 'b', [2 * SECOND]) is None
    assert spans_apart('a', [SECOND, 2 * SECOND], 'b', [3 * SECOND]) is None  # the one begins as the other ends
    assert spans_apart('a', [SECOND, 2 * SECOND], 'b', [START]) == (
        'the stamps of a (1.000 s to 2.000 s) and of b (2023-11-14 22:13:20 UTC (1700000000.000 s) to 2023-11-14 '
        '22:13:20 UTC (1700000000.000 s)) do not meet: their clocks differ')


def write_stamped(path, stamps, odometry_shift=0, depth_shift=0):
    """Images with these header stamps, one every 0.1 s of the bag, with odometry and depth at the same stamps."""
    store = bags.typestore()
    image = store.types[bags.IMAGE]
    with BagWriter(path) as bag:
        for number, stamp in enumerate(stamps):
            now = START + number * STEP
            header = bag._header(stamp, 'camera')
            for topic, shift, encoding, pixels in (('/image', 0, 'rgb8', picture(number)),
                                                   ('/depth', depth_shift, '16UC1', np.full((48, 64), 1000, '<u2'))):
                header = bag._header(stamp + shift, 'camera')
                data = np.frombuffer(pixels.tobytes(), np.uint8)
                bag.write(topic, image(header, 48, 64, encoding, 0, len(data) // 48, data), now)
            bag.write_odometry('/odom', stamp + odometry_shift, at_x((stamp - START) / SECOND))
    return path


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class TestFrames:
    def test_late_images_come_in_order_with_their_depth(self, tmp_path, caplog):
        order = [1, 0, 3, 2, 4, 8, 5, 6, 7, 9]
        reader = FrameReader(write_stamped(tmp_path / 'run', [START + i * STEP for i in order]))
        for _ in range(2):
            frames = list(reader)
            assert [frame.stamp_ns for frame in frames] == [START + i * STEP for i in range(10)]
            assert all(frame.depth is not None and frame.pose is not None for frame in frames)
            assert [round(10 * frame.pose.translation[0]) for frame in frames] == list(range(10))
        assert (reader.late, reader.left_out, reader.frames, reader.skipped) == (5, 0, 10, 0)
        assert warnings(caplog) == []

    def test_too_late_is_said(self, tmp_path, caplog):
        reader = FrameReader(write_stamped(tmp_path / 'run', [START + i * SECOND for i in (10, 11, 12, 3, 13)]))
        assert [frame.stamp_ns // SECOND - START // SECOND for frame in reader] == [10, 11, 12, 13]
        assert reader.left_out == 1
        text, = warnings(caplog)
        assert '1 of 5 images on /image came more than 3 s behind newer ones and are left out' in text

    def test_a_bag_that_starts_again(self, tmp_path, caplog):
        seconds = [10, 11, 12, 1, 2, 3]
        reader = FrameReader(write_stamped(tmp_path / 'run', [START + i * SECOND for i in seconds]))
        assert [frame.stamp_ns // SECOND - START // SECOND for frame in reader] == seconds
        text, = warnings(caplog)
        assert 'the stamps of the images on /image jump back by more than 3 s in 1 place(s)' in text

    def test_no_image_has_a_stamp(self, tmp_path):
        path = write_stamped(tmp_path / 'run', [0] * 4)
        with pytest.raises(SegvladError, match=r'run: all images have stamp 0 \(4 on /image\); .* header.stamp'):
            FrameReader(path)

    def test_some_images_have_none(self, tmp_path, caplog):
        stamps = [0, START, 0, START + STEP, START + 2 * STEP]
        reader = FrameReader(write_stamped(tmp_path / 'run', stamps))
        for _ in range(2):
            assert [frame.stamp_ns for frame in reader] == [START, START + STEP, START + 2 * STEP]
        assert reader.left_out == 2
        odometry, images = sorted(warnings(caplog), key=lambda text: 'images' in text)
        assert '2 of 5 images on /image have stamp 0' in images
        assert 'messages on /odom are not used: stamp 0' in odometry

    def test_odometry_and_depth_of_another_clock(self, tmp_path, caplog):
        path = write_stamped(tmp_path / 'run', [37 * SECOND + i * STEP for i in range(5)], START, START)
        for _ in range(2):
            reader = FrameReader(path)
            assert len(list(reader)) == 5
        assert (reader.without_pose, reader.without_depth) == (5, 5)
        texts = warnings(caplog)
        assert len(texts) == 2
        for text, topic in zip(texts, ('/odom', '/depth')):
            assert f'the stamps of {topic} (2023-11-14 22:13:57 UTC' in text
            assert 'of the images on /image (37.000 s to 37.400 s) do not meet' in text

    def test_an_image_too_short_for_a_stamp(self, tmp_path, caplog):
        with BagWriter(tmp_path / 'run') as bag:
            bag.write_image_jpeg(IMAGE_TOPIC, START, 'camera', picture(0))
            bag._writer.write(bag._connections[IMAGE_TOPIC], START + 1, b'\0\1\0\0')
            bag.write_image_jpeg(IMAGE_TOPIC, START + STEP, 'camera', picture(1))
        reader = FrameReader(tmp_path / 'run')
        assert [frame.stamp_ns for frame in reader] == [START, START + STEP]
        assert (reader.total, reader.skipped) == (3, 1)


class TestStampRhythm:
    """What is missing of a stream, by its stamps alone."""

    def ratio(self, stamps):
        rhythm = StampRhythm()
        for seconds in stamps:
            rhythm.add(round(seconds * 1e9))
        return rhythm.missing_ratio()

    @pytest.mark.parametrize('share', [0.0, 0.3, 0.6, 0.8])
    def test_a_camera_whose_images_are_lost(self, share):
        rng = np.random.default_rng(3)
        times = 100 + np.arange(400) / 30 + rng.normal(0, 0.001, 400)
        kept = times[rng.random(400) >= share]
        assert self.ratio(kept) == pytest.approx(share, abs=0.12)

    def test_a_camera_that_becomes_slower_loses_nothing(self):
        times = np.concatenate([np.arange(60) / 30, 2 + np.arange(12) / 15])
        assert self.ratio(100 + times) == 0

    def test_a_pause_and_a_clock_that_jumps_are_no_loss(self):
        times = np.arange(30) / 30
        assert self.ratio(np.concatenate([100 + times, 160 + times])) == 0
        assert self.ratio(np.concatenate([160 + times, 100 + times])) == 0

    @pytest.mark.parametrize('stamps', [[], [5.0] * 50, np.zeros(50), 100 + np.arange(5) / 30,
                                        100 + np.cumsum([0.01, 0.0567] * 30),
                                        100 + np.cumsum(np.random.default_rng(1).exponential(0.05, 100))])
    def test_no_clear_rhythm_no_guess(self, stamps):
        assert math.isnan(self.ratio(stamps))


@pytest.mark.parametrize(('came', 'counts', 'strays'), [
    ([0, 1, 900, 2, 3], [0, 1, 2, 3], 1), ([500, 0, 501, 502], [500, 501, 502], 1), ([50, 0, 1], [50, 0, 1], 0),
    ([0, 900, 901], [0, 900, 901], 0), ([0, 3, 6, 9], [0, 3, 6], 0), ([0, 900, 5, 6, 7], [0, 5, 6, 7], 1),
    ([900, 0, 1, 2], [900, 0, 1, 2], 0), ([5, 4.5, 5.5], [5, 4.5, 5.5], 0)])
def test_one_wrong_stamp_is_left_out_and_a_clock_that_was_set_is_believed(came, counts, strays):
    doubt = StampDoubt(1.0)
    believed = [stamp / SECOND for second in came for stamp, _ in doubt.believed(round(second * SECOND), None)]
    assert (believed, doubt.strays) == (counts, strays)
