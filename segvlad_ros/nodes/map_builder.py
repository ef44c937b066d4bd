"""map_builder: images become keyframes, keyframes become the map, and each one is published with its description."""
from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
from std_srvs.srv import Trigger

from segvlad_ros.mapping.growth import Growth
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.msg import LoopClosureFeedback, PlaceDescriptor, RemovedKeyframes, SegVladStatus
from segvlad_ros.pipeline.builders import build_recognizer
from segvlad_ros.pipeline.map_keeper import Kept, MapKeeper
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.ros.input.image_input import ImageInput
from segvlad_ros.ros.input.path_input import PathInput
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.base_node import SegvladNode
from segvlad_ros.ros.node.fleet_link import FleetLink
from segvlad_ros.ros.node.map_directory import MapDirectory, keyframes_to_remove
from segvlad_ros.ros.node.pipeline_setup import node_pipeline, node_retention
from segvlad_ros.ros.node.run import run_node
from segvlad_ros.ros.output.conversions import from_keyframe_id
from segvlad_ros.ros.output.keyframe_messages import to_place_descriptor, to_removed_keyframes
from segvlad_ros.ros.output.marker_topic import MarkerTopic
from segvlad_ros.ros.output.node_statistics import MapFacts
from segvlad_ros.srv import GetKeyframe, LoadMap, RemoveKeyframes, SaveMap
from segvlad_ros.text import one_line
from segvlad_ros.types import Frame, Keyframe, KeyframeId, OptimizedPose, SegvladError


