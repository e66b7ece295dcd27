"""SIGTERM and SIGINT ask the program to end; a second one ends it at once."""

from __future__ import annotations

import signal
from types import FrameType

from consumers.clock import StopFlag


def stop_on_signals() -> StopFlag:
    """A flag that SIGTERM or SIGINT sets. Call it in the main thread."""
    stop = StopFlag()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()
        # The next one takes its usual course.
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop
