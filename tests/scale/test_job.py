"""The list of pictures, its parts, and going on with a job."""

import io
import json
import math
import os
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onelook import scale
from onelook.errors import Error
from onelook.runtime.detections import Detections

pytest.importorskip("pyarrow")
pytest.importorskip("ray")

from pyarrow import parquet

from onelook.scale.folder import Folder
from onelook.scale.job import Job, part_name, read_part
from onelook.scale.table import counts, failed, found, to_parquet

Make = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for name in ("b/2.jpg", "b/10.JPG", "a/c/1.png", "z.webp", ".hidden/4.jpg", "b/.5.jpg", "notes.txt", "clip.mp4"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "a" / "loop").symlink_to(folder, target_is_directory=True)
    return folder


def listed(job: Job) -> list[list[str]]:
    read = read_part(job.output, job.sources)
    return [[folder.name(path) for folder, path in read(number)] for number in range(job.parts)]


def test_pictures_are_listed_once_in_order_without_what_is_hidden(folder: Path) -> None:
    found = [str(Path(path).relative_to(folder)) for path in Folder.open(str(folder)).pictures()]
    assert found == ["z.webp", "a/c/1.png", "b/10.JPG", "b/2.jpg"]


def test_parts_hold_every_picture_exactly_once(folder: Path, tmp_path: Path, model_file: Make) -> None:
    job = scale.prepare([str(folder)], str(tmp_path / "results"), str(model_file("v3")), part=3)
    assert (job.pictures, job.parts, job.left(), job.missing(), job.totals()) == (4, 2, 4, [0, 1], (0, 0))
    parts = listed(job)
    assert list(map(len, parts)) == [3, 1]
    assert list(chain(*parts)) == [str(folder / name) for name in ("z.webp", "a/c/1.png", "b/10.JPG", "b/2.jpg")]
    job.output.write(part_name(0), to_parquet([failed("x", "y")] * 3, job.digest))
    assert (job.left(), job.missing(), job.totals()) == (1, [1], (3, 3))


def test_a_part_that_lost_its_bytes_is_done_again(folder: Path, tmp_path: Path, model_file: Make) -> None:
    """All of them, as after a power failure; of one that lost some it is said what to do."""
    job = scale.prepare([str(folder)], str(tmp_path / "results"), str(model_file("v3")), part=3)
    data = to_parquet([failed("x", "y")] * 3, job.digest)
    job.output.write(part_name(0), data)
    job.output.write(part_name(1), b"")
    assert (job.left(), job.missing(), job.totals()) == (1, [1], (3, 3))
    job.output.write(part_name(1), data[:-5])
    with pytest.raises(
        Error, match=r"part-0000001\.parquet.*; delete it, and the same command does that part again"
    ) as error:
        job.totals()
    assert "\n" not in str(error.value)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 12), part=st.integers(1, 14))
def test_any_number_of_pictures_goes_into_parts(
    count: int, part: int, tmp_path_factory: pytest.TempPathFactory, model_file: Make
) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(count):
        (folder / f"{i}.jpg").touch()
    job = scale.prepare([str(folder)], str(folder / "results"), str(model_file("v3")), part=part)
    assert job.parts == math.ceil(count / part)
    assert sorted(chain(*listed(job))) == sorted(str(folder / f"{i}.jpg") for i in range(count))


def test_a_job_is_gone_on_with_as_it_was_listed(folder: Path, tmp_path: Path, model_file: Make) -> None:
    arguments = ([str(folder)], str(tmp_path / "results"), str(model_file("v3")))
    job = scale.prepare(*arguments)
    (folder / "new.jpg").touch()
    again = scale.prepare(*arguments)
    assert (again.digest, again.pictures, listed(again)) == (job.digest, 4, listed(job))


def test_another_model_threshold_or_list_is_refused_in_one_line(folder: Path, tmp_path: Path, model_file: Make) -> None:
    sources, output, model = [str(folder)], str(tmp_path / "results"), str(model_file("v3"))
    scale.prepare(sources, output, model, score_threshold=0.5)
    for arguments, what in (
        ((sources, output, str(model_file("v2")), 0.5), "another model"),
        ((sources, output, model, 0.25), "score_threshold 0.5, not 0.25"),
        ((sources, output, model, 0.5, 0.9), "iou_threshold"),
        ((sources, output, model, 0.5, None, None, ["cat"]), "classes None, not"),
        ((sources, output, model, 0.5, None, None, None, 5), "part 1000, not 5"),
        (([str(folder / "b")], output, model, 0.5), "sources"),
    ):
        with pytest.raises(Error, match=what) as error:
            scale.prepare(*arguments)
        assert "\n" not in str(error.value)
        assert output in str(error.value)


