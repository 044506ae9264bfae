"""A segmenter's model file against torch: the same class of each pixel, in every engine."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import naive
from onelook.backbones import MobileNetV2
from onelook.export.segmenter import export_segmenter
from onelook.runtime import picture
from onelook.runtime.resize import place
from onelook.segmenters import DeepLabV3
from onelook.tflite import segmenter

Run = Callable[[NDArray[np.uint8]], NDArray[Any]]
NAMES = ("background", "cat", "chien, ça", "鳥", '"')
SIZE = (49, 65)


def in_onnxruntime(path: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(["mask"], {"image": image})[0]


def in_openvino(path: Path) -> Run:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = openvino.compile_model(openvino.Core().read_model(path), "CPU", settings)
    return lambda image: np.array(model([image])["mask"])


ENGINES = [in_onnxruntime, *([in_openvino] if importlib.util.find_spec("openvino") else [])]


def pictures(batch: int, height: int, width: int) -> NDArray[np.uint8]:
    """Random colours in blocks, as a mean over noise is the same for every picture."""
    blocks = np.random.default_rng(batch).integers(0, 256, (batch, -(-height // 8), -(-width // 8), 3), np.uint8)
    return blocks.repeat(8, 1).repeat(8, 2)[:, :height, :width]


def random() -> DeepLabV3:
    """A small one with all its branches, to which every class is as likely."""
    torch.manual_seed(0)
    network = DeepLabV3(MobileNetV2(0.35, classes=0), len(NAMES), aspp=True).eval()
    normalisation = {key: x for key, x in network.state_dict().items() if key in ("mean", "std")}
    network.load_state_dict(naive.random_state(network) | normalisation)
    with torch.no_grad():
        raw = network(torch.from_numpy(pictures(3, *SIZE)).permute(0, 3, 1, 2).float() / 255)
        assert network.logits.bias is not None
        network.logits.bias -= raw.mean((0, 2, 3))
    return network


def agreement(network: DeepLabV3, image: NDArray[np.uint8], mask: NDArray[Any]) -> float:
    """The share of pixels with torch's class."""
    with torch.no_grad():
        raw = network(torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255)
        expected = network.decode(raw, image.shape[1:3]).numpy()  # type: ignore[arg-type]
    assert mask.shape == expected.shape
    assert len(np.unique(expected)) > 1
    return float(np.mean(mask == expected))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DeepLabV3]:
    """A model file, made of a network in the middle of its training."""
    network = random().train()
    path = tmp_path_factory.mktemp("made") / "x.onnx"
    before = str(network), {key: x.clone() for key, x in network.state_dict().items()}
    origin = {"by": "ü"}
    found = export_segmenter(network, path, NAMES, SIZE, resize="stretch", parameters=7, multiply_adds=8, origin=origin)
    assert found == path
    assert str(network) == before[0]
    assert all(module.training for module in network.modules())
    assert all(torch.equal(x, before[1][key]) for key, x in network.state_dict().items())
    return path, network.eval()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_gives_the_classes_of_torch_in_any_batch(
    made: tuple[Path, DeepLabV3], engine: Callable[[Path], Run]
) -> None:
    path, network = made
    run = engine(path)
    for batch in (1, 3):
        image = pictures(batch, *SIZE)
        mask = run(image)
        assert mask.dtype == np.uint8
        assert agreement(network, image, mask) > 0.999


def test_a_file_is_valid_onnx_with_its_metadata(made: tuple[Path, DeepLabV3]) -> None:
    model = onnx.load(made[0])
    onnx.checker.check_model(model, full_check=True)
    (image,), (mask,) = model.graph.input, model.graph.output
    assert (image.name, mask.name) == ("image", "mask")
    kinds = image.type.tensor_type.elem_type, mask.type.tensor_type.elem_type
    assert kinds == (onnx.TensorProto.UINT8, onnx.TensorProto.UINT8)
    assert [side.dim_value for side in image.type.tensor_type.shape.dim][1:] == [*SIZE, 3]
    assert [side.dim_value for side in mask.type.tensor_type.shape.dim][1:] == [*SIZE]
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not {"BatchNormalization", "Dropout"} & {node.op_type for node in model.graph.node}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    origin, names, size = (json.loads(metadata.pop(key)) for key in ("origin", "names", "size"))
    assert (origin, names, size) == ({"by": "ü"}, list(NAMES), [*SIZE])
    assert metadata == {
        "format": "onelook/1", "task": "segment", "resize": "stretch", "sampling": "linear", "parameters": "7",
        "multiply_adds": "8",
    }  # fmt: skip


class Stripes(nn.Module):
    """Class of a pixel of a picture 1 high: where its red is."""

    def forward(self, image: Tensor) -> Tensor:
        return image

    def decode(self, raw: Tensor, size: tuple[int, int]) -> Tensor:
        return (raw[:, 0] * 255).round().long() * 2


@pytest.mark.parametrize(("classes", "dtype"), [(255, np.uint8), (256, np.int64)])
def test_more_classes_than_fit_in_a_byte_are_int64(tmp_path: Path, classes: int, dtype: type) -> None:
    path = export_segmenter(Stripes(), tmp_path / "x.onnx", [str(i) for i in range(classes)], (1, 4))
    image = np.array([0, 1, 126, 127], np.uint8).reshape(1, 1, 4, 1).repeat(3, 3)
    mask = in_onnxruntime(path)(image)
    assert mask.dtype == dtype
    assert mask.tolist() == [[[0, 2, 252, 254]]]


def test_the_real_network_gives_the_classes_of_torch_on_photographs(
    shared: Callable[[str], Path], tmp_path: Path
) -> None:
    found = segmenter.load(shared("weights/tflite/deeplabv3_mnv2_pascal_quant.tflite"))
    path = export_segmenter(found.network, tmp_path / "x.onnx", [str(i) for i in range(21)], found.size)
    image = np.zeros((2, *found.size, 3), np.uint8)
    for canvas, name in zip(image, ("000000000285", "000000000785"), strict=True):
        place(picture.read(shared(f"data/coco128/images/val2017/{name}.jpg")), canvas, "letterbox", "linear")
    assert agreement(found.network, image, in_onnxruntime(path)(image)) > 0.9999
