"""Time as the consumer sees it: a clock that tests can set, and one deadline for everything that an end takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of day in UTC microseconds, and seconds that only ever rise."""

    now: Callable[[], int]
    monotonic: Callable[[], float]


class StopFlag(Event):
    """A flag that asks the program to end and remembers since when (seconds of ``monotonic``); None before that."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self.since: float | None = None

    def set(self) -> None:
        if self.since is None:
            self.since = self._monotonic()
        super().set()


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment that several steps share: each may take what those before it have left."""

    until: float
    monotonic: Callable[[], float]

    @classmethod
    def after(cls, seconds: float, monotonic: Callable[[], float]) -> Deadline:
        """So many seconds from now."""
        return cls(monotonic() + seconds, monotonic)

    @classmethod
    def of_stop(cls, stop: Event, seconds: float, monotonic: Callable[[], float]) -> Deadline:
        """So many seconds from the moment that ``stop`` was set; from now if it is not set or does not remember."""
        if isinstance(stop, StopFlag) and stop.since is not None:
            return cls(stop.since + seconds, monotonic)
        return cls.after(seconds, monotonic)

    @property
    def left(self) -> float:
        """Seconds; 0 when it is over."""
        return max(0.0, self.until - self.monotonic())
