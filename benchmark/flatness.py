"""What soak.py and soak_nodes.py share: a look at a process, and whether what was seen of it grows."""
from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from robot_day import LIGHTS
from scipy import stats
from tables import table

from segvlad_ros.pipeline.builders import build_describer
from segvlad_ros.pipeline.presets import load_preset
from segvlad_ros.types import SegvladError

SAMPLE_S = 10.0
FLAT = 0.02


@dataclass(frozen=True)
class Look:
    """What a process has at one moment.

    :ivar rss_mb: all memory that it has in use
    :ivar rss_anon_mb: memory of its own
    :ivar pss_mb: as :attr:`rss_mb`, where what n processes share counts as an n-th
    :ivar handles: open files, sockets and the like
    :ivar cpu_s: process time since it began
    """

    rss_mb: float
    rss_anon_mb: float
    pss_mb: float
    handles: int
    threads: int
    cpu_s: float


def look(pid: int | str = 'self') -> Look:
    """Look at a process."""
    folder = Path(f'/proc/{pid}')
    status, shares = (_fields(folder / name) for name in ('status', 'smaps_rollup'))
    ticks = (folder / 'stat').read_text().rpartition(')')[2].split()[11:13]  # of user and system, see proc(5)
    return Look(*(round(int(kilobytes.split()[0]) / 1024, 2) for kilobytes in (
        status['VmRSS'], status['RssAnon'], shares['Pss'])),
        len(os.listdir(folder / 'fd')), int(status['Threads']), sum(map(int, ticks)) / os.sysconf('SC_CLK_TCK'))


def _fields(path: Path) -> dict[str, str]:
    return dict(line.split(':', 1) for line in path.read_text().splitlines() if ':' in line)


class Gauge:
    """How fast this machine is at the moment, which others may share: the same work again and again."""

    def __init__(self) -> None:
        self._describer = build_describer(load_preset('classic'))
        self._image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8).repeat(8, 0).repeat(8, 1)

    def ms(self) -> float:
        """Process time of describing one image, milliseconds: the middle one of three."""
        spent = []
        for _ in range(3):
            before = time.process_time()
            self._describer.describe(self._image)
            spent.append(time.process_time() - before)
        return percentiles_ms(spent)[0]


def percentiles_ms(seconds: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Median and 95th percentile in milliseconds; None of none, which JSON can say."""
    if not seconds:
        return None, None
    p50, p95 = np.percentile(seconds, (50, 95)) * 1e3
    return round(float(p50), 2), round(float(p95), 2)


def verdict(samples: Sequence[Mapping], cap: int, names: Iterable[str]) -> dict[str, float]:
    """Whether it was flat: the last round of lights against the first one with a full map, by medians.

    What differs from hour to hour, with the light, is the same in every round.

    :param samples: each with its ``hour``, the keyframes ``held``, and the named figures
    :raises SegvladError: two such rounds are not in it
    """
    full = next((each['hour'] for each in samples if each['held'] >= cap), None)
    if full is None:
        raise SegvladError(f'the map never held {cap} keyframes: choose a smaller cap, or more hours')
    first, rounds = np.ceil(full), len(LIGHTS)
    last = round(samples[-1]['hour'], 2) - rounds  # the last image comes a moment before the full hour
    if last < first + rounds:
        raise SegvladError(f'the map was full after {full:.1f} hours: two rounds of {rounds} hours must follow')
    figures: dict[str, float] = {'full_after_hours': full}
    for name in names:
        before, after = (np.nanmedian(np.array([each[name] for each in samples
                                                if begin < each['hour'] <= begin + rounds], float))
                         for begin in (first, last))
        figures |= {f'{name}_first': round(float(before), 2), f'{name}_last': round(float(after), 2),
                    f'{name}_growth': round(float(after / before - 1), 4)}
    return figures


def trend(samples: Sequence[Mapping], name: str, beside: str) -> tuple[float, float]:
    """How much one figure, divided by another, grows along a straight line through the means of the hours.

    :param samples: as of :func:`verdict`; those without the figure do not count
    :return: growth from the first hour to the last as a share of the mean, and half its 95 % interval
    """
    of_hours: dict[int, list[float]] = {}
    for each in samples:
        if each[name] is not None:
            of_hours.setdefault(int(each['hour']), []).append(each[name] / each[beside])
    hours, means = [*of_hours], [np.mean(ratios) for ratios in of_hours.values()]
    line = stats.linregress(hours, means)
    scale = (hours[-1] - hours[0]) / np.mean(means)
    error = np.nan_to_num(line.stderr)  # NaN where all hours are alike
    return float(line.slope * scale), float(stats.t.ppf(0.975, len(hours) - 2) * error * scale)


def growing(figures: Mapping[str, float], names: Iterable[str]) -> list[str]:
    """Which of these have grown by more than :data:`FLAT`.

    :param figures: of :func:`verdict`
    """
    return [name for name in names if figures[f'{name}_growth'] > FLAT]


def growth_table(figures: Mapping[str, float], titles: Mapping[str, str]) -> list[str]:
    """Lines of a Markdown table.

    :param figures: of :func:`verdict`
    :param titles: what each figure is called, by its name
    """
    return table(('figure', 'first three hours with a full map', 'last three hours', 'growth'), (
        (title, figures[f'{name}_first'], figures[f'{name}_last'], f'{figures[f"{name}_growth"]:+.2%}')
        for name, title in titles.items()))


def plot(path: Path, title: str, samples: Sequence[Mapping], curves: Mapping[str, Sequence[str]]) -> None:
    """Curves over the day.

    :param curves: names of figures, by the label of the axis that they share
    """
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    hours = [each['hour'] for each in samples]
    figure, axes = pyplot.subplots(len(curves), 1, figsize=(8, 2 * len(curves)), sharex=True, layout='constrained')
    for axis, (label, names) in zip(axes, curves.items()):
        for name in names:
            axis.plot(hours, [each[name] for each in samples], label=name, linewidth=1)
        axis.set(ylabel=label, ylim=(0, 1.05 * axis.get_ylim()[1]))
        if len(names) > 1:
            axis.legend(loc='center left', bbox_to_anchor=(1, 0.5), fontsize=8)
    axes[0].set_title(title, fontsize=9)
    axes[-1].set_xlabel("hour of the robot's day")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
