"""YOLOv3: its loss against loops over cells, anchors and objects, its network against Darknet's own description."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naive
from exported import finds_the_same
from onelook.backbones import ARCHITECTURES, create
from onelook.darknet import Darknet
from onelook.detectors.yolo_v3 import ANCHORS, YoloV3, YoloV3Loss
from small_rcnn import backbone

SIZE = (64, 96)
GRIDS = ((2, 3), (4, 6), (8, 12))
SMALL = (((40.0, 30.0), (70.0, 80.0)), ((12.0, 20.0), (25.0, 24.0)), ((6.0, 7.0), (4.0, 12.0)))
LOSS = YoloV3Loss(SMALL, ignore=0.3)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other at every tiny operation take minutes on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_maps(classes: int, pictures: int = 4, grids: tuple[tuple[int, int], ...] = GRIDS) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(pictures, 2 * (5 + classes), *grid, dtype=torch.float64) for grid in grids]


def placed(loss: YoloV3Loss, things: list[naive.Thing]) -> dict[tuple[int, ...], naive.Thing]:
    """Scale, picture, anchor, row, column of the predictions that answer, and for what."""
    every = [(scale, i, shape) for scale, own in enumerate(loss.anchors) for i, shape in enumerate(own)]
    found: dict[tuple[int, ...], naive.Thing] = {}
    for one in things:
        fits = [naive.iou((0, 0, *shape), (0, 0, *one.sides)) for _, _, shape in every]
        for k, (scale, anchor, _) in enumerate(every):
            if fits[k] == max(fits) or fits[k] > loss.share:
                found[scale, one.picture, anchor, *one.cell(SIZE, GRIDS[scale])] = one
    return found


def decoded(loss: YoloV3Loss, t: list[float], scale: int, anchor: int, row: int, column: int) -> naive.Box:
    """Section 2.1, and YOLOv4's stretched range of the centre."""
    (rows, columns), (width, height) = GRIDS[scale], loss.anchors[scale][anchor]
    s = loss.scale_x_y
    x = (s * naive.sigmoid(t[0]) - (s - 1) / 2 + column) * SIZE[1] / columns
    y = (s * naive.sigmoid(t[1]) - (s - 1) / 2 + row) * SIZE[0] / rows
    return naive.around(x, y, width * math.exp(t[2]), height * math.exp(t[3]))


def expected(
    loss: YoloV3Loss,
    raw: list[Tensor],
    things: list[naive.Thing],
    measure: Callable[[naive.Box, naive.Box], float] | None = None,
) -> dict[str, float]:
    def entropy(term: str, t: float, truth: float) -> float:
        return naive.focal(t, truth, loss.gamma, loss.alpha) if loss.focal == term else naive.entropy(t, truth)

    answers = placed(loss, things)
    box = objectness = classes = 0.0
    for scale, maps in enumerate(raw):
        for b, picture in enumerate(maps.tolist()):
            own = [one.box for one in things if one.picture == b]
            for a in range(2):
                count = len(picture) // 2
                for row in range(GRIDS[scale][0]):
                    for column in range(GRIDS[scale][1]):
                        t = [picture[a * count + k][row][column] for k in range(count)]
                        found = decoded(loss, t, scale, a, row, column)
                        one = answers.get((scale, b, a, row, column))
                        if one is None:
                            if not any(naive.iou(found, other) > loss.ignore for other in own):
                                objectness += entropy("objectness", t[4], 0)
                            continue
                        objectness += entropy("objectness", t[4], naive.iou(found, one.box) if loss.rescore else 1)
                        classes += sum(entropy("classes", x, int(i == one.label)) for i, x in enumerate(t[5:]))
                        if loss.box != "squared":
                            box += 1 - (measure or naive.MEASURES[loss.box])(found, one.box)
                            continue
                        (x, y), (w, h) = one.centre, one.sides
                        weight = 2 - w / SIZE[1] * h / SIZE[0]
                        rows, columns = GRIDS[scale]
                        s = loss.scale_x_y
                        for tx, place in ((t[0], x * columns / SIZE[1] - column), (t[1], y * rows / SIZE[0] - row)):
                            box += weight * naive.entropy(tx, (place + s / 2 - 0.5) / s)
                        for tw, side, prior in zip(t[2:4], (w, h), loss.anchors[scale][a], strict=True):
                            box += weight * (tw - math.log(side / prior)) ** 2 / 2
    terms = {"box": box, "objectness": objectness, "classes": classes}
    return {name: getattr(loss, f"{name}_weight") * term / len(raw[0]) for name, term in terms.items()}


