"""RetinaNet against the paper's description and published counts; its loss against loops over anchors and objects."""

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
from onelook.backbones import ARCHITECTURES, create
from onelook.detectors.priors import Priors
from onelook.detectors.retinanet import RetinaNet, RetinaNetLoss, anchors
from onelook.nn.count import numbers

SIZE = (64, 96)
GRIDS = ((2, 3), (1, 2))
PRIORS = Priors((((40.0, 30.0), (20.0, 25.0)), ((90.0, 60.0), (50.0, 70.0))), relative=False)
LOSS = RetinaNetLoss(PRIORS)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def meta(name: str = "resnet50", classes: int = 80, **options: Any) -> RetinaNet:
    with torch.device("meta"):
        return RetinaNet(create(name, classes=0), classes, **options)


# The network.


def test_there_are_nine_anchors_of_32_to_813_pixels() -> None:
    sides = sorted(math.sqrt(w * h) for own in anchors() for w, h in own)
    assert [len(own) for own in anchors()] == [9] * 5
    assert (round(sides[0]), round(sides[-1])) == (32, 813)  # section 4
    for i, side in enumerate(sides):
        assert side == pytest.approx(32 * 2 ** (i // 3 / 3))  # each octave in thirds, and each of them three times
    for own in anchors():
        assert sorted(h / w for w, h in own) == pytest.approx([0.5] * 3 + [1] * 3 + [2] * 3)


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_backbone_gives_the_promised_shapes(name: str, separable: bool) -> None:
    model = meta(name, 7, width=16, separable=separable)
    raw = model(torch.empty(2, 3, 96, 160, device="meta"))
    grids = [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]
    assert [tuple(x.shape) for x in raw] == [(2, 9 * k, *grid) for k in (4, 7) for grid in grids]
    boxes, scores = model.decode(raw, (96, 160))
    count = 9 * sum(rows * columns for rows, columns in grids)
    assert (tuple(boxes.shape), tuple(scores.shape)) == ((2, count, 4), (2, count, 7))


def test_it_has_the_published_number_of_parameters() -> None:
    # Keras-retinanet's printed totals on ResNet-50, which count the running statistics: of one class, of COCO's eighty.
    for classes, total in ((1, 36_382_957), (80, 38_021_812)):
        count = numbers(meta(classes=classes))
        assert count.parameters + count.statistics == total
    assert numbers(meta()).parameters == 37_968_692


def test_p6_is_of_c5_and_p7_of_the_positive_part_of_p6() -> None:
    torch.manual_seed(0)
    model = RetinaNet(create("mobilenet_v1", alpha=0.25, classes=0), 2, 16).eval()
    model.load_state_dict(naive.random_state(model))
    seen = naive.inputs_and_outputs([model.p6, model.p7])
    levels = naive.inputs_and_outputs([model.box_subnet])
    with torch.no_grad():
        image = torch.rand(1, 3, *SIZE)
        model(image)
        c5 = model.backbone.features((image - 0.5) * 2)[-1]
        assert isinstance(model.p6, nn.Conv2d)
        p6 = nn.functional.conv2d(c5, model.p6.weight, model.p6.bias, 2, 1)
        conv = model.p7[1]
        p7 = nn.functional.conv2d(p6.clamp(min=0), conv.weight, conv.bias, 2, 1)  # type: ignore[arg-type]
    assert len(seen) == 2
    torch.testing.assert_close(seen[0][1], p6)
    torch.testing.assert_close(seen[1][1], p7)
    assert [tuple(x.shape[2:]) for x, _ in levels] == [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
    torch.testing.assert_close(levels[3][0], p6)
    torch.testing.assert_close(levels[4][0], p7)


@pytest.mark.parametrize("separable", [False, True])
def test_at_first_every_anchor_is_an_object_with_a_probability_of_a_hundredth(separable: bool) -> None:
    torch.manual_seed(0)
    model = RetinaNet(create("mobilenet_v1", alpha=0.25, classes=0), 5, 16, separable).eval()
    with torch.no_grad():
        boxes, scores = model.decode(model(torch.rand(1, 3, *SIZE)), SIZE)
        anchors = model.priors.decode(torch.zeros_like(boxes), model.priors.boxes(model(torch.rand(1, 3, *SIZE)), SIZE))
    torch.testing.assert_close(scores, torch.full_like(scores, 0.01), rtol=0.2, atol=0)
    torch.testing.assert_close(boxes, anchors, rtol=0, atol=60)


def test_new_layers_of_the_subnets_are_drawn_with_a_deviation_of_a_hundredth() -> None:
    torch.manual_seed(0)
    model = RetinaNet(create("mobilenet_v1", alpha=0.25, classes=0), 5, 64)
    for subnet, bias in ((model.class_subnet, -math.log(99)), (model.box_subnet, 0.0)):
        convolutions = [layer for layer in subnet.modules() if isinstance(layer, nn.Conv2d)]
        assert [layer.kernel_size for layer in convolutions] == [(3, 3)] * 5
        for layer in convolutions:
            assert float(layer.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
            assert layer.bias is not None
            assert layer.bias.unique().tolist() == pytest.approx([bias if layer is convolutions[-1] else 0.0])


# The loss.


def maps(classes: int, pictures: int = 4) -> list[Tensor]:
    torch.manual_seed(0)
    return [
        torch.randn(pictures, len(own) * k, *grid, dtype=torch.float64)
        for k in (4, classes)
        for own, grid in zip(PRIORS.shapes, GRIDS, strict=True)
    ]


def expected(loss: RetinaNetLoss, raw: list[Tensor], things: list[naive.Thing]) -> dict[str, float]:
    classes = box = 0.0
    count = 0
    for b in range(len(raw[0])):
        own = [one for one in things if one.picture == b]
        anchors, offsets, logits = [], [], []
        for shapes, (rows, columns), loc, conf in zip(PRIORS.shapes, GRIDS, raw[:2], raw[2:], strict=True):
            for a, (w, h) in enumerate(shapes):
                k = conf.shape[1] // len(shapes)
                for j in range(rows):
                    for i in range(columns):
                        anchors.append(((i + 0.5) / columns * SIZE[1], (j + 0.5) / rows * SIZE[0], w, h))
                        offsets.append(loc[b, 4 * a : 4 * a + 4, j, i].tolist())
                        logits.append(conf[b, k * a : k * a + k, j, i].tolist())
        overlap = [[naive.iou(naive.around(*anchor), one.box) for one in own] for anchor in anchors]
        best = [max(range(len(own)), key=row.__getitem__) if own else None for row in overlap]
        state = [
            i
            if i is not None and row[i] >= loss.positive
            else "ignored"
            if own and max(row) >= loss.negative
            else "none"
            for i, row in zip(best, overlap, strict=True)
        ]
        left = {(n, i): value for n, row in enumerate(overlap) for i, value in enumerate(row) if value > 0}
        while left:
            n, i = max(left, key=lambda pair: left[pair])
            state[n] = i
            left = {pair: value for pair, value in left.items() if pair[0] != n and pair[1] != i}
        for what, (ax, ay, aw, ah), found, scores in zip(state, anchors, offsets, logits, strict=True):
            if what == "ignored":
                continue
            label = own[what].label if isinstance(what, int) else None
            classes += sum(naive.focal(t, int(c == label), loss.gamma, loss.alpha) for c, t in enumerate(scores))
            if isinstance(what, int):
                (cx, cy), (w, h) = own[what].centre, own[what].sides
                truth = (cx - ax) / aw, (cy - ay) / ah, math.log(w / aw), math.log(h / ah)
                for x, y in zip(found, truth, strict=True):
                    d = abs(x - y)
                    box += d * d / 2 / loss.beta if d < loss.beta else d - loss.beta / 2
                count += 1
    count = max(count, 1)
    return {"classes": classes / count, "box": loss.box_weight * box / count}


def close(found: dict[str, Tensor], wanted: dict[str, float], rel: float = 1e-9) -> None:
    assert {name: float(x.detach()) for name, x in found.items()} == pytest.approx(wanted, rel=rel, abs=rel)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"positive": 0.4, "negative": 0.2},
    {"gamma": 0.5, "alpha": None},
    {"beta": 1.0},
    {"box_weight": 2.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_is_the_naive_loop(options: dict[str, Any], seed: int) -> None:
    loss, raw, things = replace(LOSS, **options), maps(3), naive.things(SIZE, 3, seed)
    close(loss(raw, naive.as_targets(things), SIZE), expected(loss, raw, things))


def test_the_switches_change_the_loss() -> None:
    # Else the comparisons above would compare nothing: some anchors are ignored.
    raw, labels = maps(3), naive.as_targets(naive.things(SIZE, 3))
    every = [*OPTIONS, {"negative": 0.5}]
    assert len({tuple(float(x) for x in replace(LOSS, **o)(raw, labels, SIZE).values()) for o in every}) == len(every)


def test_pictures_without_objects_have_the_focal_loss_of_nothing_alone() -> None:
    raw = [x.requires_grad_() for x in maps(3)]
    terms = LOSS(raw, naive.as_targets([]), SIZE)
    close(terms, expected(LOSS, [x.detach() for x in raw], []))
    torch.stack(list(terms.values())).sum().backward()
    for x in raw[:2]:
        assert x.grad is not None
        assert not x.grad.any()


def test_half_precision_is_computed_in_single() -> None:
    things = [naive.Thing(0, (3.0, 5.0, 41.0, 33.0), 0), naive.Thing(1, (20.0, 5.0, 93.0, 60.0), 1)]
    targets, half = naive.as_targets(things), [x.half() for x in maps(3)]
    found = LOSS(half, targets._replace(boxes=targets.boxes.float()), SIZE)
    assert {x.dtype for x in found.values()} == {torch.float32}
    close(found, expected(LOSS, [x.double() for x in half], things), rel=1e-4)


def test_the_gradient_is_that_of_finite_differences() -> None:
    raw, labels = maps(1, 3), naive.as_targets(naive.things(SIZE, 1)[:-1])
    lengths = [x.numel() for x in raw]

    def total(flat: Tensor) -> Tensor:
        parts = [part.reshape(x.shape) for part, x in zip(flat.split(lengths), raw, strict=True)]
        return torch.stack(list(LOSS(parts, labels, SIZE).values())).sum()

    flat = torch.cat([x.flatten() for x in raw])
    active = torch.autograd.functional.vjp(total, flat)[1] != 0
    assert 0.1 < active.double().mean() < 0.9  # boxes of anchors without an object, and what is ignored
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


# In use.


@pytest.mark.parametrize("separable", [False, True])
def test_a_few_steps_lower_the_loss_on_a_picture(separable: bool) -> None:
    torch.manual_seed(0)
    model = RetinaNet(create("mobilenet_v1", alpha=0.25, classes=0), 3, 32, separable).train()
    image, labels = torch.rand(4, 3, *SIZE), naive.as_targets(naive.things(SIZE, 3))
    labels = labels._replace(boxes=labels.boxes.float())
    optimizer, loss, totals = torch.optim.AdamW(model.parameters(), 2e-3), RetinaNetLoss(model.priors), []
    for _ in range(40):
        total = torch.stack(list(loss(model(image), labels, SIZE).values())).sum()
        optimizer.zero_grad()
        total.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.8 * totals[0]


@pytest.mark.parametrize("separable", [False, True])
def test_it_finds_the_same_as_a_model_file(separable: bool, tmp_path: Path) -> None:
    finds_the_same(RetinaNet(create("mobilenet_v1", alpha=0.25, classes=0), 3, 16, separable), SIZE, tmp_path)
