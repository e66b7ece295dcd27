"""Heartbeats: a bridge tells every partition of its topic up to when everything that it knows of was told.

A partition without events would otherwise say nothing of whether the archive is quiet or its bridge is gone.
"""

from __future__ import annotations

from collections.abc import Callable

from consumers import messages
from consumers.publish import Publisher
from state.times import MICROSECONDS


class Heartbeats:
    """Beats every ``interval`` seconds at most. ``sender`` names the bridge; ``monotonic`` in seconds."""

    def __init__(self, publisher: Publisher, sender: str, interval: float, monotonic: Callable[[], float]) -> None:
        self._publisher = publisher
        self._sender = sender
        self._interval = interval
        self._monotonic = monotonic
        self._beaten: float | None = None
        self._told: int | None = None

    def beat(self, time: int) -> bool:
        """Tell every partition, if it is time to, that all up to ``time`` (UTC microseconds) is told; whether it was.

        Call it only when everything up to then was published and confirmed. A time before the one told last is not
        told: a clock that was set back takes nothing back.

        Raises:
            PublishError: the broker did not take or confirm it.
        """
        now = self._monotonic()
        if self._beaten is not None and now - self._beaten < self._interval:
            return False
        if self._told is not None and time < self._told:
            return False
        value = messages.heartbeat(self._sender, time)
        key = self._sender.encode()  # a partition that is compacted keeps the latest
        # A record's timestamp is when it was sent; the time that it tells of lies before.
        for partition in self._publisher.partitions():
            self._publisher.send(key, value, partition=partition)
        self._publisher.flush()
        self._beaten, self._told = now, time
        return True


def told_until(asked: int) -> int:
    """The time up to which all was told when a poll that began at ``asked`` (UTC microseconds) found nothing new.

    A second before: archives that write whole seconds may still add something to the second that had begun.
    """
    return asked - MICROSECONDS
