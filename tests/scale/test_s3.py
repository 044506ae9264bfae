"""An object store: a server that speaks S3, in this process."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("ray")
pytest.importorskip("boto3")
pytest.importorskip("moto.server")

import boto3
from moto.server import ThreadedMotoServer
from pyarrow import parquet

from onelook import scale
from onelook.errors import Error
from onelook.scale.folder import Folder
from onelook.scale.worker import Order, Worker

Make = Callable[..., Path]
Address = Callable[[str], str]

BUCKET, KEY, SECRET = "photographs", "the-key", "the-secret"
pytestmark = pytest.mark.filterwarnings("ignore:.*utcnow:DeprecationWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def store(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client with an empty bucket."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://{server}", **keys)
    client.create_bucket(Bucket=BUCKET)
    yield client
    for name in names(client):
        client.delete_object(Bucket=BUCKET, Key=name)
    client.delete_bucket(Bucket=BUCKET)
    client.close()


@pytest.fixture
def address(server: str) -> Address:
    """Of a prefix of the bucket, with the credentials in it."""
    host = server.replace(":", "%3A")
    return lambda prefix: f"s3://{KEY}:{SECRET}@{BUCKET}/{prefix}?scheme=http&endpoint_override={host}"


def names(store: Any) -> list[str]:
    return [entry["Key"] for entry in store.list_objects_v2(Bucket=BUCKET).get("Contents", ())]


def body(store: Any, name: str) -> bytes:
    data: bytes = store.get_object(Bucket=BUCKET, Key=name)["Body"].read()
    return data


def put_pictures(store: Any) -> list[str]:
    """Five pictures, one of them broken, and other files. The names of the pictures, as results have them."""
    picture = cv2.imencode(".png", np.full((40, 60, 3), 90, np.uint8))[1].tobytes()
    files = {f"pictures/{name}": picture for name in ("2.png", "10.PNG", "a/c/1.png", "ü b.png", ".hidden/4.png")}
    files |= {"pictures/broken.jpg": b"no picture", "pictures/notes.txt": b"", "others/5.png": picture}
    for name, data in files.items():
        store.put_object(Bucket=BUCKET, Key=name, Body=data)
    return [f"s3://{BUCKET}/pictures/{name}" for name in ("10.PNG", "2.png", "broken.jpg", "ü b.png", "a/c/1.png")]


def test_a_prefix_is_a_folder(store: Any, address: Address) -> None:
    pictures = put_pictures(store)
    folder = Folder.open(address("pictures"))
    assert str(folder) == f"s3://{BUCKET}/pictures"
    assert folder.exists()
    assert [folder.name(path) for path in folder.pictures()] == pictures
    assert folder.picture(f"{BUCKET}/pictures/2.png") == body(store, "pictures/2.png")
    with pytest.raises(Error, match=rf"^s3://{BUCKET}/pictures/3\.png: no such file$"):
        folder.picture(f"{BUCKET}/pictures/3.png")
    results = Folder.open(address("results"))
    assert not results.exists()
    assert (results.read("parts/1"), results.names("parts")) == (None, [])
    for data in (b"first", b"", os.urandom(12 << 20)):  # the last one goes in several parts
        results.write("parts/1", data)
        assert results.read("parts/1") == data == body(store, "results/parts/1")
    assert results.names("parts") == ["1"]
    results.delete("parts/1")
    results.delete("parts/1")
    assert results.names("parts") == []


def test_what_cannot_be_opened_is_one_line_without_the_secret(store: Any, address: Address) -> None:
    for write in (False, True):
        folder = Folder.open(address("x").replace(BUCKET, "nobodys-bucket"))
        with pytest.raises(Error) as caught:
            folder.write("1", b"1") if write else list(folder.pictures())
        assert SECRET not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_job_goes_from_bucket_to_bucket_and_is_not_done_again(
    store: Any, address: Address, tmp_path: Path, model_file: Make
) -> None:
    pictures = put_pictures(store)
    command = [sys.executable, "-m", "onelook", "detect", address("pictures"), "--cluster", "local"]
    command += ["-o", address("results"), "--model", str(model_file("v3")), "--part", "2"]
    for before in (0, 5):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (1, "1 of 5 pictures could not be read\n")
        assert f"5 pictures{f' ({before} of them before)' if before else ''} in " in done.stdout
    written = {name: body(store, name) for name in names(store) if name.startswith("results/")}
    assert not [name for name, data in written.items() if SECRET.encode() in data]
    tables = [
        parquet.read_table(io.BytesIO(data)) for name, data in sorted(written.items()) if "/parts/" in name and data
    ]
    assert [source for table in tables for source in table["source"].to_pylist()] == pictures


def test_a_worker_that_died_leaves_no_half_part(store: Any, address: Address, model_file: Make) -> None:
    """A part appears when all of it is there: what was begun before is not seen."""
    put_pictures(store)
    job = scale.prepare([address("pictures")], address("results"), str(model_file("v3")), part=3)
    begun = store.create_multipart_upload(Bucket=BUCKET, Key="results/parts/part-0000000.parquet")
    store.upload_part(Bucket=BUCKET, Key=begun["Key"], UploadId=begun["UploadId"], PartNumber=1, Body=b"half of it")
    assert job.missing() == [0, 1]
    order = Order(job.digest, [address("pictures")], address("results"), "auto", 1, 1)
    worker = Worker(order, model_file("v3").read_bytes())
    assert [(part.pictures, part.failures) for part in map(worker.do, range(2))] == [(3, 1), (2, 0)]
    assert job.missing() == []
