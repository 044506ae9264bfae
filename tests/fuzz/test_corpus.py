"""Every input that a reader was ever tried with first, or that it once failed on; and thousands made of these."""

import importlib
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "fuzz" / "corpus"
READERS = sorted(path.name for path in CORPUS.iterdir())
SEED = 1
MUTANTS = 3000  # of a reader
SECONDS = 2.0  # after which no more are made, on a slow machine or of a slow reader
ODD = (
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\x80",
    b"-1",
    b"nan",
    b"1e999",
    b"9" * 400,
    b"[",
)


@pytest.fixture(params=READERS)
def reader(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[[bytes], None], list[bytes]]:
    """A reader, and its corpus."""
    monkeypatch.syspath_prepend(ROOT)
    module = importlib.import_module(f"fuzz.{request.param}")
    return module.one_input, [path.read_bytes() for path in sorted((CORPUS / request.param).iterdir())]


def mutant(seeds: list[bytes], chance: random.Random) -> bytes:
    """An input with some of it changed, left out, doubled, or taken from another one."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 2, 4))):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 1, 1, 2, 4, 16, 64)))
        other = chance.choice(seeds)
        place = chance.randrange(len(other) + 1)
        data[start:end] = chance.choice(
            (
                chance.randbytes(end - start),
                b"",
                bytes(data[start:end]) * 2,
                other[place : place + chance.choice((1, 4, 32))],
                chance.choice(ODD),
            )
        )
    return bytes(data)


def test_the_corpus_and_what_is_made_of_it_are_read_or_refused(
    reader: tuple[Callable[[bytes], None], list[bytes]],
) -> None:
    one_input, seeds = reader
    for seed in seeds:
        one_input(seed)
    chance, start = random.Random(SEED), time.monotonic()
    for _ in range(MUTANTS):
        one_input(mutant(seeds, chance))
        if time.monotonic() - start > SECONDS:
            break


def test_every_reader_has_a_corpus_and_can_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {path.stem for path in (ROOT / "fuzz").glob("*.py")} - {"__init__", "files", "run"}
    assert names == set(READERS)
    monkeypatch.syspath_prepend(ROOT)
    assert set(importlib.import_module("fuzz.run").READERS) == names


def test_a_run_says_how_many_inputs_it_took() -> None:
    pytest.importorskip("atheris")
    command = [sys.executable, ROOT / "fuzz" / "run.py", "picture_size", "--inputs", "500"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert re.fullmatch(r"picture_size: 500 inputs, \d+ seconds, 0 crashes\n", printed)
