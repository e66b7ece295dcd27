"""The consumer: one loop that takes events from Kafka into the state, in the order that everything rests on.

1. poll; decode; bad messages to the dead-letter topic; group by shard and study, dropping what its shard covers
2. read the touched parts of those studies
3. merge in memory
4. per shard one script: check offsets and revs, then write studies, indexes and offsets, all or nothing
5. move the offsets of shards that had nothing, publish the watermark
6. commit to Kafka, for lag tools

Steps 2 to 5 are in :mod:`consumers.apply`. Whatever crashes between them, the shards' own offsets say what was applied:
reading starts again after the lowest of them, and what a shard already covers is dropped in step 1.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event as Flag
from typing import Any, Final, Protocol

from kafka import TopicPartition

from consumers.apply import Applier, Decoded
from consumers.counts import Counts
from consumers.dead_letters import DeadLetter, DeadLetterTopic, DeadLetterWindow
from consumers.errors import BrokerUnreachable, DeadLetterLimit, TopicUnusable
from consumers.events import BadEvent, Event
from consumers.policy import ConsumerPolicy
from consumers.source import Source
from consumers.watermark import PartitionTimes, progress
from state.attributes import Level
from state.errors import OffsetConflict, StateUnreachable
from state.repository import Progress, Repository
from state.times import MICROSECONDS

log = logging.getLogger(__name__)

_POLL: Final = 0.25  # seconds; also how soon a request to stop is seen
_CHECK: Final = 5.0  # seconds between two looks at whether the shards still are where this consumer left them
_AGAIN: Final = 1.0  # seconds between tries while the state is away


class Format(Protocol):
    """Turns a message into events (the formats are in :mod:`consumers.formats`)."""

    def decode(self, value: bytes, timestamp: int) -> list[Event]:
        """The events of a message, whose record has this timestamp (UTC microseconds); raises BadEvent."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of day in UTC microseconds, and seconds that only ever rise."""

    now: Callable[[], int]
    monotonic: Callable[[], float]


