"""The HTTP API against the library itself on the same pictures, and what it refuses."""

import asyncio
import gc
import itertools
import socket
import struct
import threading
import time
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
from fastapi import FastAPI

import onelook
from onelook.serve import inference, uploads
from onelook.serve.app import create_app
from onelook.serve.models import Served
from onelook.serve.settings import Settings
from serve_client import Client, Start, Trickle, jpeg, serving

PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(side: int) -> bytes:
    """A file of a few hundred bytes whose header asks for side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(300))) + chunk(b"IEND", b"")


def problem(response: Any, status: int) -> str:
    """What an answer says is wrong, in one line."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    answer = response.json()
    assert set(answer) == {"title", "status", "detail"}
    assert answer["status"] == status
    assert "\n" not in answer["detail"]
    return str(answer["detail"])


def test_the_answer_is_what_the_library_says(client: Client, model_paths: dict[str, str]) -> None:
    for verb, model in (("detect", "boxes"), ("classify", "labels"), ("segment", "pixels"), ("segment", "objects")):
        answer = client.post(f"/v1/{verb}", params={"model": model}, content=jpeg())
        assert answer.status_code == 200, answer.text
        expected = onelook.load(model_paths[model])(jpeg()).to_dict() | {"source": "picture"}
        assert answer.json()["results"] == [expected]
        assert answer.json()["model"] == model
        assert answer.json()["seconds"] >= 0


def test_the_first_model_of_a_task_is_the_default(client: Client) -> None:
    for verb, model in (("detect", "boxes"), ("classify", "labels"), ("segment", "pixels")):
        assert client.post(f"/v1/{verb}", content=jpeg()).json()["model"] == model
    listed = {model["name"]: model["default"] for model in client.get("/v1/models").json()["models"]}
    assert listed == {"boxes": True, "labels": True, "pixels": True, "objects": False}


def test_options_are_those_of_the_library(client: Client, model_paths: dict[str, str]) -> None:
    detector = onelook.load(model_paths["boxes"])
    expected = detector(jpeg(), score_threshold=0.3, iou_threshold=0.9).filter(names=["dog", "cat"]).to_dict()
    params = {"threshold": 0.3, "iou": 0.9, "classes": "dog, cat"}
    (found,) = client.post("/v1/detect", params=params, content=jpeg()).json()["results"]
    assert found["detections"] == expected["detections"]
    assert expected["detections"]
    for several in ({"classes": ["dog", "cat"]}, {"classes": "cat,dog,"}):
        (again,) = client.post("/v1/detect", params=params | several, content=jpeg()).json()["results"]
        assert again["detections"] == expected["detections"]
    (labels,) = client.post("/v1/classify", params={"top": 2}, content=jpeg()).json()["results"]
    assert len(labels["classes"]) == 2


def test_files_of_a_form_are_answered_in_their_order_and_a_broken_one_in_its_place(client: Client) -> None:
    files = [("a", ("1.jpg", jpeg(1))), ("b", ("2.jpg", b"no picture")), ("a", ("3.jpg", jpeg(3, 30, 90)))]
    answer = client.post("/v1/detect", files=files)
    assert answer.status_code == 200
    first, broken, last = answer.json()["results"]
    assert (first["source"], first["width"], last["source"], last["width"]) == ("1.jpg", 64, "3.jpg", 90)
    assert broken["source"] == "2.jpg"
    assert broken["problem"]["status"] == 400
    assert broken["problem"]["detail"] == "2.jpg: not a picture of a known format"


def test_what_is_no_picture_is_refused(client: Client) -> None:
    assert "not a picture" in problem(client.post("/v1/detect", content=b"hello"), 400)
    assert "cut short" in problem(client.post("/v1/detect", content=jpeg()[:-100]), 400)
    assert "empty" in problem(client.post("/v1/detect", content=b""), 400)
    problem(client.post("/v1/detect", data={"a": "b"}), 415)
    form = {"content-type": "multipart/form-data; boundary=x"}
    assert "no file" in problem(client.post("/v1/detect", content=b"--x--\r\n", headers=form), 400)
    assert "form" in problem(client.post("/v1/detect", content=b"garbage", headers=form), 400)
    no_boundary = {"content-type": "multipart/form-data"}
    assert "form" in problem(client.post("/v1/detect", content=jpeg(), headers=no_boundary), 400)
    problem(client.post("/v1/detect", content=jpeg(), headers={"content-type": "text/plain"}), 415)


