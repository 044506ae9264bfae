"""Models by name: a catalogue of public detectors and classifiers, and their files in a cache."""

from pathlib import Path

from onelook.zoo.cache import cache_directory, is_complete
from onelook.zoo.catalogue import CATALOGUE, EMBEDDED, Published, PublishedTop, RemoteFile, ZooModel, find

__all__ = [
    "CATALOGUE",
    "EMBEDDED",
    "Published",
    "PublishedTop",
    "RemoteFile",
    "ZooModel",
    "at_hand",
    "cache_directory",
    "fetch",
    "find",
]


def at_hand(name: str) -> bool:
    """Whether all files of a model are in the cache."""
    model = find(name)
    return all(is_complete(file, cache_directory() / model.name / file.name) for file in model.files)


def fetch(name: str, progress: bool = True) -> tuple[Path, ...]:
    """The files of a model of the zoo, from the cache; what is missing is downloaded first.

    They lie in `cache_directory() / model.name` under the names they have upstream, and may be put there by hand. A
    file of the right size is taken as it is: its SHA-256 was checked when it was downloaded, and to check 250 MB at
    every start would take longer than the start. One of another size is replaced.

    Args:
        name: see `find`.
        progress: show a progress bar on stderr while downloading, if that is a terminal.

    Raises:
        ZooError: an unknown name, or a download that failed (see `download`).
    """
    model = find(name)
    folder = cache_directory() / model.name
    paths = tuple(folder / file.name for file in model.files)
    for file, path in zip(model.files, paths, strict=True):
        if not is_complete(file, path):
            from onelook.zoo.download import download  # urllib and ssl, which a start from the cache does without

            download(file, path, progress)
    return paths
