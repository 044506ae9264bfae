"""SSD and SSDLite against the papers' figures; the loss against loops over priors and objects."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naive
from exported import finds_the_same
from onelook import NetworkError
from onelook.backbones import VGG16, MobileNetV2, create, vgg
from onelook.detectors.priors import Priors
from onelook.detectors.ssd import L2Norm, Ssd, SsdLoss, hardest
from onelook.detectors.ssdlite import SsdLite
from onelook.nn import count

SIZE = (64, 96)
GRIDS = ((2, 3), (1, 2))
PRIORS = Priors((((0.4, 0.5), (0.3, 0.3)), ((0.9, 0.7), (0.7, 1.2), (0.6, 0.6))), variances=(0.1, 0.2))
LOSS = SsdLoss(PRIORS)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def on_vgg(size: int = 300, classes: int = 20, **options: Any) -> Ssd:
    with torch.device("meta"):
        return Ssd(VGG16(0), classes, size, **options)


def lite(name: str = "mobilenet_v2", classes: int = 80, **options: Any) -> SsdLite:
    with torch.device("meta"):
        return SsdLite(create(name, classes=0, **options), classes)


def thin_vgg(monkeypatch: pytest.MonkeyPatch) -> VGG16:
    monkeypatch.setattr(vgg, "STAGES", ((4, 4), (8, 8), (8, 8, 8), (12, 12, 12), (16, 16, 16)))
    return VGG16(0)


# The networks.


@pytest.mark.parametrize(
    ("size", "sides", "priors"),
    [(300, [38, 19, 10, 5, 3, 1], 8732), (512, [64, 32, 16, 8, 4, 2, 1], 24564)],  # Figure 2; Table 7
)
def test_vgg_has_the_papers_maps_and_priors(size: int, sides: list[int], priors: int) -> None:
    model = on_vgg(size)
    raw = model(torch.empty(2, 3, size, size, device="meta"))
    assert [x.shape[2:] for x in raw] == [(side, side) for side in sides * 2]
    boxes, scores = model.decode(raw, (size, size))
    assert boxes.shape == (2, priors, 4)
    assert scores.shape == (2, priors, 20)


@pytest.mark.parametrize(
    ("size", "classes", "parameters"),
    # As of a widely used SSD in PyTorch with 21 classes, and of mmdetection's for COCO: 34.31M and 36.04M.
    [(300, 20, 26_285_486), (512, 20, 27_188_676), (300, 80, 34_305_206), (512, 80, 36_038_196)],
)
def test_vgg_has_the_published_number_of_parameters(size: int, classes: int, parameters: int) -> None:
    assert count.numbers(on_vgg(size, classes)).parameters == parameters


def test_the_priors_of_ssd300_have_the_pixels_of_the_authors_configuration() -> None:
    boxes = on_vgg().priors.boxes(on_vgg()(torch.empty(2, 3, 300, 300, device="meta")), (300, 300))
    assert boxes.is_meta
    shapes = on_vgg().priors.shapes
    assert [round(300 * own[0][0]) for own in shapes] == [30, 60, 111, 162, 213, 264]
    squares = [30 * 60, 60 * 111, 111 * 162, 162 * 213, 213 * 264, 264 * 315]
    assert [300 * own[1][0] for own in shapes] == pytest.approx([math.sqrt(area) for area in squares])
    assert [len(own) for own in shapes] == [4, 6, 6, 6, 4, 4]
    assert [len(own) for own in on_vgg(512).priors.shapes] == [4, 6, 6, 6, 6, 4, 4]


def test_fc6_is_atrous_and_pool5_keeps_the_size() -> None:
    pool, fc6, fc7 = on_vgg().fc
    assert isinstance(pool, nn.MaxPool2d)
    assert (pool.kernel_size, pool.stride, pool.padding) == (3, 1, 1)
    assert (fc6.conv.kernel_size, fc6.conv.dilation, fc6.conv.out_channels) == ((3, 3), (6, 6), 1024)  # type: ignore[union-attr]
    assert (fc7.conv.kernel_size, fc7.conv.out_channels) == ((1, 1), 1024)  # type: ignore[union-attr]


def test_conv4_3_is_scaled_to_length_20_at_each_place_at_first() -> None:
    x = torch.rand(2, 5, 3, 4) + 0.1
    norm = L2Norm(5)
    torch.testing.assert_close(norm(x).square().sum(dim=1).sqrt(), torch.full((2, 3, 4), 20.0))
    with torch.no_grad():
        norm.scale[2] = 3
    torch.testing.assert_close(norm(x)[:, 2] / 3, norm(x)[:, 1] / 20 * x[:, 2] / x[:, 1])
    assert not norm(torch.zeros(1, 5, 1, 1)).any()


@pytest.mark.parametrize(
    ("name", "millions", "billions"),
    [("mobilenet_v1", 5.1, 1.3), ("mobilenet_v2", 4.3, 0.8)],  # Table 6 of arXiv:1801.04381
)
def test_ssdlite_costs_what_the_paper_says(name: str, millions: float, billions: float) -> None:
    model = lite(name)
    assert round(count.numbers(model).parameters / 1e6, 1) == millions
    assert round(count.multiply_adds(model, (320, 320)) / 1e9, 1) == billions


def test_ssdlite_is_the_authors_published_network() -> None:
    model = lite(classes=90)
    assert round(count.numbers(model).folded / 1e6, 3) == 4.475  # as OpenVINO's model zoo says of it
    raw = model(torch.empty(2, 3, 300, 300, device="meta"))
    assert model.decode(raw, (300, 300))[0].shape[1] == 1917  # its number of anchors at 300 x 300


@pytest.mark.parametrize("alpha", [0.35, 1.4])
def test_ssdlite_begins_with_the_expansion_of_layer_15(alpha: float) -> None:
    torch.manual_seed(0)
    backbone = MobileNetV2(alpha, 0).eval()
    model = SsdLite(backbone, 3).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        fine, coarse, *_ = model.maps(image)
        _, thin, last = backbone.features(image)
        torch.testing.assert_close(fine, backbone.body[14].expand(thin))  # type: ignore[operator]
        torch.testing.assert_close(coarse, last)
    assert fine.shape[2:] == (4, 4)


def test_what_ssd_cannot_be_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        mobile = create("mobilenet_v1", classes=0)
        with pytest.raises(NetworkError, match="SSD is built on vgg16"):
            Ssd(mobile, 3)
        with pytest.raises(NetworkError, match="size of SSD must be 300 or 512; found 320"):
            Ssd(VGG16(0), 3, 320)
        for scales in ([0.1] * 6, [0.1] * 6 + [-1], [0.1] * 6 + [math.inf]):
            with pytest.raises(NetworkError, match="scales must be 7 numbers above 0"):
                SsdLite(mobile, 3, scales)
    for size in ((300, 256), (256, 300)):
        with pytest.raises(NetworkError, match="size must be 257 or more here"):
            on_vgg().check_size(size)
    with torch.device("meta"):
        model = Ssd(thin_vgg(monkeypatch), 3)
    for size in ((257, 300), (512, 288)):
        model.check_size(size)
        assert min(min(x.shape) for x in model(torch.empty(2, 3, *size, device="meta"))) > 0


# The loss.

APART = [
    naive.Thing(0, (3.0, 5.0, 41.0, 33.0), 0),
    naive.Thing(0, (60.0, 30.0, 84.0, 61.0), 2),
    naive.Thing(1, (0.0, 0.0, 95.0, 63.0), 1),
]


def maps(classes: int, pictures: int = 4) -> list[Tensor]:
    torch.manual_seed(0)
    return [
        torch.randn(pictures, len(own) * k, *grid, dtype=torch.float64)
        for k in (4, 1 + classes)
        for own, grid in zip(PRIORS.shapes, GRIDS, strict=True)
    ]


def listed(raw: list[Tensor], picture: int) -> list[tuple[tuple[float, ...], list[float], list[float]]]:
    """Of each prior its centre and sides, its offsets and its logits."""
    found: list[tuple[tuple[float, ...], list[float], list[float]]] = []
    for own, (rows, columns), loc, conf in zip(PRIORS.shapes, GRIDS, raw[:2], raw[2:], strict=True):
        for a, (w, h) in enumerate(own):
            for j in range(rows):
                for i in range(columns):
                    prior = (i + 0.5) / columns * SIZE[1], (j + 0.5) / rows * SIZE[0], w * min(SIZE), h * min(SIZE)
                    k = conf.shape[1] // len(own)
                    offsets = loc[picture, 4 * a : 4 * a + 4, j, i].tolist()
                    found.append((prior, offsets, conf[picture, k * a : k * (a + 1), j, i].tolist()))
    return found


def matches(loss: SsdLoss, priors: list[tuple[float, ...]], things: list[naive.Thing]) -> dict[int, naive.Thing]:
    overlap = {
        (n, i): naive.iou(naive.around(*p), one.box) for n, p in enumerate(priors) for i, one in enumerate(things)
    }
    found = {}
    for n in range(len(priors)):
        best = max(range(len(things)), key=lambda i: overlap[n, i])
        if overlap[n, best] >= loss.overlap:
            found[n] = things[best]
    left = dict(overlap)
    while any(value > 0 for value in left.values()):
        n, i = max(left, key=lambda pair: left[pair])
        found[n] = things[i]
        left = {pair: value for pair, value in left.items() if pair[0] != n and pair[1] != i}
    return found


def expected(loss: SsdLoss, raw: list[Tensor], things: list[naive.Thing]) -> dict[str, float]:
    location = confidence = 0.0
    count = 0
    for b in range(len(raw[0])):
        every = listed(raw, b)
        own = [one for one in things if one.picture == b]
        found = matches(loss, [prior for prior, _, _ in every], own) if own else {}
        others = []
        for n, ((px, py, pw, ph), offsets, logits) in enumerate(every):
            probabilities = naive.softmax(logits)
            if n not in found:
                others.append(-math.log(probabilities[0]))
                continue
            one = found[n]
            (cx, cy), (w, h) = one.centre, one.sides
            truth = (cx - px) / pw / 0.1, (cy - py) / ph / 0.1, math.log(w / pw) / 0.2, math.log(h / ph) / 0.2
            for x, y in zip(offsets, truth, strict=True):
                location += (x - y) ** 2 / 2 if abs(x - y) < 1 else abs(x - y) - 0.5
            confidence -= math.log(probabilities[1 + one.label])
        confidence += sum(sorted(others, reverse=True)[: math.ceil(loss.negatives * len(found))])
        count += len(found)
    count = max(count, 1)
    return {"location": loss.location_weight * location / count, "confidence": confidence / count}


def close(found: dict[str, Tensor], wanted: dict[str, float], rel: float = 1e-9) -> None:
    assert {name: float(x.detach()) for name, x in found.items()} == pytest.approx(wanted, rel=rel, abs=rel)


@pytest.mark.parametrize("options", [{}, {"overlap": 0.3}, {"negatives": 1.0}, {"location_weight": 0.5}], ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_is_the_naive_loop(options: dict[str, Any], seed: int) -> None:
    loss, raw, things = replace(LOSS, **options), maps(3), naive.things(SIZE, 3, seed)
    close(loss(raw, naive.as_targets(things), SIZE), expected(loss, raw, things))


def test_half_precision_is_computed_in_single() -> None:
    targets, half = naive.as_targets(APART), [x.half() for x in maps(3)]
    found = LOSS(half, targets._replace(boxes=targets.boxes.float()), SIZE)
    assert {x.dtype for x in found.values()} == {torch.float32}
    close(found, expected(LOSS, [x.double() for x in half], APART), rel=1e-4)


def test_the_switches_change_the_loss() -> None:
    raw, labels = maps(3), naive.as_targets(naive.things(SIZE, 3))
    options: list[dict[str, Any]] = [{}, {"overlap": 0.3}, {"negatives": 1.0}, {"location_weight": 0.5}]
    assert len({tuple(float(x) for x in replace(LOSS, **o)(raw, labels, SIZE).values()) for o in options}) == 4


def test_pictures_without_objects_cost_nothing() -> None:
    raw = [x.requires_grad_() for x in maps(3)]
    terms = LOSS(raw, naive.as_targets([]), SIZE)
    assert [float(x.detach()) for x in terms.values()] == [0, 0]
    torch.stack(list(terms.values())).sum().backward()
    assert all(x.grad is not None and not x.grad.any() for x in raw)


def test_the_gradient_is_that_of_finite_differences() -> None:
    raw, labels = maps(1), naive.as_targets(naive.things(SIZE, 1))
    lengths = [x.numel() for x in raw]

    def total(flat: Tensor) -> Tensor:
        parts = [part.reshape(x.shape) for part, x in zip(flat.split(lengths), raw, strict=True)]
        return torch.stack(list(LOSS(parts, labels, SIZE).values())).sum()

    flat = torch.cat([x.flatten() for x in raw])
    active = torch.autograd.functional.vjp(total, flat)[1] != 0
    assert 0.1 < active.double().mean() < 0.9  # what is not matched nor mined learns nothing
    keep = torch.zeros_like(active)
    keep[active.nonzero()[::7]] = True
    moving = flat[keep].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: total(flat.masked_scatter(keep, x)), moving)


@pytest.mark.parametrize("scale", [10.0, 1e4, 1e15])
def test_loss_and_gradient_are_finite_for_large_outputs(scale: float) -> None:
    raw = [(x.float() * scale).requires_grad_() for x in maps(3)]
    terms = LOSS(raw, naive.as_targets(naive.things(SIZE, 3)), SIZE)
    torch.stack(list(terms.values())).sum().backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(x.grad is not None and x.grad.isfinite().all() for x in raw)


def test_the_hardest_others_are_three_for_each_match_and_picture() -> None:
    loss = torch.tensor([[9.0, 1, 5, 2, 4, 3, 0], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7]])
    matched = torch.tensor([[1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1]]).bool()
    expected = [[0, 0, 1, 0, 1, 1, 0], [0] * 7, [1, 1, 1, 1, 1, 0, 0]]
    assert hardest(loss, matched, 3.0).int().tolist() == expected
    assert hardest(loss, matched, 1.0).int().sum(dim=1).tolist() == [1, 0, 2]


def test_the_perfect_answer_decodes_to_the_objects_and_costs_nothing() -> None:
    raw = [torch.zeros(2, x.shape[1], *x.shape[2:], dtype=torch.float64) for x in maps(3)]
    for b in range(2):
        every = listed(raw, b)
        found = matches(LOSS, [prior for prior, _, _ in every], [one for one in APART if one.picture == b])
        n = 0
        for k, (own, (rows, columns)) in enumerate(zip(PRIORS.shapes, GRIDS, strict=True)):
            for a in range(len(own)):
                for place in range(rows * columns):
                    prior, one, at = torch.tensor(every[n][0]), found.get(n), divmod(place, columns)
                    raw[2 + k][b, 4 * a + (1 + one.label if one else 0), *at] = 60.0
                    if one:
                        offsets = PRIORS.encode(torch.tensor(one.box, dtype=torch.float64), prior.double())
                        raw[k][b, 4 * a : 4 * a + 4, at[0], at[1]] = offsets
                    n += 1
    terms = LOSS(raw, naive.as_targets(APART), SIZE)
    assert [float(x) for x in terms.values()] == pytest.approx([0, 0], abs=1e-9)
    model = lite("mobilenet_v1", 3)
    model.priors = PRIORS
    boxes, scores = model.decode(raw, SIZE)
    for b in range(2):
        sure = scores[b].amax(dim=1) > 0.5
        answers = zip(boxes[b][sure].tolist(), scores[b][sure].argmax(dim=1).tolist(), strict=True)
        rounded = {(*(round(side, 4) for side in box), label) for box, label in answers}
        assert rounded == {(*one.box, one.label) for one in APART if one.picture == b}


# In use.


def test_a_few_steps_lower_the_loss_on_a_picture() -> None:
    torch.manual_seed(0)
    model = SsdLite(create("mobilenet_v2", alpha=0.35, classes=0), 3).train()
    image, labels = torch.rand(4, 3, *SIZE), naive.as_targets(naive.things(SIZE, 3))
    labels = labels._replace(boxes=labels.boxes.float())
    optimizer, loss, totals = torch.optim.AdamW(model.parameters(), 2e-3), SsdLoss(model.priors), []
    for _ in range(12):
        total = torch.stack(list(loss(model(image), labels, SIZE).values())).sum()
        optimizer.zero_grad()
        total.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.7 * totals[0]


def test_ssdlite_finds_the_same_as_a_model_file(tmp_path: Path) -> None:
    finds_the_same(SsdLite(create("mobilenet_v2", alpha=0.35, classes=0), 3), SIZE, tmp_path)


def test_ssd_finds_the_same_as_a_model_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    finds_the_same(Ssd(thin_vgg(monkeypatch), 3), (288, 300), tmp_path)
