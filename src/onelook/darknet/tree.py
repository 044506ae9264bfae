"""Darknet's tree files: one class a line, its WordNet id and the number of its parent (-1 for a root)."""

import os
from pathlib import Path

from onelook.darknet.cfg import Section
from onelook.nn.wordtree import WordTree

MAX_BYTES = 1 << 24


def read_tree(section: Section, classes: int) -> WordTree:
    """The file that a section's option `tree` names, beside the cfg or where Darknet would look for it.

    Raises:
        DarknetError: it is not there, malformed, or not of `classes` classes.
    """
    name = section.text("tree", "")
    places = [section.path.parent / name, section.path.parent / Path(name).name, Path(name)]
    path = next((place for place in places if os.path.isfile(place)), None)
    if path is None or not name.isprintable():
        raise section.error(f"needs the tree file {name[:200]!r}; put it beside {section.path}", "tree")
    try:
        with path.open("rb") as file:
            lines = file.read(MAX_BYTES).decode("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise section.error(f"cannot read the tree file {name[:200]!r}: {error.strerror}", "tree") from None
    parents = []
    for number, line in enumerate(filter(str.strip, lines), start=1):
        words = line.split()
        try:
            parents.append(int(words[1]))
        except (IndexError, ValueError):
            raise section.error(f"{path}:{number}: expected 'id parent'; found {line[:40]!r}", "tree") from None
    if len(parents) != classes:
        raise section.error(f"has {classes} classes; its tree {path} has {len(parents)}", "tree")
    try:
        return WordTree(parents)
    except ValueError as error:
        raise section.error(f"{path}: {error}", "tree") from None
