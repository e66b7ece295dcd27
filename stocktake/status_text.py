"""A repository's status as lines for people, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from monitor.partitions import Hold, PartitionStatus
from monitor.sinks import SinkStatus
from monitor.status import Status, VerifiedStatus
from monitor.words import duration
from state.memory import Memory
from stocktake.labelled import labelled

_MOST: Final = 8  # partitions named one by one
_MEGABYTE: Final = 10**6


def status_lines(found: Status, lag_unknown: str | None, zone: ZoneInfo) -> Iterator[str]:
    """The lines, times in ``zone``; ``lag_unknown`` is why the broker told nothing, None if it did."""
    yield from labelled("repository", found.repository)
    if found.stopped is not None:
        yield from labelled("STOPPED", found.stopped)
    yield from labelled("studies", f"{found.studies:,}")
    yield from labelled("backlog", _backlog(found))
    if found.owed_looks or found.given_up_looks:
        yield from labelled("looks", _looks(found))
    yield from _lag(found, lag_unknown)
    yield from _watermark(found, zone)
    yield from labelled("writer", _writer(found))
    yield from _head(found.head, found.head_age, zone)
    if found.head is not None:
        yield from labelled("verified", _verified(found.verified))
    for sink in found.sinks:
        yield from _sink(sink, zone)
    if found.memory is not None:
        yield from labelled("redis", _memory(found.memory))
    for number, (name, count) in enumerate(found.counters.items()):
        yield from labelled("" if number else "counters", f"{name:<24} {count:>15,}")


def _backlog(found: Status) -> str:
    text = f"{found.backlog:,} studies changed since they were inventoried"
    return text if not found.oldest_debt else f"{text}, the oldest {found.oldest_debt:,} cuts ago"


def _looks(found: Status) -> str:
    text = f"{found.owed_looks:,} owed a look at the archive"
    if found.given_up_looks:
        text += f", {found.given_up_looks:,} given up (stocktake enrich --list)"
    return text


def _lag(found: Status, lag_unknown: str | None) -> Iterator[str]:
    if found.lag is None:
        yield from labelled("lag", f"not known: {lag_unknown}")
        return
    yield from labelled("lag", f"{found.lag:,} messages in {len(found.partitions)} partitions")
    behind = sorted((one for one in found.partitions if one.lag), key=lambda one: -(one.lag or 0))
    for one in behind[:_MOST]:
        yield from labelled("", _partition(one))
    if len(behind) > _MOST:
        yield from labelled("", f"and {len(behind) - _MOST:,} partitions more")


def _partition(one: PartitionStatus) -> str:
    applied = "nothing" if one.applied_offset < 0 else f"up to {one.applied_offset:,}"
    return f"{one.topic}/{one.partition}: {one.lag:,} (applied {applied} of {one.last_offset:,})"


def _watermark(found: Status, zone: ZoneInfo) -> Iterator[str]:
    if found.watermark is None or found.watermark_age is None:
        yield from labelled("watermark", "none; no inventory can be written")
    else:
        yield from labelled("watermark", f"{_moment(found.watermark, zone)}, {duration(found.watermark_age)} ago")
    if found.heartbeat_age is not None:
        yield from labelled("heartbeat", f"the oldest partition's {duration(found.heartbeat_age)} ago")
    for hold in found.held_back_by[:_MOST]:
        yield from labelled("held back", _hold(hold, zone))
    if len(found.held_back_by) > _MOST:
        yield from labelled("", f"and by {len(found.held_back_by) - _MOST:,} partitions more")


def _hold(hold: Hold, zone: ZoneInfo) -> str:
    text = f"{hold.partition}: {hold.why}" if hold.partition else hold.why
    if hold.since is not None and hold.seconds is not None:
        text += f" since {_moment(hold.since, zone)}, {duration(hold.seconds)}"
    return text


def _writer(found: Status) -> str:
    leads = "one leads" if found.led else "nobody leads; no inventory is written"
    return leads if found.cut_age is None else f"{leads}; an inventory was begun {duration(found.cut_age)} ago"


def _verified(found: VerifiedStatus | None) -> str:
    if found is None:
        return "never"
    which = "the head" if found.is_head else "an earlier head"
    errors = "1 error" if found.findings == 1 else f"{found.findings:,} errors" if found.findings else "no errors"
    return f"{which}, {duration(found.age)} ago: {errors}"


def _memory(found: Memory) -> str:
    used = f"{found.used / _MEGABYTE:,.0f} MB"
    if found.limit is None:
        return f"{used} used, no maxmemory"
    return f"{used} used of {found.limit / _MEGABYTE:,.0f} MB, {found.share:.0%}"


def _head(head: dict[str, Any] | None, age: float | None, zone: ZoneInfo) -> Iterator[str]:
    if head is None or age is None:
        yield from labelled("head", "none yet")
        return
    yield from labelled("head", f"{head['kind']}, sequence {head['sequence']:,}, {head['status']}")
    yield from labelled("", f"of {_moment(head['watermark'], zone)}, {duration(age)} ago")
    yield from labelled("", f"{head['own_records']:,} own records, {head['total_records']:,} with the tree")
    yield from labelled("", head["sop_instance_uid"])
    yield from labelled("", f"in {head['file'].rpartition('/')[0]}")


def _sink(sink: SinkStatus, zone: ZoneInfo) -> Iterator[str]:
    behind = f"{sink.behind:,} inventories behind" if sink.behind else "has all"
    yield from labelled("sink", f"{sink.name}: {behind}; got {sink.inventories:,} in {sink.files:,} files")
    if sink.trouble is not None and sink.trouble_since is not None and sink.trouble_age is not None:
        since = f"{_moment(sink.trouble_since, zone)}, {duration(sink.trouble_age)}"
        yield from labelled("", f"{sink.trouble}; since {since}")


def _moment(iso: str, zone: ZoneInfo) -> str:
    """To the second, with the zone's offset."""
    return datetime.fromisoformat(iso).astimezone(zone).isoformat(sep=" ", timespec="seconds")
