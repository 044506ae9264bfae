"""A classifier's model file against torch: the same probabilities from the same pixels, in every engine."""

import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from onelook import ModelError, convert, tflite
from onelook.export import export_classifier
from onelook.runtime.session import open_session
from tflite_files import backbone

ENGINES = ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]
# Side of the picture and multiply-adds with 1001 classes, reckoned from the papers' tables.
REAL = {
    "mobilenet_v1_0.25_128_quant": (128, 13_570_304),
    "mobilenet_v2_1.0_224_quant": (224, 300_775_552),
}
MEAN, STD = (10.0, 100.0, 200.0), (50.0, 60.0, 70.0)


def pictures(batch: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(batch).integers(0, 256, (batch, height, width, 3), np.uint8)


def in_torch(
    network: nn.Module, pixels: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]
) -> torch.Tensor:
    """Probabilities [B, C]; each picture is normalised by a plain loop over its colours."""
    planes = torch.stack([(torch.from_numpy(pixels[..., i]).float() - mean[i]) / std[i] for i in range(3)], dim=1)
    with torch.no_grad():
        return network(planes).softmax(1)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A model file for two pictures a run, made of a network in the middle of its training."""
    network = backbone("mobilenet_v2", classes=4).train()
    path = tmp_path_factory.mktemp("made") / "new" / "x.onnx"
    before = str(network), {key: x.clone() for key, x in network.state_dict().items()}
    names = ("cat", "chien, ça", "鳥", '"')
    classifier = nn.Sequential(network, nn.Softmax(1))
    found = export_classifier(
        classifier, path, names, (64, 96), MEAN, STD, batch=2, resize="stretch", origin={"by": "ü"}
    )
    assert found == path
    assert [x.name for x in path.parent.iterdir()] == ["x.onnx"]
    assert str(network) == before[0]
    assert all(module.training for module in network.modules())
    assert all(torch.equal(x, before[1][key]) for key, x in network.state_dict().items())
    return path, network.eval()


@pytest.mark.parametrize("name", REAL)
def test_a_real_file_gives_the_probabilities_of_torch_in_any_batch_and_says_what_it_is(
    shared: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    source = shared(f"weights/tflite/{name}.tflite")
    found = tflite.load(source)
    path = convert(source, tmp_path / "x.onnx")
    size, multiply_adds = REAL[name]
    pixels = pictures(3, size, size)
    expected = in_torch(found.network, pixels, found.mean, found.std)
    sessions = [open_session(path, engine) for engine in ENGINES]
    for session in sessions:
        (together,) = session.run(pixels)
        assert together.dtype == np.float32
        np.testing.assert_allclose(together, expected, rtol=0, atol=1e-4)
        for image, row in zip(pixels, together, strict=True):
            np.testing.assert_allclose(session.run(image[None])[0][0], row, rtol=0, atol=1e-6)
    info = sessions[0].info
    assert all(session.info == info for session in sessions)
    assert (info.task, info.size, info.batch, info.dynamic_size) == ("classify", (size, size), None, False)
    assert (info.resize, info.crop, info.sampling) == ("crop", 0.875, "linear")
    assert list(info.names) == shared("weights/tflite/imagenet_labels.txt").read_text("utf-8").splitlines()
    assert info.parameters == sum(x.numel() for x in found.network.parameters())
    assert info.multiply_adds == multiply_adds
    assert info.origin["tflite"] == source.name
    assert info.origin["tflite_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (info.origin["network"], info.origin["alpha"]) == (name[:12], float(name.split("_")[2]))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_made_file_gives_the_probabilities_of_torch_for_its_number_of_pictures(
    made: tuple[Path, nn.Module], engine: str
) -> None:
    path, network = made
    session = open_session(path, engine)
    assert session.info.batch == 2
    pixels = pictures(2, 64, 96)
    expected = in_torch(network, pixels, MEAN, STD)
    assert expected.std() > 0.01
    np.testing.assert_allclose(session.run(pixels)[0], expected, rtol=0, atol=1e-4)
    with pytest.raises(Exception, match=r"(?i)got|shape|dimension"):
        session.run(pictures(3, 64, 96))


def test_a_made_file_is_valid_onnx_with_its_metadata(made: tuple[Path, nn.Module]) -> None:
    model = onnx.load(made[0])
    onnx.checker.check_model(model, full_check=True)
    (image,), (probabilities,) = model.graph.input, model.graph.output
    assert (image.name, probabilities.name) == ("image", "probabilities")
    kinds = image.type.tensor_type.elem_type, probabilities.type.tensor_type.elem_type
    assert kinds == (onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT)
    assert [side.dim_value for side in image.type.tensor_type.shape.dim] == [2, 64, 96, 3]
    assert [side.dim_value for side in probabilities.type.tensor_type.shape.dim] == [2, 4]
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not {"BatchNormalization", "Dropout"} & {node.op_type for node in model.graph.node}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert {key: metadata[key] for key in ("format", "task", "resize", "sampling")} == {
        "format": "onelook/1", "task": "classify", "resize": "stretch", "sampling": "linear",
    }  # fmt: skip
    assert json.loads(metadata["names"]) == ["cat", "chien, ça", "鳥", '"']
    assert (json.loads(metadata["size"]), float(metadata["crop"]), json.loads(metadata["origin"])) == (
        [64, 96], 1.0, {"by": "ü"},
    )  # fmt: skip


def test_a_place_that_cannot_be_written_is_said_in_one_line(made: tuple[Path, nn.Module], tmp_path: Path) -> None:
    from onelook.export.graph import write

    model = onnx.load(made[0])
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for place in ("folder", "file/x.onnx", "file/folder/x.onnx", "long" * 99):
        path = tmp_path / place
        with pytest.raises(ModelError) as caught:
            write(model, {}, path)
        assert str(caught.value).startswith(f"{path}: cannot be written: ")
        assert str(caught.value).isprintable()
    assert sorted(x.name for x in tmp_path.iterdir()) == ["file", "folder"]
