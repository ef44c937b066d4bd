"""What the shipped ``classic`` preset reaches on the real image sets, through ``segvlad evaluate images``.

    python benchmark/classic_real_sets.py [DATA]      writes results/classic_real_sets.{json,md}

Run it on an otherwise idle machine: the times are wall time.
"""
from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from segvlad_ros.evaluation.measure import machine

HERE = Path(__file__).resolve().parent
RESULTS = HERE / 'results'


def evaluate(references: Path, queries: Path, truth: Path, *options: str) -> dict:
    """The numbers of one set."""
    command = [sys.executable, '-m', 'segvlad_ros.cli', 'evaluate', 'images', '--references', str(references),
               '--queries', str(queries), '--ground-truth', str(truth), '--json', *options]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure(data: Path) -> dict[str, dict]:
    """All sets by name."""
    loop, office = data / 'rtabmap_corridor_loop', data / 'hololens_office'
    with tempfile.TemporaryDirectory() as folder:
        lap = Path(folder) / 'lap1.txt'
        lap.write_text('\n'.join(str(loop / f'images/{number:04d}.jpg') for number in range(1, 41)))
        return {
            'corridor': evaluate(data / 'corridor/ref', data / 'corridor/query', data / 'corridor/ground_truth.csv'),
            'rtabmap_corridor_loop, lap 1 as map': evaluate(lap, loop / 'images', loop / 'ground_truth.csv'),
            'rtabmap_corridor_loop, online': evaluate(loop / 'images', loop / 'images', loop / 'loop_truth.csv',
                                                      '--exclude-recent', '10'),
            'hololens_office, online': evaluate(office / 'images', office / 'images', office / 'loop_truth.csv',
                                                '--exclude-recent', '40'),
        }


def as_markdown(sets: dict[str, dict], where: dict) -> str:
    """One row a set."""
    lines = ['# The classic preset on real images', '', 'Written by `benchmark/classic_real_sets.py` on '
             f'{where}. Bounds: Clopper-Pearson, 95 %.', '',
             '| set | queries | recall@1 | recall@5 | average precision | recall at 100 % precision | accepted '
             '| precision | recall | ms per image | segments | bytes per keyframe |',
             '|---|---|---|---|---|---|---|---|---|---|---|---|']
    for name, row in sets.items():
        stages = ', '.join(f'{stage} {value:.0f}' for stage, value in row['ms_per_image'].items() if value >= 0.5)
        bounds = {key: f'{row[key]:.2f} ({row[f"{key}_bounds"][0]:.2f}-{row[f"{key}_bounds"][1]:.2f})'
                  for key in ('precision', 'recall')}
        lines.append(f'| {name} | {row["queries"]} | {row["recall@1"]:.3f} | {row["recall@5"]:.3f} '
                     f'| {row["average_precision"]:.3f} | {row["recall@100precision"]:.3f} | {row["accepted"]} '
                     f'| {bounds["precision"]} | {bounds["recall"]} | {stages} | {row["segments_per_image"]:.0f} '
                     f'| {row["bytes_per_keyframe"]:.0f} |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Measure and write."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[1] / 'shared/data'
    where, sets = machine('cpu'), measure(data)
    (RESULTS / 'classic_real_sets.json').write_text(json.dumps({'machine': where, 'sets': sets}, indent=1) + '\n')
    (RESULTS / 'classic_real_sets.md').write_text(as_markdown(sets, where))


if __name__ == '__main__':
    main()
