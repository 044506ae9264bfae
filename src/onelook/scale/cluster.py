"""Ray: where the machines are, and the parts that go to them.

The parts go through Ray Data: a dataset of their numbers, mapped by a pool of actors that each hold the model. It keeps
the machines busy, takes in those that join, starts what died again, and gives its part to it once more. The dataset is run
by an actor on the cluster, as Ray Data cannot be run from beyond it, over ray://.
"""

import contextlib
import logging
import os
import traceback
import warnings
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from onelook.errors import Error
from onelook.runtime.model import check_batch, check_threads
from onelook.runtime.picture import reason
from onelook.runtime.session import processors
from onelook.scale.job import Job
from onelook.scale.part import Part
from onelook.scale.worker import Order, Worker

if TYPE_CHECKING:
    from ray import ObjectRef

THREADS = 4  # a copy of the model; with more of them there are fewer copies in memory, and the end of a part idles more


def run(job: Job, cluster: str, threads: int | None, batch: int) -> Generator[Part]:
    """See `onelook.scale.run`."""
    check_threads(threads)
    check_batch(batch)
    missing = job.missing()
    if not missing:
        return
    with _connected(cluster) as ray:
        cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        machines = [count for count in cores if count]
        if threads is None:
            threads = min([THREADS, *machines])
        elif machines and threads > max(machines):
            raise Error(
                f"no machine of the cluster has {threads} processors for --threads; the largest has {max(machines)}"
            )
        order = Order(
            job.digest, [source.address for source in job.sources], job.output.address, job.engine, threads, batch
        )
        copies = max(1, min(len(missing), sum(count // threads for count in machines)))
        # On the head node: with any other lost, the cluster goes on.
        driver = ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})(_Driver).remote(
            order, job.model.read_bytes(), missing, copies
        )
        try:
            while (row := ray.get(driver.next.remote())) is not None:
                if row["error"]:
                    raise Error(row["error"])
                yield Part(row["number"], row["pictures"], row["failures"])
        except ray.exceptions.RayError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            what = lines[-1].strip() if lines else type(error).__name__
            raise Error(f"the cluster failed: {what}; the same command goes on with the job") from None
        finally:
            with contextlib.suppress(Exception):  # the connection may be what failed
                ray.kill(driver)


@contextlib.contextmanager
def _connected(cluster: str) -> Iterator[Any]:
    """Ray, connected; a connection that is there is used, and left as it is."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cluster == "local":
        options |= {"num_cpus": processors(), "include_dashboard": False}
    elif cluster != "auto" and not cluster.startswith("ray://"):
        raise Error(f"--cluster must be ray://HOST:PORT, auto or local; found {cluster!r}")
    try:
        with warnings.catch_warnings(action="ignore"):  # it warns of what it then raises
            ray.init(cluster, **options)
    except (OSError, RuntimeError, ValueError) as error:  # a ConnectionError is an OSError
        hint = "is it there, and has this machine its version of Ray and its token?"
        raise Error(f"{cluster}: no connection to a cluster: {reason(error).rstrip('.')}; {hint}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


class _Driver:
    """An actor that runs the dataset of parts."""

    def __init__(self, order: Order, weights: bytes, numbers: list[int], copies: int):
        import ray
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False
        parts: Any = ray.data.from_items(
            [{"number": number} for number in numbers],
            override_num_blocks=len(numbers),  # a part is what is given to an actor, and given again
        )
        pool = ray.data.ActorPoolStrategy(min_size=1, initial_size=copies)  # no limit: machines may join
        done = parts.map(
            _Actor,
            fn_constructor_args=(order, ray.put(weights)),
            compute=pool,
            num_cpus=order.threads,
        )
        # `iter_rows` would hold each row back until the next is there.
        self._rows = iter(done.iter_batches(batch_size=1, prefetch_batches=0, batch_format="pyarrow"))

    def next(self) -> dict[str, Any] | None:
        """What became of the next part that is done; None after the last."""
        for rows in self._rows:
            found: dict[str, Any] = rows.to_pylist()[0]
            return found
        return None


class _Actor:
    """A worker as an actor of Ray Data. An error of ours is a result, as Ray wraps what is raised."""

    def __init__(self, order: Order, weights: "ObjectRef[bytes]"):
        import ray

        self._worker: Worker | Error
        try:
            self._worker = Worker(order, ray.get(weights))
        except Error as error:
            self._worker = error

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number = int(row["number"])
        try:
            if isinstance(self._worker, Error):
                raise self._worker
            part = self._worker.do(number)
        except Error as error:
            return {"number": number, "pictures": 0, "failures": 0, "error": str(error)}
        except Exception:  # raised, it would end the job; so another process tries
            traceback.print_exc()
            os._exit(1)
        return {"number": number, "pictures": part.pictures, "failures": part.failures, "error": ""}
