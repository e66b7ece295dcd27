"""What a check found, and what every check is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from consumers.policy import KafkaPolicy
from state.policy import RedisPolicy
from stocktake.settings import Settings


class Judged(StrEnum):
    """How well a thing is."""

    OK = "ok"
    WARN = "warn"  # it works, and may not for long, or not as well as it could
    FAIL = "FAIL"  # something does not work, or loses data
    SKIP = "skip"  # it could not be looked at, or there is nothing to look at


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: the area and what in it was looked at, how it is, and what to do about it (empty: nothing).

    No text holds a password, a token or anything of a patient.
    """

    area: str
    name: str
    judged: Judged
    text: str
    advice: str = ""

    def line(self) -> str:
        """As people read it."""
        return f"{self.judged:<4}  {self.area}.{self.name}: {self.text}" + (f"; {self.advice}" if self.advice else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "area": self.area,
            "check": self.name,
            "result": self.judged.lower(),
            "text": self.text,
            "advice": self.advice,
        }


@dataclass(frozen=True, slots=True)
class Reporter:
    """Makes the findings of one area."""

    area: str

    def ok(self, name: str, text: str) -> Finding:
        return Finding(self.area, name, Judged.OK, text)

    def warn(self, name: str, text: str, advice: str) -> Finding:
        return Finding(self.area, name, Judged.WARN, text, advice)

    def fail(self, name: str, text: str, advice: str = "") -> Finding:
        return Finding(self.area, name, Judged.FAIL, text, advice)

    def skip(self, name: str, why: str) -> Finding:
        return Finding(self.area, name, Judged.SKIP, why)


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a thing is judged to be not well. Seconds; shares of 1.

    ``servers`` is how long one server is waited for. ``headroom``: share of Redis' memory in use. ``room``: a new
    baseline needs so many times the bytes of the newest one, since it stands beside its own parts while it is written.
    ``unread``: share of a topic's retention that unread messages may reach. ``digest`` is for how long files of heads
    are read in all to compare their digests; those that are not read by then are compared by their sizes alone.
    """

    servers: float = 5.0
    clock: float = 1.0
    certificate: float = 30 * 86_400
    headroom: float = 0.8
    room: float = 2.0
    unread: float = 0.5
    digest: float = 10.0


@dataclass(frozen=True, slots=True)
class Examined:
    """What is looked at: the settings, where they came from, of which repositories; and the clock, UTC seconds."""

    settings: Settings
    repositories: tuple[str, ...]
    config: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    now: Callable[[], float] = time.time

    @property
    def redis(self) -> RedisPolicy:
        """How the state is reached, without waiting for longer than the checks may."""
        return replace(self.settings.redis, timeout=min(self.settings.redis.timeout, self.limits.servers))

    @property
    def kafka(self) -> KafkaPolicy:
        """How the broker is reached, likewise."""
        return replace(self.settings.kafka, timeout=min(self.settings.kafka.timeout, self.limits.servers))
