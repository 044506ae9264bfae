import contextlib
import io
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onelook.errors import SourceError
from onelook.runtime import picture, sources
from onelook.runtime.sources import Picture, count, pictures

RED = np.full((6, 8, 3), (200, 30, 60), np.uint8)


def save(path: Path, colour: tuple[int, int, int] = (200, 30, 60)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), colour).save(path)
    return path


def film(path: Path, frames: int = 50, fps: float = 12.5) -> Path:
    """A video whose frame k is red up to the column k of its 64."""
    codec = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
    assert writer.isOpened()
    for k in range(frames):
        image = np.zeros((48, 64, 3), np.uint8)
        image[:, : k + 1, 2] = 255
        writer.write(image)
    writer.release()
    return path


def names(source: Any) -> list[str]:
    return [item.name for item in pictures(source)]


def error(item: Picture) -> str:
    """What loading the picture says; it is one line."""
    with pytest.raises(SourceError) as caught:
        item.load()
    assert str(caught.value).isprintable()
    return str(caught.value)


# --- files, folders, patterns


def test_a_file_is_one_picture_that_is_read_when_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    (item,) = pictures(path)
    save(path)
    assert (item.name, item.frame, item.time, item.fps) == (str(path), None, None, None)
    assert (item.load() == RED).all()
    assert (item.load() == RED).all()


def test_a_folder_gives_its_pictures_sorted_then_those_of_its_subfolders(tmp_path: Path) -> None:
    expected = ["B.PNG", "a.jpg", "c.webp", "one/z.png", "one/deep/x.bmp", "two.jpg/y.tif"]
    for name in [*reversed(expected), ".hidden.png", ".thumbnails/t.png"]:
        save(tmp_path / name)
    for name in ("labels.txt", "jpg", "one/notes.json"):
        (tmp_path / name).touch()
    assert names(tmp_path) == [str(tmp_path / name) for name in expected]
    assert names(str(tmp_path)) == names(tmp_path)
    assert count(tmp_path) == 6


def test_links_are_followed_without_going_round_in_circles(tmp_path: Path) -> None:
    real = save(tmp_path / "elsewhere" / "x.png")
    folder = tmp_path / "photos"
    save(folder / "a.png")
    (folder / "linked").symlink_to(real.parent)
    (folder / "up").symlink_to(folder)
    (folder / "linked.png").symlink_to(real)
    assert names(folder) == [str(folder / name) for name in ("a.png", "linked.png", "linked/x.png")]


def test_what_cannot_be_read_in_a_folder_is_told_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"hello")
    (tmp_path / "b.jpg").symlink_to("nowhere")
    (tmp_path / "c.jpg").symlink_to("c.jpg")
    os.mkfifo(tmp_path / "d.jpg")
    os.mkfifo(tmp_path / "e.mp4")
    (tmp_path / "f.mp4").symlink_to("nowhere")
    save(tmp_path / "g.png")
    save(tmp_path / "h.png")
    queue = pictures(tmp_path)
    told = [error(next(queue)) for _ in range(6)]
    (tmp_path / "h.png").unlink()
    assert (next(queue).load() == RED).all()
    told.append(error(next(queue)))
    assert next(queue, None) is None
    assert [line.removeprefix(f"{tmp_path}/") for line in told] == [
        "a.jpg: not a picture of a known format",
        "b.jpg: no such file or folder",
        "c.jpg: Too many levels of symbolic links",
        "d.jpg: not an ordinary file",
        "e.mp4: not an ordinary file",
        "f.mp4: no such file or folder",
        "h.png: no such file or folder",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_subfolder_without_permission_is_told(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "secret" / "b.png").parent.chmod(0)
    try:
        first, second = pictures(tmp_path)
    finally:
        (tmp_path / "secret").chmod(0o700)
    assert first.name == str(tmp_path / "a.png")
    assert error(second) == f"{tmp_path}/secret: Permission denied"


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "gone" / "b.png")
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scandir("/nowhere" if str(path).endswith("gone") else path))
    first, second = pictures(tmp_path)
    assert (first.load() == RED).all()
    assert error(second) == f"{tmp_path}/gone: No such file or directory"


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "notes.txt").touch()
    (item,) = pictures(tmp_path)
    assert error(item) == f"{tmp_path}: no pictures or videos in this folder"
    assert count(tmp_path) == 1


