"""The reader against plain loops over the same flatbuffer, number by number, and files that are damaged or hostile."""

import contextlib
import itertools
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tflite
from numpy.typing import NDArray

import tflite_files as files
from onelook import CheckpointError
from onelook.tflite import Tensor, read_tflite, reader
from tflite_files import FLOAT16, INT32, RELU, RELU6, UINT8, VALID, File, Operator, zipped

REAL = "weights/tflite/mobilenet_v1_0.25_128_quant.tflite"
NAMES = ("cat", "dog", "bird")


def small(kind: str = "CONV_2D", **changes: object) -> File:
    """One operator with a kernel and a bias."""
    file = File(inputs=[0])
    for tensor in (
        files.Tensor((1, 8, 8, 3)),
        files.Tensor((2, 3, 3, 3), UINT8, bytes(range(54)), (0.5,), (7,)),
        files.Tensor((2,), INT32, struct.pack("<2i", -5, 9), (0.25,), (0,)),
        files.Tensor((1, 8, 8, 2)),
    ):
        file.add(tensor)
    file.operators.append(Operator(kind, [0, 1, 2], [3], **changes))  # type: ignore[arg-type]
    return file


def complaint(path: Path) -> str:
    """What is said of a file that is refused: one line of bearable length that begins with the path."""
    with pytest.raises(CheckpointError) as caught:
        read_tflite(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < len(str(path)) + 500
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("source", [REAL, "uint8", "int8"])
def test_dequantized_numbers_are_those_of_a_plain_loop(
    shared: Callable[[str], Path], tmp_path: Path, source: str
) -> None:
    """The first convolution's and the first depthwise convolution's kernels and biases."""
    made = source in ("uint8", "int8")
    path = files.classifier(files.backbone(), 32, source).save(tmp_path / "x") if made else shared(source)
    graph = read_tflite(path)
    model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
    plain = model.Subgraphs(0)
    for number, step in itertools.product((0, 1), (1, 2)):
        index = plain.Operators(number).Inputs(step)
        tensor = plain.Tensors(index)
        stored, quantization = model.Buffers(tensor.Buffer()), tensor.Quantization()
        shape = [tensor.Shape(i) for i in range(tensor.ShapeLength())]
        code = {tflite.TensorType.UINT8: "<B", tflite.TensorType.INT8: "<b", tflite.TensorType.INT32: "<i"}[
            tensor.Type()
        ]
        size = struct.calcsize(code)
        expected = []
        for i, place in enumerate(itertools.product(*map(range, shape))):
            data = bytes(stored.Data(size * i + k) for k in range(size))
            channel = place[quantization.QuantizedDimension()] if quantization.ScaleLength() > 1 else 0
            (value,) = struct.unpack(code, data)
            expected.append((value - quantization.ZeroPoint(channel)) * quantization.Scale(channel))
        found = graph.tensors[index].real()
        assert list(found.shape) == shape
        assert found.dtype == np.float32
        assert found.flatten().tolist() == np.array(expected, np.float32).tolist()


def test_real_files_hold_28_and_53_convolutions(shared: Callable[[str], Path]) -> None:
    for name, expected in (("v1_0.25_128", 28), ("v1_0.5_160", 28), ("v1_0.75_192", 28), ("v2_1.0_224", 53)):
        graph = read_tflite(shared(f"weights/tflite/mobilenet_{name}_quant.tflite"))
        assert sum(operator.kind.endswith("CONV_2D") for operator in graph.operators) == expected
        assert sum(operator.kind == "ADD" for operator in graph.operators) == (10 if expected == 53 else 0)


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("CONV_2D", {}, ("CONV_2D", (1, 1), True, "linear")),
        ("CONV_2D", {"stride": (2, 1), "activation": RELU6}, ("CONV_2D", (2, 1), True, "relu6")),
        ("DEPTHWISE_CONV_2D", {"stride": (1, 2), "padding": VALID}, ("DEPTHWISE_CONV_2D", (1, 2), False, "linear")),
        ("CONV_2D", {"activation": RELU}, ("CONV_2D", (1, 1), True, "relu")),
        ("ADD", {"activation": tflite.ActivationFunctionType.TANH}, ("ADD", (1, 1), True, "other")),
        ("FULLY_CONNECTED", {"activation": RELU}, ("FULLY_CONNECTED", (1, 1), True, "relu")),
        ("CONV_2D", {"dilation": 2}, ("CONV_2D with dilation 2", (1, 1), True, "linear")),
        ("SOFTMAX", {}, ("SOFTMAX", (1, 1), True, "linear")),
        ("GELU", {}, ("GELU", (1, 1), True, "linear")),  # a code above 127, the most that files once had
    ],
)
def test_operators_keep_their_options(
    tmp_path: Path, kind: str, changes: dict[str, object], expected: tuple[object, ...]
) -> None:
    graph = read_tflite(small(kind, **changes).save(tmp_path / "x.tflite"))
    (operator,) = graph.operators
    assert (operator.kind, operator.strides, operator.same, operator.activation) == expected
    assert (operator.inputs, operator.outputs, graph.inputs) == ((0, 1, 2), (3,), (0,))


