"""Darknet's networks against the figure and tables of the YOLO papers and Darknet's own cfg, in shapes and numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import Darknet19, Darknet53, Extraction, create
from onelook.backbones.darknet import Residual
from onelook.darknet import Darknet
from onelook.nn import count
from onelook.nn.conv import ConvBlock

# Figure 3 of YOLO, up to what section 2.2 has trained on ImageNet, at half the side: how often, then as below.
FIGURE_3 = (
    (1, "Convolutional 64 7x7/2 112x112, Maxpool 2x2/2 56x56"),
    (1, "Convolutional 192 3x3 56x56, Maxpool 2x2/2 28x28"),
    (1, "Convolutional 128 1x1 28x28, Convolutional 256 3x3 28x28"),
    (1, "Convolutional 256 1x1 28x28, Convolutional 512 3x3 28x28, Maxpool 2x2/2 14x14"),
    (4, "Convolutional 256 1x1 14x14, Convolutional 512 3x3 14x14"),
    (1, "Convolutional 512 1x1 14x14, Convolutional 1024 3x3 14x14, Maxpool 2x2/2 7x7"),
    (2, "Convolutional 512 1x1 7x7, Convolutional 1024 3x3 7x7"),
    (1, "Avgpool Global 1024, Connected 1000"),
)

# Table 6 of YOLO9000: filters, size / stride, output.
TABLE_6 = """
Convolutional 32 3x3 224x224
Maxpool 2x2/2 112x112
Convolutional 64 3x3 112x112
Maxpool 2x2/2 56x56
Convolutional 128 3x3 56x56
Convolutional 64 1x1 56x56
Convolutional 128 3x3 56x56
Maxpool 2x2/2 28x28
Convolutional 256 3x3 28x28
Convolutional 128 1x1 28x28
Convolutional 256 3x3 28x28
Maxpool 2x2/2 14x14
Convolutional 512 3x3 14x14
Convolutional 256 1x1 14x14
Convolutional 512 3x3 14x14
Convolutional 256 1x1 14x14
Convolutional 512 3x3 14x14
Maxpool 2x2/2 7x7
Convolutional 1024 3x3 7x7
Convolutional 512 1x1 7x7
Convolutional 1024 3x3 7x7
Convolutional 512 1x1 7x7
Convolutional 1024 3x3 7x7
Convolutional 1000 1x1 7x7
Avgpool Global 1000
"""

# Table 1 of YOLOv3: how often, then filters, size / stride, output.
TABLE_1 = (
    (1, "Convolutional 32 3x3 256x256"),
    (1, "Convolutional 64 3x3/2 128x128"),
    (1, "Convolutional 32 1x1 128x128, Convolutional 64 3x3 128x128, Residual 128x128"),
    (1, "Convolutional 128 3x3/2 64x64"),
    (2, "Convolutional 64 1x1 64x64, Convolutional 128 3x3 64x64, Residual 64x64"),
    (1, "Convolutional 256 3x3/2 32x32"),
    (8, "Convolutional 128 1x1 32x32, Convolutional 256 3x3 32x32, Residual 32x32"),
    (1, "Convolutional 512 3x3/2 16x16"),
    (8, "Convolutional 256 1x1 16x16, Convolutional 512 3x3 16x16, Residual 16x16"),
    (1, "Convolutional 1024 3x3/2 8x8"),
    (4, "Convolutional 512 1x1 8x8, Convolutional 1024 3x3 8x8, Residual 8x8"),
    (1, "Avgpool Global 1024, Connected 1000"),
)


def table(model: nn.Module, side: int) -> list[str]:
    """The rows of the papers' tables, from the modules."""
    types = {"Conv": "Convolutional", "Max Pool": "Maxpool"}
    residual = {f"{name}.branch.1" for name, module in model.named_modules() if isinstance(module, Residual)}
    rows = []
    for layer in count.layers(model, (side, side)):
        channels, *sides = layer.output
        place = "x".join(map(str, sides))
        window = "x".join(map(str, layer.kernel)) + (f"/{layer.stride}" if layer.stride > 1 else "")
        match layer.type:
            case "Conv" | "Max Pool":
                filters = f" {channels}" if layer.type == "Conv" else ""
                rows.append(f"{types[layer.type]}{filters} {window} {place}")
            case "Avg Pool":
                rows.append(f"Avgpool Global {channels}")
            case other:
                assert other == "FC"
                rows.append(f"Connected {channels}")
        if layer.name in residual:
            rows.append(f"Residual {place}")
    return rows


