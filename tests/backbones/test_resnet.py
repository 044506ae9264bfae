"""ResNet against Table 1 of its paper, typed in from there; its block as a formula; SE-ResNet against its paper."""

from itertools import groupby

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import ResNet
from onelook.backbones.resnet import Bottleneck
from onelook.nn import count
from onelook.nn.conv import ConvBlock

# Output side, the layers of a block, how many, by depth; between 7 x 7, 64 with a max pool, and the connected layer.
TABLE_1 = {
    50: (
        (56, "1x1,64 3x3,64 1x1,256", 3),
        (28, "1x1,128 3x3,128 1x1,512", 4),
        (14, "1x1,256 3x3,256 1x1,1024", 6),
        (7, "1x1,512 3x3,512 1x1,2048", 3),
    ),
    101: (
        (56, "1x1,64 3x3,64 1x1,256", 3),
        (28, "1x1,128 3x3,128 1x1,512", 4),
        (14, "1x1,256 3x3,256 1x1,1024", 23),
        (7, "1x1,512 3x3,512 1x1,2048", 3),
    ),
}


@pytest.mark.parametrize(("depth", "flops"), [(50, "3.8"), (101, "7.6")])
def test_the_layers_are_table_1(depth: int, flops: str) -> None:
    with torch.device("meta"):
        model = ResNet(depth)
    first, pool, *inner, mean, connected = count.layers(model, (224, 224))
    assert (first.type, first.kernel, first.stride, first.output) == ("Conv", (7, 7), 2, (64, 112, 112))
    assert (pool.type, pool.kernel, pool.stride, pool.output) == ("Max Pool", (3, 3), 2, (64, 56, 56))
    assert (mean.type, mean.input) == ("Avg Pool", (2048, 7, 7))
    assert (connected.type, connected.input, connected.output) == ("FC", (2048,), (1000,))

    blocks = []
    for _, layers in groupby(inner, key=lambda layer: layer.name.split(".")[1]):
        branch = [layer for layer in layers if ".branch." in layer.name]
        shape = " ".join("x".join(map(str, layer.kernel)) + f",{layer.output[0]}" for layer in branch)
        blocks.append((branch[-1].output[1], shape))
    assert tuple((*block, len(list(same))) for block, same in groupby(blocks)) == TABLE_1[depth]
    # "The total number of layers": the connected one and all convolutions but projections.
    assert 2 + 3 * len(blocks) == depth
    # Downsampling is performed by conv3_1, conv4_1 and conv5_1 with a stride of 2; the table's FLOPs are multiply-adds.
    starts = [sum(row[2] for row in TABLE_1[depth][:i]) for i in (1, 2, 3)]
    strided = [layer.name for layer in inner if layer.stride == 2 and ".branch." in layer.name]
    assert strided == [f"body.{2 + i}.branch.0" for i in starts]
    spent = count.multiply_adds(model, (224, 224)) / 1e9
    assert flops in (f"{spent:.1f}", f"{int(spent * 10) / 10}")


@pytest.mark.parametrize("depth", [50, 101])
def test_a_shortcut_is_a_projection_exactly_where_the_shape_changes(depth: int) -> None:
    with torch.device("meta"):
        model = ResNet(depth)
    blocks = [block for block in model.body if isinstance(block, Bottleneck)]
    projections = [i for i, block in enumerate(blocks) if isinstance(block.shortcut, ConvBlock)]
    assert projections == [sum(row[2] for row in TABLE_1[depth][:i]) for i in range(4)]
    assert all(isinstance(b.shortcut, nn.Identity) for i, b in enumerate(blocks) if i not in projections)


def convolved(x: Tensor, block: nn.Module, stride: int = 1, padding: int = 0) -> Tensor:
    assert isinstance(block, ConvBlock)
    assert block.norm is not None
    x = F.conv2d(x, block.conv.weight, None, stride, padding)
    norm = block.norm
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)


@pytest.mark.parametrize(("before", "stride"), [(8, 1), (8, 2), (6, 1)])
@pytest.mark.parametrize("reduction", [0, 4])
def test_a_bottleneck_is_figure_5_right_and_its_attention_is_before_the_sum(
    before: int, stride: int, reduction: int
) -> None:
    torch.manual_seed(0)
    block = Bottleneck((before, 2), stride, reduction).double().eval()
    for name, tensor in block.state_dict().items():
        if name.endswith(("norm.weight", "norm.bias", "running_var")):
            tensor.uniform_(0.5, 2)
    x = torch.randn(2, before, 5, 6, dtype=torch.float64)
    one, two, three, attention = block.branch
    y = F.relu(convolved(F.relu(convolved(x, one, stride)), two, padding=1))
    y = convolved(y, three)
    if reduction:
        w1, w2 = attention.parameters()
        y = y * torch.sigmoid(F.relu(y.mean((2, 3)) @ w1.T) @ w2.T)[..., None, None]
    identity = convolved(x, block.shortcut, stride) if isinstance(block.shortcut, ConvBlock) else x
    torch.testing.assert_close(block(x), F.relu(identity + y))


def test_se_resnet_50_has_the_28_1_million_parameters_of_its_table_10() -> None:
    with torch.device("meta"):
        plain, attentive = ResNet(50), ResNet(50, reduction=16)
    found = count.numbers(attentive).parameters
    assert f"{found / 1e6:.1f}" == "28.1"
    # Eq. 5: 2 / r times the sum over the stages of N_s C_s^2.
    assert found - count.numbers(plain).parameters == 2 * (3 * 256**2 + 4 * 512**2 + 6 * 1024**2 + 3 * 2048**2) // 16
