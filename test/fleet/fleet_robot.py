"""One robot of a fleet as a process: describes what it sees, stores it, and sends it meanwhile, as map_builder does."""
from __future__ import annotations

import sys
from pathlib import Path

from segvlad_ros.fleet.courier import Courier
from segvlad_ros.fleet.milvus import DatabaseAddress, MilvusPlaces
from segvlad_ros.mapping.place_map import PlaceMap
from segvlad_ros.pipeline.place_recognizer import PlaceRecognizer
from segvlad_ros.simulation.robot import SimulatedRobot
from segvlad_ros.simulation.scenario import load_scenario

SITE = 'office floor'
LAP, STEP = 217, 15  # images of the first lap of the demo's route; every so many becomes a keyframe


def pictures(number: int) -> range:
    """Which images a robot takes: no two robots the same."""
    return range(3 * number, LAP, STEP)


def main(path: Path, number: int, uri: str) -> None:
    robot = SimulatedRobot(load_scenario('demo', run=number))
    places = PlaceRecognizer('classic', robot_id=number)
    fields, dimension = places.preset.fingerprint(), places.describer.dimension
    address = DatabaseAddress(uri, SITE)
    with PlaceMap.open(path, read_only=False) if path.exists() else PlaceMap.create(path, fields, dimension) as known:
        seen = {identity.stamp_ns for identity in known.ids()}
        courier = Courier(known, lambda: MilvusPlaces(address, fields['digest'], dimension), address.destination)
        for picture in pictures(number):
            frame = robot.frame(picture)
            if frame.stamp_ns not in seen:
                known.append(places.mapper.make_keyframe(frame))
                print(known.count, flush=True)
        sys.stdin.readline()  # goes on sending until it is told to end
        courier.stop()
        courier.join()


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
