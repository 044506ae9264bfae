"""The loop itself, on networks of a layer or two."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onelook import TrainingError
from onelook.data import read
from onelook.data.sample import Sample
from onelook.detectors import Targets
from onelook.training import loop
from onelook.training.job import Job
from onelook.training.journal import Journal
from onelook.training.loader import Loader
from onelook.training.loop import fit
from onelook.training.run import Run
from onelook.training.settings import Settings
from rectangles import ALONE, PLAIN, detection, same, scalars, settings, stop_after

COUNTS = 3  # of classes


class Counter(nn.Module):
    """Says how many objects of each class there are, from the mean of a map: [B, 3, H, W] -> [B, 3]."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU())
        self.last = nn.Linear(8, COUNTS)

    def forward(self, image: Tensor) -> Tensor:
        return self.last(self.body(image).mean((2, 3)))


def counts_loss(raw: Tensor, targets: Targets, size: tuple[int, int]) -> dict[str, Tensor]:
    """Squared errors, the mean over the pictures; in two terms."""
    truth = torch.zeros(raw.shape).index_put((targets.picture, targets.classes), torch.tensor(1.0), accumulate=True)
    errors = (raw - truth).square().mean(0)
    return {"red": errors[0], "others": errors[1:].sum()}


def keep(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sample, ...]:
    return read(detection(tmp_path_factory.mktemp("data") / "x")).samples


HOW = settings(optimizer="sgd", learning_rate=0.05, augmentation=PLAIN, epochs=8, average=0.0)


def run_with(
    samples: tuple[Sample, ...],
    folder: Path,
    how: Settings = HOW,
    network: nn.Module | None = None,
    loss: Any = counts_loss,
    evaluate: Callable[[nn.Module], dict[str, float]] = lambda _: {},
    stop: Callable[[], bool] = lambda: False,
    resumes: bool = False,
) -> Run:
    torch.manual_seed(how.seed)
    network = network or Counter()
    folder.mkdir(exist_ok=True)
    run = Run(folder, network, how, {}, ALONE)
    if resumes:
        run.restore()
    loader = Loader(samples, how, ALONE)
    with Journal(run, loader.steps, ("red", "green", "blue"), quiet=True) as journal:
        fit(run, Job(network, loss, evaluate, False, keep), loader, journal, stop)
    return run


def complaint(*arguments: Any, **options: Any) -> str:
    with pytest.raises(TrainingError) as caught:
        run_with(*arguments, **options)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_loss_falls(samples: tuple[Sample, ...], tmp_path: Path, precision: Any) -> None:
    run = run_with(samples, tmp_path / "run", replace(HOW, precision=precision, epochs=15))
    totals = [epoch["red"] + epoch["others"] for epoch in run.history]
    assert len(totals) == 15
    assert totals[-1] < 0.6 * totals[0]
    assert totals == pytest.approx(sorted(totals, reverse=True), rel=0.5)
    assert all(weight.dtype == torch.float32 for weight in run.network.parameters())


