"""The server as a process: where it listens, what it says, and how it ends."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from serve_client import Trickle, jpeg


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "onelook", "serve", *arguments]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process, when it listens, and its port."""
    process = subprocess.Popen(
        command("--port", "0", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith("http://127.0.0.1:"), line + str(process.stderr and process.stderr.read())
        port = int(line.rpartition(":")[2])
        for _ in range(1000):
            if ask(port, "GET", "/readyz")[0] == 200:
                break
            time.sleep(0.01)
        yield process, port
    finally:
        process.kill()
        process.communicate()


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_nothing_that_was_accepted_is_dropped_at_sigterm(model_paths: dict[str, str]) -> None:
    with running(model_paths["boxes"], "--threads", "1") as (process, port), ThreadPoolExecutor(8) as pool:
        bodies = [jpeg(seed, 600, 800) for seed in range(4)]
        answers: list[int] = []
        told = threading.Event()

        def load(number: int) -> None:
            while True:
                try:
                    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                        connection.connect()
                        connection.request("POST", "/v1/detect", bodies[number % 4])
                        answers.append(connection.getresponse().status)
                except (http.client.RemoteDisconnected, ConnectionError):
                    # Not before the signal; after it, a connection that the kernel had and the server never accepted.
                    assert told.is_set()
                    return

        tasks = [pool.submit(load, i) for i in range(8)]
        while len(answers) < 20:
            time.sleep(0.01)
        told.set()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
        for task in tasks:
            task.result(timeout=30)
    assert set(answers) == {200}


def test_a_slow_request_is_answered_after_sigterm(model_paths: dict[str, str]) -> None:
    body = jpeg()
    with running(model_paths["boxes"]) as (process, port), socket.create_connection(("127.0.0.1", port), 30) as own:
        head = f"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        own.sendall(head.encode() + body[:100])
        assert ask(port, "GET", "/healthz")[0] == 200  # so the head has been read, too
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        own.sendall(body[100:])
        with closing(http.client.HTTPResponse(own)) as answer:
            answer.begin()
            assert answer.status == 200
            assert json.loads(answer.read())["model"]
        assert process.wait(30) in (0, -signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_slow_web_server_does_not_hold_up_the_end(model_paths: dict[str, str]) -> None:
    arguments = (model_paths["boxes"], "--allow-urls", "--deadline", "2")
    with running(*arguments) as (process, port), Trickle() as slow, ThreadPoolExecutor(1) as pool:
        message = json.dumps({"url": slow.url}).encode()
        asked = pool.submit(ask, port, "POST", "/v1/detect", message, {"Content-Type": "application/json"})
        assert slow.asked.wait(30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) in (0, -signal.SIGTERM)
        assert asked.result()[0] in (400, 504)
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_connections_that_say_nothing_lock_nobody_out(model_paths: dict[str, str]) -> None:
    with running(model_paths["boxes"], "--max-requests", "1") as (_, port), ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
        assert ask(port, "POST", "/v1/detect", jpeg())[0] == 200


def test_a_name_that_leads_to_this_computer_is_not_enough(model_paths: dict[str, str]) -> None:
    with running(model_paths["boxes"]) as (_, port):
        for host, status in (
            ("evil.example", 403),
            ("[", 403),
            ("localhost", 200),
            (f"LOCALHOST:{port}", 200),
            ("[::1]", 200),
        ):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                connection.request("GET", "/v1/models", headers={"Host": host})
                assert connection.getresponse().status == status, host


def test_models_have_names(model_paths: dict[str, str], tmp_path: Path) -> None:
    named = f"street={model_paths['boxes']}"
    (tmp_path / "labels.onnx").write_bytes(Path(model_paths["labels"]).read_bytes())
    with running(named, str(tmp_path / "labels.onnx")) as (_, port):
        models = json.loads(ask(port, "GET", "/v1/models")[1])["models"]
    assert [model["name"] for model in models] == ["street", "labels"]


def error(*arguments: str, **environment: str) -> str:
    """The one line that it ends with."""
    run = subprocess.run(
        command(*arguments), capture_output=True, text=True, env=os.environ | environment, timeout=60, check=False
    )
    assert run.returncode == 2, run
    assert run.stderr.count("\n") == 1, run.stderr
    return run.stderr


def test_what_it_cannot_do_it_says_in_one_line(model_paths: dict[str, str], tmp_path: Path) -> None:
    boxes = model_paths["boxes"]
    assert "--keys" in error(boxes, "--host", "0.0.0.0")
    assert "nowhere.onnx" in error("nowhere.onnx")
    assert "two models" in error(boxes, boxes)
    assert "cannot be called 'x.onnx?sig=abc'" in error("https://127.0.0.1:9/x.onnx?sig=abc")
    assert "queue" in error(boxes, "--queue", "0")
    (tmp_path / "keys").write_text("\n\n")
    assert "no key" in error(boxes, "--keys", str(tmp_path / "keys"))
    assert "cannot be read" in error(boxes, "--keys", str(tmp_path / "none"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot listen" in error(boxes, "--port", str(taken.getsockname()[1]))
    assert "cannot listen" in error(boxes, "--host", "no.such.host.invalid", "--no-key")


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "gif"])
def test_a_small_file_of_many_pixels_is_refused_of_any_format(model_paths: dict[str, str], suffix: str) -> None:
    import cv2
    import numpy as np

    large = cv2.imencode(f".{suffix}", np.zeros((2000, 2000, 3), np.uint8))[1].tobytes()
    with running(model_paths["boxes"], "--max-pixels", "1000000") as (_, port):
        status, body = ask(port, "POST", "/v1/detect", large)
        assert status == 413
        assert b"pixels" in body
        assert ask(port, "POST", "/v1/detect", jpeg())[0] == 200
