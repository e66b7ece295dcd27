"""The faults of processes. Each is a generator that says how many seconds to wait until it goes on.

A fault ends where its generator ends: with the return of what it took away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Protocol, TypeAlias

from tests.servers.kafka_broker import KafkaBroker
from tests.soak.fleet import Fleet
from tests.soak.profiles import BROKER_KILLED, CONSUMER_KILLED, CONSUMER_STOPPED, WRITER_KILLED

Steps: TypeAlias = Iterator[float]

_OF_CONSUMERS: Final = frozenset({CONSUMER_KILLED, CONSUMER_STOPPED})
_LONGEST_AWAY: Final = 2.0  # seconds from the broker's end to its start
_LOOK: Final = 0.1
_PAST_SESSION: Final = (0.5, 3.0)  # seconds


class RedisFault(Protocol):
    """What can happen to Redis: it loses its latest writes."""

    def ready(self) -> bool:
        """Whether it can happen now."""

    def strike(self) -> Steps:
        """Let it happen."""

    def tidy(self) -> None:
        """No fault is under way: do what is due."""

    def figures(self) -> dict[str, Any]:
        """What was lost."""


@dataclass(frozen=True)
class Site:
    """What can be hurt. ``session`` is the consumers' session timeout in seconds.

    ``starter`` starts the broker again. It has one thread, which outlives the site: a server dies with the thread that
    started it.
    """

    fleet: Fleet
    broker: KafkaBroker
    redis: RedisFault
    rng: Random
    session: float
    starter: Executor

    def begin(self, kind: str, under_way: list[str]) -> Steps | None:
        """The fault, or None while it cannot do its work beside those that are under way."""
        if kind in _OF_CONSUMERS:
            enough = len(self.fleet.able()) > sum(one in _OF_CONSUMERS for one in under_way)
            return self._of_processes[kind]() if enough else None
        if kind in under_way:
            return None
        if kind in self._of_processes:
            return self._of_processes[kind]()
        return self.redis.strike() if self.redis.ready() else None

    @property
    def _of_processes(self) -> Mapping[str, Callable[[], Steps]]:
        return {
            CONSUMER_KILLED: self._consumer_killed,
            CONSUMER_STOPPED: self._consumer_stopped,
            WRITER_KILLED: self._writer_killed,
            BROKER_KILLED: self._broker_killed,
        }

    def _consumer_killed(self) -> Steps:
        victim = self.fleet.pick(self.rng)
        victim.hurt(self.rng)
        victim.start()  # nothing happens if it was one of its workers: the process sees to that
        yield 0.0

    def _consumer_stopped(self) -> Steps:
        """It is out of its group before it goes on, and does not know it."""
        victim = self.fleet.pick(self.rng)
        victim.pause(self.rng)
        yield self.session + self.rng.uniform(*_PAST_SESSION)
        victim.go_on()

    def _writer_killed(self) -> Steps:
        self.fleet.writer.kill()
        self.fleet.writer.start()
        yield 0.0

    def _broker_killed(self) -> Steps:
        with self.fleet.without(BROKER_KILLED):
            self.broker.kill()
            yield self.rng.uniform(0.0, _LONGEST_AWAY)
            started = self.starter.submit(self.broker.start)  # it takes seconds, in which other faults go on
            while not started.done():
                yield _LOOK
            started.result()
