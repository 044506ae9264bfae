"""Batches of training pictures, made by threads while the network works on earlier ones.

Everything random is a function of the seed, the epoch and the picture's or the step's place in it: a run that goes on
in the middle of an epoch sees what it would have seen.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onelook.data.augment import Augmentation, Labelled, augment, hsv, load, random_resized_crop
from onelook.data.class_maps import load_class_map
from onelook.data.polygons import fill
from onelook.data.sample import Sample
from onelook.detectors.targets import Targets, targets
from onelook.errors import DataError, SourceError, TrainingError
from onelook.training.distributed import Processes
from onelook.training.job import Kind
from onelook.training.settings import Settings

AHEAD = 3  # batches in the making


class Batch(NamedTuple):
    """One step's part of this process."""

    image: Tensor
    """uint8 [B, 3, H, W], RGB, in memory channels last."""
    targets: Targets
    size: tuple[int, int]
    """H, W."""


def scaled(size: tuple[int, int], share: float) -> tuple[int, int]:
    """About that share of a size: height and width, as far from a multiple of 32 as they were."""
    height, width = (max(32, round(side * share / 32) * 32) + side % 32 for side in size)
    return height, width


class Loader:
    """The batches of each epoch.

    Args:
        samples: the pictures; those that have labels and no boxes are of a class as a whole.
        settings: of the run.
        processes: which of them this is; each gets its share of every batch.
        kind: what of the labels is wanted. For a "label" pictures are cut as for a classifier, instead of moved and
            joined.

    Attributes:
        steps: batches an epoch; pictures beyond the last whole batch wait for another epoch's order.
        unreadable: what was wrong with pictures that could not be read; in their place came the next ones.
    """

    def __init__(self, samples: Sequence[Sample], settings: Settings, processes: Processes, kind: Kind = "boxes"):
        self.samples, self.settings, self.processes, self.kind = samples, settings, processes, kind
        self.steps = max(1, len(samples) // settings.batch)
        # Only these go into others' mosaics: what a picture of a class as a whole shows is not known to be elsewhere.
        self._boxed = [i for i, sample in enumerate(samples) if not _is_whole(sample)]
        self.unreadable: dict[int, str] = {}
        self._executor = ThreadPoolExecutor(settings.workers or os.cpu_count(), "onelook-load")

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from a step on."""
        settings = self.settings
        order = np.random.default_rng((settings.seed, number)).permutation(len(self.samples))
        order = np.resize(order, max(len(order), settings.batch))  # fewer pictures than a batch has are repeated
        augmentation = settings.augmentation
        if number >= settings.epochs * (1 - settings.plain):
            augmentation = replace(augmentation, mosaic=0.0)
        pending: deque[tuple[list[Future[_Made]], tuple[int, int]]] = deque()
        try:
            for step in range(start, self.steps):
                size = self._size(number, step)
                places = range(step * settings.batch + self.processes.rank, (step + 1) * settings.batch)
                jobs = [
                    self._executor.submit(self._make, int(order[i]), (settings.seed, number, i), size, augmentation)
                    for i in places[:: self.processes.count]
                ]
                pending.append((jobs, size))
                if len(pending) > AHEAD:
                    yield _batch(*pending.popleft())
            while pending:
                yield _batch(*pending.popleft())
        finally:
            for jobs, _ in pending:
                for job in jobs:
                    job.cancel()

    def _size(self, epoch: int, step: int) -> tuple[int, int]:
        """Of the input: the same for ten steps, then another (arXiv:1612.08242, "Multi-Scale Training")."""
        settings = self.settings
        if not settings.multi_scale:
            return settings.size
        rng = np.random.default_rng((settings.seed, epoch, step // 10, 1))
        return scaled(settings.size, 1 + rng.uniform(-settings.multi_scale, settings.multi_scale))

    def _make(
        self, index: int, seed: tuple[int, int, int], size: tuple[int, int], augmentation: Augmentation
    ) -> "_Made":
        rng = np.random.default_rng(seed)
        first, sample = self._load(index, size)
        whole = _is_whole(sample)
        if self.kind == "label":
            image = random_resized_crop(first.image, size, rng)
            if rng.random() < augmentation.flip:
                image = np.ascontiguousarray(image[:, ::-1])
            image = hsv(image, rng, augmentation.hue, augmentation.saturation, augmentation.value)
            return _Made(
                replace(first, image=image, boxes=first.boxes[:0], classes=first.classes[:0]), sample.labels[0]
            )
        if whole:
            augmentation = replace(augmentation, mosaic=0.0)
        made = augment(
            lambda i: first if i == index else self._load(self._boxed[i % len(self._boxed)], size)[0],
            index,
            len(self.samples),
            size,
            rng,
            augmentation,
        )
        masks = None
        if self.kind == "masks":
            masks = np.array([fill(outline, size) for outline in made.outlines], np.bool_).reshape(-1, *size)
        return _Made(made, sample.labels[0] if whole else None, masks)

    def _load(self, index: int, size: tuple[int, int]) -> tuple[Labelled, Sample]:
        """A picture, or the next one that can be read, and whose it is."""
        for i in (*range(index, len(self.samples)), *range(index)):
            if i not in self.unreadable:
                try:
                    found = load(self.samples[i], size, outlined=self.kind == "masks")
                    if self.kind == "class map":
                        found = replace(found, class_map=load_class_map(self.samples[i], found.image.shape[:2]))
                    return found, self.samples[i]
                except (SourceError, DataError) as error:
                    self.unreadable[i] = str(error)
        raise TrainingError("none of the pictures can be read")


def _is_whole(sample: Sample) -> bool:
    """Whether it is known what the picture shows, but not where."""
    return len(sample.labels) > 0 and not len(sample)


class _Made(NamedTuple):
    labelled: Labelled
    label: np.int64 | None
    masks: NDArray[np.bool_] | None = None
    """[N, H, W]."""


def _batch(jobs: list["Future[_Made]"], size: tuple[int, int]) -> Batch:
    made = [job.result() for job in jobs]
    # Pixels stay in the order they lie in: torch calls it channels last, and convolves it faster.
    image = torch.from_numpy(np.stack([one.labelled.image for one in made])).permute(0, 3, 1, 2)
    return Batch(
        image,
        targets(
            [torch.from_numpy(one.labelled.boxes) for one in made],
            [torch.from_numpy(one.labelled.classes) for one in made],
            {i: int(one.label) for i, one in enumerate(made) if one.label is not None},
            _tensors([one.masks for one in made]),
            _tensors([one.labelled.class_map for one in made]),
        ),
        size,
    )


def _tensors(arrays: "list[NDArray[Any] | None]") -> list[Tensor] | None:
    """None where there are none."""
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays if array is not None] or None
