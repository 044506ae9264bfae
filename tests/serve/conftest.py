"""A server of small models, in this process."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import painters
from onelook.serve.app import create_app
from onelook.serve.settings import Settings
from serve_client import Client, Start


@pytest.fixture(scope="session")
def model_paths(
    model_file: Callable[..., Path],
    classifier_file: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """Of a detector, a classifier, a segmenter and an instance segmenter."""
    folder = tmp_path_factory.mktemp("served")
    return {
        "boxes": str(model_file("v3")),
        "labels": str(classifier_file()),
        "pixels": str(painters.semantic(folder / "semantic.onnx")),
        "objects": str(painters.instance(folder / "instance.onnx")),
    }


@pytest.fixture
def start(model_paths: dict[str, str]) -> Iterator[Start]:
    """Starts a server of all of them, with settings, in this process."""
    with ExitStack() as stack:

        def begin(**settings: Any) -> Client:
            app = create_app(Settings(**({"models": model_paths} | settings)))
            return stack.enter_context(Client(app, raise_server_exceptions=False))

        yield begin


@pytest.fixture
def client(start: Start) -> Client:
    """Of a server with settings as they are by default."""
    return start()
