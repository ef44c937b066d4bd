"""Scenarios: which building, which drive, which light; one YAML each in ``config/simulation/``."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segvlad_ros.io.yaml_text import read_yaml
from segvlad_ros.pipeline.presets import config_directory
from segvlad_ros.settings import read_settings, setting
from segvlad_ros.simulation.routes import ROUTES
from segvlad_ros.types import SegvladError


@dataclass(frozen=True)
class Scenario:
    """Everything that a simulated run depends on.

    :ivar seed: looks of the building, and with ``run`` all noise
    :ivar run: counts runs in the same building: other light, other noise
    :ivar twin_share: share of the twin corridors' textured area that is the same in both, asked for
    :ivar route: name of :data:`~.routes.ROUTES`; all but ``street`` are in the building
    :ivar speed: metres a second
    :ivar reverse: drive the route from its end to its start in reverse gear
    :ivar start_m: leave out the first metres of the route
    :ivar light_variation: 0 keeps the light of the first visit, 1 is a strong change (see ``lighting.py``)
    :ivar image_rate_hz: colour and depth images a second
    :ivar odometry_rate_hz: odometry and truth messages a second
    """

    seed: int = setting(low=0)
    run: int = setting(0, low=0)
    twin_share: float = setting(0.6, low=0.0, high=1.0)
    route: str = setting('loop', choices=tuple(ROUTES))
    speed: float = setting(0.9, low=0.1, high=3.0)
    reverse: bool = setting(False)
    start_m: float = setting(0.0, low=0.0)
    light_variation: float = setting(0.6, low=0.0, high=1.0)
    image_rate_hz: float = setting(5.0, low=0.5, high=30.0)
    odometry_rate_hz: float = setting(20.0, low=5.0, high=200.0)


def scenario_names() -> list[str]:
    """Names of the scenarios that are shipped."""
    return sorted(path.stem for path in (config_directory() / 'simulation').glob('*.yaml'))


def load_scenario(name: str, **changes) -> Scenario:
    """Read a scenario.

    :param name: of a shipped scenario, or the path of a YAML file
    :param changes: values to be replaced; None leaves one as it is
    :raises SegvladError: unknown name, unreadable file, unknown or wrong value
    """
    path = Path(name) if name.endswith('.yaml') else config_directory() / 'simulation' / f'{name}.yaml'
    try:
        values = read_yaml(path)
        if isinstance(values, dict):
            values |= {key: value for key, value in changes.items() if value is not None}
        return read_settings(Scenario, values, '', path.parent)
    except OSError:
        raise SegvladError(f'no scenario {name!r}: use {", ".join(scenario_names())} or the path of a YAML file'
                           ) from None
    except SegvladError as error:
        raise SegvladError(f'{path}: {error}') from None
