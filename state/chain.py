"""The chain of inventories as Redis knows it: cuts, the plan, the head, and the one writer who may move them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from state.connection import Connection, ScriptCall
from state.errors import Fenced
from state.keys import RepositoryKeys, ShardKeys
from state.repository import Watermark
from state.studies import Studies, batches, new_rev

_FIRST_GENERATION: Final = 1
_PAGE: Final = 500


class Lease:
    """The right to write a repository's chain, held by one writer at a time and fenced by a rising token."""

    def __init__(self, connection: Connection, repository: str, seconds: float) -> None:
        self._connection = connection
        self._keys = RepositoryKeys(repository)
        self._milliseconds = round(seconds * 1000)
        self.repository = repository
        self.token = 0

    def take(self) -> bool:
        """Take the lease if nobody holds it; whether it is now held."""
        call = ScriptCall("lease_take", [self._keys.lease, self._keys.fence], [self._milliseconds])
        self.token = int(self._connection.call([call])[0])
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


class Cuts:
    """Takes cuts: a moment, and in every shard the line between what was applied before it and after (section 5)."""

    def __init__(self, connection: Connection, studies: Studies) -> None:
        self._connection = connection
        self._studies = studies
        self._keys = [ShardKeys(studies.repository, shard) for shard in range(studies.shards)]

    def wait_for(self, watermark: Watermark, timeout: float, meanwhile: Callable[[], None]) -> list[str]:
        """Wait until every shard has applied what the watermark stands for; the partitions that have not in time.

        ``meanwhile`` is called again and again.
        """
        deadline = time.monotonic() + timeout
        pending = [partition for partition, offset in watermark.offsets.items() if offset >= 0]
        while True:
            pending = [one for one in pending if min(self._studies.offsets(one)) < watermark.offsets[one]]
            if not pending or time.monotonic() >= deadline:
                return pending
            meanwhile()
            time.sleep(0.1)

    def take(self, n: int, start: int | None) -> int | None:
        """Take cut ``n``: what is applied from now on belongs to ``n + 1``. May be called again for the same ``n``.

        ``start`` is the chain's start; studies last updated before it count as updated then. None: it is open.
        Returns the oldest Study Update DateTime in the state, None if it holds no study.
        """
        if start is None:
            self._open_start()
        else:
            self.set_start(start)
        replies = self._connection.call(
            [ScriptCall("raise_generation", [keys.generation, keys.updated], [n + 1]) for keys in self._keys]
        )
        oldest = [int(float(reply)) for reply in replies if reply]
        return min(oldest) if oldest else None

    def _open_start(self) -> None:
        with self._connection.errors():
            pipeline = self._connection.pipeline()
            for keys in self._keys:
                pipeline.delete(keys.start)
            pipeline.execute()

    def set_start(self, start: int) -> int:
        """Fix the chain's start in every shard, and move older studies up to it; how many were moved."""
        with self._connection.errors():
            pipeline = self._connection.pipeline()
            for keys in self._keys:
                pipeline.set(keys.start, start)
            for keys in self._keys:
                pipeline.zrangebyscore(keys.updated, "-inf", f"({start}")
            older = pipeline.execute()[len(self._keys) :]
        calls = []
        for keys, found in zip(self._keys, older, strict=True):
            for uids in batches((uid.decode("ascii") for uid in found), _PAGE):
                args: list[Any] = [start]
                for uid in uids:
                    args += (uid, new_rev())
                calls.append(
                    ScriptCall(
                        "raise_times",
                        [keys.updated, keys.changed, keys.generation, *(keys.study(uid) for uid in uids)],
                        args,
                    )
                )
        return sum(self._connection.call(calls))

    def collecting(self) -> int:
        """The highest generation of any shard: the lowest cut that was never taken, whatever else was lost."""
        return max(self._generations())

    def lost(self, n: int) -> list[int]:
        """Shards that have lost writes from before cut ``n``: their generation is not above it."""
        return [shard for shard, found in enumerate(self._generations()) if found <= n]

    def _generations(self) -> list[int]:
        with self._connection.errors():
            pipeline = self._connection.pipeline()
            for keys in self._keys:
                pipeline.get(keys.generation)
            return [int(found or _FIRST_GENERATION) for found in pipeline.execute()]

    def settle(self, n: int, sequence: int, shard: int, written: Sequence[tuple[str, bytes]]) -> None:
        """Strike published studies of one shard off: (Study Instance UID, rev written).

        One that has changed since it was read is owed by cut ``n + 1``.
        """
        keys = self._keys[shard]
        args: list[Any] = [n + 1, sequence]
        for uid, rev in written:
            args += (uid, rev)
        self._connection.call([ScriptCall("settle", [keys.changed, *(keys.study(uid) for uid, _ in written)], args)])


class Chain:
    """A repository's head, plan and last cut. What changes them carries the writer's fencing token."""

    def __init__(self, connection: Connection, repository: str) -> None:
        self._connection = connection
        self._keys = RepositoryKeys(repository)
        self.repository = repository

    def head(self) -> dict[str, Any] | None:
        """The head's manifest; None before the first inventory."""
        with self._connection.errors():
            found = self._connection.client.hget(self._keys.chain, "head")
        return None if found is None else orjson.loads(found)

    def plan(self) -> dict[str, Any] | None:
        """The inventory being produced, or left behind by a writer that died."""
        with self._connection.errors():
            found: bytes | None = self._connection.client.get(self._keys.plan)  # type: ignore[assignment]
        return None if found is None else orjson.loads(found)

    def last_cut(self) -> int:
        """The last cut that was planned; 0 before the first."""
        with self._connection.errors():
            found = self._connection.client.hget(self._keys.chain, "cut")
        return int(found or 0)

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
