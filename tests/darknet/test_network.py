import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import DETECTORS, TREE
from onelook import DarknetError
from onelook.darknet import Darknet, read_cfg

Shared = Callable[[str], Path]


def network(folder: Path, text: str, device: str = "cpu") -> Darknet:
    path = folder / "net.cfg"
    (folder / "9.tree").write_text(TREE)
    path.write_text(text)
    return Darknet(path, device=device)


# Billions of operations (two a multiply-add) on Darknet's site, in the YOLOv2 paper's and AlexeyAB's tables.
@pytest.mark.parametrize(
    ("name", "size", "billions"),
    [
        ("yolov3", 320, 38.97),
        ("yolov3", 416, 65.86),
        ("yolov3", 608, 140.69),
        ("yolov3-spp", 608, 141.45),
        ("yolov3-tiny", 416, 5.56),
        ("yolov2", 608, 62.94),
        ("yolov2-tiny", 416, 5.41),
        ("yolov4", 608, 128.5),
        ("yolov4-tiny", 416, 6.9),
        ("darknet19", 256, 7.29),
        ("darknet53", 256, 18.57),
        ("vgg-16", None, 30.94),
    ],
)
def test_operations_are_the_published_ones(shared: Shared, name: str, size: int | None, billions: float) -> None:
    found = 2 * Darknet(shared(f"cfg/{name}.cfg"), device="meta", size=size).multiply_adds / 1e9
    assert found == pytest.approx(billions, rel=0.002)


# Numbers in Darknet's public weight files: their size in bytes less the header, over 4.
@pytest.mark.parametrize(
    ("name", "size", "header"),
    [
        ("yolov1", 789312988, 16),
        ("yolov2", 203934260, 16),
        ("yolov3", 248007048, 20),
        ("yolov3-tiny", 35434956, 20),
        ("yolov4", 257717640, 20),
        ("yolov4-tiny", 24251276, 20),
    ],
)
def test_weights_are_as_many_as_in_the_published_files(shared: Shared, name: str, size: int, header: int) -> None:
    model = Darknet(shared(f"cfg/{name}.cfg"), device="meta")
    statistics = sum(
        buffer.numel() for name, buffer in model.named_buffers() if name.endswith(("running_mean", "running_var"))
    )
    assert (model.parameters_count + statistics) * 4 + header == size
    assert model.parameters_count == sum(parameter.numel() for parameter in model.parameters())


LETTERBOXED = ("yolov2", "yolov2-tiny", "yolov2-voc", "yolov3", "yolov3-spp", "yolov3-tiny", "yolo9000")
STRETCHED = ("yolov1", "yolov1-tiny", "yolov4", "yolov4-tiny")


def test_pictures_are_letterboxed_where_darknet_does(shared: Shared) -> None:
    for names, letterboxed in ((LETTERBOXED, True), (STRETCHED, False)):
        for name in names:
            cfg = read_cfg(shared(f"cfg/{name}.cfg"))
            if name == "yolo9000":  # its tree is not there
                del cfg.layers[-1].options["tree"]
            assert Darknet(cfg, device="meta").letterboxed == letterboxed, name
    for cfg in shared("weights/darknet").glob("*.cfg"):
        assert not Darknet(cfg, device="meta").letterboxed, cfg


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_network_that_says_so_is_letterboxed_or_stretched(tmp_path: Path, kind: str) -> None:
    for says in (False, True):
        text = DETECTORS[kind].replace("[net]", f"[net]\nletter_box={says:d}")
        assert network(tmp_path, text, "meta").letterboxed == says
    assert network(tmp_path, DETECTORS[kind], "meta").letterboxed == (kind in ("v2", "tree", "v3"))


def test_every_row_has_the_shape_that_its_module_gives(tmp_path: Path) -> None:
    for text in DETECTORS.values():
        model = network(tmp_path, text).eval()
        x, kept = torch.rand(2, 3, 64, 64), {}
        kept[-1] = x
        for row, layer in zip(model.rows, model.layers, strict=True):
            kept[row.index] = layer(*(kept[source] for source in row.sources))
            assert tuple(kept[row.index].shape) == (2, *row.shape), row.section.name


def test_heads_decode_the_maps_of_a_whole_batch(tmp_path: Path) -> None:
    for kind, text in DETECTORS.items():
        model = network(tmp_path, text).eval()
        boxes, scores = model.decode(model(torch.rand(2, 3, 64, 64)), (64, 64))
        assert boxes.shape[:2] == scores.shape[:2], kind
        classes = 9 if kind == "tree" else 3
        assert (model.task, model.classes, scores.shape[2]) == ("detect", classes, classes)


