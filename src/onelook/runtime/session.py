"""Engines that run a model file. Both take and give the same arrays; `open_session` picks one."""

import importlib.util
import json
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onelook.errors import MissingDependencyError, ModelError
from onelook.runtime.picture import shown
from onelook.runtime.resize import RESIZES, SAMPLINGS

ENGINES = ("auto", "onnxruntime", "openvino")
PRECISIONS = ("float32", "fastest")
_PRECISION_NAMES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}  # as OpenVINO calls them
FORMAT = "onelook/1"
LARGEST_SIDE = 1 << 14  # pixels of an input
INPUTS = {  # by the task
    "detect": ("image", "score_threshold", "iou_threshold"),
    "classify": ("image",),
    "segment": ("image",),
}
OUTPUTS = {
    "detect": ("boxes", "scores", "classes", "batch_index"),
    "classify": ("probabilities",),
    "segment": ("mask",),
}
MASKS = "masks"  # one more output, of a detector that says which pixels belong to each object
PROPOSALS = "proposals"  # one more input, of a detector that looks at regions that others propose: float32 [B, P, 4]
MOST_PROPOSALS = 1 << 14
METADATA = (
    "format", "task", "names", "size", "resize", "crop", "sampling", "score_threshold", "iou_threshold", "parameters",
    "multiply_adds", "origin",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model file says of itself.

    Attributes:
        path: the file.
        task: "detect", "classify" or "segment".
        names: of the classes.
        size: height and width of the input, pixels; those to take where `dynamic_size`.
        dynamic_size: other sizes, multiples of 32, are taken too.
        batch: pictures a run; None where any number is taken.
        resize, crop, sampling: how a picture becomes the input; see `onelook.runtime.resize.place`.
        score_threshold, iou_threshold: the defaults, of a detector.
        parameters, multiply_adds: of the network, at `size`; of an R-CNN without the multiply-adds for each region.
        origin: where it comes from.
        masks: of a detector: it gives the mask of each object too.
        proposals: of a detector: regions of a picture that it is given, at most, by selective search; 0 for others.
    """

    path: Path
    task: str
    names: tuple[str, ...]
    size: tuple[int, int]
    dynamic_size: bool
    batch: int | None
    resize: str
    crop: float
    sampling: str
    score_threshold: float
    iou_threshold: float
    parameters: int
    multiply_adds: int
    origin: dict[str, Any]
    masks: bool
    proposals: int

    @property
    def outputs(self) -> list[str]:
        """The names of what `Session.run` gives."""
        return [*OUTPUTS[self.task], MASKS] if self.masks else list(OUTPUTS[self.task])

    @property
    def thresholds(self) -> tuple[float, ...]:
        """What `Session.run` takes besides pictures, by default: score and IoU of a detector, nothing of others."""
        return (self.score_threshold, self.iou_threshold) if self.task == "detect" else ()


class Session(Protocol):
    """A model file, loaded. `run` may be called from as many threads at once as `streams` said."""

    info: ModelInfo
    engine: str

    def run(self, images: NDArray[np.uint8], *thresholds: float) -> list[NDArray[Any]]:
        """One run of the model.

        Args:
            images: uint8 RGB [B, H, W, 3].
            thresholds: of a detector: score and IoU, 0..1.

        Returns:
            Of a detector: boxes [N, 4], scores [N], classes [N], batch_index [N], and of some masks [N, H, W]; of a
            classifier: probabilities [B, C]; of a segmenter: mask [B, H, W].
        """


class OnnxRuntimeSession:
    """ONNX Runtime, on the GPU where its CUDA build finds one."""

    def __init__(self, path: Path, threads: int, streams: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = max(1, threads // streams)
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in _providers()]
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=providers)
            inputs = {value.name: list(value.shape) for value in self._session.get_inputs()}
            outputs = {value.name for value in self._session.get_outputs()}
            metadata = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime has no common base class for its errors; names that are no UTF-8 too
            raise ModelError(f"{path}: is not a model that ONNX Runtime can run: {_line(error)}") from None
        self.info = _info(path, metadata, inputs, outputs)
        self.engine = f"onnxruntime ({self._session.get_providers()[0].removesuffix('ExecutionProvider')})"

    def run(self, images: NDArray[np.uint8], *thresholds: float) -> list[NDArray[Any]]:
        """See `Session`."""
        feed = feed_of(self.info, images, thresholds)
        try:
            found: list[NDArray[Any]] = self._session.run(self.info.outputs, feed)
        except Exception as error:
            raise ModelError(f"{self.info.path}: ONNX Runtime cannot run it: {_line(error)}") from None
        return found


class OpenVinoSession:
    """OpenVINO, in float32 or in what it finds fastest: bfloat16 on processors that have instructions for it."""

    def __init__(self, path: Path, threads: int, streams: int, precision: str):
        import openvino

        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams}
        if precision == "float32":
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            model = openvino.Core().read_model(path)
            self._compiled = openvino.compile_model(model, "CPU", settings)
        except Exception as error:  # a RuntimeError of many lines
            raise ModelError(f"{path}: is not a model that OpenVINO can run: {_line(error)}") from None
        metadata = {
            key: model.get_rt_info(["framework", key]).astype(str)
            for key in METADATA
            if model.has_rt_info(["framework", key])
        }
        inputs = {
            value.any_name: [side.get_length() if side.is_static else None for side in value.partial_shape]
            for value in model.inputs
        }
        self.info = _info(path, metadata, inputs, {value.any_name for value in model.outputs})
        self._requests = threading.local()
        # The first array that comes out of OpenVINO sets up its tie to NumPy; two threads that do so at once can wait
        # for each other for ever.
        openvino.Tensor(np.zeros(1, np.float32)).data.sum()
        kind = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.engine = f"openvino ({_PRECISION_NAMES.get(kind, kind)})"

    def run(self, images: NDArray[np.uint8], *thresholds: float) -> list[NDArray[Any]]:
        """See `Session`."""
        if not hasattr(self._requests, "request"):
            self._requests.request = self._compiled.create_infer_request()
        request = self._requests.request
        feed = feed_of(self.info, images, thresholds)
        try:
            request.infer(feed)
        except Exception as error:
            raise ModelError(f"{self.info.path}: OpenVINO cannot run it: {_line(error)}") from None
        return [request.get_tensor(name).data.copy() for name in self.info.outputs]


def open_session(
    path: str | Path,
    engine: str = "auto",
    threads: int | None = None,
    streams: int = 1,
    precision: str = "float32",
) -> Session:
    """Load a model file.

    Args:
        path: of the file.
        engine: "onnxruntime", "openvino", or "auto": OpenVINO where it is installed and `precision` is "fastest", else
            ONNX Runtime, which in float32 is about as fast and starts sooner, and has CUDA. `onelook.load` measures
            which is faster; see `onelook.runtime.choice`.
        threads: of the processor to use in all; all of them by default.
        streams: threads that will call `run` at once; they share `threads`.
        precision: "float32", or "fastest": the engine may reckon with fewer digits where that is faster, which moves
            boxes by parts of a pixel and scores by about 0.01. OpenVINO does so on processors with bfloat16.

    Raises:
        ModelError: no such file, or not a model file of onelook's; no such engine or precision.
        MissingDependencyError: the engine is not installed, or scikit-image for a model that takes proposals.
    """
    path = Path(path)
    if engine not in ENGINES:
        raise ModelError(f"engine {engine!r} is unknown; choose one of {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise ModelError(f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    if not os.path.isfile(path):
        raise ModelError(f"{path}: there is no such model file")
    has_openvino = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" and not has_openvino:
        raise MissingDependencyError('the engine openvino is not installed; pip install "onelook[openvino]"')
    if engine == "auto":
        engine = "openvino" if has_openvino and not has_cuda() and precision == "fastest" else "onnxruntime"
    threads = threads or processors()
    session: Session
    if engine == "openvino":
        session = OpenVinoSession(path, threads, streams, precision)
    else:
        session = OnnxRuntimeSession(path, threads, streams)
    if session.info.proposals and importlib.util.find_spec("skimage") is None:
        raise MissingDependencyError(
            f'{path}: looks at regions of selective search, which needs scikit-image; pip install "onelook[rcnn]"'
        )
    return session


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_cuda() -> bool:
    """Whether ONNX Runtime is installed in its build for GPUs."""
    return "CUDAExecutionProvider" in _providers()


def feed_of(info: ModelInfo, images: NDArray[np.uint8], thresholds: Sequence[float]) -> dict[str, NDArray[Any]]:
    """The inputs of a model file by name, of what `Session.run` takes."""
    values = (np.asarray(value, np.float32) for value in thresholds)
    feed: dict[str, NDArray[Any]] = dict(zip(INPUTS[info.task], (images, *values), strict=True))
    if info.proposals:
        from onelook.runtime.selective_search import selective_search  # which few models need

        feed[PROPOSALS] = np.zeros((len(images), info.proposals, 4), np.float32)
        for rows, image in zip(feed[PROPOSALS], images, strict=True):
            found = selective_search(image)[: info.proposals]
            rows[: len(found)] = found
    return feed


def _providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _line(error: Exception) -> str:
    """What an engine says is wrong, on one line: ONNX Runtime's words without their number, OpenVINO's last line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    found = re.fullmatch(r"\[ONNXRuntimeError\] : \d+ : \w+ : (.+)", " ".join(" ".join(lines).split()))
    return shown((found[1] if found else lines[-1].strip())[:200])


def _info(path: Path, metadata: dict[str, str], inputs: dict[str, list[Any]], outputs: set[str]) -> ModelInfo:
    """From metadata, names and shapes of the inputs (where other than an int means any), and names of the outputs."""
    found = metadata.get("format")
    if found != FORMAT:
        raise ModelError(
            f"{path}: is not a model file of onelook's format {FORMAT!r}, it has {found!r}; make one with 'onelook convert'"
        )
    task = metadata.get("task", "")
    if task not in INPUTS:
        raise ModelError(f"{path}: is for the task {task!r}; this version knows {', '.join(INPUTS)}")
    proposals = inputs.pop(PROPOSALS, None) if task == "detect" else None
    if set(inputs) != set(INPUTS[task]) or not outputs.issuperset(OUTPUTS[task]) or len(inputs["image"]) != 4:
        raise ModelError(
            f"{path}: is no model to {task}: expected the inputs {', '.join(INPUTS[task])} and the outputs "
            f"{', '.join(OUTPUTS[task])}; found {shown(', '.join(inputs))} and {shown(', '.join(sorted(outputs)))}"
        )
    image = inputs["image"]
    try:
        height, width = json.loads(metadata["size"])
        if any(isinstance(side, int) and side != own for side, own in zip(image[1:], (height, width, 3), strict=True)):
            raise ValueError(f"of size {height} x {width}; the input is {image[1]} x {image[2]} x {image[3]}")
        crop, names, origin = (
            float(metadata.get("crop", 1)),
            json.loads(metadata["names"]),
            json.loads(metadata["origin"]),
        )
        if not isinstance(names, list) or not isinstance(origin, dict):
            raise ValueError("names must be a list, origin an object")
        if not all(str(name).isprintable() for name in names):
            raise ValueError("names must be texts of one line")
        if not all(isinstance(side, int) and 0 < side <= LARGEST_SIDE for side in (height, width)):
            raise ValueError(f"size must be of two sides up to {LARGEST_SIDE} pixels")
        if not 0 < crop <= 1 or metadata["resize"] not in RESIZES or metadata["sampling"] not in SAMPLINGS:
            raise ValueError(f"resize {metadata['resize']!r}, crop {crop}, sampling {metadata['sampling']!r}")
        masks = task == "detect" and MASKS in outputs
        match proposals:
            case None:
                most = 0
            case [_, int(most), 4] if 0 < most <= MOST_PROPOSALS:
                pass
            case _:
                raise ValueError(f"proposals must be of [B, P, 4], P up to {MOST_PROPOSALS}")
        if metadata["resize"] == "crop" and (masks or task == "segment"):
            raise ValueError("resize 'crop': masks are of whole pictures")
        return ModelInfo(
            path=path,
            task=task,
            names=tuple(map(str, names)),
            size=(int(height), int(width)),
            dynamic_size=not isinstance(image[1], int),
            batch=image[0] if isinstance(image[0], int) else None,
            resize=metadata["resize"],
            crop=crop,
            sampling=metadata["sampling"],
            score_threshold=float(metadata["score_threshold"]) if task == "detect" else 0.0,
            iou_threshold=float(metadata["iou_threshold"]) if task == "detect" else 1.0,
            parameters=int(metadata["parameters"]),
            multiply_adds=int(metadata["multiply_adds"]),
            origin=origin,
            masks=masks,
            proposals=most,
        )
    except (KeyError, ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:
        reason = shown(f"{type(error).__name__} {error}"[:300])
        raise ModelError(f"{path}: its metadata is damaged: {reason}") from None
