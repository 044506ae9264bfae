"""The graph's suppression against a plain loop in float64, in both engines."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelook.export.suppression import CANDIDATES, suppression

Arrays = list[NDArray[Any]]
Detection = tuple[int, int, int]  # picture, box, class


def naive(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    extent: NDArray[Any],
    score_threshold: float,
    iou_threshold: float,
    beta: float | None,
    most: int | None,
) -> list[Detection]:
    kept: list[Detection] = []
    for b in range(len(boxes)):
        found = [(n, c) for n in range(boxes.shape[1]) for c in range(scores.shape[2])]
        found = [(n, c) for n, c in found if scores[b, n, c] > score_threshold]
        mine: list[Detection] = []
        for n, c in sorted(found, key=lambda pair: -scores[b, pair[0], pair[1]]):
            p = boxes[b, n].astype(float) / extent[b]
            rivals = (boxes[b, k].astype(float) / extent[b] for _, k, other in mine if other == c)
            if all(overlap(p, q, beta) <= iou_threshold for q in rivals):
                mine.append((b, n, c))
        kept += mine[:most]
    return kept


def overlap(p: NDArray[Any], q: NDArray[Any], beta: float | None) -> float:
    width = max(0.0, min(p[2], q[2]) - max(p[0], q[0]))
    height = max(0.0, min(p[3], q[3]) - max(p[1], q[1]))
    union = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - width * height
    iou = width * height / union
    if beta is None:
        return iou
    diagonal = (max(p[2], q[2]) - min(p[0], q[0])) ** 2 + (max(p[3], q[3]) - min(p[1], q[1])) ** 2
    distance = ((p[0] + p[2] - q[0] - q[2]) ** 2 + (p[1] + p[3] - q[1] - q[3]) ** 2) / 4
    return iou - (distance / diagonal) ** beta


def in_onnxruntime(model: onnx.ModelProto) -> Callable[[dict[str, Any]], Arrays]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda feed: session.run(None, feed)


def in_openvino(model: onnx.ModelProto, folder: Path) -> Callable[[dict[str, Any]], Arrays]:
    import openvino

    onnx.save(model, folder / "suppression.onnx")
    compiled = openvino.compile_model(str(folder / "suppression.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(feed: dict[str, Any]) -> Arrays:
        result = compiled(feed)
        return [result[output] for output in compiled.outputs]

    return run


@pytest.fixture(scope="module", params=[None, 0.6], ids=["iou", "diou"])
def beta(request: pytest.FixtureRequest) -> float | None:
    return request.param


@pytest.fixture(scope="module", params=[None, 7], ids=["all", "seven"])
def most(request: pytest.FixtureRequest) -> int | None:
    return request.param


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def run(
    request: pytest.FixtureRequest, beta: float | None, most: int | None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[dict[str, Any]], Arrays]:
    model = suppression(beta, most)
    onnx.checker.check_model(model, full_check=True)
    if request.param == "onnxruntime":
        return in_onnxruntime(model)
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    return in_openvino(model, tmp_path_factory.mktemp("suppression"))


def feed(boxes: NDArray[Any], scores: NDArray[Any], extent: NDArray[Any], score: float, iou: float) -> dict[str, Any]:
    return {
        "all_boxes": boxes.astype(np.float32),
        "all_scores": scores.astype(np.float32),
        "extent": extent.astype(np.float32),
        "score_threshold": np.asarray(score, np.float32),
        "iou_threshold": np.asarray(iou, np.float32),
    }


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 3),
    boxes=st.integers(1, 60),
    classes=st.integers(1, 4),
    threshold=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    iou=st.sampled_from([0.0, 0.2, 0.45, 1.0]),
)
def test_detections_are_those_of_the_naive_loop(
    run: Callable[[dict[str, Any]], Arrays],
    beta: float | None,
    most: int | None,
    seed: int,
    batch: int,
    boxes: int,
    classes: int,
    threshold: float,
    iou: float,
) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (batch, boxes, 2))
    all_boxes = np.concatenate((corner, corner + rng.uniform(5, 60, corner.shape)), -1).astype(np.float32)
    all_scores = rng.random((batch, boxes, classes), np.float32)
    width_height = rng.integers(60, 120, (batch, 2))
    extent = np.concatenate((width_height, width_height), -1)
    found = run(feed(all_boxes, all_scores, extent, threshold, iou))
    expected = naive(all_boxes, all_scores, extent, np.float32(threshold), float(np.float32(iou)), beta, most)
    assert list(zip(found[3].tolist(), found[2].tolist(), strict=True)) == [(b, c) for b, _, c in expected]
    if expected:
        rows = np.array(expected)
        np.testing.assert_array_equal(found[0], all_boxes[rows[:, 0], rows[:, 1]])
        np.testing.assert_array_equal(found[1], all_scores[rows[:, 0], rows[:, 1], rows[:, 2]])


def test_nothing_found_gives_empty_arrays_of_the_right_shape(run: Callable[[dict[str, Any]], Arrays]) -> None:
    boxes, scores, classes, batch_index = run(feed(np.ones((2, 5, 4)), np.zeros((2, 5, 3)), np.ones((2, 4)), 0.5, 0.5))
    assert (boxes.shape, scores.shape, classes.shape, batch_index.shape) == ((0, 4), (0,), (0,), (0,))


def test_boxes_without_area_suppress_nothing(run: Callable[[dict[str, Any]], Arrays]) -> None:
    boxes = np.array([[[5, 5, 5, 5], [5, 5, 5, 5], [9, 9, 2, 2], [3, 3, 3, 8], [0, 0, 9, 9]]])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5]).reshape(1, 5, 1)
    found = run(feed(boxes, scores, np.full((1, 4), 10), 0.1, 0.3))
    assert sorted(found[1].tolist()) == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])


def test_a_flood_of_candidates_is_cut_to_the_best(run: Callable[[dict[str, Any]], Arrays], most: int | None) -> None:
    count = 3 * CANDIDATES
    corner = np.arange(count)[:, None] * 20.0
    boxes = np.concatenate((corner, corner * 0, corner + 10, corner * 0 + 10), -1)[None]
    scores = np.random.default_rng(0).permutation(np.linspace(0.3, 0.9, count)).reshape(1, count, 1)
    found = run(feed(boxes, scores, np.ones((1, 4)), 0.1, 0.3))
    np.testing.assert_allclose(found[1], np.sort(scores.ravel())[::-1][: most or CANDIDATES].astype(np.float32))


def test_the_loop_is_always_entered() -> None:
    """OpenVINO before 2026.4, which is not here, gives whatever is in its memory where a loop is not."""
    graph = suppression().graph
    loop = next(node for node in graph.node if node.op_type == "Loop")
    condition = next(node for node in graph.node if loop.input[1] in node.output)
    assert set(condition.input) <= {constant.name for constant in graph.initializer}
    only = onnx.helper.make_graph([condition], "condition", [], [onnx.ValueInfoProto(name=loop.input[1])])
    only.initializer.extend(constant for constant in graph.initializer if constant.name in condition.input)
    (value,) = onnx.reference.ReferenceEvaluator(onnx.helper.make_model(only)).run(None, {})
    assert value
