"""Batches: the same ones whenever and wherever they are made."""

import gc
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from onelook.data import read
from onelook.data.augment import Augmentation
from onelook.data.sample import Sample
from onelook.errors import TrainingError
from onelook.training.distributed import Processes
from onelook.training.loader import Batch, Loader
from onelook.training.settings import Settings
from rectangles import ALONE, PLAIN, classification, detection, settings


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sample, ...]:
    return read(detection(tmp_path_factory.mktemp("data") / "x", train=13)).samples


def marked(folder: Path, count: int) -> tuple[Sample, ...]:
    """Pictures that are all of one colour, 5 more at each."""
    folder.mkdir()
    made = []
    for i in range(count):
        path = folder / f"{i:02}.png"
        cv2.imwrite(str(path), np.full((64, 64, 3), 5 * (i + 1), np.uint8))
        made.append(Sample(path, 64, 64, np.float32([[8, 8, 40, 40]]), np.array([i])))
    return tuple(made)


def numbers(batches: Iterable[Batch]) -> list[list[int]]:
    """Which of the `marked` pictures are in each batch."""
    return [[round(int(image[0, 32, 32]) / 5) - 1 for image in batch.image] for batch in batches]


def equal(one: Batch, other: Batch) -> bool:
    pairs = zip((one.image, *one.targets), (other.image, *other.targets), strict=True)
    return one.size == other.size and all(a is b is None or torch.equal(a, b) for a, b in pairs)


RICH = Augmentation(mosaic=0.5, crop=0.2, degrees=5, shear=2)


def test_the_same_seed_gives_the_same_pixels_on_any_number_of_threads(samples: tuple[Sample, ...]) -> None:
    found = [
        list(Loader(samples, settings(augmentation=RICH, workers=workers), ALONE).epoch(1)) for workers in (1, 3, 0)
    ]
    assert all(equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    other_seed = list(Loader(samples, settings(augmentation=RICH, seed=1), ALONE).epoch(1))
    other_epoch = list(Loader(samples, settings(augmentation=RICH), ALONE).epoch(0))
    assert not any(equal(a, b) for other in (other_seed, other_epoch) for a, b in zip(found[0], other, strict=True))


def test_a_start_in_the_middle_gives_the_batches_of_the_whole_epoch(samples: tuple[Sample, ...]) -> None:
    loader = Loader(samples, settings(batch=2, augmentation=RICH, multi_scale=0.5), ALONE)
    whole = list(loader.epoch(1))
    assert len(whole) == loader.steps == 6
    for start in (1, 4, 5, 6):
        rest = list(loader.epoch(1, start))
        assert all(equal(a, b) for a, b in zip(whole[start:], rest, strict=True))


def test_batches_are_as_the_network_and_the_loss_take_them(samples: tuple[Sample, ...]) -> None:
    for batch in Loader(samples, settings(size=(64, 96), augmentation=RICH), ALONE).epoch(0):
        assert (batch.image.dtype, batch.image.shape, batch.size) == (torch.uint8, (4, 3, 64, 96), (64, 96))
        assert batch.image.is_contiguous(memory_format=torch.channels_last)
        picture, boxes, classes, labelled, *_ = batch.targets
        assert len(picture) == len(boxes) == len(classes)
        assert not len(labelled)
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([96, 64, 96, 64])).all()


def test_an_epoch_has_every_picture_once_up_to_the_last_whole_batch(tmp_path: Path) -> None:
    loader = Loader(marked(tmp_path / "x", 13), settings(augmentation=PLAIN), ALONE)
    orders = [numbers(loader.epoch(number)) for number in range(3)]
    for order in orders:
        seen = [number for batch in order for number in batch]
        assert len(seen) == len(set(seen)) == 12
    assert orders[0] != orders[1] != orders[2]


def test_fewer_pictures_than_a_batch_has_are_repeated(tmp_path: Path) -> None:
    loader = Loader(marked(tmp_path / "x", 3), settings(batch=8, augmentation=PLAIN), ALONE)
    (batch,) = numbers(loader.epoch(0))
    assert loader.steps == 1
    assert [batch.count(i) for i in sorted(set(batch))] in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


@pytest.mark.parametrize("count", [2, 4])
def test_the_shares_of_all_processes_are_the_batch_of_one(samples: tuple[Sample, ...], count: int) -> None:
    how = settings(augmentation=RICH, multi_scale=0.5)
    whole = list(Loader(samples, how, ALONE).epoch(1))
    shares = [list(Loader(samples, how, Processes(rank, count, ALONE.device)).epoch(1)) for rank in range(count)]
    for step, batch in enumerate(whole):
        for rank in range(count):
            mine = shares[rank][step]
            assert mine.size == batch.size
            assert torch.equal(mine.image, batch.image[rank::count])
            for i in range(len(mine.image)):
                place = batch.targets.picture == rank + count * i
                assert torch.equal(mine.targets.boxes[mine.targets.picture == i], batch.targets.boxes[place])


def test_multi_scale_gives_ten_steps_each_a_multiple_of_32(tmp_path: Path) -> None:
    samples = marked(tmp_path / "x", 40)
    loader = Loader(samples, settings(batch=1, size=(128, 160), multi_scale=0.5, augmentation=PLAIN), ALONE)
    sizes = [[batch.size for batch in loader.epoch(epoch)] for epoch in range(2)]
    assert [batch.image.shape[2:] for batch in loader.epoch(0)] == sizes[0]
    found = set()
    for epoch in sizes:
        for i in range(0, 40, 10):
            assert len(set(epoch[i : i + 10])) == 1
            found.add(epoch[i])
    assert len(found) > 2
    for height, width in found:
        assert height % 32 == width % 32 == 0
        assert 64 <= height <= 192
        assert 64 <= width <= 256
    tiny = Loader(samples, settings(size=(32, 32), multi_scale=0.9, augmentation=PLAIN), ALONE)
    assert all(min(batch.size) >= 32 for batch in tiny.epoch(0))


