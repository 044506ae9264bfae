"""What a run tells people: a bar and a line an epoch on the terminal, curves and pictures for TensorBoard."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from onelook.errors import TrainingError
from onelook.runtime import atomic
from onelook.runtime.draw import draw
from onelook.training.distributed import mean
from onelook.training.loader import Batch
from onelook.training.run import Run

CURVE_EVERY = 20  # steps
SHOWN = 16  # pictures of the first batch


class Journal:
    """Speaks for the first process; the others are silent.

    Args:
        run: at its start.
        steps: an epoch.
        names: of the classes.
        quiet: print nothing; the files are written all the same.
    """

    def __init__(self, run: Run, steps: int, names: tuple[str, ...], quiet: bool = False):
        first = run.processes.rank == 0
        self._steps, self._names, self._speaks = steps, names, first and not quiet
        done = run.epoch * steps + run.step
        self._board = SummaryWriter(str(run.folder), purge_step=done) if first else None
        columns = (
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.1f} pictures/s"),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, disable=not (self._speaks and console.is_terminal))
        self._task = self._bar.add_task(
            "", total=run.settings.epochs * steps, completed=done, epoch=run.epoch + 1, rate=0
        )
        self._start, self._pictures, self._shown = time.perf_counter(), 0, done > 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *unused: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def step(self, run: Run, batch: Batch, terms: Mapping[str, Tensor]) -> None:
        """After every step. Raises TrainingError where a term of the loss is not a finite number."""
        values = mean(torch.stack(list(terms.values())).detach(), run.processes)
        if not values.isfinite().all():
            raise TrainingError(
                f"the loss is not a number any more in epoch {run.epoch + 1}, step {run.step}; try a lower learning rate"
            )
        for name, value in zip(terms, values.tolist(), strict=True):
            run.sums[name] = run.sums.get(name, 0.0) + value
        self._pictures += len(batch.image) * run.processes.count
        self._bar.update(self._task, advance=1, epoch=run.epoch + 1, rate=self._rate)
        if self._board is None:
            return
        place = run.epoch * self._steps + run.step
        if place % CURVE_EVERY == 1:
            for name, value in zip(terms, values.tolist(), strict=True):
                self._board.add_scalar(f"loss/{name}", value, place)
            self._board.add_scalar("learning_rate", run.optimizer.param_groups[-1]["lr"], place)
        if not self._shown:
            self._shown = True
            sheet = self._sheet(batch)
            self._board.add_image("training pictures", sheet, place, dataformats="HWC")
            data = cv2.imencode(".jpg", sheet[:, :, ::-1])[1].tobytes()
            atomic.save(run.folder / "pictures.jpg", data, TrainingError)

    def epoch(self, run: Run, measures: Mapping[str, float]) -> None:
        """At the end of every epoch."""
        if self._board is not None:
            for name, value in measures.items():
                self._board.add_scalar(f"validation/{name}", value, (run.epoch + 1) * self._steps)
        if self._speaks:
            figures = {**run.means, **{name: value for name, value in measures.items() if name != "score"}}
            text = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            line = f"epoch {run.epoch + 1}/{run.settings.epochs}  {text}  {self._rate:.1f} pictures/s"
            if self._bar.disable:
                print(line, file=sys.stderr, flush=True)
            else:
                self._bar.console.print(line, highlight=False)

    @property
    def _rate(self) -> float:
        """Pictures a second, those of validation not counted, but its time."""
        return self._pictures / (time.perf_counter() - self._start)

    def _sheet(self, batch: Batch) -> NDArray[np.uint8]:
        """The first pictures with their boxes, four in a row: RGB [H, W, 3]."""
        drawn = []
        targets = batch.targets
        for i, image in enumerate(batch.image[:SHOWN].permute(0, 2, 3, 1).numpy()):
            mine = targets.picture == i
            classes = targets.classes[mine].numpy()
            labels = [self._names[kind] for kind in classes]
            drawn.append(draw(np.ascontiguousarray(image), targets.boxes[mine].numpy(), classes, labels))
        drawn += [np.zeros_like(drawn[0])] * (-len(drawn) % 4)
        return np.concatenate([np.concatenate(drawn[i : i + 4], axis=1) for i in range(0, len(drawn), 4)])
