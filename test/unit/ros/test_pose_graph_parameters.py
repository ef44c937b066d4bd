"""The parameter file of pose_graph against the table."""
from pathlib import Path

import yaml

from segvlad_ros.ros.parameters import table_of

ROOT = Path(__file__).resolve().parents[3]


def flat(values, prefix=''):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


def test_the_parameter_file_holds_all_parameters_with_their_defaults():
    content = yaml.safe_load((ROOT / 'config' / 'nodes' / 'pose_graph.yaml').read_text())
    found, wanted = dict(flat(content['/**']['ros__parameters'])), table_of('pose_graph')
    assert found == {entry.name: entry.default for entry in wanted}
    assert all(type(found[entry.name]) is type(entry.default) for entry in wanted)


def test_every_parameter_is_described_and_its_default_allowed():
    for entry in table_of('pose_graph'):
        assert entry.description.endswith('.')
        assert entry.check(entry.default) == ''
        assert (entry.minimum is None) == (entry.maximum is None)
