"""The partitions that are this consumer's, and the place of each: from where it is read, how far it is applied.

A place is read from the state: when the group assigns the partition, and again whenever something makes the consumer's
own memory of it doubtful (a server was away, a shard is not where it was left, Kafka refuses the offset).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from kafka import TopicPartition

from consumers.apply import Applier
from consumers.counts import Counts
from consumers.errors import OffsetsLost, PartitionNotReady
from consumers.source import Source
from consumers.watermark import PartitionTimes
from state.repository import Repository

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Place:
    """Where one partition stands: ``name`` is the state's for it, ``next`` the offset after the last one applied."""

    name: str
    next: int
    times: PartitionTimes = field(default_factory=PartitionTimes)


class Places:
    """Found places by partition, and the partitions whose place is still to be found."""

    def __init__(
        self, source: Source, applier: Applier, repository: Repository, lost_offsets: str, counts: Counts
    ) -> None:
        self._source = source
        self._applier = applier
        self._repository = repository
        self._lost_offsets = lost_offsets
        self._counts = counts
        self._found: dict[TopicPartition, Place] = {}
        self._wanted: set[TopicPartition] = set()
        self._said: set[TopicPartition] = set()  # of which the log knows that they cannot be read now

    def __getitem__(self, partition: TopicPartition) -> Place:
        return self._found[partition]

    def __contains__(self, partition: object) -> bool:
        return partition in self._found

    def __iter__(self) -> Iterator[TopicPartition]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    @property
    def complete(self) -> bool:
        """Whether the place of every partition is found."""
        return not self._wanted

    def next_offsets(self) -> dict[TopicPartition, int]:
        """Of every partition whose place is found, the offset after the last one applied."""
        return {partition: place.next for partition, place in self._found.items()}

    def lose(self) -> None:
        """What was fetched may not be applied: nothing goes on before each place has been read from the state again."""
        self._source.pause()
        self._wanted |= self._found.keys()

    def take_revoked(self) -> list[Place]:
        """Places that were found in partitions that are no longer this consumer's."""
        gone = []
        for partition in self._source.take_revoked():
            self._wanted.discard(partition)
            self._said.discard(partition)
            if (place := self._found.pop(partition, None)) is not None:
                gone.append(place)
        return gone

    def find(self) -> set[TopicPartition]:
        """Read wanted places from the state, and let the partitions be read on from there; which those are.

        Raises:
            OffsetsLost, StateAhead: see :mod:`consumers.errors`.
        """
        self._wanted |= set(self._source.take_assigned())
        found = set()
        for partition in sorted(self._wanted):
            try:
                self._find(partition)
            except PartitionNotReady as error:
                if partition not in self._said:
                    where = {"topic": partition.topic, "partition": partition.partition}
                    log.warning("%s; the others go on", error, extra=where)
                    self._said.add(partition)
            else:
                found.add(partition)
                self._wanted.discard(partition)
                self._said.discard(partition)
        return found

    def _find(self, partition: TopicPartition) -> None:
        """The applier knows exactly the partitions whose place is found, whatever goes wrong here."""
        self._found.pop(partition, None)
        name = self._source.field(partition)
        try:
            last = self._start(partition, self._applier.assign(name))
        except BaseException:
            self._applier.revoke(name)
            raise
        self._found[partition] = Place(name, last + 1)

    def _start(self, partition: TopicPartition, last: int) -> int:
        """Start a partition after ``last``, or later if what comes next is lost and the policy is to go on."""
        while True:
            try:
                self._source.start_at(partition, last)
            except OffsetsLost as lost:
                if self._lost_offsets != "earliest":
                    raise
                count = lost.first - lost.wanted
                log.warning(
                    "topic %s partition %d: Kafka no longer holds offsets %d to %d, so up to %d messages are lost; "
                    "going on after them. The state is not known to hold the whole repository any more",
                    *(partition.topic, partition.partition, lost.wanted, lost.first - 1, count),
                    extra={"topic": partition.topic, "partition": partition.partition, "offset": lost.wanted},
                )
                self._repository.forget_whole()
                self._counts["messages_lost"] += count
                last = lost.first - 1
            else:
                return last
