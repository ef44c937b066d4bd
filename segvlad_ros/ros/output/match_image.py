"""The topic ``~/match_image``: query and match side by side, drawn only for somebody who looks."""
from __future__ import annotations

import array
from typing import Any

from sensor_msgs.msg import Image
from std_msgs.msg import Header

from segvlad_ros.evaluation.match_picture import draw_match
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.output.conversions import to_time
from segvlad_ros.types import Keyframe, Recognition


class MatchImageTopic:
    """Publishes pictures of answers.

    :param node: a lifecycle node
    """

    def __init__(self, node: Any) -> None:
        self._publisher = node.create_lifecycle_publisher(Image, '~/match_image', qos.reliable(1))

    def publish(self, query: Keyframe, recognition: Recognition, match: Keyframe | None) -> bool:
        """Publish the answer to one query, and return whether somebody looks.

        :param match: the best candidate's keyframe, None without one
        """
        if not self._publisher.get_subscription_count():
            return False
        self._publisher.publish(to_match_image(query, recognition, match))
        return True


def to_match_image(query: Keyframe, recognition: Recognition, match: Keyframe | None) -> Image:
    """The answer to one query as an rgb8 image with the query's stamp and frame.

    :param match: the best candidate's keyframe, None without one
    """
    shown = () if match is None else (match.thumbnail, match.description.boxes, match.camera_model)
    rgb = draw_match(query, recognition, *shown)
    height, width = rgb.shape[:2]
    header = Header(stamp=to_time(query.id.stamp_ns), frame_id=query.frame_id)
    return Image(header=header, height=height, width=width, encoding='rgb8', step=3 * width,
                 data=array.array('B', rgb.tobytes()))
