"""Whether the channels of a pixel lie side by side in memory while a network is trained, or the pixels of a channel."""

import torch
from torch import nn


def fastest_format(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last, but for networks without depthwise convolutions on a processor that has AVX2 and not AVX-512.

    There oneDNN's gradients of dense convolutions take longer with the channels last: a step of SSD300 1.32 times as long,
    of YOLOv3 1.17, of RetinaNet on ResNet-50 1.18; of detectors on MobileNets 0.66 to 0.84 (benchmarks/memory_format.py).
    """
    depthwise = any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in network.modules())
    avx2 = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
    return torch.contiguous_format if avx2 and not depthwise else torch.channels_last
