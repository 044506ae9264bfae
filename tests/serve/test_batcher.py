"""The queue: what is taken is done once, in runs of one kind, or refused."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelook.serve.batcher import Batcher
from onelook.serve.problems import BusyError, ClosingError, LateError

FOREVER = float("inf")


def doubled(kind: Any, items: list[Any]) -> list[Any]:
    return [(kind, 2 * item) for item in items]


class Gate:
    """A run that waits until it is let go, and notes what it was given."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.runs: list[tuple[Any, list[Any]]] = []

    def __call__(self, kind: Any, items: list[Any]) -> Sequence[Any]:
        self.runs.append((kind, list(items)))
        self.begun.set()
        assert self.go.wait(10)
        return items


def served(run: Callable[[Any, list[Any]], Sequence[Any]], work: Callable[[Batcher], Any], **options: Any) -> Any:
    """What some asynchronous work with a batcher gives."""
    own = Batcher(run, **({"threads": 1, "batch": 4, "wait": 0, "capacity": 100} | options))

    async def main() -> Any:
        return await asyncio.wait_for(work(own), 20)

    try:
        return asyncio.run(main())
    finally:
        own.close(10)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.integers(), min_size=1, max_size=5)), max_size=12))
def test_every_item_gets_its_own_answer(requests: list[tuple[str, list[int]]]) -> None:
    async def work(own: Batcher) -> Any:
        return await asyncio.gather(*(own.submit(kind, items, FOREVER) for kind, items in requests))

    answers = served(doubled, work, threads=2)
    assert answers == [[(kind, 2 * item) for item in items] for kind, items in requests]


def test_what_came_in_the_meantime_shares_a_run_if_it_is_of_one_kind() -> None:
    gate = Gate()

    async def work(own: Batcher) -> None:
        first = asyncio.create_task(own.submit("a", [0], FOREVER))
        await asyncio.to_thread(gate.begun.wait, 10)
        rest = [asyncio.create_task(own.submit(kind, [i], FOREVER)) for i, kind in enumerate("aaaaaabba", start=1)]
        await asyncio.sleep(0)
        gate.go.set()
        await asyncio.gather(first, *rest)

    served(gate, work)
    assert gate.runs == [("a", [0]), ("a", [1, 2, 3, 4]), ("a", [5, 6]), ("b", [7, 8]), ("a", [9])]


def test_a_run_waits_for_more_only_as_long_as_it_was_told() -> None:
    runs: list[int] = []

    def run(kind: Any, items: list[Any]) -> list[Any]:
        runs.append(len(items))
        return items

    async def work(own: Batcher) -> None:
        tasks = [asyncio.create_task(own.submit("a", [0], FOREVER))]
        await asyncio.sleep(0.05)
        tasks.append(asyncio.create_task(own.submit("a", [1], FOREVER)))
        await asyncio.gather(*tasks)

    served(run, work, batch=2, wait=10)
    assert runs == [2]


def test_a_full_queue_takes_all_items_of_a_request_or_none() -> None:
    gate = Gate()

    async def work(own: Batcher) -> None:
        running = asyncio.create_task(own.submit("a", [0], FOREVER))
        await asyncio.to_thread(gate.begun.wait, 10)
        waiting = asyncio.create_task(own.submit("a", [1, 2], FOREVER))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await own.submit("a", [3, 4], FOREVER)
        assert len(own) == 2
        gate.go.set()
        assert await running == [0]
        assert await waiting == [1, 2]

    served(gate, work, capacity=3)
    assert [item for _, items in gate.runs for item in items] == [0, 1, 2]


def test_what_is_late_or_whose_client_has_gone_is_not_run() -> None:
    gate = Gate()

    async def work(own: Batcher) -> None:
        running = asyncio.create_task(own.submit("a", [0], FOREVER))
        await asyncio.to_thread(gate.begun.wait, 10)
        late = asyncio.create_task(own.submit("a", [1], time.monotonic() - 1))
        gone = asyncio.create_task(own.submit("a", [2], FOREVER))
        last = asyncio.create_task(own.submit("a", [3], FOREVER))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        gate.go.set()
        assert await running == [0]
        assert isinstance((await late)[0], LateError)
        assert await last == [3]

    served(gate, work)
    assert gate.runs == [("a", [0]), ("a", [3])]


def test_a_run_that_fails_is_the_answer_and_the_next_one_works() -> None:
    def run(kind: Any, items: list[Any]) -> list[Any]:
        if kind == "bad":
            raise ZeroDivisionError
        return items

    async def work(own: Batcher) -> None:
        assert isinstance((await own.submit("bad", [1], FOREVER))[0], ZeroDivisionError)
        assert await own.submit("good", [1], FOREVER) == [1]

    served(run, work)


def test_closing_finishes_what_was_taken_and_takes_no_more() -> None:
    gate = Gate()

    async def work(own: Batcher) -> None:
        tasks = [asyncio.create_task(own.submit("a", [i], FOREVER)) for i in range(10)]
        await asyncio.to_thread(gate.begun.wait, 10)
        closing = asyncio.create_task(asyncio.to_thread(own.close, 10))
        while not own._closed:
            await asyncio.sleep(0.001)
        with pytest.raises(ClosingError):
            await own.submit("a", [11], FOREVER)
        gate.go.set()
        await closing
        assert await asyncio.gather(*tasks) == [[i] for i in range(10)]

    served(gate, work)


def test_closing_leaves_a_run_that_does_not_end() -> None:
    gate = Gate()

    async def work(own: Batcher) -> None:
        running = asyncio.create_task(own.submit("a", [0], FOREVER))
        await asyncio.to_thread(gate.begun.wait, 10)
        await asyncio.to_thread(own.close, 0.05)
        gate.go.set()
        assert await running == [0]

    served(gate, work, threads=3)


def test_what_a_run_holds_is_freed_when_it_is_closed() -> None:
    gate = Gate()
    gate.go.set()
    held = weakref.ref(gate)
    own = Batcher(gate, threads=2, batch=1, wait=0, capacity=1)
    del gate
    assert held() is not None
    gc.disable()
    own.close(10)
    try:
        assert held() is None
    finally:
        gc.enable()