def test_parameters_out_of_range_are_refused(client: Client) -> None:
    for params in ({"threshold": 2}, {"threshold": "nan"}, {"iou": -1}, {"timeout": 0}, {"threshold": "x"}):
        assert next(iter(params)) in problem(client.post("/v1/detect", params=params, content=jpeg()), 422)
    assert "horse" in problem(client.post("/v1/detect", params={"classes": "horse"}, content=jpeg()), 422)
    assert "none" in problem(client.post("/v1/detect", params={"classes": ","}, content=jpeg()), 422)
    assert "top" in problem(client.post("/v1/classify", params={"top": 0}, content=jpeg()), 422)
    assert "to classify" in problem(client.post("/v1/detect", params={"model": "labels"}, content=jpeg()), 422)
    assert "'nobody'" in problem(client.post("/v1/detect", params={"model": "nobody"}, content=jpeg()), 404)
    problem(client.get("/v1/nothing"), 404)
    problem(client.get("/v1/detect"), 405)


def test_limits_hold_before_anything_is_decoded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start(max_bytes=10_000, max_pixels=64 * 48, max_files=2)

    def decoded(*args: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", decoded)
    assert "10000 bytes" in problem(client.post("/v1/detect", content=bytes(10_001)), 413)
    chunks = (bytes(1000) for _ in range(100))  # without a Content-Length
    assert "10000 bytes" in problem(client.post("/v1/detect", content=chunks), 413)
    assert "3072 pixels" in problem(client.post("/v1/detect", content=huge_png(60_000)), 413)
    for suffix in ("jpg", "png", "webp", "bmp", "gif", "tiff", "jp2", "ppm"):
        data = cv2.imencode(f".{suffix}", np.zeros((49, 64, 3), np.uint8))[1].tobytes()
        assert "3072 pixels" in problem(client.post("/v1/detect", content=data), 413), suffix
    files = [("a", (f"{i}.jpg", b"x")) for i in range(3)]
    assert "Too many files" in problem(client.post("/v1/detect", files=files), 413)
    chunked = (bytes(1000) for _ in range(100))
    form = {"content-type": "multipart/form-data; boundary=x"}
    files = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
    assert "10000 bytes" in problem(
        client.post("/v1/detect", content=itertools.chain([files], chunked), headers=form), 413
    )


def test_more_files_than_the_queue_holds_are_not_promised_room_later(start: Start) -> None:
    client = start(queue=2, max_memory=1 << 20, max_bytes=1 << 20)
    files = [("a", (f"{i}.jpg", jpeg())) for i in range(3)]
    assert "Maximum number of files is 2" in problem(client.post("/v1/detect", files=files), 413)
    assert client.post("/v1/detect", files=files[:2]).status_code == 200
    with pytest.raises(onelook.Error, match="max_bytes"):
        start(max_memory=1000)


def test_requests_together_hold_only_so_many_bytes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    data = jpeg()
    client = start(threads=2, max_bytes=len(data), max_memory=3 * len(data) - 1)
    with ThreadPoolExecutor(2) as pool:
        taken = [pool.submit(client.post, "/v1/detect", content=data) for _ in range(2)]
        assert slow.begun.wait(10)
        while slow.items < 2:
            time.sleep(0.001)
        problem(client.post("/v1/detect", content=data), 429)
        problem(client.post("/v1/detect", content=iter([data[:10]])), 429)  # it may become as long as any
        assert "bytes" in problem(client.post("/v1/detect", content=data + b"."), 413)
        slow.go.set()
        assert [one.result().status_code for one in taken] == [200, 200]
    assert client.post("/v1/detect", content=data).status_code == 200


def test_urls_are_off_unless_they_are_allowed(start: Start, tmp_path: Path) -> None:
    assert "no URLs" in problem(start().post("/v1/detect", json={"url": "http://127.0.0.1:9/a.jpg"}), 415)
    allowing = start(allow_urls=True)
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpeg())
    for url in (str(secret), secret.as_uri(), "", 3, None):
        assert "expected" in problem(allowing.post("/v1/detect", json={"url": url}), 400)
    json_type = {"content-type": "application/json"}
    for body in (b"{", b"[" * 100_000, b"[]", b"\xff"):
        assert "expected" in problem(allowing.post("/v1/detect", content=body, headers=json_type), 400)
    assert "127.0.0.1:9" in problem(allowing.post("/v1/detect", json={"url": "http://127.0.0.1:9/a.jpg"}), 400)


