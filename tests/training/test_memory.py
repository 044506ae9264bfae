"""Counted by the kernel: the pages that it had to hand out."""

import resource
import sys

import pytest
import torch

from onelook.training.memory import memory_kept

BLOCK = 64 << 20  # bytes
PAGES = BLOCK // resource.getpagesize()


def faults() -> int:
    """Pages handed out while a large tensor is filled, dropped, and filled again, eight times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(BLOCK // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_a_large_block_is_asked_for_once_and_given_back_at_the_end() -> None:
    with memory_kept():
        torch.ones(BLOCK // 4)
        assert faults() < 2 * PAGES
    assert faults() > 7 * PAGES


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with memory_kept():
        assert torch.ones(3).sum() == 3
