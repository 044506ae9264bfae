"""Build the wheel and the sdist, and use the wheel in empty environments of every supported Python that is here.

python tests/check_package.py DIST
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUPPORTED = ("3.11", "3.12", "3.13")
# What a user does first, in a folder without the sources; nothing but the wheel's dependencies is there.
USE = """
import importlib.metadata, sys
import cv2, numpy as np
import onelook
assert "site-packages" in onelook.__file__, onelook.__file__
image = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8), (640, 480))
cv2.imwrite("picture.jpg", image)
onelook.load()("picture.jpg").save("found.png")
assert not {"torch", "fastapi", "ray"} & set(sys.modules)
"""


def run(*command: object, cwd: Path | None = None) -> str:
    """A command's output. Ends with it where the command fails."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def contents(wheel: Path) -> dict[str, str]:
    """The digest of each file in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def interpreter(version: str) -> str | None:
    """A Python of that version that runs, of the system or of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for python in (shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python")):
        if python and not subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
            return str(python)
    return None


def check_contents(wheel: Path, sdist: Path) -> None:
    """That the wheel has what a user needs and no more, and that the sdist makes the same wheel."""
    names = set(contents(wheel))
    for needed in ("py.typed", "zoo/helmets.onnx", "zoo/helmets.md", "names/imagenet.tsv", "serve/page/index.html"):
        assert f"onelook/{needed}" in names, f"{needed} is not in {wheel.name}"
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/onelook").rglob("*.py")}
    assert sources <= names, sorted(sources - names)
    strange = [name for name in names if not name.startswith(("onelook/", "onelook-"))]
    assert not strange, strange
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (unpacked,) = Path(folder).iterdir()
        run(sys.executable, "-m", "build", "--wheel", "--outdir", Path(folder) / "again", unpacked)
        (again,) = (Path(folder) / "again").glob("*.whl")
        assert contents(again) == contents(wheel), "the sdist makes another wheel"


def check_use(python: str, wheel: Path) -> None:
    """That the wheel installs and works in an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run(python, "-m", "venv", place / "venv")
        own = place / "venv/bin/python"
        run(own, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel)
        run(own, "-m", "pip", "check")
        run(own, "-c", USE, cwd=place)
        assert (place / "found.png").stat().st_size > 1000
        assert "onelook" in run(place / "venv/bin/onelook", "--version")
        run(place / "venv/bin/onelook", "detect", "picture.jpg", "--save", "json", "-o", "out", cwd=place)
        assert (place / "out/results.json").exists()


def main() -> None:
    """Build, look, use."""
    dist = Path(sys.argv[1]).absolute()
    shutil.rmtree(dist, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", dist, ROOT)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    check_contents(wheel, sdist)
    for version in SUPPORTED:
        python = interpreter(version)
        if python is None:
            print(f"python{version} is not here: not tried")
            continue
        check_use(python, wheel)
        print(f"python{version}: {wheel.name} installs and detects")
    print(f"{wheel} {wheel.stat().st_size / 1e6:.1f} MB\n{sdist} {sdist.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