OPTIONS: list[dict[str, Any]] = [
    {},
    *({"box": box} for box in ("iou", "giou", "diou", "ciou")),
    {"ignore": 0.05},
    {"share": 0.2},
    {"share": 0.2, "box": "ciou", "scale_x_y": 1.2},
    {"scale_x_y": 1.2},
    {"rescore": True},
    {"focal": "objectness"},
    {"focal": "objectness", "alpha": 0.25, "gamma": 0.5},
    {"focal": "classes", "alpha": 0.75, "gamma": 1.5},
    {"box_weight": 0.05, "objectness_weight": 3.0, "classes_weight": 0.5},
]


def close(found: dict[str, Tensor], wanted: dict[str, float], rel: float = 1e-9) -> None:
    assert {name: float(x.detach()) for name, x in found.items()} == pytest.approx(wanted, rel=rel, abs=rel)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_loss_is_the_naive_loop(options: dict[str, Any]) -> None:
    loss, raw, things = replace(LOSS, **options), random_maps(3), naive.things(SIZE, 3)
    close(loss(raw, naive.as_targets(things), SIZE), expected(loss, raw, things))


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_loss_is_the_naive_loop_on_other_objects_of_one_class(seed: int) -> None:
    raw, things = random_maps(1), naive.things(SIZE, 1, seed)
    close(LOSS(raw, naive.as_targets(things), SIZE), expected(LOSS, raw, things))


def test_the_switches_change_the_loss() -> None:
    # Else the comparisons above would compare nothing: some predictions are ignored, some objects shared.
    targets, raw = naive.as_targets(naive.things(SIZE, 3)), random_maps(3)
    found = [
        tuple(float(term) for term in replace(LOSS, **options)(raw, targets, SIZE).values())
        for options in (*OPTIONS, {"ignore": 1.0}, {"scale_x_y": 1.2, "box": "iou"})
    ]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_pictures_without_objects_have_objectness_alone(options: dict[str, Any]) -> None:
    loss, raw = replace(LOSS, **options), random_maps(3)
    found = loss(raw, naive.as_targets([]), SIZE)
    close(found, expected(loss, raw, []))
    assert float(found["box"]) == float(found["classes"]) == 0
    x = raw[0].requires_grad_()
    sum(loss(raw, naive.as_targets([]), SIZE).values(), start=torch.zeros(())).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_single_precision_is_as_exact_as_it_can_be_and_half_is_computed_in_it() -> None:
    raw, things = random_maps(3), naive.things(SIZE, 3)
    targets = naive.as_targets(things)
    targets = targets._replace(boxes=targets.boxes.float())
    close(LOSS([x.float() for x in raw], targets, SIZE), expected(LOSS, raw, things), rel=1e-4)
    half = LOSS([x.half() for x in raw], targets, SIZE)
    assert {x.dtype for x in half.values()} == {torch.float32}
    close(half, expected(LOSS, [x.half().double() for x in raw], things), rel=1e-4)


@pytest.mark.parametrize("scale", [10.0, 100.0, 1e4, 1e15])
@pytest.mark.parametrize("box", ["squared", "iou", "giou", "diou", "ciou"])
def test_loss_and_gradient_are_finite_for_large_outputs(box: Any, scale: float) -> None:
    raw = [(x.float() * scale).requires_grad_() for x in random_maps(3)]
    targets = naive.as_targets(naive.things(SIZE, 3))
    terms = replace(LOSS, box=box)(raw, targets._replace(boxes=targets.boxes.float()), SIZE)
    torch.stack(list(terms.values())).sum().backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(x.grad is not None and x.grad.isfinite().all() for x in raw)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"box": "giou"},
        {"box": "diou", "scale_x_y": 1.2, "share": 0.6},
        {"scale_x_y": 1.2, "focal": "objectness", "alpha": 0.25},
        {"focal": "classes", "gamma": 0.5},
    ],
    ids=str,
)
def test_the_gradient_is_that_of_finite_differences(options: dict[str, Any]) -> None:
    things = naive.things(SIZE, 1)
    loss, targets, raw = replace(LOSS, **options), naive.as_targets(things), random_maps(1)
    lengths = [x.numel() for x in raw]
    active = torch.cat([x.flatten() for x in marked(loss, raw, things)])

    def total(flat: Tensor) -> Tensor:
        maps = [part.reshape(x.shape) for part, x in zip(flat.split(lengths), raw, strict=True)]
        return torch.stack(list(loss(maps, targets, SIZE).values())).sum()

    flat = torch.cat([x.flatten() for x in raw])
    confidence = torch.cat([mask.flatten() for mask in confidences(raw)])
    held = torch.autograd.functional.vjp(total, flat)[1]
    assert not held[~(active | confidence)].any()  # predictions that do not answer learn their objectness alone
    keep = active.clone()
    keep[confidence.nonzero()[::40]] = True  # of the many others, some
    moving = flat[keep].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: total(flat.masked_scatter(keep, x)), moving)


