"""The topic of the model, and a consumer's view of it: Kafka's part, played so that every step is decided."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kafka import TopicPartition

from consumers.dead_letters import DeadLetter
from consumers.records import Record
from consumers.source import Position
from consumers.topics import Topic

NAME: Final = "events"


class Paused(BaseException):
    """The consumer has polled as often as it was told to; it keeps its place and can be run on."""


@dataclass
class ModelTopic:
    """Partitions as lists; no message ever leaves."""

    partitions: list[list[Record]]
    topic: Topic = field(init=False)

    def __post_init__(self) -> None:
        self.topic = Topic(NAME, "model-topic", len(self.partitions), compacted=False)

    def append(self, partition: int, value: bytes | None, timestamp: int) -> int:
        """Add a message; its offset. ``timestamp`` is UTC microseconds."""
        messages = self.partitions[partition]
        messages.append(Record(len(messages), timestamp // 1000, None, value, ()))
        return len(messages) - 1

    def ends(self) -> dict[str, int]:
        """The last offset of each partition that has one, by the state's name of the partition."""
        return {self.topic.field(one): len(found) - 1 for one, found in enumerate(self.partitions) if found}


class ModelSource:
    """What :class:`consumers.source.Source` is to the consumer. ``plan``: how much each poll takes of each partition.

    When the plan is at its end, a poll raises :class:`Paused`: the consumer stands still where it is.
    """

    def __init__(self, topic: ModelTopic) -> None:
        self._topic = topic
        self.topics = {NAME: topic.topic}
        self.plan: deque[Mapping[int, int]] = deque()
        self._next: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._assigned: list[TopicPartition] = []
        self._revoked: list[TopicPartition] = []

    # --- what the group decides --------------------------------------------------------------------------------

    @property
    def partitions(self) -> set[int]:
        return {one.partition for one in self._next}

    def assign(self, partition: int) -> None:
        one = TopicPartition(NAME, partition)
        self._next[one] = 0
        self._paused.add(one)
        self._assigned.append(one)

    def revoke(self, partition: int) -> None:
        one = TopicPartition(NAME, partition)
        del self._next[one]
        self._paused.discard(one)
        self._assigned = [other for other in self._assigned if other != one]
        self._revoked.append(one)

    # --- as the consumer sees it -------------------------------------------------------------------------------

    def field(self, partition: TopicPartition) -> str:
        return self.topics[partition.topic].field(partition.partition)

    @property
    def ready(self) -> bool:
        return True

    def take_assigned(self) -> list[TopicPartition]:
        taken, self._assigned = self._assigned, []
        return taken

    def take_revoked(self) -> list[TopicPartition]:
        taken, self._revoked = self._revoked, []
        return taken

    def start_at(self, partition: TopicPartition, last_applied: int) -> None:
        self._next[partition] = last_applied + 1
        self._paused.discard(partition)

    def poll(self, timeout: float) -> Mapping[TopicPartition, list[Any]]:
        if not self.plan:
            raise Paused
        found = {}
        for partition, count in self.plan.popleft().items():
            one = TopicPartition(NAME, partition)
            if one in self._next and one not in self._paused:
                begin = self._next[one]
                if messages := self._topic.partitions[partition][begin : begin + count]:
                    found[one] = messages
                    self._next[one] += len(messages)
        return found

    def positions(self, timeout: float | None = None) -> dict[TopicPartition, Position]:
        return {
            one: Position(following, len(self._topic.partitions[one.partition]))
            for one, following in self._next.items()
            if one not in self._paused
        }

    def pause(self) -> None:
        self._paused |= self._next.keys()

    def commit(self, positions: Mapping[TopicPartition, int], *, wait: float | None = None) -> None:
        """Lag tools alone would see it."""

    def close(self, timeout: float) -> None:
        """There is nothing to close."""


class ModelLetters:
    """Where dead letters go."""

    def write(self, letters: list[DeadLetter]) -> None:
        """Nobody reads them."""

    def close(self, timeout: float | None = None) -> None:
        """There is nothing to close."""
