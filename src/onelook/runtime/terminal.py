"""The terminal of the command line. It imports no OpenCV, which reads its settings when it is loaded."""

import os
import sys


def open_closed_streams() -> None:
    """Gives standard streams that were closed (`onelook ... >&-`) the null device: the next file would take their place.

    For a program, at its start.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, errors="backslashreplace"))  # noqa: SIM115 - for good


def silence_native_stderr() -> None:
    """Keep the terminal for Python: what libraries in C print to descriptor 2 goes nowhere, `sys.stderr` stays.

    libjpeg and libpng print their warnings about damaged pictures there, past OpenCV's log level. For a program, once,
    at its start; a library has no business to call it.
    """
    stderr = sys.stderr
    stderr.flush()
    terminal = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, encoding=stderr.encoding, errors=stderr.errors)
