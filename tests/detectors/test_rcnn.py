"""R-CNN: its SVMs and regressions by the conditions of their optimum, its regions pixel by pixel, and whether it learns."""

import itertools
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import naive
import rectangles
from onelook.backbones import Backbone, create
from onelook.backbones.backbone import Row
from onelook.detectors import rcnn_fit
from onelook.detectors.linear import ridge, svms
from onelook.detectors.rcnn import RegionClassifier, detect, load, propose, save, warp
from onelook.detectors.rcnn_fit import Labelled, Mining, fine_tune, fit
from onelook.errors import CheckpointError, NetworkError
from onelook.export.regions import export_regions
from onelook.nn.conv import ConvBlock
from onelook.nn.init import he_normal

NAMES = "one", "two", "three"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other at every tiny operation take minutes on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Support vector machines and ridge regression.


def samples(count: int, dimensions: int, classes: int) -> tuple[Tensor, Tensor]:
    """Features with a mean far from 0, as those behind a ReLU, and signs that no plane parts, some of them 0."""
    random = torch.Generator().manual_seed(count)
    x = torch.randn(count, dimensions, generator=random, dtype=torch.float64)
    y = (x[:, :classes] + torch.randn(count, classes, generator=random) > 0.3).double() * 2 - 1
    left_out = torch.rand(count, classes, generator=random) < 0.2
    return x.abs() * 3 + 5 + x, y.masked_fill(left_out, 0)


@pytest.mark.parametrize(("count", "dimensions"), [(60, 8), (30, 50)])
@pytest.mark.parametrize(("cost", "positive"), [(1e-3, 2.0), (0.1, 1.0), (1.0, 3.0)])
def test_svms_have_no_duality_gap(count: int, dimensions: int, cost: float, positive: float) -> None:
    x, y = samples(count, dimensions, 3)
    w, b = svms(x, y, cost, positive)
    for c in range(3):
        own = y[:, c] != 0
        features, signs = x[own], y[own, c]
        weight = torch.where(signs > 0, cost * positive, cost)
        slack = (1 - signs * (features @ w[c] + b[c])).clamp(min=0)
        primal = w[c].square().sum() / 2 + (weight * slack.square()).sum()
        alpha = 2 * weight * slack  # of the dual, where they are at the optimum
        assert float((alpha * signs).sum() / alpha.sum()) == pytest.approx(0, abs=1e-9)  # as b is free
        support = (alpha * signs) @ (features - features.mean(0))
        dual = alpha.sum() - support.square().sum() / 2 - (alpha.square() / (4 * weight)).sum()
        assert float(dual) == pytest.approx(float(primal), rel=1e-9)


def test_two_points_are_parted_where_one_can_count_it_out() -> None:
    x, y = torch.tensor([[3.0], [1.0]]), torch.tensor([[1.0], [-1.0]])
    w, b = svms(x, y, 0.5)  # w^2 / 2 + 2 * 0.5 (1 - w)^2 is least at w = 2 / 3
    assert float(w) == pytest.approx(2 / 3, abs=1e-6)
    assert float(b) == pytest.approx(-2 * 2 / 3, abs=1e-6)


@pytest.mark.parametrize("start", [(0.0, 0.0), (10.0, -20.0), (-3.0, 7.0), (1e6, 1e6)])  # (10, -20) makes no errors
def test_svms_end_at_the_same_place_wherever_they_start(start: tuple[float, float]) -> None:
    x, y = torch.tensor([[3.0], [1.0]]), torch.tensor([[1.0], [-1.0]])
    w, b = svms(x, y, 0.5, start=(torch.tensor([start[:1]]), torch.tensor(start[1:])))
    assert (float(w), float(b)) == pytest.approx((2 / 3, -4 / 3), abs=1e-6)


def test_svms_of_many_features_are_found_anew_from_those_of_fewer_examples() -> None:
    x, y = samples(400, 30, 4)
    expected = svms(x, y, 0.1, 2.0)
    start = svms(x[:100], y[:100], 0.1, 2.0)
    before = [part.clone() for part in start]
    torch.testing.assert_close(svms(x, y, 0.1, 2.0, start), expected, rtol=1e-9, atol=1e-9)
    assert all(map(torch.equal, start, before))  # it is left as it is