def test_tensors_keep_shape_type_and_scale(tmp_path: Path) -> None:
    file = small()
    file.add(files.Tensor((2,), FLOAT16, np.array((0.5, -2), np.float16).tobytes()))
    file.add(files.Tensor((2,), tflite.TensorType.STRING, b"ab"))
    picture, kernel, bias, _, halves, text = read_tflite(file.save(tmp_path / "x.tflite")).tensors
    assert (picture.shape, picture.dtype, picture.scale.size, picture.data.size) == ((1, 8, 8, 3), "<f4", 0, 0)
    assert (kernel.shape, kernel.dtype) == ((2, 3, 3, 3), "u1")
    assert (kernel.scale.tolist(), kernel.zero_point.tolist()) == ([0.5], [7])
    assert kernel.real().flatten().tolist() == [(i - 7) / 2 for i in range(54)]
    assert bias.real().tolist() == [-1.25, 2.25]
    assert halves.real().tolist() == [0.5, -2]
    assert text.dtype == ""


def stored(
    shape: tuple[int, ...],
    dtype: str,
    scale: tuple[float, ...],
    zero: tuple[int, ...],
    axis: int,
    data: NDArray[np.uint8],
) -> Tensor:
    return Tensor(shape, dtype, np.array(scale, np.float32), np.array(zero, np.int64), axis, data)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (stored((3,), "", (), (), 0, np.ones(3, np.uint8)), "no numbers that can be read"),
        (stored((3,), "<f4", (), (), 0, np.empty(0, np.uint8)), "no numbers that can be read"),
        (stored((3,), "u1", (), (), 0, np.ones(3, np.uint8)), "without a scale"),
        (stored((4,), "u1", (1.0,), (0,), 0, np.ones(3, np.uint8)), "cannot reshape"),
        (stored((-3,), "u1", (1.0,), (0,), 0, np.ones(4, np.uint8)), "cannot be of shape"),
        (stored((1,), "<f4", (), (), 0, np.ones(3, np.uint8)), "size"),
        (stored((2, 3), "u1", (1.0, 2.0), (0, 0), 1, np.ones(6, np.uint8)), "."),  # two scales for three columns
        (stored((1, 3), "u1", (1.0, 2.0), (0, 0), 0, np.ones(3, np.uint8)), "."),  # two scales for one row
        (stored((2,), "u1", (1.0, 2.0), (0, 0), 1, np.ones(2, np.uint8)), "scales along dimension 1"),
        (stored((2,), "u1", (1.0, 2.0), (0, 0), -1, np.ones(2, np.uint8)), "scales along dimension -1"),
        (stored((3,), "u1", (float("nan"),), (0,), 0, np.ones(3, np.uint8)), "."),
        (stored((3,), "u1", (float("inf"),), (0,), 0, np.zeros(3, np.uint8)), "."),
        (stored((3,), "u1", (3e38,), (0,), 0, np.full(3, 255, np.uint8)), "."),  # beyond float32
    ],
)
def test_numbers_that_do_not_fit_are_an_error_without_a_warning(tensor: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tensor.real()


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=str
)
def test_labels_come_from_the_archive_behind_the_model(tmp_path: Path, method: int) -> None:
    path = small().save(tmp_path / "x.tflite", zipped("cat\r\ndog\r\nöglir, böll\r\n".encode(), method))
    # What unpacks more than it is asked for, as these two may, is not opened.
    labels = None if method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA) else ("cat", "dog", "öglir, böll")
    assert read_tflite(path).labels == labels


def test_without_text_in_an_archive_there_are_no_labels(tmp_path: Path) -> None:
    assert read_tflite(small().save(tmp_path / "x.tflite")).labels is None
    assert read_tflite(small().save(tmp_path / "x.tflite", zipped(b"a", name="a.json"))).labels is None
    assert read_tflite(small().save(tmp_path / "x.tflite", b"PK\x05\x06" + bytes(18))).labels is None


