"""The event path, measured: polling alone, polling and decoding JSON, and the whole path into the state."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event as Flag
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from kafka import KafkaConsumer, TopicPartition

from consumers.apply import Applier
from consumers.dead_letters import DeadLetterTopic
from consumers.formats.native import NativeFormat
from consumers.loop import Consumer
from consumers.policy import RepositoryPolicy
from consumers.publish import Publisher
from consumers.source import Source
from state.connection import Connection
from state.repository import Repository
from state.studies import Studies
from stocktake.settings import Settings
from stocktake.wiring import system_clock

_INSTANCES = 100
_INTERLEAVED = 20
_PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class Rate:
    """Events and the seconds they took."""

    name: str
    events: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.events / self.seconds


def instance_events(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Instance-level store events of about 1.2 KB, 100 instances a study, 20 studies interleaved: key and value."""
    for number in range(count):
        block, within = divmod(number, _INTERLEAVED * _INSTANCES)
        instance, lane = divmod(within, _INTERLEAVED)
        study = f"1.2.826.0.1.3680043.8.498.{10_000_000 + block * _INTERLEAVED + lane}.20261121101500"
        yield study.encode(), orjson.dumps(_event(study, instance))


def _event(study: str, instance: int) -> dict[str, Any]:
    series = f"{study}.{instance // 50 + 1}"
    values = {
        "00080016": ("UI", "1.2.840.10008.5.1.4.1.1.2"),
        "00080018": ("UI", f"{series}.{instance}"),
        "00080020": ("DA", "20261121"),
        "00080030": ("TM", "101500"),
        "00080050": ("SH", f"A{study[-22:-14]}"),
        "00080060": ("CS", "CT"),
        "00080090": ("PN", {"Alphabetic": "Referrer^Rita"}),
        "0008103E": ("LO", "Axial 1.0 mm"),
        "00081030": ("LO", "CT of the abdomen with contrast"),
        "00100010": ("PN", {"Alphabetic": f"Patient^{study[-20:-14]}"}),
        "00100020": ("LO", f"P{study[-22:-14]}"),
        "00100021": ("LO", "HOSPITAL"),
        "00100030": ("DA", "19700101"),
        "00100040": ("CS", "F"),
        "0020000D": ("UI", study),
        "0020000E": ("UI", series),
        "00200010": ("SH", "1"),
        "00200011": ("IS", instance // 50 + 1),
        "00200013": ("IS", instance + 1),
        "00280010": ("US", 512),
        "00280011": ("US", 512),
        "00280100": ("US", 16),
    }
    return {
        "id": f"{series}.{instance}",
        "action": "store",
        "level": "INSTANCE",
        "time": f"2026-11-21T10:15:00.{instance:06d}+00:00",
        "dataset": {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items()},
    }


def fill(settings: Settings, topic: str, count: int) -> None:
    """Publish the events."""
    with Publisher(settings.kafka, topic) as publisher:
        for key, value in instance_events(count):
            publisher.send(key, value)


def poll_only(settings: Settings, topic: str, count: int, each: Callable[[bytes], Any] | None = None) -> Rate:
    """kafka-python alone, or with something done to each value."""
    consumer = KafkaConsumer(
        bootstrap_servers=list(settings.kafka.bootstrap_servers),
        max_poll_records=settings.kafka.max_poll_records,
        max_partition_fetch_bytes=16 * 1024 * 1024,
        enable_auto_commit=False,
        metrics_enabled=False,
    )
    try:
        partitions = [TopicPartition(topic, number) for number in range(_PARTITIONS)]
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, 0)
        begun = time.perf_counter()
        done = 0
        while done < count:
            for records in consumer.poll(500).values():
                done += len(records)
                if each is not None:
                    for record in records:
                        each(record.value)
        seconds = time.perf_counter() - begun
    finally:
        consumer.close()
    return Rate("poll" if each is None else "poll and decode", count, seconds)


def whole_path(settings: Settings, topic: str, count: int) -> Rate:
    """The consumer as it runs, from an empty state to all applied."""
    name = "bench"
    policy = RepositoryPolicy(name, (topic,), "native", "UTC")
    connection = Connection(settings.redis)
    repository = Repository(connection, name)
    studies = Studies(connection, name, settings.state.shards)
    counts: Counter[Any] = Counter()
    source = Source(settings.kafka, policy)
    letters = DeadLetterTopic(settings.kafka)
    native = NativeFormat(settings.consumer, ZoneInfo("UTC"), counts)
    consumer = Consumer(
        source, Applier(studies, counts), native, letters, repository, settings.consumer, counts, system_clock()
    )
    try:
        begun = time.perf_counter()
        consumer.run(Flag(), until_caught_up=True)
        seconds = time.perf_counter() - begun
    finally:
        source.close(5)
        letters.close()
        connection.close()
    if counts["events_store"] != count:
        raise RuntimeError(f"{counts['events_store']} events applied, not {count}")
    return Rate("the whole path", count, seconds)
