"""How far the shards are, asked again and again: whether all is applied, whether anything went back or stood still."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TypeAlias

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from consumers.topics import describe_topics
from state.errors import StateError
from state.keys import ShardKeys
from state.repository import partition_field
from tests.harness import Deployment

Offsets: TypeAlias = "list[dict[int, int]]"  # of each shard, the last offset applied by partition


class Watch:
    """Asks the shards' offsets of one topic.

    ``back`` is how often one was seen lower than before; ``longest_stall`` the longest time in seconds in which nothing
    of a partition was applied everywhere though there was something to apply.
    """

    def __init__(self, deployment: Deployment) -> None:
        [topic] = describe_topics(deployment.settings.kafka, [deployment.topic])
        self.partitions = topic.partitions
        self.back = 0
        self._losing = False
        self.longest_stall = 0.0
        self._connection = deployment.opened.connection
        self._broker = list(deployment.settings.kafka.bootstrap_servers)
        self._group = f"{deployment.settings.kafka.group_id}.{deployment.name}"
        self._keys = [ShardKeys(deployment.name, shard).offsets for shard in range(deployment.settings.state.shards)]
        self._fields = {partition_field(topic.id, number).encode(): number for number in range(topic.partitions)}
        self._latest: Offsets = [{} for _ in self._keys]
        self._moved = dict.fromkeys(range(topic.partitions), time.monotonic())

    def offsets(self) -> Offsets:
        """What each shard has applied.

        Raises:
            StateError: Redis does not answer.
        """
        found = self._connection.send([("HGETALL", key) for key in self._keys])
        return [
            {self._fields[field]: int(offset) for field, offset in shard.items() if field in self._fields}
            for shard in found
        ]

    def everywhere(self) -> dict[int, int]:
        """The last offset that every shard has applied, by partition."""
        found = self._latest
        return {number: min(shard.get(number, -1) for shard in found) for number in range(self.partitions)}

    def look(self, ends: Mapping[int, int]) -> bool:
        """Ask once; whether everything up to ``ends`` is applied. False if Redis does not answer."""
        try:
            found = self.offsets()
        except StateError:
            return False
        if not self._losing and lower(found, self._latest):
            self.back += 1
        before, self._latest = self.everywhere(), found
        self._note_stalls(before, ends)
        return self.applied(ends)

    def behind(self, ends: Mapping[int, int]) -> dict[int, tuple[int, int]]:
        """The partitions that are not applied up to ``ends``: what is applied everywhere, and the end."""
        everywhere = self.everywhere()
        return {number: (everywhere[number], end) for number, end in ends.items() if everywhere[number] < end}

    def group(self) -> str:
        """How the group of the consumers stands, in the broker's words; for the log."""
        try:
            with closing(KafkaAdminClient(bootstrap_servers=self._broker, bootstrap_timeout_ms=5000)) as admin:
                return str(admin.describe_groups([self._group]))
        except KafkaError as error:
            return f"unknown, since {error}"

    @contextmanager
    def losing(self) -> Iterator[None]:
        """Redis loses its tail during the block: what is seen lower is no fault."""
        self._losing = True
        try:
            yield
        finally:
            self._losing = False
            self._latest = [{} for _ in self._keys]

    def _note_stalls(self, before: Mapping[int, int], ends: Mapping[int, int]) -> None:
        now = time.monotonic()
        for number, offset in self.everywhere().items():
            if offset != before[number] or offset >= ends.get(number, -1):
                self._moved[number] = now
            self.longest_stall = max(self.longest_stall, now - self._moved[number])

    def applied(self, ends: Mapping[int, int]) -> bool:
        """Whether, when last asked, every shard had applied everything up to ``ends``."""
        everywhere = self.everywhere()
        return all(everywhere[number] >= end for number, end in ends.items())


def lower(after: Offsets, before: Offsets) -> list[int]:
    """The shards that have applied less than before."""
    return [
        shard
        for shard, (now, then) in enumerate(zip(after, before, strict=True))
        if any(now.get(number, -1) < offset for number, offset in then.items())
    ]
