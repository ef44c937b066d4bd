"""``segvlad simulate``: write the run of a simulated robot as a ROS 2 bag."""
from __future__ import annotations

import argparse
from pathlib import Path

from segvlad_ros.cli import OK
from segvlad_ros.cli.options import MOST_SEED, add_scenario, check_output_folder, progress, whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See :mod:`segvlad_ros.cli`."""
    number = whole(0, 'a whole number, 0 or more', MOST_SEED)
    parser.add_argument('--output', required=True, type=Path, metavar='DIR', help='folder of the bag')
    add_scenario(parser)
    parser.add_argument('--seed', type=number, help="seed of the building's appearance (the scenario's)")
    parser.add_argument('--run', type=number, dest='run_number', metavar='RUN',
                        help="number of the run in that building: different light and noise (the scenario's)")
    parser.add_argument('--route', help="where the robot drives: loop, back, twins, lap, street (the scenario's)")
    parser.add_argument('--speed', type=float, metavar='M_S', help="speed in metres per second (the scenario's)")
    parser.add_argument('--reverse', action='store_true', default=None,
                        help='drive the route from its end to its start, in reverse gear')
    parser.add_argument('--overwrite', action='store_true', help='replace the bag if it exists')


def run(args: argparse.Namespace) -> int:
    """See :mod:`segvlad_ros.cli`."""
    from segvlad_ros.simulation.robot import SimulatedRobot, check_output, write_bag
    from segvlad_ros.simulation.scenario import load_scenario

    scenario = load_scenario(args.scenario, seed=args.seed, run=args.run_number, route=args.route, speed=args.speed,
                             reverse=args.reverse)
    check_output(args.output, args.overwrite)
    check_output_folder(args.output.parent, '--output')  # the bag is made beside its place, and moved there
    robot = SimulatedRobot(scenario)
    write_bag(robot, args.output, overwrite=args.overwrite, progress=lambda numbers: progress(numbers, 'images'))
    size = sum(file.stat().st_size for file in args.output.iterdir())
    print(f'{args.output}: {robot.image_count} images with depth, {robot.duration_s:.0f} s, {size / 1e6:.0f} MB')
    return OK
