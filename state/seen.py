"""What a bridge that polls saw of studies last: of each its day and a digest, so that a change is noticed.

A hash in each shard, bounded by the days that the bridge looks at again and again: older studies are forgotten. Where
the server has lost its latest writes, studies are taken for changed and looked up once more, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from state.connection import Command, Connection
from state.keys import ShardKeys, shard_of

_DAY: Final = 8  # bytes
_PAGE: Final = 1000  # studies in a command


class Sight(NamedTuple):
    """What was seen of a study: the day by which it is forgotten again (``YYYYMMDD``), and a digest of the rest."""

    day: str
    digest: bytes


class Seen:
    """What was seen of one repository's studies, by Study Instance UID."""

    def __init__(self, connection: Connection, repository: str, shards: int) -> None:
        self._connection = connection
        self._shards = shards
        self._keys = [ShardKeys(repository, shard) for shard in range(shards)]

    def read(self) -> dict[str, Sight]:
        """All that was seen."""
        found: dict[str, Sight] = {}
        for reply in self._connection.send([("HGETALL", keys.seen) for keys in self._keys]):
            for uid, value in reply.items():
                found[uid.decode("ascii")] = Sight(value[:_DAY].decode("ascii"), value[_DAY:])
        return found

    def note(self, seen: Mapping[str, Sight]) -> None:
        """Keep what was seen now."""
        commands: list[Command] = []
        for keys, uids in self._by_shard(seen):
            words: list[str | bytes] = []
            for uid in uids:
                words += (uid, seen[uid].day.encode("ascii") + seen[uid].digest)
            commands.append(("HSET", keys.seen, *words))
        self._connection.send(commands)

    def forget(self, study_instance_uids: Collection[str]) -> None:
        """Those are not known any more."""
        self._connection.send([("HDEL", keys.seen, *uids) for keys, uids in self._by_shard(study_instance_uids)])

    def _by_shard(self, study_instance_uids: Collection[str]) -> list[tuple[ShardKeys, list[str]]]:
        """The studies of each shard, so many at a time as go into a command."""
        found: dict[int, list[str]] = {}
        for uid in study_instance_uids:
            found.setdefault(shard_of(uid, self._shards), []).append(uid)
        return [
            (self._keys[shard], uids[begin : begin + _PAGE])
            for shard, uids in found.items()
            for begin in range(0, len(uids), _PAGE)
        ]
