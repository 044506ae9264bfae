"""How long until the first picture is done, and how large is what pip installs?

onelook is installed without torch into a fresh environment, by pip from this repository. Its size is that of all files
that pip puts there. `import onelook` is timed within fresh processes; `onelook detect`, with Yolo-Fastest-1.1-xl on one
photograph, as a whole process. For ultralytics the same is measured with yolo11n at 320, in the environment that runs
this script, with the packages that are installed there of those it needs. Contenders by turns, medians.
"""

import subprocess
import sys
from pathlib import Path

from common import ROOT

TIMED_IMPORT = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
PREDICT = "from ultralytics import YOLO; import sys; sys.path.insert(0, {here!r}); import common; common.load_yolo({model!r}).predict({picture!r}, imgsz=320)"


def install(folder: Path) -> tuple[Path, int]:
    """A fresh environment with onelook: its Python, and the bytes that pip has put there."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder / "bin" / "python",
        "install",
        "--quiet",
        "--no-compile",
        ROOT,
    ]
    subprocess.run(pip, check=True)
    return folder / "bin" / "python", sum(file.stat().st_size for file in (folder / "lib").rglob("*") if file.is_file())
