"""Darknet's cfg and weights -> one model file."""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from onelook import __version__, names
from onelook.errors import DarknetError, MissingDependencyError


def need_torch_half() -> None:
    """Raises MissingDependencyError where a package that converting needs is not installed."""
    for package in ("torch", "onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(
                f'{package} is not installed, and converting a Darknet model needs it; pip install "onelook[train]"'
            )


def convert(
    cfg: str | Path,
    weights: str | Path,
    output: str | Path | None = None,
    class_names: str | Path | Sequence[str] | None = None,
    size: int | tuple[int, int] | None = None,
    dynamic_size: bool = False,
    batch: int | None = None,
    resize: str | None = None,
    score_threshold: float = 0.25,
    iou_threshold: float = 0.45,
) -> Path:
    """Turn a Darknet detector into a model file.

    Args:
        cfg, weights: the two files.
        output: the model file; that of the weights with `.onnx` by default.
        class_names: "coco", "voc", a file of one name a line, or the names; "class 0", "class 1", ... by default.
        size: of the input, (height, width) or the side of a square; the cfg's by default.
        dynamic_size: let the file take every multiple of 32.
        batch: pictures a run; any number by default.
        resize: "letterbox" or "stretch"; YOLOv1 was trained on stretched pictures, so that is its default, and
            letterbox that of the others.
        score_threshold, iou_threshold: the defaults that go into the file, 0..1.

    Returns:
        The path of the model file.

    Raises:
        DarknetError: the files are no detector, or do not belong together.
        ModelError: the model file cannot be written.
        MissingDependencyError: torch or onnx is not installed.
    """
    need_torch_half()
    from onelook import darknet
    from onelook.export import export_detector

    description = darknet.read_cfg(cfg)
    network = darknet.Darknet(description, device="meta", size=size)
    if network.task != "detect":
        raise DarknetError(
            f"{cfg}: has no [yolo], [region] or [detection] layer, so it is no detector; onelook converts detectors"
        )
    if dynamic_size and network.fixed_size:
        raise DarknetError(f"{network.fixed_size.error('takes one size of input alone')}; drop --dynamic-size")
    labels = _labels(class_names, network.classes)
    if resize is None:
        resize = "stretch" if network.heads[0].kind == "detection" else "letterbox"
    elif resize not in ("letterbox", "stretch"):
        raise DarknetError(f"resize must be letterbox or stretch; found {resize!r}")
    darknet.load_weights(network, weights)
    origin = {
        "by": f"onelook {__version__}",
        "cfg": Path(cfg).name,
        "cfg_sha256": _sha256(cfg),
        "weights": Path(weights).name,
        "weights_sha256": _sha256(weights),
    }
    return export_detector(
        network,
        Path(weights).with_suffix(".onnx") if output is None else output,
        labels,
        network.size,
        dynamic_size=dynamic_size,
        batch=batch,
        resize=resize,
        sampling="darknet",
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        diou_beta=network.diou_beta,
        parameters=network.parameters_count,
        multiply_adds=network.multiply_adds,
        origin=origin,
    )


def _labels(class_names: str | Path | Sequence[str] | None, classes: int) -> tuple[str, ...]:
    if class_names is None:
        return tuple(f"class {i}" for i in range(classes))
    if class_names in ("coco", "voc"):
        labels = names.COCO if class_names == "coco" else names.VOC
    elif isinstance(class_names, str | Path):
        labels = names.read_names(class_names)
    else:
        labels = tuple(class_names)
    if len(labels) != classes:
        where = class_names if isinstance(class_names, str | Path) else "class_names"
        raise DarknetError(f"{where}: has {len(labels)} names; the network tells {classes} classes apart")
    return labels


def _sha256(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
