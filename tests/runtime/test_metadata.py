"""Metadata changed in a model file, against onnx's own reader; files that are none."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onelook.errors import Error, ModelError
from onelook.runtime.metadata import set_metadata

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def read(path: Path) -> tuple[dict[str, str], bytes]:
    """The metadata, and everything else of the model."""
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    return metadata, model.SerializeToString(deterministic=True)


@pytest.fixture
def copy(model_file: Callable[..., Path], tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_file("v3").read_bytes())
    return path


def test_only_what_is_named_changes(copy: Path) -> None:
    before, network = read(copy)
    copy.chmod(0o640)
    assert set_metadata(copy, score_threshold="0.3125", note="größer") == copy
    after, same = read(copy)
    assert after == {**before, "score_threshold": "0.3125", "note": "größer"}
    assert same == network
    assert copy.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in copy.parent.iterdir()] == ["model.onnx"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])), max_size=4
    )
)
def test_any_texts_are_read_back(copy: Path, values: dict[str, str]) -> None:
    values.pop("format", None)
    set_metadata(copy, **values)
    assert read(copy)[0].items() >= values.items()


def test_a_link_stays_a_link(copy: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.onnx"
    link.symlink_to(copy)
    assert set_metadata(link, score_threshold="0.5") == copy
    assert link.is_symlink()
    assert read(copy)[0]["score_threshold"] == "0.5"


def test_every_cut_is_noticed_or_leaves_the_start_of_the_fields(copy: Path, tmp_path: Path) -> None:
    data = copy.read_bytes()
    cut = tmp_path / "cut.onnx"
    for length in [0, 1, 2, 50, len(data) // 2, len(data) - 100, len(data) - 1]:
        cut.write_bytes(data[:length])
        with pytest.raises(ModelError, match=r"cut\.onnx: (is damaged|is not a model file)"):
            set_metadata(cut, score_threshold="0.5")
        assert cut.read_bytes() == data[:length]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        set_metadata(path, score_threshold="0.5")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == data


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: cannot be read: No such file"):
        set_metadata(tmp_path / "none.onnx", score_threshold="0.5")
    with pytest.raises(Error, match="cannot be read: Is a directory"):
        set_metadata(tmp_path, score_threshold="0.5")
