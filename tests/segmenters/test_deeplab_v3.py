"""DeepLabv3 against its papers' figures, its undilated backbone, and loops over pixels."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import naive
from onelook import Error
from onelook.backbones import MobileNetV2
from onelook.nn import count
from onelook.nn.conv import ConvBlock
from onelook.segmenters import DeepLabLoss, DeepLabV3

SIZE = (33, 65)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other at every tiny operation take minutes on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def meta(aspp: bool = False, alpha: float = 1.0, classes: int = 21) -> DeepLabV3:
    with torch.device("meta"):
        return DeepLabV3(MobileNetV2(alpha, classes=0), classes, aspp)


def random(aspp: bool = False, classes: int = 5) -> DeepLabV3:
    """A small one whose every layer matters."""
    torch.manual_seed(0)
    model = DeepLabV3(MobileNetV2(0.35, classes=0), classes, aspp).eval()
    normalisation = {key: x for key, x in model.state_dict().items() if key in ("mean", "std")}
    model.load_state_dict(naive.random_state(model) | normalisation)
    return model


# ---- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("aspp", "millions", "billions"), [(False, 2.11, 2.75), (True, 4.52, 5.8)])
def test_it_costs_what_table_7_of_mobilenet_v2_says(aspp: bool, millions: float, billions: float) -> None:
    """TensorFlow's profiler, whose figures these are, counts the enlarging of the logits, once a number; and it cuts
    maps into as many as the dilation says, each with as many rows as the one with the most has: 34 or 36 in all, not 33.
    """
    model = meta(aspp)
    assert round(count.numbers(model).parameters / 1e6, 2) == millions
    dilations = {name: block.conv.dilation[0] for name, block in model.named_modules() if isinstance(block, ConvBlock)}
    total = 513 * 513 * 21
    for layer in count.layers(model, (513, 513)):
        rows, dilation = layer.output[1], dilations.get(layer.name, 1)
        total += layer.multiply_adds * (-(-rows // dilation) * dilation) ** 2 // rows**2
    digits = len(str(billions)) - 2
    assert round(total / 1e9, digits) == billions
    assert count.multiply_adds(model, (513, 513)) == pytest.approx(total, rel=0.1)


def test_the_dilated_body_sees_what_the_backbone_sees_and_more_of_it() -> None:
    torch.manual_seed(0)
    backbone = MobileNetV2(0.35, classes=0).eval()
    state = naive.random_state(backbone)
    backbone.load_state_dict(state)
    wanted = backbone.body[:-1](x := torch.randn(2, 3, 97, 161))
    found = DeepLabV3(backbone, 21).backbone.body(x)
    assert (found.shape, wanted.shape) == ((2, 112, 7, 11), (2, 112, 4, 6))
    assert wanted.std() > 0.1
    torch.testing.assert_close(found[:, :, ::2, ::2], wanted)


def test_only_what_is_behind_the_last_stride_is_dilated() -> None:
    spatial = [m for m in meta().backbone.body.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert [m.stride[0] for m in spatial] == [2, 1, 2, 1, 2, 1, 1, 2, *[1] * 10]
    assert [m.dilation[0] for m in spatial] == [*[1] * 15, 2, 2, 2]


@pytest.mark.parametrize("size", [(33, 65), (64, 96), (37, 50), (1, 1)])
def test_any_size_has_a_place_for_every_16_pixels(size: tuple[int, int]) -> None:
    model = meta(aspp=True, classes=3)
    raw = model(torch.empty(2, 3, *size, device="meta"))
    assert tuple(raw.shape) == (2, 3, math.ceil(size[0] / 16), math.ceil(size[1] / 16))
    assert tuple(model.decode(raw, size).shape) == (2, *size)


def centre(size: tuple[int, int], place: int) -> list[float]:
    """The middle of the pixels that a place of the map sees: row and column."""
    body = DeepLabV3(MobileNetV2(0.35, classes=0), 1).double().eval().backbone.body
    for block in body.modules():
        if isinstance(block, ConvBlock):  # a sum of all that it sees
            nn.init.ones_(block.conv.weight)
            block.activation = nn.Identity()
    image = torch.ones(1, 3, *size, dtype=torch.float64, requires_grad=True)
    body(image)[0, 0, place, place].backward()
    assert image.grad is not None
    rows, columns = (image.grad[0, 0].abs().sum(dim).nonzero() for dim in (1, 0))
    return [float(where.min() + where.max()) / 2 for where in (rows, columns)]


def test_only_of_16_n_plus_1_pixels_do_the_places_lie_where_decode_takes_them_for() -> None:
    """A place of the middle, which sees nothing of the border."""
    assert centre((545, 577), 17) == [17 * 16, 17 * 16]
    assert centre((544, 576), 16) == [16 * 16 + 15, 16 * 16 + 15]
    model = meta()
    for size in ((17, 17), (513, 513), (33, 8177)):
        model.check_size(size)
    for size in ((512, 513), (513, 512), (1, 17), (0, 17), (-15, 17), (17, 8193)):
        with pytest.raises(Error, match=f"a multiple of 16 plus 1, as 513 is; found {size[0]} x {size[1]}"):
            model.check_size(size)


@pytest.mark.parametrize("aspp", [False, True])
@torch.no_grad()
def test_the_branches_come_together_as_in_the_authors_code(aspp: bool) -> None:
    """What the picture shows as a whole first, then the places themselves, then what is around them."""
    model, image = random(aspp), torch.rand(3, 3, *SIZE)

    def block(x: Tensor, name: str, dilation: int = 1) -> Tensor:
        state = {key.removeprefix(f"{name}."): t for key, t in model.state_dict().items() if key.startswith(name)}
        kernel = state["conv.weight"]
        y = F.conv2d(x, kernel, padding=dilation * (kernel.shape[-1] // 2), dilation=dilation)
        mean, var, gamma, beta = (
            state[f"norm.{key}"].view(-1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
        )
        return ((y - mean) / (var + 1e-5).sqrt() * gamma + beta).relu()

    features = model.backbone.body(2 * image - 1)
    whole = block(F.avg_pool2d(features, features.shape[2:]), "image_pooling")
    branches = [whole.repeat(1, 1, *features.shape[2:]), block(features, "aspp.0")]
    if aspp:
        branches += [block(features, f"aspp.{i}", rate) for i, rate in ((1, 6), (2, 12), (3, 18))]
    wanted = F.conv2d(block(torch.cat(branches, 1), "project"), model.logits.weight, model.logits.bias)
    assert wanted.std() > 0.1
    torch.testing.assert_close(model(image), wanted)


def test_a_picture_of_the_mean_is_zero_to_the_body() -> None:
    model = random()
    model.mean.fill_(100.0)
    seen = naive.inputs_and_outputs([model.backbone.body])
    model(torch.full((1, 3, 33, 33), 100 / 255))
    torch.testing.assert_close(seen[0][0], torch.zeros(1, 3, 33, 33), atol=1e-5, rtol=0)


@pytest.mark.parametrize("classes", [0, -1, 10**7])
def test_a_number_of_classes_that_no_network_has_is_refused(classes: int) -> None:
    with pytest.raises(Error, match="classes of a segmenter must be from 1 to"):
        meta(classes=classes)


# ---- what its numbers mean --------------------------------------------------------------------------------------------


def enlarged(raw: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, H, W] by a loop: pixel 0 is place 0, the last pixel is the last place."""
    out = torch.zeros(*raw.shape[:2], *size, dtype=raw.dtype)
    h, w = raw.shape[2:]
    for y in range(size[0]):
        for x in range(size[1]):
            v, u = y * (h - 1) / max(size[0] - 1, 1), x * (w - 1) / max(size[1] - 1, 1)
            top, left = min(int(v), h - 1), min(int(u), w - 1)
            bottom, right, dv, du = min(top + 1, h - 1), min(left + 1, w - 1), v - int(v), u - int(u)
            out[..., y, x] = (1 - dv) * ((1 - du) * raw[..., top, left] + du * raw[..., top, right]) + dv * (
                (1 - du) * raw[..., bottom, left] + du * raw[..., bottom, right]
            )
    return out