def marked(loss: YoloV3Loss, raw: list[Tensor], things: list[naive.Thing]) -> list[Tensor]:
    """The numbers of the predictions that answer."""
    masks = [torch.zeros_like(x, dtype=torch.bool) for x in raw]
    for scale, picture, anchor, row, column in placed(loss, things):
        masks[scale].unflatten(1, (2, -1))[picture, anchor, :, row, column] = True
    return masks


def confidences(raw: list[Tensor]) -> list[Tensor]:
    masks = [torch.zeros_like(x, dtype=torch.bool) for x in raw]
    for mask in masks:
        mask.unflatten(1, (2, -1))[:, :, 4] = True
    return masks


def test_with_rescore_the_overlap_is_a_constant_for_the_gradient() -> None:
    loss, raw = replace(LOSS, rescore=True, box_weight=0.0, classes_weight=0.0), random_maps(3)
    for x in raw:
        x.requires_grad_()
    loss(raw, naive.as_targets(naive.things(SIZE, 3)), SIZE)["objectness"].backward()
    for x, own in zip(raw, confidences(raw), strict=True):
        assert x.grad is not None
        assert not x.grad[~own].any()
        assert x.grad[own].any()


def test_the_gradient_of_ciou_takes_its_alpha_as_a_constant() -> None:
    loss, raw, things = replace(LOSS, box="ciou", scale_x_y=1.1), random_maps(1), naive.things(SIZE, 1)
    alphas: list[float] = []

    def note(found: naive.Box, truth: naive.Box) -> float:
        alphas.append(naive.aspect(found, truth)[1])
        return naive.ciou(found, truth)

    expected(loss, raw, things, note)

    def box(maps: list[Tensor]) -> float:
        constants = iter(alphas)

        def measure(found: naive.Box, truth: naive.Box) -> float:
            return naive.diou(found, truth) - next(constants) * naive.aspect(found, truth)[0]

        return expected(loss, maps, things, measure)["box"]

    for x in raw:
        x.requires_grad_()
    loss(raw, naive.as_targets(things), SIZE)["box"].backward()
    for scale, mask in enumerate(marked(loss, raw, things)):
        slope = raw[scale].grad
        assert slope is not None
        for place in mask.nonzero()[::5].tolist():
            sides = []
            for step in (1e-5, -1e-5):
                maps = [x.detach().clone() for x in raw]
                maps[scale][*place] += step
                sides.append(box(maps))
            difference = (sides[0] - sides[1]) / 2e-5
            assert float(slope[*place]) == pytest.approx(difference, rel=1e-4, abs=1e-7)


def test_the_gradient_of_squared_errors_is_darknets() -> None:
    raw, things = random_maps(3), naive.things(SIZE, 3)
    for x in raw:
        x.requires_grad_()
    LOSS(raw, naive.as_targets(things), SIZE)["box"].backward()
    wanted = [torch.zeros_like(x).unflatten(1, (2, -1)) for x in raw]
    for (scale, picture, anchor, row, column), one in placed(LOSS, things).items():
        tx, ty, tw, th = raw[scale].unflatten(1, (2, -1))[picture, anchor, :4, row, column].tolist()
        (rows, columns), (cx, cy), (w, h) = GRIDS[scale], one.centre, one.sides
        prior = LOSS.anchors[scale][anchor]
        # delta_yolo_box of Darknet's yolo_layer.c, which has the opposite sign and no mean over the batch
        delta = (
            naive.sigmoid(tx) - (cx / SIZE[1] * columns - column),
            naive.sigmoid(ty) - (cy / SIZE[0] * rows - row),
            tw - math.log(w / prior[0]),
            th - math.log(h / prior[1]),
        )
        weight = (2 - w / SIZE[1] * h / SIZE[0]) / 4
        wanted[scale][picture, anchor, :4, row, column] = weight * torch.tensor(delta, dtype=torch.float64)
    for x, gradient in zip(raw, wanted, strict=True):
        torch.testing.assert_close(x.grad, gradient.flatten(1, 2))


