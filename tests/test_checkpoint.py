"""Checkpoints, written and read again, and files that are damaged or of others."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from onelook import CheckpointError, checkpoint
from onelook.backbones import create
from onelook.checkpoint import Checkpoint

OPTIONS: dict[str, dict[str, Any]] = {
    "mobilenet_v1": {"alpha": 0.25, "reduction": 16},
    "mobilenet_v2": {"alpha": 0.35, "reduction": 4},
    "vgg16": {"picture": 32},
    "xception": {},
    "se_resnet50": {},
    "darknet19": {"reduction": 16},
    "darknet53": {},
}


def a_checkpoint(name: str = "mobilenet_v1", **options: Any) -> Checkpoint:
    """One with three classes whose every tensor holds other numbers."""
    options = {"classes": 3, **options}
    with torch.device("meta"):
        network = create(name, **options)
    network.to_empty(device="cpu")
    for i, tensor in enumerate(network.state_dict().values()):
        pattern = torch.arange(tensor.numel()).remainder_(1000 + i) + i
        tensor.copy_((pattern / 7 if tensor.is_floating_point() else pattern).view(tensor.shape))
    return Checkpoint(
        network=network.eval(),
        name=name,
        options=options,
        names=("cat", "chien, ça", "鳥"),
        size=(32, 32) if name == "vgg16" else (96, 160),
        mean=(1.5, 0.1, -3.0),
        std=(127.5, 1 / 3, 255.0),
        crop=0.875,
        origin={"by": "a test", "of": [1, None, {"x": "ü"}]},
    )


def complaint(path: Path, call: Callable[[Path], object] = checkpoint.load) -> str:
    """What is said of a file that is refused: one line of bearable length that begins with the path."""
    with pytest.raises(CheckpointError) as caught:
        call(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < len(str(path)) + 500
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_saved_is_read_again_to_the_bit(tmp_path: Path, name: str) -> None:
    saved = a_checkpoint(name, **OPTIONS[name])
    path = checkpoint.save(saved, tmp_path / "new" / "folder" / "x.safetensors")
    found = checkpoint.load(path)
    for one in dataclasses.fields(Checkpoint):
        if one.name != "network":
            assert getattr(found, one.name) == getattr(saved, one.name)
    assert found.classes == 3
    assert type(found.network) is type(saved.network)
    assert not any(module.training for module in found.network.modules())
    before, after = saved.network.state_dict(), found.network.state_dict()
    assert list(before) == list(after)
    for key, tensor in before.items():
        assert after[key].dtype == tensor.dtype
        assert torch.equal(after[key], tensor), key
    assert all(parameter.requires_grad for parameter in found.network.parameters())
    assert [x.name for x in path.parent.iterdir()] == ["x.safetensors"]
    path.unlink()


def test_a_checkpoint_read_again_computes_the_same(tmp_path: Path) -> None:
    network = create("mobilenet_v1", alpha=0.25, classes=3).eval()
    saved = dataclasses.replace(a_checkpoint(alpha=0.25), network=network)
    found = checkpoint.load(checkpoint.save(saved, tmp_path / "x.safetensors"))
    image = torch.rand(2, 3, 64, 64)
    assert torch.equal(found.network(image), network(image))


def test_the_file_is_ordinary_safetensors_with_json_in_its_header(tmp_path: Path) -> None:
    saved = a_checkpoint(alpha=0.25)
    path = checkpoint.save(saved, tmp_path / "x.safetensors")
    with safetensors.safe_open(path, "np") as file:
        header = file.metadata()
    assert header["format"] == "onelook/1"
    about = json.loads(header["network"])
    assert about["names"] == ["cat", "chien, ça", "鳥"]
    assert (about["name"], about["options"]) == ("mobilenet_v1", {"classes": 3, "alpha": 0.25})
    assert (about["size"], about["crop"]) == ([96, 160], 0.875)
    tensors = safetensors.torch.load_file(path)
    assert tensors["head.1.bias"].tolist() == saved.network.state_dict()["head.1.bias"].tolist()


def test_names_that_are_not_known_stay_unknown(tmp_path: Path) -> None:
    saved = dataclasses.replace(a_checkpoint(alpha=0.25), names=None, origin={})
    found = checkpoint.load(checkpoint.save(saved, tmp_path / "x.safetensors"))
    assert (found.names, found.origin) == (None, {})


@pytest.mark.parametrize("method", ["replace", "write_bytes"])
def test_a_failure_to_write_leaves_the_old_file_and_no_part_of_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_text("old")

    def full(self: Path, argument: object) -> None:
        if isinstance(argument, bytes):
            with self.open("wb") as file:
                file.write(argument[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, method, full)
    message = complaint(path, lambda path: checkpoint.save(a_checkpoint(alpha=0.25), path))
    assert message == "cannot be written: No space left on device"
    assert path.read_text() == "old"
    assert [x.name for x in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for place in ("folder", "file/x.safetensors", "file/folder/x.safetensors", "long" * 99):
        message = complaint(tmp_path / place, lambda path: checkpoint.save(a_checkpoint(alpha=0.25), path))
        assert message.startswith("cannot be written: ")
    assert sorted(x.name for x in tmp_path.rglob("*")) == ["file", "folder"]


# ---- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of the smallest network."""
    path = checkpoint.save(a_checkpoint(alpha=0.25), tmp_path_factory.mktemp("whole") / "x.safetensors")
    return path.read_bytes()


