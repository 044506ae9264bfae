"""Darknet's `.weights` files: a header, then the parameters of all layers as little-endian float32, top to bottom."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from onelook.darknet.layers import Connected, Shortcut
from onelook.darknet.network import Darknet
from onelook.errors import DarknetError
from onelook.nn.conv import ConvBlock
from onelook.nn.local import Local

OLDEST = 1000  # what is above is no version: files began with learning rate, momentum and decay before there were any


@dataclass(frozen=True, slots=True)
class Header:
    """The head of a weights file.

    Attributes:
        major, minor, revision: of the format. From 0.2 on `seen` has 64 bits, before 32. In the oldest files three floats
            stand in their place, which are above 1000 as integers: the matrices of fully connected layers are transposed.
        seen: pictures the network was trained on.
    """

    major: int = 0
    minor: int = 2
    revision: int = 5
    seen: int = 0

    @property
    def layout(self) -> str:
        """Of `struct`."""
        return "<3iQ" if self.major * 10 + self.minor >= 2 and max(self.major, self.minor) < OLDEST else "<3iI"

    @property
    def transposed(self) -> bool:
        """Whether fully connected layers are stored [inputs, outputs]."""
        return max(self.major, self.minor) > OLDEST

    def pack(self) -> bytes:
        """As it stands in the file."""
        return struct.pack(self.layout, self.major, self.minor, self.revision, self.seen)


def read_header(path: Path) -> Header:
    """The header of a weights file.

    Raises:
        DarknetError: it cannot be read, or is shorter than a header.
    """
    try:
        with path.open("rb") as file:
            data = file.read(20)
    except OSError as error:
        raise DarknetError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) >= 12:
        header = Header(*struct.unpack("<3i", data[:12]))
        if len(data) >= struct.calcsize(header.layout):
            return Header(*struct.unpack_from(header.layout, data))
    raise DarknetError(f"{path}: is not a Darknet weights file: it ends after {len(data)} bytes, within the header")


def load_weights(network: Darknet, path: str | Path, partial: bool = False) -> Header:
    """Fill a network with the numbers of a weights file; one on the device "meta" is allocated once the file fits.

    Args:
        network: of the cfg that the weights were trained with.
        path: the file.
        partial: accept a file that ends after any whole layer, such as the backbone `darknet53.conv.74`; the layers
            behind it keep the values they have, so the network must have some: not be on "meta".

    Returns:
        The file's header; `save_weights` with it gives back the same bytes.

    Raises:
        DarknetError: the file cannot be read, or has another count of numbers than the network, which is then left
            as it was.
    """
    path = Path(path)
    header = read_header(path)
    start = len(header.pack())
    rest = path.stat().st_size - start
    slots = _all_slots(network)
    expected = sum(slot.tensor.numel() for _, slot in slots)
    found = rest // 4
    if partial and rest % 4 == 0 and found < expected:
        slots = _whole_layers(slots, found, path)
    elif rest != 4 * expected:
        odd = f" and {rest % 4} odd bytes" if rest % 4 else ""
        raise DarknetError(
            f"{path}: holds {found} numbers{odd}; {network.cfg.path} needs {expected}: "
            f"{'the file is cut short, or ' if found < expected else ''}they do not belong together"
        )
    if not partial and any(slot.tensor.is_meta for _, slot in slots):
        network.to_empty(device="cpu")
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                _given(module.num_batches_tracked).zero_()
        slots = _all_slots(network)
    numbers = np.memmap(path, dtype="<f4", mode="r", offset=start, shape=(found,)) if found else np.empty(0, "<f4")
    position = 0
    with torch.no_grad():
        for _, slot in slots:
            values = torch.from_numpy(np.array(numbers[position : position + slot.tensor.numel()]))
            position += slot.tensor.numel()
            if slot.matrix and header.transposed:
                slot.tensor.copy_(values.view(slot.tensor.shape[::-1]).T)
            else:
                slot.tensor.copy_(values.view(slot.tensor.shape))
    return header


def save_weights(network: Darknet, path: str | Path, header: Header | None = None) -> None:
    """Write a network's numbers as Darknet does; written beside and renamed, so that `path` is never half a file.

    Args:
        network: with its parameters.
        path: the file.
        header: of the file; that of Darknet's present format by default.
    """
    path, header = Path(path), header or Header()
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(header.pack())
            for layer in network.layers:
                for slot in _slots(layer):
                    tensor = slot.tensor.detach().cpu()
                    tensor = tensor.T if slot.matrix and header.transposed else tensor
                    file.write(tensor.contiguous().numpy().astype("<f4", copy=False).tobytes())
        part.replace(path)
    except OSError as error:
        raise DarknetError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Slot:
    """One run of numbers in the file."""

    tensor: Tensor
    matrix: bool = False  # of a fully connected layer


def _all_slots(network: Darknet) -> list[tuple[int, _Slot]]:
    """Those of all layers, each with the number of its layer."""
    return [(index, slot) for index, layer in enumerate(network.layers) for slot in _slots(layer)]


def _slots(layer: nn.Module) -> Iterator[_Slot]:
    """A layer's tensors in the order of the file."""
    match layer:
        case ConvBlock(conv=conv, norm=None):
            yield from (_Slot(_given(conv.bias)), _Slot(conv.weight))
        case ConvBlock(conv=conv, norm=norm):
            yield from (*_norm(norm), _Slot(conv.weight))
        case Connected(linear=linear, norm=None):
            yield from (_Slot(linear.bias), _Slot(linear.weight, matrix=True))
        case Connected(linear=linear, norm=norm):
            bias, *statistics = _norm(norm)
            yield from (bias, _Slot(linear.weight, matrix=True), *statistics)
        case nn.BatchNorm2d():
            yield from _norm(layer)
        case Local(bias=bias, weight=weight):
            yield from (_Slot(bias), _Slot(weight))
        case Shortcut(weight=weight) if weight is not None:
            yield _Slot(weight)


def _norm(norm: nn.Module | None) -> tuple[_Slot, _Slot, _Slot, _Slot]:
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    return tuple(_Slot(_given(x)) for x in (norm.bias, norm.weight, norm.running_mean, norm.running_var))  # type: ignore[return-value]


def _given(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


def _whole_layers(slots: list[tuple[int, _Slot]], found: int, path: Path) -> list[tuple[int, _Slot]]:
    """The slots that `found` numbers fill, which must be those of whole layers."""
    position = 0
    for count, (index, slot) in enumerate(slots):
        if position == found and (count == 0 or slots[count - 1][0] != index):
            return slots[:count]
        if position > found:
            break
        position += slot.tensor.numel()
    raise DarknetError(f"{path}: holds {found} numbers, which end within a layer of the network")
