"""The training loop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from onelook.errors import TrainingError
from onelook.training.distributed import anyone
from onelook.training.job import Job
from onelook.training.journal import Journal
from onelook.training.loader import Loader
from onelook.training.memory_format import fastest_format
from onelook.training.optimizer import learning_rate
from onelook.training.precision import DTYPES, fastest
from onelook.training.run import Run
from onelook.training.settings import Settings

SAVE_EVERY = 600.0  # seconds; besides the end of each epoch
NO_STATISTICS = "more than 1 value per channel"  # in the words of torch's batch normalisation
# In the words of torch for processors and for GPUs; "illegal memory access" is another matter.
SHORT_OF_MEMORY = "allocate memory", "enough memory", "out of memory"


def fit(run: Run, job: Job, loader: Loader, journal: Journal, stop: Callable[[], bool] = lambda: False) -> None:
    """Trains `job.network` from where the run stands to its last epoch, and saves the run as it goes.

    Args:
        run: network, optimizer, average, epoch and step.
        job: what is trained.
        loader: of the batches.
        journal: is told what happens.
        stop: asked after every step; once it is true the run is saved and left.

    Raises:
        TrainingError: the loss is not a number any more, or memory or a batch is not enough.
        Error: a file cannot be written.
    """
    settings, processes, network = run.settings, run.processes, run.network
    parallel = network if processes.count == 1 else DistributedDataParallel(network)
    layout = fastest_format(network, processes.device)
    dtype, saved = DTYPES[settings.precision or fastest(processes.device)], time.monotonic()
    for epoch in range(run.epoch, settings.epochs):
        if settings.patience and run.since_best >= settings.patience:
            return
        network.train()
        for batch in loader.epoch(epoch, start=run.step):
            place = epoch * loader.steps + run.step
            torch.manual_seed((settings.seed + place) * processes.count + processes.rank)  # of dropout
            rate = learning_rate(place, loader.steps, settings)
            for group in run.optimizer.param_groups:
                group["lr"] = group["share"] * rate
            with enough(settings):
                image = batch.image.to(processes.device, torch.float32, non_blocking=True, memory_format=layout) / 255
                with torch.autocast(processes.device.type, dtype, enabled=dtype is not None):
                    raw = parallel(image)
                terms = job.loss(raw, batch.targets.to(processes.device), batch.size)
                total = torch.stack(list(terms.values())).sum()
                run.scaler.scale(total / settings.accumulate).backward()
            run.step += 1
            journal.step(run, batch, terms)
            if run.step % settings.accumulate and run.step < loader.steps:
                continue
            run.scaler.unscale_(run.optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
            run.scaler.step(run.optimizer)
            run.scaler.update()
            run.optimizer.zero_grad()
            run.average.update(network)
            stopping = anyone(stop(), processes)
            if stopping or time.monotonic() - saved > SAVE_EVERY:
                run.save()
                saved = time.monotonic()
                if stopping:
                    return
        due = (epoch + 1) % settings.evaluate_every == 0 or epoch + 1 == settings.epochs
        measures = job.evaluate(run.average.network) if due else {}
        journal.epoch(run, measures)
        run.end_epoch(measures, job.save)
        saved = time.monotonic()


@contextmanager
def enough(settings: Settings) -> Iterator[None]:
    """Says what can be done where memory, or a batch, is not."""
    try:
        yield
    except ValueError as error:
        if NO_STATISTICS not in str(error):
            raise
        height, width = settings.size
        raise TrainingError(
            f"batch must be 2 or more, of each process, for this network: of {width} x {height} pixels its last map is one "
            "number a channel, which has no statistics"
        ) from None
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and not any(words in str(error) for words in SHORT_OF_MEMORY):
            raise
        height, width = settings.size
        raise TrainingError(
            f"memory is not enough for {settings.batch} pictures of {width} x {height} a step; try --batch "
            f"{max(1, settings.batch // 2)}, and --accumulate {2 * settings.accumulate} for the gradient of as many"
        ) from None
