"""This process as a member of its consumer group: kafka-python's consumer, and notes of what the group decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.consumer import ConsumerCoordinator
from kafka.errors import KafkaError
from kafka.structs import MemberState, OffsetAndMetadata

from consumers.kafka_client import client_options
from consumers.look import Leader
from consumers.policy import KafkaPolicy
from consumers.records import use_for
from consumers.transport import LargeReads

_FETCH_BYTES: Final = 12 * 1024 * 1024  # in one fetch; a process holds several copies of that
_PARTITION_BYTES: Final = 4 * 1024 * 1024  # of these, of one partition
_LONGEST_HEARTBEAT: Final = 1.0  # seconds between two of them, which is how soon a member hears of a rebalance


class Notes(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """What the group has decided, for the loop to act on: it is called where nobody may wait for servers.

    A new partition is paused at once: nothing may be fetched before its place is known from the state. ``applied``
    (next offsets) is what may be committed for partitions that are given up; nothing is committed for those that are
    lost, whose new owner may be further on.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self.assigned: list[TopicPartition] = []
        self.revoked: list[TopicPartition] = []
        self.applied: dict[TopicPartition, int] = {}

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        for partition in assigned:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)
        self.assigned += sorted(assigned)

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._consumer.commit_soon({one: self.applied[one] for one in revoked if one in self.applied})
        self._note_gone(revoked)

    def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        self._consumer.forget_assignment()
        self._note_gone(lost)

    def _note_gone(self, gone: set[TopicPartition]) -> None:
        self.assigned = [one for one in self.assigned if one not in gone]
        self.revoked += sorted(gone)


class _Coordinator(ConsumerCoordinator):  # type: ignore[misc]
    """As kafka-python's, which in 3.0.12 loses a rebalance that ends while nobody polls.

    It then joins once more, which makes the whole group begin again; or, if new partitions were the cause, it forgets
    that it was joining, and is put out of the group for its silence.
    """

    _join_task: Any

    def need_rejoin(self) -> bool:
        return self._join_task is not None or bool(super().need_rejoin())

    async def join_group_async(self, timeout_ms: float | None = None) -> Any:
        joined = self._join_task
        if joined is None or not joined.succeeded():
            return await super().join_group_async(timeout_ms)
        self._join_task = None
        with self._lock:
            self.rejoining = self.rejoin_needed = False
            self.state = MemberState.STABLE
            self._enable_heartbeat()
        now = self._generation
        await self._on_join_complete_async(now.generation_id, now.member_id, now.protocol, joined.value)
        return True


class Member(KafkaConsumer):  # type: ignore[misc]  # kafka-python has no types
    """A consumer in the group of a repository. Not for several threads at once.

    Partitions move one by one between members (cooperative-sticky): those that stay are read on during a rebalance.
    With ``kafka.instance_id`` the member is static: when it is away for less than its session, nobody else notices.
    """

    def __init__(self, kafka: KafkaPolicy, repository: str, topics: Sequence[str], bootstrap_timeout: float) -> None:
        self._assignor = CooperativeStickyAssignor()
        self._was_in_group = False
        super().__init__(
            **client_options(kafka)
            | {
                "kafka_client": LargeReads,
                "bootstrap_timeout_ms": round(bootstrap_timeout * 1000),
                "group_id": group_id(kafka, repository),
                "group_instance_id": f"{kafka.instance_id}.{repository}" if kafka.instance_id else None,
                "client_id": f"stocktake-{repository}",
                "partition_assignment_strategy": [self._assignor],
                "session_timeout_ms": round(kafka.session_timeout * 1000),
                "heartbeat_interval_ms": round(min(_LONGEST_HEARTBEAT, kafka.session_timeout / 3) * 1000),
                "enable_auto_commit": False,
                "auto_offset_reset": "none",
                "max_poll_records": kafka.max_poll_records,
                "receive_buffer_bytes": None,
                "max_partition_fetch_bytes": _PARTITION_BYTES,
                "fetch_max_bytes": _FETCH_BYTES,
                "isolation_level": "read_committed",
                "allow_auto_create_topics": False,
                "metrics_enabled": False,
            }
        )
        use_for(self)
        self._coordinator.__class__ = _Coordinator
        self.notes = Notes(self)
        self.subscribe(list(topics), listener=self.notes)
        with suppress(KafkaError):  # without partitions that are known, the first rebalance hands out none
            self._renew_metadata(bootstrap_timeout)

    def fetch(self, timeout: float) -> Mapping[TopicPartition, list[Any]]:
        """Poll for at most ``timeout`` seconds, and let the next records come while these are worked on.

        kafka-python asks for more only if it had records at hand, which it never has when work takes longer than a
        fetch: then each fetch would begin with the poll that waits for it.
        """
        records: Mapping[TopicPartition, list[Any]] = self.poll(timeout_ms=round(timeout * 1000))
        if records:
            self._fetcher.send_fetches()
        return records

    @property
    def in_group(self) -> bool:
        """Whether the group has decided what is this member's, which may be nothing. A rebalance does not end it."""
        state = self.group_metadata().state
        if state != MemberState.REBALANCING:
            self._was_in_group = state == MemberState.STABLE
        return self._was_in_group

    def leaders(self) -> dict[TopicPartition, Leader]:
        """From which broker each assigned partition is fetched now; those that have none are left out."""
        found = {}
        for one in self.assignment():
            broker = self._cluster.leader_for_partition(one)
            if broker is not None and broker >= 0:
                found[one] = (broker, self._cluster.leader_epoch_for_partition(one))
        return found

    def renew_leaders(self) -> None:
        """Ask for the leaders again: nobody else does while nothing is fetched."""
        self._cluster.request_update()

    def commit_soon(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit next offsets without waiting."""
        if offsets:
            with suppress(KafkaError):  # lag tools alone read them, and the next commit is not far
                self.commit_async(_committable(offsets))

    def commit_now(self, offsets: Mapping[TopicPartition, int], timeout: float) -> None:
        """Commit next offsets and wait until the broker has them, at most ``timeout`` seconds."""
        if offsets:
            self.commit(_committable(offsets), timeout_ms=round(timeout * 1000))

    def ask_for_rebalance(self, timeout: float) -> None:
        """Let the group hand out the partitions that there are now.

        Only the group's leader can cause that, and kafka-python's leader notices new partitions late, or never when it
        is a static member that was restarted.
        """
        self._renew_metadata(timeout)
        self._coordinator.request_rejoin()

    def _renew_metadata(self, timeout: float) -> None:
        self._net.run(self._manager.wait_for, self._cluster.request_update(), timeout * 1000)

    def forget_assignment(self) -> None:
        """Claim nothing at the next rebalance: others may have what this member had before it was put out."""
        self._assignor.member_assignment = None


def group_id(kafka: KafkaPolicy, repository: str) -> str:
    return f"{kafka.group_id}.{repository}"


def _committable(offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    return {one: OffsetAndMetadata(offset, "", -1) for one, offset in offsets.items()}
