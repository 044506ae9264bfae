"""COCO's twelve numbers, against pycocotools: on random pictures of every kind, and on real ones."""

import contextlib
import dataclasses
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled import SIDE, picture, pictures
from onelook import data
from onelook.data.sample import Rle, Sample, decimal
from onelook.metrics import Found, coco_ap

pycocotools = pytest.importorskip("pycocotools")
pytest.importorskip("faster_coco_eval")


def peer(samples: list[Sample], detections: list[Found], classes: int, by_masks: bool = False) -> np.ndarray:
    """pycocotools' twelve numbers; -1 where there is nothing to measure."""
    from pycocotools import coco
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for i, (sample, found) in enumerate(zip(samples, detections, strict=True), start=1):
        masks = sample.masks or (None,) * len(sample)
        areas = decimal(sample.areas).tolist()
        for box, kind, crowd, area, mask in zip(sample.boxes, sample.classes, sample.crowd, areas, masks, strict=True):
            x1, y1, x2, y2 = box.astype(float).tolist()
            row = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, "iscrowd": int(crowd)}
            annotations.append({**row, "id": len(annotations) + 1, "image_id": i, "category_id": int(kind)})
            if mask is not None:
                annotations[-1]["segmentation"] = segmentation(mask)
        for n, (box, score, kind) in enumerate(zip(found.boxes, found.scores, found.classes, strict=True)):
            x1, y1, x2, y2 = box.astype(float).tolist()
            row = {"image_id": i, "category_id": int(kind), "score": float(score)}
            where = {"segmentation": found.masks[n]} if by_masks else {"bbox": [x1, y1, x2 - x1, y2 - y1]}
            results.append({**row, **where})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": i, "width": s.width, "height": s.height} for i, s in enumerate(samples, start=1)],
            "annotations": annotations,
            "categories": [{"id": i, "name": str(i)} for i in range(classes)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "segm" if by_masks else "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def segmentation(mask: Any) -> Any:
    if isinstance(mask, Rle):
        return {"size": list(mask.size), "counts": mask.counts}
    return [polygon.astype(float).ravel().tolist() for polygon in mask]


def numbers(samples: list[Sample], detections: list[Found], classes: int, by_masks: bool = False) -> np.ndarray:
    names = [f"class {i}" for i in range(classes)]
    return np.array(list(coco_ap(samples, detections, names, by_masks).numbers.values()))


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 4))
def test_boxes_agree_with_pycocotools(seed: int, count: int, classes: int) -> None:
    samples, detections = pictures(seed, count, classes)
    if not sum(len(found.scores) for found in detections):
        return  # pycocotools cannot read results without any
    expected = peer(samples, detections, classes)
    assert np.nan_to_num(numbers(samples, detections, classes), nan=-1) == pytest.approx(expected, abs=1e-9)


def test_of_a_class_in_a_picture_the_hundred_best_count() -> None:
    random = np.random.default_rng(5)
    samples, detections = map(list, zip(*(picture(random, 30, 250, 1) for _ in range(3)), strict=True))
    expected = peer(samples, detections, 1)
    assert numbers(samples, detections, 1) == pytest.approx(expected, abs=1e-9)
    assert expected[0] > 0.1


def blob(random: np.random.Generator, box: np.ndarray) -> np.ndarray:
    """An ellipse within a box: bool [SIDE, SIDE]."""
    y, x = np.mgrid[:SIDE, :SIDE]
    (x1, y1, x2, y2), bend = box, random.uniform(0.7, 1.2)
    return ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2 < bend / 4


def test_masks_of_every_kind_agree_with_pycocotools() -> None:
    from pycocotools import mask

    def code(inside: np.ndarray) -> Any:
        return mask.encode(np.asfortranarray(inside, np.uint8))

    def run_lengths(inside: np.ndarray) -> Rle:
        return Rle((SIDE, SIDE), code(inside)["counts"])

    random = np.random.default_rng(2)
    samples, arrays, codes, peers = [], [], [], []
    for _ in range(5):
        sample, found = picture(random, 6, 15, 2)
        x1, y1, x2, y2 = sample.boxes[0]
        polygon = np.array([[x1, y1], [x2, y1], [x2, y2], [(x1 + x2) / 2, y1 + 2]], np.float32)
        own = (polygon,), *(run_lengths(blob(random, box)) for box in sample.boxes[1:])
        samples.append(Sample(sample.image, SIDE, SIDE, sample.boxes, sample.classes, crowd=sample.crowd, masks=own))
        blobs = [blob(random, box) for box in found.boxes]
        arrays.append(found._replace(masks=blobs))
        codes.append(found._replace(masks=list(map(run_lengths, blobs))))
        peers.append(found._replace(masks=list(map(code, blobs))))
    expected = peer(samples, peers, 2, by_masks=True)
    assert expected[0] > 0.1
    for detections in (arrays, codes):
        assert numbers(samples, detections, 2, by_masks=True) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("labels", "by_masks"), [("labels", False), ("segments", True)])