def perfect(loss: YoloV3Loss, things: list[naive.Thing], classes: int) -> list[Tensor]:
    """The raw maps that decode to the objects and nothing else."""
    raw = [torch.full((4, 2, 5 + classes, *grid), -40.0, dtype=torch.float64) for grid in GRIDS]
    for (scale, picture, anchor, row, column), one in placed(loss, things).items():
        (rows, columns), (x, y), (w, h), s = GRIDS[scale], one.centre, one.sides, loss.scale_x_y
        prior = loss.anchors[scale][anchor]
        places = ((v + (s - 1) / 2) / s for v in (x * columns / SIZE[1] - column, y * rows / SIZE[0] - row))
        t = [math.log(p / (1 - p)) for p in places] + [math.log(w / prior[0]), math.log(h / prior[1]), 40.0]
        named = [40.0 if i == one.label else -40.0 for i in range(classes)]
        raw[scale][picture, anchor, :, row, column] = torch.tensor(t + named, dtype=torch.float64)
    return [x.flatten(1, 2) for x in raw]


APART = [
    naive.Thing(0, (3.0, 5.0, 41.0, 33.0), 0),
    naive.Thing(0, (70.0, 40.0, 84.0, 61.0), 2),
    naive.Thing(2, (11.0, 13.0, 18.0, 19.5), 1),
    naive.Thing(3, (0.0, 0.0, 95.0, 63.0), 1),
]


@pytest.mark.parametrize("options", [*OPTIONS[:6], {"scale_x_y": 1.2}, {"share": 0.3, "box": "giou"}, *OPTIONS[9:]])
def test_the_perfect_answer_decodes_to_the_objects_and_costs_nothing(options: dict[str, Any]) -> None:
    loss = replace(LOSS, **options)
    raw = [x.requires_grad_() for x in perfect(loss, APART, 3)]
    terms = loss(raw, naive.as_targets(APART), SIZE)
    assert float(terms["objectness"].detach()) == pytest.approx(0, abs=1e-9)
    assert float(terms["classes"].detach()) == pytest.approx(0, abs=1e-9)
    least = 0.0  # the cross-entropy of a place in the cell with itself is its entropy; its gradient is 0
    if loss.box == "squared":
        for (scale, _, _, row, column), one in placed(loss, APART).items():
            (rows, columns), (x, y), (w, h), s = GRIDS[scale], one.centre, one.sides, loss.scale_x_y
            for v in (x * columns / SIZE[1] - column, y * rows / SIZE[0] - row):
                p = (v + (s - 1) / 2) / s
                entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
                least += loss.box_weight * (2 - w / SIZE[1] * h / SIZE[0]) * entropy / 4
    assert float(terms["box"].detach()) == pytest.approx(least, abs=1e-9)
    torch.stack(list(terms.values())).sum().backward()
    if loss.box == "squared":
        assert all(x.grad is not None and x.grad.abs().max() < 1e-9 for x in raw)

    with torch.device("meta"):
        model = YoloV3(create("mobilenet_v2", alpha=0.35, classes=0), 3, SMALL, scale_x_y=loss.scale_x_y)
    boxes, scores = model.decode([x.detach() for x in raw], SIZE)
    assert boxes.shape == (4, sum(2 * rows * columns for rows, columns in GRIDS), 4)
    for i in range(4):
        found = {
            (tuple(round(v, 6) for v in box), int(score.argmax()))
            for box, score in zip(boxes[i].tolist(), scores[i], strict=True)
            if score.max() > 0.5
        }
        assert found == {(one.box, one.label) for one in APART if one.picture == i}


# The network.


