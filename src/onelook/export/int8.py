"""A model file in int8: a quarter of the bytes, less than half of the time.

Quantisation after training: pictures of the kind that the model is for say how great the numbers in it become.
"""

import importlib.util
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onelook.errors import Error, ModelError, SourceError
from onelook.export.graph import name_operators_once
from onelook.export.qdq import Plan, insert, plan
from onelook.runtime import atomic
from onelook.runtime.model import load_pictures
from onelook.runtime.session import ModelInfo, feed_of, open_session, processors
from onelook.runtime.sources import Source, count, is_endless, pictures

PICTURES = 100  # for the ranges, evenly spread over those that there are
COMPARED = 8  # of them, to compare with float
GLANCED = 2  # of them, to compare each convolution alone
IN_FLOAT = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # how many convolutions may stay float, at most half of them
ENOUGH = 20.0  # decibels of agreement, of which detections hardly differ from those in float
NEAR = 3.0  # decibels below the best: not worth a convolution in float
# OpenVINO 2026.4 takes the bias of the first channel for all channels in some of so many first convolutions.
MISREAD = 3

Numbers = NDArray[Any]
Feed = dict[str, Numbers]  # the inputs of a model by name
Run = Callable[[Feed], list[Numbers]]
Agreement = Callable[[set[str], Sequence[str], int], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Int8Report:
    """What became of a model file.

    Attributes:
        path: the file that was written.
        convolutions, quantised: how many there are, and how many of them are int8.
        in_float: how many of the others could be int8, and stayed float as too much would be lost by them.
        pictures: that the ranges are of.
        agreement: in each engine that is installed, how much stronger the raw maps are than their difference from those in
            float, in decibels; of the worst map.
    """

    path: Path
    convolutions: int
    quantised: int
    in_float: int
    pictures: int
    agreement: dict[str, float]


def quantise(model_file: str | Path, source: Source, output: str | Path) -> Int8Report:
    """Write a model file in int8, with the inputs, outputs and metadata that it has.

    Which convolutions stay float is tried out. None does where the model agrees with float well enough so, in each engine
    that is installed. Else each is rounded alone, to learn how much is lost by it, and the worst stay float, one, two, more,
    until the model agrees well enough or half of them are float: then as few as come about as near as any other number.
    Where OpenVINO is not installed to be tried, the first three stay float: it reads some wrongly.

    Args:
        model_file: in float.
        source: pictures to calibrate with, as `onelook.runtime.sources.pictures` takes them; of those `PICTURES` are
            taken. They should be like those that the model will see, and not those that it is measured on.
        output: the file to write.

    Raises:
        ModelError: not a model file, one that is int8 already, one without convolutions between others, or a file that
            cannot be written.
        SourceError: a picture that cannot be read.
        Error: no pictures, or a source without an end.
    """
    path = Path(model_file)
    info = open_session(path, "onnxruntime").info
    model = onnx.load(path)
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise ModelError(f"{path}: is int8 already")
    _whole(model)
    name_operators_once(model)  # of files that were written before `write` did so
    planned = plan(model.graph)
    if not planned.convolutions:
        raise ModelError(f"{path}: has no convolution that another one follows; nothing would become int8")
    feeds, seen = _calibration(source, info)
    trials = _Trials(model, planned, feeds)
    in_float, agreement = choose(planned.convolutions, tuple(trials.engines), trials.agreement)
    rounded = trials.rounded(in_float)
    onnx.checker.check_model(rounded, full_check=True)
    atomic.save(Path(output), rounded.SerializeToString(), ModelError)
    total, kept = sum(node.op_type == "Conv" for node in model.graph.node), len(in_float)
    return Int8Report(Path(output), total, len(planned.convolutions) - kept, kept, seen, agreement)


def choose(
    convolutions: Sequence[str], engines: Sequence[str], agreement: Agreement
) -> tuple[set[str], dict[str, float]]:
    """Which convolutions stay float, see `quantise`; and how well the model agrees with float then in each engine.

    Args:
        convolutions: those that may be rounded, in order.
        engines: that are installed.
        agreement: of convolutions that stay float, engines and a number of pictures gives decibels in each engine.
    """

    def alone(convolution: str) -> float:
        asked = engines if convolution in convolutions[:MISREAD] else ("onnxruntime",)
        return min(agreement({*convolutions} - {convolution}, asked, GLANCED).values())

    def candidates() -> Iterator[set[str]]:
        always = () if "openvino" in engines else convolutions[: min(MISREAD, len(convolutions) - 1)]
        yield {*always}
        worst_first = sorted(convolutions, key=alone)  # a run each, which of a large network takes minutes
        for number in IN_FLOAT:
            if number <= len(convolutions) // 2:
                yield {*worst_first[:number], *always}

    tried: list[tuple[set[str], dict[str, float]]] = []
    for in_float in candidates():
        tried.append((in_float, agreement(in_float, engines, COMPARED)))
        if min(tried[-1][1].values()) >= ENOUGH:
            return tried[-1]
    worst = [min(decibels.values()) for _, decibels in tried]
    return next(one for one, value in zip(tried, worst, strict=True) if value >= max(worst) - NEAR)


class _Trials:
    """A model with more or fewer convolutions in float. Arguments: it, its plan, inputs to calibrate with."""

    def __init__(self, model: onnx.ModelProto, plan: Plan, feeds: Sequence[Feed]):
        self.model, self.plan = model, plan
        self.feeds = feeds[:COMPARED]
        self.ranges = _ranges(model, plan.values, feeds)
        in_float = _onnxruntime(model, plan.ends)
        self.expected = [in_float(feed) for feed in self.feeds]
        has_openvino = importlib.util.find_spec("openvino") is not None
        self.engines = {"onnxruntime": _onnxruntime, **({"openvino": _openvino} if has_openvino else {})}

    def agreement(self, in_float: set[str], engines: Sequence[str], pictures: int) -> dict[str, float]:
        """See `Int8Report`."""
        model = self.rounded(in_float)
        found = {}
        for engine in engines:
            run = self.engines[engine](model, self.plan.ends)
            found[engine] = _decibels([run(feed) for feed in self.feeds[:pictures]], self.expected[:pictures])
        return found

    def rounded(self, in_float: set[str]) -> onnx.ModelProto:
        """All others rounded."""
        copy = onnx.ModelProto.FromString(self.model.SerializeToString())
        insert(copy, plan(copy.graph, in_float), self.ranges)
        return copy


def _whole(model: onnx.ModelProto) -> None:
    """Undoes `halve`, in place."""
    halves = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in halves:
            tensor = halves[node.input[0]]
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), node.output[0]))
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _calibration(source: Source, info: ModelInfo) -> tuple[list[Feed], int]:
    """Inputs of the model, each of as many pictures as it takes, else of one; and of how many pictures they are.

    Where a model takes several, the last ones may be less than that: the last picture is repeated.
    """
    if is_endless(source):
        raise Error(f"{source!r} has no end; calibration needs a number of pictures")
    total = count(source) or PICTURES
    wanted = {i * total // PICTURES for i in range(PICTURES)}
    chosen = (picture for i, picture in enumerate(itertools.islice(pictures(source), total)) if i in wanted)
    feeds, seen = [], 0
    while some := list(itertools.islice(chosen, info.batch or 1)):
        canvas, loaded = load_pictures(some, info, info.size, keep_images=False)
        for one in loaded:
            if isinstance(one, SourceError):
                raise one
        canvas[len(some) :] = canvas[len(some) - 1]
        feeds.append(feed_of(info, canvas, info.thresholds))
        seen += len(some)
    if not feeds:
        raise Error("there are no pictures to calibrate with")
    return feeds, seen


def _ranges(model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Feed]) -> dict[str, tuple[float, float]]:
    """The least and the greatest of each of the values, over all pictures."""
    found = dict.fromkeys(names, (0.0, 0.0))
    cut = onnx.ModelProto.FromString(model.SerializeToString())
    del cut.graph.output[:]  # so that what comes behind is not computed
    run = _onnxruntime(cut, names)
    for feed in feeds:
        for name, numbers in zip(names, run(feed), strict=True):
            if numbers.size:
                least, greatest = found[name]
                found[name] = min(least, float(numbers.min())), max(greatest, float(numbers.max()))
    return found


