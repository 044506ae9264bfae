"""The most memory that a process has had which loads one model and looks at a few pictures.

Run as a script, it is that process: it imports what `onelook.load` needs and nothing else, this package least of all.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

RUNS = 5


def peak_memory(model: Path, engine: str, threads: int, size: tuple[int, int] | None) -> int | None:
    """Bytes that were resident at most, Python and all libraries included.

    Args:
        model: the model file.
        engine, threads: as of `onelook.load`.
        size: of the input, height and width; None for a model that has but one.

    Returns:
        None where the process failed, or the system does not say.
    """
    # -P: the folder of this script is no place to import from.
    command = [sys.executable, "-P", __file__, str(model), engine, str(threads), *map(str, size or ())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else None


def own_peak() -> int | None:
    """Bytes that this process has had resident at most; None where the system does not say."""
    try:
        # On Linux getrusage counts what the parent had when it started this process; this line does not.
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        pass
    if sys.platform == "darwin":
        import resource

        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return None


def _main(model: str, engine: str, threads: str, *size: str) -> None:
    import numpy as np

    import onelook

    loaded = onelook.load(model, engine=engine, threads=int(threads))
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    options: dict[str, Any] = {"size": (int(size[0]), int(size[1]))} if size else {}
    for _ in range(RUNS):
        loaded(picture, **options)
    print(own_peak() or "")


if __name__ == "__main__":
    _main(*sys.argv[1:])
