"""How far one partition is applied, in time (design, section 5)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from state.repository import NO_HEARTBEAT, Progress
from state.studies import NO_OFFSET


@dataclass(slots=True)
class PartitionTimes:
    """What the latest applied records of a partition say of time (UTC microseconds); None before the first."""

    newest_event: int | None = None
    latest_record: int | None = None
    heartbeat: int | None = None

    def applied(self, newest_event: int | None, latest_record: int, heartbeat: int | None = None) -> None:
        """Take note of applied records."""
        self.latest_record = latest_record
        if heartbeat is not None:
            self.heartbeat = heartbeat
        if newest_event is not None:
            self.newest_event = max(newest_event, self.newest_event or newest_event)


def progress(
    times: PartitionTimes, position: int, end: int | None, asked: int, max_out_of_order: int, *, bridged: bool = False
) -> Progress | None:
    """The partition's watermark, or None while nothing can be said.

    ``position`` is the next offset to apply, ``end`` what the broker answered when it was asked at ``asked`` or after
    that, None if it did not say. A partition applied to its end is as new as the question. Otherwise no event later
    than the newest applied, its record, or the clock can be vouched for. ``max_out_of_order`` (microseconds) is how
    late an event may come. ``bridged``: a bridge tells by heartbeats how far it has got, and no more is vouched for.
    """
    found = _applied_to(times, position, end, asked, max_out_of_order)
    if not bridged or found is None:
        return found
    if times.heartbeat is None:
        return replace(found, watermark=0, heartbeat=NO_HEARTBEAT)
    return replace(found, watermark=min(found.watermark, times.heartbeat), heartbeat=times.heartbeat)


def _applied_to(
    times: PartitionTimes, position: int, end: int | None, asked: int, max_out_of_order: int
) -> Progress | None:
    offset = position - 1 if position > 0 else NO_OFFSET
    if end is not None and position >= end:
        return Progress(asked - max_out_of_order, offset, asked)
    if times.newest_event is None or times.latest_record is None:
        return None
    newest = min(times.newest_event, times.latest_record, asked)
    return Progress(newest - max_out_of_order, offset, asked)
