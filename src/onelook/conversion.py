"""Trained networks of others, and checkpoints, into model files: what `onelook convert` does."""

import dataclasses
import hashlib
import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from onelook import __version__
from onelook.errors import CheckpointError, DarknetError, Error, MissingDependencyError
from onelook.names import labels

if TYPE_CHECKING:
    from onelook.checkpoint import Checkpoint
    from onelook.darknet import Darknet
    from onelook.detectors import Detector
    from onelook.export.int8 import Int8Report
    from onelook.segmenters import Segmenter
    from onelook.trained import Trained

Source = str | Path | tuple[str | Path, str | Path]
SCORE_THRESHOLD, IOU_THRESHOLD = 0.25, 0.45  # of a detector, unless asked otherwise
TRAINED_IOU_THRESHOLD = 0.5  # of one that onelook trained
# Networks that end in fully connected layers, need more than 32 pixels, or look at regions.
FIXED_SIZE = ("yolo_v1", "localizer", "ssd", "m2det", "fast_rcnn", "faster_rcnn", "mask_rcnn")


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
        source: a pair of paths, Darknet's cfg and weights; a network in TensorFlow Lite's format (.tflite): a classifier,
            MobileNetV1 or V2, or a DeepLabv3; or a checkpoint of onelook's own (.safetensors), of a classifier, detector
            or segmenter.
        output: the model file, no file of the source; that of the source (its weights) with `.onnx` by default. With
            `.safetensors` a checkpoint is written, of a classifier that is one of `onelook.backbones`, or of TensorFlow
            Lite's DeepLabv3.
        class_names: "coco", "voc", "imagenet", a file of one name a line, or the names; by default those that came with
            the source, or else "class 0", "class 1", ...
        size: of the input, (height, width) or the side of a square; the source's by default.
        dynamic_size: let the file of a detector take every multiple of 32; networks that cannot are refused.
        batch: pictures a run; any number by default.
        resize: "letterbox", "stretch" or "crop". By default as the network was trained: detectors of Darknet as
            `onelook.darknet.Darknet.letterboxed` says, others as their file does; classifiers on crops.
        score_threshold, iou_threshold: the defaults that go into the file of a detector, 0..1; 0.25 and 0.45, but 0.5 of
            one that onelook trained, as it was measured with that.
        half: store the weights in half precision, in half the bytes; they are computed with in float32.

    Returns:
        The path of the output.

    Raises:
        DarknetError: the files are no network, or do not belong together.
        CheckpointError: the file cannot be read, or holds a network that is not imported.
        ModelError: the output cannot be written.
        Error: an option that the network does not have; or the output is a file of the source.
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
    to = Path(weights.with_suffix(".onnx") if output is None else output)
    if weights.suffix != ".safetensors" or to.suffix != ".safetensors":  # a checkpoint may be written anew in its place
        _keep(source if isinstance(source, tuple) else (source,), to)
    wanted = _Wanted(to, class_names, size, dynamic_size, batch, resize, score_threshold, iou_threshold, half)
    if isinstance(source, tuple):
        return _darknet(source, wanted)
    if weights.suffix == ".tflite":
        return _tflite(weights, wanted)
    from onelook import trained

    if trained.is_trained(weights):
        return _trained(weights, wanted)
    from onelook import checkpoint

    return _classifier(checkpoint.load(weights), wanted)


def quantise(model_file: str | Path, pictures: Any, output: str | Path | None = None) -> "Int8Report":
    """Turn a model file in float into one in int8 with the same inputs, outputs and metadata.

    Args:
        model_file: what `convert` wrote.
        pictures: to calibrate with, as a detector takes them: a folder, or a list of files.
        output: the file to write, another one; that of the model with "-int8" at the end of its name by default.

    Raises:
        ModelError, SourceError, Error: as of `onelook.export.int8.quantise`; or the output is the model file.
        MissingDependencyError: torch or onnx is not installed.
    """
    need_torch_half("quantising a model")
    from onelook.export.int8 import quantise as quantise_file

    path = Path(model_file)
    to = path.with_name(f"{path.stem}-int8.onnx") if output is None else Path(output)
    _keep((path,), to)
    return quantise_file(path, pictures, to)


def _keep(sources: Iterable[str | Path], output: Path) -> None:
    """Raises Error where the output would take the place of a source."""
    for source in sources:
        if os.path.exists(source) and os.path.exists(output) and os.path.samefile(source, output):
            raise Error(f"{output}: is what is converted, and would be lost; choose another output")


