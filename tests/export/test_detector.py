"""The model file against torch: the same boxes and scores from the same pixels."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from networks import DETECTORS, NET, conv
from onelook import DarknetError, Error, ModelError, darknet
from onelook.nms import nms
from onelook.runtime.session import open_session

Make = Callable[..., Path]
Files = Callable[[str], tuple[Path, Path]]
KINDS = ["v1", "v2", "tree", "v3", "v4", "new_coords"]


def engines() -> list[str]:
    return ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]


def pictures(batch: int, height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(batch).integers(0, 256, (batch, height, width, 3), np.uint8)


def in_torch(network: darknet.Darknet, images: NDArray[np.uint8], score: float, iou: float) -> list[torch.Tensor]:
    """What the file must give: boxes, scores, classes and picture of every detection, picture by picture."""
    with torch.no_grad():
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        boxes, scores = network.decode(network(x), (images.shape[1], images.shape[2]))
    batch, box, label = (scores > score).nonzero().unbind(1)
    boxes, scores = boxes[batch, box], scores[batch, box, label]
    extent = torch.tensor((images.shape[2], images.shape[1]) * 2)
    kept = nms(boxes / extent, scores, iou, label, batch, network.diou_beta)
    kept = kept[batch[kept].argsort(stable=True)]
    return [boxes[kept], scores[kept], label[kept], batch[kept]]


@pytest.mark.parametrize("engine", engines())
@pytest.mark.parametrize("kind", KINDS)
def test_file_and_torch_find_the_same_in_any_batch(
    model_file: Make, darknet_files: Files, kind: str, engine: str
) -> None:
    session = open_session(model_file(kind), engine)
    network = darknet.load(*darknet_files(kind))
    for batch in (1, 3):
        images = pictures(batch)
        expected = in_torch(network, images, 0.3, 0.45)
        found = session.run(images, 0.3, 0.45)
        assert len(found[0]) > 3 * batch
        assert found[2].tolist() == expected[2].tolist()
        assert found[3].tolist() == expected[3].tolist()
        np.testing.assert_allclose(found[0], expected[0], atol=1e-3, rtol=1e-5)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-4)


@pytest.mark.parametrize("engine", engines())
def test_dynamic_size_takes_every_multiple_of_32(model_file: Make, darknet_files: Files, engine: str) -> None:
    session = open_session(model_file("v3", dynamic_size=True), engine)
    network = darknet.load(*darknet_files("v3"))
    assert session.info.dynamic_size
    for height, width in ((64, 64), (32, 96), (160, 128)):
        images = pictures(2, height, width)
        expected = in_torch(network, images, 0.4, 0.45)
        found = session.run(images, 0.4, 0.45)
        assert found[2].tolist() == expected[2].tolist()
        np.testing.assert_allclose(found[0], expected[0], atol=1e-3, rtol=1e-5)


def test_the_file_is_valid_and_says_what_it_is(model_file: Make) -> None:
    path = model_file("v2", batch=2)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: [side.dim_value or side.dim_param for side in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes["image"] == [2, 64, 64, 3]
    assert shapes["score_threshold"] == shapes["iou_threshold"] == []
    assert [output.name for output in model.graph.output] == ["boxes", "scores", "classes", "batch_index"]
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    assert kinds["image"] == onnx.TensorProto.UINT8
    assert kinds["boxes"] == kinds["scores"] == onnx.TensorProto.FLOAT
    assert kinds["classes"] == kinds["batch_index"] == onnx.TensorProto.INT64
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["task"] == "detect"
    assert json.loads(metadata["names"]) == ["cat", "dog", "bird"]
    assert json.loads(metadata["size"]) == [64, 64]
    assert (metadata["resize"], metadata["score_threshold"], metadata["iou_threshold"]) == ("letterbox", "0.25", "0.45")
    assert set(json.loads(metadata["origin"])) == {"by", "cfg", "cfg_sha256", "weights", "weights_sha256"}
    for node in model.graph.node:
        assert node.domain in ("", "ai.onnx"), node.op_type


def test_both_engines_read_the_same_metadata(model_file: Make) -> None:
    infos = [open_session(model_file("v1"), engine).info for engine in engines()]
    assert all(info == infos[0] for info in infos)
    assert infos[0].resize == "stretch"


def test_the_picture_between_the_bars_sets_the_scale_of_diou(model_file: Make, darknet_files: Files) -> None:
    """Darknet measures the distance of boxes relative to the picture, so bars change what is suppressed."""
    network = darknet.load(*darknet_files("v4"))
    session = open_session(model_file("v4", resize="letterbox"), "onnxruntime")
    images = pictures(1)
    images[:, :20] = images[:, 44:] = 128
    with torch.no_grad():
        boxes, scores = network.decode(network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255), (64, 64))
    _, box, label = (scores > 0.2).nonzero().unbind(1)
    boxes, scores = boxes[0, box], scores[0, box, label]
    kept = nms(boxes / torch.tensor((64, 24, 64, 24)), scores, 0.3, label, diou_beta=0.6)
    found = session.run(images, 0.2, 0.3)
    np.testing.assert_allclose(found[0], boxes[kept], atol=1e-3)


@pytest.mark.parametrize("engine", engines())
def test_grey_that_is_no_bar_changes_nothing(model_file: Make, darknet_files: Files, engine: str) -> None:
    """A stretched picture has no bars; of one with bars, what is grey from edge to edge is one."""
    network = darknet.load(*darknet_files("v4"))
    images = pictures(2)
    images[0, 32] = images[1, :, 32] = 128  # the middle row, and the middle column
    for options in ({}, {"dynamic_size": True}, {"batch": 2}):
        found = open_session(model_file("v4", **options), engine).run(images, 0.2, 0.3)
        expected = in_torch(network, images, 0.2, 0.3)
        assert found[2].tolist() == expected[2].tolist()
        np.testing.assert_allclose(found[0], expected[0], atol=1e-3)
    images[0, 32, 0] = images[1, 0, 32] = 0  # not grey from edge to edge
    found = open_session(model_file("v4", resize="letterbox"), engine).run(images, 0.2, 0.3)
    np.testing.assert_allclose(found[0], in_torch(network, images, 0.2, 0.3)[0], atol=1e-3)


@pytest.mark.parametrize(("kind", "resize"), [("v1", "stretch"), ("v3", "letterbox"), ("v4", "stretch")])
def test_pictures_are_resized_as_the_network_was_trained(model_file: Make, kind: str, resize: str) -> None:
    assert open_session(model_file(kind), "onnxruntime").info.resize == resize


def test_a_network_of_one_channel_takes_pictures_in_colour(tmp_path: Path) -> None:
    from onelook import convert

    files = tmp_path / "grey.cfg", tmp_path / "grey.weights"
    files[0].write_text(DETECTORS["v3"].replace("channels=3", "channels=1"))
    network = darknet.Darknet(files[0]).eval()
    darknet.save_weights(network, files[1])
    images = pictures(2)
    found = open_session(convert(files), "onnxruntime").run(images, 0.2, 0.45)
    expected = in_torch(network, images, 0.2, 0.45)
    assert len(found[0]) > 3
    np.testing.assert_allclose(found[0], expected[0], atol=1e-3)
    files[0].write_text(DETECTORS["v3"].replace("channels=3", "channels=4"))
    with pytest.raises(DarknetError, match=r"grey\.cfg:4: \[net\] has 'channels' of 4; model files take"):
        convert(files)


def test_a_network_of_stride_64_is_refused_a_dynamic_size(tmp_path: Path) -> None:
    from onelook import convert

    files = tmp_path / "x.cfg", tmp_path / "x.weights"
    body = NET + conv(4, stride=2) * 6 + "[upsample]\nstride=2\n[route]\nlayers=-1,-3\n"
    files[0].write_text(f"{body}{conv(24, 1)}[yolo]\nclasses=3\nanchors=5,8, 16,20, 30,16\n")
    darknet.save_weights(darknet.Darknet(files[0]), files[1])
    with pytest.raises(DarknetError, match=r"joins maps of different size: .* of 96 x 32; drop --dynamic-size"):
        convert(files, dynamic_size=True)
    assert not (tmp_path / "x.onnx").exists()


def test_converting_leaves_the_network_as_it_was(darknet_files: Files, tmp_path: Path) -> None:
    from onelook.export import export_detector

    network = darknet.load(*darknet_files("v3"))
    before = str(network)
    export_detector(network, tmp_path / "x.onnx", ("a", "b", "c"), (64, 64))
    assert str(network) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.onnx"]


def test_what_cannot_be_converted_is_said_in_one_line(darknet_files: Files, tmp_path: Path) -> None:
    from onelook import convert

    files = darknet_files("v1")
    with pytest.raises(DarknetError, match=r"\[local\] takes one size of input alone"):
        convert(files, tmp_path / "x.onnx", dynamic_size=True)
    with pytest.raises(Error, match="has 80 names; the network tells 3 classes apart"):
        convert(files, tmp_path / "x.onnx", "coco")
    with pytest.raises(Error, match="resize must be letterbox or stretch for a model to detect"):
        convert(files, tmp_path / "x.onnx", resize="crop")
    with pytest.raises(Error, match="resize must be letterbox, stretch or crop; found 'zoom'"):
        convert(files, tmp_path / "x.onnx", resize="zoom")
    with pytest.raises(Error, match="of a detector a model file is written"):
        convert(files, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="cannot be written"):
        convert(darknet_files("v3"), tmp_path)
    features = tmp_path / "features.cfg"
    features.write_text("[net]\nwidth=8\nheight=8\n[avgpool]\n")
    with pytest.raises(DarknetError, match="neither detects nor classifies"):
        convert((features, files[1]))
    assert not (tmp_path / "x.onnx").exists()


def test_real_models_agree_with_torch_in_both_engines(shared: Callable[[str], Path], tmp_path: Path) -> None:
    from onelook import convert

    weights = shared("weights/darknet/yolo-fastest-1.1.weights")
    image = shared("data/photos/dog.jpg")
    from onelook.runtime import picture
    from onelook.runtime.resize import place

    path = convert((weights.with_suffix(".cfg"), weights), tmp_path / "x.onnx", "coco")
    network = darknet.load(weights.with_suffix(".cfg"), weights)
    canvas = np.zeros((1, 320, 320, 3), np.uint8)
    place(picture.read(str(image)), canvas[0], "stretch", "darknet")
    expected = in_torch(network, canvas, 0.05, 0.45)
    for engine in engines():
        found = open_session(path, engine).run(canvas, 0.05, 0.45)
        assert found[2].tolist() == expected[2].tolist()
        np.testing.assert_allclose(found[0], expected[0], atol=1e-3)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-4)
