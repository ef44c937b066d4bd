"""localizer: every keyframe, of its own camera or of a map_builder, is answered with the place it shows."""
from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from diagnostic_msgs.msg import DiagnosticStatus
from std_srvs.srv import Trigger

from segvlad_ros.mapping.map_format import Packed
from segvlad_ros.mapping.map_reader import Progress
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.msg import LoopClosure, LoopClosureFeedback, PlaceMatchArray, SegVladStatus
from segvlad_ros.pipeline.builders import build_recognizer
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.pipeline.recognizer import Recognizer
from segvlad_ros.ros.input.image_input import ImageInput
from segvlad_ros.ros.input.keyframe_input import KeyframeInput
from segvlad_ros.ros.input.path_input import PathInput
from segvlad_ros.ros.node import qos
from segvlad_ros.ros.node.base_node import SegvladNode
from segvlad_ros.ros.node.map_directory import MapDirectory, oddities
from segvlad_ros.ros.node.pipeline_setup import node_pipeline
from segvlad_ros.ros.node.run import run_node
from segvlad_ros.ros.output.answer_messages import to_loop_closure, to_place_match, to_place_match_array
from segvlad_ros.ros.output.answer_pictures import AnswerPictures
from segvlad_ros.ros.output.conversions import from_keyframe_id
from segvlad_ros.ros.output.diagnostics import decision_status
from segvlad_ros.ros.output.keyframe_messages import to_place_descriptor
from segvlad_ros.ros.output.node_statistics import MapFacts
from segvlad_ros.srv import GetKeyframe, LoadMap, RecognizeImage
from segvlad_ros.types import Frame, Keyframe, KeyframeId, OptimizedPose, Recognition, SegvladError, Status


