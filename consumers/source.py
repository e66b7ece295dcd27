"""The topics of one repository as this process may read them: kafka-python behind a small typed face.

Offsets come from the state, not from Kafka: a partition is read from what the shards have not applied yet. Offsets are
committed all the same, for the tools that watch lag.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from consumers.errors import OffsetsLost
from consumers.policy import KafkaPolicy, RepositoryPolicy
from consumers.topics import broker_errors, describe_topics

log = logging.getLogger(__name__)

_FETCH_BYTES: Final = 16 * 1024 * 1024  # of one partition in one fetch


class Position(NamedTuple):
    """The next offset to apply, and the partition's end as the broker answered."""

    next: int
    end: int


class Source:
    """Reads a repository's topics as a member of its consumer group. Not for several threads at once."""

    def __init__(self, kafka: KafkaPolicy, repository: RepositoryPolicy) -> None:
        self._policy = kafka
        self._timeout_ms = round(kafka.timeout * 1000)
        self.topics = {topic.name: topic for topic in describe_topics(kafka, repository.topics)}
        with self._errors():
            self._consumer = KafkaConsumer(
                bootstrap_servers=list(kafka.bootstrap_servers),
                bootstrap_timeout_ms=self._timeout_ms,
                group_id=f"{kafka.group_id}.{repository.name}",
                client_id=f"stocktake-{repository.name}",
                session_timeout_ms=round(kafka.session_timeout * 1000),
                heartbeat_interval_ms=round(min(3.0, kafka.session_timeout / 3) * 1000),
                enable_auto_commit=False,
                auto_offset_reset="none",
                max_poll_records=kafka.max_poll_records,
                max_partition_fetch_bytes=_FETCH_BYTES,
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )
            self._listener = _Listener(self._consumer)
            self._consumer.subscribe(list(self.topics), listener=self._listener)

    def field(self, partition: TopicPartition) -> str:
        """How the state names a partition."""
        return self.topics[partition.topic].field(partition.partition)

    def take_assigned(self) -> list[TopicPartition]:
        """Partitions assigned since the last call; they stay paused until :meth:`start_at`."""
        return self._listener.take_assigned()

    def take_revoked(self) -> list[TopicPartition]:
        """Partitions that this process no longer owns, since the last call."""
        return self._listener.take_revoked()

    def start_at(self, partition: TopicPartition, last_applied: int) -> None:
        """Read on after ``last_applied`` (-1: from the beginning).

        Raises:
            OffsetsLost: Kafka no longer holds what comes next.
        """
        with self._errors():
            first = self._consumer.beginning_offsets([partition], timeout_ms=self._timeout_ms)[partition]
            following = last_applied + 1
            if last_applied >= 0 and following < first:
                raise OffsetsLost(
                    f"topic {partition.topic} partition {partition.partition}: the state wants offset {following}, "
                    f"Kafka holds {first} and later; the events between are lost. Make the state anew "
                    "(another Redis database), or follow a new topic"
                )
            self._consumer.seek(partition, max(first, following))
            self._consumer.resume(partition)

    def poll(self, timeout: float) -> Mapping[TopicPartition, list[Any]]:
        """Records of assigned partitions, waiting at most ``timeout`` seconds for the first."""
        with self._errors():
            records: Mapping[TopicPartition, list[Any]] = self._consumer.poll(timeout_ms=round(timeout * 1000))
        return records

    def positions(self) -> dict[TopicPartition, Position]:
        """Where each assigned partition that has been started stands, asking the broker for its end now."""
        with self._errors():
            started = list(self._consumer.assignment() - self._consumer.paused())
            ends = self._consumer.end_offsets(started, timeout_ms=self._timeout_ms) if started else {}
            # The embedded broker's answer can lag behind what its own fetches have shown.
            return {
                one: Position(self._consumer.position(one), max(ends[one], self._consumer.highwater(one) or 0))
                for one in started
            }

    def pause(self) -> None:
        """Stop fetching while the state is away; polling goes on, so that the group keeps this member."""
        self._consumer.pause(*self._consumer.assignment())

    def commit(self, positions: Mapping[TopicPartition, int], *, wait: float | None = None) -> None:
        """Tell Kafka the next offsets, for lag tools; Stocktake itself does not rely on it.

        With ``wait`` (seconds) until the broker has them.
        """
        offsets = {one: OffsetAndMetadata(offset, "", -1) for one, offset in positions.items()}
        if not offsets:
            return
        try:
            if wait is None:
                self._consumer.commit_async(offsets)
            else:
                self._consumer.commit(offsets, timeout_ms=round(wait * 1000))
        except KafkaError as error:
            log.warning("offsets were not committed to Kafka, which only lag tools notice: %s", error)

    def close(self, timeout: float) -> None:
        """Leave the group within ``timeout`` seconds."""
        self._consumer.close(autocommit=False, timeout_ms=round(timeout * 1000))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with broker_errors(self._policy):
            try:
                yield
            except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
                raise OffsetsLost(f"Kafka no longer holds a wanted offset: {error}") from error


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Notes what the group decides; the loop acts on it, because a listener must not wait for servers.

    A new partition is paused at once: nothing may be fetched before its place is known from the state.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._assigned: list[TopicPartition] = []
        self._revoked: list[TopicPartition] = []

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        for partition in assigned:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)
        self._assigned += sorted(assigned)

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._assigned = [one for one in self._assigned if one not in revoked]
        self._revoked += sorted(revoked)

    def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        self.on_partitions_revoked(lost)

    def take_assigned(self) -> list[TopicPartition]:
        taken, self._assigned = self._assigned, []
        return taken

    def take_revoked(self) -> list[TopicPartition]:
        taken, self._revoked = self._revoked, []
        return taken
