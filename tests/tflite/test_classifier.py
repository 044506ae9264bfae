"""Classifiers in TensorFlow Lite's format: real ones, ones made of our own backbones, and what is none of these."""

import copy
import re
import resource
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

import tflite_files as files
from onelook import CheckpointError, tflite
from onelook.backbones import Backbone, create
from onelook.checkpoint import Checkpoint
from onelook.nn.conv import ConvBlock
from onelook.runtime import picture
from onelook.runtime.resize import place
from tflite_files import NONE, RELU, UINT8, VALID, File, Operator, backbone, zipped

Change = Callable[[File], object]
Shared = Callable[[str], Path]
REAL = {
    "mobilenet_v1_0.25_128_quant": ("mobilenet_v1", 0.25, 128, 28),
    "mobilenet_v1_0.5_160_quant": ("mobilenet_v1", 0.5, 160, 28),
    "mobilenet_v1_0.75_192_quant": ("mobilenet_v1", 0.75, 192, 28),
    "mobilenet_v2_1.0_224_quant": ("mobilenet_v2", 1.0, 224, 53),
}


def logits(checkpoint: Checkpoint, pixels: NDArray[np.uint8]) -> Tensor:
    """Of pictures [B, H, W, 3]."""
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (checkpoint.mean, checkpoint.std))
    with torch.no_grad():
        return checkpoint.network((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std)


def in_openvino(path: Path, images: Sequence[NDArray[np.generic]]) -> list[NDArray[np.float32]]:
    """What OpenVINO, which reads the format itself, makes of pictures [1, H, W, 3]."""
    openvino = pytest.importorskip("openvino")
    model = openvino.compile_model(openvino.Core().read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.asarray(model([image])[0], np.float32)[0] for image in images]


def complaint(path: Path) -> str:
    """What is said of a file that is refused: one line of bearable length that begins with the path."""
    with pytest.raises(CheckpointError) as caught:
        tflite.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < len(str(path)) + 500
    return text.removeprefix(f"{path}: ")


# ---- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_the_networks_they_are_named_after(shared: Shared, name: str) -> None:
    found = tflite.load(shared(f"weights/tflite/{name}.tflite"))
    network, alpha, size, convolutions = REAL[name]
    assert (found.name, found.options, found.classes) == (network, {"alpha": alpha, "classes": 1001}, 1001)
    assert (found.size, found.mean, found.std, found.crop) == ((size, size), (128.0,) * 3, (128.0,) * 3, 0.875)
    assert found.names == tuple(shared("weights/tflite/imagenet_labels.txt").read_text("utf-8").splitlines())
    assert sum(isinstance(x, nn.Conv2d | nn.Linear) for x in found.network.modules()) == convolutions
    assert not found.network.training


@pytest.mark.parametrize("name", REAL)
def test_real_files_say_of_photographs_what_openvino_makes_of_them(shared: Shared, name: str) -> None:
    """It reckons with the rounded maps of the file, which moves probabilities by a few hundredths."""
    path = shared(f"weights/tflite/{name}.tflite")
    found = tflite.load(path)
    photos = sorted(shared("data/imagenet200").iterdir())[:4]
    pixels = np.zeros((len(photos), *found.size, 3), np.uint8)
    for photo, part in zip(photos, pixels, strict=True):
        place(picture.read(str(photo)), part, "crop", "linear", found.crop)
    ours = logits(found, pixels).softmax(1).numpy()
    theirs = np.array(in_openvino(path, np.split(pixels, len(pixels)))) / 256
    assert ours.argmax(1).tolist() == theirs.argmax(1).tolist()
    np.testing.assert_allclose(ours, theirs, atol=0.1)


def test_a_real_network_for_another_task_is_refused(shared: Shared) -> None:
    message = complaint(shared("weights/tflite/deeplabv3_mnv2_pascal_quant.tflite"))
    assert message.startswith("has an operator ")
    assert message.endswith("onelook imports classifiers of MobileNetV1 and MobileNetV2")


# ---- files made of our backbones --------------------------------------------------------------------------------------


def layers(network: Backbone) -> list[nn.Module]:
    return [x for x in network.modules() if isinstance(x, ConvBlock | nn.Linear)]


def filled(network: Backbone, weights: list[tuple[files.Array, files.Array]]) -> Backbone:
    """A copy whose convolutions have these kernels and biases, and no batch normalisation."""
    network = copy.deepcopy(network)
    for layer, (kernel, bias) in zip(layers(network), weights, strict=True):
        inner = layer.conv if isinstance(layer, ConvBlock) else layer
        assert isinstance(inner, nn.Conv2d | nn.Linear)
        if isinstance(layer, ConvBlock):
            layer.norm = None
        inner.weight = nn.Parameter(torch.tensor(kernel).reshape(inner.weight.shape))
        inner.bias = nn.Parameter(torch.tensor(bias))
    return network


@pytest.mark.parametrize("kind", ["float32", "float16", "uint8", "int8"])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_a_file_gives_back_the_network_it_was_made_of(tmp_path: Path, name: str, kind: str) -> None:
    """Ended by CONV_2D and SOFTMAX or by FULLY_CONNECTED alone."""
    network, connected = backbone(name), kind in ("float32", "int8")
    file = files.classifier(network, 64, kind, connected, softmax=not connected)
    found = tflite.load(file.save(tmp_path / "x.tflite"))
    assert (found.name, found.options) == (name, {"alpha": 0.25 if name == "mobilenet_v1" else 0.35, "classes": 5})
    assert (found.size, found.names, found.origin) == ((64, 64), None, {})
    assert (found.mean[0], found.std[0]) == {"uint8": (128, 128), "int8": (131, 64)}.get(kind, (127.5, 127.5))
    for layer, stored, exact in zip(layers(found.network), file.weights, files.folded(network), strict=True):
        kernel = layer.conv.weight if isinstance(layer, ConvBlock) else layer.weight
        assert isinstance(kernel, Tensor)
        assert kernel.detach().numpy().tobytes() == np.ascontiguousarray(stored[0]).tobytes()
        if kind in ("uint8", "int8"):
            step = np.ptp(exact[0]) / 255 if kind == "uint8" else abs(exact[0]).max() / 127
            assert abs(stored[0].reshape(exact[0].shape) - exact[0]).max() <= step * 1.001
    image = torch.from_numpy(np.random.default_rng(1).normal(0, 0.5, (2, 3, 64, 64)).astype(np.float32))
    with torch.no_grad():
        ours = found.network(image)
        torch.testing.assert_close(ours, filled(network, file.weights)(image), rtol=1e-4, atol=1e-4)
        tolerance = {"float32": 1e-4, "float16": 0.2}.get(kind, 1.0)  # of logits from about -10 to 10
        torch.testing.assert_close(ours, network(image), rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize(("name", "kind"), [("mobilenet_v1", "float32"), ("mobilenet_v2", "float16")])
def test_a_made_file_is_to_openvino_what_it_is_to_us(tmp_path: Path, name: str, kind: str) -> None:
    path = files.classifier(backbone(name), 64, kind).save(tmp_path / "x.tflite")
    found = tflite.load(path)
    pixels = np.random.default_rng(2).integers(0, 256, (1, 64, 64, 3), np.uint8)
    (theirs,) = in_openvino(path, [((pixels - 127.5) / 127.5).astype(np.float32)])
    np.testing.assert_allclose(logits(found, pixels).softmax(1)[0].numpy(), theirs, atol=1e-5)


def test_other_sizes_alphas_and_numbers_of_classes_are_read_off_the_file(tmp_path: Path) -> None:
    for name, alpha, classes, size in (("mobilenet_v1", 0.5, 1, 32), ("mobilenet_v2", 0.5, 12, 96)):
        file = files.classifier(backbone(name, classes, alpha), size, "uint8")
        file.image.shape = (1, size, size + 32, 3)
        found = tflite.load(file.save(tmp_path / "x.tflite"))
        assert (found.name, found.options) == (name, {"alpha": alpha, "classes": classes})
        assert found.size == (size, size + 32)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(b"a\nb\nc\nd\ne\n", ("a", "b", "c", "d", "e")), (b"a\nb\nc\nd", None), (b"a\nb\nc\nd\ne\nf", None), (b"", None)],
    ids=["five", "four", "six", "none"],
)
def test_labels_name_the_classes_where_there_are_as_many(
    tmp_path: Path, labels: bytes, expected: tuple[str, ...] | None
) -> None:
    assert tflite.load(made().save(tmp_path / "x.tflite", zipped(labels))).names == expected


