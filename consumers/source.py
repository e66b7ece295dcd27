"""The topics of one repository as this process may read them: kafka-python behind a small typed face.

Offsets come from the state, not from Kafka: a partition is read from what the shards have not applied yet. Offsets are
committed all the same, for the tools that watch lag.

Topics are looked at after every fetch, and before every question about their ends. So no record is taken for one of
another topic of the same name (:mod:`consumers.look`), and no end is believed of a topic that is gone or that has more
partitions than is known.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from kafka import TopicPartition
from kafka.errors import (
    FencedInstanceIdError,
    KafkaError,
    LogTruncationError,
    OffsetOutOfRangeError,
    UnsupportedCodecError,
)

from consumers.clock import Deadline
from consumers.errors import (
    BrokerUnreachable,
    InstanceIdTaken,
    OffsetsLost,
    PartitionNotReady,
    StateAhead,
    TopicUnusable,
)
from consumers.followed import FollowedTopics
from consumers.kafka_client import describe_failure
from consumers.look import Asker, Vouchers, agreed
from consumers.membership import Member, group_id
from consumers.policy import KafkaPolicy, RepositoryPolicy
from consumers.topics import Topic, describe_topics, inspect

log = logging.getLogger(__name__)

_LONGEST_QUESTION: Final = 5.0  # seconds; a running consumer asks again, and has other things to do meanwhile
_INSPECT: Final = 60.0  # seconds between two looks at what seldom changes
_INSPECT_SOON: Final = 5.0  # the same while the group is in a rebalance
_SETTLE: Final = 10.0  # seconds in which a broker that has just started may report an end that is too low
_FETCHED: Final = 1.0  # seconds after which a fetch has been answered for certain: brokers hold an empty one for 0.5


class Position(NamedTuple):
    """The next offset to apply, and the partition's end as the broker answered; None if it contradicts itself."""

    next: int
    end: int | None


