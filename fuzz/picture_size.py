"""The size of a JPEG or PNG from its header."""

import io

from onelook.runtime.header import size_of


def one_input(data: bytes) -> None:
    """A file."""
    found = size_of(io.BytesIO(data))
    assert found is None or min(found) > 0, found
