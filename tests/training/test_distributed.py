"""Two processes train what one would."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from onelook import TrainingError, detectors
from onelook.data import read
from onelook.training import train
from onelook.training.distributed import Processes, SyncBatchNorm, anyone, gather, mean, processes, synchronise
from onelook.training.run import read_progress
from onelook.training.validate import DetectorValidation
from rectangles import ALONE, COLOURS, PLAIN, TINY, calm, detection, randomise, settings

HOW = settings(epochs=1, batch=4, optimizer="sgd", learning_rate=1e-2, warmup=0, augmentation=PLAIN, average=0.5)
DRIVER = """
import sys
from pathlib import Path

import torch

from onelook.data import read
from onelook.training import distributed
from onelook.training.train import train
from rectangles import TINY, stop_after
from test_distributed import HOW, measures, normalised

sys.modules["onelook.training.train"].convert = lambda path, output: output  # takes seconds, and is tested elsewhere
folder = Path(sys.argv[1])
with distributed.processes("cpu") as own:
    assert distributed.gather(("any", own.rank), own) == [("any", 0), ("any", 1)]
    assert distributed.mean(torch.tensor([1.0, 2 * own.rank]), own).tolist() == [1, 1]
    assert [distributed.anyone(x, own) for x in (False, own.rank == 1, True)] == [False, True, True]
    found = normalised(distributed.SyncBatchNorm(5), own.rank, own.count)
    torch.save(found, folder / f"norm-{own.rank}.pt")
    torch.save(measures(folder / "data", own), folder / f"measures-{own.rank}.pt")
    start = {**TINY, "settings": HOW, "weights": folder / "calm.safetensors", "device": "cpu", "quiet": True}
    train(folder / "data", folder=folder / "two", **start)
    stop, place = own.rank == 1 and stop_after(2) or (lambda: False), folder / "stopped"
    result = train(folder / "data", folder=place, stop=stop, **start)
    assert result.model is None
