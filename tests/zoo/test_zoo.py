"""Models by name: what is in the cache is used, what is missing comes from the web."""

import dataclasses
import hashlib
import subprocess
import sys

import pytest

from onelook import zoo
from onelook.errors import ZooError

CFG, WEIGHTS = b"[net]\n", b"\0" * 1000


@pytest.fixture
def model(server, tmp_path, monkeypatch):
    """`yolov3` of the catalogue, with two small files on the test's server and a cache of its own."""
    monkeypatch.setenv("ONELOOK_HOME", str(tmp_path / "home"))
    files = [
        zoo.RemoteFile(server.url(name), hashlib.sha256(data).hexdigest(), len(data))
        for name, data in (("yolov3.cfg", CFG), ("yolov3.weights", WEIGHTS))
    ]
    model = dataclasses.replace(zoo.find("yolov3"), files=tuple(files))
    monkeypatch.setitem(zoo.CATALOGUE, "yolov3", model)

    def answer(handler):
        data = CFG if handler.path.endswith(".cfg") else WEIGHTS
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    server.answers = [answer]
    return model


def test_both_files_come_into_the_cache_and_are_not_fetched_twice(model, server, tmp_path):
    cfg, weights = zoo.fetch("YOLOv3")
    assert cfg == tmp_path / "home" / "yolov3" / "yolov3.cfg"
    assert weights == tmp_path / "home" / "yolov3" / "yolov3.weights"
    assert (cfg.read_bytes(), weights.read_bytes()) == (CFG, WEIGHTS)
    assert len(server.requests) == 2
    assert zoo.fetch("yolov3") == (cfg, weights)
    assert len(server.requests) == 2


def test_a_file_put_there_by_hand_is_taken(model, server, tmp_path):
    folder = tmp_path / "home" / "yolov3"
    folder.mkdir(parents=True)
    (folder / "yolov3.weights").write_bytes(b"\1" * 1000)
    cfg, weights = zoo.fetch("yolov3")
    assert (cfg.read_bytes(), weights.read_bytes()) == (CFG, b"\1" * 1000)
    assert len(server.requests) == 1


def test_a_file_of_another_size_is_replaced(model, tmp_path):
    folder = tmp_path / "home" / "yolov3"
    folder.mkdir(parents=True)
    (folder / "yolov3.weights").write_bytes(b"\0" * 999)
    assert zoo.fetch("yolov3")[1].read_bytes() == WEIGHTS


def test_without_a_network_the_error_says_where_to_put_the_file(model, server, tmp_path, monkeypatch):
    cfg, weights = model.files
    gone = dataclasses.replace(model, files=(dataclasses.replace(cfg, url="http://127.0.0.1:9/yolov3.cfg"), weights))
    monkeypatch.setitem(zoo.CATALOGUE, "yolov3", gone)
    with pytest.raises(ZooError) as caught:
        zoo.fetch("yolov3")
    assert f"put the file at {tmp_path / 'home' / 'yolov3' / 'yolov3.cfg'} by hand" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_catalogue_is_imported_without_the_network_stack_and_torch():
    heavy = ("urllib.request", "ssl", "rich", "numpy", "torch")
    code = f"import onelook.zoo, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
