"""What a benchmark found: rows of figures; as JSON, a table, and the speed-accuracy picture."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onelook.benchmarking.machine import Machine
from onelook.data import Dataset
from onelook.errors import Error
from onelook.runtime import atomic

# The figures of a metric that the table has, as papers write them. The first of a metric is the picture's too.
FIGURES = {"ap": "AP", "map": "mAP", "top1": "top-1", "mean_iou": "mean IoU", "ap50": "AP50", "top5": "top-5"}


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one picture takes, milliseconds."""

    p50: float
    """The median: half of the runs are faster."""
    p90: float
    """Nine of ten runs are faster."""
    runs: int
    """That were timed."""


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """What one model does with one engine, at one size of its input."""

    model: str
    """Its short name."""
    family: str
    """The name without the input's size; models of a family are on one curve."""
    path: Path
    """Of the model file."""
    task: str
    """"detect" or "classify"."""
    engine: str
    """What ran it."""
    size: tuple[int, int]
    """Height and width of the input, pixels."""
    latency: Latency
    """From a picture in memory to its result."""
    session: Latency
    """Of the model file alone, on an input that is made before."""
    pictures_per_second: float
    """From pictures in memory to their results, one in each thread: the median of the rounds."""
    memory: int | None
    """Bytes that a process with this model alone has had resident at most; None where that is not known."""
    file: int
    """Bytes of the model file."""
    parameters: int
    """Of the network."""
    multiply_adds: int | None
    """Of the network for one picture; None at another size than the model file's own."""
    accuracy: Mapping[str, float]
    """All figures of the dataset's metric by name, 0..1; none without a dataset."""
    notes: tuple[str, ...]
    """What the accuracy leaves out, in a line each."""

    @property
    def short_engine(self) -> str:
        """Its engine without what is usual."""
        return self.engine.removesuffix(" (CPU)").removesuffix(" (float32)")

    @property
    def figure(self) -> float:
        """The first of the figures: AP, mAP or top-1; NaN without a dataset."""
        return next(iter(self.accuracy.values()), math.nan)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: docs/benchmark.md explains the fields."""
        height, width = self.size
        return {
            "model": self.model,
            "family": self.family,
            "path": str(self.path),
            "task": self.task,
            "engine": self.engine,
            "size": {"width": width, "height": height},
            "latency_ms": dataclasses.asdict(self.latency),
            "session_ms": dataclasses.asdict(self.session),
            "pictures_per_second": self.pictures_per_second,
            "memory_bytes": self.memory,
            "file_bytes": self.file,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "accuracy": {name: None if math.isnan(value) else value for name, value in self.accuracy.items()},
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """A row without figures."""

    model: str
    """Its short name."""
    engine: str
    """That was asked for."""
    size: int | None
    """That was asked for."""
    error: str
    """Why, in a line."""

    def __str__(self) -> str:
        size = "" if self.size is None else f", {self.size}x{self.size}"
        return f"{self.model}, {self.engine}{size}: {self.error}"

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        size = None if self.size is None else {"width": self.size, "height": self.size}
        return {"model": self.model, "engine": self.engine, "size": size, "error": self.error}


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """What was measured side by side on one machine."""

    rows: tuple[Measurement | Failure, ...]
    """In the order asked for."""
    machine: Machine
    """What it was measured on."""
    threads: int
    """Of the processor that were used."""
    load: float | None
    """Load average of the minute before: processors that others kept busy; None where the system does not say."""
    metric: str | None = None
    """That the accuracy is of; see `onelook.evaluate`."""
    dataset: Dataset | None = None
    """What the accuracy was measured on."""

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """The rows with figures."""
        return tuple(row for row in self.rows if isinstance(row, Measurement))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The rows without."""
        return tuple(row for row in self.rows if isinstance(row, Failure))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: docs/benchmark.md explains the fields."""
        data = self.dataset
        return {
            "machine": dataclasses.asdict(self.machine),
            "threads": self.threads,
            "load_before": self.load,
            "data": None if data is None else str(data.path),
            "split": None if data is None else data.split,
            "pictures": None if data is None else len(data),
            "metric": self.metric,
            "rows": [row.to_dict() for row in self.rows],
        }

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Head and rows, as text."""
        known = {name for row in self.measurements for name in row.accuracy}
        figures = [name for name in FIGURES if name in known]
        head = ("model", "engine", "input", *(FIGURES[name] for name in figures), "ms", "p90", "pictures/s",
                "session ms", "memory MB", "file MB", "params M", "MAdds G")  # fmt: skip
        return head, [_cells(row, figures, len(head)) for row in self.rows]

    def conditions(self) -> str:
        """The machine and how much of it was used and free, in a line."""
        load = "" if self.load is None else f"; load before {self.load:.1f}"
        return f"{self.machine}; {self.threads} thread{'s' if self.threads > 1 else ''} used{load}"

    def save(self, folder: str | Path, published: bool = False) -> list[Path]:
        """Writes benchmark.json, table.md and, where accuracy was measured, speed-accuracy.png and .svg into a folder.

        Args:
            folder: made where it is missing.
            published: the picture has a second half, with what papers print of their detectors.

        Raises:
            Error: a file cannot be written; no figures of COCO's AP to show beside the published ones.
            MissingDependencyError: matplotlib is not installed.
        """
        folder = Path(folder)
        report = json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n"
        files = [_write(folder / "benchmark.json", report), _write(folder / "table.md", self._markdown())]
        if published and self.metric != "coco":
            raise Error("published figures are AP on COCO; there are no figures of that metric to show beside them")
        if any(not math.isnan(row.figure) for row in self.measurements):
            from onelook.benchmarking import chart

            files += chart.save(chart.speed_accuracy(self, published), folder / "speed-accuracy")
        return files

    def _markdown(self) -> str:
        head, rows = self.table()
        lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in (head, *rows)]
        lines.insert(1, "|---" * 3 + "|--:" * (len(head) - 3) + "|")
        return "\n".join((*lines, "", self.conditions(), *(f"\n{row}" for row in self.failures), ""))


def _cells(row: Measurement | Failure, figures: list[str], columns: int) -> tuple[str, ...]:
    if isinstance(row, Failure):
        size = "-" if row.size is None else f"{row.size}x{row.size}"
        return row.model, row.engine, size, *["-"] * (columns - 3)
    height, width = row.size
    accuracy = [row.accuracy.get(name, math.nan) for name in figures]
    return (
        row.model,
        row.short_engine,
        f"{width}x{height}",
        *("-" if math.isnan(value) else f"{value:.3f}" for value in accuracy),
        f"{row.latency.p50:.2f}",
        f"{row.latency.p90:.2f}",
        f"{row.pictures_per_second:.1f}",
        f"{row.session.p50:.2f}",
        "-" if row.memory is None else f"{row.memory / 1e6:.0f}",
        f"{row.file / 1e6:.1f}",
        f"{row.parameters / 1e6:.2f}",
        "-" if row.multiply_adds is None else f"{row.multiply_adds / 1e9:.2f}",
    )


def _write(path: Path, text: str) -> Path:
    return atomic.save(path, text.encode("utf-8", "backslashreplace"), Error)