@pytest.fixture(scope="module")
def state(whole: bytes) -> dict[str, Tensor]:
    return safetensors.torch.load(whole)


def about(**changes: Any) -> str:
    """The header's JSON with other values."""
    one = a_checkpoint(alpha=0.25)
    fields = {x.name: getattr(one, x.name) for x in dataclasses.fields(one) if x.name != "network"}
    return json.dumps(fields | changes)


def write(path: Path, tensors: dict[str, Tensor], text: str) -> Path:
    path.write_bytes(safetensors.torch.save(tensors, {"format": "onelook/1", "network": text}))
    return path


ALPHA = {"alpha": 0.25}
INFINITE, NO_NUMBER, HUGE = math.inf, math.nan, 10**400
WRONG: dict[str, list[Any]] = {
    "name": [None, 5, "", "mobilenet_v3", "mobilenet_v2", "x\ny", ["mobilenet_v1"], "x" * 10_000],
    "options": [
        *(None, 5, "ab", [], {}, ALPHA, [[1, 2], ["classes", 3]]),
        *({**ALPHA, "classes": x} for x in (True, None, "3", 3.0, -1, 2, 10**9, HUGE, [3], NO_NUMBER)),
        *({"classes": 3, "alpha": x} for x in ("x", None, [0.25], {}, 0, -1, 0.3, 2, HUGE, NO_NUMBER, INFINITE, True)),
        *({**ALPHA, "classes": 3, "reduction": x} for x in ("x", 0.5, -1, 16, HUGE, [1])),
        *({**ALPHA, "classes": 3, key: 1} for key in ("picture", "depth", "name", "self", "a\nb", "x" * 10_000)),
    ],
    "names": [5, True, "cat", {"a": 1, "b": 2, "c": 3}, ["a", "b"], [], ["a", "b", None], ["a", "b", ["c"]],
              ["a", "b\n", "c"], ["a", "b\x1b[31m", "c"], ["a"] * 100_000],
    "size": [None, 5, "64", [], [64], [64, 64, 64], [64.5, 64], [0, 64], [-64, 64], [None, 1],
             [INFINITE, 64], [NO_NUMBER, 64], [HUGE, 64], {"64": 0, "32": 0}, [64] * 100_000],
    "mean": [None, 5, "123", [1, 2], [1, 2, 3, 4], [1, 2, None], [1, 2, HUGE], [1, 2, NO_NUMBER],
             [1, INFINITE, 3], [[1], 2, 3]],
    "std": [None, 5, "123", [1, 2], [1, 2, 3, 4], [1, 2, None], [1, 2, HUGE], [1, 2, NO_NUMBER],
            [1, INFINITE, 3], [0, 1, 1], [1, 0.0, 1]],
    "crop": [None, "x", [], HUGE, NO_NUMBER, INFINITE, 0, -0.5, 1.5],
    "origin": [None, 5, "ab", [5], [[1, 2]]],
}  # fmt: skip


@pytest.mark.parametrize("field", WRONG)
def test_a_header_with_a_wrong_value_is_refused(tmp_path: Path, state: dict[str, Tensor], field: str) -> None:
    assert checkpoint.load(write(tmp_path / "x", state, about())).name == "mobilenet_v1"
    wrongly_taken = []
    for value in WRONG[field]:
        path = write(tmp_path / "x", state, about(**{field: value}))
        try:
            complaint(path)
        except Exception as error:  # of any kind: all that are not what is wanted are shown at once
            wrongly_taken.append(f"{str(value)[:60]!r} gives {type(error).__name__}: {str(error)[:80]}")
        except pytest.fail.Exception:
            wrongly_taken.append(f"{str(value)[:60]!r} is taken")
    assert not wrongly_taken, "\n".join(wrongly_taken)


