"""Step 1 of the consumer: polled records decoded, bad messages set aside, too many of them noticed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from kafka import TopicPartition

from consumers.counts import Counts
from consumers.dead_letters import DeadLetter, DeadLetterWindow
from consumers.errors import DeadLetterLimit, TopicUnusable
from consumers.events import BadEvent, Event, Heartbeat, Look, PatientEvent, Told
from consumers.grouping import Decoded
from consumers.policy import ConsumerPolicy
from consumers.topics import Topic
from state.attributes import Level
from state.debts import is_reference

log = logging.getLogger(__name__)

_KEYS: Final = 2500  # of one part
_STEP: Final = 20  # records: a fraction of a millisecond


class Format(Protocol):
    """Turns a message into events (the formats are in :mod:`consumers.formats`)."""

    def decode(
        self, value: bytes, timestamp: int, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> list[Told]:
        """The events of a message, whose record has this timestamp (UTC microseconds), key and headers.

        An empty list if it says nothing that concerns an inventory, which the format counts; raises BadEvent.
        """


@dataclass(slots=True)
class Taken:
    """What a poll brought: ``batch`` to apply, ``letters`` to set aside.

    ``newest`` is by partition the newest event's time, ``heartbeats`` that of the latest heartbeat (UTC microseconds);
    what Stocktake itself has written tells nothing of how far the archive has got. ``over`` is the error to end with
    once the batch, which stops short of the message that was too many, is applied.
    """

    batch: list[Decoded] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    newest: dict[str, int] = field(default_factory=dict)
    heartbeats: dict[str, int] = field(default_factory=dict)
    over: DeadLetterLimit | None = None


class Taking:
    """Records that are being decoded, a part at each :meth:`some`."""

    def __init__(self, taken: Taken, steps: Iterator[bool]) -> None:
        self._taken = taken
        self._steps = steps
        self._error: Exception | None = None

    def some(self) -> bool:
        """Decode some more; whether any are left. Does not raise: an error waits for :meth:`taken`."""
        try:
            return next(self._steps, False)
        except Exception as error:
            self._error = error
            return False

    def taken(self) -> Taken:
        """All, once the rest is decoded; raises as :meth:`Intake.take`."""
        if self._error is not None:
            raise self._error
        for _ in self._steps:
            pass
        return self._taken


class Intake:
    """Decodes what was polled for one repository."""

    def __init__(self, repository: str, event_format: Format, policy: ConsumerPolicy, counts: Counts) -> None:
        self._repository = repository
        self._format = event_format
        self._policy = policy
        self._counts = counts
        self._window = DeadLetterWindow(policy.dlq_limit, policy.dlq_window)

    def take(self, records: Mapping[TopicPartition, Sequence[Any]], topics: Mapping[str, Topic]) -> Taken:
        """Decode records, those of each partition in their order; ``topics`` by name.

        Raises:
            TopicUnusable: a compacted topic carries events below study level, or of patients.
        """
        return self.begin(records, topics).taken()

    def begin(self, records: Mapping[TopicPartition, Sequence[Any]], topics: Mapping[str, Topic]) -> Taking:
        """Decode records in a few steps; see :meth:`take`."""
        taken = Taken()
        return Taking(taken, self._steps(records, topics, taken))

    def _steps(
        self, records: Mapping[TopicPartition, Sequence[Any]], topics: Mapping[str, Topic], taken: Taken
    ) -> Iterator[bool]:
        decode = self._format.decode
        for partition, found in records.items():
            topic = topics[partition.topic]
            name = topic.field(partition.partition)
            batch, newest, good = taken.batch, 0, 0
            compacted = topic.compacted
            for begin in range(0, len(found), _STEP):
                if batch:
                    yield True
                for record in found[begin : begin + _STEP]:
                    offset, value, moment = record.offset, record.value, record.timestamp * 1000
                    told: list[Told] = []
                    if value is None:
                        self._counts["empty_records"] += 1
                    else:
                        try:
                            told = decode(value, moment, record.key, record.headers)
                        except BadEvent as error:
                            self._window.add_good(good)
                            good = -1  # this one is counted as bad
                            where = (partition.topic, partition.partition, offset)
                            letter = self._set_aside(DeadLetter(*where, record.key, value, str(error)))
                            if self._window.exceeded:
                                taken.over = self._over_limit(letter)
                                return
                            taken.letters.append(letter)
                    good += 1
                    batch.append(Decoded(name, offset, told, moment))
                    for one in told:
                        if one.time > newest and _is_of_the_archive(one):
                            newest = one.time
                        elif isinstance(one, Heartbeat):
                            taken.heartbeats[name] = one.time
                        if compacted:
                            _refuse_all_but_studies(one, partition, offset)
            self._window.add_good(good)
            if newest:
                taken.newest[name] = newest

    def _set_aside(self, letter: DeadLetter) -> DeadLetter:
        self._window.add_bad()
        where = {"topic": letter.topic, "partition": letter.partition, "offset": letter.offset}
        log.warning("dead letter: topic %s partition %d offset %d: %s", *where.values(), letter.reason, extra=where)
        return letter

    def _over_limit(self, letter: DeadLetter) -> DeadLetterLimit:
        return DeadLetterLimit(
            f"{self._window.bad} of the latest {self._policy.dlq_window} messages were bad, the last at topic "
            f"{letter.topic} partition {letter.partition} offset {letter.offset} ({letter.reason}); see topic "
            f"{letter.topic}.dlq, mend the sender, then `stocktake resume --repository {self._repository}`"
        )


def in_parts(records: Mapping[TopicPartition, list[Any]]) -> list[dict[TopicPartition, list[Any]]]:
    """Polled records in parts of about so many keys, which are studies: none is smaller for the others' sake.

    The records of each partition stay in their order. A poll of few studies is one part: what a study's events share is
    done once.
    """
    if len({record.key for found in records.values() for record in found}) < _KEYS:
        return [{partition: found for partition, found in records.items() if found}] if any(records.values()) else []
    parts: list[dict[TopicPartition, list[Any]]] = [{}]
    keys: set[bytes | None] = set()
    for partition, found in records.items():
        begin = 0
        for end, record in enumerate(found, 1):
            keys.add(record.key)
            if len(keys) == _KEYS:
                parts[-1][partition] = found[begin:end]
                parts.append({})
                keys.clear()
                begin = end
        if begin < len(found):
            parts[-1][partition] = found[begin:]
    return parts if parts[-1] else parts[:-1]


def _is_of_the_archive(told: Told) -> bool:
    if isinstance(told, Event):
        return not told.answers
    if isinstance(told, Look):
        return is_reference(told.owed)  # a bridge or crawl names studies
    return isinstance(told, PatientEvent)


def _refuse_all_but_studies(told: Told, partition: TopicPartition, offset: int) -> None:
    if isinstance(told, Heartbeat) or (isinstance(told, Event) and told.level is Level.STUDY):
        return
    if isinstance(told, Event):
        events = "events below study level"
    else:
        events = "events of patients" if isinstance(told, PatientEvent) else "looks at the archive"
    raise TopicUnusable(
        f"topic {partition.topic} has cleanup.policy=compact and carries {events} (partition {partition.partition}, "
        f"offset {offset}): compaction would lose some of them. Set cleanup.policy=delete"
    )
