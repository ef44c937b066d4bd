"""What each shipped preset costs, by device: `segvlad benchmark preset` of all that can run on this machine.

    segvlad weights fetch ...                                 what presets need that are to be measured
    python benchmark/preset_costs.py [--device cuda] [NAME ...]
    python benchmark/preset_costs.py --pages                  nothing is measured, the pages are written anew

Writes results/preset_costs.{json,md} and the tables in docs/costs.md and README.md. Rows of other devices and presets
stay as they were. "NAME, ONNX files" is a preset of SAM whose networks "segvlad export sam" has written as ONNX files,
for ONNX Runtime. Let nothing else run on the machine meanwhile.
"""
from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tables import RESULTS, command_line, table

from segvlad_ros.pipeline.presets import load_preset, preset_names

PAGE, README = RESULTS.parents[1] / 'docs/costs.md', RESULTS.parents[1] / 'README.md'
FILE = RESULTS / 'preset_costs.json'
MOBILE_ONNX = 'segvlad_mobile, ONNX files'
IN_README = 'classic', 'learned', 'segvlad_mobile', MOBILE_ONNX, 'segvlad'
COLUMNS = ('preset', 'device', 'describe, ms', 'answer, ms', 'RAM, MB', 'GPU memory, MB', 'kB per keyframe', '')
_TABLE = re.compile(r'(?<=<!-- costs: written by benchmark/preset_costs.py -->\n).*?(?=<!-- end -->)', re.DOTALL)
_README_COLUMNS, _UNKNOWN = (0, 1, 2, 4, 5, 7), 'not measured'
# What a preset lacks, by what the line that refuses it says.
_LACKING = {'segvlad weights': 'needs weights', 'segvlad fit vocabulary': 'needs a vocabulary',
            '--descriptors': 'needs vectors of your own', 'features.path': 'needs a network of your own'}
_WITHOUT_GPU = {'felzenszwalb', 'graph', 'patches'}, {'root_sift', 'orb_words', 'given'}


def measured(name: str, device: str, count: int) -> dict[str, Any] | str:
    """The report of one row, or why there is none."""
    preset, _, by_files = name.partition(', ')
    with tempfile.TemporaryDirectory() as folder:
        file, options = Path(folder) / 'sam.onnx', []
        if by_files:
            done = _segvlad('export', 'sam', '--preset', preset, '--output', str(file))
            options = ['--set', f'segmenter.weights={file}']
        if not by_files or done.returncode == 0:
            done = _segvlad('benchmark', 'preset', preset, f'--device={device}', f'--count={count}', '--json', *options)
    if done.returncode == 0:
        return {**json.loads(done.stdout), 'preset': name}
    if done.returncode != 2:
        raise RuntimeError(f'segvlad of {name} ended with {done.returncode}:\n{done.stderr}')
    _, _, reason = done.stderr.strip().splitlines()[-1].partition(': ')
    return reason.replace(str(Path.home()), '~')


def _segvlad(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, '-m', 'segvlad_ros.cli', *arguments], capture_output=True, text=True,
                          check=False)


def processor(report: dict[str, Any]) -> str:
    """What a report was measured on."""
    facts = report['machine']
    return facts.get('gpu') or f'{facts["cpu"]}, {facts["cores"]} cores'


def merged(old: dict[str, Any], found: dict[str, dict | str], device: str) -> dict[str, Any]:
    """The file's content with what was found now in the place of what it had of these presets and this processor.

    :param found: reports, or the reasons why there is none, by preset
    """
    reports = {name: report for name, report in found.items() if isinstance(report, dict)}
    here = {(name, processor(report)) for name, report in reports.items()}
    kept = [report for report in old['reports'] if (report['preset'], processor(report)) not in here]
    reasons = {**old['reasons'], **{f'{name} {device}': None if name in reports else reason
                                    for name, reason in found.items()}}
    return {'reports': sorted([*kept, *reports.values()], key=lambda report: (report['preset'], processor(report))),
            'reasons': {key: reason for key, reason in sorted(reasons.items()) if reason}}


def rows(content: dict[str, Any], keyframes: Iterable[dict[str, Any]]) -> list[Sequence[object]]:
    """The table: every shipped preset on the CPU, and on a GPU where it makes use of one, measured or not.

    :param keyframes: reports of benchmark/gpu_keyframe.py, the networks of ``segvlad`` with random weights
    """
    lines: list[Sequence[object]] = []
    for name in row_names():
        for device in ('cpu', 'cuda') if uses_gpu(name) else ('cpu',):
            found = [_row(report) for report in content['reports']
                     if report['preset'] == name and report['device'].startswith(device)]
            if (name, device) == ('segvlad', 'cuda'):
                found += map(_row_of_keyframe, keyframes)
            reason = content['reasons'].get(f'{name} {device}', '')
            lines += found or [(name, device, *[_UNKNOWN] * 5, _in_short(reason))]
    return lines


def _in_short(reason: str) -> str:
    return next((short for part, short in _LACKING.items() if part in reason), reason)


def row_names() -> list[str]:
    """The shipped presets, and what else has a row."""
    return sorted([*preset_names(), MOBILE_ONNX])


