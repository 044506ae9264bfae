"""Downloads over a real socket, with a server that breaks off, lies, stalls or never ends."""

import gc
import hashlib
import io
import itertools
import re
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from onelook.errors import ZooError
from onelook.zoo import download as module
from onelook.zoo.catalogue import RemoteFile
from onelook.zoo.download import download

BODY = bytes(range(256)) * 1000
SIZE = len(BODY)
SHA256 = hashlib.sha256(BODY).hexdigest()


def whole(body=BODY, length=SIZE, sent=None, etag='"one"'):
    """Answer 200 with `sent` bytes (default all) of `body`, having announced `length` of them (None: none)."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if length is not None:
            handler.send_header("Content-Length", str(length))
        handler.send_header("ETag", etag)
        handler.end_headers()
        handler.wfile.write(body[:sent])

    return answer


def rest(body=BODY, shift=0, total=SIZE, sent=None):
    """Answer 206 with what the request asks for, or with what lies `shift` bytes after it."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = int(re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"])[1]) + shift
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{total}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.send_header("ETag", '"one"')
        handler.end_headers()
        handler.wfile.write(body[start:][:sent])

    return answer


def status(code, **headers):
    """Answer with nothing but a status and headers."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def silence(handler: BaseHTTPRequestHandler) -> None:
    """Answer nothing until the test is over."""
    handler.server.stopped.wait(10)


@pytest.fixture
def wanted(server):
    return RemoteFile(server.url(), SHA256, SIZE)


@pytest.fixture
def destination(tmp_path):
    return tmp_path / "cache" / "model.weights"


@pytest.fixture
def part(destination):
    """The part file, in a folder that exists."""
    destination.parent.mkdir()
    return destination.with_name("model.weights.part")


def complaint(file: RemoteFile, destination: Path) -> str:
    """The one line that a download fails with; nothing may have come into place."""
    with pytest.raises(ZooError) as caught:
        download(file, destination)
    assert len(str(caught.value).splitlines()) == 1
    assert not destination.exists()
    return str(caught.value)


def test_a_file_comes_whole_and_leaves_no_part(server, wanted, destination):
    server.answers = [whole()]
    assert download(wanted, destination) == destination
    assert destination.read_bytes() == BODY
    assert sorted(path.name for path in destination.parent.iterdir()) == ["model.weights", "model.weights.lock"]
    assert "Range" not in server.requests[0]


def test_a_body_of_unannounced_length_is_taken(server, wanted, destination):
    server.answers = [whole(length=None)]
    assert download(wanted, destination).read_bytes() == BODY


def test_a_connection_cut_midway_is_resumed_where_it_ended(server, wanted, destination):
    server.answers = [whole(sent=100_000), rest(sent=50_000), rest()]
    assert download(wanted, destination).read_bytes() == BODY
    assert [request.get("Range") for request in server.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert [request.get("If-Range") for request in server.requests] == [None, '"one"', '"one"']


def test_a_weak_etag_is_not_used_to_resume(server, wanted, destination):
    server.answers = [whole(sent=100_000, etag='W/"one"'), rest()]
    assert download(wanted, destination).read_bytes() == BODY
    assert "If-Range" not in server.requests[1]


def test_what_an_earlier_process_left_is_resumed(server, wanted, destination, part):
    part.write_bytes(BODY[:70_000])
    server.answers = [rest()]
    assert download(wanted, destination).read_bytes() == BODY
    assert server.requests[0]["Range"] == "bytes=70000-"


def test_a_part_that_is_already_whole_needs_no_request(server, wanted, destination, part):
    part.write_bytes(BODY)
    assert download(wanted, destination).read_bytes() == BODY
    assert server.requests == []


def test_a_part_longer_than_the_file_is_started_anew(server, wanted, destination, part):
    part.write_bytes(BODY + b"?")
    server.answers = [whole()]
    assert download(wanted, destination).read_bytes() == BODY
    assert "Range" not in server.requests[0]


def test_a_server_that_ignores_range_is_read_from_the_start(server, wanted, destination, part):
    part.write_bytes(b"?" * 70_000)
    server.answers = [whole()]
    assert download(wanted, destination).read_bytes() == BODY
    assert server.requests[0]["Range"] == "bytes=70000-"


def test_a_range_that_the_server_refuses_is_asked_for_from_the_start(server, wanted, destination, part):
    part.write_bytes(BODY[:70_000])
    server.answers = [status(416), whole()]
    assert download(wanted, destination).read_bytes() == BODY
    assert [request.get("Range") for request in server.requests] == ["bytes=70000-", None]


@pytest.mark.parametrize("elsewhere", [rest(shift=1), rest(total="much"), status(206)])
def test_a_server_that_resumes_elsewhere_is_asked_from_the_start(elsewhere, server, wanted, destination, part):
    part.write_bytes(BODY[:70_000])
    server.answers = [elsewhere, whole()]
    assert download(wanted, destination).read_bytes() == BODY
    assert [request.get("Range") for request in server.requests] == ["bytes=70000-", None]


def test_a_part_that_nobody_asked_for_is_not_taken_for_the_whole(server, wanted, destination):
    server.answers = [status(206, **{"Content-Range": f"bytes 5-{SIZE - 1}/{SIZE}"})]
    assert "from byte 5" in complaint(wanted, destination)


def test_a_resumed_file_of_another_size_is_refused(server, wanted, destination, part):
    part.write_bytes(BODY[:70_000])
    server.answers = [rest(total=300_000)]
    assert "300000 bytes" in complaint(wanted, destination)


def test_wrong_bytes_are_deleted_and_both_digests_named(server, wanted, destination):
    other = BODY[::-1]
    server.answers = [whole(other)]
    message = complaint(wanted, destination)
    for words in (wanted.url, SHA256, hashlib.sha256(other).hexdigest()):
        assert words in message
    assert not destination.with_name("model.weights.part").exists()


def test_a_part_of_wrong_bytes_is_gone_after_the_complaint(server, wanted, destination, part):
    part.write_bytes(b"?" * 70_000)
    server.answers = [rest(), whole()]
    assert "SHA-256" in complaint(wanted, destination)
    assert download(wanted, destination).read_bytes() == BODY


def test_a_page_of_another_size_is_refused_before_it_is_read(server, wanted, destination):
    server.answers = [whole(b"<html>moved</html>", length=18)]
    assert f"18 bytes there, not the {SIZE}" in complaint(wanted, destination)
    assert destination.with_name("model.weights.part").stat().st_size == 0


def test_an_endless_body_stops_at_the_expected_size(server, wanted, destination):
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        for _ in itertools.count():
            handler.wfile.write(BODY)
            sent += len(BODY)

    server.answers = [endless]
    assert f"more than the expected {SIZE} bytes" in complaint(wanted, destination)
    assert destination.with_name("model.weights.part").stat().st_size == 0
    assert sent < 100 * len(BODY)
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_file_that_is_not_there_is_not_asked_for_again(code, server, wanted, destination):
    server.answers = [status(code)]
    message = complaint(wanted, destination)
    assert f"answers {code}" in message
    assert str(destination) in message
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(server, wanted, destination):
    server.answers = [status(503), status(429), whole()]
    assert download(wanted, destination).read_bytes() == BODY


def test_a_server_that_stays_busy_ends_in_an_error_that_says_where_to_put_the_file(server, wanted, destination):
    server.answers = [status(503)]
    message = complaint(wanted, destination)
    assert "503 Service Unavailable" in message
    assert f"put the file at {destination}" in message
    assert len(server.requests) == 1 + len(module.PAUSES)


def test_a_silent_server_is_given_up_after_the_timeout(server, wanted, destination, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    server.answers = [silence]
    assert "timed out" in complaint(wanted, destination)


def test_a_server_that_falls_silent_midway_is_resumed_elsewhere(server, wanted, destination, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.05)

    def stall(handler: BaseHTTPRequestHandler) -> None:
        whole(sent=100_000)(handler)
        silence(handler)

    server.answers = [stall, rest()]
    assert download(wanted, destination).read_bytes() == BODY
    assert server.requests[1]["Range"] == "bytes=100000-"


def test_no_server_at_all_is_one_line(server, destination):
    file = RemoteFile("http://127.0.0.1:9/model.weights", SHA256, SIZE)
    message = complaint(file, destination)
    assert "refused" in message
    assert f"put the file at {destination} by hand" in message


@pytest.mark.parametrize(
    "answer",
    [
        b"220 ftp ready\r\n",
        b"\x1b[2J\r\n" * 100_000,
        b"HTTP/1.1 200 \x1b[2J\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 404 first\x1b[2J line\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n",
        b'HTTP/1.1 200 OK\r\nETag: "a\r\n\tb"\r\n\r\nabc',
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/" + b"9" * 5000 + b"\r\n\r\nabc",
    ],
    ids=range(7),
)
def test_a_garbled_answer_is_one_printable_line(answer, server, wanted, destination):
    server.answers = [lambda handler: handler.wfile.write(answer)]
    message = complaint(wanted, destination)
    assert wanted.url in message
    assert message.isprintable()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "x.weights"])
def test_only_the_web_is_downloaded_from(url, destination):
    assert "only https and http" in complaint(RemoteFile(url, SHA256, 4), destination)


@pytest.mark.parametrize(
    ("target", "words"), [("file:///etc/passwd", "answers 302 Found"), ("ftp://127.0.0.1/x", "only https and http")]
)
def test_a_redirection_off_the_web_is_not_followed(target, words, server, wanted, destination):
    server.answers = [status(302, Location=target)]
    assert words in complaint(wanted, destination)
    assert len(server.requests) == 1


def test_a_redirection_to_no_address_is_one_line(server, wanted, destination):
    server.answers = [status(302, Location="http://[")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # urllib leaves this connection to the collector
        assert "cannot download" in complaint(wanted, destination)
        gc.collect()


def test_a_redirection_is_followed_and_the_range_with_it(server, wanted, destination, part):
    part.write_bytes(BODY[:70_000])
    server.answers = [status(302, Location=server.url("elsewhere")), rest()]
    assert download(wanted, destination).read_bytes() == BODY
    assert server.requests[1]["Range"] == "bytes=70000-"


def test_an_unknown_digest_needs_https_also_after_a_redirection(server, destination, monkeypatch):
    message = complaint(RemoteFile(server.url(), None, SIZE), destination)
    assert "over https only" in message
    assert server.requests == []
    module._check_address("https://example.org/x", None)
    handler = module._CheckedRedirects(None)
    with pytest.raises(ZooError, match="over https only"):
        handler.redirect_request(None, io.BytesIO(), 302, "", {}, "http://example.org/x")


@pytest.fixture
def undigested(server, monkeypatch):
    """A file without a known digest, on a server that passes for https."""
    monkeypatch.setattr(module, "_check_address", lambda url, sha256: None)
    return RemoteFile(server.url(), None, SIZE)


def test_an_unknown_digest_is_noted_and_said(server, undigested, destination, caplog):
    server.answers = [whole()]
    download(undigested, destination)
    note = destination.with_name("model.weights.sha256")
    assert note.read_text() == f"{SHA256}  model.weights\n"
    assert SHA256 in caplog.text
    assert str(note) in caplog.text


def test_a_noted_digest_must_be_met_by_the_next_download(server, undigested, destination):
    server.answers = [whole(), whole(), whole(BODY[::-1])]
    download(undigested, destination).unlink()
    download(undigested, destination).unlink()
    message = complaint(undigested, destination)
    assert SHA256 in message
    assert "model.weights.sha256" in message


def test_without_a_digest_only_an_etag_of_this_call_lets_it_resume(server, undigested, destination, part):
    part.write_bytes(b"?" * 70_000)
    server.answers = [whole(sent=100_000), rest()]
    assert download(undigested, destination).read_bytes() == BODY
    assert [request.get("Range") for request in server.requests] == [None, "bytes=100000-"]


def test_without_digest_and_etag_every_try_begins_anew(server, undigested, destination):
    server.answers = [whole(sent=100_000, etag=""), whole(etag="")]
    assert download(undigested, destination).read_bytes() == BODY
    assert "Range" not in server.requests[1]


def test_a_folder_that_cannot_be_made_is_one_line(server, wanted, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ZooError, match=r"cannot be written.*ONELOOK_HOME") as caught:
        download(wanted, tmp_path / "file" / "model.weights")
    assert len(str(caught.value).splitlines()) == 1
    assert server.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(server, wanted, destination, part):
    part.symlink_to("/dev/full")
    server.answers = [whole()]
    assert "No space left" in complaint(wanted, destination)


def test_two_at_once_download_once(server, wanted, destination):
    started = threading.Event()
    go_on = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        started.set()
        go_on.wait(5)
        whole()(handler)

    module.TIMEOUT = 5.0  # the fixture puts it back
    server.answers = [slow]
    results: list[Path] = []
    threads = [threading.Thread(target=lambda: results.append(download(wanted, destination))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert started.wait(5)
    go_on.set()
    for thread in threads:
        thread.join(5)
    assert results == [destination] * 3
    assert destination.read_bytes() == BODY
    assert len(server.requests) == 1


def test_progress_is_drawn_on_a_terminal_only(server, wanted, destination, capfd, monkeypatch):
    server.answers = [whole()]
    download(wanted, destination).unlink()
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    download(wanted, destination, progress=False).unlink()
    assert capfd.readouterr() == ("", "")
    download(wanted, destination)
    out, err = capfd.readouterr()
    assert out == ""
    assert "model.weights" in err
    assert "256.0/256.0 kB" in err
