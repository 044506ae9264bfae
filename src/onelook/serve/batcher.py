"""Requests of many clients, in runs of one model."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from onelook.serve.problems import BusyError, ClosingError, LateError

# What a run does: its kind, and items of that kind -> a result or an exception for each.
Run = Callable[[Any, list[Any]], Sequence[Any]]


@dataclass(slots=True)
class _Job:
    kind: Hashable
    item: Any
    deadline: float
    future: asyncio.Future[Any]


class Batcher:
    """A bounded queue, and threads that take from it as many items of one kind as are there.

    A thread that has become free takes what has come in the meantime, so under load runs are full without anybody waiting
    for it.

    Args:
        run: called in the threads.
        threads: how many.
        batch: most items of a run.
        wait: seconds for which a run that is not full waits for more items.
        capacity: most items in the queue.
        observe: told of each run: its items, and seconds.
    """

    def __init__(
        self,
        run: Run,
        threads: int,
        batch: int,
        wait: float,
        capacity: int,
        observe: Callable[[int, float], None] = lambda items, seconds: None,
    ):
        self._batch, self._wait, self._capacity, self._observe = batch, wait, capacity, observe
        self._queue: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # The threads alone hold `run`, so that what it holds is freed when they end.
        self._threads = [
            threading.Thread(target=self._work, args=(run,), name="onelook-serve", daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._queue)

    async def submit(self, kind: Hashable, items: Sequence[Any], deadline: float) -> list[Any]:
        """The results of some items, in their order; an item that failed has an exception in its place.

        Args:
            kind: items of equal kinds may share a run.
            items: all are taken, or none.
            deadline: of `time.monotonic()`; an item whose run has not begun by then gets `LateError`.

        Raises:
            BusyError: there is no room for them.
            ClosingError: nothing is taken any more.
        """
        loop = asyncio.get_running_loop()
        jobs = [_Job(kind, item, deadline, loop.create_future()) for item in items]
        with self._changed:
            if self._closed:
                raise ClosingError
            if len(self._queue) + len(jobs) > self._capacity:
                raise BusyError
            self._queue.extend(jobs)
            self._changed.notify(len(jobs))
        try:
            return [await job.future for job in jobs]
        finally:  # of a client that has gone: what is still in the queue is not run
            for job in jobs:
                job.future.cancel()

    def close(self, within: float) -> None:
        """Take nothing more, finish what was taken, end the threads; after `within` seconds leave those that have not."""
        end = time.monotonic() + within
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _work(self, run: Run) -> None:
        while jobs := self._take():
            start = time.perf_counter()
            try:
                results = run(jobs[0].kind, [job.item for job in jobs])
            except Exception as error:  # whatever it is, it is the answer, and the thread lives on
                results = [error] * len(jobs)
            self._observe(len(jobs), time.perf_counter() - start)
            _settle(jobs, results)

    def _take(self) -> list[_Job]:
        """The jobs of the next run; none at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return []
                if not self._closed and self._wait:
                    self._changed.wait_for(lambda: len(self._queue) >= self._batch or self._closed, self._wait)
                if jobs := self._pop():
                    return jobs

    def _pop(self) -> list[_Job]:
        """From the queue: the first job, and those of its kind that follow it without a gap, at most this thread's share."""
        share = -(-len(self._queue) // len(self._threads))
        jobs: list[_Job] = []
        late: list[_Job] = []
        now = time.monotonic()
        while self._queue and len(jobs) < min(self._batch, share) and (not jobs or self._queue[0].kind == jobs[0].kind):
            job = self._queue.popleft()
            if job.future.cancelled():
                continue
            (late if job.deadline < now else jobs).append(job)
        if late:
            _settle(late, [LateError()] * len(late))
        return jobs


def _settle(jobs: Sequence[_Job], results: Sequence[Any]) -> None:
    """Hand results over to the event loop in which their clients wait."""

    def settle() -> None:
        for job, result in zip(jobs, results, strict=True):
            if not job.future.done():
                job.future.set_result(result)

    loop = jobs[0].future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)
