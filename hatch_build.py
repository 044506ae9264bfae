"""Brings ONNX Runtime's WebAssembly build into the wheel, where the page of `onelook serve` finds it.

`python hatch_build.py` fetches it into a checkout. Without it the page looks at pictures on the server alone, so a build
that cannot reach the registry goes on without.
"""

import base64
import hashlib
import hmac
import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # a checkout need not have hatchling
    BuildHookInterface = object

ROOT = Path(__file__).parent
FOLDER = ROOT / "src/onelook/serve/page/vendor"
VERSION = "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
REGISTRY = "https://registry.npmjs.org"
TIMEOUT = 60  # seconds of silence

# The package says "MIT" and has no file with the text, which must come with every copy.
LICENSE = """\
ONNX Runtime Web

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc]
    """For wheels that are installed elsewhere; an editable install has what the checkout has."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files."""
        if self.target_name != "wheel" or version == "editable":
            return
        try:
            fetch()
        except OSError as error:
            self.app.display_warning(f"the wheel will be without ONNX Runtime Web: {error}")
        else:
            build_data["artifacts"] += [f"/{(FOLDER / name).relative_to(ROOT).as_posix()}" for name in wanted()]


def wanted() -> list[str]:
    """The names of all files of the folder."""
    return [*FILES, "package.json", "LICENSE"]


def fetch() -> None:
    """Fill the folder, unless it is of this version already.

    Raises:
        OSError: the registry cannot be reached, or has not got the package.
        ValueError: what it gave is not what was pinned.
    """
    if is_there():
        return
    url = f"{registry().rstrip('/')}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            data = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise OSError(f"{url}: {error or type(error).__name__}") from None
    found = base64.b64encode(hashlib.sha512(data).digest()).decode()
    if not hmac.compare_digest(found, SHA512):
        raise ValueError(f"{url}: is not the package that was pinned: its sha512 is {found}, expected {SHA512}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for name in FILES:
            (FOLDER / name).write_bytes(_content(archive, f"package/dist/{name}"))
        (FOLDER / "LICENSE").write_text(LICENSE)
        # The last: it says that all is there.
        (FOLDER / "package.json").write_bytes(_content(archive, "package/package.json"))


def is_there() -> bool:
    """Whether the folder has all files, of this version."""
    if not all((FOLDER / name).is_file() for name in wanted()):
        return False
    return bool(json.loads((FOLDER / "package.json").read_text())["version"] == VERSION)


def registry() -> str:
    """The address of the npm registry that this machine is told to use."""
    if configured := os.environ.get("NPM_CONFIG_REGISTRY"):
        return configured
    if npm := shutil.which("npm"):
        asked = subprocess.run(
            [npm, "config", "get", "registry"], capture_output=True, text=True, cwd=ROOT, check=False
        )
        if asked.stdout.startswith("http"):
            return asked.stdout.strip()
    return REGISTRY


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file in the package")
    return file.read()


if __name__ == "__main__":
    try:
        fetch()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(FOLDER)
