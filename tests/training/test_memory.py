"""Counted by the kernel: the pages that it had to hand out."""

import resource
import subprocess
import sys

import pytest
import torch

from onelook.training.memory import memory_kept

BLOCK = 64 << 20  # bytes
PAGES = BLOCK // resource.getpagesize()

# In a process of its own, whose heap has no holes. Of eight times that a large tensor is filled and dropped.
COUNT = f"""
import resource
import torch
from onelook.training.memory import memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones({BLOCK} // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with memory_kept():
    faults()
    print(faults())
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_a_large_block_is_asked_for_once_and_given_back_at_the_end() -> None:
    run = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    within, after = map(int, run.stdout.split())
    assert within < PAGES
    assert after > 7 * PAGES


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with memory_kept():
        assert torch.ones(3).sum() == 3
