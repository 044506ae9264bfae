"""What a server is told at its start."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onelook.errors import Error
from onelook.loading import DEFAULT_MODEL

DAY = 86_400
NAME = "^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$"  # of a model, as it stands in a path


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a server. Raises Error for what cannot be.

    Attributes:
        models: names by which they are asked for -> what `onelook.load` takes.
        engine, precision, threads: as of `onelook.load`; all models share the processor.
        batch: most pictures of one run, from as many clients; by default 8 on a GPU, and 1 on a CPU, where a run of several
            takes as long as they take one by one, and lets the first wait for the last.
        wait: seconds that a run waits for more pictures.
        queue: pictures that may wait for a model; beyond them requests are answered 429.
        deadline: seconds from the arrival of a request in which it must be answered.
        max_bytes: of a request.
        max_memory: bytes of all requests under way; beyond them they are answered 429.
        max_pixels: of a picture.
        max_files: of a request; at most as many as `queue`.
        max_requests: under way at a time; beyond them they are answered 503.
        keys: one of which a client must know, of ASCII; none are needed where it is empty.
        hosts: names and addresses by which it may be asked for ("localhost"), without a port; any where it is empty. A page
            whose own name leads to this computer (DNS rebinding) is kept out by that where no key is needed.
        origins: of web pages that may call the API ("https://example.org"); "*" for all.
        allow_urls: clients may name a picture by its URL, which the server then fetches.
        folder: of model files that clients may load, or None.
    """

    models: Mapping[str, str] = field(default_factory=lambda: {DEFAULT_MODEL: DEFAULT_MODEL})
    engine: str = "auto"
    precision: str = "float32"
    threads: int | None = None
    batch: int | None = None
    wait: float = 0.0
    queue: int = 128
    deadline: float = 30.0
    max_bytes: int = 32 << 20
    max_memory: int = 1 << 30
    max_pixels: int = 64_000_000
    max_files: int = 16
    max_requests: int = 1000
    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    allow_urls: bool = False
    folder: Path | None = None

    def __post_init__(self) -> None:
        for name in self.models:
            if not re.fullmatch(NAME, name):
                raise Error(
                    f"a model cannot be called {name!r}, which must be up to 100 of A-Z a-z 0-9 . _ -; give NAME=MODEL"
                )
        for name in ("batch", "queue", "max_bytes", "max_memory", "max_pixels", "max_files", "max_requests"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise Error(f"{name} must be 1 or more; found {getattr(self, name)}")
        if self.max_bytes > self.max_memory:
            raise Error(f"max_bytes, {self.max_bytes}, must not be above max_memory, {self.max_memory}")
        if not 0 < self.deadline <= DAY:
            raise Error(f"deadline must be above 0 and at most {DAY} seconds; found {self.deadline}")
        if not 0 <= self.wait <= self.deadline:
            raise Error(f"wait must be from 0 to the deadline, {self.deadline} seconds; found {self.wait}")
        if not all(key.isascii() and key.isprintable() and key.strip() for key in self.keys):
            raise Error("a key must be of letters, digits and signs of ASCII, as not all clients can send others")
