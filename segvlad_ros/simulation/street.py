"""The simulated street: 300 m straight on between houses, a wall at its end, sky above.

What lies ahead stays in view for long and changes slowly, and no place comes twice: whatever is recognised is wrong.
"""
from __future__ import annotations

import numpy as np

from segvlad_ros.simulation.building import Room, generator
from segvlad_ros.simulation.decorations import WallStyle, random_colour, wall_panel
from segvlad_ros.simulation.furniture import Furniture, build_furniture
from segvlad_ros.simulation.textures import grain, noise, shade
from segvlad_ros.simulation.world import World

LENGTH_M, HALF_WIDTH_M = 330.0, 6.0  # of the street; houses stand on both sides
HOUSE_M, STOREY_M, STOREYS = 15.0, 3.0, (2, 4)
SKY_M, ASIDE_M = 60.0, 150.0  # height and half width of the sky
FACADE_SCALE, GROUND_SCALE, SKY_SCALE = 50, 40, 3  # texture pixels a metre
KERB_M, KERB_STEP_M = 4.3, 5.0
KERB = (('plant', 1.2, 1.2, 2.8), ('column', 0.3, 0.3, 3.5), ('crates', 0.9, 0.8, 1.2), ('machine', 0.9, 0.5, 1.9),
        ('bin', 0.5, 0.5, 1.0), ('cabinet', 1.0, 0.5, 1.2))  # kind, width, depth, height
ROOM = Room('street', -5.0, -HALF_WIDTH_M, LENGTH_M, HALF_WIDTH_M, 'street')


def build_street(seed: int) -> World:
    """Build the street.

    :param seed: all of its looks
    """
    world = World()
    for side in (-1, 1):
        for number, x in enumerate(np.arange(ROOM.x0, ROOM.x1, HOUSE_M)):
            _build_house(world, generator(seed, 'house', side, number), float(x), side)
        for number, x in enumerate(np.arange(ROOM.x0 + 8.0, ROOM.x1 - 8.0, KERB_STEP_M)):
            _build_kerb(world, generator(seed, 'kerb', side, number), float(x), side)
    _build_ground(world, generator(seed, 'ground'))
    _build_sky(world, generator(seed, 'sky'))
    # even light, since it comes from afar
    world.lamps = [(x, y, SKY_M) for x in np.arange(ROOM.x0, ROOM.x1, 10.0) for y in (-ASIDE_M, ASIDE_M)]
    return world


def _build_house(world: World, rng: np.random.Generator, x: float, side: int) -> None:
    material = str(rng.choice(['plaster', 'brick', 'wood'])), random_colour(rng, 90, 220)
    ground = WallStyle([material], ['door', 'window', 'picture'])
    upper = WallStyle([material], ['window'])
    ends = [(x + HOUSE_M, side * HALF_WIDTH_M), (x, side * HALF_WIDTH_M)]
    if side > 0:
        ends.reverse()
    for storey in range(int(rng.integers(*STOREYS, endpoint=True))):
        image = wall_panel(rng, upper if storey else ground, HOUSE_M, STOREY_M, FACADE_SCALE)
        world.add_wall(*ends, (storey * STOREY_M, (storey + 1) * STOREY_M), world.add_texture(image), room=ROOM.name)


def _build_kerb(world: World, rng: np.random.Generator, x: float, side: int) -> None:
    """What stands beside the road: trees, posts, boxes."""
    kind, *size = KERB[int(rng.integers(len(KERB)))]
    place = x + rng.uniform(0, KERB_STEP_M - 1.5), side * (KERB_M + rng.uniform(0, 0.6))
    build_furniture(world, Furniture(kind, *place, *size, yaw=-side * np.pi / 2), rng, ROOM.name)


def _build_ground(world: World, rng: np.random.Generator) -> None:
    """Asphalt with a broken line in its middle, in pieces of 15 m."""
    rows, columns = round(2 * HALF_WIDTH_M * GROUND_SCALE), round(HOUSE_M * GROUND_SCALE)
    for x in np.arange(ROOM.x0, ROOM.x1, HOUSE_M):
        brightness = 1 + 0.2 * noise(rng, rows, columns, 3.0 * GROUND_SCALE) + 0.1 * noise(rng, rows, columns, 8, 3)
        image = grain(rng, shade((98, 98, 102), brightness), 8)
        middle, half = rows // 2, round(0.07 * GROUND_SCALE)
        for start in range(0, columns, 6 * GROUND_SCALE):
            image[middle - half:middle + half, start:start + 3 * GROUND_SCALE] = (214, 212, 200)
        world.add_floor((x, ROOM.y0, x + HOUSE_M, ROOM.y1), 0.0, world.add_texture(image), room=ROOM.name)


def _build_sky(world: World, rng: np.random.Generator) -> None:
    """Clouds overhead, and a house across the end of the street with the sky behind it."""
    beyond = LENGTH_M + 70.0

    def clouds(wide_m: float, high_m: float) -> int:
        size = round(high_m * SKY_SCALE), round(wide_m * SKY_SCALE)
        return world.add_texture(shade((205, 222, 240), 1 + 0.1 * noise(rng, *size, 40.0 * SKY_SCALE, 5)))
    world.add_ceiling((ROOM.x0 - 5, -ASIDE_M, beyond, ASIDE_M), SKY_M, clouds(beyond - ROOM.x0 + 5, 2 * ASIDE_M),
                       room=ROOM.name)
    world.add_wall((beyond, ASIDE_M), (beyond, -ASIDE_M), (0.0, SKY_M), clouds(2 * ASIDE_M, SKY_M), room=ROOM.name)
    style = WallStyle([('brick', random_colour(rng, 90, 200))], ['window', 'picture'])
    for storey in range(6):
        image = wall_panel(rng, style, 4 * HALF_WIDTH_M, STOREY_M, FACADE_SCALE)
        world.add_wall((LENGTH_M, 2 * HALF_WIDTH_M), (LENGTH_M, -2 * HALF_WIDTH_M),
                        (storey * STOREY_M, (storey + 1) * STOREY_M), world.add_texture(image), room=ROOM.name)
