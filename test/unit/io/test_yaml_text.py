"""YAML as people mean it: no key twice, and no number in a base that nobody has written."""
from __future__ import annotations

import pytest

from segvlad_ros.io.yaml_text import parse_yaml, read_yaml
from segvlad_ros.types import SegvladError


@pytest.mark.parametrize(('text', 'line', 'key'), [
    ('a: 1\nb: 2\na: 3\n', 3, 'a'),
    ('section:\n  b: 1\n  "b": 2\n', 3, 'b'),
    ('list: [{x: 1, x: 2}]', 1, 'x'),
    ('a: &one {x: 1}\nb:\n  <<: *one\n  y: 1\n  y: 2\n', 5, 'y'),
    ('true: 1\nTrue: 2\n', 2, 'True'),
    ('8: 1\n0x8: 2\n', 2, '0x8'),
])
@pytest.mark.fault('parameter', 'a key that comes twice in a YAML file', 'refused, with its line')
def test_a_key_that_comes_twice_is_refused(text, line, key):
    with pytest.raises(SegvladError, match=f'^line {line}: the key {key} comes a second time; keep one$'):
        parse_yaml(text)


def test_a_merged_key_may_be_written_over():
    text = 'a: &one {x: 1, y: 2}\nb: &two {<<: *one, z: 3}\nc: {<<: *two, y: 4}\nd: {<<: [*one, *two], x: 5}\n=: 6'
    assert parse_yaml(text) == {'a': {'x': 1, 'y': 2}, 'b': {'x': 1, 'y': 2, 'z': 3}, 'c': {'x': 1, 'y': 4, 'z': 3},
                                'd': {'x': 5, 'y': 2, 'z': 3}, '=': 6}


@pytest.mark.parametrize('text', ['010', '-010', '+0_17', '00', '1:30', '-1:30:00', '1:30.5', '08', '0o10'])
def test_what_yaml_takes_for_a_number_in_base_8_or_60_is_text(text):
    assert parse_yaml(f'x: {text}') == {'x': text}
    assert parse_yaml(f'[{text}, 7]') == [text, 7]


@pytest.mark.parametrize('text', ['!!int 010', '!!int "1:30"', '!!float 1:30'])
def test_nor_is_it_a_number_where_it_is_said_to_be_one(text):
    assert parse_yaml(text) == text.split()[1].strip('"')


@pytest.mark.parametrize(('text', 'number'), [
    ('0', 0), ('-7', -7), ('1_000', 1000), ('0x1F', 31), ('0b11', 3), ('0.5', 0.5), ('01.5', 1.5), ('1.0e-3', 0.001)])
def test_numbers(text, number):
    assert parse_yaml(text) == number


@pytest.mark.parametrize('text', ['x: [', '[' * 5000, 'a: !thing 1', '? [1]\n: 2', '!!int x', '? {a: 1}\n: 2'])
def test_what_is_no_data_is_refused_in_one_line(text):
    with pytest.raises(SegvladError, match='not readable as YAML'):
        parse_yaml(text)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / 'a.yaml'
    path.write_text('\ufeffa: 1\n', encoding='utf-8')
    assert read_yaml(path) == {'a': 1}
    assert parse_yaml(path.read_bytes()) == {'a': 1}