class Consumer:
    """Follows one repository's topics until it is told to stop."""

    def __init__(
        self,
        source: Source,
        applier: Applier,
        event_format: Format,
        dead_letters: DeadLetterTopic,
        repository: Repository,
        policy: ConsumerPolicy,
        counts: Counts,
        clock: Clock,
    ) -> None:
        self._source = source
        self._applier = applier
        self._format = event_format
        self._dead_letters = dead_letters
        self._repository = repository
        self._policy = policy
        self._counts = counts
        self._clock = clock
        self._window = DeadLetterWindow(policy.dlq_limit, policy.dlq_window)
        self._times: dict[TopicPartition, PartitionTimes] = {}
        self._published = -policy.watermark_interval
        self._reported: Counter[str] = Counter()
        self._checked = clock.monotonic()
        self._unplaced: set[TopicPartition] = set()  # partitions whose place has to be read from the state
        self._waiting = False
        self._max_out_of_order = round(policy.max_out_of_order * MICROSECONDS)

    def run(self, stop: Flag, *, until_caught_up: bool = False) -> None:
        """Consume until ``stop`` is set, or everything that the topics hold now is applied.

        Raises:
            DeadLetterLimit: too many bad messages, now or before `stocktake resume`.
            OffsetsLost, TopicUnusable, BrokerUnreachable: see :mod:`consumers.errors`.
            StateUnreachable: only when the state is away at the start.
        """
        if stopped := self._repository.stopped():
            raise DeadLetterLimit(stopped)
        self._repository.set_topics({one.name: (one.id, one.partitions) for one in self._source.topics.values()})
        caught_up = False
        while not stop.is_set() and not caught_up:
            try:
                records = self._source.poll(_POLL)
                found = self._find_places()
                # What was fetched of a partition before its place was read from the state is fetched again.
                self._take({one: taken for one, taken in records.items() if one in self._times.keys() - found})
                caught_up = self._publish(force=until_caught_up and not records) and until_caught_up
            except OffsetConflict as conflict:
                log.warning("%s; reading that partition again from what its shards have applied", conflict)
                self._lose_places()
            except (StateUnreachable, BrokerUnreachable) as error:
                self._wait(error, stop)
        self._finish()

    # --- step 1 ------------------------------------------------------------------------------------------------

    def _take(self, records: Mapping[TopicPartition, list[Any]]) -> None:
        batch: list[Decoded] = []
        letters: list[DeadLetter] = []
        over: DeadLetterLimit | None = None
        for partition, found in records.items():
            for record in found:
                events, letter = self._decode(partition, record)
                self._window.add(bad=letter is not None)
                if letter is not None and self._window.exceeded:
                    over = self._over_limit(letter)
                    break
                if letter is not None:
                    letters.append(letter)
                batch.append(Decoded(self._source.field(partition), record.offset, events))
            if over is not None:
                break
        if letters:
            self._dead_letters.write(letters)
        self._apply(batch, records)
        self._counts["dead_letters"] += len(letters)
        if over is not None:
            # What came before is applied and its offsets are moved: going on begins with the message that was too many.
            self._applier.advance({decoded.partition: decoded.offset for decoded in batch})
            self._report_counts()
            self._repository.stop_for_dead_letters(str(over))
            raise over

    def _decode(self, partition: TopicPartition, record: Any) -> tuple[list[Event], DeadLetter | None]:
        if record.value is None:
            self._counts["empty_records"] += 1
            return [], None
        try:
            events = self._format.decode(record.value, record.timestamp * 1000)
        except BadEvent as error:
            where = (partition.topic, partition.partition, record.offset)
            log.warning("dead letter: topic %s partition %d offset %d: %s", *where, error)
            return [], DeadLetter(*where, record.key, record.value, str(error))
        if self._source.topics[partition.topic].compacted and any(one.level is not Level.STUDY for one in events):
            raise TopicUnusable(
                f"topic {partition.topic} has cleanup.policy=compact and carries events below study level "
                f"(partition {partition.partition}, offset {record.offset}): compaction would lose instances. "
                "Set cleanup.policy=delete"
            )
        return events, None

    def _over_limit(self, letter: DeadLetter) -> DeadLetterLimit:
        return DeadLetterLimit(
            f"{self._window.bad} of the latest {self._policy.dlq_window} messages were bad, the last at topic "
            f"{letter.topic} partition {letter.partition} offset {letter.offset} ({letter.reason}); see topic "
            f"{letter.topic}.dlq, mend the sender, then `stocktake resume --repository {self._repository.name}`"
        )

    # --- steps 2 to 4 ------------------------------------------------------------------------------------------

    def _apply(self, batch: list[Decoded], records: Mapping[TopicPartition, list[Any]]) -> None:
        if not batch:
            return
        self._applier.apply(batch)
        newest: dict[str, int] = {}
        for decoded in batch:
            for event in decoded.events:
                newest[decoded.partition] = max(event.time, newest.get(decoded.partition, event.time))
        for partition, found in records.items():
            self._times[partition].applied(newest.get(self._source.field(partition)), found[-1].timestamp * 1000)

    # --- steps 5 and 6 -----------------------------------------------------------------------------------------

    def _publish(self, *, force: bool) -> bool:
        """Publish how far each partition is applied, when it is time to; whether everything is applied."""
        if not force and self._clock.monotonic() - self._published < self._policy.watermark_interval:
            return False
        asked = self._clock.now()
        positions = self._source.positions()
        fields = {self._source.field(one): position.next - 1 for one, position in positions.items()}
        self._applier.advance({field: last for field, last in fields.items() if last >= 0})
        if self._clock.monotonic() - self._checked >= _CHECK:
            self._applier.check()
            self._checked = self._clock.monotonic()
        published: dict[str, Progress] = {}
        for one, position in positions.items():
            found = progress(self._times[one], position.next, position.end, asked, self._max_out_of_order)
            if found is not None:
                published[self._source.field(one)] = found
        self._repository.publish_progress(published)
        self._report_counts()
        self._source.commit({one: position.next for one, position in positions.items()})
        self._published = self._clock.monotonic()
        if self._waiting:
            log.warning("the servers answer again; going on")
            self._waiting = False
        if not positions or self._unplaced:
            return False
        return all(position.next >= position.end for position in positions.values())

    def _report_counts(self) -> None:
        new = {name: count - self._reported[name] for name, count in self._counts.items() if count}
        self._repository.count({name: count for name, count in new.items() if count})
        self._reported = Counter({str(name): count for name, count in self._counts.items()})

    # --- assignment, absence, the end --------------------------------------------------------------------------

    def _find_places(self) -> set[TopicPartition]:
        """Act on what the group decided, and seek where a place has to be read from the state; the ones found now."""
        for partition in self._source.take_revoked():
            self._unplaced.discard(partition)
            self._times.pop(partition, None)
            self._applier.revoke(self._source.field(partition))
        self._unplaced |= set(self._source.take_assigned())
        found = set()
        for partition in sorted(self._unplaced):
            last = self._applier.assign(self._source.field(partition))
            self._source.start_at(partition, last)
            self._times[partition] = PartitionTimes()
            self._unplaced.discard(partition)
            found.add(partition)
            log.info("reading topic %s partition %d after offset %d", partition.topic, partition.partition, last)
        return found

    def _lose_places(self) -> None:
        """What was fetched may not be applied: nothing goes on before each place has been read from the state again."""
        self._source.pause()
        self._unplaced |= self._times.keys()

    def _wait(self, error: StateUnreachable | BrokerUnreachable, stop: Flag) -> None:
        """Wait for a server, keeping the place in the group; say so once."""
        self._lose_places()
        if not self._waiting:
            log.warning("%s; waiting for it", error)
        self._waiting = True
        stop.wait(_AGAIN)

    def _finish(self) -> None:
        """Move every shard's offset to what is applied, so that the next start reads nothing twice."""
        try:
            self._publish(force=True)
            positions = {one: position.next for one, position in self._source.positions().items()}
            self._source.commit(positions, wait=self._policy.shutdown_timeout / 2)
        except (OffsetConflict, StateUnreachable, BrokerUnreachable) as error:
            log.warning("ending without a last report, which loses nothing: %s", error)
