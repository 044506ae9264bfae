"""Darknet's `.cfg` files: sections of `key=value` lines, read with the line of every value.

Darknet itself ignores all blanks in a line, takes `#` and `;` at its start for comments, and lets the first of two
equal keys win; so does this reader.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from onelook.errors import DarknetError

MAX_BYTES = 1 << 20  # the longest network description known has 60 kB
MAX_SECTIONS = 4096
MAX_NAME = 40  # characters of a section's; the longest known has 18

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class Option:
    """The text behind `key=`, blanks removed, and the line it stands in, counted from 1."""

    text: str
    line: int


@dataclass(slots=True)
class Section:
    """One `[name]` of a cfg with its options; the getters read them as numbers and complain with file and line."""

    path: Path
    name: str
    line: int
    options: dict[str, Option] = field(default_factory=dict)

    def error(self, message: str, key: str | None = None) -> DarknetError:
        """An error that says where it is: at the line of the option `key` if the section has that, else at its head."""
        line = self.options[key].line if key in self.options else self.line
        return DarknetError(f"{self.path}:{line}: [{self.name}] {message}")

    def text(self, key: str, default: str) -> str:
        """The option as it is written."""
        return self.options[key].text if key in self.options else default

    def integer(self, key: str, default: int | None = None, low: int = 1, high: int = 1 << 20) -> int:
        """The option as an integer from low to high; without a default it must be given."""
        return self._one(key, default, int, f"an integer from {low} to {high}", low, high)

    def number(self, key: str, default: float) -> float:
        """The option as a finite float."""
        return self._one(key, default, float, "a number", -1e30, 1e30)

    def flag(self, key: str) -> bool:
        """Whether the option is given and not 0."""
        return self.integer(key, 0, low=0) != 0

    def integers(self, key: str) -> tuple[int, ...]:
        """The option as a list `1,2,...` of integers; it must be given."""
        return tuple(self._list(key, int, "integers separated by commas"))

    def numbers(self, key: str) -> tuple[float, ...]:
        """The option as a list `1.5,2,...` of floats; it must be given."""
        return tuple(self._list(key, float, "numbers separated by commas"))

    def _one(self, key: str, default: T | None, parse: Callable[[str], T], kind: str, low: T, high: T) -> T:
        if key not in self.options:
            if default is None:
                raise self.error(f"needs '{key}', {kind}")
            return default
        text = self.options[key].text
        try:
            value = parse(text)
        except ValueError:
            raise self.error(f"needs '{key}', {kind}; found {text[:40]!r}", key) from None
        if not low <= value <= high:  # a NaN ends here too
            raise self.error(f"needs '{key}', {kind}; found {text[:40]!r}", key)
        return value

    def _list(self, key: str, parse: Callable[[str], T], kind: str) -> Iterator[T]:
        if key not in self.options:
            raise self.error(f"needs '{key}', {kind}")
        text = self.options[key].text
        for item in text.rstrip(",").split(","):
            try:
                value = parse(item)
            except ValueError:
                raise self.error(f"needs '{key}', {kind}; found {item[:40]!r}", key) from None
            if not -1e9 < value < 1e9:
                raise self.error(f"needs '{key}', {kind}; found {item[:40]!r}", key)
            yield value


@dataclass(frozen=True, slots=True)
class Cfg:
    """A network description: the `[net]` section, and one section a layer, top to bottom."""

    path: Path
    net: Section
    layers: tuple[Section, ...]


def read_cfg(path: str | Path) -> Cfg:
    """Read a Darknet `.cfg` file.

    Raises:
        DarknetError: the file cannot be read or is no cfg; says which line.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DarknetError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES or b"\0" in data:
        raise DarknetError(f"{path}: is not a Darknet cfg, which is text of at most {MAX_BYTES} bytes")
    sections = _sections(path, data.decode("utf-8", errors="replace"))
    if not sections or sections[0].name not in ("net", "network"):
        raise DarknetError(f"{path}: the first section of a Darknet cfg must be [net]")
    if len(sections) == 1:
        raise DarknetError(f"{path}: describes no layers")
    return Cfg(path, sections[0], tuple(sections[1:]))


def _sections(path: Path, text: str) -> list[Section]:
    sections: list[Section] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = "".join(raw.split())
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            name, bracket, _ = line[1:].partition("]")
            if not bracket or not 0 < len(name) <= MAX_NAME or not name.isprintable():
                raise DarknetError(f"{path}:{number}: a section is written [name]; found {raw.strip()[:40]!r}")
            if len(sections) == MAX_SECTIONS:
                raise DarknetError(f"{path}:{number}: has more than {MAX_SECTIONS} sections")
            sections.append(Section(path, name, number))
            continue
        key, equals, value = line.partition("=")
        if not equals or not key:
            raise DarknetError(f"{path}:{number}: expected key=value; found {raw.strip()[:40]!r}")
        if not sections:
            raise DarknetError(f"{path}:{number}: {key[:40]!r} stands before the first [section]")
        sections[-1].options.setdefault(key, Option(value.partition("#")[0], number))
    return sections
