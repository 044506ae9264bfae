"""Faster R-CNN: the figures of the papers, loops over anchors and objects, the model file."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import naive
from onelook import backbones
from onelook.backbones.tap import tap
from onelook.detectors.faster_rcnn import ANCHORS, PYRAMID_ANCHORS, FasterRcnn, FasterRcnnLoss
from onelook.detectors.priors import BACKGROUND, IGNORED
from onelook.detectors.regions import Regions, draw
from onelook.detectors.rpn import NOTHING, RpnLoss, best, suppress
from onelook.detectors.targets import targets
from onelook.errors import NetworkError
from onelook.export import export_detector
from onelook.nms import nms
from onelook.nn.roi import roi_align, roi_pool
from onelook.runtime.session import open_session
from small_rcnn import ENGINES, SIZE, agree, awake, backbone, in_torch, plain, pyramid

NONE = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
OBJECTS = torch.tensor([[10.0, 12.0, 50.0, 40.0], [60.0, 20.0, 120.0, 90.0]]), torch.tensor([2, 0])


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_on_vgg_16_it_has_the_parameters_of_the_authors_network() -> None:
    with torch.device("meta"):
        ours = FasterRcnn(backbones.create("vgg16", classes=0), 20)
    convolutions, connected = 14_714_688, 25_088 * 4096 + 4096 + 4096 * 4096 + 4096
    rpn = 512 * 512 * 9 + 512 + 513 * 2 * 9 + 513 * 4 * 9
    theirs = convolutions + connected + rpn + 4097 * 21 + 4097 * 4 * 21
    assert theirs == 137_078_239
    # A logistic objectness has one number where a softmax has two; the background has no box to be refined.
    assert parameters(ours) == theirs - 513 * 9 - 4097 * 4


def test_on_the_pyramid_of_resnet_50_it_has_the_parameters_of_torchvisions() -> None:
    with torch.device("meta"):
        ours = FasterRcnn(backbones.create("resnet50", classes=0), 80, 256, "align", 1024)
    # It has 91 classes with the background, boxes for all of these, and batch normalisation that is not trained.
    assert parameters(ours) == 41_755_286 - (91 - 81) * 1025 - (91 - 80) * 4 * 1025 + 53_120


def test_the_anchors_are_those_of_the_papers() -> None:
    areas = [sorted({round(w * h) for w, h in own}) for own in (*ANCHORS, *PYRAMID_ANCHORS)]
    assert areas == [[128**2, 256**2, 512**2], *([side**2] for side in (32, 64, 128, 256, 512))]
    for own in (*ANCHORS, *PYRAMID_ANCHORS):
        assert sorted({round(h / w, 6) for w, h in own}) == [0.5, 1, 2]


@given(
    width=st.floats(1, 2000, width=32),
    height=st.floats(1, 2000, width=32),
)
def test_a_region_is_cut_out_of_the_level_of_equation_1(width: float, height: float) -> None:
    k = 4 + math.log2(math.sqrt(width * height) / 224)
    found = Regions((4, 8, 16, 32), "align").level(torch.tensor([[0.0, 0.0, width, height]]).double())
    if abs(k - round(k)) > 1e-6:  # else the logarithm may err
        assert int(found) + 2 == min(max(math.floor(k), 2), 5)


def test_regions_of_exactly_the_canonical_sizes_belong_to_the_coarser_level() -> None:
    sides = torch.tensor([111.99, 112, 223.99, 224, 447.99, 448, 3000, 0])
    boxes = torch.stack((torch.zeros(8), torch.zeros(8), sides, sides), dim=1)
    assert (Regions((4, 8, 16, 32), "align").level(boxes) + 2).tolist() == [2, 3, 3, 4, 4, 5, 5, 2]


def test_features_come_from_the_level_of_each_region() -> None:
    maps = [torch.full((1, 1, 256 // stride, 256 // stride), float(stride)) for stride in (4, 8, 16, 32)]
    boxes = torch.tensor([[0.0, 0.0, 50.0, 50.0], [5.0, 5.0, 130.0, 160.0], [0.0, 0.0, 250.0, 250.0]])
    for roi in ("align", "pool"):
        found = Regions((4, 8, 16, 32), roi)(maps, boxes, torch.zeros(3, dtype=torch.int64), (2, 2))  # type: ignore[arg-type]
        assert found[:, 0, 0, 0].tolist() == [4, 8, 16]


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 12), largest=st.sampled_from([100, 400, 1000]))
def test_features_are_those_of_each_region_alone_in_any_order(seed: int, count: int, largest: int) -> None:
    torch.manual_seed(seed)
    strides = (4, 8, 16, 32)
    maps = [torch.randn(2, 3, 1024 // stride, 1024 // stride) for stride in strides]
    corner, picture = torch.rand(count, 2) * 1000, torch.randint(2, (count,))
    boxes = torch.cat((corner, corner + torch.rand(count, 2) * largest), dim=1)
    for roi, cut in (("align", roi_align), ("pool", roi_pool)):
        found = Regions(strides, roi)(maps, boxes, picture, (2, 2))  # type: ignore[arg-type]
        assert found.shape == (count, 3, 2, 2)
        for i, level in enumerate(Regions(strides, "align").level(boxes).tolist()):
            alone = cut(maps[level], boxes[i : i + 1], picture[i : i + 1], (2, 2), 1 / strides[level])
            torch.testing.assert_close(found[i], alone[0])


def test_a_backbone_is_cut_behind_the_last_map_that_is_used() -> None:
    whole = backbone()
    image = torch.randn(1, 3, 64, 64)
    expected = [whole.eval().body[:n](image) for n in (2, 4)]
    tapped = tap(whole, (4, 16))
    assert len(tapped.body) == 4
    for found, wanted in zip(tapped.features(image), expected, strict=True):
        assert torch.equal(found, wanted)
    with torch.device("meta"), pytest.raises(NetworkError, match="Xception has no map of stride 4"):
        tap(backbones.create("xception", classes=0), (4, 8, 16, 32))


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_suppression_keeps_what_nms_keeps_picture_by_picture(seed: int) -> None:
    torch.manual_seed(seed)
    corner = torch.rand(2, 30, 2) * 50
    boxes, scores = torch.cat((corner, corner + torch.rand(2, 30, 2) * 40), dim=2), torch.rand(2, 30)
    scores[:, 5:8] = NOTHING
    found = suppress(boxes, scores, 0.4, 30)
    for i in range(2):
        kept = nms(boxes[i], scores[i], 0.4)
        expected = torch.full((30,), NOTHING)
        expected[kept] = scores[i, kept]
        assert torch.equal(found[i], expected)


def test_the_best_are_filled_up_by_nothing() -> None:
    boxes, scores = torch.rand(2, 3, 4), torch.tensor([[1.0, 3.0, 2.0], [6.0, -7.0, 5.0]])
    found, order = best(boxes, scores, 5)
    assert order.tolist() == [[3, 2, 1, NOTHING, NOTHING], [6, 5, -7, NOTHING, NOTHING]]
    assert torch.equal(found[0, :3], boxes[0, [1, 2, 0]])
    assert best(boxes, scores, 1)[0].shape == (2, 1, 4)


@given(seed=st.integers(0, 1000), positives=st.integers(0, 30), negatives=st.integers(0, 30), count=st.integers(1, 40))
def test_a_minibatch_has_its_shares_and_no_other_members(seed: int, positives: int, negatives: int, count: int) -> None:
    torch.manual_seed(seed)
    kinds = torch.tensor([1] * positives + [0] * negatives + [-1] * 5)[torch.randperm(positives + negatives + 5)]
    positive, negative = draw(kinds == 1, kinds == 0, count, 0.25)
    assert len(positive) == min(positives, int(0.25 * count))
    assert len(negative) == min(negatives, count - len(positive))
    drawn = torch.cat((positive, negative))
    assert len(drawn.unique()) == len(drawn)
    assert kinds[positive].eq(1).all()
    assert kinds[negative].eq(0).all()


def test_draws_differ_and_the_seed_holds() -> None:
    mask = torch.ones(100, dtype=torch.bool)
    torch.manual_seed(1)
    first, second = (draw(mask, mask, 20, 0.5)[0].tolist() for _ in range(2))
    assert first != second
    torch.manual_seed(1)
    assert draw(mask, mask, 20, 0.5)[0].tolist() == first


# The Region Proposal Network.


def anchors(network: FasterRcnn, raw: list[Tensor]) -> list[tuple[int, int, int, int, naive.Box]]:
    """Level, shape, row, column and box of every anchor."""
    found = []
    for level, own in enumerate(network.anchors):
        rows, columns = raw[level].shape[2:]
        for a, (width, height) in enumerate(own):
            for i in range(rows):
                for j in range(columns):
                    x, y = (j + 0.5) * SIZE[1] / columns, (i + 0.5) * SIZE[0] / rows
                    found.append((level, a, i, j, naive.around(x, y, width, height)))
    return found


def area(box: naive.Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def inside(box: naive.Box) -> naive.Box:
    x1, y1, x2, y2 = (min(max(v, 0.0), side) for v, side in zip(box, (SIZE[1], SIZE[0]) * 2, strict=True))
    return x1, y1, x2, y2


def numbers(
    network: FasterRcnn, raw: list[Tensor], b: int, place: tuple[int, int, int, int]
) -> tuple[list[float], float]:
    """t_x, t_y, t_w, t_h and the logit of an anchor."""
    level, a, i, j = place
    count = len(network.anchors)
    of_anchor = raw[count + level][b, 4 * a : 4 * a + 4, i, j].tolist()
    return of_anchor, float(raw[2 * count + level][b, a, i, j])


def raw_of(network: FasterRcnn, pictures: int = 2) -> list[Tensor]:
    """As of the network, but of random numbers, in double precision."""
    torch.manual_seed(1)
    with torch.no_grad():
        maps = network(torch.rand(pictures, 3, *SIZE))
    return [torch.randn_like(x, dtype=torch.float64) for x in maps]


@pytest.mark.parametrize("make", [plain, pyramid])
def test_proposals_are_those_of_the_naive_loop(make: object) -> None:
    network = make()  # type: ignore[operator]
    raw = raw_of(network)
    boxes, objectness = network.rpn.propose(network.split(raw)[1], SIZE, 40, 30)
    assert boxes.shape == (2, 30, 4)
    for b in range(2):
        survivors: list[tuple[float, naive.Box]] = []
        for level in range(len(network.anchors)):
            found: list[tuple[float, naive.Box]] = []
            for *place, (x1, y1, x2, y2) in anchors(network, raw):
                if place[0] == level:
                    (tx, ty, tw, th), logit = numbers(network, raw, b, tuple(place))  # type: ignore[arg-type]
                    w, h = x2 - x1, y2 - y1
                    x, y = (x1 + x2) / 2 + tx * w, (y1 + y2) / 2 + ty * h
                    box = naive.around(x, y, w * math.exp(tw), h * math.exp(th))
                    clipped = inside(box)
                    found.append((logit, clipped))
            kept: list[tuple[float, naive.Box]] = []
            for score, box in sorted(found, reverse=True)[:40]:
                if not area(box) or all(not area(other) or naive.iou(box, other) <= 0.7 for _, other in kept):
                    kept.append((score, box))
            survivors += kept
        survivors = sorted(survivors, reverse=True)[:30]
        assert objectness[b, : len(survivors)].tolist() == pytest.approx([score for score, _ in survivors])
        assert (objectness[b, len(survivors) :] == NOTHING).all()
        for box, (_, wanted) in zip(boxes[b].tolist(), survivors, strict=False):
            assert box == pytest.approx(wanted)


@pytest.mark.parametrize("make", [plain, pyramid])
def test_the_loss_of_the_rpn_is_the_naive_loop_where_all_anchors_are_drawn(make: object) -> None:
    network = make()  # type: ignore[operator]
    raw, across = raw_of(network), network.pyramid is not None
    loss = RpnLoss(network.rpn.priors, across, minibatch=10**6, positive=0.5, negative=0.2)
    truth = targets([OBJECTS[0], NONE[0]], [OBJECTS[1], NONE[1]])
    found = loss(network.split(raw)[1], truth, SIZE)
    objectness = box = count = 0.0
    for b, own in enumerate((OBJECTS[0].tolist(), [])):
        every = [
            (place, anchor)
            for *place, anchor in anchors(network, raw)
            if across or (anchor[0] >= 0 and anchor[1] >= 0 and anchor[2] <= SIZE[1] and anchor[3] <= SIZE[0])
        ]
        overlaps = [[naive.iou(anchor, one) for one in own] for _, anchor in every]
        highest = [max(row[m] for row in overlaps) for m in range(len(own))]
        for (place, anchor), row in zip(every, overlaps, strict=True):
            t, logit = numbers(network, raw, b, tuple(place))  # type: ignore[arg-type]
            best_of_row = max(row, default=0.0)
            if best_of_row > 0.5 or any(v == h > 0 for v, h in zip(row, highest, strict=True)):
                x1, y1, x2, y2 = own[row.index(best_of_row)]
                w, h = anchor[2] - anchor[0], anchor[3] - anchor[1]
                wanted = (
                    ((x1 + x2) - (anchor[0] + anchor[2])) / 2 / w,
                    ((y1 + y2) - (anchor[1] + anchor[3])) / 2 / h,
                    math.log((x2 - x1) / w),
                    math.log((y2 - y1) / h),
                )
                for v, u in zip(t, wanted, strict=True):
                    d = abs(v - u)
                    box += d * d / 2 if d < 1 else d - 0.5
                objectness += naive.entropy(logit, 1)
            elif best_of_row < 0.2:
                objectness += naive.entropy(logit, 0)
            else:
                continue
            count += 1
    assert float(found["rpn_objectness"]) == pytest.approx(objectness / count)
    assert float(found["rpn_box"]) == pytest.approx(box / count)
    assert box > 0


def test_anchors_are_matched_as_the_paper_says() -> None:
    overlap = torch.tensor([[0.8, 0.1, 0.3, 0.6, 0.0, 0.8], [0.75, 0.2, 0.4, 0.1, 0.0, 0.1]])
    loss = RpnLoss(plain().rpn.priors)
    allowed = torch.ones(6, dtype=torch.bool)
    assert loss.match(overlap, allowed).tolist() == [0, BACKGROUND, IGNORED, IGNORED, BACKGROUND, 0]
    # Without the first, the third has the highest overlap with the second object, low as it is.
    allowed[0] = False
    assert loss.match(overlap, allowed).tolist() == [IGNORED, BACKGROUND, 1, IGNORED, BACKGROUND, 0]
    assert loss.match(overlap[:0], allowed).tolist() == [IGNORED, *[BACKGROUND] * 5]


# Both together.


@pytest.mark.parametrize("make", [plain, pyramid, lambda: plain(roi="align", separable=True)])
def test_all_weights_learn_and_a_few_steps_lower_the_loss(make: object) -> None:
    torch.manual_seed(0)
    network = make()  # type: ignore[operator]
    loss, truth = FasterRcnnLoss(network, regions=32), targets([OBJECTS[0], NONE[0]], [OBJECTS[1], NONE[1]])
    image = torch.rand(2, 3, *SIZE)
    optimizer = torch.optim.SGD(network.parameters(), 0.02, 0.9)
    totals = []
    for _ in range(12):
        optimizer.zero_grad()
        terms = loss(network(image), truth, SIZE)
        assert set(terms) == {"rpn_objectness", "rpn_box", "classes", "box"}
        total = torch.stack(list(terms.values())).sum()
        total.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
        totals.append(float(total.detach()))
    assert sum(totals[-3:]) < 0.8 * sum(totals[:3])


def test_the_seed_decides_which_regions_are_drawn() -> None:
    network = plain()
    raw, truth = network(torch.rand(1, 3, *SIZE)), targets([OBJECTS[0]], [OBJECTS[1]])
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        network.eval()
        found.append(float(FasterRcnnLoss(network, regions=8)(raw, truth, SIZE)["classes"].detach()))
    assert found[0] == found[1] != found[2]


def test_half_precision_maps_give_a_loss_in_single() -> None:
    network = plain()
    raw = [x.bfloat16() for x in network(torch.rand(1, 3, *SIZE))]
    terms = FasterRcnnLoss(network)(raw, targets(*([x] for x in OBJECTS)), SIZE)
    assert {x.dtype for x in terms.values()} == {torch.float32}


def test_half_precision_maps_propose_from_the_anchors_of_single() -> None:
    """Their centres, up to the picture's side, are no numbers that bfloat16 has."""
    network, size = plain(), (640, 640)
    shapes = len(network.rpn.priors.shapes[0])
    raw = [torch.zeros(1, shapes * k, 40, 40) for k in (4, 1)]
    expected, _ = network.rpn.propose(raw, size, 200, 200)
    found, _ = network.rpn.propose([x.bfloat16() for x in raw], size, 200, 200)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("make", [plain, pyramid])
def test_file_and_torch_find_the_same_in_any_batch(make: object, tmp_path: Path) -> None:
    network = awake(make(), 0.8 if make is plain else 0.3)  # type: ignore[operator]
    path = export_detector(network, tmp_path / "x.onnx", ("a", "b", "c"), SIZE)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    cut, levels = ("MaxRoiPool", 1) if make is plain else ("RoiAlign", 4)
    assert kinds.count(cut) == levels
    assert kinds.count("NonMaxSuppression") == len(network.anchors)
    sessions = [open_session(path, engine) for engine in ENGINES]
    for batch in (1, 3):
        images = np.random.default_rng(batch).integers(0, 256, (batch, *SIZE, 3), np.uint8)
        expected = in_torch(network, images, 0.3, 0.45)
        assert len(expected[0]) > 2 * batch
        for session in sessions:
            agree(session.run(images, 0.3, 0.45), expected)