def test_a_folder_is_listed_as_it_is_gone_through(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "sub").mkdir()
    queue = pictures(tmp_path)
    next(queue)
    save(tmp_path / "sub" / "late.png")
    assert next(queue).name == str(tmp_path / "sub" / "late.png")


def test_a_pattern_gives_what_matches_it_in_order(tmp_path: Path) -> None:
    for name in ("b1.png", "a2.png", "a1.png", "deep/er/a3.png", "folder1/x.png"):
        save(tmp_path / name)
    assert names(f"{tmp_path}/a?.png") == [f"{tmp_path}/a1.png", f"{tmp_path}/a2.png"]
    assert names(f"{tmp_path}/**/a[13].png") == [f"{tmp_path}/a1.png", f"{tmp_path}/deep/er/a3.png"]
    assert names(f"{tmp_path}/folder*") == [f"{tmp_path}/folder1/x.png"]
    assert names(tmp_path / "a*.png") == names(f"{tmp_path}/a?.png")
    (none,) = pictures(f"{tmp_path}/*.jpg")
    assert error(none) == f"{tmp_path}/*.jpg: no file or folder matches this pattern"


@pytest.mark.parametrize("pattern", ["**", "**/*", "*", "sub*", "**/sub*", "./**/*", "sub/**", "sub/**/"])
def test_a_pattern_gives_each_picture_once(pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a folder matches, and what is in it."""
    saved = ["sub.png", "sub/1.png", "sub/deep/2.png", "sub/deep/sub/3.png"]
    for name in saved:
        save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    expected = saved[1:] if pattern.startswith("sub/") else saved
    assert sorted(map(os.path.normpath, names(pattern))) == expected
    assert count(pattern) == len(expected)
    assert sorted(names(tmp_path / "**")) == [str(tmp_path / name) for name in saved]


def test_a_file_whose_name_looks_like_a_pattern_or_a_camera_is_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a1.png")
    path = save(tmp_path / "a[1].png")
    save(tmp_path / "7" / "x.png")
    monkeypatch.chdir(tmp_path)
    assert names(str(path)) == [str(path)]
    assert names("7") == ["7/x.png"]


@pytest.mark.parametrize(
    "missing", ["missing.jpg", "missing", "missing.mp4", "nu\0ll.jpg", "x" * 5000, "", "two\nlines"]
)
def test_a_missing_path_is_told_with_its_name(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (item,) = pictures(missing)
    assert item.name == missing
    assert error(item).startswith(picture.shown(missing) + ": ")


# --- videos


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_video_gives_its_frames_with_numbers_and_times(suffix: str, tmp_path: Path) -> None:
    path = film(tmp_path / f"clip{suffix}")
    assert count(path) == 50
    frames = list(pictures(str(path)))
    assert [item.frame for item in frames] == list(range(50))
    assert [item.time for item in frames] == pytest.approx([k / 12.5 for k in range(50)])
    assert {(item.name, item.fps) for item in frames} == {(str(path), 12.5)}
    for k in (0, 9, 31, 49):
        pixels = frames[k].load()
        assert pixels.shape == (48, 64, 3)
        assert (pixels == frames[k].load()).all()
        red = (pixels[:, :, 0].mean(axis=0) > 128).sum()
        assert abs(int(red) - (k + 1)) <= 3
        assert pixels[:, :, 1:].max() < 128


def test_the_frames_of_a_video_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "clip.avi")
    read = itertools.count()
    following = sources._next
    monkeypatch.setattr(sources, "_next", lambda capture: (next(read), following(capture))[1])
    queue = pictures(path)
    next(queue)
    next(queue)
    assert next(read) == 2
    queue.close()  # type: ignore[attr-defined]


def test_a_video_that_is_cut_short_gives_its_frames_and_then_an_error(tmp_path: Path) -> None:
    data = film(tmp_path / "whole.avi").read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(data[: len(data) // 2])
    *frames, last = pictures(path)
    assert 10 < len(frames) < 40
    assert [item.load().shape for item in frames] == [(48, 64, 3)] * len(frames)
    assert error(last).startswith(f"{path}: the video stops after ")
    assert error(last).endswith(" of 4.0 seconds; it is damaged or cut short")


@pytest.mark.parametrize("content", [b"", b"hello world\n" * 100, b"\0\0\0\x1cftypisom" + bytes(999)])
def test_what_is_no_video_is_told(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x01.mp4"  # with digits, OpenCV would look for x02.mp4 as well
    path.write_bytes(content)
    (item,) = pictures(path)
    assert error(item) == f"{path}: no video that can be read"
    assert count(path) is None


def test_a_video_whose_name_is_not_utf8_is_refused_as_opencv_would_crash(tmp_path: Path) -> None:
    path = tmp_path / "clip\udcff.avi"
    film(tmp_path / "clip.avi").rename(path)
    (item,) = pictures(path)
    assert error(item).endswith(r"clip\udcff.avi': a video's name must be valid UTF-8; rename it")
    (item,) = pictures("rtsp://127.0.0.1/\udcff")
    assert "no such file" in error(item)


def test_a_videos_name_is_not_taken_for_a_protocol_of_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "a.avi").rename(tmp_path / "concat:a.avi")
    monkeypatch.chdir(tmp_path)
    frames = list(pictures("concat:a.avi"))
    assert len(frames) == 50
    assert frames[0].name == "concat:a.avi"


def test_a_video_among_pictures_comes_in_its_place(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    film(tmp_path / "b.avi", frames=3)
    save(tmp_path / "c.png")
    found = [(Path(item.name).name, item.frame) for item in pictures(tmp_path)]
    assert found == [("a.png", None), ("b.avi", 0), ("b.avi", 1), ("b.avi", 2), ("c.png", None)]
    assert count(tmp_path) == 5
    film(tmp_path / "d.avi", frames=3)
    assert count(tmp_path) is None


# --- cameras and streams


@pytest.mark.parametrize("number", [99, "99", np.int64(99)])
def test_an_absent_camera_is_told_quickly(number: Any) -> None:
    start = time.monotonic()
    (item,) = pictures(number)
    assert item.name == "camera 99"
    assert error(item) == "camera 99: no such camera, or it is in use"
    assert count(number) is None
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("number", [-1, 100, "100", 2**31, 2**70])
def test_a_number_that_no_camera_has_is_refused(number: Any) -> None:
    (item,) = pictures(number)
    assert error(item) == f"camera {number}: cameras are numbered from 0 to 99"


class Fake:
    """Stands in for cv2.VideoCapture: a camera that gives so many pictures, each when it may, and breaks."""

    def __init__(self, frames: int = 3) -> None:
        self.frames, self.released = frames, False
        self.may, self.asked = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.current_thread()

    def get(self, _: int) -> float:
        return -1.0

    def read(self) -> tuple[bool, Any]:
        self.thread = threading.current_thread()
        self.asked.release()
        self.may.acquire()
        self.frames -= 1
        return (True, RED[..., ::-1].copy()) if self.frames >= 0 else (False, None)

    def give(self, count: int) -> None:
        """Lets it give some more pictures, and waits until all of them were taken."""
        for _ in range(count):
            self.asked.acquire()
            self.may.release()
        self.asked.acquire()
        self.asked.release()

    def release(self) -> None:
        self.released = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: fake)
    return fake


@pytest.mark.parametrize("source", [0, "rtsp://127.0.0.1/live"])
def test_a_camera_that_stops_is_an_error_after_its_frames(source: Any, fake: Fake) -> None:
    queue, frames = pictures(source), []
    for _ in range(3):
        fake.may.release()
        frames.append(next(queue))
    fake.may.release()
    (last,) = queue
    assert [(item.frame, item.fps) for item in frames] == [(0, None), (1, None), (2, None)]
    assert (frames[2].load() == RED).all()
    assert all(item.time is not None for item in frames)
    times = [item.time or 0 for item in frames]
    assert times[0] == 0
    assert times == sorted(times)
    assert error(last) == f"{last.name}: no more pictures after frame 2"
    assert fake.released


@pytest.mark.parametrize("source", ["0", "tcp://127.0.0.1:1/live"])
def test_who_is_slower_than_a_camera_gets_its_newest_frame(source: str, fake: Fake) -> None:
    """With its number and the time when it came, not when it was asked for."""
    fake.frames = 8
    queue, start = pictures(source), time.monotonic()
    fake.may.release()
    assert next(queue).frame == 0
    fake.asked.acquire()
    fake.give(5)
    came = time.monotonic()
    time.sleep(0.2)
    item = next(queue)
    assert item.frame == 5
    assert item.time is not None
    assert item.time <= came - start
    fake.give(2)
    assert next(queue).frame == 7
    fake.may.release()
    assert error(next(queue)) == f"{item.name}: no more pictures after frame 7"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_ever_for_a_camera_whose_reader_fails(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(sources, "_next", fail)
    (item,) = pictures(0)
    assert error(item) == "camera 0: no such camera, or it is in use"


def test_a_camera_is_given_back_when_nobody_wants_more(fake: Fake) -> None:
    fake.frames = 10**6
    fake.may.release(fake.frames)
    queue = pictures([0])
    next(queue)
    queue.close()
    assert fake.released
    assert not fake.thread.is_alive()


def test_a_stream_that_nobody_sends_is_told_quickly() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"rtsp://127.0.0.1:{bound.getsockname()[1]}/live"
        start = time.monotonic()
        (item,) = pictures(url)
    assert error(item) == f"{url}: no video that can be read"
    assert time.monotonic() - start < 2
    assert count(url) is None


def test_a_stream_that_stays_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "STREAM_TIMEOUT", 300)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        (item,) = pictures(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live")
        assert "no video that can be read" in error(item)
        assert time.monotonic() - start < 3


# --- URLs


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("web")
    save(folder / "red.png")
    save(folder / "picture.png").rename(folder / "picture")
    film(folder / "clip.avi", frames=5)
    film(folder / "film.avi", frames=5).rename(folder / "film")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def guess_type(self, path: Any) -> str:
            return {"picture": "image/png", "film": "video/x-msvideo"}.get(Path(path).name) or super().guess_type(path)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """FFmpeg hangs up when it has seen enough."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("page", ["red.png", "red.png?size=1", "picture"])
def test_a_url_of_a_picture_is_that_picture(page: str, server: str) -> None:
    (item,) = pictures(f"{server}/{page}")
    assert (item.name, item.frame) == (f"{server}/{page}", None)
    assert (item.load() == RED).all()


@pytest.mark.parametrize("page", ["clip.avi", "clip.avi?token=1", "film"])
def test_a_url_of_a_video_gives_its_frames(page: str, server: str) -> None:
    frames = list(pictures(f"{server}/{page}"))
    assert [item.frame for item in frames] == [0, 1, 2, 3, 4]
    assert frames[0].load().shape == (48, 64, 3)
    assert frames[0].name == f"{server}/{page}"


def test_only_the_url_of_a_picture_is_counted(server: str) -> None:
    assert count(f"{server}/red.png") == 1
    assert count(f"{server}/picture") is None
    assert count(f"{server}/clip.avi") is None


def test_a_url_that_fails_is_told(server: str) -> None:
    for page, reason in [
        ("missing.png", "the server answers 404 File not found"),
        ("missing", "the server answers 404 File not found"),
        ("missing.mp4", "no video that can be read"),
    ]:
        (item,) = pictures(f"{server}/{page}")
        assert error(item) == f"{server}/{page}: {reason}"


# --- in memory, and several


def test_bytes_arrays_and_pil_images_are_pictures(tmp_path: Path) -> None:
    data = save(tmp_path / "red.png").read_bytes()
    cases: list[tuple[Any, str]] = [(kind(data), "bytes") for kind in (bytes, bytearray, memoryview)]
    for source, name in [*cases, (RED, "array"), (Image.fromarray(RED), "image")]:
        (item,) = pictures(source)
        assert item.name == name
        assert (item.load() == RED).all()
        assert count(source) == 1
        assert names([None, source]) == ["source 0", f"{name} 1"]


def test_an_open_file_is_read_and_a_closed_or_text_one_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "red.png")
    with path.open("rb") as file:
        (item,) = pictures(file)
    assert (item.load() == RED).all()
    assert "closed file" in error(next(iter(pictures(file))))
    with open(__file__, encoding="utf-8") as text:
        (item,) = pictures(text)
    assert error(item) == "file: expected a file that is opened as binary"
    assert names([io.BytesIO(path.read_bytes()), path]) == ["file 0", str(path)]


