"""What is owed a look at the archive: studies of which its events said too little, or that it was told to look at.

A debt has the name of what is owed, a Study Instance UID or a *reference*: ``<kind>:<id>``, the archive's own id of
something whose study is not known. Its token is the place in Kafka (``<topic id>:<partition>:<offset>``) of the latest
event that made it or happened to the study since. It is written by the script that applies the event, in the study's
own slot, so both are there or none; and what follows from the stream alone is the same when that is read again. What
is found in the archive comes back through the stream with the token, and counts only while that is still the debt's
(docs/decisions/0019).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from state.connection import Arg, Command, Connection, ScriptCall
from state.keys import ShardKeys, shard_of

_PAGE: Final = 1000  # debts
_NEVER: Final = "+inf"  # when a debt that was given up is due


def is_reference(owed: str) -> bool:
    """Whether that is an archive's own id of something, and no Study Instance UID."""
    return ":" in owed


def partition_of(token: str) -> int | None:
    """The number of the partition in which the event lies that a token names."""
    parts = token.split(":")
    return int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else None


class DebtMove(NamedTuple):
    """A debt's token goes from ``before`` to ``after``; empty: none. The same twice: it has to be that."""

    owed: str
    before: str
    after: str


class Tries(Struct):
    """Looks at the archive that failed, all for the debt with that token; ``error`` is the last one's."""

    token: str
    count: int
    error: str


@dataclass(frozen=True, slots=True)
class Debt:
    """What is owed. ``due`` is when it arose, or is to be tried again (UTC microseconds); None: it was given up."""

    owed: str
    token: str
    due: int | None
    tries: Tries | None


_encode: Final = msgspec.json.encode
_decode_tries: Final = msgspec.json.Decoder(Tries).decode


class Debts:
    """The debts of one repository, and under which ids its archive knows its studies."""

    def __init__(self, connection: Connection, repository: str, shards: int) -> None:
        self._connection = connection
        self._shards = shards
        self._keys = [ShardKeys(repository, shard) for shard in range(shards)]

    def tokens(self, owed: Mapping[int, Sequence[str]]) -> dict[str, str]:
        """The tokens of debts, given by shard; what is not owed is left out. One round trip."""
        wanted = {shard: names for shard, names in owed.items() if names}
        replies = self._connection.send([("HMGET", self._keys[shard].owed, *names) for shard, names in wanted.items()])
        return {
            name: token.decode("ascii")
            for names, found in zip(wanted.values(), replies, strict=True)
            for name, token in zip(names, found, strict=True)
            if token is not None
        }

    def tokens_of(self, owed: Iterable[str]) -> dict[str, str]:
        """The same for debts whose shards are not at hand."""
        return self.tokens(self._by_shard(owed))

    def _by_shard(self, names: Iterable[str]) -> dict[int, list[str]]:
        by_shard: dict[int, list[str]] = {}
        for name in names:
            by_shard.setdefault(shard_of(name, self._shards), []).append(name)
        return by_shard

    def count(self) -> int:
        """How much is owed, what was given up included."""
        return sum(self._connection.send([("ZCARD", keys.owed_due) for keys in self._keys]))

    def count_given_up(self) -> int:
        """How much was given up."""
        return sum(self._connection.send([("ZCOUNT", keys.owed_due, _NEVER, _NEVER) for keys in self._keys]))

    def due(self, up_to: int) -> Iterator[Debt]:
        """Debts that are due at ``up_to`` (UTC microseconds), those of each shard by age."""
        return self._by_score("-inf", up_to)

    def unpaid(self) -> Iterator[Debt]:
        """All debts but those that were given up, also those that are not due yet."""
        for keys in self._keys:
            # At once: paying some between two pages would shift others over the edge.
            [found] = self._connection.send([("ZRANGEBYSCORE", keys.owed_due, "-inf", "(" + _NEVER, "WITHSCORES")])
            yield from self._described(keys, found)

    def given_up(self) -> Iterator[Debt]:
        """Debts that were tried too often."""
        return self._by_score(_NEVER, _NEVER)

    def _by_score(self, low: int | str, high: int | str) -> Iterator[Debt]:
        for keys in self._keys:
            begin = 0
            while True:
                page = ("LIMIT", begin, _PAGE)
                [found] = self._connection.send([("ZRANGEBYSCORE", keys.owed_due, low, high, "WITHSCORES", *page)])
                yield from self._described(keys, found)
                if len(found) < _PAGE:
                    break
                begin += _PAGE

    def _described(self, keys: ShardKeys, found: Sequence[tuple[bytes, float]]) -> list[Debt]:
        if not found:
            return []
        names = [name for name, _ in found]
        tokens, tries = self._connection.send([("HMGET", keys.owed, *names), ("HMGET", keys.owed_tries, *names)])
        debts = []
        for (name, due), token, tried in zip(found, tokens, tries, strict=True):
            if token is not None:  # else it was paid in between
                text = token.decode("ascii")
                known = None if tried is None else _decode_tries(tried)
                of_this = known if known is not None and known.token == text else None
                debts.append(Debt(name.decode("ascii"), text, _moment(due), of_this))
        return debts

    def put_off(self, owed: str, tries: Tries, until: int | None) -> None:
        """Note that a look has failed, and try again at ``until`` (UTC microseconds; None: never), unless the debt is
        another one by now.
        """
        keys = self._keys[shard_of(owed, self._shards)]
        words: list[Arg] = [owed, tries.token, _encode(tries), _NEVER if until is None else until]
        self._connection.call([ScriptCall("put_off", [keys.owed, keys.owed_due, keys.owed_tries], words)])

    def try_again(self, debts: Iterable[Debt], now: int) -> int:
        """Let debts be due ``now`` (UTC microseconds), as if they had not been tried; how many those were."""
        count = 0
        for debt in debts:
            self.put_off(debt.owed, Tries(debt.token, 0, ""), now)
            count += 1
        return count

    # --- an archive's own ids ----------------------------------------------------------------------------------

    def note_names(self, names: Iterable[str], study_instance_uid: str) -> None:
        """Keep whose study these references are, so that it is known when the archive no longer says so."""
        commands: list[Command] = []
        for shard, some in self._by_shard(names).items():
            for begin in range(0, len(some), _PAGE):
                words: list[str] = []
                for name in some[begin : begin + _PAGE]:
                    words += (name, study_instance_uid)
                commands.append(("HSET", self._keys[shard].named, *words))
        self._connection.send(commands)

    def named(self, name: str) -> str | None:
        """The Study Instance UID that was noted for a reference."""
        [found] = self._connection.send([("HGET", self._keys[shard_of(name, self._shards)].named, name)])
        return None if found is None else found.decode("ascii")


def _moment(score: float) -> int | None:
    return None if math.isinf(score) else int(score)
