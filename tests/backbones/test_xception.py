"""Xception against Figure 5 of its paper, typed in from there, and its module as a formula."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import Xception
from onelook.backbones.xception import Module, Separable
from onelook.nn import count
from onelook.nn.conv import ConvBlock

# Figure 5: what each box holds; what its shortcut is; the map behind it ("19x19x728 feature maps" is printed there, the
# others follow: the first two convolutions are not padded).
ENTRY = [
    ("Conv 32 3x3 s2, ReLU, Conv 64 3x3, ReLU", "", "147x147x64"),
    ("SepConv 128, ReLU, SepConv 128, MaxPool 3x3 s2", "Conv 128 1x1 s2", "74x74x128"),
    ("ReLU, SepConv 256, ReLU, SepConv 256, MaxPool 3x3 s2", "Conv 256 1x1 s2", "37x37x256"),
    ("ReLU, SepConv 728, ReLU, SepConv 728, MaxPool 3x3 s2", "Conv 728 1x1 s2", "19x19x728"),
]
MIDDLE = [("ReLU, SepConv 728, ReLU, SepConv 728, ReLU, SepConv 728", "identity", "19x19x728")] * 8
EXIT = [
    ("ReLU, SepConv 728, ReLU, SepConv 1024, MaxPool 3x3 s2", "Conv 1024 1x1 s2", "10x10x1024"),
    ("SepConv 1536, ReLU, SepConv 2048, ReLU", "", "10x10x2048"),
    ("GlobalAveragePooling", "", "2048"),
]


def words(module: nn.Module) -> list[str]:
    """A module in the words of the figure."""
    match module:
        case nn.ReLU():
            return ["ReLU"]
        case nn.MaxPool2d(kernel_size=size, stride=stride):
            return [f"MaxPool {size}x{size} s{stride}"]
        case nn.Conv2d():
            step = f" s{module.stride[0]}" if module.stride[0] > 1 else ""
            return [f"Conv {module.out_channels} {module.kernel_size[0]}x{module.kernel_size[1]}{step}"]
        case Separable():
            depthwise, pointwise = module
            assert isinstance(depthwise, nn.Conv2d)
            assert (depthwise.kernel_size, depthwise.stride, depthwise.padding) == ((3, 3), (1, 1), (1, 1))
            assert depthwise.groups == depthwise.in_channels == depthwise.out_channels
            assert isinstance(pointwise, ConvBlock)
            conv, *rest = words(pointwise)
            assert conv.endswith(" 1x1")
            return [f"SepConv {pointwise.conv.out_channels}", *rest]
        case _:
            return [word for child in module.children() for word in words(child)]


def test_the_modules_are_figure_5() -> None:
    with torch.device("meta"):
        model = Xception().eval()
        x, found = torch.empty(1, 3, 299, 299), []
        for module in model.body:
            x = module(x)
            branch, shortcut = (module.branch, module.shortcut) if isinstance(module, Module) else (module, None)
            around = "" if shortcut is None else ", ".join(words(shortcut)) or "identity"
            found.append((", ".join(words(branch)), around, f"{x.shape[2]}x{x.shape[3]}x{x.shape[1]}"))
    # The plain convolutions at both ends stand in one box each.
    first, last = ((f"{a[0]}, {b[0]}", "", b[2]) for a, b in (found[:2], found[-2:]))
    assert [first, *found[2:-2], last] == ENTRY + MIDDLE + EXIT[:2]
    pool, connected = count.layers(model, (299, 299))[-2:]
    assert (pool.type, pool.input, connected.type, connected.input) == ("Avg Pool", (2048, 10, 10), "FC", (2048,))
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.5]  # section 4.3


def convolved(x: Tensor, block: ConvBlock, stride: int = 1) -> Tensor:
    assert block.norm is not None
    norm = block.norm
    x = F.conv2d(x, block.conv.weight, None, stride)
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)


@pytest.mark.parametrize(
    ("channels", "stride", "relu"), [((4, 4, 4, 4), 1, True), ((4, 4, 4), 2, True), ((3, 5, 2), 2, False)]
)
@pytest.mark.parametrize("reduction", [0, 2])
def test_a_module_is_separable_convolutions_behind_relus_and_a_shortcut(
    channels: tuple[int, ...], stride: int, relu: bool, reduction: int
) -> None:
    torch.manual_seed(0)
    module = Module(channels, stride, relu, reduction).double().eval()
    for name, tensor in module.state_dict().items():
        if name.endswith(("norm.weight", "norm.bias", "running_var")):
            tensor.uniform_(0.5, 2)
    x = torch.randn(2, channels[0], 6, 7, dtype=torch.float64)
    y = x
    separable = [layer for layer in module.modules() if isinstance(layer, Separable)]
    assert len(separable) == len(channels) - 1
    for i, (depthwise, pointwise) in enumerate(separable):
        assert isinstance(pointwise, ConvBlock)
        y = F.relu(y) if i or relu else y
        weight = depthwise.get_parameter("weight")
        y = convolved(F.conv2d(y, weight, None, 1, 1, groups=weight.shape[0]), pointwise)
    if stride == 2:
        y = F.max_pool2d(y, 3, 2, 1)
    if reduction:
        w1, w2 = (weight for name, weight in module.named_parameters() if "excitation" in name)
        y = y * torch.sigmoid(F.relu(y.mean((2, 3)) @ w1.T) @ w2.T)[..., None, None]
    identity = convolved(x, module.shortcut, 2) if isinstance(module.shortcut, ConvBlock) else x
    torch.testing.assert_close(module(x), identity + y)
