"""The feature pyramid against its sums written out, place by place."""

import pytest
import torch
from torch import Tensor

from onelook.nn.count import numbers
from onelook.nn.fpn import FeaturePyramid

CHANNELS = (3, 5, 7)


def maps(height: int = 4, width: int = 6) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, n, height * s, width * s) for n, s in zip(CHANNELS, (4, 2, 1), strict=True)]


@pytest.mark.parametrize("separable", [False, True])
def test_each_map_is_the_smoothed_sum_of_itself_and_all_coarser_ones(separable: bool) -> None:
    pyramid, c = FeaturePyramid(CHANNELS, 8, separable).eval(), maps()
    with torch.no_grad():
        found = pyramid(c)
        lateral = [one(x) for one, x in zip(pyramid.lateral, c, strict=True)]
        for i, p in enumerate(found):
            total = torch.zeros_like(lateral[i])
            for k in range(i, len(c)):
                for row in range(total.shape[2]):
                    for column in range(total.shape[3]):
                        total[:, :, row, column] += lateral[k][:, :, row >> (k - i), column >> (k - i)]
            assert total.std() > 0.1
            torch.testing.assert_close(p, pyramid.smooth[i](total), rtol=1e-4, atol=1e-5)


def test_it_is_linear() -> None:
    pyramid, a, b = FeaturePyramid(CHANNELS, 8), maps(), [x.flip(2) for x in maps()]
    with torch.no_grad():
        nothing = pyramid([torch.zeros_like(x) for x in a])
        both = pyramid([x + y for x, y in zip(a, b, strict=True)])
        for p, q, zero, total in zip(pyramid(a), pyramid(b), nothing, both, strict=True):
            torch.testing.assert_close(p + q - zero, total, rtol=1e-4, atol=1e-4)


def test_all_maps_have_one_width_and_their_own_size() -> None:
    with torch.device("meta"):
        pyramid = FeaturePyramid((256, 512, 1024, 2048))
        found = pyramid([torch.empty(1, n, s, s) for n, s in ((256, 64), (512, 32), (1024, 16), (2048, 8))])
    assert [tuple(x.shape) for x in found] == [(1, 256, s, s) for s in (64, 32, 16, 8)]
    # Four 1 x 1 and four 3 x 3 convolutions, with biases.
    assert numbers(pyramid).parameters == 256 * (256 + 512 + 1024 + 2048) + 4 * 256 * 256 * 9 + 8 * 256