def meta(name: str, classes: int = 80, **options: Any) -> YoloV3:
    with torch.device("meta"):
        return YoloV3(create(name, classes=0), classes, **options)


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_backbone_gives_the_promised_shapes(name: str, separable: bool) -> None:
    model = meta(name, 7, width=64, separable=separable)
    raw = model(torch.empty(2, 3, 96, 64, device="meta"))
    assert [tuple(x.shape) for x in raw] == [(2, 3 * 12, 96 // stride, 64 // stride) for stride in (32, 16, 8)]
    boxes, scores = model.decode(raw, (96, 64))
    count = 3 * (3 * 2 + 6 * 4 + 12 * 8)
    assert (tuple(boxes.shape), tuple(scores.shape)) == ((2, count, 4), (2, count, 7))


def test_anchors_may_be_of_any_number_and_are_those_of_the_paper_by_default() -> None:
    model = meta("mobilenet_v1", 2, anchors=(((10, 10),), ((5, 5), (6, 7)), ((2, 2), (2, 3), (3, 2), (3, 3))), width=16)
    raw = model(torch.empty(2, 3, 32, 32, device="meta"))
    assert [x.shape[1] for x in raw] == [7, 14, 28]
    assert meta("mobilenet_v1", width=16).anchors == ANCHORS
    assert [len(own) for own in ANCHORS] == [3, 3, 3]


def test_separable_convolutions_save_parameters_and_all_of_them_learn() -> None:
    torch.manual_seed(0)
    sizes = [sum(p.numel() for p in meta("mobilenet_v2", separable=s).parameters()) for s in (False, True)]
    assert sizes[1] < sizes[0] / 3
    model = YoloV3(create("mobilenet_v2", alpha=0.35, classes=0), 3, SMALL, width=16, separable=True)
    terms = YoloV3Loss(SMALL)(model(torch.rand(4, 3, *SIZE)), naive.as_targets(naive.things(SIZE, 3)), SIZE)
    torch.stack([x.float() for x in terms.values()]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def convolutions(module: nn.Module) -> list[tuple[int, int, int]]:
    """Channels in and out, and the side of the kernel."""
    found = (m for m in module.modules() if isinstance(m, nn.Conv2d))
    return [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in found]


def test_the_convolutions_behind_darknet_53_are_those_of_the_authors() -> None:
    model = meta("darknet53")
    assert sum(p.numel() for p in model.parameters()) == 61_949_149
    for i, (width, inputs) in enumerate(((512, 1024), (256, 256 + 512), (128, 128 + 256))):
        wide, pair = 2 * width, [(width, 2 * width, 3), (2 * width, width, 1)]
        assert convolutions(model.necks[i]) == [(inputs, width, 1), *pair, *pair]
        assert convolutions(model.outputs[i]) == [(width, wide, 3), (wide, 255, 1)]
    assert convolutions(model.lifts) == [(512, 256, 1), (256, 128, 1)]
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 75


def test_a_thin_map_is_lifted_and_stands_before_the_finer_one() -> None:
    torch.manual_seed(0)
    model = YoloV3(create("mobilenet_v2", alpha=0.35, classes=0), 3, SMALL, width=16).eval()
    model.load_state_dict(naive.random_state(model))
    image, seen = torch.rand(2, 3, *SIZE), naive.inputs_and_outputs(model.necks)
    with torch.no_grad():
        raw = model(image)
        fine, middle, coarse = model.backbone.features((image - 0.5) * 2)
        for i, (x, lift) in enumerate(zip((middle, fine), model.lifts, strict=True), start=1):
            lifted = lift(seen[i - 1][1]).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            assert min(float(lifted.std()), float(x.std())) > 0.01
            torch.testing.assert_close(seen[i][0], torch.cat((lifted, x), dim=1))
        torch.testing.assert_close(seen[0][0], coarse)
        for found, output, (_, thin) in zip(raw, model.outputs, seen, strict=True):
            torch.testing.assert_close(found, output(thin))


# Ours by their order in Darknet's file: an output stands beside its neck, and what is lifted comes after it.
PARTS = "backbone necks.0 outputs.0 lifts.0 necks.1 outputs.1 lifts.1 necks.2 outputs.2".split()


def test_it_is_what_darknets_cfg_describes(shared: Callable[[str], Path]) -> None:
    ours = meta("darknet53").eval()
    with torch.device("meta"):
        theirs = Darknet(shared("cfg/yolov3.cfg"), size=64).eval()
    assert sum(p.numel() for p in ours.parameters()) == theirs.parameters_count == 61_949_149
    torch.manual_seed(0)
    state = naive.random_state(ours)
    ours.load_state_dict(state, assign=True)
    keys = [key for part in PARTS for key in state if key.startswith(f"{part}.")]
    assert len(keys) == len(state)
    naive.load_in_order(theirs, [state[key] for key in keys])
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        found, wanted = ours(x), theirs(x)
        for a, b in zip(found, wanted, strict=True):
            assert a.std() > 0.1
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        for a, b in zip(ours.decode(found, (64, 96)), theirs.decode(wanted, (64, 96)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_with_a_mobilenets_padding_its_file_finds_the_same_at_any_size(tmp_path: Path) -> None:
    """That of strided layers is worked out of the size."""
    network = YoloV3(backbone(padding="same"), 3, ANCHORS, 16)
    finds_the_same(network, (64, 96), tmp_path, other=(96, 64))
