"""The paths that an event can take, each timed in a process of its own: polled, decoded, applied, applied naively.

The clock of every path starts when its partitions are known and the first poll is due, and stops when the last event
is done: connecting, joining the group and the last report are not in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Event as Flag
from typing import Any, Final

import orjson
from kafka import KafkaConsumer, TopicPartition
from redis import Redis

from consumers.membership import Member
from stocktake.memory import prepare_memory, spare_the_collector
from stocktake.settings import Settings
from stocktake.wiring import open_consumer, open_repository
from tests.benchmarks.measuring import Measured, Pids, Stopwatch
from tests.benchmarks.naive import NaiveConsumer

PARTITIONS: Final = 4

_MOST_POLLED: Final = 5000  # records, by the library alone; its default of 500 is slower

# What decides how fast the program's own consumer polls.
_POLLING: Final = (
    "max_poll_records",
    "max_partition_fetch_bytes",
    "fetch_max_bytes",
    "fetch_min_bytes",
    "fetch_max_wait_ms",
    "receive_buffer_bytes",
    "check_crcs",
    "isolation_level",
    "metrics_enabled",
)


@dataclass(frozen=True, slots=True)
class Servers:
    """The settings that lead to both servers, and their process ids by role."""

    settings: Settings
    pids: Mapping[str, int]

    def following(self, repository: str, topic: str) -> Settings:
        """The settings of a repository with one topic."""
        policy = replace(self.settings.repositories[0], name=repository, topics=(topic,))
        return replace(self.settings, repositories=(policy,))

    def stopwatch(self) -> Stopwatch:
        """One for work of this process."""
        return Stopwatch(self.roles(os.getpid()))

    def roles(self, *own: int) -> Pids:
        return {"own": own} | {role: (pid,) for role, pid in self.pids.items()}


def poll(servers: Servers, topic: str, count: int, *, decode: bool = False, tuned: bool = False) -> Measured:
    """kafka-python alone. ``decode``: with every value decoded by orjson; ``tuned``: set up as the program does it."""
    options: Mapping[str, Any] = {"max_poll_records": _MOST_POLLED}
    if tuned:
        spare_the_collector()
        options = _options(servers, topic)
    watch = servers.stopwatch()
    done = 0
    with closing(_consumer(servers, options)) as consumer:
        partitions = _partitions(topic)
        consumer.assign(partitions)
        for one, first in consumer.beginning_offsets(partitions).items():
            consumer.seek(one, first)
        watch.start()
        while done < count:
            polled = consumer.poll(500)
            if decode:
                for records in polled.values():
                    for record in records:
                        orjson.loads(record.value)
            done += sum(map(len, polled.values()))
        return watch.stop(done)


def apply(servers: Servers, topic: str, count: int, studies: int, repository: str = "bench") -> Measured:
    """The program's own consumer, from an empty state to all applied; ``studies`` are what the state then holds."""
    prepare_memory()
    settings = servers.following(repository, topic)
    watch = servers.stopwatch()
    stop = Flag()
    found: list[Measured] = []
    opened = open_repository(settings, None)
    try:
        following = open_consumer(settings, opened)
        source_poll = following.source.poll

        def timed_poll(timeout: float) -> Mapping[TopicPartition, list[Any]]:
            # The loop polls when everything polled before is applied, and then asks whether the last of it is written.
            applied = following.counts["events_store"]
            if not watch.running and following.source.positions():
                watch.start()
            if applied >= count and not found:
                following.applier.settle()
                found.append(watch.stop(applied))
                stop.set()
            return source_poll(timeout)

        following.source.poll = timed_poll  # type: ignore[method-assign]
        try:
            following.consumer.run(stop)
        finally:
            following.close(5)
        if opened.studies.count() != studies:
            raise RuntimeError(f"the state holds {opened.studies.count()} studies, not {studies}")
    finally:
        opened.close()
    return found[0]


def apply_naively(servers: Servers, topic: str, count: int) -> Measured:
    """One event and one transaction at a time; the first ``count`` events of the topic or a few more."""
    watch = servers.stopwatch()
    done = 0
    with (
        closing(_consumer(servers, _options(servers, topic))) as consumer,
        Redis.from_url(servers.settings.redis.url) as client,
    ):
        naive = NaiveConsumer(consumer, client, _partitions(topic))
        watch.start()
        while done < count:
            done += naive.run_once()
        return watch.stop(done)


def _partitions(topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in range(PARTITIONS)]


def _options(servers: Servers, topic: str) -> Mapping[str, Any]:
    """The program's own options for polling."""
    kafka = servers.settings.kafka
    with closing(Member(kafka, "options", [topic], kafka.timeout)) as member:
        return {name: member.config[name] for name in _POLLING}


def _consumer(servers: Servers, options: Mapping[str, Any]) -> KafkaConsumer:
    """kafka-python's consumer, outside every group."""
    brokers = list(servers.settings.kafka.bootstrap_servers)
    return KafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False, **options)
