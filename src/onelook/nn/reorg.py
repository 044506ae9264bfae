"""From places to channels (YOLOv2)."""

from torch import Tensor, nn


class Reorg(nn.Module):
    """YOLOv2's passthrough (arXiv:1612.08242, "Fine-Grained Features"), in Darknet's order of the values.

    Darknet reads the map [C, H, W] as if it were [C / s^2, H s, W s], takes that apart into s^2 maps, and reads the
    result as [C s^2, H / s, W / s]. Trained weights expect just this order, which is not that of a space-to-depth.
    `plain` is the ordinary space-to-depth, Darknet's [reorg3d], and `reverse` is the inverse of that.
    """

    def __init__(self, stride: int, reverse: bool = False, plain: bool = False):
        super().__init__()
        self.stride, self.reverse, self.plain = stride, reverse, plain

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C s^2, H / s, W / s]; reverse: [B, C / s^2, H s, W s]."""
        s = self.stride
        batch, c, h, w = x.shape
        if self.reverse:
            maps = x.reshape(batch, s, s, c // (s * s), h, w)
            return maps.permute(0, 3, 4, 1, 5, 2).reshape(batch, c // (s * s), h * s, w * s)
        maps = x.reshape(batch, c, h // s, s, w // s, s) if self.plain else x.reshape(batch, c // (s * s), h, s, w, s)
        return maps.permute(0, 3, 5, 1, 2, 4).reshape(batch, c * s * s, h // s, w // s)

    def extra_repr(self) -> str:
        """For print."""
        return f"stride={self.stride}, reverse={self.reverse}, plain={self.plain}"