def test_an_iterable_gives_each_of_its_sources_even_after_bad_ones(tmp_path: Path) -> None:
    path = save(tmp_path / "red.png")
    mixed = [path, "missing.jpg", None, (RED, [str(path)]), RED / 255, b"", [], True]
    expected = [str(path), "missing.jpg", "source 2", "array 0", str(path), "array 4", "bytes 5", "source 7"]
    assert names(mixed) == expected
    assert names(iter(mixed)) == expected
    good = []
    for item in pictures(mixed):
        with contextlib.suppress(SourceError):
            good.append(item.load())
    assert len(good) == 3


def test_a_picture_of_a_source_is_a_source() -> None:
    item = Picture("mine", lambda: RED)
    assert list(pictures([item])) == [item]


def test_what_is_no_source_says_what_one_may_be() -> None:
    (item,) = pictures(None)  # type: ignore[arg-type]
    assert error(item).startswith("source: expected a path, URL, camera number, array")
    assert error(item).endswith("; found NoneType")


def test_nothing_is_taken_from_a_generator_before_it_is_needed() -> None:
    taken: list[int] = []

    def endless() -> Iterator[Any]:
        for k in itertools.count():
            taken.append(k)
            yield RED

    source = endless()
    assert count(source) is None
    assert count([source]) is None
    queue = pictures(source)
    assert not taken
    assert [next(queue).name for _ in range(3)] == ["array 0", "array 1", "array 2"]
    assert taken == [0, 1, 2]


