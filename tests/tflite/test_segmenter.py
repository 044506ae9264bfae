"""DeepLabv3 in TensorFlow Lite's format: the real file, ones made of our own network, and what is none of these."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tflite_files as files
from onelook import CheckpointError
from onelook.backbones import MobileNetV2
from onelook.nn.conv import ConvBlock
from onelook.runtime import picture
from onelook.runtime.resize import place
from onelook.segmenters import DeepLabV3
from onelook.tflite import segmenter
from tflite_files import NONE, RELU, RELU6, VALID, File, Operator, zipped

REAL = "weights/tflite/deeplabv3_mnv2_pascal_quant.tflite"
Change = Callable[[File], object]


def complaint(path: Path) -> str:
    """What is said of a file that is refused: one line of bearable length that begins with the path."""
    with pytest.raises(CheckpointError) as caught:
        segmenter.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < len(str(path)) + 500
    return text.removeprefix(f"{path}: ")


# ---- the real file ----------------------------------------------------------------------------------------------------


def test_the_real_file_is_the_network_of_the_paper(shared: Callable[[str], Path]) -> None:
    found = segmenter.load(shared(REAL))
    assert (found.alpha, found.names, found.size) == (1.0, None, (513, 513))
    assert (found.network.mean.unique().tolist(), found.network.std.unique().tolist()) == ([128.0], [128.0])
    assert sum(x.numel() for x in found.network.parameters()) == 2_113_557
    assert not found.network.training


def test_the_real_file_sees_in_photographs_what_openvino_makes_of_it(shared: Callable[[str], Path]) -> None:
    """It reckons with the rounded maps of the file, which moves the borders of what it finds by a few pixels."""
    openvino = pytest.importorskip("openvino")
    path = shared(REAL)
    found = segmenter.load(path)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    theirs = openvino.compile_model(openvino.Core().read_model(path), "CPU", settings)
    for name, classes in (("000000000285", {0, 12}), ("000000000785", {0, 15})):  # a bear is a dog; a skier
        canvas = np.zeros((1, 513, 513, 3), np.uint8)
        place(picture.read(shared(f"data/coco128/images/val2017/{name}.jpg")), canvas[0], "letterbox", "linear")
        with torch.no_grad():
            raw = found.network(torch.from_numpy(canvas).permute(0, 3, 1, 2).float() / 255)
        ours = found.network.decode(raw, found.size).numpy()
        assert set(np.unique(ours).tolist()) == classes
        assert np.mean(ours == np.asarray(theirs([canvas])[0])) > 0.99


# ---- files made of our network ----------------------------------------------------------------------------------------


@cache
def network(alpha: float = 0.35, classes: int = 5) -> DeepLabV3:
    """A small one, with weights and statistics that let numbers of about 1 reach every layer."""
    torch.manual_seed(0)
    model = DeepLabV3(MobileNetV2(alpha, classes=0), classes)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0, (module.weight[0].numel() / 2) ** -0.5)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.8)
            for tensor, low, high in ((module.running_mean, -0.3, 0.3), (module.running_var, 0.5, 1.5)):
                assert tensor is not None
                nn.init.uniform_(tensor, low, high)
    return model.eval()


class Maker(files._Maker):
    def block(self, x: int, block: nn.Module) -> int:
        """A convolution, with batch normalisation and activation where there are such."""
        if isinstance(block, ConvBlock):
            ((kernel, bias),) = files.folded(block)
            conv, activation = block.conv, {nn.ReLU6: RELU6, nn.ReLU: RELU, nn.Identity: NONE}[type(block.activation)]
        else:
            assert isinstance(block, nn.Conv2d)
            assert block.bias is not None
            conv, activation = block, NONE
            kernel, bias = block.weight.detach().numpy(), block.bias.detach().numpy()
        x = self.convolution(x, kernel, bias, conv.stride[0], relu6=activation == RELU6)
        self.file.operators[-1].activation = activation
        self.file.operators[-1].dilation = conv.dilation[0]
        return x


def made(kind: str = "float32", size: int = 33, **options: Any) -> File:
    """The network in TensorFlow Lite's format. Its head has eleven operators, in the order of the real file's."""
    return copy.deepcopy(_made(kind, size, **options))


@cache
def _made(kind: str, size: int, **options: Any) -> File:
    model = network(**options)
    maker = Maker(File(), kind)
    maker.file.inputs = [x := maker.map((1, size, size, 3), {"uint8": (1 / 128, 128), "int8": (1 / 64, 3)})]
    for row in model.backbone.body:
        start = x
        for block in row.modules():
            if isinstance(block, ConvBlock):
                x = maker.block(x, block)
        if getattr(row, "shortcut", False):
            x = maker.step("ADD", [start, x], maker.shape(x))
    _, height, width, channels = maker.shape(x)
    mean = maker.step("AVERAGE_POOL_2D", [x], (1, 1, 1, channels), window=(height, width), padding=VALID)
    local = maker.block(x, model.aspp[0])
    whole = maker.block(mean, model.image_pooling)
    whole = maker.step("RESIZE_BILINEAR", [whole, maker.integers(height, width)], (1, height, width, 256))
    whole = maker.step("QUANTIZE", [whole], maker.shape(whole))
    both = maker.step("CONCATENATION", [whole, local], (1, height, width, 512))
    logits = maker.block(maker.block(both, model.project), model.logits)
    logits = maker.step("RESIZE_BILINEAR", [logits, maker.integers(height, width)], maker.shape(logits))
    logits = maker.step(
        "RESIZE_BILINEAR", [logits, maker.integers(size, size)], (1, size, size, maker.shape(logits)[3])
    )
    maker.step("ARG_MAX", [logits, maker.integers(3)], (1, size, size))
    return maker.file


@pytest.mark.parametrize("kind", ["float32", "float16", "uint8", "int8"])
def test_a_file_gives_back_the_network_it_was_made_of(tmp_path: Path, kind: str) -> None:
    file, model = made(kind), network()
    found = segmenter.load(file.save(tmp_path / "x.tflite"))
    assert (found.alpha, found.names, found.size) == (0.35, None, (33, 33))
    mean, std = {"uint8": (128, 128), "int8": (131, 64)}.get(kind, (127.5, 127.5))
    assert (found.network.mean.unique().tolist(), found.network.std.unique().tolist()) == ([mean], [std])
    head = found.network.aspp[0], found.network.image_pooling, found.network.project, found.network.logits
    blocks = [*(x for x in found.network.backbone.body.modules() if isinstance(x, ConvBlock)), *head]
    for block, (kernel, bias) in zip(blocks, file.weights, strict=True):
        conv, offset = (block.conv, block.norm) if isinstance(block, ConvBlock) else (block, block)
        assert isinstance(conv.weight, torch.Tensor)
        assert conv.weight.detach().numpy().tobytes() == np.ascontiguousarray(kernel).tobytes()
        assert offset is not None
        assert offset.bias.tolist() == bias.tolist()
    found.network.mean.copy_(model.mean)
    found.network.std.copy_(model.std)
    image = torch.from_numpy(np.random.default_rng(1).random((2, 3, 33, 65), np.float32))
    with torch.no_grad():
        ours, wanted = found.network(image), model(image)
    assert wanted.std() > 1
    tolerance = {"float32": 1e-4, "float16": 0.05}.get(kind, 0.5) * float(wanted.std())
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=tolerance)


def test_other_sizes_alphas_and_numbers_of_classes_are_read_off_the_file(tmp_path: Path) -> None:
    file = made("uint8", 49, alpha=0.5, classes=2)
    found = segmenter.load(file.save(tmp_path / "x.tflite", zipped(b"no\nyes\n")))
    assert (found.alpha, found.names, found.size) == (0.5, ("no", "yes"), (49, 49))
    assert found.network.logits.out_channels == 2
    assert segmenter.load(file.save(tmp_path / "x.tflite", zipped(b"no\nyes\nperhaps\n"))).names is None


def test_branches_may_come_in_any_order(tmp_path: Path) -> None:
    file = made()
    pool, local, whole = file.operators[-11:-8]
    file.operators[-11:-8] = local, pool, whole
    a, b = (segmenter.load(x.save(tmp_path / "x.tflite")).network for x in (file, made()))
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# ---- other networks ---------------------------------------------------------------------------------------------------


def operator(number: int, **values: object) -> Change:
    """Gives an operator other attributes. -11 and on are the head: the mean, the two branches, RESIZE_BILINEAR, QUANTIZE,
    CONCATENATION, two convolutions, twice RESIZE_BILINEAR, ARG_MAX."""
    return lambda file: vars(file.operators[number]).update(values)


def tensor(number: int, place: int, **values: object) -> Change:
    """Gives a tensor that an operator reads other attributes: 0 is the map, 1 the kernel, 2 the bias."""
    return lambda file: vars(file.tensors[file.operators[number].inputs[place]]).update(values)


def swapped(number: int) -> Change:
    """Exchanges the two maps that an operator works on."""
    return lambda file: file.operators[number].inputs.reverse()


def works_on_result_of(number: int, other: int) -> Change:
    def change(file: File) -> None:
        file.operators[number].inputs[0] = file.operators[other].outputs[0]

    return change


def insert(number: int, kind: str) -> Change:
    return lambda file: file.insert(number, Operator(kind, [0], []))


def cut(number: int, place: int) -> Change:
    def change(file: File) -> None:
        one = file.tensors[file.operators[number].inputs[place]]
        one.data = one.data[:-4]

    return change


OTHER = "is another network: behind its step"
CHANGES: dict[str, tuple[Change, str]] = {
    "a stride": (operator(0, stride=(1, 1)), f"{OTHER} 0 is convolution [16, 3, 3, 3], stride 1, relu6, not the"),
    "an activation": (
        operator(-10, activation=RELU6),
        ", relu6, not the convolution [256, 112, 1, 1], stride 1, relu of",
    ),
    "a padding": (operator(0, padding=VALID), "no padding"),
    "no dilation": (operator(-13, dilation=1), "stride 1, relu6, not the depthwise convolution [336, 1, 3, 3]"),
    "a larger dilation": (operator(-13, dilation=4), "relu6, dilation 4, not the depthwise convolution [336, 1, 3, 3]"),
    "corners not aligned": (operator(-2, aligned=False), "is resize_bilinear without aligned corners, not the"),
    "a dilation": (operator(1, dilation=2), "relu6, dilation 2, not the depthwise convolution"),
    "a dilation of a full convolution": (operator(0, dilation=2), "relu6, dilation 2, not the"),
    "branches exchanged": (swapped(-6), "not the concatenation of alpha 0.35"),
    "another branch": (
        works_on_result_of(-10, -13),
        "is mean, not the convolution [256, 112, 1, 1], stride 1, relu of",
    ),
    "a shortcut from elsewhere": (
        lambda file: file.all("ADD")[0].inputs.__setitem__(0, 0),
        "not the sum of alpha 0.35",
    ),
    "a softmax": (insert(-1, "SOFTMAX"), "is softmax, not the arg_max of alpha 0.35"),
    "an operator within": (insert(5, "TANH"), "is tanh, not the"),
    "an operator too many": (
        lambda file: file.operators.insert(0, file.operators[0]),
        "it has also convolution [16, 3",
    ),
    "no mask": (
        lambda file: file.operators.pop(),
        "does not end with the class of each pixel; onelook imports DeepLabv3 on",
    ),
    "no operators": (
        lambda file: file.operators.__delitem__(slice(0, -1)),
        "is another network: has 0 means, of [] channels",
    ),
    "another size of the mask": (tensor(-1, 0, shape=(1, 32, 33, 5)), "its mask has another size than the picture"),
    "more classes than kernels": (tensor(-1, 0, shape=(1, 33, 33, 6)), "not the convolution [6, 256, 1, 1], stride 1"),
    "no classes": (tensor(-1, 0, shape=(1, 33, 33, 0)), "classes of a segmenter must be from 1 to 1000000; found 0"),
    "classes without end": (tensor(-1, 0, shape=(1, 33, 33, 2**31 - 1)), "classes of a segmenter must be from 1 to"),
    "logits without shape": (tensor(-1, 0, shape=()), "is damaged"),
    "two pictures": (tensor(0, 0, shape=(2, 33, 33, 3)), "takes [2, 33, 33, 3]; expected one picture"),
    "grey pictures": (tensor(0, 0, shape=(1, 33, 33, 1)), "takes [1, 33, 33, 1]; expected one picture"),
    "a picture of no height": (
        tensor(0, 0, shape=(1, 0, 33, 3)),
        "size of a segmenter must be a multiple of 16 plus 1, as 513 is; found 0 x 33",
    ),
    "a large picture": (
        tensor(0, 0, shape=(1, 33, 1_600_001, 3)),
        "must be a multiple of 16 plus 1, as 513 is; found 33 x 1600001",
    ),
    "no mean": (operator(-11, kind="CONV_2D"), "is another network: has 0 means, of [] channels; onelook imports"),
    "two means": (insert(0, "MEAN"), "is another network: has 2 means, of [3, 112] channels"),
    "a mean of no alpha": (
        lambda file: vars(file.tensors[file.operators[-11].outputs[0]]).update(shape=(1, 1, 1, 113)),
        "has 1 means, of [113] channels",
    ),
    "no picture": (lambda file: file.inputs.clear(), "is damaged"),
    "a kernel cut short": (cut(3, 1), "is damaged"),
    "a kernel left out": (lambda file: file.operators[0].inputs.__setitem__(1, -1), "is damaged"),
    "a bias of one number": (tensor(0, 2, shape=(1,)), "is damaged"),
    "a scale of zero": (tensor(0, 1, scale=(0.0,)), "is damaged"),
    "an input of scale zero": (tensor(0, 0, scale=(0.0,)), "is damaged"),
    "an input of scale NaN": (tensor(0, 0, scale=(float("nan"),)), "is damaged"),
    "nothing to work on": (operator(0, inputs=[]), "is damaged"),
    "no result": (operator(3, outputs=[]), "is damaged"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_another_network_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    change, message = CHANGES[name]
    file = made("uint8")
    change(file)
    assert message in complaint(file.save(tmp_path / "x.tflite"))


def test_without_any_one_operator_it_is_refused(tmp_path: Path) -> None:
    """What it worked on, the next one works on. But QUANTIZE and the first enlarging of the logits change nothing."""
    whole = made()
    for number in range(len(whole.operators) - 11, len(whole.operators)):
        file = made()
        removed = file.operators.pop(number)
        for other in file.operators:
            other.inputs = [removed.inputs[0] if i == removed.outputs[0] else i for i in other.inputs]
        path = file.save(tmp_path / "x.tflite")
        if number - len(whole.operators) in (-7, -3):
            segmenter.load(path)
        else:
            assert complaint(path)


def test_a_classifier_is_no_segmenter(tmp_path: Path) -> None:
    path = files.classifier(files.backbone("mobilenet_v2"), 64).save(tmp_path / "x.tflite")
    assert "does not end with the class of each pixel" in complaint(path)
    assert complaint(tmp_path / "gone.tflite") == "there is no such file"
