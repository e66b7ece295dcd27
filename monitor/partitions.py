"""How each partition of a repository's topics stands, and what holds the repository's watermark back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from state.repository import Progress, Repository, partition_field
from state.studies import Studies
from state.times import MICROSECONDS, to_iso


@dataclass(frozen=True, slots=True)
class BrokerPartition:
    """A partition as the broker describes it; ``last_offset`` is -1 for an empty one."""

    topic: str
    partition: int
    last_offset: int


BrokerPartitions: TypeAlias = "Mapping[str, BrokerPartition]"  # by the state's name of the partition


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds from which on it is worth telling that a consumer is ``silent``, or a watermark ``behind`` the clock."""

    silent: float
    behind: float


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition. Times are ISO 8601, ages seconds; None is what is not known.

    ``applied_offset`` is what every shard has applied (-1: nothing), ``last_offset`` the broker's, and ``lag`` the
    messages between. ``published`` is when a consumer last told how far it is.
    """

    topic: str
    partition: int
    applied_offset: int
    last_offset: int | None
    lag: int | None
    watermark: str | None
    watermark_age: float | None
    published: str | None
    published_age: float | None


@dataclass(frozen=True, slots=True)
class Hold:
    """Why the watermark is not newer: which partition (``topic/number``; empty: all), since when and for how long."""

    partition: str
    why: str
    since: str | None = None
    seconds: float | None = None


def partition_statuses(
    repository: Repository, studies: Studies, ends: BrokerPartitions | None, now: int, patience: Patience
) -> tuple[list[PartitionStatus], list[Hold]]:
    """Every partition that a consumer or the broker knows, in the order of their names, and what holds back.

    ``ends`` is None if the broker was not asked or did not answer. ``now`` is UTC microseconds.
    """
    # What is published is read first: the shards apply before it is published, so they can only be further on.
    published = repository.progress()
    names = _names(repository, ends)
    statuses, holds = [], []
    for field, (topic, number) in sorted(names.items(), key=lambda item: item[1]):
        progress = published.get(field)
        applied = min(studies.offsets(field))
        found = _status(topic, number, applied, progress, None if ends is None else ends.get(field), now)
        statuses.append(found)
        gone = ends is not None and field not in ends
        if (hold := _hold(found, progress, gone=gone, patience=patience)) is not None:
            holds.append(hold)
    if not published:
        holds = [Hold("", "no consumer has seen the topics yet")]
    return statuses, holds


def _names(repository: Repository, ends: BrokerPartitions | None) -> dict[str, tuple[str, int]]:
    """Topic and number of each partition, by the state's name of it."""
    names = {
        partition_field(id_, number): (topic, number)
        for topic, (id_, count) in repository.topics().items()
        for number in range(count)
    }
    return names | {field: (one.topic, one.partition) for field, one in (ends or {}).items()}


def _status(
    topic: str, number: int, applied: int, progress: Progress | None, end: BrokerPartition | None, now: int
) -> PartitionStatus:
    return PartitionStatus(
        topic=topic,
        partition=number,
        applied_offset=applied,
        last_offset=None if end is None else end.last_offset,
        lag=None if end is None else max(0, end.last_offset - applied),
        watermark=None if progress is None else to_iso(progress.watermark),
        watermark_age=None if progress is None else seconds_since(progress.watermark, now),
        published=None if progress is None else to_iso(progress.asked),
        published_age=None if progress is None else seconds_since(progress.asked, now),
    )


def _hold(found: PartitionStatus, progress: Progress | None, *, gone: bool, patience: Patience) -> Hold | None:
    """What this partition does to the watermark; None if it holds nothing back."""
    name = f"{found.topic}/{found.partition}"
    if gone:
        return Hold(name, "Kafka no longer has it; was the topic made anew? restart the consumers")
    if progress is None or found.published_age is None or found.watermark_age is None:
        return Hold(name, "no consumer has published how far it is")
    if not progress.vouches:
        return Hold(name, "no heartbeat has come; does the bridge run?")
    if found.published_age > patience.silent:
        return Hold(name, "no consumer has published", found.published, found.published_age)
    if found.applied_offset < progress.offset:
        return Hold(name, f"applied again from offset {found.applied_offset + 1}: a reset, or Redis lost writes")
    if found.watermark_age > patience.behind and progress.heartbeat and progress.watermark <= progress.heartbeat:
        return Hold(name, "no later heartbeat has come; does the bridge get on?", found.watermark, found.watermark_age)
    if found.watermark_age > patience.behind:
        return Hold(name, "a consumer is at work on what was told", found.watermark, found.watermark_age)
    return None


def seconds_since(moment: int, now: int) -> float:
    """The age of a moment, both UTC microseconds, in seconds."""
    return round((now - moment) / MICROSECONDS, 3)