"""


def normalised(norm: nn.Module, rank: int, count: int) -> dict[str, Tensor]:
    """What batch normalisation makes of the share of a batch, and its gradients."""
    random = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(4, 5, 3, 2, generator=random) + 2
    weigh = torch.randn(4, 5, 3, 2, generator=random)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5, generator=random)
        norm.bias.normal_(generator=random)
    mine = x[rank::count].clone().requires_grad_()
    found = norm(mine)
    (found.square() * weigh[rank::count]).mean().backward()
    gradients = {"x": mine.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    return {"y": found.detach(), "mean": norm.running_mean, "var": norm.running_var} | gradients


def measures(data: Path, own: Any) -> dict[str, float]:
    """Of a network with fixed weights on all pictures of a dataset."""
    torch.manual_seed(0)
    network = detectors.create("yolo_v3", classes=3, backbone="mobilenet_v1", alpha=0.25, width=16).eval()
    randomise(network)
    for parameter in network.outputs.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    samples = read(data, "val").samples
    return DetectorValidation(samples, ("red", "green", "blue"), (64, 64), own, "letterbox")(network)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After two processes were there, with whatever they wrote."""
    folder = tmp_path_factory.mktemp("two")
    calm(detection(folder / "data"), folder / "calm.safetensors")
    (folder / "driver.py").write_text(DRIVER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    command += ["--master-port", str(port), str(folder / "driver.py"), str(folder)]
    paths = os.pathsep.join((str(Path(__file__).parent), str(Path(__file__).parents[1])))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    said = "\n".join(line for line in done.stderr.splitlines() if "rank" in line)
    assert done.returncode == 0, said
    return folder


def test_batch_normalisation_is_over_the_pictures_of_both(folder: Path) -> None:
    joint = normalised(nn.BatchNorm2d(5), 0, 1)
    shares = [torch.load(folder / f"norm-{rank}.pt") for rank in range(2)]
    for rank, share in enumerate(shares):
        torch.testing.assert_close(share["y"], joint["y"][rank::2])
        torch.testing.assert_close(share["x"] / 2, joint["x"][rank::2])  # of the sum of two means, not of their mean
        torch.testing.assert_close(share["mean"], joint["mean"])
        torch.testing.assert_close(share["var"], joint["var"])
    for name in ("weight", "bias"):
        torch.testing.assert_close((shares[0][name] + shares[1][name]) / 2, joint[name])


def test_two_processes_train_as_one_does_on_the_joint_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["onelook.training.train"], "convert", lambda path, output: output)
    result = train(
        folder / "data",
        settings=HOW,
        folder=folder / "one",
        weights=folder / "calm.safetensors",
        device="cpu",
        quiet=True,
        **TINY,
    )
    one, two = (safetensors.torch.load_file(folder / name / "last.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    moved = 0.0
    start = safetensors.torch.load_file(folder / "calm.safetensors")
    for key, tensor in one.items():
        if tensor.is_floating_point() and not key.startswith("optimizer"):
            torch.testing.assert_close(
                two[key], tensor, rtol=1e-4, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}"
            )
        if key.startswith("network") and tensor.ndim > 1:
            moved = max(moved, float((tensor - start[key.removeprefix("network.")]).abs().max()))
    assert moved > 3e-3  # far more than what they may differ by
    progress = read_progress(folder / "two" / "last.safetensors")
    assert [epoch.keys() for epoch in progress["history"]] == [epoch.keys() for epoch in result.history]
    [theirs], [mine] = progress["history"], result.history
    losses = {name: value for name, value in mine.items() if name in ("box", "objectness", "classes")}
    assert {name: theirs[name] for name in losses} == pytest.approx(losses, rel=1e-4)
    assert theirs == pytest.approx(mine, rel=1e-4, abs=3e-3)  # of AP: that two detections change places is enough
    network = detectors.create(progress["about"]["name"], **progress["about"]["options"]).eval()
    network.load_state_dict({k.removeprefix("average."): v for k, v in two.items() if k.startswith("average.")})
    samples = read(folder / "data", "val").samples
    found = DetectorValidation(samples, tuple(COLOURS), (64, 64), ALONE, "letterbox")(network)
    assert found["AP50"] > 0
    assert {name: theirs[name] for name in found} == pytest.approx(found, abs=3e-4)  # of the same network


def test_two_processes_measure_as_one_does(folder: Path) -> None:
    alone = measures(folder / "data", ALONE)
    assert alone["AP50"] > 0
    assert torch.load(folder / "measures-0.pt") == torch.load(folder / "measures-1.pt") == alone


def test_where_one_is_told_to_stop_both_do(folder: Path) -> None:
    progress = read_progress(folder / "stopped" / "last.safetensors")
    assert (progress["epoch"], progress["step"]) == (0, 2)


def test_a_batch_that_cannot_be_shared_out_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["onelook.training.train"]
    monkeypatch.setattr(
        module, "processes", lambda device: contextlib.nullcontext(Processes(0, 3, torch.device("cpu")))
    )
    monkeypatch.setattr(module, "gather", lambda value, own: [value])
    with pytest.raises(TrainingError, match="batch must be a multiple of the 3 processes; found 8"):
        train(detection(tmp_path / "data"), settings=settings(batch=8), folder=tmp_path / "x", quiet=True, **TINY)


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with processes("cpu") as own:
        assert (own.rank, own.count, own.device.type) == (0, 1, "cpu")
        assert gather({"a": 1}, own) == [{"a": 1}]
        assert mean(torch.tensor(3.0), own) == 3
        assert [anyone(value, own) for value in (True, False)] == [True, False]


@pytest.mark.parametrize("device", ["gpu", "cuda:77", "", "meta", "cpu:x"])
def test_a_device_that_is_not_there_is_said_in_one_line(device: str) -> None:
    with pytest.raises(TrainingError) as caught, processes(device):
        pass
    assert str(caught.value).startswith(f"device {device!r} cannot be used: ")
    assert str(caught.value).isprintable()


def test_synchronise_keeps_the_weights_and_in_evaluation_the_function() -> None:
    network = detectors.create("yolo_v3", classes=3, backbone="mobilenet_v1", alpha=0.25, width=16).eval()
    randomise(network)
    pictures = torch.rand(2, 3, 64, 64)
    before, state, weights = network(pictures), network.state_dict(), list(network.parameters())
    synchronise(network)
    network.eval()
    assert all(type(m) is SyncBatchNorm for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    assert all(one is other for one, other in zip(network.parameters(), weights, strict=True))
    assert all(tensor.data_ptr() == state[key].data_ptr() for key, tensor in network.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(network(pictures), before, strict=True))
