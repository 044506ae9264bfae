"""`onelook.load`: a detector from a model file, a name of the zoo, or Darknet's two files."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from onelook import zoo
from onelook.conversion import convert, need_torch_half
from onelook.errors import ModelError
from onelook.runtime.detector import Detector

DEFAULT_MODEL = "yolo-fastest-1.1-xl"


def load(
    model: str | Path | tuple[str | Path, str | Path] = DEFAULT_MODEL,
    class_names: str | Path | Sequence[str] | None = None,
    engine: str = "auto",
    threads: int | None = None,
    streams: int = 1,
    precision: str = "float32",
) -> Detector:
    """Load a detector.

    Args:
        model: the path of a model file; a name that `onelook models` lists, downloaded and converted at first use; or
            the paths of a Darknet cfg and its weights, converted at first use. Conversions are kept in the cache.
        class_names: for a cfg and weights: "coco", "voc", a file of one name a line, or the names.
        engine, threads, streams, precision: as of `Detector`.

    Raises:
        ModelError: no such model file, or not one of onelook's.
        DarknetError: a cfg or weights that cannot be read.
        ZooError: an unknown name, or a download that failed.
        MissingDependencyError: a conversion or engine needs a package that is not installed.
    """
    return Detector(_model_file(model, class_names), engine, threads, streams, precision)


def _model_file(
    model: str | Path | tuple[str | Path, str | Path], class_names: str | Path | Sequence[str] | None
) -> Path:
    if isinstance(model, tuple | list):
        if len(model) != 2:
            raise ModelError(f"expected a cfg and its weights; found {len(model)} files")
        return _converted(Path(model[0]), Path(model[1]), class_names)
    if str(model) in zoo.CATALOGUE and not Path(model).exists():
        entry = zoo.find(str(model))
        cached = zoo.cache_directory() / entry.name / "model.onnx"
        if not cached.exists():
            need_torch_half()  # before anything is downloaded
            cfg, weights = zoo.fetch(entry.name)
            convert(cfg, weights, cached, entry.classes)
        return cached
    path = Path(model)
    if path.suffix in (".cfg", ".weights"):
        raise ModelError(f"{path}: a Darknet model is two files; load(({path.with_suffix('.cfg').name!r}, "
                         f"{path.with_suffix('.weights').name!r}))")  # fmt: skip
    if not path.exists() and path.suffix != ".onnx":
        zoo.find(str(model))  # says which names are close
    return path


def _converted(cfg: Path, weights: Path, class_names: str | Path | Sequence[str] | None) -> Path:
    """The model file of a cfg and weights in the cache, under a name that follows from their contents."""
    digest = hashlib.sha256(repr(class_names).encode())
    for path in (cfg, weights):
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    cached = zoo.cache_directory() / "converted" / f"{digest.hexdigest()[:32]}.onnx"
    if not cached.exists():
        convert(cfg, weights, cached, class_names)
    return cached
