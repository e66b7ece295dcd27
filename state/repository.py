"""What a repository has once: the settings that must not change, its topics, watermarks and counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from state.attributes import Level
from state.connection import Arg, Command, Connection, ScriptCall
from state.errors import StateMismatch
from state.keys import RepositoryKeys
from state.schema import SCHEMA, check
from state.times import MICROSECONDS

NO_HEARTBEAT: Final = -1  # a bridge is to send some, and none has come yet; the watermark is 0, which is none


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one partition is applied.

    ``watermark`` and ``asked`` are UTC microseconds; ``offset`` is the last offset applied, -1 for none. ``heartbeat``
    is the latest of a bridge, 0 if none are expected, :data:`NO_HEARTBEAT` before the first.
    """

    watermark: int
    offset: int
    asked: int
    heartbeat: int = 0

    @property
    def vouches(self) -> bool:
        """Whether there is a watermark: before the first heartbeat that is to come there is none."""
        return self.heartbeat != NO_HEARTBEAT or self.watermark > 0


@dataclass(frozen=True, slots=True)
class Verified:
    """An inventory that was verified at ``time`` (UTC microseconds), with so many findings."""

    sop_instance_uid: str
    findings: int
    time: int


@dataclass(frozen=True, slots=True)
class Watermark:
    """The repository's watermark, or why there is none.

    ``time`` is the minimum over all partitions (UTC microseconds), None while any has not published one;
    ``offsets`` are the last offsets applied that it stands for; ``missing`` names the partitions that hold it back.
    ``heartbeat`` is the oldest of the partitions' latest ones, None where none are expected or have come.
    """

    time: int | None
    offsets: Mapping[str, int]
    missing: tuple[str, ...]
    heartbeat: int | None = None


def partition_field(topic_id: str, partition: int) -> str:
    """The field that stands for a partition. A topic made anew has another id, so it is not taken for old news."""
    return f"{topic_id}:{partition}"


