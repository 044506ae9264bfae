"""Trained detectors as files, and files that are damaged or of others."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from onelook import CheckpointError
from onelook.detectors import create
from onelook.trained import Trained, is_trained, load, save

V3 = Trained(
    "yolo_v3",
    {"classes": 2, "backbone": "mobilenet_v1", "alpha": 0.25, "width": 16, "anchors": [[[5, 8.5]], [[3, 4]], [[1, 2]]]},
    ("chien, ça", "鳥"),
    (96, 64),
    "stretch",
    {"by": "a test", "of": [1, None, {"x": "ü"}]},
)
V2 = Trained("yolo_v2", {"classes": 2, "backbone": "mobilenet_v1", "alpha": 0.25, "width": 16}, ("a", "b"), (64, 64))
TREE = replace(V2, options={**V2.options, "parents": [-1, 0]})


def network_of(about: Trained) -> nn.Module:
    torch.manual_seed(0)
    return create(about.name, **about.options).eval()


def complaint(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < len(str(path)) + 400
    return text


@pytest.fixture(scope="module")
def v3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(V3, network_of(V3).state_dict(), tmp_path_factory.mktemp("v3") / "x.safetensors")


@pytest.fixture
def changed(v3: Path, tmp_path: Path) -> Callable[..., Path]:
    """The file with another header: fields of it, or all of it as text."""

    def change(text: str | None = None, **fields: Any) -> Path:
        header = {"format": "onelook 1", **(safetensors.safe_open(v3, "pt").metadata() or {})}
        about = json.loads(header["detector"])
        header["detector"] = json.dumps({**about, **fields}) if text is None else text
        path = tmp_path / "changed.safetensors"
        path.write_bytes(safetensors.torch.save(safetensors.torch.load_file(v3), header))
        return path

    return change


@pytest.mark.parametrize("about", [V3, V2, TREE], ids=["v3", "v2", "tree"])
def test_what_is_saved_is_loaded_again(tmp_path: Path, about: Trained) -> None:
    network = network_of(about)
    network.to(memory_format=torch.channels_last)  # as it is trained
    path = save(about, network.state_dict(), tmp_path / "new" / "x.safetensors")
    assert is_trained(path)
    found, other = load(path)
    assert asdict(found) == asdict(about)
    assert not other.training
    assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in network.state_dict().items())
    picture = torch.rand(1, 3, *about.size)
    with torch.no_grad():
        mine, theirs = (one.decode(one(picture), about.size) for one in (network, other))
    for one, other_one in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other_one, rtol=1e-4, atol=1e-4)
    assert [path.name for path in path.parent.iterdir()] == ["x.safetensors"]


def test_other_files_are_no_detectors(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 100)
    (tmp_path / "y").write_bytes(safetensors.torch.save({"a": torch.zeros(1)}, {"format": "onelook 1"}))
    (tmp_path / "z").write_bytes(safetensors.torch.save({"a": torch.zeros(1)}))
    for name in ("x", "y", "z", "gone", ""):
        assert not is_trained(tmp_path / name)
        complaint(tmp_path / name)


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"x\.safetensors: cannot be written: "):
        save(V3, {}, tmp_path / "file" / "x.safetensors")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "yolo_v4"},
        {"name": "yolo_v2"},
        {"name": 5},
        {"name": "yolo_v3\n"},
        {"options": {}},
        {"options": None},
        {"options": {**V3.options, "classes": 3}},
        {"options": {**V3.options, "classes": True}},
        {"options": {**V3.options, "width": "16"}},
        {"options": {**V3.options, "zoom": 1}},
        {"options": {**V3.options, "alpha": 0.5}},
        {"options": {**V3.options, "backbone": "vgg16"}},
        {"names": ["a"]},
        {"names": ["a", "b\n"]},
        {"names": ["a", 5]},
        {"names": None},
        {"size": [64]},
        {"size": [64, 64, 64]},
        {"size": [64, 100]},
        {"size": [64.0, 64]},
        {"size": [1 << 40, 64]},
        {"resize": "crop"},
        {"resize": None},
        {"origin": []},
        {"origin": None},
        {"new": 1},
    ],
    ids=str,
)
def test_a_header_of_something_else_is_refused(changed: Callable[..., Path], fields: dict[str, Any]) -> None:
    complaint(changed(**fields))


@pytest.mark.parametrize("text", ["", "[]", "null", "5", "{}", "{", "[" * 100_000, '{"name": NaN}', '"' + "x" * 9999])
def test_a_header_that_is_no_description_is_refused(changed: Callable[..., Path], text: str) -> None:
    complaint(changed(text))


def test_nothing_is_allocated_for_a_network_that_the_file_does_not_hold(
    changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last layers alone would have 12 GB: a file of a few MB must not make a machine swap."""
    sizes: list[int] = []
    real = nn.Conv2d.__init__

    def watch(self: nn.Conv2d, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        assert self.weight.is_meta
        sizes.append(self.weight.numel())

    monkeypatch.setattr(nn.Conv2d, "__init__", watch)
    names = [""] * 1_000_000
    text = complaint(changed(options={"classes": len(names), "backbone": "darknet53"}, names=names))
    assert "which its network needs" in text
    assert sum(sizes) > 2_000_000_000


def test_a_yolo_v1_of_another_size_is_refused(tmp_path: Path) -> None:
    options = {"classes": 1, "backbone": "mobilenet_v1", "alpha": 0.25, "size": [64, 64]}
    path = save(Trained("yolo_v1", options, ("a",), (128, 128)), {}, tmp_path / "x.safetensors")
    assert "this YOLOv1 takes one size of input alone, 64 x 64; found 128 x 128" in complaint(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {},
        lambda tensors: {**tensors, "more": torch.zeros(1)},
        lambda tensors: {
            key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()
        },
        lambda tensors: {key: tensor[:1] if tensor.ndim else tensor for key, tensor in tensors.items()},
    ],
)
def test_other_tensors_than_the_network_s_are_refused(v3: Path, tmp_path: Path, change: Any) -> None:
    tensors = change(safetensors.torch.load_file(v3))
    path = save(V3, tensors, tmp_path / "x.safetensors")
    complaint(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=8), some, max_size=3),
    max_leaves=6,
)
FIELDS = ("name", "options", "names", "size", "resize")
OPTIONS = (
    "classes",
    "backbone",
    "alpha",
    "width",
    "anchors",
    "separable",
    "scale_x_y",
    "parents",
    "size",
    "boxes",
    "head",
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=2),
    options=st.dictionaries(st.sampled_from(OPTIONS), JSON | st.sampled_from([[[1, 2]], [-1, 0], 2, 0.5]), max_size=2),
    name=st.sampled_from(["yolo_v1", "yolo_v2", "yolo_v3"]),
)
def test_any_header_is_a_detector_or_an_error_of_one_line(
    changed: Callable[..., Path], fields: dict[str, Any], options: dict[str, Any], name: str
) -> None:
    path = changed(**{"name": name, "options": {**V3.options, **options}, **fields})
    try:
        about, network = load(path)
    except CheckpointError as error:
        assert str(error).isprintable()
    else:
        assert about.size
        assert not any(weight.is_meta for weight in network.state_dict().values())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 20_000), what=st.binary(min_size=1, max_size=8))
def test_any_damage_to_the_header_is_an_error_of_one_line_or_none(
    v3: Path, tmp_path: Path, where: int, what: bytes
) -> None:
    data = bytearray(v3.read_bytes())
    data[where : where + len(what)] = what
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(data)
    try:
        load(path)
    except CheckpointError as error:
        assert str(error).isprintable()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_any_truncation_is_an_error_of_one_line(v3: Path, tmp_path: Path, share: float) -> None:
    data = v3.read_bytes()
    path = tmp_path / "short.safetensors"
    path.write_bytes(data[: int(share * len(data))])
    complaint(path)
