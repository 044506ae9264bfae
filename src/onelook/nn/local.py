"""Layers that are convolutions but for their weights, which differ from place to place (YOLOv1)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.nn.activations import activation as make_activation


class Local(nn.Module):
    """A locally connected layer: a convolution with another kernel at every place (YOLOv1).

    Args:
        channels: of the input and of the output.
        out: height and width of the output.
        kernel, stride, padding: as of a convolution.
        activation: its name.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        out: tuple[int, int],
        kernel: int,
        stride: int,
        padding: int,
        activation: str,
    ):
        super().__init__()
        self.out, self.kernel, self.stride, self.padding = out, kernel, stride, padding
        inputs = channels[0] * kernel * kernel
        self.weight = nn.Parameter(torch.empty(out[0] * out[1], channels[1], inputs))
        self.bias = nn.Parameter(torch.zeros(channels[1], *out))
        nn.init.uniform_(self.weight, -(inputs**-0.5), inputs**-0.5)
        self.activation = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels[0], H, W] -> [B, channels[1], *out]."""
        x = F.pad(x, [self.padding] * 4)
        height, width = (1 + (side - 1) * self.stride for side in self.out)
        patches = torch.stack(  # [B, C, k * k, h, w]
            [
                x[:, :, i : i + height : self.stride, j : j + width : self.stride]
                for i in range(self.kernel)
                for j in range(self.kernel)
            ],
            dim=2,
        )
        columns = patches.flatten(1, 2).flatten(2).permute(2, 1, 0)  # [places, inputs, B]
        y = (self.weight @ columns).permute(2, 1, 0).reshape(x.shape[0], -1, *self.out)
        return self.activation(y + self.bias)
