"""Health by progress: a loop itself leaves word in a file as it goes on, so a loop that hangs falls silent.

The file holds one JSON object: ``beat`` (when, ISO 8601), ``ready``, ``waiting_for`` (what keeps it from being ready,
or null), ``pid``, and what else the loop tells, as a consumer its ``assigned`` partitions.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

import orjson

from consumers.clock import Clock
from state.times import MICROSECONDS, parse_time, to_iso

log = logging.getLogger(__name__)

FIRST_TURN: Final = "its first turn"  # what a loop waits for that has only been started

_INTERVAL: Final = 1.0  # seconds between two writes


class Health:
    """Writes the file of one loop, from the start on; without a path it does nothing."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._next = clock.monotonic()
        self._failed = False
        self._waiting_for = FIRST_TURN
        self.beat(FIRST_TURN)

    def beat(self, waiting_for: str = "", **told: int) -> None:
        """Say that the loop goes on, and what it waits for; ready if for nothing.

        Written at most once a second, all at once.
        """
        self._waiting_for = waiting_for
        if self._path is None or self._clock.monotonic() < self._next:
            return
        self._next = self._clock.monotonic() + _INTERVAL
        word = {
            "beat": to_iso(self._clock.now()),
            "ready": not waiting_for,
            "waiting_for": waiting_for or None,
            "pid": os.getpid(),
            **told,
        }
        unfinished = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            unfinished.write_bytes(orjson.dumps(word))
            unfinished.replace(self._path)
        except OSError as error:
            if not self._failed:
                log.warning("health.file: %s cannot be written: %s", self._path, error.strerror)
            self._failed = True
        else:
            self._failed = False

    def still(self) -> None:
        """Say that what takes long gets on, and that the rest is as it was."""
        self.beat(self._waiting_for)


def check(path: Path, now: int, max_age: float) -> list[str]:
    """What is wrong with the loop that writes this file: ``not alive: ...``, ``not ready: ...``; empty if nothing.

    ``now`` is in UTC microseconds; a loop is alive if its latest word is at most ``max_age`` seconds old.
    """
    try:
        word = orjson.loads(path.read_bytes())
        age = (now - parse_time(word["beat"])) / MICROSECONDS
        ready, waiting_for = word["ready"], word["waiting_for"]
    except FileNotFoundError:
        return [f"not alive: there is no file {path}"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"not alive: {path} does not hold a word yet"]
    if not -max_age <= age <= max_age:  # a clock that was set back must not make what hangs look alive
        return [f"not alive: the last word in {path} is {age:.0f} seconds old"]
    return [] if ready else [f"not ready: waiting for {waiting_for}"]