class Source:
    """Reads a repository's topics as a member of its consumer group. Not for several threads at once.

    All methods may raise:

        BrokerUnreachable: no answer now; the next call tries again.
        TopicUnusable: a topic was deleted, and for ``kafka.timeout`` seconds nobody has made it anew.
        InstanceIdTaken: another process has this one's place in the group.
    """

    def __init__(
        self, kafka: KafkaPolicy, repository: RepositoryPolicy, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy = kafka
        self._repository = repository.name
        self._monotonic = monotonic
        self._patience = min(kafka.timeout, _LONGEST_QUESTION)
        self._followed = FollowedTopics(describe_topics(kafka, repository.topics), kafka.timeout, monotonic)
        self._next_inspection = monotonic() + _INSPECT_SOON
        self._wants_rebalance = False
        self._trouble: str | None = None  # what is known of why the brokers do not answer
        self._vouchers = Vouchers()
        self._handed: dict[TopicPartition, int] = {}  # next offsets after the records that were given out
        self._refused: dict[TopicPartition, float] = {}  # partitions whose wanted offset Kafka has not, since when
        self._truncated: set[TopicPartition] = set()  # partitions whose end was lost, as Kafka itself says
        self._short: dict[TopicPartition, float] = {}  # partitions whose reported end is below the position, since when
        self._unplaced: list[TopicPartition] = []
        self._revoked: list[TopicPartition] = []
        with self._errors():
            self._asker = Asker(kafka, f"stocktake-{repository.name}-asker")
            try:
                self._member: Member | None = self._join(kafka.timeout)
            except BaseException:
                self._asker.close(autocommit=False)
                raise

    # --- topics and group --------------------------------------------------------------------------------------

    @property
    def topics(self) -> Mapping[str, Topic]:
        """The topics that records given by :meth:`poll` belong to, by name."""
        return self._followed.by_name

    def field(self, partition: TopicPartition) -> str:
        """How the state names a partition of the topics as they are now."""
        return self.topics[partition.topic].field(partition.partition)

    @property
    def ready(self) -> bool:
        """Whether the group has decided what this process reads (which may be nothing), and brokers lead all of it."""
        settled = self._member is not None and self._member.in_group
        return settled and not self._unplaced and not self._followed.missing

    def take_assigned(self) -> list[TopicPartition]:
        """Partitions whose place has to be found, since the last call; they are paused until :meth:`start_at`."""
        taken, self._unplaced = self._unplaced, []
        return taken

    def take_revoked(self) -> list[TopicPartition]:
        """Partitions that this process no longer owns, or whose topic is gone, since the last call.

        To be taken before the assigned ones: a partition may be in both.
        """
        taken, self._revoked = self._revoked, []
        return taken

    def _join(self, timeout: float) -> Member:
        return Member(self._policy, self._repository, list(self.topics), timeout)

    def _present_member(self) -> Member:
        if self._member is None:
            self._member = self._join(self._patience)
        return self._member

    def _take_notes(self, member: Member) -> None:
        gone = set(member.notes.revoked)
        self._unplaced = [one for one in self._unplaced if one not in gone] + member.notes.assigned
        self._revoked += member.notes.revoked
        member.notes.assigned, member.notes.revoked = [], []
        for partition in gone:
            for noted in (self._handed, self._refused, self._short):
                noted.pop(partition, None)
            self._truncated.discard(partition)

    # --- records -----------------------------------------------------------------------------------------------

    def start_at(self, partition: TopicPartition, last_applied: int) -> None:
        """Read on after ``last_applied`` (-1: from the beginning).

        Raises:
            OffsetsLost: Kafka no longer holds what comes next.
            StateAhead: Kafka holds less than was applied, and not only because it has just started.
            PartitionNotReady: it cannot be read now.
        """
        with self._errors():
            member = self._present_member()
            if partition not in self._vouchers:
                raise PartitionNotReady(f"no broker leads topic {partition.topic} partition {partition.partition} now")
            following = last_applied + 1
            milliseconds = round(self._patience * 1000)
            first = self._asker.beginning_offsets([partition], timeout_ms=milliseconds)[partition]
            if last_applied >= 0 and following < first:
                raise OffsetsLost(partition.topic, partition.partition, following, first)
            if partition in self._refused:
                end = self._asker.end_offsets([partition], timeout_ms=milliseconds)[partition]
                self._judge_refusal(partition, following, end)
            member.seek(partition, max(first, following))
            member.resume(partition)
            self._vouchers.begin(partition)

    def poll(self, timeout: float) -> Mapping[TopicPartition, list[Any]]:
        """Records of started partitions, waiting at most ``timeout`` seconds for the first.

        What the last call gave counts as applied, if :meth:`pause` was not called since.
        """
        with self._errors():
            member = self._present_member()
            member.notes.applied = self._handed
            records: Mapping[TopicPartition, list[Any]] = {}
            try:
                records = member.fetch(timeout)
            except OffsetOutOfRangeError as error:
                self._note_refused(member, error.args[0])
            except LogTruncationError as error:
                self._truncated |= error.divergent_offsets.keys()
                self._note_refused(member, error.divergent_offsets)
            self._take_notes(member)
            if not self._look(member, self._patience):
                return {}
            self._attend(member)
            known = {}
            for partition, found in records.items():
                if self._vouchers.vouch_for(partition):
                    known[partition] = found
                    self._handed[partition] = found[-1].offset + 1
                else:
                    member.seek(partition, found[0].offset)
            return known

    def pause(self) -> None:
        """Stop fetching while the state is away; polling goes on, so that the group keeps this member."""
        self._handed.clear()
        if self._member is not None:
            self._member.pause(*self._member.assignment())

    # --- offsets that Kafka has not ----------------------------------------------------------------------------

    def _note_refused(self, member: Member, partitions: Mapping[TopicPartition, Any]) -> None:
        """Their places have to be found again."""
        member.pause(*partitions)
        for partition in partitions:
            self._refused.setdefault(partition, self._monotonic())
            self._unplaced.append(partition)

    def _judge_refusal(self, partition: TopicPartition, following: int, end: int) -> None:
        waited = self._monotonic() - self._refused[partition]
        if partition in self._truncated or (following > end and waited >= _SETTLE):
            raise StateAhead(partition.topic, partition.partition, following - 1, end)
        if following > end:
            raise PartitionNotReady(
                f"topic {partition.topic} partition {partition.partition} ends before offset {end}, and up to "
                f"{following - 1} is applied; waiting {_SETTLE:g} seconds in case the broker has just started"
            )
        del self._refused[partition]

    # --- ends --------------------------------------------------------------------------------------------------

    def positions(self, timeout: float | None = None) -> dict[TopicPartition, Position]:
        """Where each started partition stands, asking for the topics and then for their ends now.

        A partition that no broker leads is left out. ``timeout`` is in seconds, for each question.
        """
        patience = self._patience if timeout is None else min(timeout, self._patience)
        with self._errors(explain=timeout is None):
            member = self._present_member()
            if not self._look(member, patience):
                return {}
            started = [one for one in member.assignment() - member.paused() if one in self._vouchers]
            ends = self._asker.end_offsets(started, timeout_ms=round(patience * 1000)) if started else {}
            return {one: self._position(member, one, ends[one]) for one in started}

    def _position(self, member: Member, partition: TopicPartition, end: int) -> Position:
        # Bounded: after an election the client may be asking whether the new leader has all that was read.
        following = member.position(partition, timeout_ms=100)
        if following <= end:
            self._short.pop(partition, None)
            return Position(following, end)
        # Kafka holds less than was read. The embedded broker only says so: it reports where its last batch begins, and
        # its answers to fetches tell the truth. Those of a broker that has lost messages will soon be refusals.
        since = self._short.setdefault(partition, self._monotonic())
        believed = self._monotonic() - since >= _FETCHED
        return Position(following, member.highwater(partition) if believed else None)

    def commit(self, positions: Mapping[TopicPartition, int], *, wait: float | None = None) -> None:
        """Tell Kafka the next offsets, for lag tools; Stocktake itself does not rely on it.

        With ``wait`` (seconds) until the broker has them.
        """
        if self._member is None:
            return
        try:
            if wait is None:
                self._member.commit_soon(positions)
            else:
                self._member.commit_now(positions, wait)
        except KafkaError as error:
            log.warning("offsets were not committed to Kafka, which only lag tools notice: %s", error)

    # --- looks -------------------------------------------------------------------------------------------------

    def _look(self, member: Member, patience: float) -> bool:
        """Look at the topics; whether they are the known ones. If not, everything begins anew."""
        leaders = member.leaders()
        brokers = {broker for broker, _ in leaders.values()}
        try:
            seen = agreed(self._asker.describe(self.topics, brokers, patience))
        except KafkaError:
            member.renew_leaders()
            raise
        self._trouble = None
        change = self._followed.see(seen)
        if change.anew:
            # The client may hold messages of the old topic and of the new one, and nobody can tell them apart.
            self._leave(member, patience)
            self._next_inspection = self._monotonic()
            return False
        self._wants_rebalance |= change.grown
        self._vouchers.look({one: leader for one, leader in leaders.items() if seen[one.topic] is not None})
        return True

    def _attend(self, member: Member) -> None:
        """Do what is due: inspect what seldom changes, ask for a rebalance."""
        now = self._monotonic()
        if now >= self._next_inspection:
            self._next_inspection = now + (_INSPECT if self._inspect() else _INSPECT_SOON)
        if self._wants_rebalance:
            member.ask_for_rebalance(self._patience)
            self._wants_rebalance = False

    def _inspect(self) -> bool:
        """Look for compacted topics, and for partitions that the group left to nobody; whether that could be told."""
        group = group_id(self._policy, self._repository)
        try:
            found = inspect(self._policy, list(self.topics), group, self._patience)
        except BrokerUnreachable as error:
            log.debug("topics and group were not inspected: %s", error)
            return False
        self._followed.see_compacted(found.compacted)
        if found.held is None:
            return False
        partitions = [(name, number) for name, topic in self.topics.items() for number in range(topic.partitions)]
        self._wants_rebalance |= any(TopicPartition(*one) not in found.held for one in partitions)
        return True

    def _leave(self, member: Member, timeout: float) -> None:
        """Leave the group and forget everything about partitions; the next poll joins again."""
        self._member = None
        owned = member.assignment()
        member.notes.applied = {}
        try:
            member.close(autocommit=False, timeout_ms=round(timeout * 1000))
        finally:
            self._revoked += sorted(owned | set(member.notes.revoked))
            self._unplaced.clear()
            self._truncated.clear()
            for noted in (self._handed, self._refused, self._short):
                noted.clear()
            self._vouchers = Vouchers()

    def close(self, timeout: float) -> None:
        """Leave the group within ``timeout`` seconds; a static member only falls silent."""
        deadline = Deadline.after(timeout, self._monotonic)
        if self._member is not None:
            self._leave(self._member, deadline.left)
        self._asker.close(autocommit=False, timeout_ms=round(deadline.left * 1000))

    @contextmanager
    def _errors(self, *, explain: bool = True) -> Iterator[None]:
        """Turn the client's errors into those of the consumer; why a broker is away is looked into once, if at all."""
        try:
            yield
        except FencedInstanceIdError as error:
            raise InstanceIdTaken(
                f"another process has joined group {group_id(self._policy, self._repository)} with "
                f"kafka.instance_id {self._policy.instance_id}; give each process one of its own"
            ) from error
        except UnsupportedCodecError as error:
            raise TopicUnusable(
                f"a topic of repository {self._repository} holds messages in a compression that cannot be read here: "
                f"{error}. Set the topic's compression.type to gzip, snappy, lz4 or zstd"
            ) from error
        except KafkaError as error:
            if self._trouble is None and explain:
                self._trouble = describe_failure(self._policy, error)
            raise BrokerUnreachable(self._trouble or f"Kafka cannot be reached: {error}") from error
