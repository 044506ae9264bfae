"""YOLOv1: its loss against the loops of equation 3, its network against Figure 3 and Darknet's own description."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import naive
from onelook.backbones import ARCHITECTURES, Extraction, create
from onelook.darknet import Darknet
from onelook.detectors.yolo_v1 import YoloV1, YoloV1Loss
from onelook.errors import NetworkError

SIZE, SIDE, BOXES = (96, 160), 4, 2
CELLS = SIDE * SIDE


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other at every tiny operation take minutes on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_output(classes: int, boxes: int = BOXES, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(4, CELLS * (classes + 5 * boxes), dtype=torch.float64)


class Layout:
    """Where the numbers of one picture's output are, as Darknet's detection_layer.c counts them."""

    def __init__(self, classes: int, boxes: int):
        self.classes, self.boxes = classes, boxes

    def probability(self, cell: int, label: int) -> int:
        return cell * self.classes + label

    def confidence(self, cell: int, box: int) -> int:
        return CELLS * self.classes + cell * self.boxes + box

    def box(self, cell: int, box: int) -> int:
        return CELLS * (self.classes + self.boxes) + (cell * self.boxes + box) * 4


def relative(one: naive.Thing) -> tuple[float, float, float, float]:
    """Centre and sides, 1 being those of the picture."""
    (x, y), (w, h) = one.centre, one.sides
    return x / SIZE[1], y / SIZE[0], w / SIZE[1], h / SIZE[0]


def responsible(values: list[float], layout: Layout, cell: int, one: naive.Thing) -> tuple[int, float]:
    """The box of a cell that is to find an object, and how well they overlap."""
    row, column = divmod(cell, SIDE)
    overlaps, distances = [], []
    for box in range(layout.boxes):
        x, y, w, h = values[layout.box(cell, box) :][:4]
        found = ((column + x) / SIDE, (row + y) / SIDE, w * w, h * h)
        pixels = [v * side for v, side in zip(found, (SIZE[1], SIZE[0]) * 2, strict=True)]
        overlaps.append(naive.iou(naive.around(*pixels), one.box))
        distances.append(math.dist(found, relative(one)))
    best = overlaps.index(max(overlaps)) if max(overlaps) > 0 else distances.index(min(distances))
    return best, overlaps[best]


def expected(
    loss: YoloV1Loss, raw: Tensor, things: list[naive.Thing], boxes: int = BOXES
) -> tuple[dict[str, float], list[set[int]]]:
    """The terms; of each picture the numbers whose gradient is not 0."""
    layout = Layout(loss.classes, boxes)
    coordinates = objectness = no_object = classes = 0.0
    learning: list[set[int]] = []
    for b, values in enumerate(raw.tolist()):
        learning.append({layout.confidence(cell, box) for cell in range(CELLS) for box in range(boxes)})
        for cell in range(CELLS):
            own = [one for one in things if one.picture == b and one.cell(SIZE, (SIDE, SIDE)) == divmod(cell, SIDE)]
            best = None
            if own:
                best, overlap = responsible(values, layout, cell, own[-1])
                row, column = divmod(cell, SIDE)
                x, y, w, h = relative(own[-1])
                place = x * SIDE - column, y * SIDE - row, math.sqrt(w), math.sqrt(h)
                start = layout.box(cell, best)
                coordinates += sum((t - v) ** 2 for t, v in zip(values[start : start + 4], place, strict=True))
                objectness += (values[layout.confidence(cell, best)] - overlap) ** 2
                for label in range(loss.classes):
                    classes += (values[layout.probability(cell, label)] - (label == own[-1].label)) ** 2
                    learning[-1].add(layout.probability(cell, label))
                learning[-1] |= set(range(start, start + 4))
            no_object += sum(values[layout.confidence(cell, box)] ** 2 for box in range(boxes) if box != best)
    count = len(raw)
    terms = {
        "coordinates": loss.coordinates_weight * coordinates / count,
        "objectness": objectness / count,
        "no_object": loss.no_object_weight * no_object / count,
        "classes": classes / count,
    }
    return terms, learning


def close(found: dict[str, Tensor], wanted: dict[str, float], rel: float = 1e-9) -> None:
    assert {name: float(x.detach()) for name, x in found.items()} == pytest.approx(wanted, rel=rel, abs=rel)


@pytest.mark.parametrize("boxes", [1, 2, 3])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_equation_3_as_a_naive_loop(seed: int, classes: int, boxes: int) -> None:
    loss = YoloV1Loss(SIDE, classes)
    raw, things = random_output(classes, boxes, seed), naive.things(SIZE, classes, seed)
    close(loss([raw], naive.as_targets(things), SIZE), expected(loss, raw, things, boxes)[0])


def test_its_weights_are_those_of_the_paper_and_can_be_changed() -> None:
    raw, things = random_output(3), naive.things(SIZE, 3)
    targets = naive.as_targets(things)
    assert (YoloV1Loss(7, 20).coordinates_weight, YoloV1Loss(7, 20).no_object_weight) == (5, 0.5)
    loss = YoloV1Loss(SIDE, 3, coordinates_weight=0.7, no_object_weight=2)
    close(loss([raw], targets, SIZE), expected(loss, raw, things)[0])


@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_box_is_responsible_where_none_overlaps(seed: int) -> None:
    loss, layout, things = YoloV1Loss(SIDE, 3), Layout(3, BOXES), naive.things(SIZE, 3, seed)
    raw = random_output(3, seed=seed)
    start = layout.box(0, 0)
    boxes = raw[:, start:].unflatten(1, (CELLS * BOXES, 4))
    boxes[..., :2] += 20  # far out of the picture
    assert {
        responsible(raw[one.picture].tolist(), layout, row * SIDE + column, one)[1]
        for one in things
        for row, column in [one.cell(SIZE, (SIDE, SIDE))]
    } == {0.0}
    terms, _ = expected(loss, raw, things)
    close(loss([raw], naive.as_targets(things), SIZE), terms)


def test_the_overlap_decides_and_not_the_distance() -> None:
    one = naive.Thing(0, (10.0, 10.0, 30.0, 14.0), 0)
    x, y, w, h = relative(one)
    loss, layout, raw = YoloV1Loss(SIDE, 1), Layout(1, 2), torch.zeros(1, CELLS * 11, dtype=torch.float64)
    start = layout.box(0, 0)
    # The first, tiny and beside the object, is nearer by far; the second, all of the picture, overlaps it.
    raw[0, start : start + 8] = torch.tensor(
        [x * SIDE, (y + h) * SIDE, math.sqrt(w), math.sqrt(h) / 2, x * SIDE, y * SIDE, 1, 1]
    )
    assert responsible(raw[0].tolist(), layout, 0, one)[0] == 1
    found = loss([raw], naive.as_targets([one]), SIZE)
    assert float(found["coordinates"]) == pytest.approx(5 * ((1 - math.sqrt(w)) ** 2 + (1 - math.sqrt(h)) ** 2))


def test_pictures_without_objects_have_no_object_alone() -> None:
    raw, loss = random_output(3).requires_grad_(), YoloV1Loss(SIDE, 3)
    found = loss([raw], naive.as_targets([]), SIZE)
    close(found, expected(loss, raw, [])[0])
    assert [name for name, term in found.items() if term.detach()] == ["no_object"]
    torch.stack(list(found.values())).sum().backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


def test_single_precision_is_as_exact_as_it_can_be_and_half_is_computed_in_it() -> None:
    raw, things, loss = random_output(3), naive.things(SIZE, 3), YoloV1Loss(SIDE, 3)
    targets = naive.as_targets(things)
    targets = targets._replace(boxes=targets.boxes.float())
    close(loss([raw.float()], targets, SIZE), expected(loss, raw, things)[0], rel=1e-4)
    half = loss([raw.half()], targets, SIZE)
    assert {x.dtype for x in half.values()} == {torch.float32}
    close(half, expected(loss, raw.half().double(), things)[0], rel=1e-4)


def test_the_gradient_is_that_of_finite_differences() -> None:
    raw, things, loss = random_output(3), naive.things(SIZE, 3), YoloV1Loss(SIDE, 3)
    targets, (_, learning) = naive.as_targets(things), expected(loss, raw, things)
    wanted = torch.zeros_like(raw, dtype=torch.bool)
    for row, numbers in zip(wanted, learning, strict=True):
        row[list(numbers)] = True
    confidence = torch.zeros_like(wanted)
    confidence[:, CELLS * 3 : CELLS * (3 + BOXES)] = True

    def terms(x: Tensor, *names: str) -> Tensor:
        found = loss([x], targets, SIZE)
        return torch.stack([found[name] for name in names]).sum()

    # The overlap that a confidence is to be is a constant for the gradient.
    for names, where in ((("objectness", "no_object"), confidence), (("coordinates", "classes"), wanted & ~confidence)):
        assert naive.gradient_is_that_of_differences(lambda x, names=names: terms(x, *names), raw, where)  # type: ignore[misc]


def test_the_perfect_answer_decodes_to_the_objects_and_costs_nothing() -> None:
    things = [
        naive.Thing(0, (3.0, 5.0, 37.0, 29.0), 0),
        naive.Thing(0, (70.0, 40.0, 84.0, 61.0), 2),
        naive.Thing(2, (101.0, 13.0, 118.0, 19.5), 1),
        naive.Thing(3, (0.0, 0.0, 155.0, 93.0), 1),
        naive.Thing(3, (150.0, 80.0, 166.0, 112.0), 2),
    ]
    side, layout = 4, Layout(3, BOXES)
    raw = torch.zeros(4, CELLS * (3 + 5 * BOXES), dtype=torch.float64)
    for i, one in enumerate(things):
        row, column = one.cell(SIZE, (side, side))
        cell, box, (x, y, w, h) = row * side + column, i % 2, relative(one)
        raw[one.picture, layout.probability(cell, one.label)] = 1
        raw[one.picture, layout.confidence(cell, box)] = 1
        start = layout.box(cell, box)
        values = torch.tensor([x * side - column, y * side - row, math.sqrt(w), math.sqrt(h)], dtype=torch.float64)
        raw[one.picture, start : start + 4] = values
    terms = YoloV1Loss(side, 3)([raw], naive.as_targets(things), SIZE)
    assert [float(term) for term in terms.values()] == pytest.approx([0] * 4, abs=1e-12)
    with torch.device("meta"):
        model = YoloV1(create("mobilenet_v2", classes=0), 3, (64 * side,) * 2)
    boxes, scores = model.decode([raw], SIZE)
    assert (boxes.shape, scores.shape) == ((4, CELLS * BOXES, 4), (4, CELLS * BOXES, 3))
    for i in range(4):
        found = {
            (tuple(round(v, 6) for v in box), int(score.argmax()))
            for box, score in zip(boxes[i].tolist(), scores[i], strict=True)
            if score.max() > 0.5
        }
        assert found == {(one.box, one.label) for one in things if one.picture == i}


# The network.


def test_it_is_figure_3() -> None:
    with torch.device("meta"):
        model = YoloV1(Extraction(classes=0), 20)
    # Figure 3, column by column: filters and side of the kernel.
    first = [(64, 7), (192, 3), (128, 1), (256, 3), (256, 1), (512, 3), *[(256, 1), (512, 3)] * 4]
    rest = [(512, 1), (1024, 3), *[(512, 1), (1024, 3)] * 2, *[(1024, 3)] * 4]
    total, channels = 0, 3
    for filters, kernel in first + rest:
        total += kernel * kernel * channels * filters + 2 * filters  # and batch normalisation, which the paper lacks
        channels = filters
    total += 7 * 7 * 1024 * 4096 + 4096
    total += 4096 * 7 * 7 * 30 + 7 * 7 * 30
    assert sum(p.numel() for p in model.parameters()) == total
    # "Our network has 24 convolutional layers followed by 2 fully connected layers"
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == 24
    assert sum(isinstance(module, nn.Linear) for module in model.modules()) == 2
    (raw,) = model(torch.empty(1, 3, 448, 448, device="meta"))
    assert tuple(raw.shape) == (1, 7 * 7 * 30)  # "Our final prediction is a 7 x 7 x 30 tensor"
    (dropout,) = (module for module in model.modules() if isinstance(module, nn.Dropout))
    assert dropout.p == 0.5  # section 2.2
    boxes, scores = model.decode([raw], (448, 448))
    assert (tuple(boxes.shape), tuple(scores.shape)) == ((1, 98, 4), (1, 98, 20))  # "98 bounding boxes per image"


@pytest.mark.parametrize("head", ["connected", "local"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_backbone_gives_the_promised_shapes(name: str, head: str) -> None:
    with torch.device("meta"):
        model = YoloV1(create(name, classes=0), 5, (128, 128), boxes=3, head=head)  # type: ignore[arg-type]
    (raw,) = model(torch.empty(2, 3, 128, 128, device="meta"))
    assert tuple(raw.shape) == (2, 2 * 2 * (5 + 3 * 5))
    boxes, scores = model.decode([raw], (128, 128))
    assert (tuple(boxes.shape), tuple(scores.shape)) == ((2, 12, 4), (2, 12, 5))


@pytest.mark.parametrize("size", [(448, 384), (450, 450), (32, 32), (0, 0), (-64, -64)])
def test_a_size_that_is_not_square_or_not_of_whole_cells_is_refused(size: tuple[int, int]) -> None:
    with torch.device("meta"), pytest.raises(NetworkError, match=f"multiple of 64; found {size[1]} x {size[0]}$"):
        YoloV1(create("mobilenet_v2", classes=0), 20, size)


@pytest.mark.parametrize("head", ["connected", "local"])
def test_all_parameters_learn(head: str) -> None:
    torch.manual_seed(0)
    model = YoloV1(create("mobilenet_v2", alpha=0.35, classes=0), 3, (64, 64), head=head)  # type: ignore[arg-type]
    terms = YoloV1Loss(1, 3)(model(torch.rand(4, 3, 64, 64)), naive.as_targets(naive.things((64, 64), 3)), (64, 64))
    torch.stack([x.float() for x in terms.values()]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_it_is_what_darknets_cfg_describes(shared: Callable[[str], Path], tmp_path: Path) -> None:
    cfg = shared("cfg/yolov1.cfg")
    with torch.device("meta"):
        whole = YoloV1(Extraction(classes=0), 20, boxes=3, head="local")
        assert sum(p.numel() for p in whole.parameters()) == Darknet(cfg).parameters_count == 197_301_875
        # The same on pictures of 128 x 128, 2 x 2 cells, to save time and memory.
        ours = YoloV1(Extraction(classes=0), 20, (128, 128), boxes=3, head="local").eval()
        text = cfg.read_text()
        for old, new in (("=448", "=128"), ("output= 1715", f"output={2 * 2 * 35}"), ("side=7", "side=2")):
            assert old in text
            text = text.replace(old, new)
        small = tmp_path / "yolov1.cfg"
        small.write_text(text)
        theirs = Darknet(small).eval()
    torch.manual_seed(0)
    state = naive.random_state(ours)
    ours.load_state_dict(state, assign=True)
    naive.load_in_order(theirs, list(state.values()))
    x = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        found, wanted = ours(x), theirs(x)
        assert found[0].std() > 0.1
        torch.testing.assert_close(found[0], wanted[0].flatten(1), rtol=1e-4, atol=1e-4)
        for a, b in zip(ours.decode(found, (128, 128)), theirs.decode(wanted, (128, 128)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)
