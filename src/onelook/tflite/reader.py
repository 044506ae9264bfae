"""TensorFlow Lite's files (.tflite): a flatbuffer of operators and quantized tensors, read with its published schema."""

import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from onelook.errors import CheckpointError

MAX_BYTES = 1 << 28  # the largest MobileNet, in float32, has 24 MB
MAX_TABLES = 10_000  # tensors, and operators; the largest MobileNet has some 200 of each
MAX_SIDES = 8  # of a tensor; maps and kernels have four
MAX_LABELS = 1 << 20  # bytes; those of ImageNet take 22 kB

_DTYPES = {
    tflite.TensorType.FLOAT32: "<f4",
    tflite.TensorType.FLOAT16: "<f2",
    tflite.TensorType.UINT8: "u1",
    tflite.TensorType.INT8: "i1",
    tflite.TensorType.INT16: "<i2",
    tflite.TensorType.INT32: "<i4",
}
_ACTIVATIONS = {
    tflite.ActivationFunctionType.NONE: "linear",
    tflite.ActivationFunctionType.RELU: "relu",
    tflite.ActivationFunctionType.RELU6: "relu6",
}
# What flatbuffers and numpy raise where a damaged file leads them astray.
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError)
# What zipfile raises where there is no archive, or one that is damaged, encrypted, or packed in a way it does not know.
_NO_ARCHIVE = (zipfile.BadZipFile, StopIteration, OSError, RuntimeError, EOFError, zlib.error, *_DAMAGE)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the graph: real = scale (stored - zero_point), along `axis` where these are several.

    Its lists are views of the file, so that a file cannot make much out of little.

    Attributes:
        shape: as TensorFlow has it: maps [B, H, W, C], kernels [N, k_y, k_x, M], depthwise [1, k_y, k_x, C].
        dtype: of the stored numbers, in numpy's words; "" for one that is not read here.
        scale, zero_point: empty where the numbers are stored as they are.
        data: the stored numbers; empty for what is computed.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int
    data: NDArray[np.uint8]

    def real(self) -> NDArray[np.float32]:
        """The numbers, dequantized.

        Raises:
            ValueError: there are none, not as many as the shape asks for, or not finite ones.
        """
        if not self.dtype or not self.data.size:
            raise ValueError(f"a tensor of shape {list(self.shape)} has no numbers that can be read")
        if min(self.shape, default=0) < 1:
            raise ValueError(f"a tensor cannot be of shape {list(self.shape)}")
        with np.errstate(invalid="ignore"):  # of a NaN; it is refused below
            return self._real()

    def _real(self) -> NDArray[np.float32]:
        stored = self.data.view(self.dtype).reshape(self.shape)
        if not len(self.scale) and stored.dtype.kind != "f":
            raise ValueError(f"a tensor of shape {list(self.shape)} is of whole numbers without a scale")
        numbers = stored.astype(np.float64)
        if len(self.scale):
            along = [1] * stored.ndim
            if len(self.scale) > 1:
                if not 0 <= self.axis < stored.ndim:
                    raise ValueError(f"a tensor of shape {list(self.shape)} has scales along dimension {self.axis}")
                along[self.axis] = len(self.scale)
            if len(self.zero_point):
                numbers -= self.zero_point.reshape(along)
            if not (np.isfinite(self.scale).all() and self.scale.min() > 0):
                raise ValueError(f"a tensor of shape {list(self.shape)} has a scale that is not above 0")
            numbers *= self.scale.reshape(along)
        if not np.abs(numbers).max() <= np.finfo(np.float32).max:  # a NaN ends here too
            raise ValueError(f"a tensor of shape {list(self.shape)} holds numbers that are not finite")
        return numbers.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Operator:
    """One step of the graph.

    Attributes:
        kind: TensorFlow Lite's name: "CONV_2D", "ADD", ...; behind it what is unusual: "CONV_2D with dilation 2",
            "RESIZE_BILINEAR without aligned corners".
        inputs, outputs: numbers of tensors, the first four; -1 for an optional one that is left out.
        strides: along y and x, of a convolution.
        same: whether its padding is "SAME".
        activation: a name of `onelook.nn.activations.ACTIVATIONS`; "other" where there is none.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    strides: tuple[int, int] = (1, 1)
    same: bool = True
    activation: str = "linear"


@dataclass(frozen=True, slots=True)
class Graph:
    """What a file holds: the first subgraph, and the class names that came with it (None where none did)."""

    path: Path
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    labels: tuple[str, ...] | None


def read_tflite(path: str | Path) -> Graph:
    """Read a TensorFlow Lite file.

    Raises:
        CheckpointError: it cannot be read, or is none.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: there is no such file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES or data[4:8] != b"TFL3":
        raise CheckpointError(f"{path}: is not a TensorFlow Lite file of at most {MAX_BYTES} bytes")
    try:
        model = tflite.Model.GetRootAsModel(data, 0)
        graph = model.Subgraphs(0)
        tensors = tuple(_tensor(model, graph.Tensors(i)) for i in range(_length(graph.TensorsLength())))
        operators = tuple(_operator(model, graph.Operators(i)) for i in range(_length(graph.OperatorsLength())))
        for operator in operators:
            if not all(-1 <= i < len(tensors) for i in (*operator.inputs, *operator.outputs)):
                raise ValueError("an operator names a tensor that is not there")
        inputs = _integers(graph.InputsAsNumpy())
    except _DAMAGE:
        raise CheckpointError(f"{path}: is damaged or cut short; it cannot be read as a TensorFlow Lite file") from None
    return Graph(path, tensors, operators, inputs, _labels(path))