def test_a_layer_without_bias_adds_nothing(tmp_path: Path) -> None:
    file = made("float32")
    file.operators[0].inputs = file.operators[0].inputs[:2]
    file.all("DEPTHWISE_CONV_2D")[0].inputs[2] = -1
    stem, depthwise = layers(tflite.load(file.save(tmp_path / "x.tflite")).network)[:2]
    with torch.no_grad():
        for layer, channels in ((stem, 3), (depthwise, 8)):
            assert not layer(torch.zeros(1, channels, 4, 4)).any()


def test_a_picture_in_bytes_before_quantize_is_as_good_as_none(tmp_path: Path) -> None:
    """Converters since TensorFlow 2 put one in front of a network of signed bytes, and DEQUANTIZE behind it."""
    file = made("int8")
    file.insert(0, Operator("QUANTIZE", [0], []))
    file.image.kind, file.image.scale, file.image.zero_point = UINT8, (0.02,), (120,)
    file.insert(len(file.operators) - 1, Operator("DEQUANTIZE", [0], []))
    found = tflite.load(file.save(tmp_path / "x.tflite"))
    assert found.mean == (120.0,) * 3
    assert found.std == pytest.approx((50.0,) * 3)


# ---- other networks ---------------------------------------------------------------------------------------------------


@cache
def _made(name: str, kind: str) -> File:
    return files.classifier(backbone(name), 64, kind)