@pytest.mark.parametrize("field", WRONG)
def test_a_header_without_a_field_is_refused(tmp_path: Path, state: dict[str, Tensor], field: str) -> None:
    fields = json.loads(about())
    del fields[field]
    assert field in complaint(write(tmp_path / "x", state, json.dumps(fields)))


@pytest.mark.parametrize("text", ["", "[]", "null", "5", '"name"', "{", "{}", "\0", "[" * 100_000, '{"a":' * 50_000])
def test_a_header_that_is_no_json_object_is_refused(tmp_path: Path, state: dict[str, Tensor], text: str) -> None:
    assert "header is damaged" in complaint(write(tmp_path / "x", state, text))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["classes", "alpha", "x"]), inner),
    max_leaves=6,
)


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(field=st.sampled_from(sorted(WRONG)), value=JSON)
def test_any_json_in_a_header_is_a_checkpoint_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Tensor], field: str, value: Any
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "any.safetensors", state, about(**{field: value}))
    try:
        found = checkpoint.load(path)
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: ")
        assert str(error).isprintable()
    else:  # then it can be written and read again
        again = checkpoint.load(checkpoint.save(found, path))
        assert dataclasses.replace(again, network=found.network) == found


@pytest.mark.parametrize("option", ["x", 0.5, 10**9, 10**30, -64, 100, None, True])
def test_a_side_that_vgg_16_cannot_have_is_refused(tmp_path: Path, state: dict[str, Tensor], option: Any) -> None:
    complaint(write(tmp_path / "x", state, about(name="vgg16", options={"classes": 3, "picture": option})))


def floating(change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Changes every tensor of floating point."""
    return lambda state: {key: change(x) if x.is_floating_point() else x for key, x in state.items()}


TENSORS: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "none": lambda state: {},
    "one missing": lambda state: {key: x for key, x in state.items() if key != "head.1.bias"},
    "one more": lambda state: {**state, "head.2.bias": torch.zeros(3)},
    "one more with a long name": lambda state: {**state, "x\ny" * 1000: torch.zeros(3)},
    "one with another name": lambda state: {key.replace("head.1.bias", "head.1.bia"): x for key, x in state.items()},
    "another shape": lambda state: {**state, "head.1.bias": torch.zeros(4)},
    "another rank": lambda state: {**state, "head.1.bias": torch.zeros(1, 3)},
    "no elements": lambda state: {**state, "head.1.bias": torch.zeros(0)},
    "float16": floating(Tensor.half),
    "float64": floating(Tensor.double),
    "float8": floating(lambda x: x.to(torch.float8_e4m3fn)),
    "complex": floating(lambda x: x.to(torch.complex64)),
    "int32": floating(Tensor.int),
    "bool": floating(Tensor.bool),
    "one of float16": lambda state: {**state, "head.1.bias": torch.zeros(3).half()},
    "one of int64": lambda state: {**state, "head.1.bias": torch.zeros(3).long()},
    "counters of floating point": lambda state: {key: x.float() for key, x in state.items()},
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_are_not_those_of_the_network_are_refused(
    tmp_path: Path, state: dict[str, Tensor], name: str
) -> None:
    complaint(write(tmp_path / "x", TENSORS[name](state), about()))


def test_a_damaged_file_is_refused(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "x.safetensors"
    random = torch.Generator().manual_seed(0)
    hostile = b'{"x":{"dtype":"\\u001b[31m\\n","shape":[1],"data_offsets":[0,4]}}'  # which safetensors repeats
    lengths = torch.randint(len(whole), (20,), generator=random).tolist()
    for data in (
        *(whole[:length] for length in (*range(0, 5000, 311), *lengths, len(whole) - 1)),
        whole + b"\0",
        whole[:8] + b"}" + whole[9:],
        (1 << 40).to_bytes(8, "little") + whole[8:],
        b"\xff" * 8 + whole[8:],
        len(hostile).to_bytes(8, "little") + hostile + bytes(4),
        bytes(1000),
        b"PK\x03\x04" * 100,
    ):
        path.write_bytes(data)
        assert complaint(path).startswith("cannot be read as safetensors: ")


def test_safetensors_of_others_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "x.safetensors"
    for header in (None, {}, {"format": "pt"}, {"format": "onelook/2", "network": about()}, {"format": "onelook/1"}):
        path.write_bytes(safetensors.torch.save(state, header))
        assert complaint(path) == "is not a checkpoint of onelook's format 'onelook/1'"


def test_what_is_no_file_is_said_in_one_line(tmp_path: Path) -> None:
    assert complaint(tmp_path / "gone.safetensors") == "there is no such file"
    assert complaint(tmp_path) == "there is no such file"
    complaint(tmp_path / f"{'long' * 99}.safetensors")
