"""The localizer: its loss against a loop over pictures, its file against torch, and whether it learns."""

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import naive
import rectangles
from onelook.backbones import ARCHITECTURES, Backbone, create
from onelook.backbones.backbone import Row
from onelook.boxes import iou
from onelook.detectors.localizer import Localizer, LocalizerLoss
from onelook.errors import NetworkError
from onelook.export import export_detector
from onelook.nn.conv import ConvBlock
from onelook.runtime.session import open_session

SIZE = (64, 96)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other at every tiny operation take minutes on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_output(classes: int, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(4, classes + 4, dtype=torch.float64)


def largest(things: list[naive.Thing], picture: int) -> naive.Thing | None:
    best = None
    for one in things:
        if one.picture == picture and (best is None or math.prod(one.sides) >= math.prod(best.sides)):
            best = one
    return best


def expected(raw: Tensor, things: list[naive.Thing], weight: float = 5.0) -> dict[str, float]:
    classes = box = 0.0
    for b, values in enumerate(raw.tolist()):
        one = largest(things, b)
        if one is not None:
            classes -= math.log(naive.softmax(values[:-4])[one.label])
            for found, edge, side in zip(values[-4:], one.box, (SIZE[1], SIZE[0]) * 2, strict=True):
                box += weight * (found - edge / side) ** 2
    return {"classes": classes / len(raw), "box": box / len(raw)}


def close(found: dict[str, Tensor], wanted: dict[str, float], rel: float = 1e-9) -> None:
    assert {name: float(x.detach()) for name, x in found.items()} == pytest.approx(wanted, rel=rel, abs=rel)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_the_naive_loop(seed: int, classes: int) -> None:
    raw, things = random_output(classes, seed), naive.things(SIZE, classes, seed)
    close(LocalizerLoss()([raw], naive.as_targets(things), SIZE), expected(raw, things))
    close(LocalizerLoss(0.5)([raw], naive.as_targets(things[::-1]), SIZE), expected(raw, things[::-1], 0.5))


def test_a_picture_is_of_its_largest_object_and_of_equal_ones_the_last() -> None:
    small = naive.Thing(1, (0.0, 0.0, 90.0, 10.0), 0)
    large, equal = naive.Thing(1, (20.0, 10.0, 60.0, 50.0), 1), naive.Thing(1, (30.0, 20.0, 70.0, 60.0), 2)
    for things, main in (([small, large], large), ([large, small], large), ([large, small, equal], equal)):
        raw = torch.full((2, 7), -50.0, dtype=torch.float64)
        raw[1, main.label] = 50
        raw[1, 3:] = torch.tensor(main.box) / torch.tensor((96, 64, 96, 64))
        terms = LocalizerLoss()([raw], naive.as_targets(things), SIZE)
        assert [float(term) for term in terms.values()] == pytest.approx([0, 0], abs=1e-12)


def test_pictures_without_objects_add_nothing() -> None:
    raw = random_output(3).requires_grad_()
    terms = LocalizerLoss()([raw], naive.as_targets([]), SIZE)
    assert [float(term.detach()) for term in terms.values()] == [0, 0]
    torch.stack(list(terms.values())).sum().backward()
    assert raw.grad is not None
    assert not raw.grad.any()


def test_the_gradient_is_that_of_finite_differences() -> None:
    raw, things = random_output(3), naive.things(SIZE, 3)
    targets = naive.as_targets(things)
    where = torch.zeros_like(raw, dtype=torch.bool)
    where[[one.picture for one in things]] = True
    assert not where.all()
    assert naive.gradient_is_that_of_differences(
        lambda x: torch.stack(list(LocalizerLoss()([x], targets, SIZE).values())).sum(), raw, where
    )


def test_half_precision_is_computed_in_single() -> None:
    raw, things = random_output(3), naive.things(SIZE, 3)
    targets = naive.as_targets(things)
    targets = targets._replace(boxes=targets.boxes.float())
    half = LocalizerLoss()([raw.half()], targets, SIZE)
    assert {x.dtype for x in half.values()} == {torch.float32}
    close(half, expected(raw.half().double(), things), rel=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_backbone_gives_the_promised_shapes(name: str) -> None:
    with torch.device("meta"):
        model = Localizer(create(name, classes=0), 5, (64, 96))
    (raw,) = model(torch.empty(2, 3, 64, 96, device="meta"))
    assert tuple(raw.shape) == (2, 9)
    boxes, scores = model.decode([raw], (64, 96))
    assert (tuple(boxes.shape), tuple(scores.shape)) == ((2, 1, 4), (2, 1, 5))


def test_decode_gives_pixels_and_probabilities() -> None:
    with torch.device("meta"):
        model = Localizer(create("mobilenet_v1", alpha=0.25, classes=0), 2, (64, 96))
    boxes, scores = model.decode([torch.tensor([[0.0, math.log(3), 0.25, 0.5, 0.75, 1.0]])], (64, 96))
    assert boxes.tolist() == [[[24, 32, 72, 64]]]
    assert scores[0, 0].tolist() == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize("size", [(64, 50), (0, 64), (-32, 32)])
def test_a_size_that_is_not_of_whole_places_is_refused(size: tuple[int, int]) -> None:
    with torch.device("meta"), pytest.raises(NetworkError, match=f"multiples of 32; found {size[1]} x {size[0]}$"):
        Localizer(create("mobilenet_v2", classes=0), 20, size)


def tiny() -> Backbone:
    """Five convolutions of stride 2, which learn in seconds."""
    sides = (3, 16, 24, 32, 48, 64)
    rows = (Row(ConvBlock(pair, 3, 2, 1, activation="relu"), pair[1], 2) for pair in pairwise(sides))
    return Backbone(rows, torch.nn.Identity())


def test_the_file_and_torch_find_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Localizer(tiny(), 3, (64, 96)).eval()
    rectangles.randomise(model)
    path = export_detector(model, tmp_path / "one.onnx", ("red", "green", "blue"), (64, 96))
    session = open_session(path)
    for batch in (1, 3):
        images = np.random.default_rng(batch).integers(0, 256, (batch, 64, 96, 3), np.uint8)
        with torch.no_grad():
            boxes, scores = model.decode(model(torch.from_numpy(images).permute(0, 3, 1, 2) / 255), (64, 96))
        found = session.run(images, 0.01, 0.5)
        assert len(found[1]) == 3 * batch
        order = np.lexsort((found[2], found[3]))
        np.testing.assert_allclose(found[1][order], scores.flatten(), atol=1e-5)
        np.testing.assert_allclose(found[0][order], boxes.expand(-1, 3, -1).flatten(0, 1), rtol=1e-4, atol=1e-3)


def test_it_learns_where_a_coloured_rectangle_is() -> None:
    random = np.random.default_rng(0)
    images, boxes, labels = [], [], []
    for _ in range(64):
        image, (line,) = rectangles.scene(random, 1)
        label, x, y, w, h = map(float, line.split())
        images.append(image)
        boxes.append([64 * (x - w / 2), 64 * (y - h / 2), 64 * (x + w / 2), 64 * (y + h / 2)])
        labels.append(int(label))
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    targets = naive.as_targets(
        [naive.Thing(i, tuple(b), c) for i, (b, c) in enumerate(zip(boxes, labels, strict=True))]
    )  # type: ignore[arg-type]
    targets = targets._replace(boxes=targets.boxes.float())
    torch.manual_seed(0)
    model, loss = Localizer(tiny(), 3, (64, 64), 32), LocalizerLoss()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        torch.stack(list(loss(model(x), targets, (64, 64)).values())).sum().backward()
        optimizer.step()
    with torch.no_grad():
        found, scores = model.eval().decode(model(x), (64, 64))
    assert (scores[:, 0].argmax(1) == targets.classes).float().mean() > 0.95
    assert iou(found[:, 0], targets.boxes).mean() > 0.7
