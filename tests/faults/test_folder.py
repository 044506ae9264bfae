"""A folder of ten thousand pictures, and of what only looks like one."""

import os
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest

from onelook import SourceError
from onelook.runtime.sources import count, pictures

PICTURES = 10_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "f"  # short: a socket's name is
    folder.mkdir()
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((2, 3, 3), np.uint8))
    for i in range(PICTURES):
        os.link(tmp_path / "one.png", folder / f"{i:05}.png")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "link.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "folder.jpg").mkdir()
    os.link(tmp_path / "one.png", folder / "folder.jpg" / "inside.png")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)
        listener.bind("socket.jpg")
        os.chdir(here)
    os.mkfifo(folder / "pipe.mp4")
    return folder


def test_every_picture_is_read_and_what_is_none_is_one_error_each(folder: Path) -> None:
    assert count(folder) == PICTURES + 6
    errors: dict[str, str] = {}
    shapes = set()
    read = 0
    for picture in pictures(folder):
        try:
            shapes.add(picture.load().shape)
            read += 1
        except SourceError as error:
            assert picture.name not in errors
            errors[Path(picture.name).name] = str(error).partition(": ")[2]
    assert read == PICTURES + 1
    assert shapes == {(2, 3, 3)}
    assert errors.keys() == {"pipe.jpg", "link.jpg", "loop.jpg", "socket.jpg", "pipe.mp4"}
    assert errors["pipe.jpg"] == errors["socket.jpg"] == errors["pipe.mp4"] == "not an ordinary file"
    assert errors["link.jpg"] == "no such file or folder"
