"""Detectors by name, and what is said where there is none."""

from typing import Any

import pytest
import torch

from onelook import NetworkError
from onelook.detectors import (
    ARCHITECTURES,
    FasterRcnn,
    FastRcnn,
    Localizer,
    MaskRcnn,
    RetinaNet,
    SsdLite,
    YoloV1,
    YoloV2,
    YoloV2Loss,
    YoloV3,
    YoloV3Loss,
    create,
    make_loss,
)
from onelook.nn.wordtree import WordTree

SMALL: dict[str, Any] = {"classes": 2, "backbone": "mobilenet_v1", "alpha": 0.25}
SCALE = [[10, 13.5], [16, 30], [33, 23]]


def complaint(name: str, **options: Any) -> str:
    with pytest.raises(NetworkError) as caught, torch.device("meta"):
        create(name, **options)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 400
    return text


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("yolo_v1", YoloV1, {"size": (64, 64)}),
        ("yolo_v1", YoloV1, {"size": [128, 128], "boxes": 3, "head": "local"}),
        ("yolo_v2", YoloV2, {"anchors": SCALE, "width": 16}),
        ("yolo_v2", YoloV2, {"parents": [-1, 0], "separable": False, "width": 16}),
        ("yolo_v3", YoloV3, {"anchors": [SCALE] * 3, "width": 16, "scale_x_y": 1.1}),
        ("yolo_v3", YoloV3, {"anchors": None, "width": None, "separable": None, "alpha": 1}),
        ("ssdlite", SsdLite, {}),
        ("retinanet", RetinaNet, {"width": 16, "smallest": 8}),
        ("retinanet", RetinaNet, {"separable": False, "width": None}),
        ("fast_rcnn", FastRcnn, {"width": 16, "pyramid": 8, "proposals": 10}),
        ("fast_rcnn", FastRcnn, {"width": 16, "pyramid": 0, "roi": "align"}),
        ("faster_rcnn", FasterRcnn, {"width": 16, "pyramid": 8, "proposals": 10}),
        ("faster_rcnn", FasterRcnn, {"width": 16, "pyramid": 0, "roi": "align", "anchors": [SCALE]}),
        ("mask_rcnn", MaskRcnn, {"width": 16, "pyramid": 8, "anchors": [SCALE] * 5}),
        ("localizer", Localizer, {"size": [64, 96], "width": 8}),
    ],
)
def test_every_kind_is_built_and_decodes(name: str, kind: type, options: dict[str, Any]) -> None:
    network = create(name, **{**SMALL, **options}).eval()
    assert isinstance(network, kind)
    assert network.classes == 2
    size = tuple(options.get("size", (64, 64)))
    network.check_size(size)
    with torch.no_grad():
        boxes, scores = network.decode(network(torch.rand(1, 3, *size)), size)  # type: ignore[arg-type]
    assert boxes.shape[2] == 4
    assert scores.shape == (*boxes.shape[:2], 2)


def test_the_paper_s_networks_are_the_defaults() -> None:
    with torch.device("meta"):
        channels = {name: create(name, classes=20).backbone.channels[-1] for name in ARCHITECTURES}
    assert channels == {
        "yolo_v1": 1024,
        "yolo_v2": 1024,
        "yolo_v3": 1024,
        "ssd": 512,
        "ssdlite": 1280,
        "retinanet": 2048,
        "m2det": 512,
        "fast_rcnn": 512,
        "faster_rcnn": 512,
        "mask_rcnn": 2048,
        "localizer": 512,
    }


def test_a_tree_is_there_where_only_the_weights_are_to_come() -> None:
    """What a file is loaded into is built without memory; the tree's tables are in no file."""
    with torch.device("meta"):
        network = create("yolo_v2", **{**SMALL, "parents": [-1, 0], "width": 16})
    assert isinstance(network, YoloV2)
    assert isinstance(network.tree, WordTree)
    assert network.tree.up.tolist() == [2, 0, 2]
    assert next(network.parameters()).is_meta


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yolo_v4", "no detector named 'yolo_v4'; closest: "),
        ("YOLOv3", "no detector named 'YOLOv3'; "),
        ("", "no detector named ''; known: yolo_v1, yolo_v2, yolo_v3"),
        ("x" * 1000, "no detector named 'xxx"),
    ],
)
def test_an_unknown_name_says_which_there_are(name: str, expected: str) -> None:
    assert complaint(name, classes=2).startswith(expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("yolo_v3", {"zoom": 1}),
        ("yolo_v3", {"size": (64, 64)}),
        ("yolo_v3", {"parents": [-1, -1]}),
        ("yolo_v1", {"anchors": SCALE}),
        ("yolo_v1", {"scale_x_y": 1.1}),
        ("yolo_v2", {"x" * 1000: 1}),
    ],
)
def test_an_option_of_another_network_is_refused(name: str, options: dict[str, Any]) -> None:
    assert f"{name} takes no " in complaint(name, **SMALL, **options)


