"""Darknet's classifiers: as model files, and as our own backbones, against what the Darknet network itself computes."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import onelook
from networks import NET, conv
from onelook import Classifier, DarknetError, Error, checkpoint, convert
from onelook.darknet import Darknet, classifier, save_weights
from onelook.runtime.session import open_session

Shared = Callable[[str], Path]
Files = tuple[Path, Path]
TINY = (
    NET
    + "[crop]\ncrop_height=32\ncrop_width=48\n"
    + conv(8, stride=2)
    + conv(3, 1, activation="linear", batch_normalize=0)
    + "[avgpool]\n[softmax]\ntemperature=0.5\n[cost]\n"
)


def trained(text: str, folder: Path, name: str) -> Files:
    """A cfg and weights that give each class another probability."""
    cfg, weights = folder / f"{name}.cfg", folder / f"{name}.weights"
    cfg.write_text(text)
    torch.manual_seed(5)
    network = Darknet(cfg)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data *= (
                6**0.5
            )  # from torch's own to He et al., 2015, so that numbers of about 1 reach the end
        elif isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                assert tensor is not None
                nn.init.uniform_(tensor, -0.3, 0.3)
    save_weights(network, weights)
    return cfg, weights


def at_size(cfg: Path, side: int) -> str:
    return re.sub(r"(?m)^(height|width)=\d+", rf"\1={side}", cfg.read_text())


def in_darknet(files: Files, image: Tensor) -> Tensor:
    """The probabilities [B, C] that the Darknet network gives for pictures [B, 3, H, W] in 0..1."""
    with torch.no_grad():
        (raw,) = onelook.darknet.load(*files)(image)
    return raw.flatten(1)


def pictures(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (2, height, width, 3), np.uint8)


@pytest.mark.parametrize("name", ["darknet19", "darknet53"])
def test_a_backbone_gives_the_probabilities_of_the_darknet_network_and_so_does_a_model_file(
    shared: Shared, tmp_path: Path, name: str
) -> None:
    files = trained(at_size(shared(f"cfg/{name}.cfg"), 64), tmp_path, name)
    pixels = pictures(64, 64)
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    expected = in_darknet(files, image)
    assert expected.std(1).min() > 1e-4  # of about 1e-3
    found = checkpoint.load(convert(files, tmp_path / "x.safetensors"))
    assert (found.name, found.options, found.names) == (name, {"classes": 1000}, None)
    assert (found.size, found.mean, found.std) == ((64, 64), (0.0,) * 3, (255.0,) * 3)
    assert (found.origin["cfg"], found.origin["weights"]) == (files[0].name, files[1].name)
    with torch.no_grad():
        torch.testing.assert_close(found.network(image).softmax(1), expected, rtol=0, atol=1e-5)
    if name == "darknet53":
        return  # whose model file takes longer to make than all else here
    session = open_session(convert(files, tmp_path / "x.onnx"), "onnxruntime")
    torch.testing.assert_close(torch.from_numpy(session.run(pixels)[0]), expected, rtol=0, atol=1e-5)
    assert session.info.parameters == sum(x.numel() for x in found.network.parameters())


def test_a_tiny_classifier_becomes_a_model_file_that_names_what_it_sees(tmp_path: Path) -> None:
    files = trained(TINY, tmp_path, "tiny")
    (tmp_path / "x.names").write_text("cat\ndog\nbird\n")
    path = convert(files, None, tmp_path / "x.names")
    assert path == tmp_path / "tiny.onnx"
    pixels = pictures(64, 64)
    expected = in_darknet(files, torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    network = onelook.load(path)
    assert isinstance(network, Classifier)
    assert (network.info.size, network.info.resize, network.info.crop) == ((64, 64), "crop", 1.0)
    for image, one in zip(pixels, expected, strict=True):
        found = network(image)
        np.testing.assert_allclose(found.probabilities, one, atol=1e-5)
        assert found.name == ("cat", "dog", "bird")[one.argmax()]
    with pytest.raises(
        DarknetError, match=r"tiny\.cfg: describes none of the backbones that onelook knows by name: dark"
    ):
        convert(files, tmp_path / "tiny.safetensors")
    with pytest.raises(Error, match=r"has 3 names|has 80 names; the network tells 3 classes apart"):
        convert(files, tmp_path / "y.onnx", "coco")
    assert sorted(x.name for x in tmp_path.iterdir()) == ["tiny.cfg", "tiny.onnx", "tiny.weights", "x.names"]


@pytest.mark.parametrize("side", [16, 50, 100])
def test_a_size_that_no_backbone_takes_is_a_darknet_error(tmp_path: Path, side: int) -> None:
    files = trained(TINY.replace("crop_height=32\ncrop_width=48", f"crop_height={side}\ncrop_width={side}")
                    .replace("=64", "=100"), tmp_path, "tiny")  # fmt: skip
    with pytest.raises(DarknetError, match=r"tiny\.cfg: describes none of the backbones"):
        convert(files, tmp_path / "tiny.safetensors")


def is_vgg(text: str, folder: Path) -> bool:
    """Whether a cfg is taken for VGG-16: for pictures of 32 x 32, as for those of 224 it has 138 million weights."""
    cfg = folder / "vgg.cfg"
    cfg.write_text(re.sub(r"(?m)^(height|width)=256", r"\1=36", text).replace("=224", "=32"))
    try:
        found = classifier.checkpoint(Darknet(cfg).eval())
    except DarknetError:
        return False
    assert (found.size, found.mean, found.std, found.crop) == ((32, 32), (127.5,) * 3, (127.5,) * 3, 32 / 36)
    return found.name == "vgg16"


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("", "", True),
        ("[dropout]\nprobability=.5\n", "", True),  # which changes nothing but training
        ("filters=64", "filters=63", False),
        ("activation=relu", "activation=leaky", False),
        ("output=4096\nactivation=relu", "output=4096\nactivation=linear", False),
        ("output=4096\n", "output=4096\nbatch_normalize=1\n", False),
        ("[maxpool]", "[local_avgpool]\npadding=0", False),
    ],
    ids=["as it is", "no dropout", "channels", "leaky", "no activation", "batch normalisation", "mean"],
)
def test_vgg_16_is_known_by_what_it_computes(shared: Shared, tmp_path: Path, old: str, new: str, same: bool) -> None:
    text = shared("cfg/vgg-16.cfg").read_text()
    assert old in text
    assert is_vgg(text.replace(old, new, 1), tmp_path) is same


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[maxpool]\nsize=2", "[maxpool]\nsize=3"),
        ("[maxpool]", "[local_avgpool]\npadding=0"),
        ("[maxpool]", "[batchnorm]\n[maxpool]"),
        ("[maxpool]", "[activation]\nactivation=tanh\n[maxpool]"),
        ("[softmax]\ngroups=1", "[softmax]\ngroups=10"),
        ("[softmax]", "[softmax]\ntemperature=2"),
        ("activation=leaky", "activation=relu"),
        ("filters=32", "filters=40"),
        ("filters=1000\nsize=1", "filters=1000\nsize=3"),
        ("height=256", "height=16"),
    ],
    ids=["larger pooling", "mean", "batch normalisation", "activation", "groups of classes", "temperature",
         "relu", "channels", "kernel", "not square"],
)  # fmt: skip
def test_a_network_that_computes_other_than_darknet_19_is_not_taken_for_it(
    shared: Shared, tmp_path: Path, old: str, new: str
) -> None:
    text = shared("cfg/darknet19.cfg").read_text()
    refused(text, old, new, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from=-3", "from=-2"),
        ("from=-3\nactivation=linear", "from=-3\nactivation=leaky"),
        ("[shortcut]", "[shortcut]\nweights_type=per_feature"),
    ],
    ids=["another map", "activation", "weighted sum"],
)
def test_a_network_that_computes_other_than_darknet_53_is_not_taken_for_it(
    shared: Shared, tmp_path: Path, old: str, new: str
) -> None:
    refused(shared("cfg/darknet53.cfg").read_text(), old, new, tmp_path)


def refused(text: str, old: str, new: str, folder: Path) -> None:
    assert old in text
    cfg = folder / "other.cfg"
    cfg.write_text(re.sub(r"(?m)^(height|width)=256", r"\1=64", text.replace(old, new, 1)))
    network = Darknet(cfg).eval()
    with pytest.raises(DarknetError) as caught:
        classifier.checkpoint(network)
    assert str(caught.value).startswith(f"{cfg}: describes none of the backbones that onelook knows by name")
    assert str(caught.value).isprintable()


def test_a_backbone_sees_the_part_of_a_picture_that_the_darknet_network_crops(shared: Shared, tmp_path: Path) -> None:
    """Darknet brings the picture to 256 x 256 and takes the middle of that, from 0..1 to -1..1."""
    text = shared("cfg/darknet19.cfg").read_text()
    first = text.index("[convolutional]")
    cfg = tmp_path / "crop.cfg"
    cfg.write_text(f"{text[:first]}[crop]\ncrop_height=224\ncrop_width=224\n{text[first:]}")
    network = Darknet(cfg).eval()
    found = classifier.checkpoint(network)
    assert (found.size, found.mean, found.std) == ((224, 224), (127.5,) * 3, (127.5,) * 3)
    image = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        ours = found.network((255 * image[:, :, 16:240, 16:240] - 127.5) / 127.5).softmax(1)
        torch.testing.assert_close(ours, network(image)[0].flatten(1), rtol=0, atol=1e-6)
    assert found.crop == 224 / 256


def test_a_darknet_19_of_pictures_too_small_for_it_is_an_error(shared: Shared, tmp_path: Path) -> None:
    cfg = tmp_path / "small.cfg"
    cfg.write_text(at_size(shared("cfg/darknet19.cfg"), 16))
    with pytest.raises(Error):
        classifier.checkpoint(Darknet(cfg).eval())
