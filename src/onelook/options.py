"""Networks by their names, with options: what is said of a name or an option that there is not."""

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from onelook.errors import NetworkError

Fits = tuple[Callable[[Any], bool], str]
"""A test of an option's value, and in words what it is a test of."""


def check(kind: str, name: str, architectures: Mapping[str, Callable[..., Any]], options: Mapping[str, Any]) -> None:
    """Raises NetworkError where there is no network of that name, or it does not have one of the options.

    Args:
        kind: what the networks are, for the message.
        name: of the network.
        architectures: the networks by their names.
        options: for the network.
    """
    if name not in architectures:
        close = difflib.get_close_matches(name[:64], architectures, cutoff=0.5)
        known = f"closest: {', '.join(close)}" if close else f"known: {', '.join(architectures)}"
        raise NetworkError(f"no {kind} named {name[:64]!r}; {known}")
    takes = inspect.signature(architectures[name]).parameters
    for option in options:
        if option not in takes:
            raise NetworkError(f"{name} takes no {option[:64]!r}; it takes {', '.join(takes)}")


def check_values(
    name: str, build: Callable[..., Any], options: Mapping[str, Any], expected: Callable[[str], Fits]
) -> None:
    """Raises NetworkError for an option of a value that it cannot have; `classes` must be given.

    Args:
        name: of the network.
        build: makes it; an option whose default is None may be None.
        options: for the network.
        expected: what an option must be.
    """
    takes = inspect.signature(build).parameters
    for option, value in ({"classes": None} | dict(options)).items():
        fits, words = expected(option)
        if not (value is None and takes[option].default is None) and not fits(value):
            raise NetworkError(f"{option} of {name} must be {words}; found {str(value)[:64]!r}")


def number(low: float, high: float = math.inf, kind: type[int] | type[float] = int) -> Fits:
    """A number of that kind within these bounds."""
    upper = "" if high == math.inf else f" to {high}"
    return lambda value: is_number(value, low, high, kind), f"from {low}{upper}" if upper else f"{low} or more"


def is_number(value: Any, low: float, high: float = math.inf, kind: type[int] | type[float] = int) -> bool:
    """Whether it is a number of that kind, not a bool, within these bounds; whole numbers are floats too."""
    return isinstance(value, (int, kind)) and not isinstance(value, bool) and low <= value <= high


def is_list(value: Any, length: int | None = None) -> bool:
    """Whether it is a list or tuple of that length; of any but 0 without one."""
    return isinstance(value, list | tuple) and len(value) == (len(value) or 1 if length is None else length)


YES_OR_NO: Fits = (lambda value: isinstance(value, bool), "true or false")
NAME: Fits = (lambda value: isinstance(value, str), "a name")
ANYTHING: Fits = (lambda value: True, "anything")  # whoever builds the network checks it
CLASSES: Fits = number(1, 1_000_000)
