import os
import subprocess
import sys
from pathlib import Path

import pytest

from onelook.errors import Error
from onelook.runtime import atomic


def test_processes_of_one_number_have_temporary_files_of_their_own(tmp_path: Path) -> None:
    """As have two containers, in each of which the command is process 1, on a volume that they share."""
    code = f"""
import os, pathlib
os.getpid = lambda: 1
from onelook.runtime import atomic
print(atomic.beside(pathlib.Path({str(tmp_path)!r}, "results.json")))
"""
    run = [sys.executable, "-c", code]
    names = [subprocess.run(run, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert len(set(names)) == 2
    assert all(Path(name.strip()).parent == tmp_path for name in names)


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "x.txt").mkdir()
    with pytest.raises(Error, match="cannot write"):
        atomic.write(tmp_path / "x.txt", b"data")
    assert os.listdir(tmp_path) == ["x.txt"]