def test_extraction_is_what_figure_3_of_yolo_begins_with() -> None:
    with torch.device("meta"):
        model = Extraction()
    assert table(model, 224) == [row for times, rows in FIGURE_3 for row in rows.split(", ") * times]
    # "the first 20 convolutional layers from Figure 3 followed by a average-pooling layer and a fully connected layer"
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == 20


def test_darknet_19_is_table_6_of_yolo9000() -> None:
    with torch.device("meta"):
        model = Darknet19()
    assert table(model, 224) == TABLE_6.strip().splitlines()
    # 5.58 billion operations: section 3; an operation is a multiplication or an addition.
    assert f"{2 * count.multiply_adds(model, (224, 224)) / 1e9:.2f}" == "5.58"


def test_darknet_53_is_table_1_of_yolov3() -> None:
    with torch.device("meta"):
        model = Darknet53()
    assert table(model, 256) == [row for times, rows in TABLE_1 for row in rows.split(", ") * times]
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()) == 53
    # 18.7 billion operations: Table 2.
    assert 2 * count.multiply_adds(model, (256, 256)) / 1e9 == pytest.approx(18.7, rel=0.01)


@pytest.mark.parametrize("name", ["darknet19", "darknet53"])
def test_they_are_what_darknets_cfg_describes(name: str, shared: Callable[[str], Path]) -> None:
    with torch.device("meta"):
        ours = create(name)
    theirs = Darknet(shared(f"cfg/{name}.cfg"), device="meta", size=256)
    sections = [(row, row.section) for row in theirs.rows if row.section.name == "convolutional"]
    expected = [(s.integer("filters"), s.integer("size"), s.integer("stride"), r.multiply_adds) for r, s in sections]
    found = [
        (layer.output[0], (*layer.kernel, 1)[0], layer.stride, layer.multiply_adds)
        for layer in count.layers(ours, (256, 256))
        if layer.weights
    ]
    assert found == expected
    assert sum(p.numel() for p in ours.parameters()) == sum(row.parameters for row in theirs.rows)
    assert count.multiply_adds(ours, (256, 256)) == sum(row.multiply_adds for row in theirs.rows)


@pytest.mark.parametrize("name", ["darknet19", "darknet53"])
def test_they_give_what_the_network_of_darknets_cfg_gives_with_the_same_weights(
    name: str, shared: Callable[[str], Path]
) -> None:
    torch.manual_seed(0)
    ours = create(name).eval()
    with torch.device("meta"):
        theirs = Darknet(shared(f"cfg/{name}.cfg"), size=64).eval()
    for key, tensor in ours.state_dict().items():
        if key.endswith(("norm.weight", "running_var")):
            tensor.uniform_(0.7, 1.3)
    shapes = theirs.state_dict()
    state = zip(shapes.items(), ours.state_dict().values(), strict=True)
    theirs.load_state_dict({key: tensor.reshape(like.shape) for (key, like), tensor in state}, assign=True)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(x)
        expected = expected[0] if isinstance(expected, list | tuple) else expected
        torch.testing.assert_close(torch.softmax(ours(x), 1), expected.flatten(1), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("reduction", [0, 2])
def test_a_residual_is_x_plus_its_branch(reduction: int) -> None:
    torch.manual_seed(0)
    block = Residual(6, reduction).double().eval()
    x = y = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    for name, tensor in block.state_dict().items():
        if name.endswith(("norm.weight", "norm.bias", "running_var")):
            tensor.uniform_(0.5, 2)
    for i, conv in enumerate(module for module in block.modules() if isinstance(module, ConvBlock)):
        norm = conv.norm
        assert norm is not None
        y = F.conv2d(y, conv.conv.weight, None, 1, i)
        y = F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)
        y = F.leaky_relu(y, 0.1)
    if reduction:
        w1, w2 = (weight for name, weight in block.named_parameters() if "excitation" in name)
        y = y * torch.sigmoid(F.relu(y.mean((2, 3)) @ w1.T) @ w2.T)[..., None, None]
    torch.testing.assert_close(block(x), x + y)
