"""A map_builder that is not active tells of what it removes, also those that come later. In this process."""
import pytest
from map_samples import make_keyframe

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.msg import RemovedKeyframes
from segvlad_ros.nodes.map_builder import MapBuilder
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.output.conversions import to_keyframe_id
from segvlad_ros.srv import RemoveKeyframes


@pytest.mark.fault('topic', 'keyframes that are removed while the map_builder is not active: by service, or because '
                   'the map that it goes on with is too large', 'its followers are told, who come late as well')
def test_what_is_removed_while_inactive_is_told(in_process, peer, tmp_path):
    """A lifecycle publisher drops what an inactive node publishes: followers searched for ever what had gone."""
    PlaceMap.write(tmp_path / 'office.segvlad', (make_keyframe(index, dimension=512) for index in range(1, 5)),
                   load_preset('classic').fingerprint(), 512)
    node = in_process(MapBuilder, map_directory=tmp_path, map='office', append=True, allow_removal=True,
                      **{'retention.max_keyframes': 3})
    held = node._map.ids()
    node._remove_keyframes(RemoveKeyframes.Request(keyframes=[to_keyframe_id(held[0])]), RemoveKeyframes.Response())
    told = peer.listen(RemovedKeyframes, '/map_builder/removed_keyframes', qos.latched(qos.REMOVED_DEPTH))
    peer.wait(lambda: len(told) == 2, 'two removals')
    gone = {index for message in told for index in (identity.index for identity in message.keyframes)}
    assert gone == {1, 2, 3, 4} - {identity.index for identity in held[1:]}