class Repository:
    """One repository's own keys."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._keys = RepositoryKeys(name)

    def claim(self, shards: int, level: Level) -> None:
        """Fix the settings that must not change, or check them against those that are fixed.

        Raises:
            StateMismatch: the state was made with others, or is of another version (:mod:`state.schema`).
        """
        wanted = {"schema": SCHEMA, "shards": str(shards), "level": str(level)}
        claims: list[Command] = [("HSETNX", self._keys.settings, name, value) for name, value in wanted.items()]
        *_, settings = self._connection.send([*claims, ("HGETALL", self._keys.settings)])
        found = {_text(name): _text(value) for name, value in settings.items()}
        check(self.name, found["schema"])
        for name, value in wanted.items():
            if found[name] != value:
                raise StateMismatch(
                    f"repository {self.name}: the state was made with {name} {found[name]}, the settings say {value}; "
                    "change the setting back, or use another Redis database or repository name"
                )

    def fixed(self) -> dict[str, str]:
        """What was fixed when the state was made: ``schema``, ``shards``, ``level``; empty if there is none."""
        [settings] = self._connection.send([("HGETALL", self._keys.settings)])
        found = {_text(name): _text(value) for name, value in settings.items()}
        return {name: found[name] for name in ("schema", "shards", "level") if name in found}

    def set_whole(self) -> None:
        """Record that the state holds every study of the repository, so that the chain's beginning may be open."""
        self._connection.send([("HSET", self._keys.settings, "whole", "1")])

    def forget_whole(self) -> None:
        """Record that the state may lack studies: events were lost before they were applied."""
        self._connection.send([("HDEL", self._keys.settings, "whole")])

    def is_whole(self) -> bool:
        """Whether the state is known to hold every study of the repository."""
        return self._connection.send([("HGET", self._keys.settings, "whole")])[0] is not None

    def set_verified(self, sop_instance_uid: str, findings: int, time: int) -> None:
        """Record that an inventory was verified, with so many findings; ``time`` is UTC microseconds."""
        text = orjson.dumps(asdict(Verified(sop_instance_uid, findings, time)))
        self._connection.send([("SET", self._keys.verified, text)])

    def verified(self) -> Verified | None:
        """The inventory that was verified last; None if none was."""
        [found] = self._connection.send([("GET", self._keys.verified)])
        return None if found is None else Verified(**orjson.loads(found))

    def set_topics(self, topics: Mapping[str, tuple[str, int]], age: float = 0.0) -> int:
        """Say which topics the repository has: name -> (topic id, partitions), as they were seen ``age`` seconds ago.

        Several consumers may say what they saw at different moments: of a topic made anew the later look counts, of one
        topic the larger number of partitions. A topic that nobody names for a minute is not the repository's any more.

        Returns how many topics were made anew since they were named last: whoever hears of that first is told.

        Raises:
            StateMismatch: the state was migrated, or is being; then nothing was said.
        """
        words: list[Arg] = [SCHEMA, round(age * MICROSECONDS)]
        for name, (id_, count) in topics.items():
            words += (name, id_, count)
        call = ScriptCall("set_topics", [self._keys.topics, self._keys.settings], words)
        anew = self._connection.call([call])[0]
        if isinstance(anew, bytes):
            check(self.name, _text(anew))
        return int(anew)

    def topics(self) -> dict[str, tuple[str, int]]:
        """The topics as consumers saw them last: name -> (topic id, partitions). Empty before the first consumer."""
        [found] = self._connection.send([("HGETALL", self._keys.topics)])
        described = {_text(name): orjson.loads(value) for name, value in found.items()}
        return {name: (one["id"], one["partitions"]) for name, one in described.items()}

    def publish_progress(self, progress: Mapping[str, Progress]) -> None:
        """Publish how far partitions (by :func:`partition_field`) are applied; a watermark never goes back."""
        self._connection.call(
            [
                ScriptCall(
                    "publish_watermark",
                    [self._keys.watermarks],
                    [field, one.watermark, one.offset, one.asked, one.heartbeat],
                )
                for field, one in progress.items()
            ]
        )

    def progress(self) -> dict[str, Progress | None]:
        """What each partition of the repository's topics has published; None for one that never did."""
        topics, published = self._connection.send([("HGETALL", self._keys.topics), ("HGETALL", self._keys.watermarks)])
        progress: dict[str, Progress | None] = {}
        for value in topics.values():
            topic = orjson.loads(value)
            for partition in range(topic["partitions"]):
                field = partition_field(topic["id"], partition)
                found = published.get(field.encode())
                progress[field] = Progress(**orjson.loads(found)) if found is not None else None
        return progress

    def watermark(self) -> Watermark:
        """The minimum over all partitions of all topics."""
        progress = self.progress()
        known = {field: one for field, one in progress.items() if one is not None and one.vouches}
        missing = tuple(field for field in progress if field not in known)
        complete = bool(known) and not missing
        oldest = min((one.heartbeat for one in progress.values() if one is not None), default=0)
        return Watermark(
            time=min(one.watermark for one in known.values()) if complete else None,
            offsets={field: one.offset for field, one in known.items()},
            missing=missing or (() if known else ("no consumer has seen the topics yet",)),
            heartbeat=oldest if oldest > 0 else None,
        )

    def count(self, counts: Mapping[str, int]) -> None:
        """Add to the counters that operators see."""
        self._connection.send([("HINCRBY", self._keys.counters, name, number) for name, number in counts.items()])

    def counters(self) -> dict[str, int]:
        """The counters since the state was made."""
        [found] = self._connection.send([("HGETALL", self._keys.counters)])
        return {_text(name): int(value) for name, value in sorted(found.items())}

    def stop_for_dead_letters(self, why: str) -> None:
        """Keep consumers stopped until :meth:`resume`, over restarts."""
        self._connection.send([("HSET", self._keys.dead_letters, "stopped", why)])

    def stopped(self) -> str | None:
        """Why consumers are stopped, or None."""
        [found] = self._connection.send([("HGET", self._keys.dead_letters, "stopped")])
        return None if found is None else _text(found)

    def resume(self) -> bool:
        """Let consumers go on; whether they were stopped."""
        return bool(self._connection.send([("HDEL", self._keys.dead_letters, "stopped")])[0])


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
