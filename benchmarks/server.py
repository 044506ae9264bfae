"""What `onelook serve` costs beside the model itself, and whether it loses or mixes up anything under load.

Yolo-Fastest-1.1-xl at 320, server and clients on the same processors. Contenders by turns, medians:

- a session alone, its inputs prepared, in as many threads as there are processors, and the server's /v2 with the same
  inputs as bytes, at 32 clients;
- `Detector.stream` on JPEG files in memory, and the server's /v1/detect with the same bytes, at 32 clients;
- ultralytics, yolo11n (0.81 against 0.37 thousand million multiply-adds), behind a plain FastAPI handler, in PyTorch as
  it comes and exported to OpenVINO, where it is installed.

Then, at 70% of what /v1/detect reached, the latency of requests that come at random (a Poisson process) and evenly. With
--requests N instead that many requests, a tenth of them malformed, each answer compared with the library's, and the
memory of the server; --minutes M for a time.
"""

import argparse
import itertools
import json
import random
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import onelook
from common import has, model_file, shared, show
from onelook.runtime.resize import place
from onelook.runtime.session import open_session, processors

CLIENTS = 32
MODEL = "yolo-fastest-1.1-xl"
PLAIN = """
import sys
import cv2, numpy as np, uvicorn
from fastapi import FastAPI, Request
from ultralytics import YOLO

model, app = YOLO(sys.argv[1], task="detect"), FastAPI()

@app.post("/v1/detect")
async def detect(request: Request):
    image = cv2.imdecode(np.frombuffer(await request.body(), np.uint8), cv2.IMREAD_COLOR)
    return model.predict(image, imgsz=320, verbose=False)[0].summary()

print("http://127.0.0.1:" + sys.argv[2], flush=True)
uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""


@dataclass
class Connection:
    """One client: a request on its way, and what has come back."""

    socket: socket.socket
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    number: int = -1
    since: float = 0.0

    def answer(self) -> tuple[int, bytes] | None:
        """Status and body, once they are there."""
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self.received[:end])
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if len(self.received) < end + 4 + length:
            return None
        return int(head.split(b" ", 2)[1]), bytes(self.received[end + 4 : end + 4 + length])


def http(path: str, body: bytes, kind: str = "image/jpeg", **headers: str) -> bytes:
    """A whole request."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    )
    return head.encode() + body


def drive(
    port: int,
    requests: Iterator[tuple[float, bytes]],
    clients: int,
    check: Callable[[int, int, bytes], None] = lambda number, status, body: None,
) -> list[float]:
    """Sends requests over as many connections, each when its time (seconds from the start) has come and a client is free.

    Gives the seconds from that time to the answer; `check` is told number, status and body of each.
    """
    selector, idle, seconds = selectors.DefaultSelector(), deque[Connection](), []
    for _ in range(clients):
        own = Connection(_connected(port))
        selector.register(own.socket, selectors.EVENT_READ, own)
        idle.append(own)
    start, number, busy = time.perf_counter(), 0, 0
    upcoming = next(requests, None)
    while upcoming is not None or busy:
        now = time.perf_counter() - start
        while upcoming is not None and idle and upcoming[0] <= now:
            own = idle.popleft()
            # Of a closed loop (time 0) the request is due when it is sent.
            own.number, own.since, own.unsent = number, upcoming[0] or now, memoryview(upcoming[1])
            own.received.clear()
            _send(own)
            if own.unsent:
                selector.modify(own.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, own)
            number, busy, upcoming = number + 1, busy + 1, next(requests, None)
        patience = 30.0 if upcoming is None or not idle else max(0.0, upcoming[0] - (time.perf_counter() - start))
        events = selector.select(patience)
        if not events and patience == 30.0:
            sys.exit(f"{busy} requests were not answered within 30 seconds")
        for key, mask in events:
            own = key.data
            if mask & selectors.EVENT_WRITE:
                _send(own)
                if not own.unsent:
                    selector.modify(own.socket, selectors.EVENT_READ, own)
            if mask & selectors.EVENT_READ:
                data = own.socket.recv(1 << 18)
                if not data:
                    sys.exit(f"the server closed the connection of request {own.number}")
                own.received += data
                if (answer := own.answer()) is not None:
                    seconds.append(time.perf_counter() - start - own.since)
                    check(own.number, *answer)
                    if b"\r\nconnection: close\r\n" in own.received.lower():
                        selector.unregister(own.socket)
                        own.socket.close()
                        own = Connection(_connected(port))
                        selector.register(own.socket, selectors.EVENT_READ, own)
                    idle.append(own)
                    busy -= 1
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    return seconds


def _connected(port: int) -> socket.socket:
    own = socket.create_connection(("127.0.0.1", port))
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    own.setblocking(False)
    return own


