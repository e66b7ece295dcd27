"""What a look at the archive comes to: messages that make the state agree with what was found."""

from __future__ import annotations

from collections.abc import Iterator, Set

from consumers.archives.archive import DicomJson, FoundStudy
from consumers.events import Action
from consumers.formats.rejection import KEY_OBJECT_SELECTION
from consumers.messages import Message, events, settle, study_key, uid_element
from consumers.rejections import is_rejected
from state.attributes import SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Level
from state.debts import Debt
from state.record import StudyRecord


def answer(
    debt: Debt, record: StudyRecord | None, found: FoundStudy | None, *, remove_absent: bool, now: int
) -> Iterator[Message]:
    """Messages for a study's debt. ``record`` is what the state has, read whole after the debt; None: nothing.

    All count only while nothing else has happened to the study since the debt was read, so what they say is true of
    this very record. What the archive has is stored. What it does not list, or a study that it does not have, is
    removed with ``remove_absent`` and otherwise left as it is. The study's time stays what it was, unless the archive
    says a later one; that of a study that nobody has told of is ``now`` (UTC microseconds).
    """
    uid, token = debt.owed, debt.token
    time = _time(record, found) or now
    if found is None:
        if remove_absent and record is not None and not record.is_removed:
            yield from _without(record, time, token)
    else:
        rejected = set() if record is None else _rejected(record)
        # A rejection note comes after what it rejects; what one has rejected is there, and stays removed.
        instances = sorted(found.instances, key=lambda one: _uid(one, SOP_CLASS_UID) == KEY_OBJECT_SELECTION)
        stored = [one for one in instances if _uid(one, SOP_INSTANCE_UID) not in rejected]
        described = [one for one in instances if _uid(one, SOP_INSTANCE_UID) in rejected]
        yield from events(Action.UPDATE, Level.STUDY, uid, time, [found.study], answers=token)
        yield from events(Action.STORE, Level.INSTANCE, uid, time, stored, answers=token)
        yield from events(Action.UPDATE, Level.INSTANCE, uid, time, described, answers=token)
        if remove_absent and record is not None:
            listed = {_uid(dataset, SOP_INSTANCE_UID) for dataset in instances} | {*found.others}
            # What a note has rejected comes back when the note goes: it is removed after it.
            gone = [uid for uid in sorted(rejected) if uid not in listed]
            absent = [*_live_but(listed, record), *(_identity(record, uid) for uid in gone)]
            yield from events(Action.DELETE, Level.INSTANCE, uid, time, absent, answers=token)
    yield settle(uid, token, now, study_key(uid))


def _time(record: StudyRecord | None, found: FoundStudy | None) -> int:
    """Late enough to belong to the study's present life, and to undo removals in it."""
    said = found.updated or 0 if found is not None else 0
    if record is None:
        return said
    ends = [record.ended, *(one.ended for one in record.series.values())]
    return max(record.own_time, said, *(end.until for end in ends if end is not None))


def _without(record: StudyRecord, time: int, token: str) -> Iterator[Message]:
    """Removes a whole study: by its instances, so that each has a tombstone of its own, if nothing else is known."""
    uid = record.study_instance_uid
    instances = list(_live_but(set(), record))
    known_by_instances = bool(instances) and not record.is_incomplete and not record.rejected
    if known_by_instances and all(series.instances for series in record.inventoried_series()):
        yield from events(Action.DELETE, Level.INSTANCE, uid, time, instances, answers=token)
    else:
        # Later than the end of a life before this one, or it would be taken for that, told again.
        ended = record.ended.at + 1 if record.ended is not None else 0
        study = {STUDY_INSTANCE_UID: uid_element(uid)}
        yield from events(Action.DELETE, Level.STUDY, uid, max(time, ended), [study], answers=token)


def _live_but(listed: Set[str], record: StudyRecord) -> Iterator[DicomJson]:
    """Live instances of the record that are not listed."""
    for uid, instance in record.instances():
        if uid not in listed and instance.tombstone is None:
            yield _identity(record, uid)


def _identity(record: StudyRecord, sop_instance_uid: str) -> DicomJson:
    """The UIDs of an instance of the record, from the study down."""
    instance = record.instance(sop_instance_uid)
    series = "" if instance is None else instance.series_instance_uid
    uids = (record.study_instance_uid, series, sop_instance_uid)
    tags = (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)
    return {tag: uid_element(uid) for tag, uid in zip(tags, uids, strict=True)}


def _rejected(record: StudyRecord) -> set[str]:
    """Instances that a rejection note removed, and nobody has stored since."""
    named = {uid for note in record.rejected.values() for uid in note.sop_instance_uids}
    found = ((uid, record.instance(uid)) for uid in named)
    return {uid for uid, one in found if one and one.tombstone and is_rejected(record, uid, one.tombstone)}


def _uid(dataset: DicomJson, tag: str) -> str:
    """A UID of what the archive listed; empty if there is none."""
    values = dataset.get(tag, {}).get("Value") or [""]
    return str(values[0])
