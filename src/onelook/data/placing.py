"""Pictures on their way into another dataset: linked or copied there, each under a name of its own."""

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onelook.data.files import PICTURES
from onelook.data.header import try_size
from onelook.data.sample import Sample
from onelook.errors import SourceError

# What no file of labels can hold, or what would end a line of one.
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff\ud800-\udfff]")


class Placed(NamedTuple):
    """A picture in its new folder."""

    sample: Sample
    name: str  # of the file
    new: bool  # false where another split has put it there already

    @property
    def stem(self) -> str:
        """The name without its suffix, which no other picture of the folder has."""
        return self.name.rpartition(".")[0]


class Placer:
    """Puts pictures into a folder. The same picture with the same labels, of several splits, is put there once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.missing = 0  # pictures that are not there, or are none
        self._names: dict[tuple[object, ...], str] = {}
        self._taken: set[str] = set()
        folder.mkdir(parents=True)

    def place(self, samples: tuple[Sample, ...]) -> list[Placed]:
        """The pictures of one split, without those that are not there."""
        placed = []
        times: Counter[Path] = Counter()
        for sample in samples:
            times[sample.image] += 1
            key = (sample.image, times[sample.image], sample.classes.tobytes(), sample.boxes.tobytes())
            name = self._names.get(key)
            new = name is None
            if name is None:
                if isinstance(try_size(sample.image), SourceError):  # labels can name any file: only pictures are taken
                    self.missing += 1
                    continue
                name = self._free(sample.image.name)
                _link(sample.image, self.folder / name)
                self._names[key] = name
                self._taken.add(_stem(name))
            placed.append(Placed(sample, name, new))
        return placed

    def _free(self, name: str) -> str:
        """The name, changed where it could not be written or another picture differs from it in its suffix alone."""
        name = _ODD.sub("_", name).strip()
        if name.startswith("."):  # a hidden file
            name = "_" + name[1:]
        if not name.lower().endswith(PICTURES):
            name += ".jpg"  # any will do: pictures are recognised by what they hold
        stem, _, suffix = name.rpartition(".")
        number = 1
        while _stem(name) in self._taken:
            number += 1
            name = f"{stem}-{number}.{suffix}"
        return name


def plain(name: str) -> str:
    """The name of a class on one line, with `_` for what cannot be printed, which files of labels may not hold."""
    return "".join(letter if letter.isprintable() else "_" for letter in name)


def shortest(side: np.float32, offset: float = 0) -> int | float:
    """A coordinate plus an offset as the shortest number that reads back the same, a whole one without a point."""
    number = float(str(side))
    if offset:
        number = round(number + offset, 9)  # the sum of two short decimals is one, but for the last bits
    return int(number) if number.is_integer() else number


def missing_note(*placers: Placer) -> list[str]:
    """What to say of pictures that could not be placed."""
    missing = sum(placer.missing for placer in placers)
    return [f"{missing} pictures are missing or unreadable; they are left out with their labels"] if missing else []


def _stem(name: str) -> str:
    return name.rpartition(".")[0].casefold()  # there are file systems that do not tell A from a


def _link(source: Path, target: Path) -> None:
    """Links a picture, or copies it where it cannot be linked."""
    try:
        target.hardlink_to(source.resolve())
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
