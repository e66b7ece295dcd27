"""Rejection notes applied to a study record: what a note names is removed when it comes, and back when it goes.

IHE Imaging Object Change Management leaves open how a rejection is undone. Here either the note itself is removed, or
what it rejected is stored again; the note, told again, does not undo that. What two notes name is back when both went.
"""

from __future__ import annotations

from consumers.events import Rejection
from state.record import InstanceRecord, Rejected, SeriesRecord, StudyRecord, Tombstone


def reject(record: StudyRecord, time: int, series_instance_uid: str, note_uid: str, rejection: Rejection) -> None:
    """A note in that series removes what it names; once. ``time`` is its event's; the chunks must be held."""
    if note_uid in record.rejected:
        return
    removed = []
    for named_series, sop_uid in rejection.instances:
        before = record.instance(sop_uid)
        if sop_uid == note_uid or _has_ended_since(record, before, named_series, time):
            continue
        if before is not None and before.tombstone is not None:
            if is_rejected(record, sop_uid, before.tombstone):
                removed.append(sop_uid)  # by another note too
            continue
        if before is None:
            record.series.setdefault(named_series, SeriesRecord())
            before = InstanceRecord(named_series, {})
        tombstone = Tombstone(time, rejection.reason)
        record.put_instance(sop_uid, InstanceRecord(before.series_instance_uid, before.attributes, tombstone))
        removed.append(sop_uid)
    record.rejected[note_uid] = Rejected(series_instance_uid, time, rejection.reason, removed)


def restore(record: StudyRecord, note_uid: str) -> None:
    """A note is gone: what it removed, and nothing else has removed or stored since, is there again.

    What another note names too is removed by that one now. All chunks must be held.
    """
    note = record.rejected.pop(note_uid)
    for sop_uid in note.sop_instance_uids:
        found = record.instance(sop_uid)
        if found is not None and found.tombstone is not None and found.tombstone.time == note.time:
            others = (one for one in record.rejected.values() if sop_uid in one.sop_instance_uids)
            tombstone = next((Tombstone(one.time, one.reason) for one in others), None)
            record.put_instance(sop_uid, InstanceRecord(found.series_instance_uid, found.attributes, tombstone))


def is_rejected(record: StudyRecord, sop_instance_uid: str, tombstone: Tombstone) -> bool:
    """Whether that is a note's tombstone."""
    return any(
        note.time == tombstone.time and sop_instance_uid in note.sop_instance_uids for note in record.rejected.values()
    )


def _has_ended_since(record: StudyRecord, before: InstanceRecord | None, named_series: str, time: int) -> bool:
    """Whether the life of its series that the note speaks of is over."""
    series = record.series.get(named_series if before is None else before.series_instance_uid)
    return series is not None and series.ended is not None and time < series.ended.until
