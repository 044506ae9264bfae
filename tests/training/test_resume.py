"""Runs that are killed, and go on as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from onelook import CheckpointError, Error, TrainingError
from onelook.runtime import atomic
from onelook.training import Result, resume, train
from onelook.training.run import read_progress
from rectangles import TINY, detection, same, settings, stop_after

KILLS = int(os.environ.get("ONELOOK_KILLS", 3))  # of the run
SEED = int(os.environ.get("ONELOOK_KILL_SEED", 0))
HOW = settings(epochs=max(3, KILLS), batch=2)  # six steps an epoch, with mosaics and all else
DRIVER = """
import sys, time
from pathlib import Path

from onelook.training import loop
from onelook.training.train import resume, train
from rectangles import TINY
from test_resume import HOW

loop.SAVE_EVERY = 0.0  # after every step, so that most deaths are in the middle of an epoch
sys.modules["onelook.training.train"].convert = lambda path, output: output  # takes seconds, and is tested elsewhere
folder = Path(sys.argv[1])
real = loop.learning_rate


def slow(*arguments):
    print("step", flush=True)
    return real(*arguments)


loop.learning_rate = slow
if (folder / "run" / "last.safetensors").exists():
    resume(folder / "run", device="cpu", quiet=True)
else:
    train(folder / "data", settings=HOW, folder=folder / "run", device="cpu", quiet=True, **TINY)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return detection(tmp_path_factory.mktemp("resume") / "data")


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["onelook.training.train"], "convert", lambda path, output: output)


def begin(data: Path, folder: Path, stop: Callable[[], bool] = lambda: False) -> Result:
    return train(data, settings=HOW, folder=folder, device="cpu", quiet=True, stop=stop, **TINY)


def complaint(folder: Path) -> str:
    """What is said of a run that cannot be resumed."""
    with pytest.raises(Error) as caught:
        resume(folder, device="cpu", quiet=True)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.usefixtures("no_export")
def test_killed_again_and_again_a_run_ends_with_the_weights_of_one_that_never_was(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = begin(data, tmp_path / "whole")
    chance = random.Random(SEED)
    (tmp_path / "data").symlink_to(data)
    (tmp_path / "driver.py").write_text(DRIVER)
    paths = os.pathsep.join((str(Path(__file__).parent), str(Path(__file__).parents[1])))
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": paths}
    command = [sys.executable, str(tmp_path / "driver.py"), str(tmp_path)]

    deaths = []
    for _ in range(KILLS):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(chance.randint(1, 6 * HOW.epochs // (KILLS + 1))):
                child.stdout.readline()
            time.sleep(chance.uniform(0, 0.05))  # somewhere in the step, or in the saving that follows
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        if (tmp_path / "run" / "last.safetensors").exists():
            progress = read_progress(tmp_path / "run" / "last.safetensors")
            deaths.append((progress["epoch"], progress["step"]))
    assert deaths == sorted(deaths)
    assert any(step for _, step in deaths)
    last = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert last.returncode == 0, last.stderr

    for name in ("best", "last"):
        mine, theirs = (safetensors.torch.load_file(tmp_path / run / f"{name}.safetensors") for run in ("run", "whole"))
        assert same(mine, theirs), name
    assert read_progress(tmp_path / "run" / "last.safetensors")["history"] == list(whole.history)


@pytest.mark.usefixtures("no_export")
def test_resume_after_the_end_gives_the_result_again(data: Path, tmp_path: Path) -> None:
    result = begin(data, tmp_path / "run")
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    again = resume(tmp_path / "run", device="cpu", quiet=True)
    assert (again.history, again.best, again.model) == (result.history, result.best, result.model)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


@pytest.mark.usefixtures("no_export")
def test_a_full_disk_ends_a_run_in_one_line_and_leaves_what_was_there(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real, states = tmp_path / "run", Path.write_bytes, []

    def write(path: Path, contents: bytes) -> int:
        if b'"run":' in contents[:2000]:  # the state, not the best network
            states.append(path)
            if len(states) == 3:  # those at the start and after the first epoch are written
                real(path, contents[:1000])
                raise OSError(28, "No space left on device")
        return real(path, contents)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.Path, "write_bytes", write)
        with pytest.raises(TrainingError) as caught:
            begin(data, folder)
    assert str(caught.value) == f"{folder}/last.safetensors: cannot be written: No space left on device"
    assert read_progress(folder / "last.safetensors")["epoch"] == 1
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    result = resume(folder, device="cpu", quiet=True)
    begin(data, tmp_path / "whole")
    for name in ("best", "last"):
        mine, theirs = (safetensors.torch.load_file(tmp_path / run / f"{name}.safetensors") for run in ("run", "whole"))
        assert same(mine, theirs)
    assert len(result.history) == HOW.epochs


def test_a_folder_that_cannot_be_made_is_said_in_one_line(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(Error, match=r"^cannot write .*file"):
            begin(data, folder)


@pytest.fixture(scope="module")
def stopped(data: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The state of a run that was stopped."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    result = begin(data, folder, stop_after(2))
    assert result.model is None
    return (folder / "last.safetensors").read_bytes()


@pytest.mark.parametrize("length", [0, 8, 500, -1])
def test_a_damaged_state_is_said_in_one_line(stopped: bytes, tmp_path: Path, length: int) -> None:
    (tmp_path / "last.safetensors").write_bytes(stopped[:length])
    assert complaint(tmp_path).startswith(f"{tmp_path}/last.safetensors: is not the state of a training run: ")


def test_a_folder_without_a_run_is_said_in_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        assert "there is no such file; expected the folder of a run" in complaint(folder)


def test_a_dataset_that_has_changed_is_said_in_one_line(tmp_path: Path) -> None:
    data, folder = detection(tmp_path / "data"), tmp_path / "run"
    begin(data, folder, stop_after(2))
    (data / "images" / "train" / "03.png").unlink()
    assert complaint(folder) == f"{data}: has 11 pictures to train on; it had 12 when the run began"
    data.rename(tmp_path / "elsewhere")
    assert complaint(folder) == f"{data}: no such file or folder"


def test_a_folder_that_holds_a_run_is_not_trained_in_again(data: Path, stopped: bytes, tmp_path: Path) -> None:
    (tmp_path / "last.safetensors").write_bytes(stopped)
    with pytest.raises(TrainingError, match="holds a run already; go on with it by --resume, or choose another folder"):
        begin(data, tmp_path)
    assert (tmp_path / "last.safetensors").read_bytes() == stopped


def test_weights_of_another_network_leave_no_folder(data: Path, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError):
        train(
            data,
            settings=replace(HOW),
            folder=tmp_path / "run",
            weights=tmp_path / "x.safetensors",
            device="cpu",
            quiet=True,
            **TINY,
        )
    assert not (tmp_path / "run").exists()
