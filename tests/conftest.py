"""What the tests share: where real data lies, when it is there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("ONELOOK_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """A path in the folder of real data and weights; the test is skipped where that is absent (a user's clone)."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"needs {name} in the folder of real data (ONELOOK_SHARED)")
        return path

    return find
