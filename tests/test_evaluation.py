"""Models against datasets that say what the models find, so that the figures are known; and what is refused."""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import onelook
import painters
from onelook.data import Dataset, Sample, read
from onelook.errors import DataError, Error, MissingDependencyError
from onelook.evaluation import DetectorEvaluation
from onelook.evaluation.classes import common_classes, match_classes
from onelook.names import COCO, COCO_CATEGORY_IDS, imagenet

pytest.importorskip("faster_coco_eval")
NAMES = ("cat", "dog", "bird")
NEARLY = 0.9  # boxes that are cut to a line at the border are found, and are no objects
ModelFile = Callable[..., Path]


@pytest.fixture(scope="session")
def found_dataset(model_file: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three pictures of noise; their objects are what the model finds with a score above 0.5."""
    folder = tmp_path_factory.mktemp("pictures")
    random, samples = np.random.default_rng(1), []
    detector = onelook.load(model_file("v3"))
    for i in range(3):
        path = folder / f"{i + 10:012d}.png"
        cv2.imwrite(str(path), random.integers(0, 255, (48 + 16 * i, 64, 3), np.uint8))
        found = detector(path, 0.5)
        found = found[(found.boxes[:, 2:] - found.boxes[:, :2]).min(1) > 1]  # some are cut to a line at the border
        samples.append(Sample(path, found.width, found.height, found.boxes, found.classes))
    return Dataset(folder, "coco", "val", NAMES, tuple(samples), ids=("1", "2", "3"))


def write_results(found: Any, path: Path) -> Path:
    path.write_text(json.dumps([row for one in found for row in one.to_coco()]))
    return path


def test_what_the_model_finds_is_right_and_the_best_threshold_tells_it_from_the_rest(
    model_file: ModelFile, found_dataset: Dataset
) -> None:
    steps: list[int] = []
    result = onelook.evaluate(model_file("v3"), found_dataset, step=lambda: steps.append(1))
    assert len(steps) == 3
    assert result.numbers["ap"] > NEARLY
    assert result.curve.best.f1 > NEARLY
    assert 0.4 < result.threshold < 0.6
    assert {mistake.kind for mistake in result.mistakes} <= {"background"}
    assert np.trace(result.confusion) == result.curve.objects
    assert result.run.notes == ()


@pytest.mark.parametrize(
    ("metric", "names"), [("voc", ["map"]), ("voc2007", ["map"]), ("open-images", ["map"]), ("coco", None)]
)
def test_every_metric_of_boxes(
    model_file: ModelFile, found_dataset: Dataset, metric: str, names: list[str] | None
) -> None:
    result = onelook.evaluate(model_file("v3"), found_dataset, metric=metric)
    assert next(iter(result.numbers.values())) > NEARLY
    assert result.metric == metric
    assert list(result.numbers) == (names or list(result.numbers))


def test_stored_results_give_the_same_figures(model_file: ModelFile, found_dataset: Dataset, tmp_path: Path) -> None:
    detector = onelook.load(model_file("v3"))
    found = [detector(sample.image, 0.001) for sample in found_dataset.samples]
    moved = [Sample(s.image, s.width, s.height, s.boxes + 0.7, s.classes) for s in found_dataset.samples]
    dataset = dataclasses.replace(found_dataset, samples=tuple(moved))
    direct = onelook.evaluate(detector, dataset)
    stored = onelook.evaluate(write_results(found, tmp_path / "found.json"), dataset)
    assert 0 < direct.numbers["ap"] < 1
    assert list(stored.numbers.values()) == pytest.approx(list(direct.numbers.values()), abs=0.02, nan_ok=True)
    backwards = dataclasses.replace(dataset, samples=dataset.samples[::-1])
    assert onelook.evaluate(tmp_path / "found.json", backwards).numbers == pytest.approx(stored.numbers, nan_ok=True)


def test_the_report_is_json_without_nan_and_the_page_stands_alone(
    model_file: ModelFile, found_dataset: Dataset, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    fewer = [Sample(s.image, s.width, s.height, s.boxes[2:], (s.classes[2:] + 1) % 3) for s in found_dataset.samples]
    result = onelook.evaluate(model_file("v3"), dataclasses.replace(found_dataset, samples=tuple(fewer)))
    files = result.save(tmp_path / "out")
    names = ["report.json", *(f"{name}.{kind}" for name in ("precision-recall", "f1-threshold", "confusion")
                              for kind in ("png", "pdf")), "mistakes.html"]  # fmt: skip
    assert [file.name for file in files] == names
    assert all(file.stat().st_size > 500 for file in files)
    report = json.loads((tmp_path / "out/report.json").read_text(), parse_constant=pytest.fail)
    assert report["mistakes"] == {kind: sum(m.kind == kind for m in result.mistakes) for kind in report["mistakes"]}
    assert report["mistakes"]["confusion"] > 0
    assert [row["name"] for row in report["classes"]] == list(NAMES)
    assert len(report["confusion"]["matrix"]) == 4
    page = (tmp_path / "out/mistakes.html").read_text()
    assert page.count("<figure>") == sum(min(24, count) for count in report["mistakes"].values())
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "<script" not in page


def test_names_of_classes_and_files_cannot_put_markup_into_the_page(
    model_file: ModelFile, found_dataset: Dataset, tmp_path: Path
) -> None:
    from onelook.evaluation.page import mistakes_page

    hostile = "<script>alert('x')</script>"
    path = model_file("v3", class_names=(hostile, "dog", "bird"))
    names = (hostile, "dog", "bird")
    moved = [Sample(s.image, s.width, s.height, s.boxes, (s.classes + 1) % 3) for s in found_dataset.samples]
    result = onelook.evaluate(path, dataclasses.replace(found_dataset, names=names, samples=tuple(moved), ids=()))
    page = mistakes_page(result)
    assert "&lt;script&gt;" in page
    assert "<script" not in page


def test_a_classifier(classifier_file: ModelFile, tmp_path: Path) -> None:
    random, samples = np.random.default_rng(0), []
    classifier = onelook.load(classifier_file())
    for i in range(6):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), random.integers(0, 255, (40, 60, 3), np.uint8))
        right = classifier(path).class_id if i < 4 else int(classifier(path).probabilities.argmin())
        samples.append(Sample(path, 60, 40, labels=np.array([right])))
    dataset = Dataset(tmp_path, "imagenet", "val", classifier.info.names, tuple(samples))
    result = onelook.evaluate(classifier, dataset)
    assert result.numbers == {"top1": pytest.approx(4 / 6), "top5": 1}
    assert result.result.confusion.sum() == 6
    assert sum(row["pictures"] for row in result.to_dict()["confusion"]) == 6
    without = dataclasses.replace(dataset, names=("=1+1", "bird", "dog", "horse"))
    again = onelook.evaluate(classifier, without)
    assert [len(again.run.notes), again.extra] == [2, ("cat",)]
    if pytest.importorskip("matplotlib"):
        assert [file.name for file in result.save(tmp_path / "out")] == [
            "report.json",
            "confusion.png",
            "confusion.pdf",
        ]


def test_a_picture_that_cannot_be_read_is_left_out_and_named(
    model_file: ModelFile, found_dataset: Dataset, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    bad = Sample(broken, 60, 40, np.array([[0, 0, 9, 9]], np.float32), np.array([0]))
    samples = (found_dataset.samples[0], bad, *found_dataset.samples[1:])
    result = onelook.evaluate(model_file("v3"), dataclasses.replace(found_dataset, samples=samples))
    assert result.numbers["ap"] > NEARLY
    assert len(result.run.dataset) == 3
    assert re.match(r"1 pictures could not be read and are left out; the first: .*broken.jpg", result.run.notes[0])
    with pytest.raises(Error, match=r"broken\.jpg"):
        onelook.evaluate(model_file("v3"), dataclasses.replace(found_dataset, samples=(bad,)))


def test_classes_go_by_name_and_what_one_side_lacks_is_left_out() -> None:
    boxes, classes = np.array([[0, 0, 9, 9]] * 3, np.float32), np.array([0, 1, 2])
    areas = np.arange(len(boxes), dtype=np.float32)
    sample = Sample(Path("x.jpg"), 9, 9, boxes, classes, areas=areas, labels=np.array([1]), absent=np.array([2]))
    parents = ((), (0,), (1,))
    dataset = Dataset(Path("x"), "voc", "val", ("tvmonitor", "dog", "cat"), (sample,), parents=parents)
    matched, fewer, notes = common_classes(("cat", "tv", "dog"), dataset)
    assert matched.tolist() == [1, -1, 0]
    assert fewer.names == ("dog", "cat")
    assert fewer.parents == ((), (0,))
    assert fewer.samples[0].classes.tolist() == [0, 1]
    assert fewer.samples[0].areas.tolist() == areas[classes > 0].tolist()
    assert [fewer.samples[0].labels.tolist(), fewer.samples[0].absent.tolist()] == [[0], [1]]
    assert notes == (
        "1 classes of the model are not in the dataset, left out: 'tv'",
        "the model does not know 1 classes of the dataset, left out: 'tvmonitor'",
    )


def test_the_eighty_of_coco_and_the_thousand_of_imagenet_match_in_any_spelling() -> None:
    official = ["tv" if name == "tvmonitor" else name for name in COCO]
    assert match_classes(COCO, official).tolist() == list(range(80))
    known = imagenet()
    names, ids = tuple(known.values()), tuple(known)
    assert len(set(names)) < 1000
    assert match_classes(("background", *names), names[::-1], ids[::-1]).tolist() == [-1, *range(999, -1, -1)]
    assert len(COCO_CATEGORY_IDS) == 80


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("[" * 100000, "is not JSON"),
        ('{"images": []}', "expected COCO results"),
        ("[1]", "expected COCO results"),
        ("[{}]", "detection 0 has the image_id none"),
        ('[{"image_id": [], "category_id": 1}]', r"detection 0 has the image_id \[\]"),
        ('[{"image_id": 99, "category_id": 1}]', "detection 0 has the image_id 99, which the dataset has not"),
        ('[{"image_id": 10, "category_id": 7}]', "detection 0 has the category_id 7"),
        ('[{"image_id": 10, "category_id": 1}]', "expected of every detection"),
        ('[{"image_id": 10, "category_id": 1, "score": 1, "bbox": [1, 2]}]', "expected of every detection"),
        ('[{"image_id": 10, "category_id": 1, "score": "a", "bbox": [1, 2, 3, 4]}]', "expected of every detection"),
        ('[{"image_id": 10, "category_id": 1, "score": NaN, "bbox": [1, 2, 3, 4]}]', "one is not finite"),
        (f'[{{"image_id": 10, "category_id": 1, "score": 1{"0" * 400}, "bbox": [1, 2, 3, 4]}}]', "expected of every"),
        (
            f'[{{"image_id": 10, "category_id": 1, "score": 1, "segmentation": {{"size": [48, 64], '
            f'"counts": [1{"0" * 400}]}}}}]',
            "64 x 48",
        ),
        (
            '[{"image_id": 10, "category_id": 1, "score": 1, "segmentation": {"size": [1, 1], "counts": "x"}}]',
            "64 x 48",
        ),
        (
            '[{"image_id": 10, "category_id": 1, "score": 1, "segmentation": {"size": [48, 64], "counts": "0"}}]',
            "64 x 48",
        ),
    ],
)
def test_results_that_are_none_are_refused_in_one_line(
    found_dataset: Dataset, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        onelook.evaluate(path, found_dataset)
    assert "\n" not in str(caught.value)


def test_entries_of_a_coco_file_that_are_no_pictures_do_not_hinder_its_results(tmp_path: Path) -> None:
    images = [5, {"id": [], "file_name": "b.png"}, {"id": 7, "file_name": "a.png", "width": 40, "height": 30}]
    truth = [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 9, 9]}]
    file = tmp_path / "instances_val.json"
    file.write_text(json.dumps({"images": images, "annotations": truth, "categories": [{"id": 1, "name": "cat"}]}))
    (tmp_path / "found.json").write_text(json.dumps([{**truth[0], "score": 0.9}]))
    assert onelook.evaluate(tmp_path / "found.json", read(file, "val")).numbers["ap"] == 1


def coco_file(folder: Path, *images: dict[str, Any], kind: int = 1) -> Path:
    """Of each picture one object, of the second class, whose id is `kind`."""
    truth = [{"image_id": one["id"], "category_id": kind, "bbox": [1, 2, 20, 9]} for one in images]
    categories = [{"id": kind - 1, "name": "ant"}, {"id": kind, "name": "cat"}]
    images = tuple({"width": 40, "height": 30, **one} for one in images)
    path = folder / "instances_val.json"
    path.write_text(json.dumps({"images": images, "annotations": truth, "categories": categories}))
    return path


@pytest.mark.parametrize(
    ("names", "ids", "called", "kind"),
    [
        (("000000000139.jpg", "000000000285.jpg"), (1, 2), (1, 2), 1),  # COCO's pictures in a file of other numbers
        (("s1/0001.jpg", "s2/0001.jpg"), (1, 2), (1, 2), 1),
        (("a.jpg", "b.jpg"), ("1", "2"), (1, 2), 1),
        (("a.jpg", "b.jpg"), (1, 2), ("1", "2"), 1),
        (("a.jpg", "b.jpg"), (0, 1), ("a", "b"), 2),  # as `onelook detect --save coco` writes them
        (("000000000139.jpg", "000000000285.jpg"), (1, 2), (139, 285), 2),
    ],
)
def test_results_of_a_coco_file_go_by_its_numbers_or_by_the_names_of_pictures(
    names: tuple[str, str], ids: tuple[Any, Any], called: tuple[Any, Any], kind: int, tmp_path: Path
) -> None:
    coco_file(tmp_path, *({"id": id_, "file_name": name} for id_, name in zip(ids, names, strict=True)))
    rows = [{"image_id": one, "category_id": kind, "bbox": [1, 2, 20, 9], "score": 0.9} for one in called]
    (tmp_path / "found.json").write_text(json.dumps([{**row, "segmentation": []} for row in rows]))
    for data in (tmp_path, tmp_path / "instances_val.json"):
        assert onelook.evaluate(tmp_path / "found.json", data).numbers["ap"] == 1


def test_no_results_at_all_are_a_figure_of_zero(found_dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("[]")
    result = onelook.evaluate(path, found_dataset)
    assert result.numbers["ap"] == 0
    assert math.isnan(result.threshold)
    assert result.to_dict()["best"] == {"threshold": None, "f1": 0.0, "precision": None, "recall": 0.0}
    if pytest.importorskip("matplotlib"):
        result.save(tmp_path / "out")


def test_what_does_not_go_together_is_refused(
    model_file: ModelFile, classifier_file: ModelFile, found_dataset: Dataset, tmp_path: Path
) -> None:
    other = dataclasses.replace(found_dataset, names=("ship", "house", "tree"))
    empty = dataclasses.replace(found_dataset, samples=())
    labels = dataclasses.replace(
        found_dataset, format="imagenet", samples=(Sample(Path("x"), 9, 9, labels=np.array([0])),)
    )
    sample = Sample(Path("x"), 9, 9, np.array([[0, 0, 9, 9]], np.float32), np.array([0]), masks=(TRIANGLE,))
    masked = dataclasses.replace(found_dataset, samples=(sample,))
    for model, data, metric, message in [
        (model_file("v3"), found_dataset, "map", "unknown metric 'map'; known are coco,"),
        (model_file("v3"), other, None, "no class of the model is one of the dataset's: it has 'cat', 'dog', 'bird'"),
        (model_file("v3"), empty, None, "has no pictures in the split 'val'"),
        (model_file("v3"), found_dataset, "top-k", "needs one of each"),
        (model_file("v3"), labels, "coco", "has no boxes"),
        (model_file("v3"), labels, None, "top-k is not for a model to detect"),
        (classifier_file(), found_dataset, None, "coco is not for a model to classify"),
        (model_file("v3"), found_dataset, "coco-masks", "has no masks in the split"),
        (model_file("v3"), masked, "coco-masks", "finds boxes alone"),
        (tmp_path / "none.json", found_dataset, None, "none.json: cannot be read"),
        (tmp_path / "none.onnx", found_dataset, None, "there is no such model file"),
        (model_file("v3"), tmp_path / "nowhere", None, "no such file or folder"),
    ]:
        with pytest.raises(Error, match=message) as caught:
            onelook.evaluate(model, data, metric=metric)
        assert "\n" not in str(caught.value)


TRIANGLE = (np.array(((0, 0), (9, 0), (0, 9)), np.float32),)


def test_masks_of_a_model_are_scored(tmp_path: Path) -> None:
    """What is red is a dog to it, what is green a cat: of the two dogs it finds one to the pixel and one to a half."""
    instances = painters.instance(tmp_path / "instances.onnx")
    image = np.zeros((painters.HEIGHT, painters.WIDTH, 3), np.uint8)
    image[4:20, 6:30, 0] = 255
    image[10:30, 20:44, 1] = 255
    red = (np.array(((6, 4), (30, 4), (30, 20), (6, 20)), np.float32),)
    upper = (np.array(((6, 4), (30, 4), (30, 12), (6, 12)), np.float32),)
    green = (np.array(((20, 10), (44, 10), (44, 30), (20, 30)), np.float32),)
    samples = []
    for i, dog in enumerate((red, upper)):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), image[..., ::-1])
        boxes = np.array([[0, 0, 24, 32], [4, 8, 40, 24]], np.float32)
        samples.append(Sample(path, painters.WIDTH, painters.HEIGHT, boxes, np.array([1, 0]), masks=(dog, green)))
    data = Dataset(tmp_path, "coco", "val", ("cat", "dog"), tuple(samples))
    found = onelook.evaluate(instances, data, metric="coco-masks")
    assert isinstance(found, DetectorEvaluation)
    rows = {row["name"]: row for row in found.class_rows()}
    assert rows["cat"]["ap"] == 1
    # Of the two dogs, found with one score, the other one has an IoU of 0.5: right at the first threshold alone.
    assert rows["dog"]["ap50"] == 1
    assert 0.5 < rows["dog"]["ap"] < 0.6
    assert onelook.evaluate(instances, data, metric="coco").numbers["ap"] == 1


def test_what_is_not_installed_is_named(
    model_file: ModelFile, found_dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = onelook.evaluate(model_file("v3"), found_dataset)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="faster-coco-eval is not installed, and COCO's AP needs it"):
        onelook.evaluate(model_file("v3"), found_dataset)
    with pytest.raises(MissingDependencyError, match=r'matplotlib is not .* pip install "onelook\[evaluate\]"'):
        result.save(tmp_path)
    assert onelook.evaluate(model_file("v3"), found_dataset, metric="voc").numbers["map"] > NEARLY


@pytest.mark.parametrize("by_masks", [False, True])
def test_real_pictures_give_what_pycocotools_gives(
    shared: Callable[[str], Path], tmp_path: Path, by_masks: bool
) -> None:
    """Stored results of boxes and masks in COCO's own files, which pycocotools reads too."""
    import contextlib
    import io

    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools import mask
    from pycocotools.cocoeval import COCOeval

    folder = shared("data/coco-tiny")
    random, rows = np.random.default_rng(0), []
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(folder / "annotations/instances_val2017.json")
        for one in truth.dataset["annotations"]:
            row = {key: one[key] for key in ("image_id", "category_id")} | {"score": round(random.random(), 3)}
            if random.random() < 0.2:
                row["category_id"] = int(random.choice(truth.getCatIds()))
            if by_masks and one["iscrowd"]:
                continue
            if by_masks:
                shift = random.integers(-9, 10)
                moved = [[x + shift for x in polygon] for polygon in one["segmentation"]]
                height, width = (truth.imgs[one["image_id"]][side] for side in ("height", "width"))
                code = mask.merge(mask.frPyObjects(moved, height, width))
                row["segmentation"] = {"size": code["size"], "counts": code["counts"].decode()}
            else:
                row["bbox"] = np.abs(one["bbox"] * random.normal(1, 0.08, 4)).round(2).tolist()
            rows.append(row)
        (tmp_path / "results.json").write_text(json.dumps(rows))
        peer = COCOeval(truth, truth.loadRes(rows), "segm" if by_masks else "bbox")
        peer.evaluate()
        peer.accumulate()
        peer.summarize()
    metric = "coco-masks" if by_masks else "coco"
    result = onelook.evaluate(tmp_path / "results.json", folder, "val", metric)
    assert list(result.numbers.values()) == pytest.approx(peer.stats.tolist(), abs=1e-9)
    assert peer.stats[0] > 0.1