def made(kind: str = "uint8", name: str = "mobilenet_v1") -> File:
    """A file of five classes, to be changed."""
    return copy.deepcopy(_made(name, kind))


def test_a_file_that_names_one_operator_without_end_is_not_followed(tmp_path: Path) -> None:
    file = made()
    file.operators += [file.operators[-1]] * 10_001
    assert "is damaged" in complaint(file.save(tmp_path / "x.tflite"))


@pytest.mark.filterwarnings("error")
def test_a_signalling_nan_is_refused_without_a_warning(tmp_path: Path) -> None:
    file = made("float32")
    kernel = file.tensors[file.operators[0].inputs[1]]
    kernel.data = b"\x01\x00\x80\x7f" + kernel.data[4:]
    assert "not finite" in complaint(file.save(tmp_path / "x.tflite"))


def operator(number: int, **values: object) -> Change:
    """Gives an operator other attributes. 0 is the stem, odd ones are depthwise, even ones up to 26 pointwise; then come
    AVERAGE_POOL_2D, CONV_2D, RESHAPE, SOFTMAX."""
    return lambda file: vars(file.operators[number]).update(values)


def tensor(number: int, place: int, **values: object) -> Change:
    """Gives a tensor that an operator reads other attributes: 0 is the map, 1 the kernel, 2 the bias."""
    return lambda file: vars(file.tensors[file.operators[number].inputs[place]]).update(values)


def cut(number: int, place: int, size: int, **values: object) -> Change:
    """Leaves so many bytes of a tensor's data."""

    def change(file: File) -> None:
        one = file.tensors[file.operators[number].inputs[place]]
        one.data = one.data[:size]
        vars(one).update(values)

    return change


