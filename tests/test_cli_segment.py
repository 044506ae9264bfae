"""`onelook segment` as a user meets it, with both kinds of models, and what other verbs make of those."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import painters
from onelook import Detector, Segmenter
from onelook.runtime.result import encode


def onelook(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onelook", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def semantic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painters.semantic(tmp_path_factory.mktemp("models") / "semantic.onnx")


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painters.instance(tmp_path_factory.mktemp("models") / "instance.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        squares = np.random.default_rng(i).integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), squares.repeat(40, 0).repeat(40, 1))
    return folder


def test_one_picture_gives_a_table_of_its_classes_and_a_picture(semantic: Path, photos: Path, tmp_path: Path) -> None:
    result = onelook("segment", photos / "0.jpg", "--model", semantic, folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    head, _, *rows, file = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert (head, file) == (["class", "share"], ["runs/segment-1/0.jpg"])
    found = Segmenter(semantic)(photos / "0.jpg")
    assert rows == [[region.name, f"{region.share:.1%}"] for region in found]
    drawn = tmp_path / "runs/segment-1/0.jpg"
    assert drawn.read_bytes() == encode(found.draw(), drawn)


def test_a_folder_gives_the_mean_share_of_each_class(semantic: Path, photos: Path, tmp_path: Path) -> None:
    result = onelook("segment", photos, "--model", semantic, "--save", "none", "--batch", "2", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    masks = np.stack([found.mask for found in Segmenter(semantic)(photos)])
    for i, name in enumerate(painters.SEMANTIC_NAMES):
        assert [name, f"{(masks == i).mean():.1%}"] in [line.split() for line in result.stdout.splitlines()]
    assert result.stdout.splitlines()[-1].startswith("3 pictures, ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("kind", ["semantic", "instance"])
def test_every_format_holds_what_the_model_finds(
    kind: str, semantic: Path, instance: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "1.jpg").write_bytes(b"broken")
    model = {"semantic": semantic, "instance": instance}[kind]
    words = ("--model", model, "--save", "jpg,json,png,polygons", "-o", "out")
    result = onelook("segment", photos, *words, folder=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "1 of 3 pictures could not be read"
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "0.jpg", "0.png", "2.jpg", "2.png", "polygons.json", "results.json",
    ]  # fmt: skip
    load = Segmenter if kind == "semantic" else Detector
    found = [load(model)(photos / f"{i}.jpg") for i in (0, 2)]
    for file, of in (("results.json", "to_dict"), ("polygons.json", "to_polygons")):
        images = json.loads((out / file).read_text())["images"]
        assert images == json.loads(json.dumps([getattr(one, of)() for one in found]))
    assert [(out / f"{i}.png").read_bytes() for i in (0, 2)] == [one.to_png() for one in found]


def test_objects_are_listed_as_detect_does(instance: Path, photos: Path, tmp_path: Path) -> None:
    words = (photos / "0.jpg", "--model", instance, "--save", "none")
    segment, detect = (onelook(verb, *words, folder=tmp_path) for verb in ("segment", "detect"))
    assert (segment.returncode, segment.stderr) == (0, "")
    assert segment.stdout == detect.stdout
    assert {"dog", "cat"} <= set(segment.stdout.split())
    sure = onelook("segment", *words, "--threshold", "0.7", folder=tmp_path)
    assert "dog" in sure.stdout
    assert "cat" not in sure.stdout


def test_json_goes_to_stdout_alone(semantic: Path, photos: Path, tmp_path: Path) -> None:
    result = onelook("segment", photos, "--model", semantic, "--json", "--save", "none", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows == [json.loads(json.dumps(found.to_dict())) | {"source": str(photos / f"{i}.jpg")}
                    for i, found in enumerate(Segmenter(semantic)(photos))]  # fmt: skip


def test_detect_draws_and_writes_masks(instance: Path, photos: Path, tmp_path: Path) -> None:
    words = ("--model", instance, "--save", "jpg,coco", "-o", "out")
    result = onelook("detect", photos / "0.jpg", *words, folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    found = Detector(instance)(photos / "0.jpg")
    rows = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [row["segmentation"] for row in rows] == [found.masks.rle(i) for i in range(2)]
    drawn = tmp_path / "out" / "0.jpg"
    assert drawn.read_bytes() == encode(found.draw(), drawn)


def test_info_shows_such_files(semantic: Path, instance: Path, tmp_path: Path) -> None:
    facts = json.loads(onelook("info", semantic, "--json", folder=tmp_path).stdout)
    assert (facts["task"], facts["classes"]) == ("segment", list(painters.SEMANTIC_NAMES))
    assert not {"score_threshold", "masks"} & set(facts)
    facts = json.loads(onelook("info", instance, "--json", folder=tmp_path).stdout)
    assert (facts["task"], facts["masks"], facts["score_threshold"]) == ("detect", True, 0.5)
    assert "detect, with the mask of each object" in onelook("info", instance, folder=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("segment", "{photos}"), "Missing option '--model'"),
        (
            ("segment", "{photos}", "--model", "{semantic}", "--save", "coco"),
            "the formats are json, polygons, png, jpg",
        ),
        (("segment", "{photos}", "--model", "{semantic}", "--threshold", "0.3"), "--threshold is for models that find"),
        (("segment", "{photos}", "--model", "{boxes}"), "is a model to detect, not to segment; use 'onelook detect'"),
        (
            ("detect", "{photos}", "--model", "{semantic}"),
            "is a model to segment, not to detect; use 'onelook segment'",
        ),
    ],
)
def test_mistakes_are_told_in_one_line_and_exit_with_2(
    semantic: Path, photos: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    graph = painters.INSTANCE.replace(", uint8[N, 32, 48] masks", "")
    boxes = painters.instance(tmp_path / "boxes.onnx", graph)
    words = [word.format(semantic=semantic, photos=photos, boxes=boxes) for word in arguments]
    result = onelook(*words, folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()
