"""Models side by side: how accurate, how fast, how large."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from onelook.benchmarking.contender import Contender, Source, family_of, names_of
from onelook.benchmarking.machine import this_machine
from onelook.benchmarking.memory import peak_memory
from onelook.benchmarking.result import Benchmark, Failure, Latency, Measurement
from onelook.benchmarking.turns import split, take_turns, timed
from onelook.data import Dataset
from onelook.errors import Error, SourceError
from onelook.evaluation import Evaluation, evaluate, read_dataset
from onelook.evaluation.run import DEFAULT_METRICS
from onelook.metrics.coco import need
from onelook.runtime import picture
from onelook.runtime.model import check_threads
from onelook.runtime.session import processors

RUNS = 50
PICTURES = 16  # of the dataset that are shown while the clock runs
STREAM_ROUNDS = 5

Tell = Callable[[str], None]
Pixels = NDArray[np.uint8]


class _Ready(NamedTuple):
    """A contender that is loaded and has shown what it can."""

    name: str
    contender: Contender
    evaluation: Evaluation | None
    memory: int | None


def benchmark(
    models: Sequence[Source],
    data: str | Path | Dataset | None = None,
    split: str | None = None,
    engines: Sequence[str] = ("auto",),
    sizes: Sequence[int | None] = (None,),
    runs: int = RUNS,
    threads: int | None = None,
    tell: Tell | None = None,
) -> Benchmark:
    """Measure models side by side, each with every engine and at every size: docs/benchmark.md says how.

    Args:
        models: each what `onelook.load` takes.
        data: what `onelook.evaluate` takes, for the accuracy; without it there is none.
        split: of the dataset, as of `onelook.evaluate`.
        engines: as of `onelook.load`.
        sizes: sides of the input, for detectors whose model file takes any; None is a model's own.
        runs: how often each is timed, at least.
        threads: of the processor; all of them by default.
        tell: called with what is done next, as the work goes on.

    Returns:
        A row for each model, engine and size. One that cannot be measured is a `Failure`.

    Raises:
        DataError: no such dataset or split.
        MissingDependencyError: the dataset's metric is COCO's, and faster-coco-eval is not installed.
        Error: no models, or a number of runs or threads that is none.
    """
    check_threads(threads)
    if runs < 1:
        raise Error(f"runs must be 1 or more; found {runs}")
    if not (models and engines and sizes):
        raise Error("nothing to measure: there must be a model, an engine and a size at least")
    tell = tell or (lambda what: None)
    dataset = read_dataset(data, split) if isinstance(data, str | Path) else data
    if dataset is not None and DEFAULT_METRICS[dataset.format] == "coco":
        need("faster_coco_eval", "COCO's AP")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    threads = threads or processors()
    pictures = _pictures(dataset)
    asked = [
        (name, model, engine, size)
        for name, model in zip(names_of(models), models, strict=True)
        for engine in engines
        for size in sizes
    ]
    rows: list[_Ready | Failure] = []
    for name, model, engine, size in asked:
        tell(f"loading {name} with {engine}" + ("" if dataset is None else ", measuring its accuracy"))
        try:
            rows.append(_ready(name, model, engine, size, threads, dataset, pictures[0]))
        except Error as error:
            rows.append(Failure(name, engine, size, str(error)))
    ready = [row for row in rows if isinstance(row, _Ready)]
    metric = next((row.evaluation.metric for row in ready if row.evaluation), None)
    measured = iter(_timed(ready, pictures, runs, threads, tell))
    found = tuple(row if isinstance(row, Failure) else next(measured) for row in rows)
    return Benchmark(found, this_machine(), threads, load, metric, dataset)


def _ready(
    name: str, model: Source, engine: str, size: int | None, threads: int, dataset: Dataset | None, sample: Pixels
) -> _Ready:
    contender = Contender(model, engine, threads, size)
    contender.check(sample)
    evaluation = None
    if dataset is not None:
        with _opencv(1):
            evaluation = evaluate(contender.path, dataset, engine=engine, threads=threads, **contender.options)
    return _Ready(
        name, contender, evaluation, peak_memory(contender.path, engine, threads, contender.options.get("size"))
    )


def _timed(
    ready: Sequence[_Ready], pictures: Sequence[Pixels], runs: int, threads: int, tell: Tell
) -> list[Measurement]:
    contenders = [one.contender for one in ready]
    rounds, each = split(runs)

    def turn(run: Callable[[], object]) -> Callable[[], list[float]]:
        return lambda: timed(run, each)

    tell(f"timing one picture, {rounds} rounds")
    with _opencv(threads):
        whole = [turn(one.whole(pictures)) for one in contenders]
        alone = [turn(one.session(pictures)) for one in contenders]
        seconds = take_turns([*whole, *alone], rounds)
    tell(f"timing streams of pictures, {STREAM_ROUNDS} rounds")
    with _opencv(1):  # each picture has a thread; OpenCV's own would only get in their way
        rates = take_turns([one.stream(pictures, each) for one in contenders], STREAM_ROUNDS)
    parts = zip(ready, seconds[: len(ready)], seconds[len(ready) :], rates, strict=True)
    return [_measurement(one, whole, alone, rate) for one, whole, alone, rate in parts]


def _measurement(ready: _Ready, whole: list[float], alone: list[float], rates: list[float]) -> Measurement:
    name, contender, evaluation, memory = ready
    info = contender.info
    return Measurement(
        model=name,
        family=family_of(name, info.size),
        path=contender.path,
        task=info.task,
        engine=contender.engine,
        size=contender.size,
        latency=_latency(whole),
        session=_latency(alone),
        pictures_per_second=float(np.median(rates)),
        memory=memory,
        file=contender.path.stat().st_size,
        parameters=info.parameters,
        multiply_adds=info.multiply_adds if contender.size == info.size else None,
        accuracy={} if evaluation is None else dict(evaluation.numbers),
        notes=() if evaluation is None else evaluation.run.notes,
    )


def _latency(seconds: list[float]) -> Latency:
    p50, p90 = 1000 * np.quantile(seconds, (0.5, 0.9))
    return Latency(float(p50), float(p90), len(seconds))


def _pictures(dataset: Dataset | None) -> list[Pixels]:
    """Some of the dataset's, evenly spread; without a dataset, one of soft noise, of COCO's usual size."""
    samples = () if dataset is None else dataset.samples
    found = []
    for i in np.unique(np.linspace(0, len(samples) - 1, min(PICTURES, len(samples))).round().astype(int)):
        with contextlib.suppress(SourceError):  # the accuracy's notes speak of it
            found.append(picture.read(samples[i].image))
    if found:
        return found
    noise = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    return [np.asarray(cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC), np.uint8)]


@contextlib.contextmanager
def _opencv(threads: int) -> Iterator[None]:
    """OpenCV, which resizes pictures, works in so many threads."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
