"""Health by progress: the loop itself leaves word in a file at each turn, so a loop that hangs falls silent.

The file holds one JSON object: ``beat`` (when, ISO 8601), ``ready``, ``assigned`` (partitions), ``waiting_for``
(``redis``, ``kafka`` or null) and ``pid``.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final, Literal

import orjson

from consumers.clock import Clock
from state.times import MICROSECONDS, parse_time, to_iso

log = logging.getLogger(__name__)

_INTERVAL: Final = 1.0  # seconds between two writes

Server = Literal["redis", "kafka"]


class Health:
    """Writes the file of one consumer; without a path it does nothing."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._next = clock.monotonic()
        self._failed = False
        self.beat(ready=False, assigned=0, waiting_for=None)

    def beat(self, *, ready: bool, assigned: int, waiting_for: Server | None) -> None:
        """Say that the loop goes on, and how; written at most once a second, all at once."""
        if self._path is None or self._clock.monotonic() < self._next:
            return
        self._next = self._clock.monotonic() + _INTERVAL
        word = {
            "beat": to_iso(self._clock.now()),
            "ready": ready,
            "assigned": assigned,
            "waiting_for": waiting_for,
            "pid": os.getpid(),
        }
        unfinished = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            unfinished.write_bytes(orjson.dumps(word))
            unfinished.replace(self._path)
        except OSError as error:
            if not self._failed:
                log.warning("consumer.health_file: %s cannot be written: %s", self._path, error.strerror)
            self._failed = True
        else:
            self._failed = False


def check(path: Path, now: int, max_age: float) -> list[str]:
    """What is wrong with the consumer that writes this file: ``not alive: ...``, ``not ready: ...``; empty if nothing.

    ``now`` is in UTC microseconds; a consumer is alive if its latest word is at most ``max_age`` seconds old.
    """
    try:
        word = orjson.loads(path.read_bytes())
        age = (now - parse_time(word["beat"])) / MICROSECONDS
        ready, waiting_for = word["ready"], word["waiting_for"]
    except FileNotFoundError:
        return [f"not alive: there is no file {path}"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"not alive: {path} does not hold a consumer's word yet"]
    if age > max_age:
        return [f"not alive: the last word in {path} is {age:.0f} seconds old"]
    if waiting_for:
        return [f"not ready: waiting for {waiting_for}"]
    if not ready:
        return ["not ready: the group has not given it its partitions yet, or their places are not found"]
    return []
