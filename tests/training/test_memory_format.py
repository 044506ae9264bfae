"""Which one is chosen, and that the network's pictures come in it."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from onelook.training import train
from onelook.training.memory_format import fastest_format
from rectangles import detection, settings, stop_after

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FORMATS = {"first": torch.contiguous_format, "last": torch.channels_last}


@pytest.mark.parametrize(
    ("capability", "dense", "separable"),
    [("AVX2", "first", "last"), ("AVX512", "last", "last"), ("DEFAULT", "last", "last")],
)
def test_dense_convolutions_on_avx2_have_the_channels_first(
    capability: str, dense: str, separable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    convolution, depthwise = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4)
    assert fastest_format(nn.Sequential(convolution), CPU) == FORMATS[dense]
    assert fastest_format(nn.Sequential(convolution, depthwise), CPU) == FORMATS[separable]
    assert fastest_format(nn.Sequential(convolution), GPU) == torch.channels_last


@pytest.mark.parametrize("chosen", FORMATS.values(), ids=FORMATS)
def test_maps_and_weights_come_in_it(
    chosen: torch.memory_format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("train", "loop"):
        monkeypatch.setattr(sys.modules[f"onelook.training.{module}"], "fastest_format", lambda *_: chosen)
    seen: set[bool] = set()
    compute = nn.Conv2d.forward

    def forward(self: nn.Conv2d, image: torch.Tensor) -> torch.Tensor:
        if self.training and min(*image.shape[1:], *self.weight.shape[1:]) > 1:  # else both layouts are the same
            seen.update(x.is_contiguous(memory_format=torch.channels_last) for x in (image, self.weight))
        return compute(self, image)

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    data = detection(tmp_path / "data", train=8)
    how = settings(epochs=1, batch=4)
    train(data, alpha=0.25, settings=how, folder=tmp_path / "run", validation=None, quiet=True, stop=stop_after(1))
    assert seen == {chosen == torch.channels_last}