def test_pictures_load_in_many_threads_at_once(tmp_path: Path) -> None:
    for k in range(40):
        save(tmp_path / f"{k:02}.png", (k, 2 * k, 3 * k))
    film(tmp_path / "film.avi")
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda item: item.load(), pictures(tmp_path)))
    assert len(loaded) == 90
    assert [tuple(pixels[0, 0]) for pixels in loaded[:40]] == [(k, 2 * k, 3 * k) for k in range(40)]


leaves = st.sampled_from([RED, b"", None, "missing.jpg", "no*match", Path("x.mp4"), -1, "photos", "photos/*"])


@given(st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner), max_leaves=12))
def test_count_is_the_number_of_pictures(source: Any) -> None:
    expected = len(list(pictures(source)))
    has_none = "None" in str(source)
    assert count(source) in ({None} if has_none else {expected})


@given(st.text(max_size=20).filter(lambda text: "/" not in text))
def test_any_text_gives_pictures_or_errors_of_one_line(text: str) -> None:
    (item,) = pictures(f"./nothing{text}")
    error(item)


def test_opencv_and_ffmpeg_print_nothing_about_what_cannot_be_read(tmp_path: Path) -> None:
    data = film(tmp_path / "whole.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    (tmp_path / "bad.avi").write_bytes(data[:300])
    (tmp_path / "bad.mp4").write_bytes(b"hello")
    (tmp_path / "bad.tif").write_bytes(b"II*\0" + bytes(100))
    code = """if True:
        import sys
        from onelook.runtime.sources import SourceError, pictures
        for item in pictures([sys.argv[1], 99, "rtsp://127.0.0.1:1/live"]):
            try:
                item.load()
            except SourceError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=60)
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        *(f"{tmp_path}/{name}" for name in ("bad.avi", "bad.mp4", "bad.tif", "cut.avi")),
        *("camera 99", "rtsp"),
    ]
    assert done.stderr == ""
