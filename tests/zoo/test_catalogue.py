"""The catalogue against the files it speaks of, and the look-up by name."""

import hashlib
import re

import pytest

from onelook.errors import ZooError
from onelook.names import COCO, VOC
from onelook.zoo.catalogue import CATALOGUE, RemoteFile, find

MODELS = list(CATALOGUE.values())
DETECTORS = [model for model in MODELS if model.task == "detect"]
CLASSIFIERS = [model for model in MODELS if model.task == "classify"]
FILES = [file for model in MODELS for file in model.files]


def numbers_in_cfg(text: str) -> dict[str, list[str]]:
    """Every value of every key of a Darknet cfg, without looking at sections."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^\s*(\w+)\s*=\s*([^#\n]*?)\s*$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_catalogue_holds_the_public_detectors_of_every_generation_and_the_mobilenets():
    assert [model.name for model in CLASSIFIERS] == [
        "mobilenet_v1_0.25_128",
        "mobilenet_v1_0.5_160",
        "mobilenet_v1_0.75_192",
        "mobilenet_v2_1.0_224",
    ]
    assert [model.name for model in DETECTORS] == [
        "yolov1",
        "yolov1-tiny",
        "yolov2",
        "yolov2-tiny",
        "yolov2-voc",
        "yolov3",
        "yolov3-spp",
        "yolov3-tiny",
        "yolov4",
        "yolov4-tiny",
        "yolo-fastest-1.1",
        "yolo-fastest-1.1-xl",
        "mobilenetv2-yolov3-nano",
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_addresses_are_https_and_digests_are_digests(file):
    assert file.url.startswith("https://")
    assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert file.size > 0


def test_no_two_files_share_address_or_digest():
    assert len({file.url for file in FILES}) == len(FILES)
    digests = [file.sha256 for file in FILES if file.sha256]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_cfg_and_tflite_file_is_pinned_to_a_commit_and_has_a_digest(model):
    assert model.files[0].sha256
    assert re.search(r"/[0-9a-f]{40}/", model.files[0].url)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_files_at_hand_have_the_size_and_digest_of_the_catalogue(file, shared):
    folder = "weights/tflite" if "coral" in file.url else "weights/darknet" if "dog-qiuqiu" in file.url else "cfg"
    if folder == "cfg" and file.name.endswith(".weights"):
        pytest.skip("these weights are too large to be kept with the others")
    data = shared(f"{folder}/{file.name}").read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)


@pytest.mark.parametrize("model", DETECTORS, ids=lambda model: model.name)
def test_input_size_and_classes_are_those_of_the_cfg(model, shared):
    cfg, _ = model.files
    folder = "weights/darknet" if "dog-qiuqiu" in cfg.url else "cfg"
    values = numbers_in_cfg(shared(f"{folder}/{cfg.name}").read_text())
    assert values["width"] == values["height"] == [str(model.size)]
    assert set(values["classes"]) == {str(len(model.classes))}


@pytest.mark.parametrize("model", CLASSIFIERS, ids=lambda model: model.name)
def test_input_size_and_classes_are_those_of_the_tflite_file(model, shared):
    from onelook import tflite

    found = tflite.load(shared(f"weights/tflite/{model.files[0].name}"))
    assert (found.size, found.names) == ((model.size, model.size), model.classes)


@pytest.mark.parametrize("model", DETECTORS, ids=lambda model: model.name)
def test_classes_are_those_of_the_data_set_that_the_figure_is_from(model):
    assert model.classes in (COCO, VOC)
    if model.published:
        assert ("VOC" in model.published.dataset) == (model.classes == VOC)
        assert 20 < model.published.ap50 < 80
        assert model.published.ap is None or model.published.ap < model.published.ap50


def test_a_model_is_found_by_its_name_in_any_case():
    assert find("YOLOv3-Tiny") is CATALOGUE["yolov3-tiny"]


def test_an_unknown_name_is_answered_with_the_closest():
    with pytest.raises(ZooError, match=r"'yolo3'.*closest: .*yolov3"):
        find("yolo3")
    with pytest.raises(ZooError, match=r"'Helmet'.*closest: helmets"):
        find("Helmet")
    with pytest.raises(ZooError, match="helmets comes with onelook and is not downloaded"):
        find("Helmets")


@pytest.mark.parametrize("name", ["", "zebra", "x" * 10_000_000, "ünïcode\n"])
def test_a_name_like_none_is_answered_with_all_in_one_line(name):
    with pytest.raises(ZooError, match=r"yolov1.*mobilenetv2-yolov3-nano") as caught:
        find(name)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


def test_a_remote_file_is_named_by_the_last_part_of_its_address():
    assert RemoteFile("https://example.org/a/b%20c.cfg?raw=true#x", None, 1).name == "b c.cfg"
