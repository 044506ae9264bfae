"""Contenders take turns: how often, in which order, and which runs count."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelook.benchmarking import turns


@given(st.integers(1, 5000))
def test_rounds_times_runs_are_enough_and_hardly_more(runs: int) -> None:
    rounds, each = turns.split(runs)
    assert 1 <= rounds <= turns.ROUNDS
    assert runs <= rounds * each < runs + each


@given(st.integers(0, 6), st.integers(1, 12))
def test_everyone_has_one_turn_a_round_and_follows_others_in_turn(contenders: int, rounds: int) -> None:
    order: list[int] = []

    def turn(i: int) -> list[float]:
        order.append(i)
        return [i, len(order)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "PAUSE", 0)
        measured = turns.take_turns([partial(turn, i) for i in range(contenders)], rounds)
    lines = [order[i : i + contenders] for i in range(0, len(order), contenders or 1)]
    assert all(sorted(line) == list(range(contenders)) for line in lines)
    assert len(lines) == (rounds if contenders else 0)
    assert [line[0] for line in lines] == [i % contenders for i in range(len(lines))]
    assert [set(values[::2]) for values in measured] == [{i} for i in range(contenders)]
    assert all(len(values) == 2 * rounds for values in measured)


def test_the_first_run_of_a_turn_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, takes = [0.0], iter([100.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def run() -> None:
        clock[0] += next(takes)

    assert turns.timed(run, 3) == [1.0, 2.0, 3.0]
