"""Which images a path means: links to one file are different images, and other spellings of a path are the same one."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path


def as_given(path: Path) -> Path:
    """The path as it was given, absolute: what tells images apart.

    Links stay, for stores keep equal contents once and link to them. Only behind a ``..`` the folder is resolved:
    what lies above a linked folder depends on where the link leads.
    """
    return _in_real_folder(path) if '..' in path.parts else path.absolute()


def _in_real_folder(path: Path) -> Path:
    return path.parent.resolve() / path.name


# From the strictest to the most tolerant, so that the images of two linked folders are told apart where both are given,
# and a ground truth may still name them by the folder's, or the file's, own place.
_SPELLINGS = (as_given, _in_real_folder, Path.resolve)


class GivenImages:
    """A set of images, each once, and what a path means among them.

    :param paths: of image files
    :ivar paths: the images in order, as they were given, absolute
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = list(dict.fromkeys(map(as_given, paths)))
        self._spelled: list[defaultdict[Path, list[Path]]] = [defaultdict(list) for _ in _SPELLINGS]
        for spelled, spell in zip(self._spelled, _SPELLINGS):
            for path in self.paths:
                spelled[spell(path)].append(path)

    def meant(self, path: Path) -> list[Path]:
        """The images that a path means: the one given so, else those in the same folder, else those of the same file.

        :return: paths of :attr:`paths`; none if there is no such image among them
        """
        for spelled, spell in zip(self._spelled, _SPELLINGS):
            if found := spelled.get(spell(path)):
                return found
        return []

    def shared(self, others: GivenImages) -> list[Path]:
        """Images that are among the others, too, in whatever spelling; another link to the same file is not."""
        return [path for path in self.paths
                if path in others._spelled[0] or _in_real_folder(path) in others._spelled[1]]