def insert(number: int, kind: str) -> Change:
    """Puts an operator without weights in front of another."""
    return lambda file: file.insert(number, Operator(kind, [0], [], stride=(2, 2), window=(2, 2)))


def remove(number: int) -> Change:
    """Leaves an operator out: the next one works on what it worked on."""

    def change(file: File) -> None:
        removed = file.operators.pop(number)
        file.operators[number].inputs[0] = removed.inputs[0]

    return change


def works_on_result_of(number: int, other: int) -> Change:
    def change(file: File) -> None:
        file.operators[number].inputs[0] = file.operators[other].outputs[0]

    return change


def exchanged(file: File) -> None:
    """Two separable convolutions of the same shape, each where the other was."""
    file.operators[15:17], file.operators[17:19] = file.operators[17:19], file.operators[15:17]


STEP = "is another network: its step"
SIZE = r"size must be a multiple of 32, from 32 to 8192; found"
TAKES = r"takes \[.*; expected one picture \[1, height, width, 3\]"
CHANGES: dict[str, tuple[Change, str]] = {
    "a stride": (operator(5, stride=(2, 2)), rf"{STEP} 6 is depthwise .*, stride 2, relu6, not the .*, stride 1, relu6 of"),
    "an uneven stride": (operator(0, stride=(2, 1)), rf"{STEP} 1 is convolution \[8, 3, 3, 3\], stride \(2, 1\), relu6"),
    "an activation": (operator(6, activation=RELU), rf"{STEP} 7 is .*, relu, not the .*, relu6 of mobilenet_v1 with"),
    "no activation": (operator(6, activation=NONE), rf"{STEP} 7 is .*, linear, not the .*, relu6 of mobilenet_v1 with"),
    "a padding": (operator(0, padding=VALID), rf"{STEP} 1 is .*, no padding"),
    "a dilation": (operator(5, dilation=2), "has an operator DEPTHWISE_CONV_2D with dilation"),
    "another kernel": (tensor(3, 1, shape=(1, 1, 9, 16)), rf"{STEP} 4 is depthwise convolution \[16, 1, 1, 9\]"),
    "a negative kernel": (tensor(0, 1, shape=(-8, 3, 3, 3)), rf"{STEP} 1 is convolution \[-8, 3, 3, 3\]"),
    "a flat kernel": (tensor(0, 1, shape=(8, 27)), "."),
    "a kernel of no shape": (tensor(0, 1, shape=()), "."),
    "a kernel of many dimensions": (tensor(2, 1, shape=(1,) * 100_000), "."),
    "a kernel left out": (operator(0, inputs=[0, -1, 2]), "."),
    "nothing to work on": (operator(0, inputs=[]), "is damaged"),
    "no result": (operator(3, outputs=[]), "is damaged"),
    "one layer less": (remove(5), rf"{STEP} 6 is convolution"),
    "one layer more": (lambda file: file.operators.append(file.operators[28]), rf"{STEP} 30 is softmax, not the end of"),
    "layers exchanged": (exchanged, rf"{STEP} 16, .*, works on another map"),
    "a loop": (works_on_result_of(0, 30), rf"{STEP} 1, .*, works on another map"),
    "a loop of one": (works_on_result_of(4, 4), rf"{STEP} 5, .*, works on another map"),
    "a branch": (works_on_result_of(17, 14), rf"{STEP} 18, .*, works on another map"),
    "a pooling within": (insert(7, "AVERAGE_POOL_2D"), "."),
    "a pooling of the picture": (insert(0, "AVERAGE_POOL_2D"), "."),
    "a mean within": (insert(7, "MEAN"), "."),
    "a softmax within": (insert(7, "SOFTMAX"), "."),
    "a softmax before the classifier": (insert(28, "SOFTMAX"), "."),
    "no pooling": (remove(27), "."),
    "another operator": (insert(7, "TANH"), "has an operator TANH; onelook imports classifiers of MobileNetV1 and"),
    "no weights": (lambda file: file.operators.__delitem__(slice(0, 29)), "does not end with a classifier"),
    "a sum at the end": (lambda file: file.operators.append(Operator("ADD", [3, 3], [4])), "does not end with a classifier"),
    "size 100": (tensor(0, 0, shape=(1, 100, 100, 3)), f"{SIZE} 100 x 100"),
    "no size": (tensor(0, 0, shape=(1, 0, 64, 3)), f"{SIZE} 0 x 64"),
    "a negative size": (tensor(0, 0, shape=(1, -64, -64, 3)), f"{SIZE} -64 x -64"),
    "two pictures": (tensor(0, 0, shape=(2, 64, 64, 3)), TAKES),
    "grey pictures": (tensor(0, 0, shape=(1, 64, 64, 1)), TAKES),
    "pictures of many dimensions": (tensor(0, 0, shape=(1,) * 100_000), "."),
    "the picture of another graph": (lambda file: file.inputs.__setitem__(0, 100_000), "is damaged"),
    "most classes": (tensor(28, 1, shape=(2**31 - 1, 1, 1, 256)), "classes must be from 0, .*; found 2147483647"),
    "a million classes": (tensor(28, 1, shape=(1_000_000, 1, 1, 256)), "is damaged"),
    "2 ** 31 classes": (tensor(28, 1, shape=(-(2**31), 1, 1, 256)), "classes must be from 0, .*; found -2147483648"),
    "no classes": (tensor(28, 1, shape=(0, 1, 1, 256)), STEP),
    "a kernel cut short": (cut(0, 1, -1), "is damaged"),
    "a kernel without numbers": (cut(0, 1, 0), "is damaged: a tensor of shape .* has no numbers"),
    "a kernel of text": (tensor(0, 1, kind=5), "is damaged"),
    "a short bias": (cut(0, 2, 16, shape=(4,)), "is damaged"),
    "one bias for all": (cut(0, 2, 4, shape=(1,)), "is damaged"),
    "scales along an axis of 1": (tensor(1, 1, scale=(0.1,) * 1000, zero_point=(0,) * 1000, axis=0), "is damaged"),
    "scales along no axis": (tensor(0, 1, scale=(0.1,) * 3, zero_point=(0,) * 3, axis=9), "is damaged"),
    "an infinite scale": (tensor(0, 1, scale=(float("inf"),)), "."),
    "a scale that is no number": (tensor(0, 1, scale=(float("nan"),)), "."),
    "a scale of 0 for pixels": (tensor(0, 0, scale=(0.0,)), "."),
    "a tiny scale for pixels": (tensor(0, 0, scale=(1e-44,)), "."),
    "an infinite scale for pixels": (tensor(0, 0, scale=(float("inf"),)), "."),
    "a scale for pixels that is no number": (tensor(0, 0, scale=(float("nan"),)), "."),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_with_one_thing_changed_is_refused(tmp_path: Path, name: str) -> None:
    change, expected = CHANGES[name]
    file = made()
    change(file)
    assert re.match(expected, complaint(file.save(tmp_path / "x.tflite")))


def test_numbers_behind_dequantize_have_the_shape_of_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise one kernel could be spread over all channels, or a small file ask for a network that fills the memory."""
    file = made("float16")
    kernel = file.tensors[file.operators[0].inputs[0]]
    kernel.shape, kernel.data = (1, 3, 3, 3), kernel.data[:54]
    assert "is damaged" in complaint(file.save(tmp_path / "x.tflite"))
    file = made("float16")
    file.kernel(file.all("CONV_2D")[-1]).shape = (900_000, 1, 1, 256)

    def on_meta(*arguments: Any, **options: Any) -> Backbone:
        assert torch.empty(0).is_meta, f"memory is allocated for {options}"
        return create(*arguments, **options)

    monkeypatch.setattr(tflite.classifier, "create", on_meta)
    assert "is damaged" in complaint(file.save(tmp_path / "x.tflite"))


@pytest.mark.parametrize("alpha", [0.3, 0.6, 0.9])
def test_an_alpha_that_nobody_published_is_refused(tmp_path: Path, alpha: float) -> None:
    file = files.classifier(backbone(alpha=alpha), 32, "uint8")
    assert STEP in complaint(file.save(tmp_path / "x.tflite"))


@pytest.mark.parametrize(("number", "place"), [(0, 0), (9, 1)])
def test_a_sum_of_other_maps_is_refused(tmp_path: Path, number: int, place: int) -> None:
    """One of the two maps of an ADD replaced by the other one, by others of the same shape, by the picture."""
    file = made(name="mobilenet_v2")
    add = file.all("ADD")[number]
    own = add.inputs[place]
    before = [x.outputs[0] for x in file.operators[: file.operators.index(add)] if x.outputs[0] != own]
    others = [i for i in before if file.tensors[i].shape == file.tensors[own].shape]
    assert add.inputs[1 - place] in others
    for i in [*others[-2:], file.inputs[0], -1]:
        add.inputs[place] = i
        assert "sum, works on another map" in complaint(file.save(tmp_path / "x.tflite"))


def test_a_sum_with_an_activation_or_left_out_is_refused(tmp_path: Path) -> None:
    file = made(name="mobilenet_v2")
    file.all("ADD")[2].activation = files.RELU6
    assert "is sum, relu6, not the sum of mobilenet_v2" in complaint(file.save(tmp_path / "x.tflite"))
    file = made(name="mobilenet_v2")
    add = file.all("ADD")[2]
    file.operators[file.operators.index(add) + 1].inputs[0] = add.inputs[1]
    file.operators.remove(add)
    assert "not the sum of mobilenet_v2 with alpha 0.35" in complaint(file.save(tmp_path / "x.tflite"))


# ---- damage -----------------------------------------------------------------------------------------------------------


def load_or_complain(path: Path) -> Checkpoint | None:
    """Either a network or one line, and soon."""
    start = time.process_time()
    try:
        found = tflite.load(path)
        assert isinstance(found, Checkpoint)
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: ")
        assert str(error).isprintable()
        found = None
    assert time.process_time() - start < 2
    return found


@pytest.mark.parametrize("source", ["made", "real"])
def test_no_beginning_of_a_file_breaks_the_reader(shared: Shared, tmp_path: Path, source: str) -> None:
    real = source == "real"
    data = shared("weights/tflite/mobilenet_v1_0.25_128_quant.tflite").read_bytes() if real else made().pack()
    path, random = tmp_path / "x.tflite", np.random.default_rng(0)
    for length in (*range(0, 3000, 97), *random.integers(0, len(data), 20).tolist(), len(data) - 1):
        path.write_bytes(data[:length])
        load_or_complain(path)


@cache
def parts() -> tuple[bytes, tuple[int, ...]]:
    """A small file with labels, and the places in it that are not amid a layer's numbers."""
    file = made("uint8")
    data = file.pack() + zipped(b"a\nb\nc\nd\ne\n", 8)
    found = sorted((data.index(tensor.data), len(tensor.data)) for tensor in file.tensors if len(tensor.data) > 64)
    ends = [0, *(place for start, length in found for place in (start + 8, start + length - 8)), len(data)]
    return data, tuple(i for start, end in list(pairwise(ends))[::2] for i in range(start, end))


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_file_with_damaged_bytes_is_a_network_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole, places = parts()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from(places))
        words = st.sampled_from([bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\x80\x7f"])
        some = data.draw(st.binary(min_size=1, max_size=2) | words)
        damaged[place : place + len(some)] = some
    path = tmp_path_factory.getbasetemp() / "damaged.tflite"
    path.write_bytes(damaged)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    load_or_complain(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB
