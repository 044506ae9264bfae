"""RoIPool and RoIAlign: loops over bins and points, finite differences, and the operators of ONNX."""

import math

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from onelook.export.graph import trace
from onelook.nn.roi import roi_align, roi_pool


def regions(seed: int, count: int, height: float = 96, width: float = 144) -> tuple[Tensor, Tensor]:
    """Boxes of which some reach beyond a picture of that size or lie beside it, and the pictures they are in, of two."""
    torch.manual_seed(seed)
    corner = torch.rand(count, 2, dtype=torch.float64) * torch.tensor((width + 60, height + 60)) - 30
    sides = torch.rand(count, 2, dtype=torch.float64) * torch.tensor((width, height))
    return torch.cat((corner, corner + sides), dim=1), torch.randint(0, 2, (count,))


def naive_pool(x: Tensor, boxes: Tensor, picture: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    """As the code of the paper's authors has it, bin by bin, of boxes whose right bottom pixel is one less than x2, y2."""
    height, width = x.shape[2:]
    found = torch.zeros(len(boxes), x.shape[1], *size, dtype=x.dtype)
    for r, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        left, top, right, bottom = (math.floor(v * scale + 0.5) for v in (x1, y1, x2 - 1, y2 - 1))
        rows, columns = max(bottom - top + 1, 1), max(right - left + 1, 1)
        for i in range(size[0]):
            low, high = (min(max(top + v, 0), height) for v in (i * rows // size[0], -(-(i + 1) * rows // size[0])))
            for j in range(size[1]):
                near, far = (
                    min(max(left + v, 0), width) for v in (j * columns // size[1], -(-(j + 1) * columns // size[1]))
                )
                if low < high and near < far:
                    found[r, :, i, j] = x[picture[r], :, low:high, near:far].amax(dim=(1, 2))
    return found


def interpolated(x: Tensor, y: float, z: float) -> Tensor:
    """The value of maps [C, H, W] at a place in cells, (0, 0) the centre of the first."""
    height, width = x.shape[1:]
    if not (-1 <= y <= height and -1 <= z <= width):
        return torch.zeros(len(x), dtype=x.dtype)
    y, z = min(max(y, 0.0), height - 1), min(max(z, 0.0), width - 1)
    i, j = int(y), int(z)
    down, right = min(i + 1, height - 1), min(j + 1, width - 1)
    above = x[:, i, j] * (1 - z + j) + x[:, i, right] * (z - j)
    below = x[:, down, j] * (1 - z + j) + x[:, down, right] * (z - j)
    return above * (1 - y + i) + below * (y - i)


def naive_align(
    x: Tensor, boxes: Tensor, picture: Tensor, size: tuple[int, int], scale: float, sampling: int, half_pixel: bool
) -> Tensor:
    found = torch.zeros(len(boxes), x.shape[1], *size, dtype=x.dtype)
    for r, box in enumerate(boxes.tolist()):
        left, top, right, bottom = (v * scale - 0.5 * half_pixel for v in box)
        high, wide = bottom - top, right - left
        if not half_pixel:
            high, wide = max(high, 1.0), max(wide, 1.0)
        for i in range(size[0]):
            for j in range(size[1]):
                for a in range(sampling):
                    for b in range(sampling):
                        y = top + high * (i + (a + 0.5) / sampling) / size[0]
                        z = left + wide * (j + (b + 0.5) / sampling) / size[1]
                        found[r, :, i, j] += interpolated(x[picture[r]], y, z) / sampling**2
    return found


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6), rows=st.integers(1, 4), columns=st.integers(1, 4), scale=st.sampled_from([0.25, 0.1])
)
def test_roi_pool_is_the_naive_loop(seed: int, rows: int, columns: int, scale: float) -> None:
    boxes, picture = regions(seed, 5)
    x = torch.randn(2, 3, 11, 17, dtype=torch.float64)
    found = roi_pool(x, boxes, picture, (rows, columns), scale)
    torch.testing.assert_close(found, naive_pool(x, boxes, picture, (rows, columns), scale), rtol=0, atol=0)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), sampling=st.integers(1, 3), half_pixel=st.booleans())
def test_roi_align_is_the_naive_loop(seed: int, sampling: int, half_pixel: bool) -> None:
    boxes, picture = regions(seed, 4)
    x = torch.randn(2, 3, 11, 17, dtype=torch.float64)
    found = roi_align(x, boxes, picture, (2, 3), 1 / 8, sampling, half_pixel)
    expected = naive_align(x, boxes, picture, (2, 3), 1 / 8, sampling, half_pixel)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_roi_align_of_a_slope_is_the_slope_at_the_middle_of_each_bin() -> None:
    # f(x, y) = 3 x - y + 2 in pixels, as the map of stride 8 shows it at the centres of its cells.
    centre = (torch.arange(16, dtype=torch.float64) + 0.5) * 8
    x = (3 * centre - centre[:, None] + 2)[None, None]
    found = roi_align(x, torch.tensor([[20.0, 30.0, 90.0, 65.0]]).double(), torch.tensor([0]), (7, 7), 1 / 8)
    middle = (torch.arange(7, dtype=torch.float64) + 0.5) / 7
    torch.testing.assert_close(found[0, 0], 3 * (20 + 70 * middle) - (30 + 35 * middle)[:, None] + 2)


def test_roi_pool_of_whole_cells_is_max_pooling() -> None:
    x = torch.randn(1, 4, 14, 21)
    found = roi_pool(x, torch.tensor([[0.0, 0.0, 21 * 16.0, 14 * 16.0]]) - 8, torch.tensor([0]), (7, 7), 1 / 16)
    torch.testing.assert_close(found, nn.functional.max_pool2d(x, (2, 3)))


@pytest.mark.parametrize("half_pixel", [False, True])
def test_the_gradient_of_roi_align_is_that_of_finite_differences(half_pixel: bool) -> None:
    boxes, picture = regions(1, 3, 40, 40)
    x = torch.randn(2, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: roi_align(x, boxes, picture, (2, 3), 1 / 8, 2, half_pixel), x)


def test_the_gradient_of_roi_pool_is_that_of_finite_differences() -> None:
    boxes, picture = regions(2, 4, 40, 40)
    x = torch.randperm(2 * 2 * 5 * 6).double().view(2, 2, 5, 6).requires_grad_()  # no two numbers alike
    assert torch.autograd.gradcheck(lambda x: roi_pool(x, boxes, picture, (2, 2), 1 / 8), x)


@pytest.mark.parametrize("roi", [roi_pool, roi_align])
def test_no_regions_have_no_features_and_a_gradient_of_zero(roi: object) -> None:
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    found = roi(x, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (2, 2), 0.25)  # type: ignore[operator]
    assert found.shape == (0, 3, 2, 2)
    found.sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


class Both(nn.Module):
    """Of a picture [B, H, W, 3], itself the map: its regions by all operators, in a graph of any number of pictures."""

    def __init__(self, boxes: Tensor):
        super().__init__()
        self.boxes = boxes

    def forward(self, image: Tensor) -> list[Tensor]:
        x = image.permute(0, 3, 1, 2).float()
        count = x.shape[0]
        boxes = self.boxes.expand(count, -1, -1).flatten(0, 1)
        picture = torch.arange(count)[:, None].expand(count, len(self.boxes)).flatten()
        return [
            roi_pool(x, boxes, picture, (3, 2), 0.25),
            roi_align(x, boxes, picture, (7, 7), 0.25),
            roi_align(x, boxes, picture, (2, 3), 0.2, 3, half_pixel=False),
        ]


def test_in_a_model_file_they_are_the_operators_of_onnx() -> None:
    boxes = regions(3, 40)[0].float()
    module = Both(boxes)
    model = trace(module, ("pool", "align", "corner"), (24, 36))
    kinds = [node.op_type for node in model.graph.node]
    assert [kinds.count(kind) for kind in ("MaxRoiPool", "RoiAlign")] == [1, 2]
    assert all(node.domain == "" for node in model.graph.node)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for batch in (1, 3):
        image = np.random.default_rng(batch).integers(0, 256, (batch, 24, 36, 3), np.uint8)
        for found, expected in zip(session.run(None, {"image": image}), module(torch.from_numpy(image)), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)  # of numbers up to 255
