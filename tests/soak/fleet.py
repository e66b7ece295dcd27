"""Consumers and a writer, started again when they end, as an orchestrator would."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Self

from stocktake.exits import Exit
from tests.harness import Deployment
from tests.soak.program import Program, program, settings_file

_STARTING: Final = 20.0  # seconds after its start in which a process may end because a server is away
_AGAIN: Final = 0.5  # seconds from a start to the next, for a process that ends at once


@dataclass
class Fleet:
    """The program's processes. ``failures`` are endings that should not have been: a running process waits for servers
    that are away, and ends only when it is told to. ``refused`` counts starts that ended because a server was away,
    which is as it should be.
    """

    consumers: list[Program]
    writer: Program
    failures: list[str] = field(default_factory=list)
    refused: int = 0
    _away: set[str] = field(default_factory=set)
    _latest_away: float = 0.0

    @classmethod
    def of(cls, deployment: Deployment, folder: Path, consumers: int) -> Self:
        """Its processes, not started yet; logs below ``folder``. One consumer shares its part with a second worker."""
        settings = settings_file(folder, deployment)
        name = deployment.name
        alone = [program(f"{name} consumer {number}", settings, folder, "consume") for number in range(1, consumers)]
        pair = program(f"{name} consumer {consumers}", settings, folder, "consume", "--workers", "2")
        return cls([*alone, pair], program(f"{name} writer", settings, folder, "write"))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start all; gone when the block ends."""
        try:
            for one in self._all():
                one.start()
            yield
        finally:
            for one in self._all():
                one.kill()

    def pick(self, rng: Random) -> Program:
        """A consumer that runs."""
        return rng.choice(self.able())

    def able(self) -> list[Program]:
        """Consumers that run, all of them."""
        return [one for one in self.consumers if one.pid is not None and not one.paused]

    @contextmanager
    def without(self, server: str) -> Iterator[None]:
        """A server is away during the block."""
        self._away.add(server)
        try:
            yield
        finally:
            self._away.discard(server)
            self._latest_away = time.monotonic()

    def tend(self) -> None:
        """Start again what has ended; note what should not have."""
        for one in self._all():
            if one.exit_code is not None and time.monotonic() - one.started > _AGAIN:
                self._judge(one)
                one.start()

    def failed(self) -> list[str]:
        """Tend, and say what should not have ended until now."""
        self.tend()
        return self.failures

    def end(self) -> None:
        """End all in order."""
        for one in self._all():
            one.go_on()
            if problem := one.end():
                self.failures.append(problem)

    def _judge(self, one: Program) -> None:
        age = time.monotonic() - one.started
        server_away = bool(self._away) or self._latest_away > one.started
        if age < _STARTING and server_away and one.exit_code == Exit.UNREACHABLE:
            self.refused += 1
            return
        self.failures.append(
            f"{one.name} ended by itself with {one.exit_code}, {age:.0f} s after its start: {one.last_words()}"
        )

    def _all(self) -> list[Program]:
        return [*self.consumers, self.writer]
