"""Detection on many machines: pictures of folders and object stores in, Parquet out. See docs/scale.md.

>>> job = onelook.scale.prepare(["s3://bucket/pictures"], "s3://bucket/results", "yolov3.onnx")
>>> for part in onelook.scale.run(job, "ray://head:10001"):
...     print(part.number, part.pictures, part.failures)
"""

import importlib.util
from collections.abc import Collection, Generator, Sequence
from typing import TYPE_CHECKING

from onelook.errors import MissingDependencyError
from onelook.loading import DEFAULT_MODEL

if TYPE_CHECKING:
    from onelook.scale.job import Job
    from onelook.scale.part import Part

PART = 1000


def prepare(
    sources: Sequence[str],
    output: str,
    model: str = DEFAULT_MODEL,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    size: int | None = None,
    classes: Collection[str] | None = None,
    part: int = PART,
    engine: str = "auto",
    precision: str = "float32",
) -> "Job":
    """List the pictures and cut the list into parts; or open what was begun in `output`, and is to be gone on with.

    Args:
        sources: folders, or addresses of prefixes in an object store: "s3://bucket/prefix", "gs://...". Local ones must be
            on a disk that all machines share.
        output: a folder or prefix, likewise. It holds one job.
        model: a model file of a detector, or what `onelook.load` takes. The machines need not have it.
        score_threshold, iou_threshold, size, engine, precision: as of `onelook.load` and `Detector`.
        classes: names of the classes to keep; all by default.
        part: pictures a part, which is what is done again if a machine is lost.

    Raises:
        Error: no pictures; a folder that holds a job of another model, threshold, size or list of sources.
        MissingDependencyError: Ray or pyarrow is not installed.
    """
    _need_ray()
    from onelook.scale.job import prepare

    return prepare(sources, output, model, score_threshold, iou_threshold, size, classes, part, engine, precision)


def run(job: "Job", cluster: str = "local", threads: int | None = None, batch: int = 1) -> "Generator[Part]":
    """Do the parts of a job that are not done, and give each when its file is written, in any order.

    Args:
        job: of `prepare`.
        cluster: "ray://HOST:PORT"; "auto", the cluster that this machine belongs to; or "local", processes of this machine.
        threads: processors a copy of the model; by default 4, or as many as the smallest machine has.
        batch: pictures a run of the model.

    Raises:
        Error: there is no such cluster, a machine cannot see the sources or the results, or a file cannot be written.
    """
    _need_ray()
    from onelook.scale.cluster import run

    return run(job, cluster, threads, batch)


def _need_ray() -> None:
    if any(importlib.util.find_spec(package) is None for package in ("ray", "pyarrow")):
        raise MissingDependencyError('a cluster needs Ray and pyarrow; pip install "onelook[scale]"')
