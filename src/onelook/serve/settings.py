"""What a server is told at its start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onelook.errors import Error
from onelook.loading import DEFAULT_MODEL


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a server. Raises Error for a number that is too small.

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
        max_files: of a request.
        max_requests: under way at a time; beyond them they are answered 503.
        keys: one of which a client must know; none are needed where it is empty.
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
    origins: tuple[str, ...] = ()
    allow_urls: bool = False
    folder: Path | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "queue", "max_bytes", "max_memory", "max_pixels", "max_files", "max_requests"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise Error(f"{name} must be 1 or more; found {getattr(self, name)}")
        if not self.wait >= 0 or not self.deadline > 0:
            raise Error(f"wait must be 0 or more and deadline above 0; found {self.wait} and {self.deadline} seconds")
        if "" in self.keys:
            raise Error("a key is empty; anybody would know it")
