"""Writes .tflite files: classifiers made of a backbone of ours, and whatever a test makes of them before they are saved."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tflite
import torch
from numpy.typing import NDArray
from torch import nn

from onelook.backbones import Backbone, create
from onelook.nn.conv import ConvBlock

Array = NDArray[np.float32]
FLOAT32, FLOAT16 = tflite.TensorType.FLOAT32, tflite.TensorType.FLOAT16
UINT8, INT8, INT32 = tflite.TensorType.UINT8, tflite.TensorType.INT8, tflite.TensorType.INT32
NONE, RELU, RELU6 = (getattr(tflite.ActivationFunctionType, name) for name in ("NONE", "RELU", "RELU6"))
SAME, VALID = tflite.Padding.SAME, tflite.Padding.VALID


@dataclass
class Tensor:
    """Without data it is computed."""

    shape: Sequence[int]
    kind: int = FLOAT32
    data: bytes = b""
    scale: Sequence[float] = ()
    zero_point: Sequence[int] = ()
    axis: int = 0


@dataclass
class Operator:
    """Its kind is a name or a number; options that it does not have are left out."""

    kind: str
    inputs: list[int]
    outputs: list[int]
    stride: tuple[int, int] = (1, 1)
    activation: int = NONE
    padding: int = SAME
    dilation: int = 1
    window: Sequence[int] = (1, 1)
    aligned: bool = True


@dataclass
class File:
    """A graph as a test wants it, and the numbers that it stands for: (kernel, bias) of each layer in torch's order."""

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    weights: list[tuple[Array, Array]] = field(default_factory=list)

    def add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def insert(self, position: int, operator: Operator) -> None:
        """Put an operator in front of another, which then works on its result."""
        following = self.operators[position]
        before = following.inputs[0]
        operator.inputs[:1], operator.outputs = [before], [self.add(Tensor(self.tensors[before].shape))]
        following.inputs[0] = operator.outputs[0]
        self.operators.insert(position, operator)

    def all(self, kind: str) -> list[Operator]:
        return [operator for operator in self.operators if operator.kind == kind]

    @property
    def image(self) -> Tensor:
        return self.tensors[self.inputs[0]]

    def kernel(self, operator: Operator) -> Tensor:
        return self.tensors[operator.inputs[1]]

    def pack(self) -> bytes:
        """The file. What stands in a list more than once is written once and referred to again."""
        builder = flatbuffers.Builder(1 << 20)
        buffers = [_table(builder, "Buffer")]
        tables: dict[int, int] = {}
        for x in {id(x): x for x in self.tensors}.values():
            if x.data:
                buffers.append(_table(builder, "Buffer", Data=builder.CreateByteVector(x.data)))
            tables[id(x)] = _table(
                builder,
                "Tensor",
                Shape=_vector(builder, np.int32, x.shape),
                Type=x.kind,
                Buffer=len(buffers) - 1 if x.data else 0,
                Name=builder.CreateString(str(len(tables))),
                Quantization=_table(
                    builder,
                    "QuantizationParameters",
                    Scale=_vector(builder, np.float32, x.scale),
                    ZeroPoint=_vector(builder, np.int64, x.zero_point),
                    QuantizedDimension=x.axis,
                ),
            )
        kinds = list(dict.fromkeys(operator.kind for operator in self.operators))
        for y in {id(y): y for y in self.operators}.values():
            tables[id(y)] = _table(
                builder,
                "Operator",
                OpcodeIndex=kinds.index(y.kind),
                Inputs=_vector(builder, np.int32, y.inputs),
                Outputs=_vector(builder, np.int32, y.outputs),
                **_options(builder, y),
            )
        codes = [int(kind) if kind.isdigit() else getattr(tflite.BuiltinOperator, kind) for kind in kinds]
        graph = _table(
            builder,
            "SubGraph",
            Tensors=_references(builder, [tables[id(x)] for x in self.tensors]),
            Operators=_references(builder, [tables[id(y)] for y in self.operators]),
            Inputs=_vector(builder, np.int32, self.inputs),
            Outputs=_vector(builder, np.int32, self.operators[-1].outputs),
        )
        model = _table(
            builder,
            "Model",
            Version=3,
            OperatorCodes=_references(
                builder,
                [_table(builder, "OperatorCode", BuiltinCode=x, DeprecatedBuiltinCode=min(x, 127)) for x in codes],
            ),
            Subgraphs=_references(builder, [graph]),
            Buffers=_references(builder, buffers),
        )
        builder.Finish(model, b"TFL3")
        return bytes(builder.Output())

    def save(self, path: Path, appended: bytes = b"") -> Path:
        path.write_bytes(self.pack() + appended)
        return path