def test_the_last_epochs_are_without_mosaics(tmp_path: Path) -> None:
    samples = marked(tmp_path / "x", 12)
    loader = Loader(samples, settings(epochs=3, plain=0.4, augmentation=replace(PLAIN, mosaic=1.0)), ALONE)

    def colours(epoch: int) -> int:
        return max(len(image[0].unique()) for batch in loader.epoch(epoch) for image in batch.image)

    assert [colours(epoch) for epoch in range(3)] == [4, 4, 1]


def test_an_unreadable_picture_is_replaced_by_the_next_and_reported(tmp_path: Path) -> None:
    samples = marked(tmp_path / "x", 6)
    for i in (2, 5):
        samples[i].image.write_bytes(b"no picture")
    loader = Loader(samples, settings(batch=6, augmentation=PLAIN), ALONE)
    for _ in range(2):
        (batch,) = loader.epoch(0)
        assert sorted(numbers([batch])[0]) == [0, 0, 1, 3, 3, 4]
        assert sorted(batch.targets.classes.tolist()) == [0, 0, 1, 3, 3, 4]
    assert loader.unreadable.keys() == {2, 5}
    assert all(samples[i].image.name in message for i, message in loader.unreadable.items())


def test_a_picture_that_takes_the_place_of_another_keeps_its_own_class(tmp_path: Path) -> None:
    """Else a classifier would learn that it is of the class of the one that cannot be read."""
    samples = read(classification(tmp_path / "x", train=2, val=1)).samples
    samples[1].image.write_bytes(b"no picture")
    for kind in ("label", "boxes"):
        how = settings(batch=6, augmentation=PLAIN)
        (batch,) = Loader(samples, how, ALONE, kind).epoch(0)
        middle = batch.image[:, :, 32, 32].argmax(1)  # its colour: red, green or blue
        names = [sample.image.parent.name for sample in samples]
        place = {
            int(sample.labels[0]): ("red", "green", "blue").index(name)
            for sample, name in zip(samples, names, strict=True)
        }
        assert batch.targets.labelled.tolist() == list(range(6))
        assert middle.tolist() == [place[label] for label in batch.targets.labels.tolist()]


def test_masks_and_class_maps_are_those_of_the_pixels(tmp_path: Path) -> None:
    """A white object on black, in a JPEG so large that it is decoded at a quarter."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    image = np.zeros((512, 512, 3), np.uint8)
    image[96:288, 160:480] = 255
    cv2.imwrite(str(tmp_path / "images" / "x.jpg"), image)
    cv2.imwrite(str(tmp_path / "masks" / "x.png"), image[..., 0] // 255 * 7)
    corners = np.array(((160, 96), (480, 96), (480, 288), (160, 288)), np.float32)
    box, masks = np.float32([[160, 96, 480, 288]]), ((corners,),)
    sample = Sample(tmp_path / "images" / "x.jpg", 512, 512, box, np.array([2]), masks=masks)
    how = settings(batch=4, augmentation=replace(RICH, hue=0, saturation=0, value=0))
    white = None
    for kind in ("masks", "class map"):
        (batch,) = Loader([sample] * 4, how, ALONE, kind).epoch(0)
        grey = batch.image.float().mean(1)
        sure = (grey < 60) | (grey > 200)
        white = grey > 200
        if kind == "class map":
            assert batch.targets.class_map is not None
            assert (batch.targets.class_map[sure & white] == 7).all()
            assert (batch.targets.class_map[grey < 60] == 0).all()
            continue
        found = torch.zeros_like(white)
        for picture, mask in zip(batch.targets.picture, batch.targets.masks, strict=True):  # type: ignore[arg-type]
            found[picture] |= mask.bool()
        assert (found <= ~(grey < 60)).all()
        assert found.sum() > 0.5 * white.sum()  # little ones at the edges are dropped
    (tmp_path / "masks" / "x.png").unlink()
    loader = Loader([sample] * 4, how, ALONE, "class map")
    with pytest.raises(TrainingError, match="none of the pictures"):
        list(loader.epoch(0))
    assert all("expected the class map of x.jpg" in message for message in loader.unreadable.values())


def test_where_no_picture_can_be_read_training_ends(tmp_path: Path) -> None:
    samples = marked(tmp_path / "x", 3)
    for sample in samples:
        sample.image.write_bytes(b"no picture")
    with pytest.raises(TrainingError, match=r"^none of the pictures can be read$"):
        list(Loader(samples, settings(augmentation=PLAIN), ALONE).epoch(0))


def threads(wanted: int) -> int:
    """Those that load pictures, once they are no more than wanted."""
    end = time.monotonic() + 10
    while True:
        gc.collect()
        found = sum(thread.name.startswith("onelook-load") for thread in threading.enumerate())
        if found <= wanted or time.monotonic() > end:
            return found
        time.sleep(0.01)


def test_no_thread_is_left_where_a_loader_is_done_with(samples: tuple[Sample, ...]) -> None:
    assert threads(0) == 0
    loader = Loader(samples, settings(augmentation=RICH), ALONE)
    batches = loader.epoch(0)
    next(batches)
    assert threads(2) == 2
    batches.close()  # in the middle of an epoch
    del loader, batches
    assert threads(0) == 0


def test_as_many_threads_as_processors_by_default() -> None:
    assert Settings().workers == 0
    assert Loader((), settings(workers=0), ALONE)._executor._max_workers == (os.cpu_count() or 1)
