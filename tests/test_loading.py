"""`onelook.load`: what it gives for which file, and what it keeps in the cache."""

from collections.abc import Callable
from pathlib import Path

import pytest

import onelook
import tflite_files as files
from onelook import CheckpointError, Classifier, Detector, ModelError, checkpoint, loading, tflite
from tflite_files import backbone, zipped

Make = Callable[..., Path]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONELOOK_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "converted"


@pytest.fixture
def conversions(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was converted; the model file is a stand-in, as that of a session need not be."""
    found: list[Path] = []

    def convert(source: Path, output: Path, class_names: object = None) -> Path:
        found.append(source)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(f"{source} {class_names}")
        return output

    monkeypatch.setattr(loading, "convert", convert)
    return found


def test_a_classifier_of_others_is_converted_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = files.classifier(backbone(), 32, "uint8").save(tmp_path / "x.tflite", zipped(b"a\nb\nc\nd\ne"))
    first = onelook.load(path, engine="onnxruntime")
    assert isinstance(first, Classifier)
    assert first.info.names == ("a", "b", "c", "d", "e")
    assert first.info.size == (32, 32)
    (kept,) = cache.iterdir()
    monkeypatch.delattr(loading, "convert")  # which is not needed again, wherever the file lies
    moved = path.rename(tmp_path / "moved.tflite")
    again = onelook.load(moved, engine="onnxruntime")
    assert isinstance(again, Classifier)
    assert list(cache.iterdir()) == [kept] == [again.info.path]


def test_a_checkpoint_loads_as_a_classifier(cache: Path, tmp_path: Path) -> None:
    source = files.classifier(backbone(), 32).save(tmp_path / "x.tflite")
    path = checkpoint.save(tflite.load(source), tmp_path / "x.safetensors")
    found = onelook.load(str(path), class_names=["v", "w", "x", "y", "z"], engine="onnxruntime")
    assert isinstance(found, Classifier)
    assert found.info.names == ("v", "w", "x", "y", "z")
    assert len(list(cache.iterdir())) == 1


def test_a_model_file_is_loaded_by_its_task(model_file: Make) -> None:
    path = model_file("v3")
    assert isinstance(onelook.load(path, engine="onnxruntime"), Detector)
    with pytest.raises(ModelError, match="is a model to detect, not to classify"):
        Classifier(path, engine="onnxruntime")


@pytest.mark.parametrize("suffix", [".tflite", ".safetensors"])
def test_each_content_and_each_set_of_names_has_its_own_place_in_the_cache(
    conversions: list[Path], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_text("one")
    places = [loading.model_file(path), loading.model_file(path, "coco"), loading.model_file(path, ["a", "b"])]
    path.write_text("two")
    places.append(loading.model_file(path))
    path.write_text("one")
    assert loading.model_file(path) == loading.model_file(str(path)) == places[0]
    assert len(set(places)) == len(conversions) == 4


def test_a_converter_that_was_mended_converts_again(
    conversions: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files, and models by name; a change of a part that does not convert leaves them as they are."""
    package = tmp_path / "onelook"
    (package / "export").mkdir(parents=True)
    (package / "cli").mkdir()
    monkeypatch.setattr(loading, "__file__", str(package / "loading.py"))
    monkeypatch.setattr("onelook.zoo.fetch", lambda name: (Path(name),))
    (tmp_path / "x.tflite").write_text("model")

    def places(code: str, other: str) -> list[Path]:
        (package / "export" / "suppression.py").write_text(code)
        (package / "cli" / "detect.py").write_text(other)
        loading._converter.cache_clear()
        return [loading.model_file(tmp_path / "x.tflite"), loading.model_file("mobilenet_v2_1.0_224")]

    first = places("wrong", "before")
    assert places("wrong", "after") == first
    assert len(conversions) == 2
    assert not set(first) & set(places("right", "after"))
    assert len(conversions) == 4
    loading._converter.cache_clear()


def test_a_file_of_names_that_has_changed_is_read_again(
    conversions: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As do files of the same name in other folders."""
    path, names = tmp_path / "x.tflite", tmp_path / "x.names"
    path.write_text("model")
    names.write_text("cat\n")
    first = loading.model_file(path, names)
    names.write_text("dog\n")
    assert loading.model_file(path, names) != first
    places = set()
    for word in ("cat", "dog"):
        (tmp_path / word).mkdir()
        (tmp_path / word / "own.names").write_text(word)
        monkeypatch.chdir(tmp_path / word)
        places.add(loading.model_file(path, "own.names"))
    assert len(places) == 2


def test_models_are_loaded_by_name_in_any_case(
    conversions: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onelook.zoo.fetch", lambda name: (Path(name),))
    assert loading.model_file("Helmets") == loading.model_file("helmets")
    assert loading.model_file("MobileNet_v2_1.0_224") == loading.model_file("mobilenet_v2_1.0_224")
    assert conversions == [Path("mobilenet_v2_1.0_224")]
    monkeypatch.chdir(tmp_path)
    Path("helmets").mkdir()  # of pictures
    assert loading.model_file("helmets") != Path("helmets")
    Path("helmets").rmdir()
    Path("helmets").touch()  # a file of that name is that file
    assert loading.model_file("helmets") == Path("helmets")


def test_a_failed_conversion_leaves_nothing_in_the_cache(cache: Path, tmp_path: Path) -> None:
    for suffix in (".tflite", ".safetensors"):
        path = tmp_path / f"x{suffix}"
        path.write_text("neither")
        for _ in range(2):
            with pytest.raises(CheckpointError) as caught:
                onelook.load(path)
            assert str(caught.value).startswith(f"{path}: ")
            assert str(caught.value).isprintable()
    assert not list(cache.rglob("*"))


def test_what_cannot_be_loaded_is_said_in_one_line(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.tflite").mkdir()
    sources = (tmp_path / "gone.tflite", tmp_path / "gone.safetensors", tmp_path / "gone.onnx", tmp_path / "folder.tflite",
               tmp_path / f"{'long' * 99}.tflite", tmp_path / f"{'long' * 99}.onnx", tmp_path / "x.cfg")  # fmt: skip
    for source in sources:
        with pytest.raises(ModelError) as caught:
            onelook.load(source)
        assert str(caught.value).startswith(f"{source}: ")
        assert str(caught.value).isprintable()
    with pytest.raises(ModelError, match=r"is a folder; expected a model file, as .*/best\.onnx"):
        onelook.load(tmp_path)
    with pytest.raises(ModelError, match="expected a cfg and its weights; found 3 files"):
        onelook.load(("a.cfg", "b.weights", "c.weights"))  # type: ignore[arg-type]
