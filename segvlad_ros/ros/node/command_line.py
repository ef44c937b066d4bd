"""A node's command line, outside of what ROS 2 reads of it."""
from __future__ import annotations

import sys
from collections.abc import Iterator

from segvlad_ros.ros.node.parameter_table import table_of
from segvlad_ros.text import one_line


def answered(executable: str, words: list[str]) -> int | None:
    """Answer a command line that starts no node: one that asks for help, or that gives parameters as launch files take
    them. Of the latter rcl makes remappings of topics, and nothing is set.

    :return: exit status; None: the node is to be started
    """
    outside = list(_outside(words))
    if {'-h', '--help'} & {*outside}:
        print(f'ros2 run segvlad_ros {executable} --ros-args -p NAME:=VALUE ... -r TOPIC:=TOPIC ... --params-file FILE'
              '\nThe parameters are in docs/parameters.md and the topics in docs/topics.md; a running node tells its '
              f'own: ros2 param describe /{executable} NAME')
        return 0
    names = {entry.name for entry in table_of(executable)}
    wrong = [word for word in outside if ':=' in word and word.partition(':=')[0] in names]
    if not wrong:
        return None
    instead = ' '.join(f'-p {word}' for word in wrong)
    sys.stderr.write(one_line(f'{executable}: {" ".join(wrong)} sets nothing: write --ros-args {instead}') + '\n')
    return 1


def _outside(words: list[str]) -> Iterator[str]:
    """Words that are not between --ros-args and -- or the end."""
    of_ros = False
    for word in words:
        if word == ('--' if of_ros else '--ros-args'):
            of_ros = not of_ros
        elif not of_ros:
            yield word
