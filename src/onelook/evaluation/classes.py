"""Which class of a model is which of a dataset: by name, never by guess."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onelook.data.reading import renumbered
from onelook.data.sample import Dataset
from onelook.errors import Error
from onelook.metrics.segmentation import IGNORE as UNDECIDED
from onelook.names import BACKGROUND, COCO_CATEGORY_IDS, category_ids, darknet_spelling, imagenet
from onelook.runtime.picture import shown

UNLABELED = "unlabeled"  # COCO's name for pixels that nobody has looked at


def match_classes(model: Sequence[str], dataset: Sequence[str], ids: Sequence[str] = ()) -> NDArray[np.int64]:
    """[M] the dataset's class of each class of the model, -1 where it has none.

    The names must be the same, letter by letter. Two exceptions are facts, not guesses: the eighty classes of COCO in
    Darknet's spelling are those in COCO's own, and ImageNet's classes go by their WordNet ids, as some share a name.

    Args:
        model: the names of the model's classes.
        dataset: those of the dataset's.
        ids: what the dataset's files call them; see `onelook.data.Dataset`.

    Raises:
        Error: no class of one is a class of the other.
    """
    known, sought = (_imagenet(model), _imagenet(dataset, ids))
    if known is None or sought is None:
        known, sought = _coco(model), _coco(dataset)
    if known is None or sought is None:
        known, sought = model, dataset
    places = {key: i for i, key in enumerate(sought)}
    matched = np.array([places.get(key, -1) for key in known], np.int64)
    if not (matched >= 0).any():
        raise Error(
            f"no class of the model is one of the dataset's: it has {_some(model)}; the dataset {_some(dataset)}"
        )
    return matched


def match_class_maps(model: Sequence[str], maps: Sequence[str]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Which class of a segmenter each number in a dataset's class maps is.

    Args:
        model: the names of the model's classes.
        maps: those of the numbers, from 0 on.

    Returns:
        [256], and a line on what the model does not know. That is background to a model that has such a class, else it is
        not counted, as "unlabeled" and numbers without a name are not.

    Raises:
        Error: no class of one is a class of the other.
    """
    number = {darknet_spelling(name): i for i, name in enumerate(model)}
    rest = number.get(BACKGROUND, UNDECIDED)
    table = np.full(256, UNDECIDED, np.uint8)
    table[: len(maps)] = [UNDECIDED if name == UNLABELED else number.get(darknet_spelling(name), rest) for name in maps]
    unknown = [name for name in maps if darknet_spelling(name) not in number and name != UNLABELED]
    if len(unknown) == len(maps):
        raise Error(f"no class of the model is one of the maps': it has {_some(model)}; the maps {_some(maps)}")
    taken = "not counted" if rest == UNDECIDED else "taken for background"
    notes = (f"the model does not know {len(unknown)} classes of the maps, {taken}: {_some(unknown)}",)
    return table, notes if unknown else ()


def common_classes(model: Sequence[str], dataset: Dataset) -> tuple[NDArray[np.int64], Dataset, tuple[str, ...]]:
    """What a model and a dataset have in common.

    Returns:
        The dataset's class of each class of the model [M], -1 where it has none; the dataset without the classes that the
        model does not know, their objects and labels; and a line for each side on what is left out.

    Raises:
        Error: no class in common.
    """
    matched = match_classes(model, dataset.names, dataset.ids)
    kept = np.unique(matched[matched >= 0])
    extra = [name for name, place in zip(model, matched, strict=True) if place < 0 and name != BACKGROUND]
    notes = [f"{len(extra)} classes of the model are not in the dataset, left out: {_some(extra)}"] if extra else []
    if len(kept) < len(dataset.names):
        unknown = [name for i, name in enumerate(dataset.names) if i not in kept]
        notes.append(f"the model does not know {len(unknown)} classes of the dataset, left out: {_some(unknown)}")
        place = np.full(len(dataset.names) + 1, -1)  # the last for what has no class
        place[kept] = np.arange(len(kept))
        matched = place[matched]
        dataset = renumbered(dataset, place[:-1], tuple(dataset.names[old] for old in kept))
    return matched, dataset, tuple(notes)


def _imagenet(names: Sequence[str], ids: Sequence[str] = ()) -> Sequence[object] | None:
    """The WordNet ids of the classes; None where they are not ImageNet's."""
    known = imagenet()
    if ids:
        return ids if all(id_ in known for id_ in ids) else None
    if tuple(names) == tuple(known.values()):
        return tuple(known)
    return (BACKGROUND, *known) if tuple(names) == (BACKGROUND, *known.values()) else None


def _coco(names: Sequence[str]) -> Sequence[object] | None:
    """COCO's category ids of the classes; None where they are not its eighty."""
    ids = category_ids(names)
    return ids if set(ids) == set(COCO_CATEGORY_IDS) else None


def _some(names: Sequence[str]) -> str:
    more = f", ... ({len(names)})" if len(names) > 5 else ""
    return ", ".join(repr(shown(name)[:40]) for name in names[:5]) + more