def test_a_slow_web_server_keeps_nobody_else_waiting(start: Start) -> None:
    client = start(allow_urls=True, threads=1, max_bytes=10_000, max_memory=25_000)
    with Trickle() as slow, Trickle() as other, ThreadPoolExecutor(2) as pool:
        waiting = [
            pool.submit(client.post, "/v1/detect", params={"timeout": 1}, json={"url": one.url})
            for one in (slow, other)
        ]
        assert slow.asked.wait(10)
        assert other.asked.wait(10)
        assert client.post("/v1/detect", content=jpeg()).status_code == 200
        problem(client.post("/v1/detect", json={"url": slow.url}), 429)  # what is fetched may become as long as any
        for one in waiting:
            assert one.result().status_code in (400, 504)
        for thread in threading.enumerate():
            if thread.name == "onelook-fetch":
                thread.join(5)
                assert not thread.is_alive()


def test_what_a_url_leads_to_is_within_the_limits(start: Start, tmp_path: Path) -> None:
    (tmp_path / "small.jpg").write_bytes(jpeg())
    (tmp_path / "long.jpg").write_bytes(jpeg() + bytes(5000))
    (tmp_path / "large.jpg").write_bytes(jpeg(0, 48, 65))
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    client = start(allow_urls=True, max_bytes=5000, max_pixels=64 * 48)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{web.server_port}"
        (found,) = client.post("/v1/detect", json={"url": f"{url}/small.jpg"}).json()["results"]
        assert found["source"] == f"{url}/small.jpg"
        assert "5000 bytes" in problem(client.post("/v1/detect", json={"url": f"{url}/long.jpg"}), 400)
        assert "3072 pixels" in problem(client.post("/v1/detect", json={"url": f"{url}/large.jpg"}), 413)
        web.shutdown()
        thread.join()


def test_a_key_is_needed_where_there_are_keys(start: Start) -> None:
    client = start(keys=("one", "other"))
    for path in ("/v1/models", "/v2", "/v2/models/boxes", "/metrics"):
        refused = client.get(path)
        assert refused.headers["www-authenticate"] == "Bearer"
        assert "a key is needed" in refused.text
        for headers in ({}, {"authorization": "Bearer two"}, {"x-api-key": ""}):
            assert client.get(path, headers=headers).status_code == 401
        for headers in ({"authorization": "Bearer one"}, {"authorization": "bearer one"}, {"x-api-key": "one"}):
            assert client.get(path, headers=headers).status_code == 200
    for path in ("/", "/page/main.js", "/healthz", "/readyz", "/openapi.json"):
        assert client.get(path).status_code == 200
    problem(client.post("/v1/detect", content=jpeg()), 401)
    problem(client.get("/nothing"), 401)
    assert set(client.get("/v2").json()) == {"error"}


def test_below_another_path_it_is_the_same(model_paths: dict[str, str]) -> None:
    inner = create_app(Settings(models=model_paths, keys=("one",)))
    outer = FastAPI()
    outer.mount("/vision", inner)
    for client in (Client(outer), Client(inner, root_path="/vision")):
        for path in ("/v1/models", "/v1/models/boxes/file", "/v2", "/metrics"):
            assert client.get(f"/vision{path}").status_code == 401
            assert client.get(f"/vision{path}", headers={"x-api-key": "one"}).status_code == 200
        assert client.post("/vision/v1/detect", content=jpeg()).status_code == 401
        assert client.get("/vision/readyz").json() == {"status": "ready"}
        page = client.get("/vision/page/main.js")
        assert (page.status_code, page.headers["cache-control"]) == (200, "no-cache")
        assert set(client.get("/vision/v2/models/none", headers={"x-api-key": "one"}).json()) == {"error"}
    inner.state.models.close()


