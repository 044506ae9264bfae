"""A cluster of processes on this machine, some of which are killed."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import onelook
from onelook import scale
from onelook.errors import Error

pytest.importorskip("pyarrow")
pytest.importorskip("ray")

import ray
from pyarrow import parquet
from ray.cluster_utils import Cluster

from onelook.scale.cluster import _Actor
from onelook.scale.job import Job
from onelook.scale.worker import Order

PICTURES, PART = 120, 10
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def job(tmp_path: Path, model_file: Make) -> Job:
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(PICTURES):
        if i < 7:
            small = random.integers(0, 256, (12, 16, 3), np.uint8)
            cv2.imwrite(str(folder / f"{i:03d}.jpg"), cv2.resize(small, (1600, 1200), interpolation=cv2.INTER_CUBIC))
        else:
            shutil.copy(folder / f"{i % 7:03d}.jpg", folder / f"{i:03d}.jpg")
    (folder / "050.jpg").write_bytes(b"\xff\xd8 cut short")
    return scale.prepare([str(folder)], str(tmp_path / "results"), str(model_file("v3")), part=PART)


def actors(cluster: Any) -> list[int]:
    """The processes of the cluster that hold a model."""
    raylets = {process.process.pid for node in cluster.list_all_nodes() for process in node.all_processes["raylet"]}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in raylets and (folder / "cmdline").read_text().startswith("ray::MapWorker"):
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_every_picture_is_there_once_though_processes_a_machine_and_the_driver_are_lost(
    cluster: Any, job: Job, model_file: Make
) -> None:
    first = []
    with contextlib.closing(scale.run(job, "auto", threads=1)) as parts:
        for part in parts:
            first.append(part)
            if len(first) == 1:
                os.kill(actors(cluster)[0], signal.SIGKILL)
            if len(first) == 3:
                break
    time.sleep(0.5)  # a part whose file was about to be written
    before = {path.name: path.stat().st_mtime_ns for path in Path(job.output.path).glob("parts/part-*")}
    assert len(first) <= len(before) < PICTURES // PART - 1, "it was done before anything was lost"
    rest = []
    for part in scale.run(job, "auto", threads=1):
        rest.append(part)
        if len(rest) == 1:
            cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    after = {path.name: path.stat().st_mtime_ns for path in Path(job.output.path).glob("parts/part-*")}
    assert before.items() <= after.items()
    assert len(rest) == len(after) - len(before)
    assert not {part.number for part in first} & {part.number for part in rest}

    assert job.totals() == (PICTURES, 1)
    rows = parquet.read_table(f"{job.output.path}/parts").to_pylist()
    folder = job.sources[0].path
    assert sorted(row["source"] for row in rows) == [f"{folder}/{i:03d}.jpg" for i in range(PICTURES)]
    errors = [row["error"] for row in rows if row["error"]]
    assert errors == [f"{folder}/050.jpg: the JPEG picture is cut short; its end is missing"]
    detector = onelook.load(model_file("v3"))
    for row in rows[:20]:
        expected = detector(row["source"])
        np.testing.assert_allclose(np.asarray(row["boxes"]).reshape(-1, 4), expected.boxes, atol=0.01)
        assert (row["names"], row["width"], row["height"]) == (expected.names, 1600, 1200)
    assert list(scale.run(job, "auto")) == []


def test_what_the_cluster_cannot_do_is_an_error(cluster: Any, job: Job) -> None:
    with pytest.raises(Error, match="no machine of the cluster has 64 processors"):
        list(scale.run(job, "auto", threads=64))
    order = Order(job.digest, [job.sources[0].path], job.output.path, "auto", 1, 1)
    weights = ray.put(job.model.read_bytes())
    assert _Actor(order, weights)({"number": 3}) == {"number": 3, "pictures": PART, "failures": 0, "error": ""}
    unseen = replace(order, sources=["/none"])
    assert "does not see it; give a folder of a disk that all" in _Actor(unseen, weights)({"number": 4})["error"]
    assert "does not see it" in _Actor(replace(order, digest="other"), weights)({"number": 4})["error"]
    assert "is not a model that ONNX Runtime can run" in _Actor(order, ray.put(b"no model"))({"number": 4})["error"]
