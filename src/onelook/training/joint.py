"""What joint training of YOLO9000 needs besides labelled boxes: a tree of classes, and pictures of one class each."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from onelook.data import Dataset, read, splits
from onelook.errors import TrainingError
from onelook.names import imagenet
from onelook.nn.wordtree import WordTree
from onelook.runtime.picture import shown

MAX_BYTES = 1 << 24


class Tree(NamedTuple):
    """Classes that are kinds of one another."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    """Of every class the number of its parent, which stands before it; -1 for a root."""


def read_tree(path: Path) -> Tree:
    """A tree as Darknet has it in a file: one class a line, its name or WordNet id, then the number of its parent.

    The first line is class 0; -1 is the parent of a root; the children of one parent stand together. Ids of ImageNet's
    thousand classes become its names, as those of a dataset do.

    Raises:
        TrainingError: there is no such file, a line of it is of another form, or the parents make no tree.
    """
    name = shown(str(path))
    try:
        with path.open("rb") as file:
            lines = file.read(MAX_BYTES).decode("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise TrainingError(f"{name}: cannot be read: {error.strerror}") from None
    known, names, parents = imagenet(), [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        *words, parent = line.split()
        if not words or not parent.removeprefix("-").isdecimal():
            raise TrainingError(f"{name}:{number}: expected a class and the number of its parent; found {line[:40]!r}")
        names.append(known.get(" ".join(words), " ".join(words)))
        parents.append(int(parent))
    if len(set(names)) < len(names) or not names:
        raise TrainingError(f"{name}: expected classes, each of a name of its own; found {len(set(names))} names")
    try:
        WordTree(parents)
    except ValueError as error:
        raise TrainingError(f"{name}: {error}") from None
    return Tree(tuple(names), tuple(parents))


def join(dataset: Dataset, classified: Path, split: str) -> Dataset:
    """The dataset and, behind its pictures, those of another one that show one of its classes, it is not known where.

    Args:
        dataset: with boxes.
        classified: a folder of folders, one a class (ImageNet's form).
        split: of it; all of it where it is not split.

    Raises:
        DataError: no such dataset or split.
        TrainingError: none of its classes is one of the dataset's.
    """
    known = splits(classified)
    other = read(classified, known[0] if len(known) == 1 else split, names=dataset.names)
    shows = tuple(sample for sample in other.samples if len(sample.labels) and not len(sample))
    if not shows:
        raise TrainingError(f"{shown(str(classified))}: has no pictures of the classes that are trained")
    return replace(dataset, samples=(*dataset.samples, *shows), problems=(*dataset.problems, *other.problems))