def zipped(text: bytes, method: int = zipfile.ZIP_STORED, name: str = "labels.txt") -> bytes:
    """A zip archive of one file, as the format's metadata has it behind the model."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, text)
    return file.getvalue()


def backbone(name: str = "mobilenet_v1", classes: int = 5, alpha: float | None = None) -> Backbone:
    """A small one, with weights and statistics that let numbers of about 1 reach every layer."""
    torch.manual_seed(0)
    network = create(name, alpha=alpha or {"mobilenet_v1": 0.25, "mobilenet_v2": 0.35}[name], classes=classes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, 0, (module.weight[0].numel() / 2) ** -0.5)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.8)
            for tensor, low, high in ((module.running_mean, -0.3, 0.3), (module.running_var, 0.5, 1.5)):
                assert tensor is not None
                nn.init.uniform_(tensor, low, high)
    return network.eval()


def folded(network: nn.Module) -> list[tuple[Array, Array]]:
    """Kernel and bias of each layer, with batch normalisation folded in (arXiv:1502.03167, Alg. 2) in float64."""
    found = []
    for module in network.modules():
        if isinstance(module, ConvBlock):
            norm = module.norm
            assert norm is not None
            variance, mean = (x.double() for x in (norm.running_var, norm.running_mean) if x is not None)
            scale = norm.weight.double() / (variance + norm.eps).sqrt()
            pair = module.conv.weight.double() * scale[:, None, None, None], norm.bias.double() - mean * scale
        elif isinstance(module, nn.Linear):
            pair = module.weight.double(), module.bias.double()
        else:
            continue
        found.append(tuple(x.detach().numpy().astype(np.float32) for x in pair))
    return found  # type: ignore[return-value]


def classifier(
    network: Backbone, size: int = 64, kind: str = "float32", connected: bool = False, softmax: bool = True
) -> File:
    """A backbone in TensorFlow Lite's format.

    Args:
        network: MobileNetV1 or V2.
        size: side of the picture.
        kind: how numbers are stored: "float32", "float16" (behind DEQUANTIZE), "uint8" (one scale a tensor) or "int8"
            (one a channel).
        connected: whether FULLY_CONNECTED ends it, behind MEAN; else CONV_2D behind AVERAGE_POOL_2D, then RESHAPE.
        softmax: whether SOFTMAX comes after that.
    """
    made = _Maker(File(), kind)
    made.file.inputs = [x := made.map((1, size, size, 3), {"uint8": (1 / 128, 128), "int8": (1 / 64, 3)})]
    numbers = iter(folded(network))
    for row in network.body:
        start = x
        for block in row.modules():
            if isinstance(block, ConvBlock):
                x = made.convolution(x, *next(numbers), block.conv.stride[0], type(block.activation) is nn.ReLU6)
        if getattr(row, "shortcut", False):
            x = made.step("ADD", [start, x], made.shape(x))
    *_, height, width, channels = made.shape(x)
    kernel, bias = next(numbers)
    if connected:
        x = made.step("MEAN", [x, made.integers(1, 2)], (1, channels))
        x = made.layer("FULLY_CONNECTED", x, kernel, bias, (0, 1), (1, len(bias)))
    else:
        x = made.step("AVERAGE_POOL_2D", [x], (1, 1, 1, channels), window=(height, width), padding=VALID)
        x = made.convolution(x, kernel[..., None, None], bias, 1, relu6=False)
        x = made.step("RESHAPE", [x, made.integers(1, len(bias))], (1, len(bias)))
    if softmax:
        made.step("SOFTMAX", [x], (1, len(bias)))
    return made.file


@dataclass
class _Maker:
    """Adds tensors and operators to a file."""

    file: File
    kind: str

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self.file.tensors[tensor].shape)

    def map(self, shape: tuple[int, ...], quantization: dict[str, tuple[float, int]]) -> int:
        """A computed tensor, with its scale and zero point by the kind."""
        if self.kind not in quantization:
            return self.file.add(Tensor(shape))
        scale, zero_point = quantization[self.kind]
        return self.file.add(Tensor(shape, UINT8 if self.kind == "uint8" else INT8, b"", (scale,), (zero_point,)))

    def integers(self, *values: int) -> int:
        return self.file.add(Tensor((len(values),), INT32, np.array(values, np.int32).tobytes()))

    def step(self, kind: str, inputs: list[int], shape: tuple[int, ...], **options: Any) -> int:
        """An operator; its results are from 0 to 6 where it ends with ReLU6, else about 0."""
        low = options.get("activation") == RELU6
        scale = 6 / 255 if low else 0.1
        output = self.map(shape, {"uint8": (scale, 0 if low else 128), "int8": (scale, -128 if low else 0)})
        self.file.operators.append(Operator(kind, inputs, [output], **options))
        return output

    def convolution(self, x: int, kernel: Array, bias: Array, stride: int, relu6: bool) -> int:
        _, height, width, channels = self.shape(x)
        depthwise = kernel.shape[1] < channels
        return self.layer(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            x,
            kernel,
            bias,
            (1, 2, 3, 0) if depthwise else (0, 2, 3, 1),
            (1, -(-height // stride), -(-width // stride), len(bias)),
            stride=(stride, stride),
            activation=RELU6 if relu6 else NONE,
        )

    def layer(
        self,
        kind: str,
        x: int,
        kernel: Array,
        bias: Array,
        order: tuple[int, ...],
        shape: tuple[int, ...],
        **options: Any,
    ) -> int:
        """One with weights; `order` takes the kernel to TensorFlow's."""
        tensors, (kernel, bias) = self.stored(kernel.transpose(order), bias, x, order.index(0))
        self.file.weights.append((kernel.transpose(np.argsort(order)), bias))
        return self.step(kind, [x, *tensors], shape, **options)

    def stored(self, kernel: Array, bias: Array, x: int, axis: int) -> tuple[list[int], list[Array]]:
        """The tensors of a kernel and a bias, and the numbers that these stand for."""
        if self.kind in ("float32", "float16"):
            halves = [array.astype(self.kind) for array in (kernel, bias)]
            code = FLOAT32 if self.kind == "float32" else FLOAT16
            tensors = [self.file.add(Tensor(array.shape, code, array.tobytes())) for array in halves]
            if self.kind == "float16":
                tensors = [self.step("DEQUANTIZE", [i], self.shape(i)) for i in tensors]
            return tensors, [array.astype(np.float32) for array in halves]
        if self.kind == "int8":
            scale = np.abs(kernel).max(tuple({*range(kernel.ndim)} - {axis})).astype(np.float32) / np.float32(127)
            zero = np.zeros(len(scale), np.int64)
        else:
            scale = np.array([np.ptp(kernel) / 255], np.float32)
            zero = np.array([round(float(-kernel.min() / scale[0]))])
        along = [-1 if i == axis else 1 for i in range(kernel.ndim)]
        wide, zeros = scale.astype(np.float64).reshape(along), zero.reshape(along)
        low, high = (-127, 127) if self.kind == "int8" else (0, 255)
        whole = np.clip(np.round(kernel / wide) + zeros, low, high).astype(self.kind)
        bias_scale = (self.file.tensors[x].scale[0] * scale.astype(np.float64)).astype(np.float32)
        whole_bias = np.round(bias / bias_scale.astype(np.float64)).astype(np.int32)
        code = INT8 if self.kind == "int8" else UINT8
        return [
            self.file.add(Tensor(whole.shape, code, whole.tobytes(), scale.tolist(), zero.tolist(), axis)),
            self.file.add(Tensor(bias.shape, INT32, whole_bias.tobytes(), bias_scale.tolist(), [0] * len(scale))),
        ], [
            ((whole - zeros) * wide).astype(np.float32),
            (whole_bias * bias_scale.astype(np.float64)).astype(np.float32),
        ]


