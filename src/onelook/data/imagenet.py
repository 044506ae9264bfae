"""ImageNet: a folder of pictures a class, and any other such set (Russakovsky et al., 2015, arXiv:1409.0575).

train/n01440764/n01440764_10026.JPEG    val/n01440764/ILSVRC2012_val_00000293.JPEG
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onelook.data.files import Problems, folders, listing, still, why
from onelook.data.header import try_size
from onelook.data.placing import Placer, missing_note, plain
from onelook.data.sample import Dataset, Sample
from onelook.errors import DataError, SourceError
from onelook.names import imagenet
from onelook.runtime.picture import shown

FORMAT = "imagenet"
HOLDS = frozenset({"labels"})


def splits(path: Path) -> tuple[str, ...]:
    """The names of the splits; none where it is no folder of this format."""
    return tuple(_roots(path))


def read(path: Path, split: str) -> Dataset:
    """One split of it. The classes are the folders of all splits; WordNet ids, in their order, become ImageNet's names.

    Without folders, a picture's name begins with the id.
    """
    problems = Problems(path)
    images = {name: _images(root) for name, root in _roots(path).items()}
    own = still(images, split, path)
    ids = sorted({class_ for classes in images.values() for class_ in classes})
    samples = []
    for number, class_ in enumerate(ids):
        label = np.array([number], np.int64)
        for image in own.get(class_, ()):
            size = try_size(image)
            if isinstance(size, SourceError):
                problems.add(image, None, why(size, image), "unreadable")
            else:
                samples.append(Sample(image, *size, labels=label))
    known = imagenet()
    names = tuple(known.get(class_, class_) for class_ in ids)
    return Dataset(path, FORMAT, split, names, tuple(samples), tuple(problems), ids=tuple(ids))


def _roots(path: Path) -> dict[str, Path]:
    """The folder of each split."""
    below = folders(path)
    if any(map(listing, below)) or any(map(_wordnet_id, listing(path))):
        return {"all": path}
    return {folder.name: folder for folder in below if any(map(listing, folders(folder)))}


def _images(root: Path) -> dict[str, list[Path]]:
    """The pictures of each class."""
    found = {folder.name: [folder / name for name in listing(folder)] for folder in folders(root)}
    for name in listing(root):
        if class_ := _wordnet_id(name):
            found.setdefault(class_, []).append(root / name)
    return {class_: images for class_, images in found.items() if images}


def _wordnet_id(name: str) -> str:
    found = re.match(r"n\d{8}(?=_)", name)
    return found[0] if found else ""


def write(datasets: Sequence[Dataset], path: Path) -> list[str]:
    """Writes the splits into an empty folder; says what could not be, a line each.

    Raises:
        DataError: a class has a name that no folder can have.
    """
    placers = []
    folder_names = _folder_names(datasets[0])
    others = 0
    for dataset in datasets:
        own: dict[int, list[Sample]] = {}
        for sample in dataset.samples:
            if len(sample.labels) == 1:
                own.setdefault(int(sample.labels[0]), []).append(sample)
        for class_, samples in sorted(own.items()):
            placers.append(Placer(path / dataset.split / folder_names[class_]))
            placers[-1].place(tuple(samples))
        others += sum(len(sample.labels) != 1 for sample in dataset.samples)
    notes = (
        [f"imagenet has one class a picture: {others} pictures that have none or several are left out"]
        if others
        else []
    )
    return notes + missing_note(*placers)


def _folder_names(dataset: Dataset) -> tuple[str, ...]:
    """The WordNet ids of ImageNet's classes; the names of others."""
    names = dataset.ids if dataset.format == FORMAT and dataset.ids else tuple(map(plain, dataset.names))
    wordnet = {name: id_ for id_, name in imagenet().items()}
    names = tuple(wordnet.get(name, name) for name in names)
    for name, times in Counter(names).items():
        if "/" in name or name.startswith(".") or len(name.encode()) > 255:
            raise DataError(f"class {shown(name[:64])}: no folder can have that name, and ImageNet's format needs one")
        if times > 1:
            raise DataError(
                f"class {shown(name[:64])}: {times} classes have that name, and ImageNet's format needs others"
            )
    return names
