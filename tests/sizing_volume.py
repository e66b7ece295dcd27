"""How many bytes a study takes: of Redis, of its append-only file, and of an inventory, plain and deflated.

``python -m tests.sizing_volume`` prints the rows of the table of measured volumes in docs/sizing.md. Bytes do not
depend on how busy the machine is. The events are the benchmark's (tests/benchmarks/events.py): studies of 100 instances
in two series, told one by one, and studies told at study level.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from redis import Redis

from state.attributes import Level
from stocktake.settings import Settings, load
from stocktake.wiring import OpenRepository, open_producer, open_repository
from tests.benchmarks.events import INSTANCES, Message, instance_events, study_events
from tests.benchmarks.growth import Feeder
from tests.benchmarks.servers import own_redis
from tests.benchmarks.uids import Uid, uuid_derived, vendor
from writers.manifest import Manifest

STUDIES: Final = 300
WARM_UP: Final = 200  # studies that are there before, so that indexes have the form that they have in a large state
_BATCH: Final = 5000


def rows() -> Iterator[str]:
    """One row of the table for each level and kind of UID."""
    for name, uid in (("vendor", vendor), ("uuid", uuid_derived)):
        for level in (Level.STUDY, Level.SERIES, Level.INSTANCE):
            yield _row(f"{level}, {INSTANCES} instances told one by one", name, level, uid, with_instances=True)
        yield _row(f"{Level.STUDY}, told at study level", name, Level.STUDY, uid, with_instances=False)


def _row(what: str, kind: str, level: Level, uid: Uid, *, with_instances: bool) -> str:
    found = measure(level, uid, with_instances=with_instances)
    return f"| {what} | {kind} | " + " | ".join(f"{one:,.0f}" for one in found) + " |"


def measure(level: Level, uid: Uid, *, with_instances: bool) -> tuple[float, ...]:
    """Bytes of a study: of Redis; of its file, rewritten; that it grows by; of an inventory, plain and deflated."""
    given = load(None, {})
    given = replace(given, state=replace(given.state, shards=1))
    with own_redis(given) as redis, tempfile.TemporaryDirectory() as name:
        inventory = replace(given.inventory, level=level, dir=Path(name))
        settings = replace(redis.settings, inventory=inventory)
        with (
            Redis.from_url(settings.redis.url) as client,
            closing(open_repository(settings, None)) as opened,
        ):
            feeder = Feeder(settings, opened, client)

            def events(first: int, count: int) -> Iterator[Message]:
                if with_instances:
                    return instance_events(count, first=first, uid=uid)
                return study_events(count, first=first, uid=uid)

            feeder.feed(events(0, WARM_UP), _BATCH)
            few = _look(settings, opened, client)
            written = _info(client)["aof_current_size"]
            feeder.feed(events(WARM_UP, STUDIES), _BATCH)
            grown = _info(client)["aof_current_size"] - written
            many = _look(settings, opened, client)
    each = [(after - before) / STUDIES for before, after in zip(few, many, strict=True)]
    return each[0], each[1], grown / STUDIES, *each[2:]


def _look(settings: Settings, opened: OpenRepository, client: Redis) -> tuple[float, ...]:
    files = [produced(settings, opened, syntax).bytes for syntax in ("EXPLICIT", "DEFLATED")]
    client.bgrewriteaof()
    while (info := _info(client))["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]:
        time.sleep(0.05)
    memory: Any = client.info("memory")
    used = memory["used_memory"] - memory["mem_clients_normal"] - memory["mem_aof_buffer"]
    return (used, info["aof_base_size"], *files)


def produced(settings: Settings, opened: OpenRepository, syntax: str) -> Manifest:
    """A baseline in this transfer syntax."""
    inventory = replace(settings.inventory, transfer_syntax=syntax)
    producer, lease = open_producer(replace(settings, inventory=inventory), opened)
    if not lease.take():
        raise RuntimeError("the lease is somebody's")
    try:
        return producer.produce("baseline", force=True)
    finally:
        lease.release()


def _info(client: Redis) -> dict[str, Any]:
    found: Any = client.info("persistence")
    return dict(found)


def empty_deltas(count: int) -> float:
    """Bytes of an inventory in which nothing changed, with its manifest: the mean of so many one after another."""
    given = load(None, {})
    with own_redis(given) as redis, tempfile.TemporaryDirectory() as name:
        settings = replace(redis.settings, inventory=replace(given.inventory, dir=Path(name)))
        with closing(open_repository(settings, None)) as opened:
            producer, lease = open_producer(settings, opened)
            if not lease.take():
                raise RuntimeError("the lease is somebody's")
            found = [producer.produce(force=True) for _ in range(count)]
            files = [producer.folder.path / one.file for one in found]
            return sum(file.stat().st_size + file.with_suffix(".json").stat().st_size for file in files) / count


if __name__ == "__main__":
    for row in rows():
        sys.stdout.write(row + "\n")
        sys.stdout.flush()
    sys.stdout.write(f"an inventory in which nothing changed: {empty_deltas(600):,.0f} bytes with its manifest\n")