def test_a_class_that_leaves_out_everything_keeps_its_b() -> None:
    x, y = samples(50, 6, 2)
    y[:, 1] = 0
    w, b = svms(x, y, 0.1, start=(torch.full((2, 6), 3.0), torch.tensor([1.0, -1.0])))
    assert w[0].abs().max() < 2
    assert not w[1].any()  # they cost, and bring nothing
    assert b[1] == -1


def test_a_class_learns_nothing_from_what_it_leaves_out() -> None:
    x, y = samples(50, 6, 2)
    w, b = svms(x, y, 0.1)
    for c in range(2):
        own = y[:, c] != 0
        alone = svms(x[own], y[own, c : c + 1], 0.1)
        torch.testing.assert_close((w[c], b[c]), (alone[0][0], alone[1][0]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(7, 20), (40, 9), (1, 3)])
def test_ridge_is_least_squares_with_more_rows(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    x, t = random.normal(3, 2, shape), random.normal(1, 1, (shape[0], 4))
    # A column of ones for b, which is not penalised, and a row of sqrt(lambda) for each number of w.
    rows = np.block([[x, np.ones((shape[0], 1))], [math.sqrt(5) * np.eye(shape[1]), np.zeros((shape[1], 1))]])
    expected = np.linalg.lstsq(rows, np.concatenate((t, np.zeros((shape[1], 4)))), rcond=None)[0]
    w, b = ridge(torch.from_numpy(x), torch.from_numpy(t), 5.0)
    np.testing.assert_allclose(w.T, expected[:-1], atol=1e-9)
    np.testing.assert_allclose(b, expected[-1], atol=1e-9)


# Regions.


def photo(seed: int = 0, height: int = 90, width: int = 120) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_a_region_of_just_that_size_is_the_picture_with_16_pixels_around_it() -> None:
    image = photo()
    (region,) = warp(image, np.array([[30, 20, 62, 52]], np.float32), 64, (0, 0, 0))
    assert (region == image[4:68, 14:78]).all()


def test_what_lies_outside_of_the_picture_has_the_colour_asked_for() -> None:
    image = photo()
    (region,) = warp(image, np.array([[0, 58, 32, 90]], np.float32), 64, (10, 20, 30))
    assert (region[:48, 16:] == image[42:90, :48]).all()
    assert (region[:, :16] == (10, 20, 30)).all()
    assert (region[48:] == (10, 20, 30)).all()


def test_warping_is_bilinear_between_the_middles_of_pixels() -> None:
    rows, columns = np.indices((90, 120))
    image = np.stack((2 * columns, 2 * rows, rows + columns), -1).astype(np.uint8)  # linear, so interpolation is exact
    (x1, y1, x2, y2), size = (35.5, 30.25, 75.0, 55.0), 96
    (region,) = warp(image, np.array([[x1, y1, x2, y2]], np.float32), size, (0, 0, 0))
    inner = size - 2 * 16
    for v, u in itertools.product(range(0, size, 5), repeat=2):
        x = x1 + (u + 0.5 - 16) / inner * (x2 - x1) - 0.5
        y = y1 + (v + 0.5 - 16) / inner * (y2 - y1) - 0.5
        assert region[v, u] == pytest.approx((2 * x, 2 * y, x + y), abs=1.1)


def test_proposals_lie_in_the_picture_whatever_its_size() -> None:
    image = rectangles.scene(np.random.default_rng(0), 3, 100)[0][:40]
    boxes = propose(image)
    assert boxes.dtype == np.float32
    assert [0, 0, 100, 40] in boxes.tolist()
    assert (boxes >= 0).all()
    assert (boxes <= (100, 40, 100, 40)).all()


# The network.


def small() -> RegionClassifier:
    """Random features of three classes."""
    torch.manual_seed(0)
    network = RegionClassifier(create("mobilenet_v1", alpha=0.25, classes=7), 3, 64)
    network.backbone.load_state_dict(naive.random_state(network.backbone))
    return network.eval()


def of_colours(classes: int = 3) -> RegionClassifier:
    """Whose features are the mean colours of 4 x 4 parts of a region."""
    rows = (Row(nn.AvgPool2d(stride), 3, stride) for stride in (8, 2, 2))
    return RegionClassifier(Backbone(rows, nn.Identity()), classes, 128)


def test_the_scores_are_the_svms_of_the_mean_and_the_offsets_the_regressions_of_the_map() -> None:
    network, x = of_colours(), torch.rand(2, 3, 128, 128) * torch.rand(2, 3, 1, 1)
    with torch.no_grad():
        nn.init.normal_(network.svms.weight)
        nn.init.normal_(network.boxes.weight)
        network.norms.copy_(torch.tensor([5.0, 40.0]))
        scores, offsets = network(x)
        maps = F.avg_pool2d((x * 255 - 127.5) / 127.5, 32)
        torch.testing.assert_close(scores, maps.mean((2, 3)) * 4 @ network.svms.weight.T, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(offsets, maps.flatten(1) / 2 @ network.boxes.weight.T, rtol=1e-3, atol=1e-4)


def test_decode_is_equations_1_to_4() -> None:
    offsets, box = torch.randn(1, 12) / 3, (10.0, 20.0, 40.0, 90.0)
    found = small().decode([torch.zeros(1, 3), offsets], torch.tensor([box]))
    for c, (dx, dy, dw, dh) in enumerate(offsets.reshape(3, 4).tolist()):
        w, h = 30.0, 70.0
        expected = naive.around(w * dx + 25, h * dy + 55, w * math.exp(dw), h * math.exp(dh))
        assert found[0, c].tolist() == pytest.approx(expected, rel=1e-5)


def test_a_size_that_is_not_of_whole_places_is_refused() -> None:
    with pytest.raises(NetworkError, match="multiple of 32"):
        RegionClassifier(create("mobilenet_v1", alpha=0.25, classes=0), 3, 227)


def test_the_file_gives_what_torch_gives_for_any_number_of_regions(tmp_path: Path) -> None:
    network = of_colours()
    with torch.no_grad():
        nn.init.normal_(network.svms.weight)
        nn.init.normal_(network.boxes.weight, std=0.1)
    path = export_regions(network, tmp_path / "regions.onnx", ("a", "b", "c"), 128)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        regions = np.random.default_rng(count).integers(0, 256, (count, 128, 128, 3), np.uint8)
        with torch.no_grad():
            expected = network(torch.from_numpy(regions).permute(0, 3, 1, 2) / 255)
        for a, b in zip(session.run(["scores", "offsets"], {"image": regions}), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_a_saved_network_comes_back_as_it_was(tmp_path: Path) -> None:
    network = small()
    with torch.no_grad():
        nn.init.normal_(network.svms.weight)
        network.norms.fill_(3.0)
    path = save(network, "mobilenet_v1", {"alpha": 0.25}, ("cat", "dog", "bird"), tmp_path / "rcnn.safetensors")
    again, names = load(path)
    assert names == ("cat", "dog", "bird")
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(network(x), again(x), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"backbone": "mobilenet_v1", "options": {}, "names": ["a"]}',
        '{"backbone": "mobilenet_v1", "options": {}, "names": ["a"], "size": 63}',
        '{"backbone": "none", "options": {}, "names": ["a"], "size": 64}',
        '{"backbone": "mobilenet_v1", "options": {"alpha": 0.5}, "names": ["a"], "size": 64}',
    ],
)
def test_a_damaged_file_is_an_error_of_one_line(tmp_path: Path, text: str) -> None:
    path = save(small(), "mobilenet_v1", {"alpha": 0.25}, ("a", "b", "c"), tmp_path / "rcnn.safetensors")
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        header = {**file.metadata(), "rcnn": text}
    safetensors.torch.save_file(tensors, path, header)
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# Learning.


def scene(random: np.random.Generator) -> Labelled:
    image, lines = rectangles.scene(random, 2)
    rows = np.array([[float(value) for value in line.split()] for line in lines])
    x, y, w, h = 64 * rows[:, 1:].T
    boxes = np.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), 1).astype(np.float32)
    return Labelled(image, boxes, rows[:, 0].astype(np.int64))


