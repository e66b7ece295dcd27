"""How a pair's figures were, by the minute for a month and by the hour for two years, a short row each."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final

import orjson

from state.connection import Connection, ScriptCall
from state.keys import HistoryKeys
from state.policy import ComparisonPolicy

MINUTE: Final = 60  # seconds
HOUR: Final = 3600
_KEPT: Final = {MINUTE: 31 * 24 * 60, HOUR: 2 * 366 * 24}  # rows


@dataclass(frozen=True, slots=True)
class Row:
    """The figures at one moment, ``time`` in seconds since the epoch: a whole minute.

    ``arrived`` and ``settled`` count since the comparison began. Lags are seconds, of what settled in the hour before;
    None if nothing did. ``oldest``: for how long the oldest study is open, None if none is.
    """

    time: int
    arrived: int
    settled: int
    in_sync: int
    missing: int
    incomplete: int
    different: int
    extra: int
    removed_at_source_only: int
    lag_p50: float | None
    lag_p95: float | None
    lag_p99: float | None
    oldest: float | None

    @property
    def open(self) -> int:
        """Studies that were not settled."""
        return self.missing + self.incomplete + self.different + self.extra + self.removed_at_source_only


class History:
    """The rows of one pair. Several processes may keep them; the first one counts."""

    def __init__(self, connection: Connection, policy: ComparisonPolicy) -> None:
        self._connection = connection
        self._keys = HistoryKeys(policy.source, policy.target)

    def keep(self, row: Row) -> None:
        """Keep a row for its minute, and for its hour if it is the hour's first; drop what is too old."""
        text = orjson.dumps(astuple(row))
        self._connection.call(
            ScriptCall("keep_history", [self._keys.of(step)], [row.time // step, text, _KEPT[step]])
            for step in (MINUTE, HOUR)
        )

    def rows(self, step: int, begin: int, end: int) -> list[Row]:
        """Rows of every ``step``, a minute or an hour; ``begin`` and ``end`` are seconds since the epoch."""
        command = ("ZRANGEBYSCORE", self._keys.of(step), -(-begin // step), end // step)
        [found] = self._connection.send([command])
        return [Row(*orjson.loads(one)) for one in found]

    def forget(self) -> None:
        """Drop all rows: what they counted began anew."""
        self._connection.send([("DEL", self._keys.of(step)) for step in _KEPT])
