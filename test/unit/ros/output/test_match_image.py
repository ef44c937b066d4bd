"""The picture of an answer as a message."""
import numpy as np

from segvlad_ros.evaluation.match_picture import draw_match
from segvlad_ros.io.image_codec import decode_image, encode_jpeg
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.pipeline.recognizer import Recognizer
from segvlad_ros.ros.output.match_image import to_match_image
from segvlad_ros.types import Keyframe, KeyframeId, PlaceDescription, Recognition, Status


def keyframe(index, session):
    rows = np.eye(8, dtype=np.float32)
    boxes = np.array([(40 * n, 20, 38, 200) for n in range(8)], np.int32)
    thumbnail = encode_jpeg(np.full((240, 320, 3), 40 * index, np.uint8))
    return Keyframe(KeyframeId(0, session, index, index * 10**9 + 5), PlaceDescription(rows, boxes, boxes[:, 2]),
                    'camera_optical', thumbnail=thumbnail)


def decoded(message):
    return decode_image(height=message.height, width=message.width, encoding=message.encoding, step=message.step,
                        is_bigendian=bool(message.is_bigendian), data=message.data)


def test_a_recognised_keyframe_is_drawn_with_what_the_recogniser_keeps():
    recognizer, query = Recognizer(load_preset('classic')), keyframe(2, 'today')
    recognizer.add(keyframe(1, 'yesterday'))
    answer = recognizer.recognize(query, exclude_recent=False, independent=True)
    assert answer.status == Status.MATCHED
    match = recognizer.keyframe(answer.candidates[0].entry)
    message = to_match_image(query, answer, match)
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (2, 5, 'camera_optical')
    assert message.encoding == 'rgb8'
    np.testing.assert_array_equal(decoded(message), draw_match(query, answer, match.thumbnail, match.description.boxes))


def test_an_answer_without_a_candidate_is_drawn_too():
    query, answer = keyframe(1, 'today'), Recognition(Status.MAP_EMPTY, 'the map has no keyframes yet')
    np.testing.assert_array_equal(decoded(to_match_image(query, answer, None)), draw_match(query, answer))