def test_gradients_reach_every_parameter(tmp_path: Path) -> None:
    for text in DETECTORS.values():
        model = network(tmp_path, text)
        torch.cat([raw.flatten() for raw in model(torch.rand(2, 3, 64, 64))]).square().sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_network_of_one_channel_sees_the_brightness(tmp_path: Path) -> None:
    """As one of three whose first kernels are the shares of red, green and blue in it."""
    text = DETECTORS["v3"]
    grey = network(tmp_path, text.replace("channels=3", "channels=1")).eval()
    colour = network(tmp_path, text).eval()
    shares = torch.tensor((0.299, 0.587, 0.114))[:, None, None]
    first = "layers.0.conv.weight"
    colour.load_state_dict({key: x * shares if key == first else x for key, x in grey.state_dict().items()})
    picture = torch.rand(2, 3, 64, 64)
    for found, expected in zip(grey(picture), colour(picture), strict=True):
        torch.testing.assert_close(found, expected)


def test_options_of_either_spelling_mean_the_same(tmp_path: Path) -> None:
    for spelling in ("weights_normalization", "weights_normalizion"):
        last = network(tmp_path, TWO + f"[shortcut]\nfrom=-1\nweights_type=per_feature\n{spelling}=relu\n").layers[-1]
        assert (last.normalization, last.weight.shape) == ("relu", (2, 1))
    for option in ("batch_normalize=1", "batch_normalize=2", "cbn=1"):
        assert network(tmp_path, TWO.replace("filters", f"{option}\nfilters")).layers[0].norm is not None


def test_a_network_prints_its_layers(tmp_path: Path) -> None:
    text = str(network(tmp_path, DETECTORS["v2"]))
    assert re.search(r"Reorg\(stride=2", text)
    assert "Head(region, classes=3)" in text


def test_a_tree_that_is_missing_or_of_another_size_is_refused(tmp_path: Path) -> None:
    text = DETECTORS["tree"]
    with pytest.raises(DarknetError, match=r"\[region\] has 8 classes; its tree .*9\.tree has 9"):
        network(tmp_path, text.replace("classes=9", "classes=8").replace("filters=28", "filters=26"))
    with pytest.raises(DarknetError, match=r"\[region\] needs the tree file 'data/8\.tree'; put it beside"):
        network(tmp_path, text.replace("9.tree", "8.tree"))


@pytest.mark.parametrize("name", ["x" * 5000, "9.tree/x", "\33[31m", "."])
def test_a_tree_of_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DarknetError, match=r"\[region\] needs the tree file '") as error:
        network(tmp_path, DETECTORS["tree"].replace("data/9.tree", name))
    assert str(error.value).isprintable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_tree_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locked.tree").touch(mode=0)
    with pytest.raises(DarknetError, match=r"cannot read the tree file 'locked\.tree': Permission denied"):
        network(tmp_path, DETECTORS["tree"].replace("data/9.tree", "locked.tree"))


