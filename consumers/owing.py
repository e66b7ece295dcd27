"""What a batch does to debts: which looks at the archive it makes due, and which answers still count.

An answer tells what the archive showed when it was asked, on account of a debt. If anything else has happened to the
study since, that is newer: the answer is passed over, and the study stays owed (docs/decisions/0019).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from consumers.events import Event, Look, Settle
from consumers.merge import Placed
from state.debts import DebtMove, Debts

# What a message tells of one study, or of a reference, and where it stands: its partition and Kafka offset.
Mixed: TypeAlias = "tuple[Event | Look | Settle, str, int]"
ShardEvents: TypeAlias = "dict[str, list[Placed]]"  # by Study Instance UID; none for a study that news concerns


@dataclass(slots=True)
class Pending:
    """What is to be applied, by shard and by what it concerns. ``owing``: some of it concerns debts."""

    by_shard: dict[int, dict[str, list[Mixed]]] = field(default_factory=dict)
    owing: bool = False


@dataclass(slots=True)
class Decided:
    """What counts of it: events by shard and study, what becomes of debts, how many answers count and do not."""

    events: dict[int, ShardEvents]
    debts: dict[int, list[DebtMove]] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    outdated: Counter[int] = field(default_factory=Counter)


class Owing:
    """Decides about batches. ``follows``: any event may find its study owed a look.

    There is an archive to ask, or there are debts. From the first batch on that concerns any, it is so anyway.
    """

    def __init__(self, debts: Debts, *, follows: bool) -> None:
        self._debts = debts
        self._follows = follows

    def is_asked(self, *, owing: bool) -> bool:
        """Whether :meth:`decide` has to ask the state."""
        return self._follows or owing

    def decide(self, pending: Mapping[int, Mapping[str, Sequence[Mixed]]], *, owing: bool) -> Decided:
        """What counts of it now. One round trip, none if nothing can be owed.

        Another writer may change debts before this is written: the moves say what has to be found.
        """
        self._follows = self.is_asked(owing=owing)
        if not self._follows:
            return Decided(pending)  # type: ignore[arg-type]  # nothing but events
        decided = Decided({shard: {} for shard in pending})
        tokens = self._debts.tokens({shard: list(told) for shard, told in pending.items()})
        for shard, by_name in pending.items():
            for name, told in by_name.items():
                self._decide(decided, shard, name, told, tokens.get(name, ""))
        return decided

    def _decide(self, decided: Decided, shard: int, name: str, told: Sequence[Mixed], before: str) -> None:
        token, answered = before, False
        events: list[Placed] = []
        for one, partition, offset in told:
            if isinstance(one, Event):
                if not one.answers:
                    events.append((one, partition, offset))
                    if token or one.lacking:
                        token = f"{partition}:{offset}"
                elif one.answers == token:
                    events.append((one, partition, offset))
                    answered = True
                    decided.answers[shard] += 1
                else:
                    decided.outdated[shard] += 1
                    # Of a debt that is paid, or was never made as the stream is read again from the middle of it: what
                    # is passed over now was applied then, so the study has to be looked up once more.
                    token = token or f"{partition}:{offset}"
            elif isinstance(one, Look):
                token = f"{partition}:{offset}"
            elif one.answers == token:
                token = ""
        if events or not told:
            decided.events[shard][name] = events
        if token != before or answered:
            decided.debts.setdefault(shard, []).append(DebtMove(name, before, token))
