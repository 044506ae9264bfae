"""The state of a run as a file."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from onelook import TrainingError
from onelook.runtime import atomic
from onelook.training.run import Run, read_progress
from onelook.training.settings import Settings, from_json
from rectangles import ALONE, same, settings


def a_run(folder: Path, seed: int = 0, trained: bool = True, **others: Any) -> Run:
    """One with weights, momenta and statistics of their own."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    network.to(memory_format=torch.channels_last)
    run = Run(folder, network, settings(**others), {"task": "detect", "names": ["鳥", "a b"]}, ALONE)
    for _ in range(3 if trained else 0):
        network(torch.randn(4, 3, 4, 4)).square().sum().backward()
        run.optimizer.step()
        run.optimizer.zero_grad()
        run.average.update(network)
    return run


def state(run: Run) -> dict[str, Tensor]:
    """All tensors that training changes."""
    found = {f"network.{key}": tensor for key, tensor in run.network.state_dict().items()}
    found |= {f"average.{key}": tensor for key, tensor in run.average.network.state_dict().items()}
    for i, values in run.optimizer.state_dict()["state"].items():
        found |= {f"{i}.{key}": tensor for key, tensor in values.items() if tensor is not None}
    return found


def keep(network: nn.Module, path: Path) -> Path:
    path.write_bytes(safetensors.torch.save({key: t.contiguous() for key, t in network.state_dict().items()}))
    return path


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_what_is_saved_is_restored_exactly(tmp_path: Path, optimizer: str) -> None:
    run = a_run(tmp_path, optimizer=optimizer)
    run.epoch, run.step, run.since_best, run.best = 3, 7, 2, 0.1 + 0.2
    run.sums = {"box": 1 / 3, "objectness": 1e-30}
    run.history = [{"box": 2 / 3, "AP": 0.123456789012345678}, {"box": 1e300}]
    run.save()
    other = a_run(tmp_path, seed=1, trained=False, optimizer=optimizer)
    assert not same(state(other), state(run))
    other.restore()
    assert same(state(other), state(run))
    for name in ("epoch", "step", "since_best", "best", "sums", "history"):
        assert getattr(other, name) == getattr(run, name)
    assert other.average.changes == run.average.changes == 3
    assert [group["weight_decay"] for group in other.optimizer.param_groups] == [
        group["weight_decay"] for group in run.optimizer.param_groups
    ]
    progress = read_progress(run.path)
    assert progress["about"] == run.about
    assert from_json(progress["settings"]) == run.settings


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_restored_a_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, optimizer: str) -> None:
    run = a_run(tmp_path, optimizer=optimizer)
    run.save()
    other = a_run(tmp_path, seed=1, trained=False, optimizer=optimizer)
    other.restore()
    pictures = torch.randn(4, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    for one in (run, other):
        for _ in range(3):
            one.network(pictures).square().sum().backward()
            one.optimizer.step()
            one.optimizer.zero_grad()
            one.average.update(one.network)
    assert same(state(other), state(run))


def test_a_run_at_its_start_is_restored_too(tmp_path: Path) -> None:
    a_run(tmp_path, trained=False).save()
    run = a_run(tmp_path, seed=1, trained=False)
    run.restore()
    assert (run.epoch, run.step, run.best, run.history) == (0, 0, -math.inf, [])


def test_the_scaler_of_half_precision_is_restored(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)
    run.scaler.scale(torch.ones(1, requires_grad=True)).backward()
    run.scaler.update(8.0)
    run.save()
    other = a_run(tmp_path, precision="float16")
    assert other.scaler.is_enabled()
    assert other.scaler.get_scale() != 8
    other.restore()
    assert other.scaler.get_scale() == 8
    assert other.scaler.state_dict() == run.scaler.state_dict()


def test_settings_survive_json() -> None:
    how = settings(size=(96, 64), multi_scale=0.25, precision="bfloat16")
    import dataclasses

    assert from_json(json.loads(json.dumps(dataclasses.asdict(how)))) == how
    assert isinstance(from_json({**dataclasses.asdict(how), "of a later version": 1}), Settings)


def test_the_best_network_is_kept_and_the_others_counted(tmp_path: Path) -> None:
    run, kept = a_run(tmp_path), []

    def save(network: nn.Module, path: Path) -> Path:
        kept.append(run.epoch)
        return keep(network, path)

    for score in (0.2, 0.1, 0.2, 0.3, 0.0):
        run.step, run.sums = 4, {"box": 8.0}
        run.end_epoch({"AP": score, "score": score}, save)
    assert kept == [1, 4]  # an equal score is no better one
    assert (run.best, run.since_best, run.epoch, run.step, run.sums) == (0.3, 1, 5, 0, {})
    assert run.history[0] == {"box": 2.0, "AP": 0.2, "score": 0.2}
    assert run.best_path.exists()
    assert read_progress(run.path)["epoch"] == 5


def test_a_score_of_nothing_is_better_than_none(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.end_epoch({"score": 0.0}, keep)
    assert run.best_path.exists()
    assert run.best == 0


def test_where_there_is_nothing_to_measure_it_with_the_last_network_is_kept(tmp_path: Path) -> None:
    run, kept = a_run(tmp_path), []
    for score in (math.nan, math.nan, 0.1, math.nan):
        before = run.epoch
        run.end_epoch({"score": score}, lambda network, path: kept.append(before) or keep(network, path))  # noqa: B023
    assert kept == [0, 1, 2]
    assert (run.best, run.since_best) == (0.1, 0)


def test_never_evaluated_the_last_network_is_kept(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    for _ in range(3):
        with torch.no_grad():
            run.average.network[0].weight.add_(1)
        run.end_epoch({}, keep)
        assert torch.equal(
            safetensors.torch.load_file(run.best_path)["0.weight"], run.average.network[0].weight.contiguous()
        )
    assert run.since_best == 0


def test_evaluated_every_other_epoch_the_best_of_those_stays(tmp_path: Path) -> None:
    run, kept = a_run(tmp_path), []
    for measures in ({}, {"score": 0.5}, {}, {"score": 0.4}):
        run.end_epoch(measures, lambda _, path: kept.append(run.epoch) or path)
    assert kept == [1, 2]
    assert run.since_best == 1


# What is wrong.


def complaint(call: Any, *arguments: Any) -> str:
    with pytest.raises(TrainingError) as caught:
        call(*arguments)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_full_disk_leaves_the_state_before_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(tmp_path)
    run.save()
    before = run.path.read_bytes()
    run.epoch = 5

    def write(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.Path, "write_bytes", write)
    assert complaint(run.save) == f"{run.path}: cannot be written: No space left on device"
    assert run.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"\xff" * len(data),
        lambda data: data[:200] + b"\0" * 100 + data[300:],
    ],
)
def test_a_damaged_state_is_said_in_one_line(tmp_path: Path, damage: Any) -> None:
    run = a_run(tmp_path)
    run.save()
    run.path.write_bytes(damage(run.path.read_bytes()))
    assert complaint(read_progress, run.path).startswith(f"{run.path}: is not the state of a training run: ")
    assert complaint(run.restore).startswith(f"{run.path}: is not the state of a training run: ")


@pytest.mark.parametrize("header", [{}, {"run": "no JSON"}, {"run": "[]"}, {"run": "{}"}, {"run": "[" * 10_000}])
def test_a_file_of_another_kind_is_said_in_one_line(tmp_path: Path, header: dict[str, str]) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(safetensors.torch.save({"a": torch.zeros(2)}, header))
    assert complaint(read_progress, path).startswith(f"{path}: is not the state of a training run: ")


def test_the_state_of_another_network_is_said_in_one_line(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.network = nn.Linear(2, 2)
    run.save()
    assert complaint(a_run(tmp_path).restore).startswith(f"{run.path}: is not the state of this run: ")


def test_no_file_says_when_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    expected = f"{path}: there is no such file; expected the folder of a run"
    assert complaint(read_progress, path) == expected
