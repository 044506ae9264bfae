"""onelook detect --cluster, as far as it goes without a cluster."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import onelook
from onelook import scale

pytest.importorskip("pyarrow")
pytest.importorskip("ray")

from onelook.scale.worker import Order, Worker

Make = Callable[..., Path]


def detect(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onelook", "detect", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_done_is_reported_and_not_done_again(tmp_path: Path, model_file: Make) -> None:
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        cv2.imwrite(str(tmp_path / "pictures" / f"{i}.png"), np.zeros((40, 60, 3), np.uint8))
    (tmp_path / "pictures" / "2.png").write_bytes(b"no picture")
    model = model_file("v3")
    job = scale.prepare([str(tmp_path / "pictures")], str(tmp_path / "results"), str(model), classes={"cat"}, part=3)
    worker = Worker(Order(job.digest, [job.sources[0].path], job.output.path, "auto", 1, 1), model.read_bytes())
    assert [(part.pictures, part.failures) for part in map(worker.do, range(2))] == [(3, 1), (1, 0)]
    arguments = ("pictures", "--model", model, "--cluster", "local", "-o", "results", "--part", 3, "--classes", "cat")
    result = detect(*arguments, "--json", folder=tmp_path)
    assert (result.returncode, result.stderr) == (1, "1 of 4 pictures could not be read\n")
    report = json.loads(result.stdout)
    assert (report["pictures"], report["failures"], report["before"], report["pictures_per_second"]) == (4, 1, 4, 0)
    result = detect(*arguments, "--threshold", "0.7", folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert "holds a job of score_threshold 0.25, not 0.7" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--cluster", "local"), "--cluster needs --output"),
        (("--cluster", "local", "-o", "out", "--save", "coco"), "--save is for one machine"),
        (("--cluster", "local", "-o", "none://x/y"), "error: none://x/y: cannot be opened"),
        (("--cluster", "mars", "-o", "file://{folder}/out"), "must be ray://HOST:PORT, auto or local; found 'mars'"),
        (("--cluster", "local", "-o", "out", "--threads", "0"), "threads must be 1 or more; found 0"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: tuple[str, ...], error: str, tmp_path: Path, model_file: Make) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").touch()
    words = [word.replace("{folder}", str(tmp_path)) for word in arguments]
    result = detect("pictures", "--model", model_file("v3"), *words, folder=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert error in result.stderr


def test_nothing_but_this_part_knows_ray_and_it_is_loaded_late() -> None:
    package = Path(onelook.__file__).parent
    for path in package.rglob("*.py"):
        if path.parent.name != "scale":
            nodes = list(ast.walk(ast.parse(path.read_text())))
            names = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
            names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
            assert not {name.partition(".")[0] for name in names} & {"ray", "pyarrow"}, path
    code = "import sys, onelook.cli, onelook.scale; print({'ray', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
    code = "import sys, onelook.scale.cluster; print({'ray', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