def _send(own: Connection) -> None:
    with suppress(BlockingIOError):
        own.unsent = own.unsent[own.socket.send(own.unsent) :]


def closed_loop(bodies: Sequence[bytes], seconds: float) -> Iterator[tuple[float, bytes]]:
    """Requests without a pause, for a time."""
    end = time.perf_counter() + seconds
    for body in itertools.cycle(bodies):
        if time.perf_counter() > end:
            return
        yield 0.0, body


def arrivals(bodies: Sequence[bytes], rate: float, seconds: float, evenly: bool) -> Iterator[tuple[float, bytes]]:
    """Requests at a rate, a second."""
    now = 1e-6
    for body in itertools.cycle(bodies):
        now += 1 / rate if evenly else random.expovariate(rate)
        if now > seconds:
            return
        yield now, body


@contextmanager
def serving(command: Sequence[str]) -> Iterator[tuple[int, int]]:
    """A server in a process of its own: its port and process number."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().strip().rpartition(":")[2])
        for _ in range(200):
            try:
                _connected(port).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        if process.wait(60) not in (0, -signal.SIGTERM):
            print(f"the server ended with {process.returncode}", file=sys.stderr)


def memory(pid: int) -> float:
    """Of a process, MB."""
    fields = Path(f"/proc/{pid}/status").read_text()
    return int(fields.partition("VmRSS:")[2].split()[0]) / 1000


def rate(work: Callable[[], int]) -> float:
    """Of what a function does, a second."""
    start = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - start)


def throughput(model: Path, files: list[bytes], rounds: int, seconds: float) -> float:
    """Print the table of pictures a second; gives that of /v1/detect."""
    session = open_session(model, streams=processors())
    info = session.info
    canvases = np.zeros((len(files), 1, *info.size, 3), np.uint8)
    for data, canvas in zip(files, canvases, strict=True):
        place(onelook.runtime.picture.decode(data), canvas[0], info.resize, info.sampling)
    executor = ThreadPoolExecutor(processors())
    detector = onelook.load(model, streams=processors())
    tensors = [_tensor_request(canvas) for canvas in canvases]
    pictures = [http("/v1/detect", data) for data in files]

    def alone() -> int:
        run = lambda canvas: session.run(canvas, info.score_threshold, info.iou_threshold)  # noqa: E731
        return len(list(executor.map(run, canvases)))

    with serving([sys.executable, "-m", "onelook", "serve", str(model), "--port", "0"]) as (port, _):
        contenders: dict[str, Callable[[], int]] = {
            "session alone": alone,
            "/v2/models/.../infer, tensors": lambda: len(drive(port, closed_loop(tensors, seconds), CLIENTS)),
            "Detector.stream, JPEG in memory": lambda: len(list(detector.stream(files))),
            "/v1/detect, JPEG": lambda: len(drive(port, closed_loop(pictures, seconds), CLIENTS)),
        }
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, work in contenders.items():
                time.sleep(0.2)
                rates[name].append(rate(work))
        medians = {name: statistics.median(found) for name, found in rates.items()}
        if has("ultralytics"):
            with tempfile.TemporaryDirectory() as folder:
                for name, peer in _peers(Path(folder)):
                    with serving(peer) as (own_port, _):
                        drive(own_port, iter([(0.0, pictures[0])] * 3), 1)
                        found = rate(lambda: len(drive(own_port, closed_loop(pictures, 3 * seconds), CLIENTS)))
                        medians[name] = found
        bases = {
            "/v2/models/.../infer, tensors": "session alone",
            "/v1/detect, JPEG": "Detector.stream, JPEG in memory",
        }
        rows = [
            (name, f"{found:.1f}", f"{found / medians[bases[name]]:.2f}" if name in bases else "")
            for name, found in medians.items()
        ]
        show(f"Pictures a second, {CLIENTS} clients", ("", "pictures/s", "of the row above"), rows)
        capacity = medians["/v1/detect, JPEG"]
        rows = []
        for name, evenly in (("at random", False), ("evenly", True)):
            times = drive(port, arrivals(pictures, 0.7 * capacity, 5 * seconds, evenly), 256)
            middle, high = statistics.median(times), float(np.quantile(times, 0.99))
            rows.append((name, str(len(times)), f"{1e3 * middle:.1f}", f"{1e3 * high:.1f}", f"{high / middle:.2f}"))
        head = ("requests come", "requests", "median, ms", "p99, ms", "p99 / median")
        show(f"Latency at 70% load, {0.7 * capacity:.0f} requests/s", head, rows)
    return capacity


def _tensor_request(canvas: Any) -> bytes:
    image = {"name": "image", "shape": list(canvas.shape), "datatype": "UINT8"}
    head = json.dumps({"inputs": [image | {"parameters": {"binary_data_size": canvas.nbytes}}]}).encode()
    length = {"Inference_Header_Content_Length": str(len(head))}
    return http(f"/v2/models/{MODEL}/infer", head + canvas.tobytes(), "application/octet-stream", **length)


def _peers(folder: Path) -> Iterator[tuple[str, list[str]]]:
    from common import yolo11n

    script = folder / "plain.py"
    script.write_text(PLAIN)
    yield "ultralytics yolo11n, PyTorch, plain FastAPI", [sys.executable, str(script), "yolo11n.yaml", "8491"]
    if has("openvino"):
        exported = yolo11n(folder)
        yield "ultralytics yolo11n, OpenVINO, plain FastAPI", [sys.executable, str(script), str(exported), "8492"]


def malformed(random_: random.Random, data: bytes) -> tuple[bytes, set[int]]:
    """A request that must be refused, and the statuses that say so."""
    kind = random_.randrange(6)
    if kind == 0:
        return http("/v1/detect", data[: len(data) // 2]), {400}
    if kind == 1:
        return http("/v1/detect", random_.randbytes(1000)), {400}
    if kind == 2:
        return http("/v1/detect?threshold=7", data), {422}
    if kind == 3:
        return http("/v1/detect?model=nobody", data), {404}
    if kind == 4:
        return http("/v1/detect", random_.randbytes(500), "multipart/form-data; boundary=x"), {400}
    return http(f"/v2/models/{MODEL}/infer", b'{"inputs": [{"name": "image"}]}', "application/json"), {400}


def soak(model: Path, files: list[bytes], count: int, minutes: float) -> None:
    """Print what was lost or wrong, and the server's memory."""
    detector = onelook.load(model)
    expected = [detector(data).to_dict()["detections"] for data in files]
    good = [http("/v1/detect", data) for data in files]
    random_ = random.Random(0)
    awaited: dict[int, tuple[set[int], Any]] = {}
    outcomes: Counter[str] = Counter()
    end = time.perf_counter() + 60 * minutes if minutes else float("inf")

    def requests() -> Iterator[tuple[float, bytes]]:
        for number in itertools.count():
            if number == count or time.perf_counter() > end:
                return
            if random_.random() < 0.1:
                body, statuses = malformed(random_, random_.choice(files))
                awaited[number] = statuses, None
            else:
                i = random_.randrange(len(files))
                body = good[i]
                awaited[number] = {200}, expected[i]
            yield 0.0, body

    def check(number: int, status: int, body: bytes) -> None:
        statuses, detections = awaited.pop(number)
        right = status in statuses and (detections is None or same(json.loads(body), detections))
        outcomes[f"{status}, {'right' if right else 'WRONG'}"] += 1
        done = sum(outcomes.values())
        if done % 1000 == 0:
            sizes.append(memory(pid))

    with serving([sys.executable, "-m", "onelook", "serve", str(model), "--port", "0"]) as (port, pid):
        sizes: list[float] = []
        start = time.perf_counter()
        answered = len(drive(port, requests(), CLIENTS, check))
        seconds = time.perf_counter() - start
    rows = [(name, str(number)) for name, number in sorted(outcomes.items())] + [("lost", str(len(awaited)))]
    tenth = max(1, len(sizes) // 10)
    early, late = max(sizes[tenth : 2 * tenth] or sizes), max(sizes[-tenth:])
    notes = (
        f"{answered} requests in {seconds:.0f} s, {answered / seconds:.0f} a second",
        f"memory: at most {early:.0f} MB in the second tenth, {late:.0f} MB in the last ({100 * (late / early - 1):+.1f}%)",
    )
    show("Answers", ("", "requests"), rows, *notes)


def same(answer: Any, detections: list[dict[str, Any]]) -> bool:
    """Whether an answer is the library's, to the last digits that a run of several pictures may change."""
    found = answer["results"][0]["detections"]
    return len(found) == len(detections) and all(
        one["class"] == other["class"]
        and abs(one["score"] - other["score"]) < 1e-3
        and np.allclose(one["box"], other["box"], atol=0.1)
        for one, other in zip(found, detections, strict=True)
    )


def main() -> None:
    """Measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn")
    parser.add_argument("--requests", type=int, default=0, help="for the test of load")
    parser.add_argument("--minutes", type=float, default=0.0, help="for the test of load")
    arguments = parser.parse_args()
    files = [path.read_bytes() for path in sorted(shared("data/coco128/images").rglob("*.jpg"))][:128]
    with tempfile.TemporaryDirectory() as folder:
        model = model_file(MODEL, folder)
        if arguments.requests or arguments.minutes:
            soak(model, files, arguments.requests or -1, arguments.minutes)
        else:
            throughput(model, files, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
