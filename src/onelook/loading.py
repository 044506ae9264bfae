"""`onelook.load`: a model that runs, from a model file, a name of the zoo, or files that are converted first."""

import hashlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from onelook import __version__, zoo
from onelook.conversion import Source, convert, need_torch_half
from onelook.errors import ModelError, ZooError
from onelook.runtime.choice import open_faster
from onelook.runtime.classifier import Classifier
from onelook.runtime.detector import Detector
from onelook.runtime.model import check_threads
from onelook.runtime.segmenter import Segmenter

DEFAULT_MODEL = "helmets"
DEFAULT_CLASSIFIER = "mobilenet_v2_1.0_224"
KINDS: dict[str, type[Detector | Classifier | Segmenter]] = {
    kind.task: kind for kind in (Detector, Classifier, Segmenter)
}
CONVERTED = (".tflite", ".safetensors")  # suffixes of files that hold a whole model
# Parts of the package that have no share in a conversion, so that a change of theirs leaves the converted files valid.
APART = frozenset({"benchmarking", "cli", "data", "evaluation", "metrics", "scale", "serve", "training"})


def load(
    model: Source = DEFAULT_MODEL,
    class_names: str | Path | Sequence[str] | None = None,
    engine: str = "auto",
    threads: int | None = None,
    streams: int = 1,
    precision: str = "float32",
) -> Detector | Classifier | Segmenter:
    """Load a model: a `Detector`, or a `Classifier` or `Segmenter` where the file says so.

    Args:
        model: the path of a model file; "helmets", which comes with onelook; another name that `onelook models` lists, in
            upper or lower case, downloaded and converted at first use; or the path of a .tflite or .safetensors file, or
            those of a Darknet cfg and its weights, converted at first use. Conversions are kept in the cache, and made anew
            once the code that makes them has changed.
        class_names: for what is converted: "coco", "voc", "imagenet", a file of one name a line, or the names.
        engine, threads, streams, precision: as of `onelook.runtime.model.Model`. With the engine "auto", and as many
            `streams` as threads, both engines are timed at first use where both are installed, which takes one to two
            seconds, and the faster is remembered in the cache; see `onelook.runtime.choice`.

    Raises:
        ModelError: no such model file, or not one of onelook's.
        DarknetError, CheckpointError: a file to convert that cannot be read.
        ZooError: an unknown name, or a download that failed.
        MissingDependencyError: a conversion or engine needs a package that is not installed.
    """
    path = model_file(model, class_names)
    check_threads(threads)
    try:
        memory = zoo.cache_directory() / "engines"
    except ZooError:
        memory = None
    session = open_faster(memory, path, engine, threads, streams, precision)
    chosen = session.engine.partition(" ")[0]
    return KINDS[session.info.task](path, chosen, threads, streams, precision, session)


def model_file(model: Source, class_names: str | Path | Sequence[str] | None = None) -> Path:
    """The model file that `load` loads, converted where that is needed."""
    if isinstance(model, tuple | list):
        if len(model) != 2:
            raise ModelError(f"expected a cfg and its weights; found {len(model)} files")
        return _converted((Path(model[0]), Path(model[1])), class_names)
    name, is_there = str(model).lower(), os.path.isfile(model)  # a folder of pictures may be called helmets, too
    if name in zoo.EMBEDDED and not is_there:
        return zoo.EMBEDDED[name]
    if name in zoo.CATALOGUE and not is_there:
        entry = zoo.CATALOGUE[name]
        cached = zoo.cache_directory() / "converted" / f"{entry.name}-{_converter()}.onnx"
        if not cached.exists():
            need_torch_half()  # before anything is downloaded
            files = zoo.fetch(entry.name)
            convert(files[0] if len(files) == 1 else (files[0], files[1]), cached, entry.classes)
        return cached
    path = Path(model)
    if path.suffix in CONVERTED:
        return _converted((path,), class_names)
    if path.suffix in (".cfg", ".weights"):
        raise ModelError(f"{path}: a Darknet model is two files; load(({path.with_suffix('.cfg').name!r}, "
                         f"{path.with_suffix('.weights').name!r}))")  # fmt: skip
    if os.path.isdir(path):
        raise ModelError(f"{path}: is a folder; expected a model file, as {path / 'best.onnx'}")
    if not is_there and path.suffix != ".onnx":
        zoo.find(str(model))  # says which names are close
    return path


def _converted(files: tuple[Path, ...], class_names: str | Path | Sequence[str] | None) -> Path:
    """The model file of others' files in the cache, under a name that follows from their contents."""
    digest = hashlib.sha256(f"{_converter()} {class_names!r}".encode())
    names = (Path(class_names),) if isinstance(class_names, str | Path) and os.path.isfile(class_names) else ()
    for path in (*files, *names):
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    cached = zoo.cache_directory() / "converted" / f"{digest.hexdigest()[:32]}.onnx"
    if not cached.exists():
        convert(files[0] if len(files) == 1 else (files[0], files[1]), cached, class_names)
    return cached


@cache
def _converter() -> str:
    """A digest of the code that converts and of the names of classes, as whoever mends them may forget a number: 3 ms.

    The version stands for the code where its text is not installed.
    """
    digest = hashlib.sha256(__version__.encode())
    package = Path(__file__).parent
    for path in sorted((*package.rglob("*.py"), *package.rglob("*.tsv"))):
        if path.relative_to(package).parts[0] not in APART:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
