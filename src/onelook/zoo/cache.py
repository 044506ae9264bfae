"""Where downloaded model files are kept."""

import os
import sys
from pathlib import Path

from onelook.errors import ZooError
from onelook.zoo.catalogue import RemoteFile


def cache_directory() -> Path:
    """The folder of downloaded files; it need not exist yet.

    `ONELOOK_HOME` when set, else what the platform lays down: `$XDG_CACHE_HOME/onelook` or `~/.cache/onelook` on
    Linux, `~/Library/Caches/onelook` on macOS, `%LOCALAPPDATA%\\onelook\\Cache` on Windows.

    Raises:
        ZooError: there is no home directory to put it in.
    """
    try:
        if chosen := os.environ.get("ONELOOK_HOME"):
            return Path(chosen).expanduser()
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "onelook"
        if sys.platform == "win32":
            local = os.environ.get("LOCALAPPDATA")
            return (Path(local) if local else Path.home() / "AppData" / "Local") / "onelook" / "Cache"
        xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
        # The XDG specification has relative paths ignored.
        return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "onelook"
    except RuntimeError as error:  # pathlib's word for "no home directory"
        raise ZooError("no home directory to keep models in; set ONELOOK_HOME to a folder") from error


def is_complete(file: RemoteFile, path: Path) -> bool:
    """Whether `path` holds `file`, judged by its size alone: its SHA-256 was checked before it came to that name."""
    return path.is_file() and path.stat().st_size == file.size
