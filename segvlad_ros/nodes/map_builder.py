"""map_builder: images become keyframes, keyframes become the map, and each one is published with its description."""
from __future__ import annotations

import sys
import time

from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Path
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.msg import PlaceDescriptor, SegVladStatus
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.ros.input.image_input import ImageInput
from segvlad_ros.ros.input.optimized_path import OptimizedPath
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.base_node import SegvladNode
from segvlad_ros.ros.node.fleet_link import FleetLink
from segvlad_ros.ros.node.map_directory import MapDirectory, keyframes_to_remove
from segvlad_ros.ros.node.pipeline_setup import node_pipeline
from segvlad_ros.ros.node.run import run_node
from segvlad_ros.ros.output.conversions import from_keyframe_id, to_place_descriptor
from segvlad_ros.ros.output.markers import keyframe_markers, marker_array
from segvlad_ros.ros.output.status import MapFacts
from segvlad_ros.srv import GetKeyframe, LoadMap, RemoveKeyframes, SaveMap
from segvlad_ros.types import Frame, Pose, SegvladError


class MapBuilder(SegvladNode):
    """The only writer of a map: gate, describe, store, publish.

    A keyframe is published after it is stored, so whatever others have seen of it survives a kill.
    """

    ACTIVE_STATE = SegVladStatus.MAPPING

    def __init__(self) -> None:
        super().__init__('map_builder')
        self._map: PlaceMap | None = None
        self._places: PlaceRecognizer | None = None
        self._fleet: FleetLink | None = None
        self._keyframes = self.create_lifecycle_publisher(
            PlaceDescriptor, '~/keyframes', qos.reliable(qos.DESCRIPTORS_DEPTH))
        self._markers = self.create_lifecycle_publisher(MarkerArray, '~/markers', qos.latched())
        self._poses: list[Pose] | None = None
        self.serve(SaveMap, '~/save_map', self._save_map)
        self.serve(LoadMap, '~/load_map', self._load_map)
        self.serve(Trigger, '~/reset_map', self._reset_map)
        self.serve(GetKeyframe, '~/get_keyframe', self._get_keyframe)
        self.serve(RemoveKeyframes, '~/remove_keyframes', self._remove_keyframes)

    def configure(self) -> None:
        """See :class:`SegvladNode`."""
        parameters = self.parameters
        self._places = node_pipeline(parameters)
        self._fields = self._places.preset.fingerprint()
        self.fingerprint = self._fields['digest']
        self._directory = MapDirectory(parameters['map_directory'])
        self._places.describer.warm_up()
        self._fleet = FleetLink.of(parameters)
        name = parameters['map'] or self._directory.unused_name()
        self._use(self._open(name, append=parameters['append']))
        self.images = ImageInput(self)

    def cleanup(self) -> None:
        """See :class:`SegvladNode`."""
        if self._fleet is not None:
            self._fleet.stop()
        if self._map is not None:
            self._map.close()
        self._map = self._places = self._fleet = None

    def activate(self) -> None:
        """See :class:`SegvladNode`."""
        self._path = qos.subscribe(self, Path, 'optimized_path', self._take_path, qos.reliable(1),
                                   callback_group=self.sensor_group)

    def deactivate(self) -> None:
        """See :class:`SegvladNode`."""
        self.destroy_subscription(self._path)

    def process_frame(self, frame: Frame) -> dict[str, float] | None:
        """See :class:`SegvladNode`."""
        begin = time.perf_counter()
        keyframe = self._places.process(frame)
        if keyframe is None:
            return None
        if keyframe.description.rejected:
            self.report(f'image rejected: {keyframe.description.rejected}')
        else:
            self._map.append(keyframe)
        self._keyframes.publish(to_place_descriptor(keyframe, self.fingerprint))
        if self._poses is not None and keyframe.pose is not None:
            self._poses.append(keyframe.pose)
        if self._markers.get_subscription_count():
            self._poses = self._map.poses() if self._poses is None else self._poses
            self._markers.publish(marker_array(keyframe_markers(self._poses, keyframe.id.stamp_ns)))
        timings = keyframe.description.timings
        return {**timings, 'store and publish': time.perf_counter() - begin - sum(timings.values())}

    def forget_recent(self) -> None:
        """See :class:`SegvladNode`."""
        self._places.mapper.new_session()

    def map_facts(self) -> MapFacts:
        """See :class:`SegvladNode`."""
        place_map = self._map
        if place_map is None:
            return MapFacts()
        try:
            size = place_map.bytes
        except OSError:  # somebody has moved the file; what is stored from now on says so
            size = 0
        return MapFacts(place_map.map_id, place_map.count, place_map.segments, size)

    def diagnose_more(self) -> list[DiagnosticStatus]:
        """See :class:`SegvladNode`."""
        fleet = self._fleet
        return [] if fleet is None else [fleet.status(self.get_fully_qualified_name())]

    def _open(self, name: str, append: bool) -> PlaceMap:
        path = self._directory.resolve(name)
        if append and path.is_file():
            place_map = PlaceMap.open(path, read_only=False, fingerprint=self._fields)
        elif path.exists():
            raise SegvladError(f'map {path.name} exists in {path.parent}: set append to add to it, or choose '
                               'another name')
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            place_map = PlaceMap.create(path, self._fields, self._places.describer.dimension,
                                        self.parameters['preset'])
        self.get_logger().info(f'writing {path} ({place_map.count} keyframes)')
        return place_map

    def _use(self, place_map: PlaceMap) -> None:
        self._places.mapper.new_session()
        self._poses = None  # what the map holds is read when somebody looks at it
        self._optimized = OptimizedPath()
        previous, self._map = self._map, place_map
        if self._fleet is not None:
            self._fleet.send(place_map)
        if previous is not None:
            previous.close()

    def _exchange(self, place_map: PlaceMap) -> None:
        """Write another map from now on; it was opened, and checked, while mapping went on."""
        self.on_worker(lambda: self._use(place_map), otherwise=place_map.close)

    def _take_path(self, path: Path) -> None:
        self.post('optimized_path', lambda: self._optimize(path), newest=True)

    def _optimize(self, path: Path) -> bool:
        moved = self._optimized.moved(path, self._map.ids())
        if moved:
            self._map.update_poses(moved)
            self._poses = None
        return bool(moved)

    # services

    def _save_map(self, request: SaveMap.Request, response: SaveMap.Response) -> str:
        path = self._directory.for_writing(request.name, request.overwrite)
        place_map = self._map
        place_map.save_snapshot(path, request.overwrite)
        response.keyframes, response.bytes = place_map.count, path.stat().st_size
        return f'saved {path}'

    def _load_map(self, request: LoadMap.Request, response: LoadMap.Response) -> str:
        if request.read_only:
            raise SegvladError('a map_builder writes its map: load with read_only false, or use a localizer')
        if request.append:
            raise SegvladError('maps cannot be merged while mapping: load with append false to go on in that map')
        path = self._directory.existing(request.name)
        self._exchange(self._open(request.name, append=True))
        response.map_id, response.keyframes = self._map.map_id, self._map.count
        return f'going on in {path}'

    def _reset_map(self, request: Trigger.Request, response: Trigger.Response) -> str:
        name = self._directory.unused_name()
        self._exchange(self._open(name, append=False))
        return f'mapping anew into {name}; the map so far is kept'

    def _get_keyframe(self, request: GetKeyframe.Request, response: GetKeyframe.Response) -> str:
        keyframe = self._map.keyframe(from_keyframe_id(request.keyframe))
        response.descriptor = to_place_descriptor(keyframe, self.fingerprint)
        return 'found'

    def _remove_keyframes(self, request: RemoveKeyframes.Request, response: RemoveKeyframes.Response) -> str:
        if not self.parameters['allow_removal']:
            raise SegvladError('removal is off: set the parameter allow_removal')
        response.removed = self.on_worker(lambda: self._remove(request))
        return f'removed {response.removed} keyframes'

    def _remove(self, request: RemoveKeyframes.Request) -> int:
        self._poses = None
        return self._map.remove(keyframes_to_remove(request, self._map))


def main(args: list[str] | None = None) -> None:
    """Run the node."""
    sys.exit(run_node(MapBuilder, args))


if __name__ == '__main__':
    main()
