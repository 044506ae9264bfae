"""COCO's annotations, and the masks in them."""

from fuzz.files import check, refusals, written
from onelook import rle
from onelook.data import Rle, read

_LARGEST_MASK = 1 << 20  # pixels of one that is also made


def one_input(data: bytes) -> None:
    """A JSON file whose pictures are not there."""
    with refusals():
        dataset = read(written("instances_x.json", data), "x")
        check(dataset)
        for sample in dataset.samples:
            for mask in sample.masks:
                if isinstance(mask, Rle) and mask.size[0] * mask.size[1] <= _LARGEST_MASK:
                    assert rle.decode(rle.runs(mask.counts), mask.size[0]).shape == mask.size
