"""Pictures for a server, and the types of its tests."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient as Client

Start = Callable[..., Client]


def jpeg(seed: int = 0, height: int = 48, width: int = 64) -> bytes:
    """A JPEG file of coloured squares."""
    squares = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), np.uint8)
    image = cv2.resize(squares, (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".jpg", image)[1].tobytes()


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The address of a server in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class Trickle:
    """A web server that never has done with its answer."""

    def __init__(self) -> None:
        self.asked, self.done = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/a.jpg"
        self._thread = threading.Thread(target=self._answer)

    def __enter__(self) -> "Trickle":
        self._thread.start()
        return self

    def _answer(self) -> None:
        client, _ = self._listener.accept()
        with client, suppress(OSError):
            client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            self.asked.set()
            while not self.done.wait(0.02):
                client.sendall(b"x")

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self._thread.join()
        self._listener.close()