def test_results_without_a_manifest_and_damaged_manifests_are_refused(
    folder: Path, tmp_path: Path, model_file: Make
) -> None:
    arguments = ([str(folder)], str(tmp_path / "results"), str(model_file("v3")))
    manifest = Path(scale.prepare(*arguments).output.path) / "job.json"
    about = json.loads(manifest.read_text())
    about["settings"]["score_threshold"] = 0.75
    for text, what in (
        (manifest.read_text()[:50], "not what onelook wrote"),
        (json.dumps(about), "digest"),
        ("[]", "not what onelook wrote"),
    ):
        manifest.write_text(text)
        with pytest.raises(Error, match=what):
            scale.prepare(*arguments)
    manifest.unlink()
    (manifest.parent / "parts").mkdir()
    (manifest.parent / part_name(0)).touch()
    with pytest.raises(Error, match=r"has results but no job\.json"):
        scale.prepare(*arguments)


def test_a_list_that_was_not_finished_is_made_anew(folder: Path, tmp_path: Path, model_file: Make) -> None:
    arguments = ([str(folder)], str(tmp_path / "results"), str(model_file("v3")))
    job = scale.prepare(*arguments)
    (tmp_path / "results" / "job.json").unlink()
    (tmp_path / "results" / "pictures.parquet").write_bytes(b"PAR1")
    assert listed(scale.prepare(*arguments)) == listed(job)


def test_what_cannot_be_done_says_so(folder: Path, tmp_path: Path, model_file: Make, classifier_file: Make) -> None:
    output, model, empty = str(tmp_path / "results"), str(model_file("v3")), tmp_path / "empty"
    empty.mkdir()
    for sources, what in (
        ([str(empty)], "no pictures"),
        ([str(folder / "none")], "no such folder"),
        ([str(folder / "z.webp")], "no such folder"),
        ([str(folder), str(folder / "b")], "named twice"),
        ([str(folder), str(folder)], "named twice"),
        ([str(folder), str(folder / "a" / "loop")], "named twice"),
        ([str(folder / "a" / "loop" / "b"), str(folder)], "named twice"),
        (["nowhere://bucket/x"], "nowhere://bucket/x: cannot be opened"),
    ):
        with pytest.raises(Error, match=what):
            scale.prepare(sources, output, model)
    assert not Path(output, "job.json").exists()
    for change, what in (
        ({"score_threshold": 2.0}, "from 0 to 1"),
        ({"size": 33}, "takes pictures of"),
        ({"classes": {"cats"}}, "no class 'cats'"),
        ({"part": 0}, "1 picture or more"),
        ({"model": str(classifier_file())}, "is a model to classify"),
    ):
        with pytest.raises(Error, match=what):
            scale.prepare([str(folder)], output, **{"model": model, **change})  # type: ignore[arg-type]


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = Folder.open(str(tmp_path))
    folder.write("parts/x", b"1")
    folder.write("parts/x", b"2")
    assert (folder.read("parts/x"), folder.names("parts"), folder.read("parts/y")) == (b"2", ["x"], None)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    with pytest.raises(Error, match="cannot write"):
        folder.write("taken", b"3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "taken"]
    folder.delete("parts/x")
    folder.delete("parts/x")
    assert not folder.names("parts")
    assert not folder.names("none")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")).touch()
    with pytest.raises(Error, match="a name in this folder is not UTF-8"):
        list(Folder.open(str(tmp_path)).pictures())


def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    folder = Folder.open(str(tmp_path))
    with pytest.raises(Error, match="not an ordinary file"):
        folder.picture(str(tmp_path / "x.jpg"))


def test_numbers_of_detections_survive_parquet() -> None:
    boxes = np.random.default_rng(0).uniform(0, 500, (3, 4)).astype(np.float32)
    rows = [
        found(Detections(boxes, boxes[:, 0], np.array([0, 2, 1]), ("a", "b", "ü"), 640, 480, "s3://b/1.jpg")),
        failed("s3://b/2.jpg", "why"),
        found(Detections(boxes[:0], boxes[:0, 0], np.zeros(0, np.int64), ("a",), 640, 480, "s3://b/3.jpg")),
    ]
    data = to_parquet(rows, "job")
    assert counts(data, "job") == (3, 1)
    assert counts(data, "other") is None
    assert counts(data[:-1], "job") is None
    first, second, third = parquet.read_table(io.BytesIO(data)).to_pylist()
    np.testing.assert_array_equal(np.asarray(first["boxes"], np.float32), boxes)
    assert first["names"] == ["a", "ü", "b"]
    assert (second["boxes"], second["error"]) == (None, "why")
    assert (third["boxes"], third["error"]) == ([], None)