def _length(count: int) -> int:
    """A number of tables, of which one file may name the same many times."""
    if not 0 <= count <= MAX_TABLES:
        raise ValueError(f"{count} tables")
    return count


def _tensor(model: Any, tensor: Any) -> Tensor:
    quantization = tensor.Quantization()
    scale, zero_point, axis = np.empty(0, np.float32), np.empty(0, np.int64), 0
    if quantization is not None and quantization.ScaleLength():
        scale = quantization.ScaleAsNumpy()
        zero_point = quantization.ZeroPointAsNumpy() if quantization.ZeroPointLength() else zero_point
        axis = quantization.QuantizedDimension()
    stored = model.Buffers(tensor.Buffer())
    data = np.asarray(stored.DataAsNumpy(), np.uint8) if stored.DataLength() else np.empty(0, np.uint8)
    if tensor.ShapeLength() > MAX_SIDES:
        raise ValueError(f"a tensor of {tensor.ShapeLength()} dimensions")
    shape = _integers(tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()
    return Tensor(shape, _DTYPES.get(tensor.Type(), ""), scale, zero_point, axis, data)


def _operator(model: Any, operator: Any) -> Operator:
    code = model.OperatorCodes(operator.OpcodeIndex())
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    kind = tflite.opcode2name(number)
    inputs, outputs = _integers(operator.InputsAsNumpy()[:4]), _integers(operator.OutputsAsNumpy()[:4])
    make: Callable[[], Any] | None = {
        "CONV_2D": tflite.Conv2DOptions,
        "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
        "FULLY_CONNECTED": tflite.FullyConnectedOptions,
        "ADD": tflite.AddOptions,
        "RESIZE_BILINEAR": tflite.ResizeBilinearOptions,
    }.get(kind)
    table = operator.BuiltinOptions()
    if make is None or table is None:
        return Operator(kind, inputs, outputs)
    options = make()
    options.Init(table.Bytes, table.Pos)
    if kind == "RESIZE_BILINEAR":
        aligned = options.AlignCorners() and not options.HalfPixelCenters()
        return Operator(kind if aligned else f"{kind} without aligned corners", inputs, outputs)
    activation = _ACTIVATIONS.get(options.FusedActivationFunction(), "other")
    if kind in ("ADD", "FULLY_CONNECTED"):
        return Operator(kind, inputs, outputs, activation=activation)
    if (dilation := (options.DilationHFactor(), options.DilationWFactor())) != (1, 1):
        kind = f"{kind} with dilation {dilation[0] if dilation[0] == dilation[1] else dilation}"
    strides = options.StrideH(), options.StrideW()
    return Operator(kind, inputs, outputs, strides, options.Padding() == tflite.Padding.SAME, activation)


def _integers(values: Any) -> tuple[int, ...]:
    return tuple(map(int, values))


def _labels(path: Path) -> tuple[str, ...] | None:
    """The class names in the zip archive that the format's metadata appends to the file, one a line of its first text."""
    try:
        with zipfile.ZipFile(path) as archive:
            text_file = next(info for info in archive.infolist() if info.filename.endswith(".txt"))
            if text_file.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                return None  # others unpack more than they are asked for
            with archive.open(text_file) as file:
                text = file.read(MAX_LABELS + 1)
        names = tuple(line.strip() for line in text.decode("utf-8").strip().split("\n"))
        return names if len(text) <= MAX_LABELS and all(map(str.isprintable, names)) else None
    except _NO_ARCHIVE:
        return None
