"""SIGTERM for the first process of a container, from the moment that this is imported.

The kernel drops a signal that a first process has no handler for, so one that a container is told to end with would
be lost while the program loads, and in commands that end by themselves: the container would be killed when its grace
period is over. A handler that does what would have happened elsewhere helps; roles set their own later.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Final

ENDED: Final = 128 + signal.SIGTERM  # the exit code, as a shell tells it


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(ENDED)


if os.getpid() == 1:
    signal.signal(signal.SIGTERM, _end)
