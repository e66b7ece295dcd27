"""SIGTERM and SIGINT ask the program to end; a second one ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from consumers.clock import StopFlag

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def stop_on_signals() -> StopFlag:
    """A flag that SIGTERM or SIGINT sets. Call it in the main thread."""
    stop = StopFlag()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()
        # The next one takes its usual course.
        signal.signal(number, signal.SIG_DFL)

    for number in _SIGNALS:
        signal.signal(number, handle)
    return stop


@contextmanager
def stopping_on_signals() -> Iterator[StopFlag]:
    """The same for the time of a block."""
    before = [signal.getsignal(number) for number in _SIGNALS]
    try:
        yield stop_on_signals()
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
