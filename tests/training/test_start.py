"""Weights to start from, and batch normalisation that is given statistics again."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from onelook import CheckpointError, Error, backbones, checkpoint, detectors, tflite
from onelook.checkpoint import Checkpoint
from onelook.trained import Trained, save
from onelook.training.start import load_weights, read_weights, recalibrate
from rectangles import randomise, same, scalars

OPTIONS = {"classes": 3, "backbone": "mobilenet_v1", "alpha": 0.25, "width": 16}


def detector(**options: object) -> nn.Module:
    return detectors.create("yolo_v3", **{**OPTIONS, **options})


def saved_classifier(folder: Path, name: str = "mobilenet_v1", alpha: float = 0.25) -> Path:
    network = backbones.create(name, classes=5, alpha=alpha).eval()
    randomise(network)
    options = {"classes": 5, "alpha": alpha}
    found = Checkpoint(network, name, options, None, (64, 64), network.mean, network.std, 0.875)
    return checkpoint.save(found, folder / "classifier.safetensors")


def complaint(network: nn.Module, source: object) -> str:
    before = scalars(network)
    with pytest.raises(Error) as caught:
        load_weights(network, source)  # type: ignore[arg-type]
    assert str(caught.value).isprintable()
    assert same(scalars(network), before)
    return str(caught.value)


# Statistics.


def test_recalibrated_a_network_computes_the_same_and_in_training_mode_too() -> None:
    torch.manual_seed(0)
    network = backbones.create("mobilenet_v1", classes=4, alpha=0.25).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as a TensorFlow Lite file has it: folded
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
    pictures = torch.rand(32, 3, 64, 64)
    with torch.no_grad():
        before = network(pictures)
        recalibrate(network, pictures.split(8))
        assert not network.training
        after = network(pictures)
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
        training = copy.deepcopy(network).train()
        training.head.eval()  # no dropout
        spread = before.std()
        assert (training(pictures) - before).abs().max() < 0.05 * spread


def test_without_it_the_training_mode_is_another_function() -> None:
    """What the test before would miss if statistics did not matter here."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    pictures = 5 * torch.rand(8, 3, 16, 16) + 3
    with torch.no_grad():
        before = network.eval()(pictures)
        assert (network.train()(pictures) - before).abs().max() > 0.5
        network.eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
        before = network(pictures)
        recalibrate(network, [pictures])
        torch.testing.assert_close(network(pictures), before, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(network.train()(pictures), before, rtol=1e-4, atol=1e-4)


def test_the_statistics_are_those_of_the_pictures() -> None:
    norm = nn.BatchNorm2d(3)
    pictures = torch.randn(6, 3, 4, 4) * torch.tensor([1.0, 2, 3])[:, None, None] + 7
    recalibrate(nn.Sequential(norm), pictures.split(2))
    torch.testing.assert_close(norm.running_mean, pictures.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, pictures.var((0, 2, 3), correction=0))
    assert not norm._forward_pre_hooks


def test_no_pictures_leave_a_network_as_it_is() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3))
    before = scalars(network)
    recalibrate(network, [])
    assert same(scalars(network), before)


def test_a_channel_that_is_always_the_same_stays_finite() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2))
    recalibrate(network, [torch.full((4, 2, 3, 3), 5.0)])
    assert all(tensor.isfinite().all() for tensor in scalars(network).values())
    torch.testing.assert_close(
        network.eval()(torch.full((1, 2, 3, 3), 5.0)).mean(), torch.tensor(5.0), rtol=1e-4, atol=0
    )


# Weights.


def test_a_classifier_gives_its_backbone(tmp_path: Path) -> None:
    path, network = saved_classifier(tmp_path), detector()
    before = scalars(network)
    count = load_weights(network, path)
    own = checkpoint.load(path).network.state_dict()
    for key, tensor in network.state_dict().items():
        if key.startswith("backbone."):
            assert torch.equal(tensor, own[key.removeprefix("backbone.")])
        else:
            assert not tensor.is_floating_point() or torch.equal(tensor, before[key])
    assert count == sum(key.startswith("backbone.") for key in network.state_dict())


