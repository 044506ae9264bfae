"""The state of a training run, and its files: what `train --resume` goes on from."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from onelook.errors import TrainingError
from onelook.runtime import atomic
from onelook.runtime.picture import shown
from onelook.runtime.session import FORMAT
from onelook.training.average import Average
from onelook.training.distributed import Processes
from onelook.training.optimizer import make_optimizer
from onelook.training.settings import Settings


class Run:
    """All that training changes.

    Args:
        folder: of the run's files.
        network: on the device, channels last.
        settings: how it is trained.
        about: what the network and the data are; JSON, kept with the state.
        processes: which of them this is; the first one writes.

    Attributes:
        optimizer, scaler, average: of the network's weights.
        epoch, step: the next one, from 0; of the epoch.
        sums: of the loss terms of this epoch's steps.
        history: of each epoch that has ended, its measures and mean losses.
        best: the highest score; since_best: evaluations since.
    """

    def __init__(
        self, folder: Path, network: nn.Module, settings: Settings, about: dict[str, Any], processes: Processes
    ):
        self.folder, self.network, self.settings, self.about = folder, network, settings, about
        self.processes = processes
        self.optimizer = make_optimizer(network, settings)
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=settings.precision == "float16")
        self.average = Average(network, settings.average)
        self.epoch = self.step = self.since_best = 0
        self.best = -math.inf
        self.sums: dict[str, float] = {}
        self.history: list[dict[str, float]] = []

    @property
    def path(self) -> Path:
        """Of the state."""
        return self.folder / "last.safetensors"

    def end_epoch(self, measures: Mapping[str, float], save: Callable[[nn.Module, Path], Path]) -> None:
        """Counts the epoch, and saves the averaged network where it is the best so far, then the state.

        Args:
            measures: of the averaged network; empty where it was not evaluated. The score is NaN where the validation has
                nothing to measure it with. Without any score, the last network is the best.
            save: writes a network to a file.
        """
        self.history.append({**self.means, **measures})
        self.epoch, self.step, self.sums = self.epoch + 1, 0, {}
        score = measures.get("score", math.nan)
        better = self.best == -math.inf or score > self.best
        if not math.isnan(score):
            self.since_best = 0 if better else self.since_best + 1
            self.best = max(self.best, score)
        if better and self.processes.rank == 0:
            save(self.average.network, self.best_path)
        self.save()

    @property
    def means(self) -> dict[str, float]:
        """Of the loss terms over this epoch's steps."""
        return {name: total / self.step for name, total in self.sums.items()}

    @property
    def best_path(self) -> Path:
        """Of the best network."""
        return self.folder / "best.safetensors"

    def save(self) -> None:
        """Writes the state, beside its place and then renamed. Raises TrainingError where that fails."""
        if self.processes.rank:
            return
        tensors = {f"network.{key}": tensor for key, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{key}": tensor for key, tensor in self.average.network.state_dict().items()}
        for i, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{key}": tensor for key, tensor in values.items() if tensor is not None}
        progress = {
            "about": self.about,
            "settings": dataclasses.asdict(self.settings),
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.sums,
            "history": self.history,
            "best": self.best if math.isfinite(self.best) else None,
            "since_best": self.since_best,
            "changes": self.average.changes,
            "scaler": self.scaler.state_dict(),
        }
        header = {"format": FORMAT, "run": json.dumps(progress)}
        data = safetensors.torch.save({key: tensor.contiguous() for key, tensor in tensors.items()}, header)
        atomic.save(self.path, data, TrainingError)

    def restore(self) -> None:
        """Reads the state back into a run of the same network and settings. Raises TrainingError where it does not fit."""
        progress = read_progress(self.path)
        try:
            self._restore(progress)
        except (safetensors.SafetensorError, OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
            raise TrainingError(f"{self.path}: is not the state of this run: {_line(error)}") from None

    def _restore(self, progress: Mapping[str, Any]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimizer": {}}
        with safetensors.safe_open(self.path, "pt") as file:
            for key in file.keys():  # noqa: SIM118
                part, _, name = key.partition(".")
                parts[part][name] = file.get_tensor(key)
        self.network.load_state_dict(parts["network"])
        self.average.network.load_state_dict(parts["average"])
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in parts["optimizer"].items():
            i, _, name = key.partition(".")
            state.setdefault(int(i), {})[name] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.epoch, self.step, self.sums = progress["epoch"], progress["step"], progress["sums"]
        self.history, self.since_best = progress["history"], progress["since_best"]
        self.best = -math.inf if progress["best"] is None else progress["best"]
        self.average.changes = progress["changes"]
        self.scaler.load_state_dict(progress["scaler"])


def read_progress(path: Path) -> dict[str, Any]:
    """What the header of a run's state says. Raises TrainingError where there is none."""
    if not path.is_file():
        raise TrainingError(f"{path}: there is no such file; expected the folder of a run")
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = file.metadata() or {}
        found: dict[str, Any] = json.loads(header["run"])
        missing = {"about", "settings", "epoch", "step", "history"} - found.keys()
    except (safetensors.SafetensorError, OSError, LookupError, ValueError, AttributeError, RecursionError) as error:
        raise TrainingError(f"{path}: is not the state of a training run: {_line(error)}") from None
    if missing:
        raise TrainingError(f"{path}: is not the state of a training run: it does not say its {min(missing)}")
    return found


def _line(error: Exception) -> str:
    """What an error of others says, in one line."""
    return shown(" ".join(str(error).split())[:200])
