"""Memory that a step gave back is kept for the next one."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Of glibc's malloc.h, with what they are by default.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
TRIM_THRESHOLD_DEFAULT, MMAP_MAX_DEFAULT = 128 * 1024, 65536
NEVER = -1


@contextmanager
def memory_kept() -> Iterator[None]:
    """Within it, freed memory stays with the process, where the C library can do so (glibc's).

    The maps of a step are large, and glibc asks the kernel for every large block anew; the kernel hands it out in pages
    of 4 KiB, filled with zeros one by one. A step allocates gigabytes: a fifth of its time on a CPU went into this.
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        yield
        return
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        libc.mallopt(MMAP_MAX, MMAP_MAX_DEFAULT)
        libc.mallopt(TRIM_THRESHOLD, TRIM_THRESHOLD_DEFAULT)
        libc.malloc_trim(0)