@pytest.mark.parametrize("classes", [0, -1, 1_000_001, 10**30, 2.0, "2", None, True, [2]])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_classes_out_of_range_are_refused(name: str, classes: Any) -> None:
    assert complaint(name, classes=classes).startswith(f"classes of {name} must be from 1 to 1000000; found ")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("yolo_v3", {"backbone": name}) for name in ("darknet", "", 5, None, ["darknet53"])),
        *(("yolo_v3", {"alpha": alpha}) for alpha in (0, -1, 1.5, float("nan"), "a", True)),
        *(("yolo_v3", {"width": width}) for width in (0, -8, 3, 8.5, 10**9, "8", True)),
        *(("yolo_v3", {"separable": value}) for value in ("no", 1, [])),
        *(("yolo_v3", {"scale_x_y": value}) for value in (0.5, -1, 3, float("nan"), float("inf"), "1", None)),
        *(
            ("yolo_v3", {"anchors": value})
            for value in ([], SCALE, [SCALE] * 2, [SCALE] * 4, [SCALE, SCALE, []], "abc")
        ),
        *(("yolo_v2", {"anchors": value}) for value in ([], [SCALE], [[1]], [[1, 2, 3]], [[1, -2]], [[0, 1]], 5, {})),
        *(("yolo_v2", {"anchors": [[1, value]]}) for value in (float("nan"), float("inf"), "1", None, 1e30)),
        *(
            ("yolo_v2", {"parents": value})
            for value in ([], [-1], [-1, 1], [-1, 5], [-2, 0], [-1, 0, 0], [-1, 0.0], "ab")
        ),
        *(
            ("yolo_v1", {"size": value})
            for value in ([64], [64, 64, 64], [100, 100], [64, 128], [0, 0], [-64, -64], 64)
        ),
        *(("yolo_v1", {"size": value}) for value in (["64", "64"], [64.0, 64.0], None)),
        *(("yolo_v1", {"boxes": value}) for value in (0, -1, 1.5, 10**9, None)),
        *(("yolo_v1", {"head": value}) for value in ("", "global", None, 1)),
        *(("ssd", {"side": value}) for value in (0, 320, 300.5, "300", None, [300])),
        *(("m2det", {"side": value}) for value in (300, None)),
        *(("m2det", {"levels": value}) for value in (0, 65, None)),
        *(("ssdlite", {"scales": value}) for value in ([], [0], [1, -1], ["a"], 3, [0.5])),
        *(("retinanet", {"smallest": value}) for value in (0, -1, "a", None, float("inf"))),
        *(("faster_rcnn", {"roi": value}) for value in ("", "cut", 1)),
        *(("faster_rcnn", {"proposals": value}) for value in (0, -1, 1.5)),
        *(("faster_rcnn", {"anchors": value}) for value in ([], SCALE, [SCALE] * 3, [[[0, 1]]])),
        *(("fast_rcnn", {"proposals": value}) for value in (0, 2001, None)),
        ("fast_rcnn", {"anchors": [SCALE]}),
        ("mask_rcnn", {"pyramid": 0}),
    ],
    ids=str,
)
def test_an_option_out_of_range_is_said_in_one_line(name: str, options: dict[str, Any]) -> None:
    complaint(name, **{**SMALL, **options})


def test_alpha_is_for_mobilenets() -> None:
    assert complaint("yolo_v3", classes=2, backbone="darknet53", alpha=0.5).startswith("darknet53 takes no 'alpha'")


# Losses.


def test_a_loss_has_what_its_network_has() -> None:
    network = create("yolo_v3", **SMALL, width=16, scale_x_y=1.2, anchors=[SCALE] * 3)
    loss = make_loss(network, box="ciou", focal=None, share=0.5, alpha=None)
    assert isinstance(loss, YoloV3Loss)
    assert isinstance(network, YoloV3)
    assert (loss.anchors, loss.scale_x_y, loss.box, loss.share) == (network.anchors, 1.2, "ciou", 0.5)
    tree = create("yolo_v2", **SMALL, width=16, parents=[-1, 0])
    loss = make_loss(tree)
    assert isinstance(loss, YoloV2Loss)
    assert isinstance(tree, YoloV2)
    assert loss.tree is tree.tree


@pytest.mark.parametrize(
    "switches",
    [
        {"box": "round"},
        {"box": 1},
        {"focal": "box"},
        {"gamma": -1.0},
        {"gamma": float("nan")},
        {"anchors": ()},
        {"a": 1},
    ],
    ids=str,
)
def test_a_switch_out_of_range_is_said_in_one_line(switches: dict[str, Any]) -> None:
    with pytest.raises(NetworkError) as caught:
        make_loss(create("yolo_v3", **SMALL, width=16), **switches)
    assert str(caught.value).isprintable()
