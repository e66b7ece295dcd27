"""The consumer: one loop that takes events from Kafka into the state, in the order that everything rests on.

1. poll; decode; bad messages to the dead-letter topic; group by shard and study, dropping what its shard covers
2. read the touched parts of those studies
3. merge in memory
4. per shard one script: check offsets and revs, then write studies, indexes and offsets, all or nothing
5. move the offsets of shards that had nothing, publish the watermark
6. commit to Kafka, for lag tools

Step 1 is in :mod:`consumers.source` and :mod:`consumers.intake`, steps 2 to 5 are in :mod:`consumers.apply`. Whatever
crashes between them, the shards' own offsets say what was applied: reading starts again after the lowest of them, and
what a shard already covers is dropped in step 1. Whether step 4 was done is asked when the next batch comes to step 2,
and before step 5.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Event as Flag
from typing import Any, Final, Literal

from kafka import TopicPartition

from consumers.apply import Applier
from consumers.clock import Clock, Deadline
from consumers.counts import Counts
from consumers.dead_letters import DeadLetterTopic
from consumers.errors import BrokerUnreachable, DeadLetterLimit
from consumers.health import Health
from consumers.intake import Intake, Taken, in_parts
from consumers.places import Place, Places
from consumers.policy import ConsumerPolicy
from consumers.source import Source
from consumers.watermark import progress
from state.connection import Meanwhile
from state.errors import OffsetConflict, ShardMoved, StateUnreachable
from state.repository import Repository
from state.times import MICROSECONDS

__all__ = ["Clock", "Consumer"]

log = logging.getLogger(__name__)

_POLL: Final = 0.25  # seconds; also how soon a request to stop is seen
_CHECK: Final = 5.0  # seconds between two looks at whether the state still is as this consumer left it
_AGAIN: Final = 1.0  # seconds between tries while a server is away

Server = Literal["redis", "kafka"]


class Consumer:
    """Follows one repository's topics until it is told to stop.

    ``deadline`` is set when it begins to end: what is left of it is for closing what belongs to the consumer.
    """

    def __init__(
        self,
        source: Source,
        applier: Applier,
        intake: Intake,
        dead_letters: DeadLetterTopic,
        repository: Repository,
        policy: ConsumerPolicy,
        counts: Counts,
        clock: Clock,
        health: Health,
        *,
        bridged: bool = False,
    ) -> None:
        """``bridged``: a bridge tells by heartbeats how far it has got."""
        self._bridged = bridged
        self._source = source
        self._applier = applier
        self._intake = intake
        self._dead_letters = dead_letters
        self._repository = repository
        self._policy = policy
        self._counts = counts
        self._clock = clock
        self._health = health
        self._places = Places(source, applier, repository, policy.lost_offsets, counts)
        self._published = clock.monotonic() - policy.watermark_interval
        self._reported: Counter[str] = Counter()
        self._checked = clock.monotonic()
        self._said_topics: dict[str, tuple[str, int]] = {}
        self._waited_for: dict[Server, float] = {}  # when it was away last
        self._max_out_of_order = round(policy.max_out_of_order * MICROSECONDS)
        self.deadline: Deadline | None = None

    def run(self, stop: Flag, *, until_caught_up: bool = False) -> None:
        """Consume until ``stop`` is set, or everything that the topics hold now is applied.

        Then it ends within ``consumer.shutdown_timeout`` of the moment that ``stop`` was set.

        Raises:
            DeadLetterLimit: too many bad messages, now or before `stocktake resume`.
            OffsetsLost, StateAhead, TopicUnusable, InstanceIdTaken: see :mod:`consumers.errors`.
            StateUnreachable: only when the state is away at the start.
        """
        if stopped := self._repository.stopped():
            raise DeadLetterLimit(stopped)
        self._say_topics(self._clock.monotonic())
        caught_up = False
        while not stop.is_set() and not caught_up:
            try:
                caught_up = self._turn(hurry=until_caught_up) and until_caught_up
            except ShardMoved as conflict:
                self._settle(conflict)
            except (StateUnreachable, BrokerUnreachable) as error:
                self._wait(error, stop)
            self._beat()
        self.deadline = Deadline.of_stop(stop, self._policy.shutdown_timeout, self._clock.monotonic)
        self._finish(self.deadline)

    def _turn(self, *, hurry: bool) -> bool:
        """One turn of the loop; whether everything is applied, if it was time to ask. ``hurry``: when idle, it is."""
        records = self._source.poll(_POLL)
        self._applier.settle()
        self._give_up(self._places.take_revoked())
        found = self._places.find()
        for one in sorted(found):
            where = {"topic": one.topic, "partition": one.partition, "offset": self._places[one].next - 1}
            log.info("reading topic %s partition %d after offset %d", *where.values(), extra=where)
        # What was fetched of a partition before its place was read from the state is fetched again.
        self._take({one: taken for one, taken in records.items() if one in self._places and one not in found})
        due = self._clock.monotonic() - self._published >= self._policy.watermark_interval
        return (due or (hurry and not records)) and self._publish()

    # --- steps 1 to 4 ------------------------------------------------------------------------------------------

    def _take(self, polled: Mapping[TopicPartition, list[Any]]) -> None:
        """Apply a poll, in parts if it is of many studies: the next is decoded while Redis works on the one before."""
        parts = in_parts(polled)
        following = [self._intake.begin(part, self._source.topics) for part in parts]
        for number, records in enumerate(parts):
            meanwhile = following[number + 1].some if number + 1 < len(parts) else None
            self._take_part(records, following[number].taken(), meanwhile)

    def _take_part(self, records: Mapping[TopicPartition, list[Any]], taken: Taken, meanwhile: Meanwhile) -> None:
        if taken.letters:
            self._dead_letters.write(taken.letters)
        if taken.batch:
            self._applier.begin(taken.batch, meanwhile)
        for partition, found in records.items():
            place = self._places[partition]
            place.next = found[-1].offset + 1
            newest, heartbeat = taken.newest.get(place.name), taken.heartbeats.get(place.name)
            place.times.applied(newest, found[-1].timestamp * 1000, heartbeat)
        self._counts["dead_letters"] += len(taken.letters)
        if taken.over is not None:
            # What came before is applied and its offsets are moved: going on begins with the message that was too many.
            self._applier.advance({decoded.partition: decoded.offset for decoded in taken.batch})
            self._report_counts()
            self._repository.stop_for_dead_letters(str(taken.over))
            raise taken.over

    # --- steps 5 and 6 -----------------------------------------------------------------------------------------

    def _publish(self, patience: float | None = None) -> bool:
        """Publish how far each partition is applied; whether everything is. ``patience``: seconds for the broker."""
        begun, asked = self._clock.monotonic(), self._clock.now()
        known = self._source.positions(patience)
        ends = {self._places[one]: at.end for one, at in known.items() if one in self._places}
        for one, at in known.items():
            if one in self._places:
                self._places[one].next = at.next
        check = begun - self._checked >= _CHECK
        if check or self._topics() != self._said_topics:
            self._say_topics(begun)
        self._advance(ends)
        if check:
            self._applier.check()
            self._checked = begun
        self._report_counts()  # before progress: who sees that all is applied finds it counted
        self._tell_progress(ends, asked)
        self._source.commit(self._places.next_offsets())
        self._published = self._clock.monotonic()
        if self._waited_for:
            log.warning("the servers answer again; going on")
            self._waited_for.clear()
        whole = bool(ends) and len(ends) == len(self._places) and self._places.complete and self._source.ready
        return whole and all(end is not None and place.next >= end for place, end in ends.items())

    def _advance(self, places: Iterable[Place]) -> None:
        self._applier.advance({place.name: place.next - 1 for place in places if place.next > 0})

    def _tell_progress(self, ends: Mapping[Place, int | None], asked: int) -> None:
        found = {
            place.name: progress(place.times, place.next, end, asked, self._max_out_of_order, bridged=self._bridged)
            for place, end in ends.items()
        }
        self._repository.publish_progress({name: one for name, one in found.items() if one is not None})

    def _topics(self) -> dict[str, tuple[str, int]]:
        return {one.name: (one.id, one.partitions) for one in self._source.topics.values()}

    def _say_topics(self, looked: float) -> None:
        """Tell the state which topics there are, as they were seen at ``looked`` (monotonic seconds) or later."""
        self._said_topics = self._topics()
        self._counts["topics_anew"] += self._repository.set_topics(self._said_topics, self._clock.monotonic() - looked)

    def _report_counts(self) -> None:
        new = {name: count - self._reported[name] for name, count in self._counts.items() if count}
        self._repository.count({name: count for name, count in new.items() if count})
        self._reported = Counter({str(name): count for name, count in self._counts.items()})

    # --- what the group takes away, what others have done ------------------------------------------------------

    def _give_up(self, places: Sequence[Place]) -> None:
        """Leave partitions to their next owners, with what is applied of them told as far as it goes."""
        try:
            for place in places:
                where = self._where(place.name, place.next - 1)
                log.info("giving up partition %s after offset %d", place.name, place.next - 1, extra=where)
                with suppress(ShardMoved):  # the next owner was quicker
                    self._advance([place])
                    self._tell_progress({place: None}, self._clock.now())
        except StateUnreachable as error:
            log.info("what is applied of partitions that are given up is left to the next owner to tell: %s", error)
        finally:
            for place in places:
                self._applier.revoke(place.name)

    def _where(self, field: str, offset: int | None) -> dict[str, object]:
        """What a line of the log is about; ``field`` is how the state names the partition."""
        id_, _, partition = field.rpartition(":")
        topic = next((one.name for one in self._source.topics.values() if one.id == id_), None)
        return {"topic": topic, "partition": int(partition) if partition.isdecimal() else field, "offset": offset}

    def _settle(self, conflict: ShardMoved) -> None:
        """A shard is not where it was left; in either case its state says from where to go on."""
        if isinstance(conflict, OffsetConflict) and conflict.found > conflict.expected:
            why = "another member has applied more of it: it owned the partition in between, or does now"
        else:
            why = "the server has lost its latest writes, or the offset was lowered on purpose"
        offset = conflict.found if isinstance(conflict, OffsetConflict) else None
        log.warning("%s: %s. Reading all places again", conflict, why, extra=self._where(conflict.partition, offset))
        self._places.lose()

    # --- servers that are away, the end ------------------------------------------------------------------------

    def _wait(self, error: StateUnreachable | BrokerUnreachable, stop: Flag) -> None:
        """Wait for a server, keeping the place in the group; say so once."""
        self._places.lose()
        server: Server = "redis" if isinstance(error, StateUnreachable) else "kafka"
        if server not in self._waited_for:
            log.warning("%s; waiting for it", error)
        self._waited_for[server] = self._clock.monotonic()
        stop.wait(_AGAIN)

    def _beat(self) -> None:
        waiting_for: str = max(self._waited_for, key=self._waited_for.__getitem__, default="")
        if not waiting_for and not (self._places.complete and self._source.ready):
            waiting_for = "its partitions from the group, or for their places in the state"
        self._health.beat(waiting_for, assigned=len(self._places))

    def _finish(self, deadline: Deadline) -> None:
        """Move every shard's offset to what is applied, so that the next start reads nothing twice."""
        if self._waited_for:
            log.warning("ending while %s is away, which loses nothing", " and ".join(self._waited_for))
            return
        try:
            self._publish(deadline.left)
            self._source.commit(self._places.next_offsets(), wait=deadline.left / 2)
        except (ShardMoved, StateUnreachable, BrokerUnreachable) as error:
            log.warning("ending without a last report, which loses nothing: %s", error)