def encrypted(text: bytes) -> bytes:
    """An archive that says its file is encrypted."""
    data = bytearray(zipped(text))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    "archive",
    [
        zipped(b"cat\x1b[31m\ndog\nbird\n"),
        zipped(b"cat\x00\ndog\nbird\n"),
        zipped("cat\u2028\ndog\u202e\nbird".encode()),
        zipped(b"\xff\xfe\n" * 3),
        zipped(b"name\n" * 420_000),  # 2 MB
        zipped(b"name\n" * 420_000, zipfile.ZIP_DEFLATED),
        encrypted(b"cat\ndog\nbird\n"),
        zipped(b"cat\ndog\nbird\n")[:-30],
        zipped(b"cat\ndog\nbird\n").replace(b"cat\n", b"cut\n"),  # another checksum
    ],
    ids=["escape", "null", "bidirectional", "not UTF-8", "2 MB", "2 MB packed", "encrypted", "cut", "checksum"],
)
def test_hostile_labels_are_none(tmp_path: Path, archive: bytes) -> None:
    assert read_tflite(small().save(tmp_path / "x.tflite", archive)).labels is None


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=str)
def test_an_archive_with_any_byte_damaged_gives_labels_or_none(tmp_path: Path, method: int) -> None:
    model, archive = small().pack(), zipped("\n".join(NAMES * 9).encode(), method)
    for i, mask in itertools.product(range(len(archive)), (0x01, 0xFF)):
        damaged = bytearray(archive)
        damaged[i] ^= mask
        path = tmp_path / "x.tflite"
        path.write_bytes(model + damaged)
        labels = read_tflite(path).labels
        assert labels is None or all(map(str.isprintable, labels))


@pytest.fixture
def peak(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], int]:
    """Bytes that reading a small file takes at the most."""
    monkeypatch.setattr(reader, "MAX_BYTES", 1 << 18)

    def measure(path: Path) -> int:
        tracemalloc.start()
        with contextlib.suppress(CheckpointError):
            read_tflite(path)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    return measure


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=str)
def test_an_archive_that_unpacks_to_much_takes_no_room(
    peak: Callable[[Path], int], tmp_path: Path, method: int
) -> None:
    path = small().save(tmp_path / "x.tflite", zipped(bytes(1 << 25), method))
    assert path.stat().st_size < 1 << 16
    assert peak(path) < 1 << 23


@pytest.mark.parametrize("what", ["shape", "scale", "inputs"])
def test_a_file_that_refers_many_times_to_one_long_list_takes_no_room(
    peak: Callable[[Path], int], tmp_path: Path, what: str
) -> None:
    file = small()
    if what == "inputs":
        file.operators = [Operator("ADD", [0] * 600, [3])] * 600
    else:
        file.tensors += [files.Tensor((1,) * 600 if what == "shape" else (1,), scale=(1.0,) * 600)] * 600
    path = file.save(tmp_path / "x.tflite")
    assert path.stat().st_size < 1 << 14
    assert peak(path) < 1 << 20


def test_what_cannot_be_opened_is_said_in_one_line(tmp_path: Path) -> None:
    assert complaint(tmp_path / "gone.tflite") == "there is no such file"
    assert complaint(tmp_path) == "there is no such file"
    assert complaint(tmp_path / f"{'long' * 99}.tflite")
    (tmp_path / "empty.tflite").touch()
    assert "is not a TensorFlow Lite file" in complaint(tmp_path / "empty.tflite")
    os.truncate(tmp_path / "empty.tflite", 1 << 30)  # takes no room on the disk
    assert "at most 268435456 bytes" in complaint(tmp_path / "empty.tflite")


def test_other_bytes_are_not_taken_for_a_model(tmp_path: Path) -> None:
    path, random = tmp_path / "x.tflite", np.random.default_rng(0)
    for size in (1, 7, 8, 9, 100, 10_000):
        path.write_bytes(random.bytes(size))
        assert "is not a TensorFlow Lite file" in complaint(path)
        path.write_bytes(random.bytes(4) + b"TFL3" + random.bytes(size))
        assert "is damaged or cut short" in complaint(path)
        path.write_bytes(b"\x08\0\0\0TFL3" + bytes(size))
        assert "is damaged or cut short" in complaint(path)


@pytest.mark.parametrize(
    "number", [-2, 4, 2**31 - 1, -(2**31)], ids=["below -1", "one too many", "largest", "smallest"]
)
@pytest.mark.parametrize("place", ["inputs", "outputs"])
def test_an_operator_on_a_tensor_that_is_not_there_is_damage(tmp_path: Path, place: str, number: int) -> None:
    file = small()
    getattr(file.operators[0], place)[0] = number
    assert "is damaged or cut short" in complaint(file.save(tmp_path / "x.tflite"))


def test_an_operator_of_an_unknown_number_is_damage(tmp_path: Path) -> None:
    assert "is damaged or cut short" in complaint(small("9999").save(tmp_path / "x.tflite"))
