"""Two cameras of one robot, a localizer each, on the same map files: what one has mapped is found from the other."""
from __future__ import annotations

import cv2
import numpy as np
from node_harness import image_message, real_images

from segvlad_ros.msg import PlaceMatchArray
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.srv import LoadMap, RecognizeImage
from segvlad_ros.types import Frame

FRONT, REAR = [0, 40, 80, 120], [160, 200, 240, 280]
UPSIDE_DOWN = [0.2, 0.0, 0.4, 0.5, 0.5, 0.5, 0.5]  # ahead, and rolled by half a turn
BEHIND = [-0.2, 0.0, 0.4, -0.5, -0.5, 0.5, 0.5]


def test_a_place_is_found_from_either_camera(robot, launch, peer, tmp_path):
    """The one ahead hangs upside-down; in the one behind the robot sees its own back."""
    seen = {'front': real_images('hololens_office/images', FRONT), 'rear': real_images('hololens_office/images', REAR)}
    for camera, pictures in seen.items():
        places = PlaceRecognizer()
        for number, rgb in enumerate(pictures, 1):
            places.add(Frame(rgb, number * 10**9, camera=camera))
        places.save(tmp_path / f'{camera}.segvlad')
    usable = np.full((90, 120), 255, np.uint8)  # a quarter of the images' size
    usable[60:] = 0
    assert cv2.imwrite(str(tmp_path / 'back.png'), usable)
    common = {'map_directory': tmp_path}
    robot('localizer', {**common, 'map': 'front', 'camera': 'front', 'base_from_camera': UPSIDE_DOWN})
    behind = launch('localizer', {**common, 'map': 'rear', 'camera': 'rear', 'base_from_camera': BEHIND,
                                  'mask_file': tmp_path / 'back.png'}, {'__node': 'rear_localizer'})
    peer.wait(lambda: 'loaded rear' in behind.text(), 'the second localizer')

    def ask(node, rgb, frame='camera_optical'):
        message = image_message(rgb, 100.0)
        message.header.frame_id = frame
        answer = peer.call(RecognizeImage, f'{node}/recognize_image', image=message, top_k=1)
        assert answer.success, answer.message
        return answer.result

    for node, other in (('localizer', 'rear'), ('rear_localizer', 'front')):
        loaded = peer.call(LoadMap, f'{node}/load_map', name=other, append=True, read_only=True)
        assert (loaded.success, loaded.keyframes) == (True, 8), loaded.message
    for camera, number in (('rear', 1), ('front', 2)):
        hanging = np.ascontiguousarray(seen[camera][number][::-1, ::-1])
        found = ask('localizer', hanging)
        assert found.status == PlaceMatchArray.MATCHED, found.reason
        best = found.matches[0]
        assert (best.match.camera, best.match.index, found.query.camera) == (camera, number + 1, 'front')
        anywhere = ask('localizer', hanging, frame='')  # a picture that nobody says how it was taken
        assert not anywhere.matches or anywhere.matches[0].score < best.score / 3
        back = seen[camera][number].copy()
        back[240:] = np.random.default_rng(number).integers(0, 255, (120, 480, 3))
        with_back, without = ask('rear_localizer', back), ask('rear_localizer', seen[camera][number])
        for answer in (with_back, without):
            assert answer.status == PlaceMatchArray.MATCHED, answer.reason
            assert (answer.matches[0].match.camera, answer.matches[0].match.index) == (camera, number + 1)
        assert with_back.matches[0].score == without.matches[0].score
