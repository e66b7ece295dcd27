"""The chain of inventories as Redis knows it: cuts, the plan, the head, and the one writer who may move them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import orjson

from state.connection import Arg, Connection, ScriptCall
from state.errors import Fenced
from state.keys import RepositoryKeys, ShardKeys
from state.schema import SCHEMA, check
from state.studies import FIRST_GENERATION, Revs, Studies, batches
from state.times import MICROSECONDS

_PAGE: Final = 500
_CALLS: Final = 16  # pages in one round trip


class Lease:
    """The right to write a repository's chain, held by one writer at a time and fenced by a rising token."""

    def __init__(self, connection: Connection, repository: str, seconds: float) -> None:
        self._connection = connection
        self._keys = RepositoryKeys(repository)
        self._milliseconds = round(seconds * 1000)
        self.repository = repository
        self.token = 0

    def take(self, schema: str = SCHEMA) -> bool:
        """Take the lease if nobody holds it; whether it is now held. ``schema`` empty: of a state of any.

        Raises:
            StateMismatch: the state has another schema.
        """
        keys = [self._keys.lease, self._keys.fence, self._keys.settings]
        [reply] = self._connection.call([ScriptCall("lease_take", keys, [self._milliseconds, schema])])
        if isinstance(reply, bytes):
            check(self.repository, reply.decode())
        self.token = int(reply)
        return self.token > 0

    def keep(self) -> None:
        """Hold it for another full time.

        Raises:
            Fenced: it has expired, and may be another's.
        """
        if not self._keep(self._milliseconds):
            raise Fenced(f"repository {self.repository}: the writer's lease was lost; another writer may have it")

    def release(self) -> None:
        """Let the next writer take it at once."""
        self._keep(0)
        self.token = 0

    def _keep(self, milliseconds: int) -> bool:
        call = ScriptCall("lease_keep", [self._keys.lease], [self.token, milliseconds])
        return bool(self._connection.call([call])[0])


@dataclass(frozen=True, slots=True)
class Taken:
    """A cut: the oldest Study Update DateTime in the state (None if it holds no study), and shards without it yet.

    ``forgotten`` are shards that know of no cut, though some were taken.
    """

    oldest: int | None
    behind: tuple[int, ...]
    forgotten: tuple[int, ...]


