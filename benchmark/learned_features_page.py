"""The page of benchmark/learned_features.py: its numbers as tables, and what they say of the preset learned."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tables import heading, table

COLUMNS = ('corridor', 'rtabmap_corridor_loop', 'hololens_office, with depth', 'hololens_office, without depth',
           'hololens_office, images only')
NOT_RUN = 'Rows and columns that are not here are not measured yet.'
MORE_CORRECT, IN_COLUMNS = 2, 3
"""What makes ``learned`` the one to recommend: so many more correct matches in so many columns, nowhere more false."""


def as_page(results: Mapping[str, Any], about: str, where: dict) -> str:
    """All tables.

    :param results: ``rows`` by name, and what each of the ``settings`` of MobileSAM ranks by set
    :param about: the text of the script's module
    """
    rows = results['rows']
    head = heading('Learned features beside the classic ones', 'learned_features.py', where,
                   ' '.join(about[about.index('Recall@1'):].split()) + ' In brackets 95 % Clopper-Pearson intervals.')
    lines = [*head, *table(
        ('set', 'description', 'recall@1', 'recall@5', 'accepted: correct + false', 'precision', 'recall'),
        ((column, name, *_cell(row['columns'][column])) for column in COLUMNS for name, row in rows.items()
         if column in row['columns'])), '']
    lines += [verdict(rows), '', NOT_RUN, '', '## What they cost, and wide baselines', '',
              'Stages overlap; milliseconds are wall time, medians of what '
              '`segvlad benchmark preset` does: of the presets that are shipped with made images, see '
              'preset_costs.md, of the other rows with images of the office. Coverage and kB are of the office; '
              'coverage: of the images by segments, in brackets by masks of the network alone.', '',
              *table(('description', 'wide baselines, recall@1', 'segments, coverage', 'describe, ms', 'stages, ms',
                      'kB a keyframe', ''), (_costs(name, row) for name, row in rows.items())), '']
    if results['settings']:
        names = list(results['settings'][0]['sets'])
        lines += ['## MobileSAM: thresholds of predicted IoU and stability, and what fills the gaps', '',
                  'With RootSIFT: recall@1 / @5; segments an image; coverage, in brackets of the network alone.', '',
                  *table(('setting', *names), (
                      (', '.join(map(str, row['setting'].values())), *(_ranked(row['sets'][name]) for name in names))
                      for row in results['settings'])), '']
        lines += [f'{name}: taken ' + ', '.join(
            f'{", ".join(map(str, results["settings"][number]["setting"].values()))} for {tested}'
            for tested, number in row['settings'].items()) + '.' for name, row in list(rows.items())
            if row['settings']][:1]
    return '\n'.join(lines).rstrip() + '\n'


def verdict(rows: Mapping[str, Any]) -> str:
    """Whether ``learned`` is to be recommended before ``classic``, in words."""
    if not all(rows.get(name, {'columns': {}})['columns'].keys() >= set(COLUMNS) for name in ('classic', 'learned')):
        return '`classic` and `learned` are not measured in all columns.'
    pairs = [(rows['classic']['columns'][column], rows['learned']['columns'][column]) for column in COLUMNS]
    better = sum(learned['correct'] >= classic['correct'] + MORE_CORRECT for classic, learned in pairs)
    worse = [column for column, (classic, learned) in zip(COLUMNS, pairs) if learned['false'] > classic['false']]
    recommended = better >= IN_COLUMNS and not worse
    return (f'`learned` has at least {MORE_CORRECT} more correct matches than `classic` in {better} of {len(COLUMNS)} '
            f'columns, and more false ones in {", ".join(worse) or "none"}; asked for are {IN_COLUMNS}, and none: it '
            f'is {"" if recommended else "not "}the one to recommend.')


def _cell(numbers: Mapping[str, Any]) -> tuple[str, ...]:
    by = '' if numbers['decided'] == 'calibrated' else ' (by thresholds)'
    return (share(numbers, 'recall@1'), f'{numbers["recall@5"]:.2f}',
            f'{numbers["correct"]} + {numbers["false"]}{by}', share(numbers, 'precision'), share(numbers, 'recall'))


def share(numbers: Mapping[str, Any], name: str) -> str:
    """A rate with its interval."""
    if numbers[name] is None:
        return '-'
    low, high = numbers[f'{name}_bounds']
    return f'{numbers[name]:.2f} ({low:.2f}-{high:.2f})'


def _covered(numbers: Mapping[str, Any]) -> str:
    alone = numbers.get('coverage_of_network')
    return f'{numbers["coverage"]:.2f}' + ('' if alone is None else f' ({alone:.2f})')


def _ranked(numbers: Mapping[str, Any]) -> str:
    return (f'{numbers["recall@1"]:.3f} / {numbers["recall@5"]:.3f}; {numbers["segments"]:.0f}; {_covered(numbers)}')


def _costs(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    columns, report, size = row['columns'], row['costs'], row['bytes_per_keyframe']
    wide = next((numbers['wide'] for numbers in columns.values() if 'wide' in numbers), None)
    last = list(columns.values())[-1]
    took = 'not measured', '-', ''
    if report:
        stages = ', '.join(f'{stage} {value:.0f}' for stage, value in report['stages'].items() if value >= 0.5)
        busy = report['machine']['load_average'] > report['machine']['cores'] + 1
        took = f'{report["describe_ms_p50"]:.0f}', stages, 'measured beside other work' if busy else ''
    return (name, '-' if wide is None else share(wide, 'recall@1'), f'{last["segments"]:.0f}, {_covered(last)}',
            *took[:2], '-' if size is None else f'{size / 1000:.0f}', took[2])