def test_the_twelve_numbers_of_coco128_are_those_of_pycocotools(
    labels: str, by_masks: bool, shared: Callable[[str], Path], tmp_path: Path
) -> None:
    """Of its 128 pictures for validation (masks: 100), with the objects moved, doubled, lost and misnamed as detections."""
    from pycocotools import mask

    for name, source in (("images", "images"), ("labels", labels)):
        (tmp_path / name).symlink_to(shared(f"data/coco128/{source}"))
    random = np.random.default_rng(3)
    samples, detections, peers = [], [], []
    for read in data.read(tmp_path, "val").samples:
        polygons = tuple(tuple(np.round(8 * part) / 8 for part in own or ()) for own in read.masks)
        sample = dataclasses.replace(read, boxes=np.round(8 * read.boxes) / 8, areas=read.areas, masks=polygons)
        chosen = random.integers(len(sample), size=2 * len(sample)) if len(sample) else np.zeros(0, int)
        shift = np.round(8 * random.normal(0, random.choice([0, 2, 10], (len(chosen), 1)), (len(chosen), 2))) / 8
        kinds = np.where(
            random.random(len(chosen)) < 0.8, sample.classes[chosen], random.integers(91, size=len(chosen))
        )
        size = sample.height, sample.width
        codes = [
            mask.merge(mask.frPyObjects([(part + by).ravel().tolist() for part in sample.masks[i]], *size))
            for i, by in zip(chosen, shift, strict=True)
            if by_masks
        ]
        boxes = sample.boxes[chosen] + np.tile(shift, 2)
        found = Found(boxes, random.integers(0, 200, len(chosen)) / 200, kinds)
        samples.append(sample)
        detections.append(found._replace(masks=[Rle(size, code["counts"]) for code in codes]))
        peers.append(found._replace(masks=codes))
    expected = peer(samples, peers, 91, by_masks)
    assert 0.1 < expected[0] < 0.9
    assert numbers(samples, detections, 91, by_masks) == pytest.approx(expected, abs=1e-9)


def test_a_difficult_object_counts_neither_way_however_often_it_is_found() -> None:
    boxes = np.array([[0, 0, 50, 50], [100, 100, 150, 150]], np.float32)
    hard = Sample(Path("x.jpg"), SIDE, SIDE, boxes, np.array([0, 0]), difficult=np.array([True, False]))
    found = Found(boxes[[0, 0, 0, 1]], np.array([0.9, 0.8, 0.7, 0.6]), np.zeros(4, int))
    assert coco_ap([hard], [found], ["cat"]).ap == 1
    within = Found(np.array([[0, 0, 20, 20], *boxes[1:]]), np.array([0.9, 0.6]), np.zeros(2, int))
    assert coco_ap([hard], [within], ["cat"]).ap == pytest.approx(0.5)


def test_what_has_no_objects_has_no_figure() -> None:
    sample = Sample(Path("x.jpg"), SIDE, SIDE, np.array([[0, 0, 20, 20]], np.float32), np.array([1]))
    result = coco_ap([sample], [(sample.boxes, [0.5], [1])], ["cat", "dog"])
    assert result.ap == result.ap_small == result.ar1 == 1
    assert math.isnan(result.ap_large)
    assert np.isnan(result.class_ap).tolist() == [True, False]
    nothing = coco_ap([], [], [])
    assert all(math.isnan(value) for value in nothing.numbers.values())
    missed = coco_ap([sample], [(np.zeros((0, 4)), [], [])], ["cat", "dog"])
    assert missed.ap == missed.ar100 == 0


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        ([], "1 pictures, and detections of 0"),
        ([(np.zeros((2, 4)), [0.5], [0])], "columns of different lengths"),
        ([(np.zeros((1, 4)), [0.5], [2])], "classes from 2 to 2; there are 2 names"),
        ([(np.zeros((1, 4)), [math.nan], [0])], "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(detections: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        coco_ap([Sample(Path("x.jpg"), SIDE, SIDE)], detections, ["cat", "dog"])


def test_masks_that_are_asked_for_must_be_there() -> None:
    with pytest.raises(ValueError, match="0 masks of 1 detections"):
        coco_ap([Sample(Path("x.jpg"), 9, 9)], [(np.zeros((1, 4)), [0.5], [0])], ["cat"], by_masks=True)
