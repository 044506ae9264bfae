"""Counted by the kernel: the pages that it had to hand out, and those that the process holds."""

import resource
import subprocess
import sys

import pytest
import torch

from onelook.training.memory import memory_kept

BLOCK = 64 << 20  # bytes
PAGES = BLOCK // resource.getpagesize()

# In a process of its own, whose heap has no holes. After it, four blocks at once: what the heap has kept as a hole (the
# interpreter may have put something above the large block) has room for one of them.
COUNT = f"""
import resource
import torch
from onelook.training.memory import memory_kept

def held():
    return int(open("/proc/self/statm").read().split()[1])

def fill(times):
    for _ in range(times):
        torch.ones({BLOCK} // 4)

with memory_kept():
    fill(2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    fill(8)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    kept = held()
print(kept - held())

before = held()
blocks = [torch.ones({BLOCK} // 4) for _ in range(4)]
del blocks
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_a_large_block_is_asked_for_once_and_given_back_at_the_end() -> None:
    run = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    asked_for, given_back, left = map(int, run.stdout.split())
    assert asked_for < 2 * PAGES  # of eight
    assert given_back > PAGES // 2
    assert left < 2 * PAGES  # of four


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with memory_kept():
        assert torch.ones(3).sum() == 3
