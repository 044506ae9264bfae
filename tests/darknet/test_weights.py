import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onelook import DarknetError, darknet
from onelook.darknet import Darknet, Header, load_weights, read_header, save_weights

Files = Callable[[str], tuple[Path, Path]]

CONNECTED = "[net]\nwidth=2\nheight=1\nchannels=1\n[connected]\noutput=3\nbatch_normalize=1\nactivation=linear\n"


@pytest.mark.parametrize("kind", ["v1", "v2", "v3", "v4", "new_coords"])
def test_a_file_read_and_written_again_has_the_same_bytes(darknet_files: Files, tmp_path: Path, kind: str) -> None:
    cfg, weights = darknet_files(kind)
    network = darknet.load(cfg, weights)
    save_weights(network, tmp_path / "again.weights", read_header(weights))
    assert (tmp_path / "again.weights").read_bytes() == weights.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_real_files_read_and_written_again_have_the_same_bytes(shared: Callable[[str], Path], tmp_path: Path) -> None:
    for weights in sorted(shared("weights/darknet").glob("*.weights")):
        network = darknet.load(weights.with_suffix(".cfg"), weights)
        save_weights(network, tmp_path / "again.weights", read_header(weights))
        assert (tmp_path / "again.weights").read_bytes() == weights.read_bytes()


@pytest.mark.parametrize(
    ("version", "seen_bytes", "transposed"),
    [
        ((0, 1, 0), 4, False),
        ((0, 2, 0), 8, False),
        ((0, 2, 5), 8, False),
        ((1, 0, 0), 8, False),
        ((0, 1001, 0), 4, True),
        (struct.unpack("<3i", struct.pack("<3f", 0.001, 0.9, 0.0005)), 4, True),  # before there were versions
    ],
)
def test_headers_of_all_versions_put_every_number_in_its_place(
    tmp_path: Path, version: tuple[int, int, int], seen_bytes: int, transposed: bool
) -> None:
    cfg, weights = tmp_path / "net.cfg", tmp_path / "net.weights"
    cfg.write_text(CONNECTED)
    # Darknet's order of a fully connected layer: biases, matrix, then scales, means, variances.
    numbers = np.arange(1, 3 + 6 + 9 + 1, dtype="<f4")
    data = struct.pack("<3i", *version) + (77).to_bytes(seen_bytes, "little") + numbers.tobytes()
    weights.write_bytes(data)
    network = darknet.load(cfg, weights)
    layer = network.layers[0]
    assert layer.norm.bias.tolist() == [1, 2, 3]
    assert layer.linear.weight.tolist() == ([[4, 7], [5, 8], [6, 9]] if transposed else [[4, 5], [6, 7], [8, 9]])
    assert layer.norm.weight.tolist() == [10, 11, 12]
    assert layer.norm.running_mean.tolist() == [13, 14, 15]
    assert layer.norm.running_var.tolist() == [16, 17, 18]
    assert read_header(weights) == Header(*version, seen=77)
    save_weights(network, tmp_path / "again", read_header(weights))
    assert (tmp_path / "again").read_bytes() == data


def test_numbers_of_a_convolution_stand_bias_scale_mean_variance_kernel(tmp_path: Path) -> None:
    cfg, weights = tmp_path / "net.cfg", tmp_path / "net.weights"
    cfg.write_text(
        "[net]\nwidth=2\nheight=2\nchannels=2\n[convolutional]\nbatch_normalize=1\nfilters=1\nactivation=relu\n"
    )
    weights.write_bytes(Header().pack() + np.array([1, 2, 3, 4, 5, 6], "<f4").tobytes())
    layer = darknet.load(cfg, weights).layers[0]
    found = [layer.norm.bias, layer.norm.weight, layer.norm.running_mean, layer.norm.running_var, layer.conv.weight]
    assert [tensor.flatten().tolist() for tensor in found] == [[1], [2], [3], [4], [5, 6]]
    x = torch.tensor([7.0, 8.0]).view(1, 2, 1, 1)
    expected = (5 * 7 + 6 * 8 - 3) / (4 + 1e-5) ** 0.5 * 2 + 1
    assert layer(x).item() == pytest.approx(expected, rel=1e-6)


def test_truncated_and_too_long_weights_say_how_many_numbers_were_expected_and_found(
    darknet_files: Files, tmp_path: Path
) -> None:
    cfg, weights = darknet_files("v3")
    data = weights.read_bytes()
    numbers = (len(data) - 20) // 4
    wrong = tmp_path / "wrong.weights"
    for content, message in (
        (data[:-4], rf"holds {numbers - 1} numbers; .*v3\.cfg needs {numbers}: the file is cut short"),
        (data[:-1], rf"holds {numbers - 1} numbers and 3 odd bytes; .* needs {numbers}"),
        (data + b"1234" * 5, rf"holds {numbers + 5} numbers; .* needs {numbers}: they do not belong together"),
        (data[:20], rf"holds 0 numbers; .* needs {numbers}"),
        (data[:15], r"ends after 15 bytes, within the header"),
        (b"", r"ends after 0 bytes, within the header"),
    ):
        wrong.write_bytes(content)
        with pytest.raises(DarknetError, match=message):
            darknet.load(cfg, wrong)


def test_a_missing_weights_file_is_named(darknet_files: Files, tmp_path: Path) -> None:
    with pytest.raises(DarknetError, match=r"gone\.weights: cannot be read"):
        darknet.load(darknet_files("v3")[0], tmp_path / "gone.weights")


def test_a_backbone_fills_the_first_layers_and_leaves_the_others(darknet_files: Files, tmp_path: Path) -> None:
    cfg, weights = darknet_files("v3")
    whole = darknet.load(cfg, weights)
    first_two = sum(row.parameters + 2 * row.shape[0] for row in whole.rows[:2])
    backbone = tmp_path / "body.conv.2"
    backbone.write_bytes(weights.read_bytes()[: 20 + 4 * first_two])
    network = Darknet(cfg)
    before = network.layers[2].conv.weight.clone()
    load_weights(network, backbone, partial=True)
    assert torch.equal(network.layers[1].conv.weight, whole.layers[1].conv.weight)
    assert torch.equal(network.layers[2].conv.weight, before)
    with pytest.raises(DarknetError, match="needs"):
        load_weights(network, backbone)


def test_a_backbone_that_ends_within_a_layer_is_refused_and_changes_nothing(
    darknet_files: Files, tmp_path: Path
) -> None:
    cfg, weights = darknet_files("v3")
    backbone = tmp_path / "body"
    backbone.write_bytes(weights.read_bytes()[: 20 + 4 * 30])
    network = Darknet(cfg)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(DarknetError, match="holds 30 numbers, which end within a layer"):
        load_weights(network, backbone, partial=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes_are_weights_or_a_darknet_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    cfg, weights = tmp_path_factory.getbasetemp() / "c.cfg", tmp_path_factory.getbasetemp() / "any.weights"
    cfg.write_text(CONNECTED)
    weights.write_bytes(data)
    try:
        darknet.load(cfg, weights)
    except DarknetError as error:
        assert "\n" not in str(error)