@pytest.mark.parametrize("name", ["mobilenet_v1", "vgg16"])  # with batch normalisation, and with a bias
def test_a_classifier_of_other_pixels_gives_a_backbone_that_sees_the_same(name: str, tmp_path: Path) -> None:
    """As Darknet's VGG-16, which takes pixels from -1 to 1, where the paper takes the mean of all pictures from them."""
    options = {"classes": 5, "alpha": 0.25} if name == "mobilenet_v1" else {"classes": 5, "picture": 32}
    network = backbones.create(name, **options).eval()
    randomise(network)
    mean, std = (120.0, 110.0, 100.0), (50.0, 60.0, 127.5)
    found = Checkpoint(network, name, options, None, (32, 32), mean, std, 0.875)
    _, weights = read_weights(checkpoint.save(found, tmp_path / "x.safetensors"))
    own = backbones.create(name, **options).eval()
    own.load_state_dict({key.removeprefix("backbone."): tensor for key, tensor in weights.items()})
    image = torch.randint(256, (1, 3, 32, 32)).float()
    with torch.no_grad():
        seen, expected = (
            net.body[0]((image - torch.tensor(m)[:, None, None]) / torch.tensor(s)[:, None, None])
            for net, m, s in ((own, own.mean, own.std), (network, mean, std))
        )
    assert expected.std() > 0.01
    torch.testing.assert_close(seen[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], rtol=1e-3, atol=1e-4)


def test_a_detector_gives_all_that_fits(tmp_path: Path) -> None:
    """Of one with other classes all but the last convolutions."""
    source = detector(classes=7)
    randomise(source)
    about = Trained("yolo_v3", {**OPTIONS, "classes": 7}, tuple("abcdefg"), (64, 64))
    path = save(about, source.state_dict(), tmp_path / "x.safetensors")
    assert read_weights(path)[0] == "yolo_v3"
    network = detector()
    left = len(network.state_dict()) - load_weights(network, path)
    assert left == 6  # three scales, weight and bias of the last layer
    twin = detector(classes=7)
    assert load_weights(twin, path) == len(source.state_dict())
    assert same(scalars(twin), scalars(source))


def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path) -> None:
    path = saved_classifier(tmp_path)
    expected = f"{path}: has the weights of mobilenet_v1, which is not the backbone that is trained"
    assert complaint(detector(alpha=0.5), path) == expected
    assert complaint(detectors.create("yolo_v3", classes=3, backbone="mobilenet_v2", alpha=0.35), path) == expected


def test_files_that_are_no_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    network = detector()
    for name in ("gone.safetensors", "gone.tflite", "x.onnx", "x", ""):
        complaint(network, tmp_path / name)
    (tmp_path / "x.safetensors").write_bytes(b"no weights")
    (tmp_path / "x.tflite").write_bytes(b"no weights")
    (tmp_path / "x.cfg").write_text("[net]\n")
    complaint(network, tmp_path / "x.safetensors")
    complaint(network, tmp_path / "x.tflite")
    complaint(network, (tmp_path / "x.cfg", tmp_path / "x.safetensors"))
    complaint(network, (tmp_path / "gone.cfg", tmp_path / "gone.weights"))
    with pytest.raises(CheckpointError, match=r"Darknet's \.cfg and \.weights"):
        read_weights(tmp_path / "x.onnx")


def test_a_published_file_gives_the_backbone(shared: Callable[[str], Path]) -> None:
    """And recalibrated, its batch normalisation is that of pictures."""
    path = shared("weights/tflite/mobilenet_v1_0.25_128_quant.tflite")
    network = detector()
    load_weights(network, path)
    own = tflite.load(path).network.state_dict()
    assert all(
        torch.equal(tensor, own[key.removeprefix("backbone.")])
        for key, tensor in network.state_dict().items()
        if key.startswith("backbone.")
        and not key.startswith("backbone.body.0.")  # whose file's pixels are (x - 128) / 128
    )
    pictures = torch.rand(8, 3, 64, 64)
    with torch.no_grad():
        before = network.eval()(pictures)
        recalibrate(network, pictures.split(4))
        for one, other in zip(network(pictures), before, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-2, atol=2e-3)
