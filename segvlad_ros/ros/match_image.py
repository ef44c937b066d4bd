"""The picture of an answer as a message, for rqt_image_view and RViz."""
from __future__ import annotations

import array

from sensor_msgs.msg import Image
from std_msgs.msg import Header

from segvlad_ros.evaluation.match_picture import draw_match
from segvlad_ros.ros.conversions import to_time
from segvlad_ros.types import Keyframe, Recognition


def to_match_image(query: Keyframe, recognition: Recognition, match: Keyframe | None) -> Image:
    """The answer to one query as an rgb8 image with the query's stamp and frame.

    :param match: the best candidate's keyframe, None without one
    """
    if match is None:
        rgb = draw_match(query, recognition)
    else:
        rgb = draw_match(query, recognition, match.thumbnail, match.description.boxes, match.camera_model)
    height, width = rgb.shape[:2]
    header = Header(stamp=to_time(query.id.stamp_ns), frame_id=query.frame_id)
    return Image(header=header, height=height, width=width, encoding='rgb8', step=3 * width,
                 data=array.array('B', rgb.tobytes()))
