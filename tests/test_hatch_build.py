"""What the wheel gets from the npm registry, with a registry on this machine."""

import base64
import hashlib
import http.server
import importlib.util
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "/onnxruntime-web/-/onnxruntime-web-{}.tgz"


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with a folder and a registry of its own: nobody listens there."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "FOLDER", tmp_path / "vendor")
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    return module


@pytest.fixture
def asked(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A registry with the package that is pinned, and the paths that it was asked for."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        contents = {f"dist/{name}": name.encode() for name in build.FILES}
        contents |= {"package.json": json.dumps({"version": build.VERSION}).encode(), "dist/other.wasm": b"other"}
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    paths: list[str] = []

    class Registry(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data.getvalue())

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setattr(build, "SHA512", base64.b64encode(hashlib.sha512(data.getvalue()).digest()).decode())
        yield paths
        server.shutdown()


def hook(build: ModuleType, target: str) -> Any:
    """The hook as hatchling makes it, without hatchling; warnings are collected in `warned`."""
    made: Any = object.__new__(type("Hook", (), dict(build.CustomBuildHook.__dict__)))
    made.target_name, made.warned = target, []
    made.app = SimpleNamespace(display_warning=made.warned.append)
    return made


def test_what_is_needed_is_fetched_once_with_its_licence(build: ModuleType, asked: list[str]) -> None:
    build.fetch()
    build.fetch()
    assert asked == [PACKAGE.format(build.VERSION)]
    assert sorted(file.name for file in build.FOLDER.iterdir()) == sorted([*build.FILES, "LICENSE", "package.json"])
    assert "Microsoft Corporation" in (build.FOLDER / "LICENSE").read_text()
    (build.FOLDER / "package.json").write_text('{"version": "1.0.0"}')  # of an older pin
    build.fetch()
    assert len(asked) == 2
    assert build.is_there()


def test_another_package_than_the_pinned_one_is_refused(
    build: ModuleType, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "SHA512", build.SHA512[::-1])
    with pytest.raises(ValueError, match="not the package that was pinned"):
        build.fetch()
    assert len(asked) == 1
    assert not build.FOLDER.exists()


def test_a_wheel_has_the_files_as_artifacts(build: ModuleType, asked: list[str]) -> None:
    data: dict[str, Any] = {"artifacts": []}
    hook(build, "wheel").initialize("standard", data)
    assert "/vendor/ort-wasm-simd-threaded.wasm" in data["artifacts"]
    assert "/vendor/LICENSE" in data["artifacts"]
    assert len(asked) == 1


@pytest.mark.parametrize(("target", "version"), [("wheel", "editable"), ("sdist", "standard")])
def test_other_builds_ask_nobody(build: ModuleType, asked: list[str], target: str, version: str) -> None:
    data: dict[str, Any] = {"artifacts": []}
    hook(build, target).initialize(version, data)
    assert data == {"artifacts": []}
    assert asked == []


def test_without_a_registry_the_wheel_is_built_without_them(build: ModuleType) -> None:
    data: dict[str, Any] = {"artifacts": []}
    made = hook(build, "wheel")
    made.initialize("standard", data)
    assert data == {"artifacts": []}
    assert len(made.warned) == 1
    assert "without ONNX Runtime Web" in made.warned[0]
