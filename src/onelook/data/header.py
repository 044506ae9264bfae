"""The size of a picture file, decoded only where its header does not say it."""

import os
import stat
from pathlib import Path

from onelook.errors import SourceError
from onelook.runtime.header import size_of
from onelook.runtime.picture import read


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, upright as `runtime.picture.read` gives the picture (EXIF orientation applied).

    Of a JPEG or PNG the header is read, which takes microseconds; anything else is decoded.

    Raises:
        SourceError: there is no such file, or it is no picture.
    """
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "rb") as file:
                found = size_of(file)
            if found is not None:
                return found
    except (OSError, ValueError):
        pass  # reading it says why
    height, width = read(path).shape[:2]
    return width, height


def try_size(path: Path) -> tuple[int, int] | SourceError:
    """As `picture_size`, with the error as the result."""
    try:
        return picture_size(path)
    except SourceError as error:
        return error
