"""Trained networks of others, and checkpoints, into model files: what `onelook convert` does."""

import dataclasses
import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onelook import __version__
from onelook.errors import CheckpointError, DarknetError, Error, MissingDependencyError
from onelook.names import labels

if TYPE_CHECKING:
    from onelook.checkpoint import Checkpoint
    from onelook.darknet import Darknet

Source = str | Path | tuple[str | Path, str | Path]
Thresholds = tuple[float | None, float | None]
SCORE_THRESHOLD, IOU_THRESHOLD = 0.25, 0.45  # of a detector, unless asked otherwise
TRAINED_IOU_THRESHOLD = 0.6  # of one that onelook trained


TORCH_HALF = ("torch", "onnx", "onnxscript", "safetensors", "tflite")


def need_torch_half(why: str = "converting a model", packages: Sequence[str] = TORCH_HALF) -> None:
    """Raises MissingDependencyError where a package of the torch half is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(
                f'{package} is not installed, and {why} needs it; pip install "onelook[train]"'
            )


def convert(
    source: Source,
    output: str | Path | None = None,
    class_names: str | Path | Sequence[str] | None = None,
    size: int | tuple[int, int] | None = None,
    dynamic_size: bool = False,
    batch: int | None = None,
    resize: str | None = None,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    half: bool = False,
) -> Path:
    """Turn a trained network into a model file, or a classifier into a checkpoint.

    Args:
        source: a pair of paths, Darknet's cfg and weights; a classifier in TensorFlow Lite's format (.tflite,
            MobileNetV1 and V2); or a checkpoint of onelook's own (.safetensors), of a
            classifier or detector.
        output: the model file; that of the source (its weights) with `.onnx` by default. With `.safetensors` a
            checkpoint of one of `onelook.backbones` is written.
        class_names: "coco", "voc", "imagenet", a file of one name a line, or the names; by default those that came with
            the source, or else "class 0", "class 1", ...
        size: of the input, (height, width) or the side of a square; the source's by default.
        dynamic_size: let the file of a detector take every multiple of 32.
        batch: pictures a run; any number by default.
        resize: "letterbox", "stretch" or "crop". Detectors were trained on letterboxed pictures, but YOLOv1 on
            stretched ones; classifiers on crops.
        score_threshold, iou_threshold: the defaults that go into the file of a detector, 0..1; 0.25 and 0.45, but 0.6 of
            one that onelook trained, as it was measured with that.
        half: store the weights in half precision, in half the bytes; they are computed with in float32.

    Returns:
        The path of the output.

    Raises:
        DarknetError: the files are no network, or do not belong together.
        CheckpointError: the file cannot be read, or holds a network that is not imported.
        ModelError: the output cannot be written.
        Error: an option that the network does not have.
        MissingDependencyError: torch or onnx is not installed.
    """
    need_torch_half()
    if batch is not None and batch < 1:
        raise Error(f"batch must be 1 or more; found {batch}")
    if resize not in (None, "letterbox", "stretch", "crop"):
        raise Error(f"resize must be letterbox, stretch or crop; found {resize!r}")
    size = (size, size) if isinstance(size, int) else size
    if size is not None and len(size) != 2:
        raise Error(f"size must be a height and a width, or the side of a square; found {size}")
    weights = Path(source[1] if isinstance(source, tuple) else source)
    if not isinstance(source, tuple) and weights.suffix not in (".tflite", ".safetensors"):
        raise CheckpointError(
            f"{source}: expected a .tflite or .safetensors file, or two files: Darknet's .cfg and .weights"
        )
    output = weights.with_suffix(".onnx") if output is None else output
    thresholds = score_threshold, iou_threshold
    if isinstance(source, tuple):
        from onelook import darknet

        network = darknet.Darknet(source[0], device="meta", size=size)
        if network.task == "detect":
            return _detector(network, source, Path(output), class_names, dynamic_size, batch, resize, half, thresholds)
    elif _is_trained(Path(source)):
        return _trained(Path(source), Path(output), class_names, size, dynamic_size, batch, resize, half, thresholds)
    if dynamic_size or score_threshold is not None or iou_threshold is not None:
        raise Error("a dynamic size and thresholds are for detectors; this is none")
    if Path(output).suffix == ".safetensors" and (batch is not None or resize is not None or half):
        raise Error("batch, resize and half go into a model file; a checkpoint has none")
    if isinstance(source, tuple):
        return _darknet_classifier(network, source, Path(output), class_names, batch, resize, half)
    return _classifier(_read(Path(source)), Path(output), class_names, size, batch, resize, half)


def _is_trained(path: Path) -> bool:
    """Whether the file holds a detector that onelook trained."""
    if path.suffix != ".safetensors":
        return False
    from onelook.detectors.checkpoint import is_detector

    return is_detector(path)


def _read(path: Path) -> "Checkpoint":
    """A classifier from a file of its own."""
    if path.suffix == ".tflite":
        from onelook import tflite

        found = tflite.load(path)
        found.origin.update(_origin(tflite=path))
        return found
    from onelook import checkpoint

    return checkpoint.load(path)


def _detector(
    network: "Darknet",
    files: tuple[str | Path, str | Path],
    output: Path,
    class_names: str | Path | Sequence[str] | None,
    dynamic_size: bool,
    batch: int | None,
    resize: str | None,
    half: bool,
    thresholds: Thresholds,
) -> Path:
    from onelook import darknet
    from onelook.export import export_detector

    _check_detector(output, resize)
    if dynamic_size and network.fixed_size:
        raise DarknetError(f"{network.fixed_size.error('takes one size of input alone')}; drop --dynamic-size")
    names = labels(class_names, network.classes)
    darknet.load_weights(network, files[1])
    return export_detector(
        network,
        output,
        names,
        network.size,
        dynamic_size=dynamic_size,
        batch=batch,
        resize=resize or ("stretch" if network.heads[0].kind == "detection" else "letterbox"),
        sampling="darknet",
        score_threshold=SCORE_THRESHOLD if thresholds[0] is None else thresholds[0],
        iou_threshold=IOU_THRESHOLD if thresholds[1] is None else thresholds[1],
        diou_beta=network.diou_beta,
        parameters=network.parameters_count,
        multiply_adds=network.multiply_adds,
        half=half,
        origin=_origin(cfg=files[0], weights=files[1]),
    )


def _trained(
    path: Path,
    output: Path,
    class_names: str | Path | Sequence[str] | None,
    size: tuple[int, int] | None,
    dynamic_size: bool,
    batch: int | None,
    resize: str | None,
    half: bool,
    thresholds: Thresholds,
) -> Path:
    from onelook.backbones.backbone import check_sides
    from onelook.detectors import YoloV1, checkpoint
    from onelook.export import export_detector
    from onelook.nn.count import multiply_adds, numbers

    _check_detector(output, resize)
    about, network = checkpoint.load(path)
    check_sides(size or about.size)
    if isinstance(network, YoloV1) and (dynamic_size or size not in (None, about.size)):
        raise Error(f"{path}: YOLOv1 takes one size of input alone, {about.size[1]} x {about.size[0]}")
    return export_detector(
        network,
        output,
        about.names if class_names is None else labels(class_names, len(about.names)),
        size or about.size,
        dynamic_size=dynamic_size,
        batch=batch,
        resize=resize or about.resize,
        score_threshold=SCORE_THRESHOLD if thresholds[0] is None else thresholds[0],
        iou_threshold=TRAINED_IOU_THRESHOLD if thresholds[1] is None else thresholds[1],
        parameters=numbers(network).parameters,
        multiply_adds=multiply_adds(network, size or about.size),
        half=half,
        origin={**about.origin, **_origin(weights=path)},
    )


def _check_detector(output: Path, resize: str | None) -> None:
    if output.suffix == ".safetensors":
        raise Error(f"{output}: of a detector a model file is written; choose a name that ends in .onnx")
    if resize == "crop":
        raise Error("resize must be letterbox or stretch for a detector, as a crop hides what is at the edges")


def _darknet_classifier(
    network: "Darknet",
    files: tuple[str | Path, str | Path],
    output: Path,
    class_names: str | Path | Sequence[str] | None,
    batch: int | None,
    resize: str | None,
    half: bool,
) -> Path:
    """Any network that ends in a softmax becomes a model file; a checkpoint only one that is a backbone of ours."""
    from onelook import checkpoint, darknet
    from onelook.darknet import classifier
    from onelook.export import export_classifier

    if network.task != "classify":
        raise DarknetError(
            f"{files[0]}: ends with no [yolo], [region], [detection] or [softmax] layer, so it neither detects nor "
            f"classifies"
        )
    names = labels(class_names, network.classes)
    darknet.load_weights(network, files[1])
    origin = _origin(cfg=files[0], weights=files[1])
    if output.suffix == ".safetensors":
        found = classifier.checkpoint(network)
        return checkpoint.save(dataclasses.replace(found, names=names if class_names else None, origin=origin), output)
    return export_classifier(
        classifier.Probabilities(network),
        output,
        names,
        network.size,
        mean=(0.0, 0.0, 0.0),
        std=(255.0, 255.0, 255.0),
        batch=batch,
        resize=resize or "crop",
        parameters=network.parameters_count,
        multiply_adds=network.multiply_adds,
        half=half,
        origin=origin,
    )


def _classifier(
    found: "Checkpoint",
    output: Path,
    class_names: str | Path | Sequence[str] | None,
    size: tuple[int, int] | None,
    batch: int | None,
    resize: str | None,
    half: bool,
) -> Path:
    from torch import nn

    from onelook import checkpoint
    from onelook.export import export_classifier
    from onelook.nn.count import multiply_adds, numbers

    names = found.names if class_names is None else labels(class_names, found.classes)
    size = size or found.size
    found.network.check_size(size)
    if output.suffix == ".safetensors":
        return checkpoint.save(dataclasses.replace(found, names=names, size=size), output)
    return export_classifier(
        nn.Sequential(found.network, nn.Softmax(1)),
        output,
        names or labels(None, found.classes),
        size,
        mean=found.mean,
        std=found.std,
        batch=batch,
        resize=resize or "crop",
        crop=found.crop,
        parameters=numbers(found.network).parameters,
        multiply_adds=multiply_adds(found.network, size),
        half=half,
        origin={"by": f"onelook {__version__}", "network": found.name, **found.options, **found.origin},
    )


def _origin(**files: str | Path) -> dict[str, Any]:
    """Where a model comes from: by name and SHA-256 of its files."""
    origin = {"by": f"onelook {__version__}"}
    for kind, path in files.items():
        origin[kind] = Path(path).name
        with Path(path).open("rb") as file:
            origin[f"{kind}_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return origin