class _Wanted(NamedTuple):
    """What the user wants of the output; see `convert`."""

    output: Path
    class_names: str | Path | Sequence[str] | None
    size: tuple[int, int] | None
    dynamic_size: bool
    batch: int | None
    resize: str | None
    score_threshold: float | None
    iou_threshold: float | None
    half: bool

    @property
    def is_checkpoint(self) -> bool:
        return self.output.suffix == ".safetensors"

    def check(self, task: str, checkpoint: bool) -> None:
        """Raises Error for what a model of that task does not have; `checkpoint`: whether it can be written as one."""
        if task != "detect" and (self.dynamic_size or {self.score_threshold, self.iou_threshold} != {None}):
            raise Error("a dynamic size and thresholds are for detectors; this is none")
        if self.is_checkpoint and not checkpoint:
            kind = "detector" if task == "detect" else "segmenter"
            raise Error(f"{self.output}: of a {kind} a model file is written; choose a name that ends in .onnx")
        if self.is_checkpoint and (self.batch is not None or self.resize is not None or self.half):
            raise Error("batch, resize and half go into a model file; a checkpoint has none")
        if task != "classify" and self.resize == "crop":
            raise Error(
                f"resize must be letterbox or stretch for a model to {task}, as a crop hides what is at the edges"
            )

    def thresholds(self, iou_threshold: float) -> dict[str, Any]:
        """Of a detector; that one unless asked otherwise."""
        return {
            "score_threshold": SCORE_THRESHOLD if self.score_threshold is None else self.score_threshold,
            "iou_threshold": iou_threshold if self.iou_threshold is None else self.iou_threshold,
        }


def _darknet(files: tuple[str | Path, str | Path], wanted: _Wanted) -> Path:
    from onelook import darknet

    network = darknet.Darknet(files[0], device="meta", size=wanted.size)
    if network.channels not in (1, 3):
        raise network.cfg.net.error(
            f"has 'channels' of {network.channels}; model files take pictures in colour, which 1 and 3 fit", "channels"
        )
    if network.task == "detect":
        return _darknet_detector(network, files, wanted)
    return _darknet_classifier(network, files, wanted)


def _darknet_detector(network: "Darknet", files: tuple[str | Path, str | Path], wanted: _Wanted) -> Path:
    from onelook import darknet
    from onelook.export import export_detector

    wanted.check("detect", checkpoint=False)
    if wanted.dynamic_size and network.fixed_size:
        raise DarknetError(f"{network.fixed_size.error('takes one size of input alone')}; drop --dynamic-size")
    if wanted.dynamic_size:
        try:
            darknet.Darknet(network.cfg, device="meta", size=(32, 96))
        except DarknetError as error:
            raise DarknetError(f"{error}, in a picture of 96 x 32; drop --dynamic-size") from None
    names = labels(wanted.class_names, network.classes)
    darknet.load_weights(network, files[1])
    return export_detector(
        network,
        wanted.output,
        names,
        network.size,
        dynamic_size=wanted.dynamic_size,
        batch=wanted.batch,
        resize=wanted.resize or ("letterbox" if network.letterboxed else "stretch"),
        sampling="darknet",
        diou_beta=network.diou_beta,
        parameters=network.parameters_count,
        multiply_adds=network.multiply_adds,
        half=wanted.half,
        origin=_origin(cfg=files[0], weights=files[1]),
        **wanted.thresholds(IOU_THRESHOLD),
    )


def _darknet_classifier(network: "Darknet", files: tuple[str | Path, str | Path], wanted: _Wanted) -> Path:
    """Any network that ends in a softmax becomes a model file; a checkpoint only one that is a backbone of ours."""
    from onelook import checkpoint, darknet
    from onelook.darknet import classifier
    from onelook.export import export_classifier

    wanted.check("classify", checkpoint=True)
    if network.task != "classify":
        raise DarknetError(
            f"{files[0]}: ends with no [yolo], [region], [detection] or [softmax] layer, so it neither detects nor "
            f"classifies"
        )
    names = labels(wanted.class_names, network.classes)
    darknet.load_weights(network, files[1])
    origin = _origin(cfg=files[0], weights=files[1])
    if wanted.is_checkpoint:
        found = classifier.checkpoint(network)
        named = names if wanted.class_names else None
        return checkpoint.save(dataclasses.replace(found, names=named, origin=origin), wanted.output)
    return export_classifier(
        classifier.Probabilities(network),
        wanted.output,
        names,
        network.size,
        mean=(0.0, 0.0, 0.0),
        std=(255.0, 255.0, 255.0),
        batch=wanted.batch,
        resize=wanted.resize or "crop",
        parameters=network.parameters_count,
        multiply_adds=network.multiply_adds,
        half=wanted.half,
        origin=origin,
    )


