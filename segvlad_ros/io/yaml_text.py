"""YAML of people and of other programs: data, or refused in one line."""
from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from segvlad_ros.text import one_line
from segvlad_ros.types import SegvladError

# YAML 1.1 takes 010 for 8, and 1:30 for 90. Nobody who writes them means that.
_IN_BASE_8_OR_60 = re.compile(r'[-+]?0[0-9_]+|.*:.*')
_INT, _FLOAT, *_NO_KEYS = (f'tag:yaml.org,2002:{name}' for name in ('int', 'float', 'merge', 'value'))


def parse_yaml(text: str | bytes) -> Any:
    """What a document says.

    A number as 010 or 1:30, which YAML has in base 8 or 60, is text: fit for a name, and no number of a setting.

    :raises SegvladError: it is no YAML, is nested too deep, has a number without end, or a key twice
    """
    return _parsed(text, sections_repeat=False)


def check_ros_parameters(path: Path) -> None:
    """See that a parameter file of ROS 2 has nodes, and no value twice in a section.

    Its sections may come again, as two of ``/**`` do: rcl merges them, and takes the later one's values. Of two values
    in one section it takes the last, or the first, as their types are.

    :raises SegvladError: likewise, and as :func:`read_yaml`
    """
    if not isinstance(_parsed(_text_of(path), sections_repeat=True), dict):
        raise SegvladError('it has no nodes')


def _parsed(text: str | bytes, *, sections_repeat: bool) -> Any:
    import yaml

    try:
        return yaml.load(text, _loader(sections_repeat))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SegvladError(f'not readable as YAML ({one_line(error, 200)})') from error


@cache
def _loader(sections_repeat: bool) -> type:
    """PyYAML's safe loader; the module is imported where it is needed only."""
    import yaml

    class DataLoader(yaml.SafeLoader):
        """The safe loader takes the last of several values of a key without a word; this one takes none."""

        def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
            """A section as it is written: merged keys, which it may write over, come later."""
            node, keys = super().compose_mapping_node(anchor), set()
            for key, content in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag in _NO_KEYS:
                    continue
                if sections_repeat and isinstance(content, yaml.MappingNode):
                    continue
                value = self.construct_object(key)
                if value in keys:
                    raise SegvladError(f'line {key.start_mark.line + 1}: the key {one_line(key.value, 40)} comes a '
                                       'second time; keep one')
                keys.add(value)
            return node

        def _number(self, node: yaml.ScalarNode) -> int | float | str:
            text = self.construct_scalar(node)
            if _IN_BASE_8_OR_60.fullmatch(text):
                return text
            return self.construct_yaml_int(node) if node.tag == _INT else self.construct_yaml_float(node)

    DataLoader.add_constructor(_INT, DataLoader._number)
    DataLoader.add_constructor(_FLOAT, DataLoader._number)
    return DataLoader


def read_yaml(path: Path) -> Any:
    """What a UTF-8 file says; raises as :func:`parse_yaml`, and OSError."""
    return parse_yaml(_text_of(path))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise SegvladError(f'not readable as YAML ({one_line(error, 200)})') from error
