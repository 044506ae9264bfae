"""`onelook models` as a user meets it: the tables of networks and of trained models."""

import functools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onelook import architectures
from onelook.backbones import published
from onelook.cli import main
from onelook.runtime import terminal
from onelook.zoo import CATALOGUE

Run = Callable[..., tuple[int, str, str]]
CACHED = functools.cache(architectures.architectures)  # to count all networks takes seconds
NETWORKS = (
    "xception vgg16 mobilenet_v1 mobilenet_v2 resnet50 resnet101 se_resnet50 extraction darknet19 darknet53".split()
)


@pytest.fixture
def onelook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`onelook models` in this process, as to import torch takes seconds: exit code, stdout, stderr."""
    monkeypatch.setattr(terminal, "silence_native_stderr", lambda: None)  # of this process it would be the tests'
    monkeypatch.setattr(architectures, "architectures", CACHED)
    monkeypatch.setenv("ONELOOK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["onelook", "models", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        stdout, stderr = capsys.readouterr()
        return int(stop.value.code or 0), stdout, stderr

    return run


def cells(line: str) -> list[str]:
    """Of a row of a table, whose columns stand three spaces apart at least."""
    return re.split(r" {2,}", line.strip())


# The tables.


def test_both_tables_are_printed_and_as_json_and_markdown(onelook: Run) -> None:
    code, stdout, stderr = onelook()
    assert (code, stderr) == (0, "")
    lines = [cells(line) for line in stdout.splitlines()]
    networks = [line for line in lines if line[0] in NETWORKS]
    assert [line[0] for line in networks] == [row.name for row in published.PUBLISHED]
    assert (
        "mobilenet_v1 0.25 128 0.47M|0.47M l|13.6M 14M 2 41.5/66.3".replace(" ", "|").replace("|l", " l").split("|")
        in networks
    )
    models = [line for line in lines if line[0] in CATALOGUE]
    assert [line[0] for line in models] == list(CATALOGUE)
    assert ["mobilenet_v2_1.0_224", "classify", "224", "1001", "3.6", "70.8/89.9 ImageNet val"] in models

    code, stdout, stderr = onelook("--json")
    assert (code, stderr) == (0, "")
    facts = json.loads(stdout)
    assert list(facts) == ["networks", "models"]
    assert [row["name"] for row in facts["networks"]] == [line[0] for line in networks]
    assert {row["name"]: row["parameters"] for row in facts["networks"]}["resnet50"] == 25_557_032
    assert [(row["name"], str(row["classes"])) for row in facts["models"]] == [(line[0], line[3]) for line in models]

    markdown_it = pytest.importorskip("markdown_it")
    code, stdout, stderr = onelook("--markdown")
    assert (code, stderr) == (0, "")
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(stdout)
    assert [token.type for token in tokens].count("table_open") == 2
    rows: list[list[str]] = []
    for i, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("td_open", "th_open"):
            rows[-1].append(tokens[i + 1].content)
    assert [row[0] for row in rows] == ["network", *(line[0] for line in networks), "name", *CATALOGUE]
    assert [len(row) for row in rows] == [10] * (1 + len(networks)) + [6] * (1 + len(models))
    assert all(len(line.split(" | ")) in (10, 6) for line in stdout.splitlines() if line.startswith("|"))


def test_a_terminal_of_80_columns_cuts_no_name_and_no_number_short(
    onelook: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", onelook()[1])
    assert [name for name in (*NETWORKS, *CATALOGUE) if name not in plain.split()] == []
    assert "…" not in plain


def test_a_name_gives_the_rows_of_one_network_or_of_one_model(onelook: Run) -> None:
    code, stdout, stderr = onelook("mobilenet_v2")
    assert (code, stderr) == (0, "")
    found = [cells(line)[:4] for line in stdout.splitlines() if cells(line)[0] in (*NETWORKS, *CATALOGUE)]
    assert found == [
        ["mobilenet_v2", "1.4", "224", "6.11M"],
        ["mobilenet_v2", "1", "224", "3.50M"],
        ["mobilenet_v2", "0.35", "96", "1.68M"],
    ]
    facts = json.loads(onelook("mobilenet_v2", "--json")[1])
    assert ([row["alpha"] for row in facts["networks"]], facts["models"]) == ([1.4, 1.0, 0.35], [])

    code, stdout, stderr = onelook("yolov4-tiny")
    assert (code, stderr) == (0, "")
    assert dict(line.split(maxsplit=1) for line in stdout.splitlines())["licence"].startswith("public domain")
    assert CATALOGUE["yolov4-tiny"].weights.url in stdout
    assert "params" not in stdout
    facts = json.loads(onelook("yolov4-tiny", "--json")[1])
    assert (facts["networks"], [row["name"] for row in facts["models"]]) == ([], ["yolov4-tiny"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("yolov33",), "named 'yolov33'"),
        (("", "--json"), "named ''"),
        (("nope", "--json"), "named 'nope'; see 'onelook models'"),
        (("mobilenet_v3",), "closest: mobilenet_v2, mobilenet_v1"),
        (("mobilenet_v1", "--layers", "--measure"), "do not go with --layers"),
        (("yolov4", "--measure"), "yolov4 is a trained model; --measure and --pictures are for the networks"),
        (("a\nb\x1b[2J",), r"named 'a\nb\x1b[2j'"),
        (("Helmets",), "helmets comes with onelook; 'onelook info helmets' says what it is"),
        (("helmet",), "no network or model named 'helmet'; closest: helmets"),
        (("YOLOv4", "--measure"), "yolov4 is a trained model"),
        (("--layers",), "--layers needs the name of a network: mobilenet_v1, "),
        (("--layers", "nope"), "no architecture named 'nope'"),
        (("--layers", "yolov4"), "no architecture named 'yolov4'"),
        (("--layers", "mobilenet_v1", "--alpha", "2"), "must be above 0 and at most 1; found 2"),
        (("--layers", "mobilenet_v1", "--alpha", "0"), "must be above 0 and at most 1; found 0"),
        (("--layers", "mobilenet_v1", "--alpha", "nan"), "must be above 0 and at most 1; found nan"),
        (("--layers", "resnet50", "--alpha", "0.5"), "resnet50 has no width multiplier"),
        *(
            (("--layers", name, "--size", size), "size must be a multiple of 32, from 32 to 8192")
            for name, size in (
                ("mobilenet_v1", "100"),
                ("mobilenet_v1", "-32"),
                ("mobilenet_v1", "0"),
                ("vgg16", "100"),
            )
        ),
        (("--layers", "vgg16", "--size", "0"), "from 32 to"),
        (("mobilenet_v1", "--alpha", "0.5"), "--alpha and --size go with --layers"),
        (("--size", "96"), "--alpha and --size go with --layers"),
        (("--pictures", "gone"), "Directory 'gone' does not exist"),
        (("--pictures", "file"), "Directory 'file' is a file"),
        (("--layers", "mobilenet_v1", "--alpha", "x"), "'x' is not a valid float"),
    ],
)
def test_mistakes_are_told_in_one_line_and_exit_with_2(
    onelook: Run, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "file").write_text("")
    code, stdout, stderr = onelook(*arguments)
    assert (code, stdout) == (2, "")
    last = stderr.strip().splitlines()[-1]
    assert message in last
    assert last.isprintable()
    assert last.lower().startswith("error: ")
    assert len(stderr.splitlines()) == (1 if last.startswith("e") else 4)  # click's say how the verb is used


# Layers.

# Table 1 of Howard et al., 2017. The last depthwise convolution is printed with s2; its input and output are both 7 x 7.
TABLE_1 = """
Conv / s2 | 3 × 3 × 3 × 32 | 224 × 224 × 3
Conv dw / s1 | 3 × 3 × 32 dw | 112 × 112 × 32
Conv / s1 | 1 × 1 × 32 × 64 | 112 × 112 × 32
Conv dw / s2 | 3 × 3 × 64 dw | 112 × 112 × 64
Conv / s1 | 1 × 1 × 64 × 128 | 56 × 56 × 64
Conv dw / s1 | 3 × 3 × 128 dw | 56 × 56 × 128
Conv / s1 | 1 × 1 × 128 × 128 | 56 × 56 × 128
Conv dw / s2 | 3 × 3 × 128 dw | 56 × 56 × 128
Conv / s1 | 1 × 1 × 128 × 256 | 28 × 28 × 128
Conv dw / s1 | 3 × 3 × 256 dw | 28 × 28 × 256
Conv / s1 | 1 × 1 × 256 × 256 | 28 × 28 × 256
Conv dw / s2 | 3 × 3 × 256 dw | 28 × 28 × 256
Conv / s1 | 1 × 1 × 256 × 512 | 14 × 14 × 256
5 × Conv dw / s1 | 3 × 3 × 512 dw | 14 × 14 × 512
5 × Conv / s1 | 1 × 1 × 512 × 512 | 14 × 14 × 512
Conv dw / s2 | 3 × 3 × 512 dw | 14 × 14 × 512
Conv / s1 | 1 × 1 × 512 × 1024 | 7 × 7 × 512
Conv dw / s1 | 3 × 3 × 1024 dw | 7 × 7 × 1024
Conv / s1 | 1 × 1 × 1024 × 1024 | 7 × 7 × 1024
Avg Pool / s1 | Pool 7 × 7 | 7 × 7 × 1024
FC / s1 | 1024 × 1000 | 1 × 1 × 1024
Softmax / s1 | Classifier | 1 × 1 × 1000
"""


def table_1() -> list[list[str]]:
    rows = [line.split(" | ") for line in TABLE_1.strip().splitlines()]
    five = [[word.removeprefix("5 × ") for word in row] for row in rows if row[0].startswith("5 × ")]
    start = next(i for i, row in enumerate(rows) if row[0].startswith("5 × "))
    return [*rows[:start], *five * 5, *rows[start + 2 :]]


def test_the_layers_of_mobilenet_are_those_of_the_papers_table(onelook: Run) -> None:
    code, stdout, stderr = onelook("mobilenet_v1", "--layers", "--json")
    assert (code, stderr) == (0, "")
    rows = json.loads(stdout)
    assert [[row["type / stride"], row["filter shape"], row["input size"]] for row in rows] == table_1()
    # Table 2: 569 million multiply-adds, 4.2 million parameters; Table 4's shares of the 1 x 1 convolutions.
    adds, numbers = (sum(row[key] for row in rows) for key in ("multiply-adds", "parameters"))
    assert adds == pytest.approx(569e6, rel=0.001)
    assert numbers == pytest.approx(4.2e6, rel=0.01)
    pointwise = [row for row in rows if row["filter shape"].startswith("1 × 1 ×")]
    assert sum(row["multiply-adds"] for row in pointwise) / adds == pytest.approx(0.9486, abs=0.001)
    assert sum(row["parameters"] for row in pointwise) / numbers == pytest.approx(0.7459, abs=0.01)

    printed = onelook("mobilenet_v1", "--layers")[1].splitlines()
    dense = [[word.replace(" × ", "×") for word in row] for row in table_1()]
    assert [[word for word in cells(line) if "Separable" not in word][:3] for line in printed[3:-2]] == dense
    assert cells(printed[-2]) == ["total", "4,231,976", "568,740,352"]
    markdown = onelook("mobilenet_v1", "--layers", "--markdown")[1].splitlines()
    assert [line.strip("| ").split(" | ")[-5:-2] for line in markdown[2:-1]] == table_1()
    assert len({line.count("|") for line in markdown}) == 1


@pytest.mark.parametrize(
    ("arguments", "first", "last", "adds"),
    [
        # 0.3 x 32 = 9.6 channels; the paper's 0.25 MobileNet-128 has 14 million multiply-adds (Table 9 of slim).
        (("mobilenet_v1", "--alpha", "0.3"), ["3 × 3 × 3 × 9", "224 × 224 × 3"], "307 × 1000", None),
        (
            ("mobilenet_v1", "--alpha", "0.25", "--size", "128"),
            ["3 × 3 × 3 × 8", "128 × 128 × 3"],
            "256 × 1000",
            13.6e6,
        ),
        (("mobilenet_v2", "--size", "96"), ["3 × 3 × 3 × 32", "96 × 96 × 3"], "1280 × 1000", None),
        (("vgg16", "--size", "64"), ["3 × 3 × 3 × 64", "64 × 64 × 3"], "4096 × 1000", None),
        (("darknet53",), ["3 × 3 × 3 × 32", "256 × 256 × 3"], "1024 × 1000", 9.3e9),
    ],
)
def test_alpha_and_size_scale_the_layers(
    onelook: Run, arguments: tuple[str, ...], first: list[str], last: str, adds: float | None
) -> None:
    code, stdout, stderr = onelook("--layers", *arguments, "--json")
    assert (code, stderr) == (0, "")
    rows = json.loads(stdout)
    assert [rows[0]["filter shape"], rows[0]["input size"]] == first
    assert rows[-2]["filter shape"] == last
    if adds:
        assert sum(row["multiply-adds"] for row in rows) == pytest.approx(adds, rel=0.01)


# What is measured.


@pytest.fixture
def smallest(onelook: Run, monkeypatch: pytest.MonkeyPatch) -> architectures.Architecture:
    """The only network there is: the others would take a minute."""
    (found,) = (one for one in CACHED("mobilenet_v1") if one.published.weights == "mobilenet_v1_0.25_128")
    monkeypatch.setattr(architectures, "architectures", lambda name: [found])
    return found


def test_measuring_adds_columns_of_accuracy_and_milliseconds(
    onelook: Run, smallest: architectures.Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(architectures, "latency", lambda one: 0.01234 if one is smallest else None)
    monkeypatch.setattr(architectures, "measured", lambda one, folder: (0.51234, 0.75, 41 if folder == Path() else 0))
    code, stdout, stderr = onelook("mobilenet_v1", "--measure")
    assert (code, stderr) == (0, "")
    head, _, row = [cells(line) for line in stdout.splitlines() if line.strip()][:3]
    assert (head[-1], row[-1]) == ("ms", "12.34")
    assert "measured" not in head
    code, stdout, stderr = onelook("mobilenet_v1", "--pictures", ".")
    assert (code, stdout) == (2, "")
    assert "no trained weights are in the cache; there are such of mobilenet_v1_0.25_128" in stderr

    file = tmp_path / "home" / "mobilenet_v1_0.25_128" / "mobilenet_v1_0.25_128_quant.tflite"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(525_598))
    code, stdout, stderr = onelook("mobilenet_v1", "--measure", "--pictures", ".", "--markdown")
    head, rule, row, *notes = [line.strip("| ").split(" | ") for line in stdout.splitlines()]
    assert "on 41 pictures" in str(notes)
    assert (head[-2:], row[-2:]) == (["measured", "ms"], ["51.2/75.0", "12.34"])
    assert len(head) == len(rule) == len(row) == 12
    (network,) = json.loads(onelook("mobilenet_v1", "--measure", "--pictures", ".", "--json")[1])["networks"]
    assert [network[f"measured_{key}"] for key in ("top1", "top5", "pictures")] == [0.5123, 0.75, 41]
    assert network["latency_ms"] == 12.34


@pytest.mark.usefixtures("smallest")
def test_a_network_is_measured_on_photographs(
    onelook: Run, shared: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(architectures.latency, "__defaults__", (0.01,))
    photos, home = tmp_path / "photos", tmp_path / "home" / "mobilenet_v1_0.25_128"
    photos.mkdir()
    home.mkdir(parents=True)
    for path in sorted(shared("data/imagenet200").iterdir())[:8]:
        shutil.copy(path, photos)
    shutil.copy(shared("weights/tflite/mobilenet_v1_0.25_128_quant.tflite"), home)
    code, stdout, stderr = onelook("mobilenet_v1", "--measure", "--pictures", "photos", "--json")
    assert (code, stderr) == (0, "")
    (network,) = json.loads(stdout)["networks"]
    assert 0 < network["latency_ms"] < 1000
    assert network["measured_pictures"] == 8
    assert network["measured_top1"] in [round(hits / 8, 4) for hits in range(2, 9)]
    assert network["measured_top1"] <= network["measured_top5"] <= 1

    (photos / "cat.jpg").write_bytes(b"")
    code, stdout, stderr = onelook("mobilenet_v1", "--pictures", "photos")
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert stderr.startswith("error: photos/cat.jpg: the file is empty")


# Without torch.

WITHOUT = """
import importlib.util, sys
missing = sys.argv[1].split(",")

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in missing else find_spec(name, package)
sys.meta_path.insert(0, Finder())
sys.argv[:] = ["onelook", *sys.argv[2:]]
from onelook.cli import main
main()
"""


def without(missing: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, missing, "models", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("missing", ["torch,onnx,onnxscript,safetensors,tflite", "onnx,onnxscript,safetensors,tflite"])
def test_without_the_torch_half_the_trained_models_are_listed_with_a_note(missing: str) -> None:
    result = without(missing)
    assert result.returncode == 0, result.stderr
    assert {"yolov3", "mobilenet_v2_1.0_224"} <= set(result.stdout.split())
    if "torch" in missing:
        assert "xception" not in result.stdout
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith("note: torch is not installed, and listing the networks needs it; pip install ")
    facts = json.loads(without(missing, "--json").stdout)
    assert [row["name"] for row in facts["models"]] == list(CATALOGUE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("mobilenet_v1", "--layers"),
            'torch is not installed, and printing a network needs it; pip install "onelook',
        ),
        (("--measure",), "torch is not installed, and measuring networks needs it"),
        (("--pictures", "."), "torch is not installed, and listing the networks needs it"),
        (("mobilenet_v1",), "torch"),  # it is a network, though nothing of it can be printed
        (("nope",), "named 'nope'"),
    ],
)
def test_without_torch_it_is_said_what_needs_it(arguments: tuple[str, ...], message: str) -> None:
    result = without("torch", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "onelook", "models"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert run.returncode == 2
    assert run.stderr == "error: stdout: No space left on device\n"