def test_other_origins_only_where_they_are_named(start: Start) -> None:
    headers = {"origin": "https://example.org", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in start().options("/v1/detect", headers=headers).headers
    allowing = start(origins=("https://example.org",), keys=("one",))
    preflight = allowing.options("/v1/detect", headers=headers)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://example.org"
    refused = allowing.post("/v1/detect", content=jpeg(), headers={"origin": "https://example.org"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://example.org"  # so that the page can read it
    other = allowing.get("/healthz", headers={"origin": "https://example.com"})
    assert "access-control-allow-origin" not in other.headers


class Slow:
    """In place of a model: waits until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.begun, self.go, self.items = threading.Event(), threading.Event(), 0

        def run(served: Served, kind: Any, items: list[Any]) -> list[Any]:
            self.items += len(items)
            self.begun.set()
            assert self.go.wait(20)
            return [{"source": "", "width": 1, "height": 1, "detections": []} for _ in items]

        monkeypatch.setattr(Served, "_run", run)


def test_a_full_queue_answers_429_and_loses_nothing_it_took(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    client = start(threads=1, queue=3, batch=1)
    with ThreadPoolExecutor(12) as pool:
        first = pool.submit(client.post, "/v1/detect", content=jpeg())
        assert slow.begun.wait(10)
        rest = [pool.submit(client.post, "/v1/detect", content=jpeg()) for _ in range(8)]
        for _ in itertools.islice(as_completed(rest, timeout=20), 5):
            pass  # the others wait: one runs and three have room
        slow.go.set()
        answers = [one.result() for one in (first, *rest)]
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 5
    late = next(answer for answer in answers if answer.status_code == 429)
    assert int(late.headers["retry-after"]) >= 1
    problem(late, 429)


def test_more_requests_than_there_may_be_are_turned_away(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    client = start(max_requests=1)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(client.post, "/v1/detect", content=jpeg())
        assert slow.begun.wait(10)
        refused = client.post("/v1/detect", content=jpeg())
        assert "under way" in problem(refused, 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert set(client.get("/v2").json()) == {"error"}
        assert client.get("/healthz").status_code == client.get("/").status_code == 200
        slow.go.set()
        assert taken.result().status_code == 200
    assert 'onelook_requests_total{path="other",status="503"} 2.0' in client.get("/metrics").text


def test_what_clients_asked_for_that_have_gone_is_not_run(
    model_paths: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch)
    app = create_app(Settings(models={"boxes": model_paths["boxes"]}, threads=1))
    body = jpeg()
    head = f"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with serving(app) as address, ExitStack() as stack:
        host, port = address.removeprefix("http://").strip("/").split(":")
        clients = []
        for _ in range(4):
            clients.append(stack.enter_context(socket.create_connection((host, int(port)), 30)))
            clients[-1].sendall(head + body)
            assert slow.begun.wait(10)
        while len(app.state.models.get("boxes").batcher) < 3:
            time.sleep(0.001)
        for gone in clients[1:]:
            gone.close()
        for _ in range(1000):
            with urlopen(f"{address}metrics") as answer:
                if b'path="/v1/detect",status="400"} 3.0' in answer.read():
                    break
            time.sleep(0.01)
        slow.go.set()
        assert clients[0].recv(12) == b"HTTP/1.1 200"
    assert slow.items == 1


def test_a_deadline_that_passes_answers_504(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    client = start(deadline=0.2)
    assert "in time" in problem(client.post("/v1/detect", content=jpeg()), 504)
    longer = start(deadline=20)
    assert "in time" in problem(longer.post("/v1/detect", params={"timeout": 0.05}, content=jpeg()), 504)
    slow.go.set()
    assert longer.post("/v1/detect", content=jpeg()).status_code == 200


def test_a_model_that_fails_says_nothing_of_itself(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(served: Served, kind: Any, items: list[Any]) -> list[Any]:
        raise onelook.ModelError("/home/someone/secret.onnx: broken")

    monkeypatch.setattr(Served, "_run", run)
    assert problem(start().post("/v1/detect", content=jpeg()), 500) == "the model failed on this picture"
    monkeypatch.setattr(Served, "_run", lambda served, kind, items: [ZeroDivisionError("secret")])
    assert problem(start().post("/v1/detect", content=jpeg()), 500) == "internal error"


def test_models_are_loaded_replaced_and_unloaded_while_it_runs(
    start: Start, model_paths: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "new.onnx").write_bytes(Path(model_paths["boxes"]).read_bytes())
    (folder / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "outside.onnx").write_bytes(Path(model_paths["boxes"]).read_bytes())
    client = start(folder=folder, models={"labels": model_paths["labels"]})
    problem(client.post("/v1/detect", content=jpeg()), 404)
    created = client.put("/v1/models/street", json={"path": "new.onnx"})
    assert created.status_code == 201
    assert created.json()["name"] == "street"
    assert client.post("/v1/detect", content=jpeg()).json()["model"] == "street"
    assert client.put("/v1/models/street", json={"path": "new.onnx"}).status_code == 200
    for path in ("../outside.onnx", str(tmp_path / "outside.onnx"), "new.txt", "", "\0"):
        problem(client.put("/v1/models/x", json={"path": path}), 403)
    for path in ("bad.onnx", "none.onnx"):
        detail = problem(client.put("/v1/models/x", json={"path": path}), 422)
        assert str(folder) not in detail
    problem(client.put("/v1/models/..%2fx", json={"path": "new.onnx"}), 404)
    problem(client.put("/v1/models/-x", json={"path": "new.onnx"}), 422)
    assert client.delete("/v1/models/street").status_code == 204
    problem(client.delete("/v1/models/street"), 404)
    problem(client.post("/v1/detect", content=jpeg()), 404)
    assert [model["name"] for model in client.get("/v1/models").json()["models"]] == ["labels"]
    assert client.get("/metrics").status_code == 200


def test_what_is_no_model_file_to_load_is_refused(start: Start, model_paths: dict[str, str], tmp_path: Path) -> None:
    client = start(folder=tmp_path, models={"labels": model_paths["labels"]})
    (tmp_path / "one.onnx").symlink_to(tmp_path / "two.onnx")
    (tmp_path / "two.onnx").symlink_to(tmp_path / "one.onnx")
    assert client.put("/v1/models/x", json={"path": "one.onnx"}).status_code in (403, 422)
    for body in (b"", b"{", b"[]", b"{}", b'{"path": 3}', b'{"path": "\\ud800.onnx"}', b"\xff"):
        assert "expected" in problem(client.put("/v1/models/x", content=body), 422)
    chunks = (bytes(1000) for _ in range(1000))
    assert "bytes" in problem(client.put("/v1/models/x", content=chunks), 413)


def test_a_request_that_is_on_its_way_is_answered_by_the_model_that_took_the_place(
    start: Start, model_paths: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new.onnx").write_bytes(Path(model_paths["boxes"]).read_bytes())
    client = start(folder=tmp_path, models={"a": model_paths["boxes"]})
    models = client.app.state.models  # type: ignore[attr-defined]
    body = uploads.body
    replaced: list[bool] = []

    async def replaced_meanwhile(request: Any, most: int) -> bytes:
        data = await body(request, most)
        replaced.append(not await asyncio.to_thread(models.load, "a", "new.onnx"))
        return data

    monkeypatch.setattr(uploads, "body", replaced_meanwhile)
    monkeypatch.setattr(inference, "body", replaced_meanwhile)
    assert client.post("/v1/detect", params={"model": "a"}, content=jpeg()).status_code == 200
    image = np.zeros((1, *models.get("a").info.size, 3), np.uint8)
    tensor = {"name": "image", "shape": image.shape, "datatype": "UINT8", "data": image.reshape(-1).tolist()}
    assert client.post("/v2/models/a/infer", json={"inputs": [tensor]}).status_code == 200
    assert replaced == [True, True]


def test_models_may_change_while_they_are_listed(start: Start, model_paths: dict[str, str], tmp_path: Path) -> None:
    models = start(folder=tmp_path, models={"labels": model_paths["labels"]}).app.state.models  # type: ignore[attr-defined]
    (tmp_path / "new.onnx").write_bytes(Path(model_paths["boxes"]).read_bytes())
    models.load("a", "new.onnx")
    for change in (partial(models.load, "b", "new.onnx"), partial(models.unload, "a")):
        before = [served.name for served in models._served.values()]
        listing = iter(models._served.values())
        names = [next(listing).name]
        change()
        assert names + [served.name for served in listing] == before
    assert [model["name"] for model in models.to_dict()] == ["labels", "b"]


def test_a_model_that_is_unloaded_is_freed(start: Start, model_paths: dict[str, str], tmp_path: Path) -> None:
    models = start(folder=tmp_path, models={}).app.state.models  # type: ignore[attr-defined]
    (tmp_path / "new.onnx").write_bytes(Path(model_paths["boxes"]).read_bytes())
    models.load("a", "new.onnx")
    held = weakref.ref(models.get("a"))
    gc.disable()
    try:
        models.unload("a")
        assert held() is None
    finally:
        gc.enable()


def test_models_stay_as_they_are_without_a_folder(client: Client) -> None:
    chunks = (bytes(1000) for _ in range(1000))
    assert "--folder" in problem(client.put("/v1/models/x", content=chunks), 403)
    problem(client.put("/v1/models/x", json={"path": "x.onnx"}), 403)
    problem(client.delete("/v1/models/boxes"), 403)


def test_a_model_file_can_be_had(client: Client, model_paths: dict[str, str]) -> None:
    answer = client.get("/v1/models/boxes/file")
    assert answer.content == Path(model_paths["boxes"]).read_bytes()
    assert client.get("/v1/models/boxes").json()["file_bytes"] == len(answer.content)
    assert answer.headers["etag"]


def test_a_model_file_that_was_removed_is_missed(start: Start, model_paths: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "new.onnx"
    file.write_bytes(Path(model_paths["boxes"]).read_bytes())
    client = start(models={"boxes": str(file)})
    file.unlink()
    assert "no longer there" in problem(client.get("/v1/models/boxes/file"), 404)


def test_requests_of_many_clients_at_once_get_their_own_answers(client: Client, model_paths: dict[str, str]) -> None:
    detector = onelook.load(model_paths["boxes"])
    thresholds = [0.3, 0.5, 0.7]
    expected = {
        (seed, threshold): detector(jpeg(seed), threshold).to_dict()["detections"]
        for seed in range(8)
        for threshold in thresholds
    }

    def ask(key: tuple[int, float]) -> Any:
        answer = client.post("/v1/detect", params={"threshold": key[1]}, content=jpeg(key[0]))
        return answer.json()["results"][0]["detections"]

    keys = list(expected) * 3
    with ThreadPoolExecutor(8) as pool:
        for key, found in zip(keys, pool.map(ask, keys), strict=True):
            np.testing.assert_allclose([d["box"] for d in found], [d["box"] for d in expected[key]], atol=0.02)
            assert [d["class"] for d in found] == [d["class"] for d in expected[key]]


def test_metrics_count_answers_and_pictures(client: Client) -> None:
    for _ in range(3):
        client.post("/v1/detect", content=jpeg())
    client.post("/v1/detect", content=b"x")
    client.get("/somewhere/else")
    text = client.get("/metrics").text
    assert 'onelook_requests_total{path="/v1/detect",status="200"} 3.0' in text
    assert 'onelook_requests_total{path="/v1/detect",status="400"} 1.0' in text
    assert 'onelook_requests_total{path="other",status="404"} 1.0' in text
    assert 'onelook_pictures_total{model="boxes"} 4.0' in text
    assert 'onelook_waiting_pictures{model="boxes"} 0.0' in text


def test_the_description_has_examples_that_fit_it(client: Client) -> None:
    description = client.get("/openapi.json").json()
    assert description["openapi"].startswith("3.")
    for verb in ("detect", "classify", "segment"):
        posted = description["paths"][f"/v1/{verb}"]["post"]
        content = posted["responses"]["200"]["content"]["application/json"]
        assert content["example"]["results"]
        assert content["schema"]
        assert "multipart/form-data" in posted["requestBody"]["content"]
        assert "429" in posted["responses"]
    assert set(description["paths"]["/v1/models/{name}"]["put"]["responses"]) >= {"200", "201"}
    assert "securitySchemes" not in description["components"]


def test_the_description_says_where_a_key_is_needed(start: Start) -> None:
    description = start(keys=("one",)).get("/openapi.json").json()
    schemes = description["components"]["securitySchemes"].values()
    assert {(scheme["type"], scheme.get("scheme", scheme.get("name"))) for scheme in schemes} == {
        ("http", "bearer"),
        ("apiKey", "X-API-Key"),
    }
    for path, operations in description["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in ("/healthz", "/readyz")), path


def test_the_page_is_there_and_browsers_are_told_to_load_nothing_else(client: Client) -> None:
    for path, media_type in (("/", "text/html"), ("/page/main.js", "text/javascript"), ("/page/page.css", "text/css")):
        answer = client.get(path)
        assert answer.status_code == client.head(path).status_code == 200
        assert answer.headers["content-type"].startswith(media_type)
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-cache"
        assert client.get(path, headers={"if-none-match": answer.headers["etag"]}).status_code in (200, 304)
    for path in ("/page/../settings.py", "/page/%2e%2e/settings.py", "/page/none.js"):
        assert client.get(path).status_code == 404