# ---- flatbuffers: what a table refers to is written before it -----------------------------------------------------------


def _vector(builder: Any, dtype: type, values: Sequence[float]) -> int:
    """0, which leaves the field out, where there are none."""
    return int(builder.CreateNumpyVector(np.array(values, dtype))) if len(values) else 0


def _references(builder: Any, tables: list[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


def _table(builder: Any, name: str, **fields: int) -> int:
    getattr(tflite, f"{name}Start")(builder)
    for key, value in fields.items():
        if value:
            getattr(tflite, f"{name}Add{key}")(builder, value)
    return int(getattr(tflite, f"{name}End")(builder))


def _options(builder: Any, operator: Operator) -> dict[str, int]:
    """The table of what an operator is asked to do, and its kind."""
    activation = {"FusedActivationFunction": operator.activation}
    stride = {"StrideH": operator.stride[0], "StrideW": operator.stride[1], "Padding": operator.padding}
    dilation = {"DilationHFactor": operator.dilation, "DilationWFactor": operator.dilation}
    window = {"FilterHeight": operator.window[0], "FilterWidth": operator.window[1]}
    tables: dict[str, tuple[str, dict[str, int]]] = {
        "CONV_2D": ("Conv2DOptions", activation | stride | dilation),
        "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", activation | stride | dilation | {"DepthMultiplier": 1}),
        "FULLY_CONNECTED": ("FullyConnectedOptions", activation),
        "ADD": ("AddOptions", activation),
        "AVERAGE_POOL_2D": ("Pool2DOptions", stride | window),
        "SOFTMAX": ("SoftmaxOptions", {"Beta": 1}),
        "MEAN": ("ReducerOptions", {}),
        "RESHAPE": ("ReshapeOptions", {}),
        "RESIZE_BILINEAR": ("ResizeBilinearOptions", {"AlignCorners": operator.aligned}),
    }
    if operator.kind not in tables:
        return {}
    name, fields = tables[operator.kind]
    kind = getattr(tflite.BuiltinOptions, name)
    return {"BuiltinOptionsType": kind, "BuiltinOptions": _table(builder, name, **fields)}
