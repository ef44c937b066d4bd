"""Which keyframes a map of bounded size gives up, so that it covers as much as it can.

A map covers places, and of each place its *conditions*: groups of keyframes that look alike, by day, at night, the
other way round. Where place p has keyframes of m_p conditions, n_pc of them of condition c, the map's coverage is three
numbers, of which the first counts first::

    ( number of places,  sum_p sqrt(m_p),  sum_pc sqrt(n_pc) )

The root rewards diversity: the first of a group is worth most, each further one less (Lin and Bilmes, A class of
submodular functions for document summarization, ACL 2011). Greedily, the keyframe goes that the coverage loses least
by, of several the one that was seen least recently. So every condition of a place keeps a keyframe before another one
keeps two, and every place keeps one before another place keeps a second condition. Where there are more places than
room, lots decide, as in reservoir sampling (Vitter, ACM TOMS 1985): what is kept is a fair sample of all places. The
least recently seen one must not go then: on a round, it is the very next one.

The last keyframe of a place that is a witness, an end of a closure that was accepted, never goes: a robot has relied on
it.
"""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from segvlad_ros.mapping.novelty import NoveltySettings
from segvlad_ros.types import SegvladError

HELD = np.dtype([('entry', np.int64), ('place', np.int64), ('condition', np.int64), ('seen', np.int64),
                 ('closures', np.int64), ('lot', np.int64)])
"""A keyframe that is held: the place and the condition that it shows, when it was last seen (any number that grows with
time), of how many accepted closures it is an end, and the lot that it has drawn."""


@dataclass(frozen=True)
class RetentionSettings:
    """How large a map may become.

    :ivar max_keyframes: that it holds; 0: any number
    :ivar max_bytes: of its file that are in use; 0: any number
    :ivar same_condition_score: keyframes of a place that are at least so much alike show it in one condition; larger:
        more conditions are told apart, and fewer keyframes kept of each
    :ivar novelty: what is not stored at all
    """

    max_keyframes: int = 0
    max_bytes: int = 0
    same_condition_score: float = 0.2
    novelty: NoveltySettings = field(default_factory=NoveltySettings)

    def __post_init__(self):
        if self.max_keyframes < 0 or self.max_bytes < 0 or not 0.0 < self.same_condition_score <= 1.0:
            raise SegvladError(f'retention settings {self} are not usable: max_keyframes and max_bytes are 0 or more, '
                               'same_condition_score above 0 and at most 1')

    @property
    def bounded(self) -> bool:
        """Whether anything is asked of the map at all."""
        return bool(self.max_keyframes or self.max_bytes or self.novelty.explained_score)


def surplus(held: np.ndarray, count: int) -> list[int]:
    """The keyframes to give up, fewer than ``count`` where no more may go.

    :param held: (n,) of dtype :data:`HELD`
    :return: rows of ``held``, in the order in which they go
    """
    left, gone = np.arange(len(held)), []
    while len(gone) < count and (row := _least(held[left])) is not None:
        gone.append(int(left[row]))
        left = np.delete(left, row)
    return gone


class _Groups:
    """The places and conditions of some keyframes.

    :ivar group: (n,) number of each keyframe's condition of its place
    :ivar sizes: (groups,) how many keyframes each condition of a place has
    :ivar conditions: (places,) how many conditions each place has, 0 of a place that has no keyframe
    """

    def __init__(self, held: np.ndarray) -> None:
        kinds = held['condition'].max(initial=0) + 1
        pairs, self.group, self.sizes = np.unique(held['place'] * kinds + held['condition'], return_inverse=True,
                                                  return_counts=True)
        self.conditions = np.bincount(pairs // kinds)


def _least(held: np.ndarray) -> int | None:
    """The row that the coverage loses least by; None where none may go."""
    if not len(held):
        return None
    groups = _Groups(held)
    conditions, size = groups.conditions[held['place']], groups.sizes[groups.group]
    witness = held['closures'] > 0
    only = witness & (np.bincount(held['place'], witness)[held['place']] == 1)
    last = size == 1
    alone = last & (conditions == 1)
    rows = np.flatnonzero(~only)
    losses = (alone, np.where(last, np.sqrt(conditions) - np.sqrt(conditions - 1), 0.0),
              np.sqrt(size) - np.sqrt(size - 1), np.where(alone, held['lot'], held['seen']))
    for loss in losses:
        if len(rows):
            rows = rows[loss[rows] == loss[rows].min()]
    return int(rows[0]) if len(rows) else None
