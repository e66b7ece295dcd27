"""How a process that follows events deals with memory: it makes and drops very much of it, and always as much again."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # mallopt(3)
_M_MMAP_THRESHOLD: Final = -3
_KEPT: Final = 64 * 1024 * 1024  # bytes at most that are free and not given back
_FROM_SYSTEM: Final = 32 * 1024 * 1024  # bytes; the highest that the C library takes


def spare_the_collector() -> None:
    """Let Python look for cycles seldom: events and records hold none, and there are thousands of them in each batch.

    What is loaded by now stays for good and is never looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def keep_freed_memory() -> None:
    """Let the C library keep the memory of one fetch for the next.

    By itself it gives back some megabytes as soon as they are free, and the system has to clear every page of the next
    ones: a third of what polling costs. Where there is no ``mallopt`` (not glibc) nothing is done.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _FROM_SYSTEM)


def prepare_memory() -> None:
    """Both, for a process that reads or writes very many studies."""
    spare_the_collector()
    keep_freed_memory()