@pytest.mark.parametrize("size", [(17, 33), (20, 31), (2, 3), (1, 40)])
def test_each_pixel_is_of_the_class_with_the_highest_logit_between_the_places(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    raw = torch.randn(2, 4, 2, 3, dtype=torch.float64)
    found = meta(classes=4).decode(raw, size)
    assert found.dtype == torch.int64
    assert torch.equal(found, enlarged(raw, size).argmax(1))
    assert len(found.unique()) > 1


# ---- the loss ---------------------------------------------------------------------------------------------------------


def example(classes: int = 3) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Logits of two pictures, the truth, of which a fifth is undecided, and the size."""
    torch.manual_seed(1)
    raw, size = torch.randn(2, classes, 2, 3, dtype=torch.float64), (9, 12)
    truth = torch.randint(classes, (2, *size))
    truth[torch.rand(2, *size) < 0.2] = 255
    return raw, truth.to(torch.uint8), size


@pytest.mark.parametrize("ignore", [255, 1])
def test_the_loss_is_the_mean_over_the_pixels_that_count(ignore: int) -> None:
    raw, truth, size = example()
    if ignore != 255:
        truth[truth == 255] = 0
    terms = [
        -math.log(naive.softmax(logits)[label])
        for picture, labels in zip(enlarged(raw, size), truth.tolist(), strict=True)
        for row, line in zip(picture.permute(1, 2, 0).tolist(), labels, strict=True)
        for logits, label in zip(row, line, strict=True)
        if label != ignore
    ]
    assert 100 < len(terms) < 2 * 9 * 12
    found = DeepLabLoss(ignore)(raw, truth, size)
    assert list(found) == ["classes"]
    assert float(found["classes"]) == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_the_gradient_is_that_of_finite_differences() -> None:
    raw, truth, size = example()
    assert naive.gradient_is_that_of_differences(lambda x: DeepLabLoss()(x, truth, size)["classes"], raw)


def test_where_nothing_is_decided_there_is_nothing_to_learn() -> None:
    raw, truth, size = example()
    raw.requires_grad_()
    loss = DeepLabLoss()(raw, torch.full_like(truth, 255), size)["classes"]
    loss.backward()
    assert float(loss.detach()) == 0
    assert raw.grad is not None
    assert not raw.grad.any()


def test_half_precision_is_computed_in_single_and_large_logits_stay_finite() -> None:
    raw, truth, size = example()
    half = DeepLabLoss()(raw.half(), truth, size)["classes"]
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(DeepLabLoss()(raw, truth, size)["classes"]), rel=1e-3)
    large = (raw * 1e30).float().requires_grad_()
    loss = DeepLabLoss()(large, truth, size)["classes"]
    loss.backward()
    assert loss.isfinite()
    assert large.grad is not None
    assert large.grad.isfinite().all()


def test_the_perfect_answer_costs_nothing_and_decodes_to_the_truth() -> None:
    _, truth, size = example()
    truth[truth == 255] = 0
    raw = 50.0 * F.one_hot(truth.long(), 3).movedim(-1, 1).double()
    assert torch.equal(meta(classes=3).decode(raw, size), truth.long())
    assert float(DeepLabLoss()(raw, truth, size)["classes"]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("aspp", [False, True])
def test_all_of_it_learns_to_tell_left_from_right(aspp: bool) -> None:
    torch.manual_seed(0)
    model = DeepLabV3(MobileNetV2(0.35, classes=0), 2, aspp).train()
    image = torch.rand(4, 3, 49, 49) / 2
    image[..., 25:] += 0.5
    truth = torch.zeros(4, 49, 49, dtype=torch.uint8)
    truth[..., 25:] = 1
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = DeepLabLoss()(model(image), truth, (49, 49))["classes"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 3
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
