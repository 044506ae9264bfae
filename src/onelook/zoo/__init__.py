"""Models by name: a catalogue of public Darknet detectors, and their files in a cache."""

from pathlib import Path

from onelook.zoo.cache import cache_directory, is_complete
from onelook.zoo.catalogue import CATALOGUE, Published, RemoteFile, ZooModel, find

__all__ = ["CATALOGUE", "Published", "RemoteFile", "ZooModel", "cache_directory", "fetch", "find"]


def fetch(name: str, progress: bool = True) -> tuple[Path, Path]:
    """The cfg and the weights of a model of the zoo, from the cache; what is missing is downloaded first.

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
    paths = folder / model.cfg.name, folder / model.weights.name
    for file, path in zip((model.cfg, model.weights), paths, strict=True):
        if not is_complete(file, path):
            from onelook.zoo.download import download  # urllib and ssl, which a start from the cache does without

            download(file, path, progress)
    return paths
