"""YOLOv2: its loss against loops over cells, anchors and objects, its network against Darknet's own description."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naive
from networks import PARENTS
from onelook.backbones import ARCHITECTURES, create
from onelook.darknet import Darknet
from onelook.detectors.yolo_v2 import ANCHORS, YoloV2, YoloV2Loss
from onelook.nn.wordtree import WordTree

SIZE, GRID = (96, 160), (3, 5)
CELL = 32
SMALL = ((0.5, 0.7), (1.3, 1.1), (3.0, 2.5))  # in cells
LOSS = YoloV2Loss(SMALL, ignore=0.3)
TREE = WordTree(PARENTS)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other at every tiny operation take minutes on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_map(classes: int) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(4, 3 * (5 + classes), *GRID, dtype=torch.float64)


def placed(things: list[naive.Thing]) -> dict[tuple[int, ...], naive.Thing]:
    """Picture, anchor, row, column of the predictions that answer, and for what."""
    found: dict[tuple[int, ...], naive.Thing] = {}
    for one in things:
        fits = [naive.iou((0, 0, w * CELL, h * CELL), (0, 0, *one.sides)) for w, h in SMALL]
        found[one.picture, fits.index(max(fits)), *one.cell(SIZE, GRID)] = one
    return found


def decoded(t: list[float], anchor: int, row: int, column: int) -> naive.Box:
    """ "Direct Location Prediction"."""
    w, h = SMALL[anchor][0] * math.exp(t[2]), SMALL[anchor][1] * math.exp(t[3])
    in_cells = naive.around(naive.sigmoid(t[0]) + column, naive.sigmoid(t[1]) + row, w, h)
    return (in_cells[0] * CELL, in_cells[1] * CELL, in_cells[2] * CELL, in_cells[3] * CELL)


def probability(logits: list[float], label: int, tree: bool) -> float:
    """Pr(class | object): of the softmax, or the product up the path to the root."""
    if not tree:
        return naive.softmax(logits)[label]
    product, node = 1.0, label
    while node >= 0:
        siblings = [i for i, parent in enumerate(PARENTS) if parent == PARENTS[node]]
        product *= naive.softmax([logits[i] for i in siblings])[siblings.index(node)]
        node = PARENTS[node]
    return product


def expected(
    loss: YoloV2Loss, raw: Tensor, things: list[naive.Thing], labels: dict[int, int] | None = None
) -> dict[str, float]:
    answers, labels, tree = placed(things), labels or {}, loss.tree is not None
    coordinates = objectness = no_object = classes = 0.0
    for b, picture in enumerate(raw.tolist()):
        own = [one.box for one in things if one.picture == b]
        best, likeliest = -1.0, [0.0]
        count = len(picture) // len(SMALL)
        for a in range(len(SMALL)):
            for row in range(GRID[0]):
                for column in range(GRID[1]):
                    t = [picture[a * count + k][row][column] for k in range(count)]
                    if b in labels:
                        likely = probability(t[5:], labels[b], tree)
                        if likely > best:
                            best, likeliest = likely, t
                        continue
                    found, one = decoded(t, a, row, column), answers.get((b, a, row, column))
                    if one is None:
                        if not any(naive.iou(found, other) > loss.ignore for other in own):
                            no_object += naive.sigmoid(t[4]) ** 2 / 2
                        continue
                    objectness += (naive.sigmoid(t[4]) - naive.iou(found, one.box)) ** 2 / 2
                    classes -= math.log(probability(t[5:], one.label, tree))
                    if loss.box != "squared":
                        coordinates += 1 - naive.MEASURES[loss.box](found, one.box)
                        continue
                    (x, y), (w, h) = one.centre, one.sides
                    errors = (
                        naive.sigmoid(t[0]) - (x / CELL - column),
                        naive.sigmoid(t[1]) - (y / CELL - row),
                        t[2] - math.log(w / CELL / SMALL[a][0]),
                        t[3] - math.log(h / CELL / SMALL[a][1]),
                    )
                    weight = 2 - w / SIZE[1] * h / SIZE[0]
                    coordinates += weight * sum(error**2 for error in errors) / 2
        if b in labels:
            classes -= math.log(best)
            objectness += max(0.3 - naive.sigmoid(likeliest[4]), 0) ** 2 / 2
    terms = {"coordinates": coordinates, "objectness": objectness, "no_object": no_object, "classes": classes}
    return {name: getattr(loss, f"{name}_weight") * term / len(raw) for name, term in terms.items()}


WEIGHTS: dict[str, Any] = {
    "coordinates_weight": 3.0,
    "objectness_weight": 0.7,
    "no_object_weight": 0.1,
    "classes_weight": 2.0,
}
OPTIONS: list[dict[str, Any]] = [
    {},
    *({"box": box} for box in ("iou", "giou", "diou", "ciou")),
    {"ignore": 0.05},
    {"tree": TREE},
    WEIGHTS,
]


def count_of(loss: YoloV2Loss) -> int:
    return 9 if loss.tree is not None else 3


def close(found: dict[str, Tensor], wanted: dict[str, float], rel: float = 1e-9) -> None:
    assert {name: float(x.detach()) for name, x in found.items()} == pytest.approx(wanted, rel=rel, abs=rel)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(options))
def test_the_loss_is_the_naive_loop(options: dict[str, Any]) -> None:
    loss = replace(LOSS, **options)
    raw, things = random_map(count_of(loss)), naive.things(SIZE, count_of(loss))
    close(loss([raw], naive.as_targets(things), SIZE), expected(loss, raw, things))


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_loss_is_the_naive_loop_on_other_objects_of_one_class(seed: int) -> None:
    raw, things = random_map(1), naive.things(SIZE, 1, seed)
    found = LOSS([raw], naive.as_targets(things), SIZE)
    close(found, expected(LOSS, raw, things))
    assert float(found["classes"]) == 0  # a softmax of one class is certain


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(options))
def test_pictures_without_objects_have_no_object_alone(options: dict[str, Any]) -> None:
    loss = replace(LOSS, **options)
    raw = random_map(count_of(loss))
    found = loss([raw], naive.as_targets([]), SIZE)
    close(found, expected(loss, raw, []))
    assert [name for name, term in found.items() if term] == ["no_object"]


def test_some_predictions_are_ignored() -> None:
    raw, targets = random_map(3), naive.as_targets(naive.things(SIZE, 3))
    found = [float(replace(LOSS, ignore=most)([raw], targets, SIZE)["no_object"]) for most in (0.05, 0.3, 1.0)]
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("tree", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_of_pictures_with_a_class_alone_the_likeliest_box_learns(seed: int, tree: bool) -> None:
    loss = replace(LOSS, tree=TREE if tree else None, **WEIGHTS)
    things = [one for one in naive.things(SIZE, count_of(loss), seed) if one.picture != 3]
    raw = random_map(count_of(loss)).roll(seed, 0) - 0.8
    labels = {3: 1 + seed % 2, 1: 0}
    close(loss([raw], naive.as_targets(things, labels), SIZE), expected(loss, raw, things, labels))
    raw.requires_grad_()
    torch.stack(list(loss([raw], naive.as_targets(things, labels), SIZE).values())).sum().backward()
    assert raw.grad is not None
    for picture, label in labels.items():
        touched = raw.grad[picture].unflatten(0, (3, -1)).movedim(1, -1).flatten(0, 2)
        boxes = touched.any(dim=1).nonzero().flatten().tolist()
        every = raw.detach()[picture].unflatten(0, (3, -1)).movedim(1, -1).flatten(0, 2).tolist()
        chances = [probability(t[5:], label, tree) for t in every]
        assert boxes == [chances.index(max(chances))]
        assert not touched[:, :4].any()


def test_an_objectness_above_the_assumed_overlap_learns_nothing() -> None:
    raw = random_map(3)
    raw.unflatten(1, (3, -1))[:, :, 4] = 0.0  # a half
    assert float(LOSS([raw], naive.as_targets([], {0: 1}), SIZE)["objectness"]) == 0
    raw.unflatten(1, (3, -1))[:, :, 4] = math.log(0.1 / 0.9)
    assert float(LOSS([raw], naive.as_targets([], {0: 1}), SIZE)["objectness"]) == pytest.approx(5 * 0.2**2 / 2 / 4)


def test_single_precision_is_as_exact_as_it_can_be_and_half_is_computed_in_it() -> None:
    raw, things = random_map(3), naive.things(SIZE, 3)
    targets = naive.as_targets(things)
    targets = targets._replace(boxes=targets.boxes.float())
    close(LOSS([raw.float()], targets, SIZE), expected(LOSS, raw, things), rel=1e-4)
    half = LOSS([raw.half()], targets, SIZE)
    assert {x.dtype for x in half.values()} == {torch.float32}
    close(half, expected(LOSS, raw.half().double(), things), rel=1e-4)


@pytest.mark.parametrize("scale", [10.0, 100.0, 1e4, 1e15])
@pytest.mark.parametrize("box", ["squared", "iou", "giou", "diou", "ciou"])
def test_loss_and_gradient_are_finite_for_large_outputs(box: Any, scale: float) -> None:
    raw = (random_map(3).float() * scale).requires_grad_()
    targets = naive.as_targets(naive.things(SIZE, 3))
    terms = replace(LOSS, box=box)([raw], targets._replace(boxes=targets.boxes.float()), SIZE)
    torch.stack(list(terms.values())).sum().backward()
    assert raw.grad is not None
    assert all(term.isfinite() for term in terms.values())
    assert raw.grad.isfinite().all()


@pytest.mark.parametrize(
    "options",
    [{}, {"box": "giou"}, {"box": "diou", "tree": TREE}, {"tree": TREE}],
    ids=lambda options: ",".join(options),
)
def test_the_gradient_is_that_of_finite_differences(options: dict[str, Any]) -> None:
    loss = replace(LOSS, **options)
    raw = random_map(count_of(loss))
    things = [one for one in naive.things(SIZE, count_of(loss)) if one.picture != 3]
    targets = naive.as_targets(things, {3: 1})

    def terms(x: Tensor, *names: str) -> Tensor:
        found = loss([x], targets, SIZE)
        return torch.stack([found[name] for name in names]).sum()

    answering, confidence = (torch.zeros_like(raw, dtype=torch.bool) for _ in range(2))
    for picture, anchor, row, column in placed(things):
        answering.unflatten(1, (3, -1))[picture, anchor, :, row, column] = True
    confidence.unflatten(1, (3, -1))[:, :, 4] = True
    learning = answering & ~confidence

    def outer(x: Tensor) -> Tensor:  # pictures 0 and 2 alone hold boxes; the classes of picture 3 are tested above
        return terms(x, "coordinates", "classes")

    gradient = torch.autograd.functional.vjp(outer, raw)[1]
    assert not gradient[:3][~learning[:3]].any()
    chosen = raw[learning].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: outer(raw.masked_scatter(learning, x)), chosen)
    # The overlap that an objectness is to be is a constant for the gradient.
    assert naive.gradient_is_that_of_differences(lambda x: terms(x, "objectness", "no_object"), raw, confidence)


def test_the_gradient_of_ciou_takes_its_alpha_as_a_constant() -> None:
    loss, raw, things = replace(LOSS, box="ciou"), random_map(3).requires_grad_(), naive.things(SIZE, 3)
    loss([raw], naive.as_targets(things), SIZE)["coordinates"].backward()
    assert raw.grad is not None
    for (picture, anchor, row, column), one in placed(things).items():
        t = raw.detach().unflatten(1, (3, -1))[picture, anchor, :, row, column].tolist()
        alpha = naive.aspect(decoded(t, anchor, row, column), one.box)[1]
        for k in range(4):
            sides = []
            for step in (1e-6, -1e-6):
                box = decoded([x + step * (i == k) for i, x in enumerate(t)], anchor, row, column)
                sides.append(1 - naive.diou(box, one.box) + alpha * naive.aspect(box, one.box)[0])
            found = float(raw.grad.unflatten(1, (3, -1))[picture, anchor, k, row, column])
            assert found == pytest.approx((sides[0] - sides[1]) / 2e-6 / 4, rel=1e-4, abs=1e-8)


APART = [
    naive.Thing(0, (3.0, 5.0, 41.0, 33.0), 0),
    naive.Thing(0, (70.0, 40.0, 84.0, 61.0), 2),
    naive.Thing(2, (101.0, 13.0, 118.0, 19.5), 1),
    naive.Thing(3, (0.0, 0.0, 155.0, 93.0), 1),
]


@pytest.mark.parametrize("options", [{}, {"box": "ciou"}, {"tree": TREE}], ids=lambda options: ",".join(options))
def test_the_perfect_answer_decodes_to_the_objects_and_costs_nothing(options: dict[str, Any]) -> None:
    loss = replace(LOSS, **options)
    classes = count_of(loss)
    things = [one._replace(label=(one.label + 5) % 9) for one in APART] if loss.tree else APART
    raw = torch.full((4, 3, 5 + classes, *GRID), -40.0, dtype=torch.float64)
    for (picture, anchor, row, column), one in placed(things).items():
        (x, y), (w, h) = one.centre, one.sides
        places = (x / CELL - column, y / CELL - row)
        t = [math.log(p / (1 - p)) for p in places]
        t += [math.log(side / CELL / prior) for side, prior in zip((w, h), SMALL[anchor], strict=True)]
        path, node = set(), one.label
        while node >= 0:
            path.add(node)
            node = PARENTS[node] if loss.tree else -1
        named = [40.0 if i in path else -40.0 for i in range(classes)]
        raw[picture, anchor, :, row, column] = torch.tensor([*t, 40.0, *named], dtype=torch.float64)
    raw = raw.flatten(1, 2)
    # Without certainty below it, a class with children is not where Darknet stops; the ones here have none.
    assert not loss.tree or not {one.label for one in things} & set(PARENTS)
    assert [float(term) for term in loss([raw], naive.as_targets(things), SIZE).values()] == pytest.approx([0] * 4)
    with torch.device("meta"):
        model = YoloV2(create("mobilenet_v2", classes=0), classes, SMALL, width=8, tree=loss.tree)
    boxes, scores = model.decode([raw], SIZE)
    assert (boxes.shape, scores.shape) == ((4, 45, 4), (4, 45, classes))
    for i in range(4):
        found = {
            (tuple(round(v, 6) for v in box), int(score.argmax()))
            for box, score in zip(boxes[i].tolist(), scores[i], strict=True)
            if score.max() > 0.5
        }
        assert found == {(one.box, one.label) for one in things if one.picture == i}


# The network.


def meta(name: str, classes: int = 80, **options: Any) -> YoloV2:
    with torch.device("meta"):
        return YoloV2(create(name, classes=0), classes, **options)


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_backbone_gives_the_promised_shapes(name: str, separable: bool) -> None:
    model = meta(name, 7, width=64, separable=separable)
    raw = model(torch.empty(2, 3, 96, 64, device="meta"))
    assert [tuple(x.shape) for x in raw] == [(2, 5 * 12, 3, 2)]
    boxes, scores = model.decode(raw, (96, 64))
    assert (tuple(boxes.shape), tuple(scores.shape)) == ((2, 30, 4), (2, 30, 7))
    assert model.anchors == ANCHORS


def test_separable_convolutions_save_parameters_and_all_of_them_learn() -> None:
    torch.manual_seed(0)
    sizes = [sum(p.numel() for p in meta("mobilenet_v2", separable=s).parameters()) for s in (False, True)]
    assert sizes[1] < sizes[0] / 3
    model = YoloV2(create("mobilenet_v2", alpha=0.35, classes=0), 9, SMALL, width=16, separable=True, tree=TREE)
    raw = model(torch.rand(4, 3, *SIZE))
    things = [one for one in naive.things(SIZE, 9) if one.picture != 3]
    terms = YoloV2Loss(SMALL, tree=TREE)(raw, naive.as_targets(things, {3: 4}), SIZE)
    torch.stack([x.float() for x in terms.values()]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_convolutions_behind_darknet_19_are_those_of_the_authors() -> None:
    model = meta("darknet19")
    assert sum(p.numel() for p in model.parameters()) == 50_962_889
    found = [
        (m.in_channels, m.out_channels, m.kernel_size[0])
        for part in (model.deepen, model.passthrough, model.output)
        for m in part.modules()
        if isinstance(m, nn.Conv2d)
    ]
    assert found == [(1024, 1024, 3), (1024, 1024, 3), (512, 64, 1), (1280, 1024, 3), (1024, 425, 1)]


def test_the_finer_map_passes_through_and_stands_before_the_coarse_one() -> None:
    torch.manual_seed(0)
    model = YoloV2(create("mobilenet_v2", alpha=0.35, classes=0), 3, SMALL, width=16).eval()
    model.load_state_dict(naive.random_state(model))
    image, seen = torch.rand(2, 3, *SIZE), naive.inputs_and_outputs([model.output])
    with torch.no_grad():
        raw = model(image)
        _, fine, coarse = model.backbone.features((image - 0.5) * 2)
        passed, deep, narrow = model.passthrough(fine), model.deepen(coarse), model.passthrough[0](fine)
        assert min(float(passed.std()), float(deep.std())) > 0.01
        torch.testing.assert_close(seen[0][0], torch.cat((passed, deep), dim=1))
    # Every 2 x 2 places become a vector: no number is lost.
    assert torch.equal(passed.flatten().sort().values, narrow.flatten().sort().values)
    assert torch.equal(raw[0], seen[0][1])


def test_it_is_what_darknets_cfg_describes(shared: Callable[[str], Path]) -> None:
    ours = meta("darknet19").eval()
    with torch.device("meta"):
        theirs = Darknet(shared("cfg/yolov2.cfg"), size=64).eval()
    assert sum(p.numel() for p in ours.parameters()) == theirs.parameters_count == 50_962_889
    torch.manual_seed(0)
    state = naive.random_state(ours)
    ours.load_state_dict(state, assign=True)
    naive.load_in_order(theirs, list(state.values()))
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        found, wanted = ours(x), theirs(x)
        assert found[0].std() > 0.1
        torch.testing.assert_close(found[0], wanted[0], rtol=1e-4, atol=1e-4)
        for a, b in zip(ours.decode(found, (64, 96)), theirs.decode(wanted, (64, 96)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)