TWO = "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=4\nactivation=linear\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[net]\nwidth=8\n[avgpool]\n", ":1: [net] needs 'height'"),
        ("[net]\nwidth=8\nheight=99999\n[avgpool]\n", ":3: [net] needs 'height', an integer from 1 to 16384"),
        (TWO + "[lstm]\n", ":7: [lstm] is not a layer that onelook knows"),
        (TWO + "[convolutional]\nsize=3\n", ":7: [convolutional] needs 'filters'"),
        (TWO + "[convolutional]\nfilters=4\nactivation=cosine\n", ":9: [convolutional] needs 'activation', one of"),
        (TWO + "[convolutional]\nfilters=4\ngroups=3\n", ":9: [convolutional] needs 'groups' that divides"),
        (TWO + "[convolutional]\nfilters=4\nsize=9\n", "its output would be empty: 4 x 0 x 0"),
        (TWO + "[convolutional]\nfilters=4\nantialiasing=1\n", ":9: [convolutional] has 'antialiasing', which"),
        (TWO + "[maxpool]\nsize=2\nstride=2\nantialiasing=1\n", ":10: [maxpool] has 'antialiasing', which"),
        (TWO + "[route]\nlayers=1\n", ":8: [route] is layer 1; its 'layers' names layer 1, which is not above it"),
        (TWO + "[route]\nlayers=-2\n", "names layer -2, which is not above it"),
        (TWO + "[maxpool]\nsize=2\nstride=2\n[route]\nlayers=0,1\n", "joins maps of different size: 4 x 8 x 8 of"),
        (TWO + "[shortcut]\nfrom=\n", ":8: [shortcut] needs 'from', integers"),
        (TWO + "[reorg]\nstride=3\n", ":8: [reorg] has a stride 3 that does not divide"),
        (TWO + "[yolo]\nclasses=3\nanchors=1,2\n", ":7: [yolo] expects 8 x 8 x 8 numbers (1 anchors of 5 + 3 classes)"),
        (TWO + "[yolo]\nclasses=1\nanchors=1,2\nmask=1\n", ":10: [yolo] has 1 anchors; its 'mask' names others"),
        (TWO + "[yolo]\nclasses=1\nanchors=1,2,3\n", "pairs of width and height above 0"),
        (TWO + "[region]\nclasses=1\nanchors=1,2\ntree=no.tree\n", "expects 6 x 8 x 8"),
        (TWO + "[shortcut]\nfrom=-1\nbeta=2\n", ":9: [shortcut] has 'beta' other than 1, which onelook does not have"),
        (TWO + "[shortcut]\nfrom=-1\nweights_normalizion=x\n", ":9: [shortcut] needs 'weights_normalizion', one of"),
        (
            TWO + "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\nanchors=1,2\nnew_coords=1\n",
            ":13: [yolo] has new_coords, which needs activation=logistic above; found 'linear'",
        ),
        (
            TWO
            + "[convolutional]\nfilters=6\n[yolo]\nclasses=1\nanchors=1,2\n"
            + "[convolutional]\nfilters=7\n[yolo]\nclasses=2\nanchors=1,2\n",
            ":15: [yolo] has 2 classes; [yolo] in line 9 has 1, and all heads must have the same",
        ),
        (TWO + "[softmax]\ngroups=7\n", "cannot cut 256 numbers into 7 equal groups"),
    ],
)
def test_wrong_networks_are_refused_with_line_section_and_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DarknetError) as error:
        network(tmp_path, text, device="meta")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "[net]\nwidth=16384\nheight=16384\n[convolutional]\nfilters=1048576\n",
        "[net]\nwidth=8\nheight=8\nchannels=1024\n" + "[connected]\noutput=1048576\n" * 3,
        TWO + "[upsample]\nstride=255\n" * 50,
        TWO + "[route]\nlayers=" + ",".join(["-1"] * 60) + "\n" + "[route]\nlayers=-1,-1,-1,-1\n" * 1000,
        TWO + "[maxpool]\nsize=1000000000\nstride=1\n",
        TWO + "[convolutional]\nfilters=1000\nsize=255\npadding=255\n" * 100,
        TWO + "[yolo]\nclasses=1000000\nnum=1000000\nanchors=1,1\n",
        TWO + "[route]\nlayers=" + ",".join(["-1"] * 5000) + "\n",
    ],
)
def test_a_few_hostile_kilobytes_are_refused_without_allocating(tmp_path: Path, text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DarknetError):
            network(tmp_path, text)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


OPTIONS = st.sampled_from(
    "filters,size,stride,pad,groups,layers,from,anchors,mask,classes,num,output,side,coords,probability,tree".split(",")
)
SECTIONS = st.sampled_from(
    "convolutional,connected,local,maxpool,route,shortcut,reorg,upsample,yolo,region,detection,softmax,crop".split(",")
)
VALUES = st.sampled_from("-1 0 1 2 3 4 7 64 1000 -1,-2 1,2,3,4 x".split(" "))


@settings(max_examples=300, deadline=None)
@given(layers=st.lists(st.tuples(SECTIONS, st.dictionaries(OPTIONS, VALUES)), min_size=1, max_size=6))
def test_any_combination_of_layers_builds_or_is_a_darknet_error(
    tmp_path_factory: pytest.TempPathFactory, layers: list[tuple[str, dict[str, str]]]
) -> None:
    text = TWO + "".join(f"[{name}]\n" + "".join(f"{k}={v}\n" for k, v in opts.items()) for name, opts in layers)
    try:
        model = network(tmp_path_factory.getbasetemp(), text, device="meta")
    except DarknetError as error:
        assert "\n" not in str(error)
    else:
        assert len(model.layers) == len(layers) + 1