class Localizer(SegvladNode):
    """Searches a map that it loads read-only, that it follows live, or both."""

    ACTIVE_STATE = SegVladStatus.LOCALIZING

    def __init__(self) -> None:
        super().__init__('localizer')
        self._maps: list[PlaceMap] = []
        self._places: PlaceRecognizer | None = None
        self._matches = self.create_lifecycle_publisher(PlaceMatchArray, '~/matches', qos.reliable())
        self._loop_closures = self.create_lifecycle_publisher(LoopClosure, '~/loop_closures', qos.reliable())
        self._pictures = AnswerPictures(self, lambda: self._places.recognizer)
        self.serve(LoadMap, '~/load_map', self._load_map)
        self.serve(Trigger, '~/reset_map', self._reset_map)
        self.serve(Trigger, '~/trigger_localization', self._trigger_localization)
        self.serve(RecognizeImage, '~/recognize_image', self._recognize_image)
        self.serve(GetKeyframe, '~/get_keyframe', self._get_keyframe)

    def configure(self) -> None:
        """See :class:`SegvladNode`."""
        parameters = self.parameters
        places = node_pipeline(parameters)
        # whole before others see it: the status is asked for in other threads, and would make the part a second time
        places.recognizer = build_recognizer(places.preset)
        self._places = places
        self.get_logger().info(f'preset {places.preset.name}: {places.preset.decides_by}')
        self._fingerprint = self._places.preset.fingerprint()
        self.model_fingerprint = self._fingerprint['digest']
        self._directory = MapDirectory(parameters['map_directory'])
        self._path = PathInput(self, lambda: self._places.recognizer.ids, self._move)
        if parameters['source'] == 'images':
            self._places.describer.warm_up()
            self.images = ImageInput(self)
        else:
            self.keyframes = KeyframeInput(self, self.model_fingerprint, self._answer,
                                           self._add if parameters['follow'] else None, self._remove)
        if parameters['map']:
            self.get_logger().info(self._search_instead(*self._read_whole(parameters['map'])))

    def cleanup(self) -> None:
        """See :class:`SegvladNode`."""
        for place_map in self._maps:
            place_map.close()
        self._maps, self._places = [], None
        self._pictures.forget()

    def activate(self) -> None:
        """See :class:`SegvladNode`."""
        self.listen(LoopClosureFeedback, 'loop_closure_feedback', self._take_feedback,
                    qos.reliable(qos.DESCRIPTORS_DEPTH))
        self._path.open()

    def activated(self) -> None:
        """See :class:`SegvladNode`."""
        self._pictures.show()

    def process_frame(self, frame: Frame, received_s: float) -> bool:
        """See :class:`SegvladNode`."""
        keyframe = self._places.process(frame)
        if keyframe is not None:
            self.statistics.handled(received_s, self._answer(keyframe))
        return keyframe is not None

    def forget_recent(self) -> None:
        """See :class:`SegvladNode`."""
        if self.keyframes is None:
            self._places.mapper.new_session()
        self._places.recognizer.reset_short_term()

    def map_facts(self) -> MapFacts:
        """See :class:`SegvladNode`."""
        if self._places is None:
            return MapFacts()
        recognizer = self._places.recognizer
        return MapFacts(self._map_id(), recognizer.count, recognizer.segments,
                        sum(place_map.bytes for place_map in self._maps))

    def diagnose_more(self) -> list[DiagnosticStatus]:
        """See :class:`SegvladNode`."""
        return [] if self._places is None else [decision_status(self.get_fully_qualified_name(), self._places.preset)]

    # recognition; all of it in the worker's thread

    def _answer(self, keyframe: Keyframe, ahead: bool = False) -> dict[str, float]:
        self._path.run(keyframe.id)
        recognition = self._places.recognize(keyframe, exclude_recent=True, top_k=self.parameters['top_k'],
                                             ahead=ahead, sessions=self._sessions())
        self._matches.publish(self._message(keyframe, recognition, self.parameters['publish_evidence']))
        if recognition.status == Status.MATCHED:
            self.statistics.matched()
            best = recognition.candidates[0]
            if best.query_pose_in_match is not None:
                self._loop_closures.publish(to_loop_closure(keyframe, best, self._base_frame(keyframe)))
        return {**recognition.timings, **self._pictures.answered(keyframe, recognition)}

    def _sessions(self) -> list[str]:
        return [session for session in self.parameters['sessions'] if session]

    def _base_frame(self, keyframe: Keyframe) -> str:
        """What its poses are of: another map_builder, or odometry without a transform, may have another base."""
        mount = keyframe.base_from_camera
        return mount.frame if mount is not None and mount.frame else self.parameters['base_frame']

    def _message(self, keyframe: Keyframe, recognition: Recognition, evidence: bool) -> PlaceMatchArray:
        found = self._places.recognizer.keyframe
        matches = [to_place_match(keyframe, candidate, rank, found(candidate.entry), evidence)
                   for rank, candidate in enumerate(recognition.candidates)]
        return to_place_match_array(keyframe, recognition, matches, base_frame=self._base_frame(keyframe),
                                    map_id=self._map_id(), now_ns=self.now_ns())

    def _add(self, keyframe: Keyframe) -> None:
        if len(keyframe.description):
            self._places.add(keyframe)
            self._added(keyframe)

    def _added(self, keyframe: Keyframe) -> None:
        self._path.add(keyframe.id)
        self._pictures.place(keyframe)

    def _remove(self, ids: Sequence[KeyframeId]) -> None:
        self._places.recognizer.remove(ids)
        self._places.recognizer.compact()
        self._path.remove(ids)
        self._pictures.move(dict.fromkeys(ids))

    def _map_id(self) -> str:
        return '+'.join(dict.fromkeys(place_map.map_id for place_map in self._maps))

    @contextmanager
    def _reading(self, name: str) -> Iterator[tuple[PlaceMap, Progress]]:
        """A map while all of it is read, in any thread: answers go on; one that is damaged leaves the map so far."""
        place_map = PlaceMap.open(self._directory.existing(name), read_only=True, fingerprint=self._fingerprint)
        try:
            with self.status.loading(f'loading {name}') as progress:
                yield place_map, progress
        except BaseException:
            place_map.close()
            raise

    def _read_whole(self, name: str) -> tuple[PlaceMap, Recognizer]:
        with self._reading(name) as (place_map, progress):
            loaded = build_recognizer(self._places.preset)
            loaded.load(place_map, progress)
        return place_map, loaded

    def _read_packed(self, name: str) -> tuple[PlaceMap, list[tuple[int, Packed]]]:
        with self._reading(name) as (place_map, progress):
            return place_map, list(place_map.packed(progress))

    def _search_instead(self, place_map: PlaceMap, loaded: Recognizer) -> str:
        """Search a map that was read instead of the map so far."""
        ids = loaded.ids  # not those of the file, which may have grown
        self._forget_map(ids)
        self._places.recognizer = loaded
        return self._searched(place_map, ids)

    def _search_also(self, place_map: PlaceMap, packed: list[tuple[int, Packed]]) -> str:
        """Search, beside the map so far, those keyframes of a map that was read that are new."""
        added = self._places.recognizer.add_new(place_map, packed)
        if packed and not added:
            place_map.close()
            return f'{place_map.path.stem}: all of it is searched already'
        for keyframe in added:
            self._added(keyframe)
        return self._searched(place_map, [keyframe.id for keyframe in added])

    def _searched(self, place_map: PlaceMap, ids: list[KeyframeId]) -> str:
        self._maps.append(place_map)
        self._pictures.publish()
        for oddity in oddities(place_map, self._places.recognizer, self._sessions(), self.parameters['base_frame']):
            self.get_logger().warning(oddity)
        if self.keyframes is not None:
            self.keyframes.known(ids)
        return f'loaded {place_map.path.stem}: {len(ids)} keyframes'

    def _forget_map(self, ids: Sequence[KeyframeId] = ()) -> None:
        for place_map in self._maps:
            place_map.close()
        self._maps = []
        self._places.recognizer.clear()
        self._path.restart()
        self._pictures.forget()
        if self.keyframes is not None:
            self.keyframes.forget(ids)

    def _empty_map(self) -> None:
        self._forget_map()
        self._pictures.publish()

    # what the SLAM back-end says

    def _take_feedback(self, message: LoopClosureFeedback) -> None:
        if message.verdict == LoopClosureFeedback.UNUSABLE:  # not judged: it says nothing about the match
            self.statistics.count(closures_unusable=1)
            return
        accepted = message.verdict == LoopClosureFeedback.ACCEPTED
        self.statistics.count(**{'closures_accepted' if accepted else 'closures_rejected': 1})
        self.post('loop_closure_feedback', lambda: self._learn(message, accepted))

    def _learn(self, feedback: LoopClosureFeedback, accepted: bool) -> None:
        self._places.recognizer.feedback(from_keyframe_id(feedback.query), from_keyframe_id(feedback.match), accepted)

    def _move(self, moved: dict[KeyframeId, OptimizedPose]) -> None:
        self._places.recognizer.update_poses(moved)
        self._pictures.move({keyframe: pose.map_from_base for keyframe, pose in moved.items()})

    # services

    def _trigger_localization(self, request: Trigger.Request, response: Trigger.Response) -> str:
        self.on_worker(self.forget_recent)
        return 'recent queries are forgotten; ~/matches reports MATCHED again once it is sure'

    def _load_map(self, request: LoadMap.Request, response: LoadMap.Response) -> str:
        if not request.read_only:
            raise SegvladError('a localizer only reads maps: load with read_only true')
        read, search = ((self._read_packed, self._search_also) if request.append
                        else (self._read_whole, self._search_instead))
        place_map, loaded = read(request.name)
        said = self.on_worker(lambda: search(place_map, loaded), otherwise=place_map.close)
        response.map_id, response.keyframes = self._map_id(), self._places.recognizer.count
        return said

    def _reset_map(self, request: Trigger.Request, response: Trigger.Response) -> str:
        self.on_worker(self._empty_map)
        return 'the searched map is empty; no file was changed'

    def _recognize_image(self, request: RecognizeImage.Request, response: RecognizeImage.Response) -> str:
        response.result = self.on_worker(lambda: self._recognize_once(request))
        return response.result.reason

    def _recognize_once(self, request: RecognizeImage.Request) -> PlaceMatchArray:
        if self.keyframes is not None:
            raise SegvladError('this localizer does not describe images (source: descriptors): ask one with '
                               'source: images')
        message = request.image if request.image.data else request.compressed
        frame = self.images.picture(message)
        keyframe, top_k = self._places.mapper.describe(frame), request.top_k or self.parameters['top_k']
        recognition = self._places.recognize(
            keyframe, exclude_recent=False, top_k=top_k, independent=True,
            sessions=request.sessions or self._sessions())
        return self._message(keyframe, recognition, evidence=True)

    def _get_keyframe(self, request: GetKeyframe.Request, response: GetKeyframe.Response) -> str:
        identity = from_keyframe_id(request.keyframe)
        place_map = next((place_map for place_map in self._maps if identity in place_map), None)
        if place_map is None:
            loaded = ', '.join(place_map.path.stem for place_map in self._maps) or 'none'
            raise SegvladError(f'keyframe {identity.index} of session {identity.session_id} is in no loaded map file '
                               f'({loaded}): ask the map_builder')
        response.descriptor = to_place_descriptor(place_map.keyframe(identity), self.model_fingerprint)
        return 'found'


def main(args: list[str] | None = None) -> None:
    """Run the node."""
    sys.exit(run_node(Localizer, args))


if __name__ == '__main__':
    main()
