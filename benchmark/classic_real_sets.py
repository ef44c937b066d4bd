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

from tables import heading, table, write_results

from segvlad_ros.evaluation.measure import machine

DATA = Path(__file__).resolve().parents[2] / 'shared/data'


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
    rows = []
    for name, row in sets.items():
        stages = ', '.join(f'{stage} {value:.0f}' for stage, value in row['ms_per_image'].items() if value >= 0.5)
        ranking = (f'{row[key]:.3f}' for key in ('recall@1', 'recall@5', 'average_precision', 'recall@100precision'))
        rates = (f'{row[key]:.2f} ({row[f"{key}_bounds"][0]:.2f}-{row[f"{key}_bounds"][1]:.2f})'
                 for key in ('precision', 'recall'))
        rows.append((name, row['queries'], *ranking, row['accepted'], *rates, stages,
                     f'{row["segments_per_image"]:.0f}', f'{row["bytes_per_keyframe"]:.0f}'))
    lines = [*heading('The classic preset on real images', 'classic_real_sets.py', where,
                      'Bounds: Clopper-Pearson, 95 %.'),
             *table(('set', 'queries', 'recall@1', 'recall@5', 'average precision', 'recall at 100 % precision',
                     'accepted', 'precision', 'recall', 'ms per image', 'segments', 'bytes per keyframe'), rows)]
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Measure and write."""
    where, sets = machine('cpu'), measure(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
    write_results('classic_real_sets', where, {'sets': sets}, as_markdown(sets, where))


if __name__ == '__main__':
    main()