def around(one: Labelled, random: np.random.Generator) -> NDArray[np.float32]:
    """Boxes near the objects, and some anywhere."""
    near = np.repeat(one.boxes, 12, 0)
    near = near + random.normal(0, 0.12, near.shape) * np.tile(near[:, 2:] - near[:, :2], 2)
    low = random.uniform(0, 40, (12, 2))
    anywhere = np.concatenate((low, low + random.uniform(8, 24, (12, 2))), 1)
    return np.concatenate((near, anywhere)).clip(0, 64).astype(np.float32)


def learned(count: int = 12) -> tuple[RegionClassifier, list[Labelled], Any]:
    random = np.random.default_rng(0)
    pictures = [scene(random) for _ in range(count)]
    proposals = {one.image.tobytes(): around(one, random) for one in pictures}
    network = of_colours()

    def look_up(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return proposals[image.tobytes()]

    fit(network, pictures, look_up, cost=1.0)
    return network, pictures, look_up


def test_it_finds_the_rectangles_that_it_has_seen() -> None:
    network, pictures, look_up = learned()
    found = total = 0
    for one in pictures:
        detections = detect(network, one.image, NAMES, look_up, -0.5)
        assert (np.diff(detections.scores) <= 0).all()
        arrays = detections.boxes, detections.scores, detections.classes
        assert tuple(array.dtype for array in arrays) == (np.float32, np.float32, np.int64)
        assert detections.image is one.image
        assert detections.class_names == NAMES
        total += len(one.boxes)
        for truth, label in zip(one.boxes, one.classes, strict=True):
            near = [
                naive.iou(tuple(map(float, box)), tuple(map(float, truth))) > 0.5  # type: ignore[arg-type]
                for box in detections.boxes[detections.classes == label]
            ]
            found += any(near)
    assert found / total > 0.7


def test_features_have_the_norm_20_on_average() -> None:
    network, pictures, _ = learned(3)
    regions = torch.cat([crops for one in pictures for crops in network.warp(one.image, one.boxes)])
    with torch.no_grad():
        for x in network.features(regions):
            assert float(x.norm(dim=1).mean()) == pytest.approx(20, rel=1e-4)


def test_negatives_overlap_no_object_of_the_class_by_0_3_or_more(monkeypatch: pytest.MonkeyPatch) -> None:
    masks: list[Tensor] = []
    monkeypatch.setattr(Mining, "add", lambda self, features, negative: masks.append(negative))
    _, pictures, look_up = learned(4)
    for one, mask in zip(pictures, masks, strict=True):
        regions = np.concatenate((one.boxes, look_up(one.image))).tolist()
        for region, own in zip(regions, mask.tolist(), strict=True):
            for label, negative in enumerate(own):
                overlaps = [
                    naive.iou(region, truth)
                    for truth, other in zip(one.boxes.tolist(), one.classes, strict=True)
                    if other == label
                ]
                assert negative == (max(overlaps, default=0) < 0.3)


def test_boxes_are_regressed_from_proposals_that_overlap_an_object_by_more_than_0_6(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr(rcnn_fit, "_regress", lambda layer, features, *rest: given.append(rest))
    _, pictures, look_up = learned(4)
    ((offsets, classes),) = given
    expected = []
    for one in pictures:
        for region in look_up(one.image).tolist():
            overlaps = [naive.iou(region, truth) for truth in one.boxes.tolist()]
            best = max(range(len(overlaps)), key=overlaps.__getitem__)
            if overlaps[best] > 0.6:
                p, g = (naive.Thing(0, tuple(box), 0) for box in (region, one.boxes[best].tolist()))
                (px, py), (pw, ph), (gx, gy), (gw, gh) = p.centre, p.sides, g.centre, g.sides
                t = (gx - px) / pw, (gy - py) / ph, math.log(gw / pw), math.log(gh / ph)  # equations 6 to 9
                expected.append((*t, int(one.classes[best])))
    assert len(expected) > 10
    np.testing.assert_allclose(torch.cat((offsets, classes[:, None]), 1), expected, atol=1e-4)


def test_a_class_without_objects_leaves_boxes_as_they_are() -> None:
    network, pictures, look_up = of_colours(4), *learned(2)[1:]  # its fourth class
    fit(network, pictures, look_up)
    assert network.boxes.weight[:12].any()
    assert not network.boxes.weight[12:].any()
    assert not network.boxes.bias[12:].any()
    assert all(3 not in detect(network, one.image, (*NAMES, "fourth"), look_up).classes for one in pictures)


def mined(count: int = 30) -> tuple[Mining, Tensor]:
    """SVMs of two classes on their positives and the negatives of one picture, not trained yet; another picture."""
    random = torch.Generator().manual_seed(0)
    positives, signs = torch.randn(20, 5, generator=random), torch.zeros(20, 2)
    signs[:10, 0], signs[10:, 1] = 1, 1
    positives[:10, 0] += 3
    positives[10:, 1] += 3
    machines = nn.Linear(5, 2)
    for parameter in machines.parameters():
        parameter.requires_grad_(False).zero_()
    mining = Mining(positives, signs, machines, 0.1)
    mining.add(torch.randn(count, 5, generator=random), torch.rand(count, 2, generator=random) < 0.9)
    return mining, torch.randn(count, 5, generator=random)


def test_to_new_svms_every_negative_is_hard_and_to_trained_ones_those_that_score_above_minus_1() -> None:
    mining, x = mined()
    negative = torch.rand(30, 2) < 0.7
    assert len(mining.features) > 45  # but for those that are negatives of neither class
    mining.train()
    before, scores = len(mining.features), mining.svms(x)
    mining.add(x, negative)
    expected = [
        [*row, *(-float(n and s > -1) for n, s in zip(own, score, strict=True))]
        for row, own, score in zip(x.tolist(), negative.tolist(), scores.tolist(), strict=True)
        if any(n and s > -1 for n, s in zip(own, score, strict=True))
    ]
    assert 0 < len(expected) < 30
    assert torch.cat((mining.features, mining.signs), 1)[before:].tolist() == expected


def test_a_class_without_objects_gathers_no_negatives_and_is_never_found() -> None:
    machines = nn.Linear(5, 2)
    for parameter in machines.parameters():
        parameter.requires_grad_(False).zero_()
    mining = Mining(torch.ones(3, 5), torch.tensor([[1.0, 0.0]] * 3), machines, 0.1)
    mining.add(torch.randn(40, 5), torch.ones(40, 2, dtype=torch.bool))
    assert (mining.signs[3:] == torch.tensor([-1.0, 0.0])).all()
    mining.train()
    assert machines.weight[0].any()
    assert (machines(torch.randn(40, 5))[:, 1] == -1).all()


def test_what_is_dropped_had_no_say_and_positives_stay() -> None:
    mining, _ = mined(300)
    mining.train()
    weight, before = mining.svms.weight.clone(), len(mining.features)
    mining.drop()
    assert 20 < len(mining.features) < before - 50
    assert (mining.signs > 0).sum() == 20
    assert (mining.svms(mining.features)[mining.signs < 0] >= -1.2).all()
    mining.train()
    torch.testing.assert_close(mining.svms.weight, weight, rtol=1e-5, atol=1e-6)


def test_svms_are_trained_anew_whenever_2000_negatives_were_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    mining, _ = mined(0)
    monkeypatch.setattr(mining, "train", lambda: lengths.append(len(mining.features)) or setattr(mining, "new", 0))
    for _ in range(5):
        mining.add(torch.zeros(900, 5), torch.ones(900, 2, dtype=torch.bool))
    assert lengths == [20 + 2700]


def test_pictures_without_objects_are_refused_or_negatives_alone() -> None:
    empty = Labelled(photo(0, 64, 64), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    with pytest.raises(NetworkError, match="without objects"):
        fit(of_colours(), [empty], lambda image: np.array([[0, 0, 20, 20]], np.float32))
    network, pictures, look_up = learned(2)
    boxes = np.array([[0, 0, 20, 20], [5, 5, 60, 60]], np.float32)
    fit(network, [*pictures, empty], lambda image: boxes if image is empty.image else look_up(image))
    assert len(detect(network, empty.image, NAMES, lambda image: boxes)) == 0


def test_fine_tuning_teaches_the_backbone_the_classes_of_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    pictures = [scene(random) for _ in range(8)]
    proposals = {one.image.tobytes(): around(one, random) for one in pictures}
    torch.manual_seed(0)
    rows = (Row(ConvBlock(pair, 3, 2, 1, activation="relu"), pair[1], 2) for pair in pairwise((3, 8, 16, 16, 24, 32)))
    network = RegionClassifier(Backbone(rows, nn.Identity()), 3, 64)
    he_normal(network.backbone)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    losses, right, classes = [], [], []
    entropy = F.cross_entropy

    def noted(logits: Tensor, truth: Tensor) -> Tensor:
        loss = entropy(logits, truth)
        losses.append(float(loss.detach()))
        right.append(float((logits.argmax(1) == truth).float().mean()))
        classes.append(truth.bincount(minlength=4).tolist())
        return loss

    monkeypatch.setattr(F, "cross_entropy", noted)
    fine_tune(network, pictures, 50, lambda image: proposals[image.tobytes()], 0.1)
    assert losses[0] == pytest.approx(math.log(4), rel=0.1)  # of classes that are all alike
    assert np.mean(right[-5:]) > 0.85  # where background alone would give 0.75
    assert {(background, sum(kinds)) for background, *kinds in classes} == {(96, 32)}
    changed = {key for key, value in state.items() if not torch.equal(value, network.state_dict()[key])}
    assert changed == {f"backbone.{name}" for name, _ in network.backbone.named_parameters()}
