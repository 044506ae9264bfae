"""onelook detect --cluster."""

import contextlib
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from onelook.cli.show import busy, progress
from onelook.errors import Error


def detect_on_cluster(
    cluster: str,
    sources: Sequence[str],
    output: str | None,
    model: str,
    settings: tuple[Any, ...],
    threads: int | None,
    batch: int,
    as_json: bool,
) -> int:
    """Do a job, or what is left of it, until it ends or Ctrl-C; gives the exit code.

    Args:
        settings: what `onelook.scale.prepare` takes behind the model.
        cluster, sources, output, model, threads, batch: as of `onelook.scale`.
        as_json: print one object instead of lines.
    """
    from onelook import scale

    if output is None:
        raise Error("--cluster needs --output: a folder that all machines see, or s3://BUCKET/PREFIX")
    with busy("listing pictures"):
        job = scale.prepare(sources, output, model, *settings)
        left = job.left()
    pictures, start = 0, time.perf_counter()
    with (
        contextlib.suppress(KeyboardInterrupt),  # whole parts are what is left of a job at any moment
        contextlib.redirect_stdout(sys.stderr),  # Ray prints there what it loses
        contextlib.closing(scale.run(job, cluster, threads, batch)) as parts,
        progress(left, not as_json) as step,
    ):
        for part in parts:
            pictures += part.pictures
            for _ in range(part.pictures):
                step()
    seconds = time.perf_counter() - start
    total, failures = job.totals()
    report = {
        "pictures": total,
        "failures": failures,
        "before": job.pictures - left,
        "seconds": round(seconds, 3),
        "pictures_per_second": round(pictures / seconds, 2),
        "output": str(job.output),
    }
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        before = f" ({job.pictures - left} of them before)" if left < job.pictures else ""
        print(f"{total} pictures{before} in {seconds:.1f} s, {pictures / seconds:.1f} pictures/s\n{job.output}")
    if failures:
        print(f"{failures} of {total} pictures could not be read", file=sys.stderr)
    if pictures < left:
        print(f"interrupted; {job.pictures - total} pictures are left; the same command goes on", file=sys.stderr)
        return 130
    return (1 if failures < total else 2) if failures else 0