class MapBuilder(SegvladNode):
    """The only writer of a map: gate, describe, store, publish.

    A keyframe is published after it is stored, so whatever others have seen of it survives a kill.
    """

    ACTIVE_STATE = SegVladStatus.MAPPING

    def __init__(self) -> None:
        super().__init__('map_builder')
        self._map: PlaceMap | None = None
        self._keeper: MapKeeper | None = None  # of a map that is to stay small
        self._places: PlaceRecognizer | None = None
        self._fleet: FleetLink | None = None
        self._process_id = uuid.uuid4().hex  # of the run, where nobody gives it an id that outlives the process
        self._keyframes = self.create_lifecycle_publisher(
            PlaceDescriptor, '~/keyframes', qos.reliable(qos.DESCRIPTORS_DEPTH))
        # no lifecycle publisher: keyframes are removed while the node is inactive, too, and nobody says so again
        self._removed = self.create_publisher(
            RemovedKeyframes, '~/removed_keyframes', qos.latched(qos.REMOVED_DEPTH))
        self._markers = MarkerTopic(self, lambda: self._map.poses().items())
        self.serve(SaveMap, '~/save_map', self._save_map)
        self.serve(LoadMap, '~/load_map', self._load_map)
        self.serve(Trigger, '~/reset_map', self._reset_map)
        self.serve(GetKeyframe, '~/get_keyframe', self._get_keyframe)
        self.serve(RemoveKeyframes, '~/remove_keyframes', self._remove_keyframes)

    def configure(self) -> None:
        """See :class:`SegvladNode`."""
        parameters = self.parameters
        self._places = node_pipeline(parameters)
        self._fingerprint = self._places.preset.fingerprint()
        self.model_fingerprint = self._fingerprint['digest']
        self._directory = MapDirectory(parameters['map_directory'])
        self._places.describer.warm_up()
        self._fleet = FleetLink.of(parameters)
        name = parameters['map'] or self._directory.unused_name()
        self._retention = node_retention(parameters)
        self._path = PathInput(self, self._stored_ids, self._store_poses)
        self.images = ImageInput(self)
        # last, so that a start that fails for another reason leaves no empty map, in whose way the next one would be
        self._use(*self._open(name, append=parameters['append']))

    def cleanup(self) -> None:
        """See :class:`SegvladNode`."""
        if self._fleet is not None:
            self._fleet.stop()
        if self._map is not None:
            self._let_go(self._map)
        self._map = self._keeper = self._places = self._fleet = None

    def activate(self) -> None:
        """See :class:`SegvladNode`."""
        self._path.open()
        if self._keeper is not None:
            self.listen(LoopClosureFeedback, 'loop_closure_feedback', self._take_feedback,
                        qos.reliable(qos.DESCRIPTORS_DEPTH))

    def activated(self) -> None:
        """See :class:`SegvladNode`."""
        self._markers.show()

    def process_frame(self, frame: Frame, received_s: float) -> bool:
        """See :class:`SegvladNode`; only a keyframe that was stored shows that the disk has room again."""
        keyframe = self._places.process(frame)
        if keyframe is None:
            return False
        described = time.perf_counter()
        self._path.run(keyframe.id)
        kept = self._store(keyframe)
        if kept.stored:
            self._path.add(keyframe.id)
            self._markers.place(keyframe.id, keyframe.pose)
        self._keyframes.publish(to_place_descriptor(keyframe, self.model_fingerprint, passed_over=not kept.stored))
        self._tell_removed(kept.removed)
        self._markers.publish(keyframe.id.stamp_ns)
        timings = keyframe.description.timings if kept.answer is None else kept.answer.timings
        answered = sum(seconds for stage, seconds in timings.items() if stage not in keyframe.description.timings)
        self.statistics.handled(received_s, {
            **timings, 'store and publish': time.perf_counter() - described - answered})
        return kept.stored

    def _store(self, keyframe: Keyframe) -> Kept:
        """Store a keyframe, unless nothing can be recognised in it or the map does without it."""
        if keyframe.description.rejected:
            self.report(f'image rejected: {keyframe.description.rejected}')
            return Kept(stored=False)
        if self._keeper is None:
            self._map.append(keyframe)
            kept = Kept()
        else:
            kept = self._keeper.add(keyframe)
            self.statistics.count(keyframes_explained=bool(kept.explained), keyframes_evicted=len(kept.removed),
                                  keyframes_refused=not kept.stored and not kept.explained)
            if not kept.stored and not kept.explained:
                self.report(f'keyframe {keyframe.id.index} not stored: the map is full of other places; raise '
                            'retention.max_keyframes or retention.max_megabytes')
        self._growth.note(keyframe.id.stamp_ns, self._map.used_bytes)
        return kept

    def _tell_removed(self, ids: Sequence[KeyframeId]) -> None:
        self._path.remove(ids)
        for identity in ids:
            self._markers.place(identity, None)
        if ids:
            self._removed.publish(to_removed_keyframes(ids, self._map.map_id, self.now_ns()))

    def forget_recent(self) -> None:
        """See :class:`SegvladNode`."""
        self._places.mapper.new_session()
        if self._keeper is not None:
            self._keeper.recognizer.reset_short_term()

    def map_facts(self) -> MapFacts:
        """See :class:`SegvladNode`."""
        place_map, takers = self._map, self._keyframes.get_subscription_count()
        if place_map is None:
            return MapFacts(keyframe_subscribers=takers)
        try:
            size = place_map.bytes
        except OSError:  # somebody has moved the file; what is stored from now on says so
            size = 0
        keeper, each = self._keeper, self._growth.size // place_map.count if place_map.count else 0
        return MapFacts(place_map.map_id, place_map.count, place_map.segments, size, each, self._growth.per_hour,
                        () if keeper is None else tuple(keeper.evicted), takers)

    def diagnose_more(self) -> list[DiagnosticStatus]:
        """See :class:`SegvladNode`."""
        fleet = self._fleet
        return [] if fleet is None else [fleet.status(self.get_fully_qualified_name())]

    def _open(self, name: str, append: bool) -> tuple[PlaceMap, MapKeeper | None]:
        path = self._directory.resolve(name)
        recognizer = build_recognizer(self._places.preset) if self._retention.bounded else None
        if path.is_file() and (append or self._is_of_this_run(path)):
            place_map = PlaceMap.open(path, read_only=False, fingerprint=self._fingerprint)
        elif path.exists():
            raise SegvladError(f'map {path.name} exists in {path.parent}: set append to add to it, or choose '
                               'another name')
        else:
            place_map = PlaceMap.create(self._directory.for_writing(name, overwrite=False), self._fingerprint,
                                        self._places.describer.dimension, self.parameters['preset'],
                                        run_id=self._run_id)
        try:
            keeper = None if recognizer is None else MapKeeper(recognizer, self._retention, place_map)
        except BaseException:
            self._let_go(place_map)
            raise
        self.get_logger().info(one_line(f'writing {path} ({place_map.count} keyframes)'))
        return place_map, keeper

    @property
    def _run_id(self) -> str:
        return self.parameters['run_id'] or self._process_id

    def _is_of_this_run(self, path: Path) -> bool:
        """Whether a map was begun by this run, before a cleanup or by a process that has ended: it goes on then."""
        try:
            with PlaceMap.open(path) as place_map:
                return place_map.run_id == self._run_id
        except SegvladError:
            return False

    def _use(self, place_map: PlaceMap, keeper: MapKeeper | None) -> None:
        self._places.mapper.new_session()
        self._growth, self._keeper = Growth(place_map.used_bytes), keeper
        self._markers.forget()
        previous, self._map = self._map, place_map
        self._path.restart()
        if self._fleet is not None:
            self._fleet.send(place_map)
        if previous is not None:
            self._let_go(previous)
        if keeper is not None:
            removed = keeper.trim()
            self.statistics.count(keyframes_evicted=len(removed))
            self._tell_removed(removed)
        self._markers.publish()

    def _exchange(self, place_map: PlaceMap, keeper: MapKeeper | None) -> None:
        """Write another map from now on; it was opened, and checked, while mapping went on."""
        self.on_worker(lambda: self._use(place_map, keeper), otherwise=lambda: self._let_go(place_map))

    def _let_go(self, place_map: PlaceMap) -> None:
        """Close a map; one that this run has begun and put nothing in goes, or it would be in the way of the next."""
        is_unused = place_map.run_id == self._run_id and not place_map.count
        place_map.close()
        if is_unused:
            place_map.path.unlink(missing_ok=True)

    def _stored_ids(self) -> list[KeyframeId]:
        return self._map.ids()

    def _store_poses(self, moved: dict[KeyframeId, OptimizedPose]) -> None:
        self._map.update_poses(moved)
        if self._keeper is not None:
            self._keeper.recognizer.update_poses(moved)
        for keyframe, pose in moved.items():
            self._markers.place(keyframe, pose.map_from_base)
        self._markers.publish()

    def _take_feedback(self, message: LoopClosureFeedback) -> None:
        if message.verdict != LoopClosureFeedback.UNUSABLE:
            accepted = message.verdict == LoopClosureFeedback.ACCEPTED
            self.post('loop_closure_feedback', lambda: self._keeper.judge(
                from_keyframe_id(message.query), from_keyframe_id(message.match), accepted))

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
            raise SegvladError('maps cannot be merged while mapping: load with append false to continue that map')
        path = self._directory.existing(request.name)
        self._exchange(*self._open(request.name, append=True))
        response.map_id, response.keyframes = self._map.map_id, self._map.count
        return f'continuing in {path}'

    def _reset_map(self, request: Trigger.Request, response: Trigger.Response) -> str:
        name = self._directory.unused_name()
        self._exchange(*self._open(name, append=False))
        return f'now mapping into {name}; the previous map is kept'

    def _get_keyframe(self, request: GetKeyframe.Request, response: GetKeyframe.Response) -> str:
        identity = from_keyframe_id(request.keyframe)
        response.gone = identity not in self._map
        keyframe = self._map.keyframe(identity)
        response.descriptor = to_place_descriptor(keyframe, self.model_fingerprint)
        return 'found'

    def _remove_keyframes(self, request: RemoveKeyframes.Request, response: RemoveKeyframes.Response) -> str:
        if not self.parameters['allow_removal']:
            raise SegvladError('removal is off: set the parameter allow_removal')
        response.removed = self.on_worker(lambda: self._remove(request))
        return f'removed {response.removed} keyframes'

    def _remove(self, request: RemoveKeyframes.Request) -> int:
        ids = keyframes_to_remove(request, self._map)
        removed = self._map.remove(ids) if self._keeper is None else self._keeper.remove(ids)
        self._tell_removed(ids)
        self._markers.publish()
        return removed


def main(args: list[str] | None = None) -> None:
    """Run the node."""
    sys.exit(run_node(MapBuilder, args))


if __name__ == '__main__':
    main()
