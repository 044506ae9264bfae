"""Which engine runs a model file faster on this machine: measured once, then remembered.

In float32 neither is always ahead. On two cores of an AMD EPYC, OpenVINO takes 0% to 17% longer than ONNX Runtime for
MobileNets and the YOLOs on them, and 20% less for a RetinaNet; it starts a quarter of a second later. In bfloat16 it takes
25% to 50% less there, and has none on older processors.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from onelook.errors import Error, ModelError
from onelook.runtime import atomic
from onelook.runtime.session import Session, has_cuda, open_session, processors

LEAST_WORK = 50_000_000  # multiply-adds; with fewer, a photograph takes longer to decode than to look at
TURN = 0.1  # seconds that an engine runs before the other has its turn
TURNS = 3  # of each after one that does not count; to load the second engine takes another 0.1 to 0.4 s
GAIN = 0.9  # of ONNX Runtime's time: what OpenVINO must be faster than, as it starts later
_ENGINES = ("onnxruntime", "openvino")
_PART = 1 << 16  # bytes


def open_faster(
    memory: Path | None,
    path: str | Path,
    engine: str = "auto",
    threads: int | None = None,
    streams: int = 1,
    precision: str = "float32",
) -> Session:
    """As `open_session`, but where `engine` is "auto" and there is a choice, the engine that was measured to be faster.

    There is one where both engines are installed, no GPU is used, and there are as many `streams` as threads, which says
    that many pictures are to come: for one, the measurement would take longer than the picture.

    Args:
        memory: folder of what was measured, which need not exist. What cannot be read or written there does no harm. None
            for no measurement.
        path, engine, threads, streams, precision: as of `open_session`.
    """
    threads = threads or processors()
    many = streams == threads > 1
    if memory is None or engine != "auto" or not many or not importlib.util.find_spec("openvino") or has_cuda():
        return open_session(path, engine, threads, streams, precision)
    try:
        note = memory / _key(Path(path), threads, streams, precision)
        known = note.read_bytes().decode("ascii", "replace") if note.is_file() else ""
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return open_session(path, engine, threads, streams, precision)
    if known in _ENGINES:
        return open_session(path, known, threads, streams, precision)
    session = faster(lambda name: open_session(path, name, threads, streams, precision))
    with contextlib.suppress(Error):
        atomic.save(note, session.engine.partition(" ")[0].encode(), Error)
    return session


def faster(load: Callable[[str], Session]) -> Session:
    """The session of the engine that takes less of the processor's time for a picture.

    With as many pictures at once as there are threads, that is the one which gets more of them done; and unlike seconds,
    processor time is the same when others use the machine too.

    Args:
        load: gives the session of an engine: "onnxruntime", "openvino", or "auto" for the one that is taken unmeasured,
            where the model is too small or too large to be worth it.
    """
    session = load("onnxruntime")
    if session.info.multiply_adds < LEAST_WORK:
        return load("auto")
    run = _run(session)
    try:
        start = time.process_time()
        run()
        if time.process_time() - start > TURN:
            return load("auto")
        other = load("openvino")
        run_other = _run(other)
        # OpenVINO's first runs take twice as long.
        turns = [(_cost(run), _cost(run_other)) for _ in range(1 + TURNS)][1:]
    except ModelError:  # OpenVINO knows fewer operators; and some networks cannot look at noise
        return session
    cost, cost_of_other = map(statistics.median, zip(*turns, strict=True))
    return other if cost_of_other < GAIN * cost else session


def _run(session: Session) -> Callable[[], object]:
    """One run over a picture of noise."""
    info = session.info
    image = np.random.default_rng(0).integers(0, 256, (info.batch or 1, *info.size, 3), np.uint8)
    return lambda: session.run(image, *info.thresholds)


def _cost(run: Callable[[], object]) -> float:
    """Processor seconds of a run, on average over a turn."""
    runs, end, start = 0, time.perf_counter() + TURN, time.process_time()
    while runs == 0 or time.perf_counter() < end:
        run()
        runs += 1
    return (time.process_time() - start) / runs


def processor_name() -> str:
    """What the maker calls the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine() or "unknown processor"


def _key(path: Path, threads: int, streams: int, precision: str) -> str:
    """A name for what the speed depends on."""
    import onnxruntime

    try:
        openvino = version("openvino")
    except PackageNotFoundError:
        openvino = ""
    parts = [_digest(path), processor_name(), processors(), onnxruntime.__version__, openvino]
    return hashlib.sha256(json.dumps([*parts, threads, streams, precision]).encode()).hexdigest()[:32]


def _digest(path: Path) -> str:
    """Of a file's size, beginning, middle and end: all of some would take longer than the start."""
    size = os.path.getsize(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for place in (0, size // 2, max(0, size - _PART)):
            file.seek(place)
            digest.update(file.read(_PART))
    return digest.hexdigest()