def uses_gpu(name: str) -> bool:
    """Whether a row's preset has a network."""
    preset = load_preset(name.partition(', ')[0])
    segments, features = _WITHOUT_GPU
    return preset.segmenter.kind not in segments or preset.features.kind not in features


def _row(report: dict[str, Any]) -> Sequence[object]:
    gpu = '-' if report['gpu_peak_mb'] is None else f'{report["gpu_peak_mb"]:.0f}'
    busy = report['machine']['load_average'] > report['machine']['cores'] + 1
    return (report['preset'], processor(report), f'{report["describe_ms_p50"]:.0f} ({report["describe_ms_p95"]:.0f})',
            f'{report["answer_ms_p50"]:.1f} ({report["answer_ms_p95"]:.1f})', f'{report["peak_mb"]:.0f}', gpu,
            f'{report["bytes_per_keyframe"] / 1000:.0f}', 'measured beside other work' if busy else '')


def _row_of_keyframe(report: dict[str, Any]) -> Sequence[object]:
    whole = report['keyframe_ms']
    return ('segvlad', report['machine']['gpu'], f'{whole["p50"]:.0f} ({whole["p95"]:.0f})', _UNKNOWN,
            _UNKNOWN, f'{report["peak_gb"] * 1000:.0f}', _UNKNOWN,
            f'{report["weights"]} weights, {report["precision"]}')


def stages_page(content: dict[str, Any]) -> str:
    """Median milliseconds of every stage."""
    stages = list(dict.fromkeys(stage for report in content['reports'] for stage in report['stages']))
    lines = ['# What presets cost, stage by stage', '',
             'Written by `benchmark/preset_costs.py`: medians in milliseconds of what `segvlad benchmark preset NAME` '
             'says. Stages of the description overlap. What is in memory and in the map: '
             '[docs/costs.md](../../docs/costs.md).', '']
    if not content['reports']:
        return '\n'.join([*lines, 'Nothing is measured yet.', ''])
    return '\n'.join([*lines, *table(('preset', 'on', 'images', *stages), (
        (report['preset'], processor(report), report['images'],
         *(f'{report["stages"][stage]:.1f}' if stage in report['stages'] else '-' for stage in stages))
        for report in content['reports'])), ''])


def with_table(page: str, lines: Sequence[Sequence[object]], columns: Sequence[int] = range(len(COLUMNS)),
               below: Sequence[str] = ()) -> str:
    """The page with this table, or these columns of it, and lines below it, in the place of the one it had."""
    heads, *cells = [[row[column] for column in columns] for row in (COLUMNS, *lines)]
    return _TABLE.sub(lambda _: '\n' + '\n'.join([*table(heads, cells), *below]) + '\n\n', page)


def readme_with_table(page: str, lines: Sequence[Sequence[object]]) -> str:
    """The README with the measured rows that most robots choose among, and a line that names the others, and why."""
    chosen = [row for row in lines if row[0] in IN_README]
    missing = [row for row in chosen if row[2] == _UNKNOWN]
    return with_table(page, [row for row in chosen if row[2] != _UNKNOWN], _README_COLUMNS,
                      ['', _not_measured(missing)] if missing else [])


def _not_measured(lines: Iterable[Sequence[object]]) -> str:
    """The rows without a measurement in a sentence, by device and reason."""
    groups: dict[str, list[str]] = {}
    for name, device, *_, reason in lines:
        place = 'the CPU' if device == 'cpu' else 'a GPU'
        preset, _, files = str(name).partition(', ')
        groups.setdefault(f'on {place} ({reason or "not run there yet"})', []).append(
            f'`{preset}`' + (f' from {files}' if files else ''))
    return 'Not measured: ' + '; '.join(f'{", ".join(names)} {where}' for where, names in groups.items()) + '.'


def gpu_keyframes() -> list[dict[str, Any]]:
    """All committed reports of benchmark/gpu_keyframe.py."""
    return [report for path in sorted(RESULTS.glob('keyframe_*.json')) for report in json.loads(path.read_text())]


def main() -> None:
    """Measure, and write the file and the pages."""
    parser = command_line(__doc__)
    parser.add_argument('presets', nargs='*', metavar='NAME', help='rows of the table (default: all)')
    parser.add_argument('--device', default='cpu', help='cpu, or cuda')
    parser.add_argument('--count', type=int, default=30, help='images (%(default)s)')
    parser.add_argument('--pages', action='store_true', help='measure nothing')
    args = parser.parse_args()
    content = json.loads(FILE.read_text())
    if not args.pages:
        names = args.presets or [name for name in row_names() if args.device == 'cpu' or uses_gpu(name)]
        found = {}
        for name in names:
            print(name, flush=True)
            found[name] = measured(name, args.device, args.count)
        content = merged(content, found, args.device)
        FILE.write_text(json.dumps(content, indent=1) + '\n')
    FILE.with_suffix('.md').write_text(stages_page(content))
    lines = rows(content, gpu_keyframes())
    PAGE.write_text(with_table(PAGE.read_text(), lines))
    README.write_text(readme_with_table(README.read_text(), lines))


if __name__ == '__main__':
    main()
