"""Contenders take turns, so that what the machine does beside falls on all of them alike."""

import time
from collections.abc import Callable, Sequence

PAUSE = 0.05  # seconds before a turn, in which the threads of the one before stop spinning
ROUNDS = 10

Turn = Callable[[], list[float]]


def split(runs: int) -> tuple[int, int]:
    """Rounds, and runs in each, that together are at least so many runs."""
    each = -(-runs // ROUNDS)
    return -(-runs // each), each


def take_turns(turns: Sequence[Turn], rounds: int) -> list[list[float]]:
    """What each contender measures in all its turns.

    In each round every contender has one turn. The order rotates, so that nobody always follows the same one.
    """
    measured: list[list[float]] = [[] for _ in turns]
    order = list(range(len(turns)))
    for first in range(rounds):
        first %= max(len(order), 1)
        for i in order[first:] + order[:first]:
            time.sleep(PAUSE)
            measured[i] += turns[i]()
    return measured


def timed(run: Callable[[], object], runs: int) -> list[float]:
    """Seconds that each of so many runs takes, after one that does not count."""
    run()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds
