"""What the topic holds, read apart from the program, and whether inventories tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson
from kafka import KafkaConsumer, TopicPartition

from consumers.dead_letters import SUFFIX
from state.attributes import Level
from tests.oracle.journal import Journal
from tests.oracle.study import State
from tests.soak.archive import BAD_MESSAGE
from writers.manifest import Manifest
from writers.verify import verify

_POLL_MS: Final = 500
_LONGEST: Final = 2000  # characters of a problem


@dataclass
class Comparison:
    """Studies of an inventory that is not as the events say, and rules of the standard that it breaks."""

    studies: int = 0
    instances: int = 0
    lost: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)  # and in what way
    counted_twice: list[str] = field(default_factory=list)
    broken_rules: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        kinds = {
            "lost": self.lost,
            "phantom": self.phantom,
            "wrong": list(self.wrong.values()),
            "counted twice": self.counted_twice,
            "breaks a rule": self.broken_rules,
        }
        return [f"{kind}: {what}" for kind, found in kinds.items() for what in found[:20]]


class Truth:
    """Reads a topic in the order of its offsets, outside every group, into a journal."""

    def __init__(self, bootstrap_servers: str, topic: str, partitions: int) -> None:
        self.journal = Journal(Level.INSTANCE)
        self.ids: set[str] = set()
        self.records = 0
        self.bad: dict[tuple[int, int], bytes] = {}
        self._servers = bootstrap_servers
        self._topic = topic
        self._next = {TopicPartition(topic, number): 0 for number in range(partitions)}

    def widen(self, partitions: int) -> None:
        """The topic has more partitions now; what they hold comes after what was read until now."""
        self._next |= {TopicPartition(self._topic, number): 0 for number in range(len(self._next), partitions)}

    def read_on(self) -> None:
        """Read what the topic holds now."""
        consumer = self._consumer()
        try:
            consumer.assign(list(self._next))
            for partition, offset in self._next.items():
                consumer.seek(partition, offset)
            ends = consumer.end_offsets(list(self._next))
            while any(self._next[partition] < end for partition, end in ends.items()):
                for partition, records in consumer.poll(_POLL_MS).items():
                    for record in records:
                        self.add(partition.partition, record.offset, record.value, record.timestamp * 1000)
                    self._next[partition] = records[-1].offset + 1
        finally:
            consumer.close(autocommit=False)

    def add(self, partition: int, offset: int, value: bytes, timestamp: int) -> None:
        """Note a record; ``timestamp`` is UTC microseconds."""
        if value.startswith(BAD_MESSAGE):
            self.bad[partition, offset] = value
            return
        event = orjson.loads(value)
        self.journal.add(event, timestamp, partition, offset)
        self.ids.add(event["id"])
        self.records += 1

    def check(self, manifest: Manifest, path: Path, applied: Mapping[int, int]) -> None:
        """Hold an inventory to the guarantee; ``applied`` is what was applied when it was begun.

        One that says PARTIAL does not vouch for its Content Date/Time: it was made after Redis lost its tail.
        """
        self.journal.start = manifest.scope_begin
        self.journal.check(path, applied, manifest.watermark if manifest.status == "COMPLETE" else 0)

    def compare(self, manifest: Manifest, path: Path) -> Comparison:
        """Everything is applied and the stream is quiet: how the inventory differs from what the events come to."""
        self.journal.start = manifest.scope_begin
        found = self.journal.shown(path)
        result = Comparison(len(found), sum(_instances(state) for state in found.values()))
        result.lost = sorted(self.journal.entries.keys() - found.keys())
        result.phantom = sorted(found.keys() - self.journal.entries.keys())
        for uid in sorted(found.keys() & self.journal.entries.keys()):
            if (problem := self._problem(uid, found[uid])) is not None:
                result.wrong[uid] = problem
                if _instances(found[uid]) > _instances(self.journal.state(uid)):
                    result.counted_twice.append(uid)
        result.broken_rules = [str(one) for one in verify(path) if one.severity == "error"]
        return result

    def _problem(self, uid: str, state: State) -> str | None:
        """Why that is not what all its events and all news of patients come to."""
        alone = Journal(Level.INSTANCE, self.journal.start, entries={uid: self.journal.entries[uid]})
        alone.news = self.journal.news
        try:
            alone.check_states({uid: state})
        except AssertionError as error:
            return str(error)[:_LONGEST]
        return None

    def bad_not_kept(self) -> list[tuple[int, int]]:
        """Messages that are no events and do not stand in the dead-letter topic with their bytes, by place."""
        if not self.bad:
            return []
        kept: dict[tuple[int, int], bytes] = {}
        consumer = self._consumer()
        try:
            letters = TopicPartition(self._topic + SUFFIX, 0)
            consumer.assign([letters])
            consumer.seek(letters, 0)
            end = consumer.end_offsets([letters])[letters]
            while consumer.position(letters) < end:
                for record in consumer.poll(_POLL_MS).get(letters, []):
                    headers = dict(record.headers)
                    kept[int(headers["partition"]), int(headers["offset"])] = record.value
        finally:
            consumer.close(autocommit=False)
        return sorted(place for place, value in self.bad.items() if kept.get(place) != value)

    def _consumer(self) -> KafkaConsumer:
        return KafkaConsumer(bootstrap_servers=self._servers, metrics_enabled=False, max_poll_records=5000)


def _instances(state: State) -> int:
    """The number of instances that it says it has, not how many it lists."""
    return int(state["number of instances"] or 0)
