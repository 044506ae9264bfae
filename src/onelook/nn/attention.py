"""Squeeze-and-excitation (Hu et al., 2018, arXiv:1709.01507)."""

from torch import Tensor, nn

from onelook.nn.pool import GlobalAvgPool


class SqueezeExcitation(nn.Module):
    """Weighs the channels of a map by what the whole of it holds (section 3).

    Squeeze: z_c, the mean of channel c (eq. 2). Excitation: s = sigma(W_2 delta(W_1 z)) (eq. 3). The result is
    s_c u_c (eq. 4).

    Args:
        channels: C.
        reduction: r, from 1 on; W_1 is [C / r, C]. The paper settles on 16 (Table 10).

    `forward`: u, [B, C, H, W] -> [B, C, H, W].

    Raises:
        ValueError: a reduction below 1.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        if reduction < 1:
            raise ValueError(f"reduction must be 1 or more; found {reduction}")
        hidden = max(1, channels // reduction)
        self.squeeze = GlobalAvgPool()
        self.excitation = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, u: Tensor) -> Tensor:
        """See the class."""
        return u * self.excitation(self.squeeze(u))[:, :, None, None]


def attention(channels: int, reduction: int) -> nn.Module:
    """What a residual block has before its sum: squeeze-and-excitation, or nothing with a reduction of 0."""
    return SqueezeExcitation(channels, reduction) if reduction else nn.Identity()


def attended(block: nn.Module, channels: int, reduction: int) -> nn.Module:
    """A block, with squeeze-and-excitation on its output unless the reduction is 0."""
    return nn.Sequential(block, SqueezeExcitation(channels, reduction)) if reduction else block
