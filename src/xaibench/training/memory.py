"""Keeping freed memory in the process while training runs."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["kept_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # the numbers of malloc.h
_USUAL_MAX, _GROWN_MMAP, _GROWN_TRIM = 65536, 32 * 2**20, 64 * 2**20
_NEVER = 2**31 - 1


@contextmanager
def kept_memory() -> Iterator[None]:
    """Do not give large tensors' memory back to the system between the passes of a block.

    Where the C library is glibc, every tensor above a threshold is otherwise mapped anew, and its pages are cleared at
    the first touch, which costs a training step on a CPU a fifth of its time. What is kept goes back at the end of the
    block. It is a setting of the whole process. The library stops adapting its thresholds to a program once one is set,
    so that they are left as far as it would have raised them: lower ones would make all that follows slower.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _USUAL_MAX)
        library.mallopt(_MMAP_THRESHOLD, _GROWN_MMAP)
        library.mallopt(_TRIM_THRESHOLD, _GROWN_TRIM)
        library.malloc_trim(0)
