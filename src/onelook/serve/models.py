"""The models of a server: loaded and unloaded while it runs."""

import dataclasses
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onelook.errors import Error
from onelook.loading import load
from onelook.runtime.classification import Classification
from onelook.runtime.detections import Detections
from onelook.runtime.model import Model
from onelook.runtime.segmentation import Segmentation
from onelook.runtime.session import has_cuda, processors
from onelook.serve.batcher import Batcher
from onelook.serve.metrics import Metrics
from onelook.serve.problems import ProblemError
from onelook.serve.settings import Settings

GPU_BATCH = 8


@dataclass(frozen=True, slots=True)
class Look:
    """A kind of work: pictures through a model, results as JSON has them.

    Attributes:
        thresholds: of a model that finds objects, score and IoU; its own where they are None. Others pass them over.
        names: of the classes to keep, of a detector; all where it is None.
        top: classes to give, of a classifier.
    """

    thresholds: tuple[float | None, ...] = ()
    names: frozenset[str] | None = None
    top: int = 5

    def answer(self, result: Any) -> dict[str, Any] | Exception:
        """A result, ready for JSON; an error as it is."""
        if isinstance(result, Detections):
            return result.filter(names=self.names).to_dict()
        if isinstance(result, Classification):
            return dataclasses.replace(result, shown=self.top).to_dict()
        answer: dict[str, Any] | Exception = result.to_dict() if isinstance(result, Segmentation) else result
        return answer


@dataclass(frozen=True, slots=True, eq=False)
class Tensors:
    """A kind of work: input as it is, uint8 [B, H, W, 3]. Each is a run of its own.

    Attributes:
        thresholds: of a detector, score and IoU.
    """

    thresholds: tuple[float, ...] = ()


class Served:
    """A model, its queue and its threads. Arguments as of `Models`; raises Error where it cannot be loaded."""

    def __init__(self, name: str, source: str, settings: Settings, metrics: Metrics):
        self.name = name
        threads = settings.threads or processors()
        # One picture a thread, each from its bytes to its result, as `Model.stream` does it and for the same reason.
        self.model: Model[Any] = load(source, None, settings.engine, threads, threads, settings.precision)
        self.info = self.model.info
        self.file_bytes = self.info.path.stat().st_size
        self._session = self.model.session(threads)
        self.batcher = Batcher(
            self._run,
            threads,
            self.info.batch or settings.batch or (GPU_BATCH if has_cuda() else 1),
            settings.wait,
            settings.queue,
            lambda items, seconds: metrics.run(name, items, seconds),
        )
        metrics.watch(name, self.batcher)

    def _run(self, kind: Look | Tensors, items: list[Any]) -> Sequence[Any]:
        if isinstance(kind, Look):
            thresholds = kind.thresholds if self.info.task == "detect" else ()
            return [kind.answer(result) for result in self.model.batch(items, self._session, *thresholds)]
        return [self._session.run(*items, *kind.thresholds)]

    def to_dict(self, default: bool) -> dict[str, Any]:
        """What a client may know of it."""
        info = self.info
        return {
            "name": self.name,
            "task": info.task,
            "default": default,
            "classes": list(info.names),
            "size": list(info.size),
            "dynamic_size": info.dynamic_size,
            "batch": info.batch,
            "resize": info.resize,
            "crop": info.crop,
            "sampling": info.sampling,
            "score_threshold": info.score_threshold,
            "iou_threshold": info.iou_threshold,
            "masks": info.masks,
            "proposals": info.proposals,
            "parameters": info.parameters,
            "multiply_adds": info.multiply_adds,
            "file_bytes": self.file_bytes,
        }


class Models:
    """By their names; the first that can do a task is the default for it.

    Args:
        settings: of the server; its models are loaded at once.
        metrics: are told of every run.

    Raises:
        Error: one of the models cannot be loaded.
    """

    def __init__(self, settings: Settings, metrics: Metrics):
        self._settings, self._metrics = settings, metrics
        self._changing = threading.Lock()
        # Never changed, but replaced: other threads may be going through it.
        self._served = {name: Served(name, source, settings, metrics) for name, source in settings.models.items()}

    def get(self, name: str) -> Served:
        """That of a name. Raises ProblemError 404."""
        found = self._served.get(name)
        if found is None:
            raise ProblemError(404, f"no model named {name!r}; GET /v1/models lists them")
        return found

    def find(self, name: str | None, task: str) -> Served:
        """That of a name, or the default for a task. Raises ProblemError 404, and 422 where it has another task."""
        found = self._default(task) if name is None else self.get(name)
        if found is None:
            raise ProblemError(404, f"no model to {task} is loaded")
        if not serves(found, task):
            raise ProblemError(422, f"{name} is a model to {found.info.task}, not to {task}")
        return found

    def to_dict(self) -> list[dict[str, Any]]:
        """All of them, in the order in which they were loaded."""
        return [self._describe(served) for served in self._served.values()]

    def describe(self, name: str) -> dict[str, Any]:
        """One of them. Raises ProblemError 404."""
        return self._describe(self.get(name))

    def _describe(self, served: Served) -> dict[str, Any]:
        return served.to_dict(default=served is self._default(served.info.task))

    def _default(self, task: str) -> Served | None:
        return next((one for one in self._served.values() if serves(one, task)), None)

    def load(self, name: str, file: str) -> bool:
        """Load a file of the folder that the settings name; gives whether the name is new, and replaces one that is there.

        Requests that the old one had taken are answered by it.

        Raises:
            ProblemError: 403 where there is no such folder or the file is outside it, 422 where it cannot be loaded.
        """
        folder = self.folder()
        try:
            path = (folder / file).resolve()
        except (OSError, ValueError, RuntimeError):  # no name that a file can have; links that lead to each other
            path = Path()
        if path.suffix != ".onnx" or not path.is_relative_to(folder):
            raise ProblemError(403, "only .onnx files in the server's folder of models may be loaded")
        with self._changing:
            try:
                served = Served(name, str(path), self._settings, self._metrics)
            except Error as error:
                raise ProblemError(422, str(error).replace(str(path), file)) from None
            old = self._served.get(name)
            self._served = self._served | {name: served}
        if old is not None:
            old.batcher.close(self._settings.deadline)
        return old is None

    def unload(self, name: str) -> None:
        """Forget a model, after what it had taken is done. Raises ProblemError 403 and 404 as `load` and `get`."""
        self.folder()
        with self._changing:
            served = self.get(name)
            self._served = {other: one for other, one in self._served.items() if other != name}
            self._metrics.forget(name)
        served.batcher.close(self._settings.deadline)

    def close(self) -> None:
        """Finish what was taken, and take nothing more."""
        for served in self._served.values():
            served.batcher.close(self._settings.deadline)

    def folder(self) -> Path:
        """That of model files which may be loaded. Raises ProblemError 403 where there is none."""
        if self._settings.folder is None:
            raise ProblemError(403, "this server does not load or unload models; it was started without --folder")
        return self._settings.folder.resolve()


def serves(served: Served, task: str) -> bool:
    """Whether a model can do a task; to segment, one that gives the masks of objects can too."""
    return served.info.task == task or (task == "segment" and served.info.masks)
