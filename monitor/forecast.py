"""How fast a migration goes, and when it will have caught up, from the rows that were kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from state.history import Row

WINDOW: Final = 3600  # seconds that are looked back
_LEAST: Final = 120  # seconds that have to be known before anything is said


class Outlook(StrEnum):
    """What the figures say of the end."""

    DONE = "done"  # nothing is open
    EXPECTED = "expected"  # at some moment, if it goes on as it did
    NEVER = "never"  # as much comes as is settled, or more
    UNKNOWN = "unknown"  # too little is known yet


@dataclass(frozen=True, slots=True)
class Forecast:
    """``seconds`` until nothing is open, if that is expected. Rates are studies an hour over ``window`` seconds."""

    outlook: Outlook
    seconds: float | None
    window: int
    arrived_per_hour: float | None
    settled_per_hour: float | None

    @property
    def net_per_hour(self) -> float | None:
        """By how much the backlog shrinks; below zero it grows."""
        if self.arrived_per_hour is None or self.settled_per_hour is None:
            return None
        return self.settled_per_hour - self.arrived_per_hour


def forecast(rows: Sequence[Row], now: Row, window: int = WINDOW) -> Forecast:
    """The forecast at ``now`` from the rows of every minute before it, the oldest first.

    The rate is that of all of ``window``: a burst or a pause in it counts for what it is of the whole.
    """
    known = [row for row in rows if now.time - window <= row.time < now.time]
    begin = known[0] if known else now
    span = now.time - begin.time
    if span < _LEAST:
        return Forecast(Outlook.UNKNOWN if now.open else Outlook.DONE, None, span, None, None)
    arrived = (now.arrived - begin.arrived) * 3600 / span
    settled = (now.settled - begin.settled) * 3600 / span
    if not now.open:
        return Forecast(Outlook.DONE, None, span, arrived, settled)
    if settled <= arrived:
        return Forecast(Outlook.NEVER, None, span, arrived, settled)
    return Forecast(Outlook.EXPECTED, now.open * 3600 / (settled - arrived), span, arrived, settled)
