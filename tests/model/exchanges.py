"""Connections whose n-th exchange with the server is made to fail, to be the last, or to come after someone else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from state.connection import Command, Connection, Meanwhile, ScriptCall
from state.errors import StateUnreachable

T = TypeVar("T")


class Crash(BaseException):
    """What stands for kill -9: nothing of the process runs after."""


class Mishap(StrEnum):
    """What happens to an exchange."""

    CRASH_BEFORE = "crash before"
    CRASH_WITHIN = "crash within"  # the server has carried out a part of it
    CRASH_AFTER = "crash after"  # the server has carried it out; the reply is not seen
    UNREACHABLE_BEFORE = "unreachable before"
    UNREACHABLE_WITHIN = "unreachable within"
    UNREACHABLE_AFTER = "unreachable after"
    OTHERS_FIRST = "others first"  # somebody else acts before it


@dataclass(frozen=True)
class Interruption:
    """``mishap`` comes over exchange number ``at`` from now (0: the next); ``others`` is what somebody else does."""

    at: int
    mishap: Mishap
    others: Callable[[], None] = lambda: None


class InterruptedConnection(Connection):
    """A connection to the state of which one exchange can be interrupted."""

    interruption: Interruption | None = None
    _exchanges = 0
    _begun = 0

    def interrupt(self, interruption: Interruption | None) -> None:
        self.interruption = interruption
        self._exchanges = self._begun = 0

    def send(self, commands: Sequence[Command]) -> list[Any]:
        return self._exchanged(super().send, commands)

    def begin(self, calls: Iterable[ScriptCall], meanwhile: Meanwhile = None) -> Callable[[Meanwhile], list[Any]]:
        """A server that carries calls out at once, or, each second time, not before their replies are asked for."""
        begin, made = super().begin, list(calls)

        def exchange(some: Sequence[ScriptCall]) -> list[Any]:
            return begin(some, meanwhile)(meanwhile)

        self._begun += 1
        if self._begun % 2:
            return lambda meanwhile: self._exchanged(exchange, made)
        replies = self._exchanged(exchange, made)
        return lambda meanwhile: replies

    def close(self) -> None:
        """It is used again by the next example."""

    def _exchanged(self, exchange: Callable[[Sequence[T]], list[Any]], parts: Sequence[T]) -> list[Any]:
        found = self.interruption
        if found is None or not parts:
            return exchange(parts)
        self._exchanges += 1
        if self._exchanges <= found.at:
            return exchange(parts)
        self.interruption = None
        if found.mishap is Mishap.OTHERS_FIRST:
            found.others()
            return exchange(parts)
        kind, _, when = found.mishap.partition(" ")
        carried_out = {"before": 0, "within": (len(parts) + 1) // 2, "after": len(parts)}[when]
        exchange(parts[:carried_out])
        raise Crash if kind == "crash" else StateUnreachable("the model's server is away for a moment")