def _onnxruntime(model: onnx.ModelProto, names: Sequence[str]) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = processors()
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(_giving(model, names), options, providers=providers)
    taken = {value.name for value in session.get_inputs()}

    def run(feed: Feed) -> list[Numbers]:
        found: list[Numbers] = session.run(list(names), {name: value for name, value in feed.items() if name in taken})
        return found

    return run


def _openvino(model: onnx.ModelProto, names: Sequence[str]) -> Run:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": processors(), "INFERENCE_PRECISION_HINT": "f32"}
    read = openvino.Core().read_model(_giving(model, names))
    request = openvino.compile_model(read, "CPU", settings).create_infer_request()

    def run(feed: Feed) -> list[Numbers]:
        request.infer(feed)
        return [request.get_tensor(name).data.copy() for name in names]

    return run


def _giving(model: onnx.ModelProto, names: Sequence[str]) -> bytes:
    """The model file with more outputs. The others stay: without them engines may compute otherwise."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    copy.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return copy.SerializeToString()


def _decibels(found: Sequence[Sequence[Numbers]], expected: Sequence[Sequence[Numbers]]) -> float:
    """Signal over noise, of the map where it is worst."""
    signal = np.zeros(len(expected[0]))
    noise = np.full(len(signal), 1e-12)
    for some, others in zip(found, expected, strict=True):
        signal += [np.square(other, dtype=np.float64).sum() for other in others]
        noise += [
            np.square(one - other, dtype=np.float64).sum() if one.shape == other.shape else np.inf
            for one, other in zip(some, others, strict=True)
        ]
    return float((10 * np.log10(np.maximum(signal, 1e-12) / noise)).min())