class Cuts:
    """Takes cuts: a moment, and in every shard the line between what was applied before it and after (section 5)."""

    def __init__(self, connection: Connection, studies: Studies) -> None:
        self._connection = connection
        self._studies = studies
        self._keys = [ShardKeys(studies.repository, shard) for shard in range(studies.shards)]
        self.shards = studies.shards

    def wait_for(self, applied: Mapping[str, int], timeout: float, meanwhile: Callable[[], None]) -> list[str]:
        """Wait until every shard has applied these last offsets, by partition; the partitions that have not in time.

        ``meanwhile`` is called again and again.
        """
        deadline = time.monotonic() + timeout
        pending = [partition for partition, offset in applied.items() if offset >= 0]
        while True:
            pending = [one for one in pending if min(self._studies.offsets(one)) < applied[one]]
            if not pending or time.monotonic() >= deadline:
                return pending
            meanwhile()
            time.sleep(0.1)

    def take(
        self,
        n: int,
        start: int | None,
        time: int,
        applied: Mapping[str, int],
        *,
        begins: bool = True,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Taken:
        """Take cut ``n``: what is applied from now on belongs to ``n + 1``. May be called again for the same ``n``.

        ``time`` is the cut's moment: studies that change before it from now on are late, and counted. ``applied`` are
        by partition the last offsets that a shard must have applied at this very moment; one that has lost them since
        they were waited for is left as it is, and told. ``start`` is the chain's start; studies last updated before it
        count as updated then. None: it is open. ``begins``: shards may know of no cut before this one. ``meanwhile``
        is called now and then.
        """
        if start is None:
            self._open_start()
        else:
            self.set_start(start, meanwhile)
        wanted: list[Arg] = [n + 1, time, int(begins)]
        for partition, offset in applied.items():
            wanted += (partition, offset)
        replies = self._connection.call(
            ScriptCall("raise_generation", [keys.generation, keys.updated, keys.cut, keys.offsets], wanted)
            for keys in self._keys
        )
        oldest = [int(float(reply[1])) for reply in replies if reply[0] == b"raised" and reply[1]]
        behind = tuple(shard for shard, reply in enumerate(replies) if reply[0] == b"behind")
        forgotten = tuple(shard for shard, reply in enumerate(replies) if reply[0] == b"forgotten")
        return Taken(min(oldest) if oldest else None, behind, forgotten)

    def _open_start(self) -> None:
        self._connection.send([("DEL", keys.start) for keys in self._keys])

    def set_start(self, start: int, meanwhile: Callable[[], None] = lambda: None) -> int:
        """Fix the chain's start in every shard, and move older studies up to it; how many were moved.

        ``meanwhile`` is called again and again: it may be all of a large archive.
        """
        self._connection.send([("SET", keys.start, start) for keys in self._keys])
        revs = Revs()
        moved = 0
        left = dict.fromkeys(self._keys, 0)  # by shard how many of the oldest stay where they are
        while left:
            ranges = [
                ("ZRANGEBYSCORE", keys.updated, "-inf", f"({start}", "LIMIT", skipped, _PAGE)
                for keys, skipped in left.items()
            ]
            found = {keys: uids for keys, uids in zip(left, self._connection.send(ranges), strict=True) if uids}
            replies = self._connection.call(_raise_times(keys, uids, start, revs) for keys, uids in found.items())
            counts = zip(found.items(), replies, strict=True)
            left = {keys: left[keys] + len(uids) - count for (keys, uids), count in counts}
            moved += sum(replies)
            meanwhile()
        return moved

    def studies(self) -> int:
        """Studies that the state knows, removed ones included."""
        return self._studies.count()

    def collecting(self) -> int:
        """The highest generation of any shard: the lowest cut that was never taken, whatever else was lost."""
        return max(self._generations())

    def never_taken(self) -> list[int]:
        """Shards in which no cut was ever taken, as far as they know."""
        return [shard for shard, found in enumerate(self._generations()) if found <= FIRST_GENERATION]

    def lost(self, n: int) -> list[int]:
        """Shards that have lost writes from before cut ``n``: their generation is not above it."""
        return [shard for shard, found in enumerate(self._generations()) if found <= n]

    def _generations(self) -> list[int]:
        replies = self._connection.send([("GET", keys.generation) for keys in self._keys])
        return [int(found or FIRST_GENERATION) for found in replies]

    def settle(self, n: int, sequence: int, written: Iterable[tuple[str, bytes]]) -> None:
        """Strike published studies off: (Study Instance UID, rev written), those of a shard together.

        One that has changed since it was read is owed by cut ``n + 1``.
        """
        by_shard = groupby(written, key=lambda pair: self._studies.shard_of(pair[0]))
        pages = ((shard, page) for shard, some in by_shard for page in batches(some, _PAGE))
        for some in batches(pages, _CALLS):
            self._connection.call(self._settle_call(n, sequence, shard, page) for shard, page in some)

    def _settle_call(self, n: int, sequence: int, shard: int, written: Sequence[tuple[str, bytes]]) -> ScriptCall:
        keys = self._keys[shard]
        args: list[Arg] = [n + 1, sequence]
        stem = keys.study("")
        studies = [keys.changed]
        for uid, rev in written:
            args += (uid, rev)
            studies.append(stem + uid)
        return ScriptCall("settle", studies, args)


def _raise_times(keys: ShardKeys, found: Sequence[bytes], start: int, revs: Revs) -> ScriptCall:
    uids = [uid.decode("ascii") for uid in found]
    args: list[Arg] = [start]
    for uid in uids:
        args += (uid, revs.next())
    studies = [keys.study(uid) for uid in uids]
    return ScriptCall("raise_times", [keys.updated, keys.changed, keys.generation, *studies], args)


class Chain:
    """A repository's head, plan and last cut. What changes them carries the writer's fencing token."""

    def __init__(self, connection: Connection, repository: str) -> None:
        self._connection = connection
        self._keys = RepositoryKeys(repository)
        self.repository = repository

    def head(self) -> dict[str, Any] | None:
        """The head's manifest; None before the first inventory."""
        [found] = self._connection.send([("HGET", self._keys.chain, "head")])
        return None if found is None else orjson.loads(found)

    def plan(self) -> dict[str, Any] | None:
        """The inventory being produced, or left behind by a writer that died."""
        [found] = self._connection.send([("GET", self._keys.plan)])
        return None if found is None else orjson.loads(found)

    def begun(self) -> int | None:
        """When the cut of :meth:`plan` was begun (UTC microseconds of the state's clock); None without a plan."""
        keys = self._keys
        plan, begun = self._connection.send([("GET", keys.plan), ("HGET", keys.chain, "begun")])
        if plan is None or begun is None:
            return None
        cut, seconds = begun.split()
        # A writer of a version that does not note it has left the note of an earlier cut.
        return int(seconds) * MICROSECONDS if int(cut) == orjson.loads(plan)["cut"] else None

    def is_led(self) -> bool:
        """Whether a writer holds the lease now."""
        return bool(self._connection.send([("EXISTS", self._keys.lease)])[0])

    def last_cut(self) -> int:
        """The last cut that was planned; 0 before the first."""
        [found] = self._connection.send([("HGET", self._keys.chain, "cut")])
        return int(found or 0)

    def set_imported(self, sop_instance_uid: str) -> None:
        """Note that the state holds all that the tree of that Inventory says."""
        self._connection.send([("HSET", self._keys.chain, "imported", sop_instance_uid)])

    def imported(self) -> str | None:
        """The SOP Instance UID of the Inventory whose tree was imported last; None if none was."""
        [found] = self._connection.send([("HGET", self._keys.chain, "imported")])
        return None if found is None else str(found, "ascii")

    def write_plan(self, token: int, plan: dict[str, Any] | None, cut: int | None = None) -> None:
        """Write the plan, or remove it (None), and remember the cut that it takes.

        Raises:
            Fenced: the lease is another's.
        """
        text = b"" if plan is None else orjson.dumps(plan)
        keys = [self._keys.lease, self._keys.plan, self._keys.chain]
        call = ScriptCall("write_plan", keys, [token, text, "" if cut is None else cut])
        if not self._connection.call([call])[0]:
            raise Fenced(f"repository {self.repository}: the writer's lease was lost; another writer may have it")

    def move_head(self, token: int, before: int, manifest: dict[str, Any]) -> None:
        """Make ``manifest`` the head, if the head is still the one with sequence ``before`` (0: none).

        Raises:
            Fenced: the lease is another's, or the head was moved by another.
        """
        call = ScriptCall(
            "move_head",
            [self._keys.lease, self._keys.chain],
            [token, before, manifest["sequence"], orjson.dumps(manifest)],
        )
        reply = self._connection.call([call])[0]
        if reply == b"moved":
            return
        # A call whose reply was lost is made again: then the head is already the one that it should be.
        found = self.head()
        if found is None or found["sop_instance_uid"] != manifest["sop_instance_uid"]:
            raise Fenced(f"repository {self.repository}: another writer holds the lease or has moved the head")