def test_where_no_precision_is_asked_for_it_is_the_fastest(
    samples: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onelook.training.loop.fastest", lambda device: "bfloat16")
    fast, exact, default = (
        run_with(samples, tmp_path / str(precision), replace(HOW, precision=precision), network=None)
        for precision in ("bfloat16", "float32", None)
    )
    assert same(scalars(default.network), scalars(fast.network))
    assert not same(scalars(default.network), scalars(exact.network))


def test_twice_the_same_run_gives_the_same_weights(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    one, other = (run_with(samples, tmp_path / name, network=None) for name in "ab")
    assert same(scalars(one.network), scalars(other.network))
    assert one.history == other.history
    third = run_with(samples, tmp_path / "c", replace(HOW, seed=1))
    assert not same(scalars(one.network), scalars(third.network))


@pytest.mark.parametrize("accumulate", [2, 3, 6])
def test_gradients_that_are_added_up_are_those_of_a_larger_batch(
    samples: tuple[Sample, ...], tmp_path: Path, accumulate: int
) -> None:
    """At the same learning rate, for networks without batch normalisation."""
    constant = replace(HOW, warmup=0, final=1.0)
    small = run_with(samples, tmp_path / "a", replace(constant, batch=2, accumulate=accumulate))
    large = run_with(samples, tmp_path / "b", replace(constant, batch=2 * accumulate))
    for key, tensor in scalars(large.network).items():
        torch.testing.assert_close(scalars(small.network)[key], tensor, rtol=1e-4, atol=1e-5)
    for one, other in zip(small.history, large.history, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert small.average.changes == large.average.changes == 8 * 6 // accumulate


def test_the_rest_of_an_epoch_changes_the_weights_too(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    run = run_with(samples, tmp_path / "run", replace(HOW, batch=4, accumulate=2, epochs=2))  # three steps an epoch
    assert run.average.changes == 4


def test_a_loss_that_is_no_number_ends_training_before_the_weights_are_spoilt(
    samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    calls = []

    def loss(raw: Tensor, targets: Targets, size: tuple[int, int]) -> dict[str, Tensor]:
        calls.append(0)
        return {"red": raw.sum() * (float("nan") if len(calls) == 5 else 0.1), "others": raw.square().mean()}

    expected = "the loss is not a number any more in epoch 2, step 2; try a lower learning rate"
    assert complaint(samples, tmp_path / "run", loss=loss) == expected
    run = Run(tmp_path / "run", Counter(), HOW, {}, ALONE)
    run.restore()
    assert (run.epoch, run.step) == (1, 0)
    assert all(tensor.isfinite().all() for tensor in scalars(run.network).values())


def test_a_learning_rate_far_too_high_ends_in_one_line(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    how = replace(HOW, learning_rate=1e30, warmup=0)
    assert "the loss is not a number any more" in complaint(samples, tmp_path / "run", how)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity"),
        RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."),
        MemoryError(),
    ],
)
def test_memory_that_is_not_enough_names_what_can_be_done(
    samples: tuple[Sample, ...], tmp_path: Path, error: Exception
) -> None:
    class Hungry(Counter):
        def forward(self, image: Tensor) -> Tensor:
            raise error

    found = complaint(samples, tmp_path / "run", replace(HOW, accumulate=3), network=Hungry())
    assert found == (
        "memory is not enough for 4 pictures of 64 x 64 a step; try --batch 2, and --accumulate 6 for the gradient of as "
        "many"
    )


@pytest.mark.parametrize("text", ["shapes do not match", "CUDA error: an illegal memory access was encountered"])
def test_other_errors_of_torch_are_not_taken_for_that(samples: tuple[Sample, ...], tmp_path: Path, text: str) -> None:
    class Broken(Counter):
        def forward(self, image: Tensor) -> Tensor:
            raise RuntimeError(text)

    with pytest.raises(RuntimeError, match=text):
        run_with(samples, tmp_path / "run", network=Broken())


def test_patience_ends_training_and_a_resumed_run_stays_ended(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    how = replace(HOW, patience=2, epochs=20)
    run = run_with(samples, tmp_path / "run", how, evaluate=lambda _: {"score": next(scores)})
    assert (run.epoch, run.best) == (4, 0.3)
    run = run_with(samples, tmp_path / "run", how, evaluate=lambda _: {"score": next(scores)}, resumes=True)
    assert run.epoch == 4


def test_evaluated_are_every_so_many_epochs_and_the_last(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    run = run_with(
        samples, tmp_path / "run", replace(HOW, epochs=5, evaluate_every=2), evaluate=lambda _: {"score": 1.0}
    )
    assert ["score" in epoch for epoch in run.history] == [False, True, False, True, True]


def test_what_is_evaluated_is_the_average(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    seen: list[nn.Module] = []
    run = run_with(
        samples, tmp_path / "run", replace(HOW, average=0.9), evaluate=lambda network: seen.append(network) or {}
    )
    assert {id(network) for network in seen} == {id(run.average.network)}
    assert not same(scalars(run.average.network), scalars(run.network))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("asked", [1, 3, 4, 8])
def test_stopped_and_resumed_a_run_ends_as_if_it_had_not_been(
    samples: tuple[Sample, ...], tmp_path: Path, asked: int, optimizer: Any, norm: bool
) -> None:
    """Bit for bit; in the middle and at the end of an epoch of three steps."""
    how = replace(HOW, optimizer=optimizer, epochs=3, average=0.9)

    def begin() -> nn.Module:
        torch.manual_seed(0)
        return Counter(norm)

    whole = run_with(samples, tmp_path / "a", how, begin())
    stopped = run_with(samples, tmp_path / "b", how, begin(), stop=stop_after(asked))
    assert (stopped.epoch, stopped.step) == ((asked - 1) // 3, (asked - 1) % 3 + 1)
    resumed = run_with(samples, tmp_path / "b", how, Counter(norm), resumes=True)
    assert same(scalars(whole.network), scalars(resumed.network))
    assert same(scalars(whole.average.network), scalars(resumed.average.network))
    assert whole.history == resumed.history


def test_the_state_is_saved_in_the_middle_of_a_long_epoch(
    samples: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.05)
    saved = []
    monkeypatch.setattr(Run, "save", lambda run: saved.append((run.epoch, run.step)))

    def loss(*arguments: Any) -> dict[str, Tensor]:
        time.sleep(0.06)
        return counts_loss(*arguments)

    run_with(samples, tmp_path / "run", replace(HOW, epochs=1), loss=loss)
    assert saved == [(0, 1), (0, 2), (0, 3), (1, 0)]


def test_dropout_is_the_same_after_a_stop(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    class Forgetful(Counter):
        def forward(self, image: Tensor) -> Tensor:
            return self.last(nn.functional.dropout(self.body(image).mean((2, 3)), 0.5, self.training))

    def begin() -> nn.Module:
        torch.manual_seed(0)
        return Forgetful()

    whole = run_with(samples, tmp_path / "a", network=begin())
    run_with(samples, tmp_path / "b", network=begin(), stop=stop_after(5))
    torch.manual_seed(9)
    assert same(
        scalars(run_with(samples, tmp_path / "b", network=begin(), resumes=True).network), scalars(whole.network)
    )