def _tflite(path: Path, wanted: _Wanted) -> Path:
    from onelook import tflite, trained
    from onelook.trained import Trained

    if not tflite.is_segmenter(path):
        found = tflite.load(path)
        found.origin.update(_origin(tflite=path))
        return _classifier(found, wanted)
    segmenter = tflite.load_segmenter(path)
    classes = segmenter.network.logits.out_channels
    names = segmenter.names if wanted.class_names is None else labels(wanted.class_names, classes)
    options = {"classes": classes, "backbone": "mobilenet_v2", "alpha": segmenter.alpha}
    about = Trained("deeplab_v3", options, names or labels(None, classes), segmenter.size, origin=_origin(tflite=path))
    if wanted.is_checkpoint:
        wanted.check("segment", checkpoint=True)
        return trained.save(about, segmenter.network.state_dict(), wanted.output)
    return _segmenter(about, segmenter.network, wanted)


def _trained(path: Path, wanted: _Wanted) -> Path:
    """A detector or segmenter that onelook trained."""
    from onelook import trained
    from onelook.export import export_detector
    from onelook.segmenters import DeepLabV3

    about, network = trained.load(path)
    about = dataclasses.replace(about, origin={**about.origin, **_origin(weights=path)})
    if wanted.class_names is not None:
        about = dataclasses.replace(about, names=labels(wanted.class_names, len(about.names)))
    if isinstance(network, DeepLabV3):
        return _segmenter(about, network, wanted)
    wanted.check("detect", checkpoint=False)
    network.check_size(wanted.size or about.size)
    if wanted.dynamic_size and about.name in FIXED_SIZE:
        raise Error(f"{path}: {about.name} takes one size of input alone, {about.size[1]} x {about.size[0]}")
    return export_detector(
        network,
        dynamic_size=wanted.dynamic_size,
        **_common(about, network, wanted),
        **wanted.thresholds(TRAINED_IOU_THRESHOLD),
    )


def _segmenter(about: "Trained", network: "Segmenter", wanted: _Wanted) -> Path:
    from onelook.export import export_segmenter

    wanted.check("segment", checkpoint=False)
    network.check_size(wanted.size or about.size)
    return export_segmenter(network, **_common(about, network, wanted))


def _common(about: "Trained", network: "Detector | Segmenter", wanted: _Wanted) -> dict[str, Any]:
    """Arguments of the exports of trained networks."""
    from onelook.nn.count import multiply_adds, numbers

    size = wanted.size or about.size
    return {
        "path": wanted.output,
        "names": about.names,
        "size": size,
        "batch": wanted.batch,
        "resize": wanted.resize or about.resize,
        "parameters": numbers(network).parameters,
        "multiply_adds": multiply_adds(network, size),
        "half": wanted.half,
        "origin": about.origin,
    }


def _classifier(found: "Checkpoint", wanted: _Wanted) -> Path:
    from torch import nn

    from onelook import checkpoint
    from onelook.export import export_classifier
    from onelook.nn.count import multiply_adds, numbers

    wanted.check("classify", checkpoint=True)
    names = found.names if wanted.class_names is None else labels(wanted.class_names, found.classes)
    size = wanted.size or found.size
    found.network.check_size(size)
    if wanted.is_checkpoint:
        return checkpoint.save(dataclasses.replace(found, names=names, size=size), wanted.output)
    return export_classifier(
        nn.Sequential(found.network, nn.Softmax(1)),
        wanted.output,
        names or labels(None, found.classes),
        size,
        mean=found.mean,
        std=found.std,
        batch=wanted.batch,
        resize=wanted.resize or "crop",
        crop=found.crop,
        parameters=numbers(found.network).parameters,
        multiply_adds=multiply_adds(found.network, size),
        half=wanted.half,
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
