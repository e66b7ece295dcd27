"""What a look at the archive comes to, as messages: what is there is stored, what is not is removed if so wanted."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from typing import Any, Final

import orjson
import pytest

from consumers.answers import answer
from consumers.archives.archive import FoundStudy
from consumers.events import Action, Event, Settle
from consumers.formats.native import NativeFormat
from consumers.formats.rejection import KEY_OBJECT_SELECTION
from consumers.merge import merge
from consumers.messages import Message
from state.attributes import Level
from state.debts import Debt
from state.record import LifeEnd, StudyRecord
from state.times import MICROSECONDS, parse_time
from stocktake.settings import load
from tests.looks.world import CT, dataset_of, described
from tests.unit.test_consumers_rejections import note

NOW: Final = parse_time("2026-11-20T08:00:00+00:00")
DEBT: Final = Debt("1.2", "t:0:7", NOW, None)


def found(*sop_uids: str, updated: int | None = None) -> FoundStudy:
    instances = [dataset_of(("1.2", "1.2.1", uid)) | described(1) for uid in sop_uids]
    return FoundStudy("1.2", dataset_of(("1.2",)), instances, updated)


def record_of(*sop_uids: str, time: int = NOW) -> StudyRecord:
    record = StudyRecord("1.2")
    apply(record, found(*sop_uids), now=time)
    return record


def decode(messages: Any) -> list[Any]:
    decoder = NativeFormat(load(None, {}).consumer, UTC, Counter())
    return [told for message in messages for told in decoder.decode(message.value, 2 * NOW)]


def apply(record: StudyRecord, study: FoundStudy | None, *, now: int = NOW, remove_absent: bool = True) -> list[Any]:
    known = record if record.own_time else None
    told = decode(answer(DEBT, known, study, remove_absent=remove_absent, now=now))
    for one in told:
        if isinstance(one, Event):
            assert one.answers == DEBT.token
            merge(record, [(one, "t:0", 8)])
    assert isinstance(told[-1], Settle)
    assert (told[-1].owed, told[-1].answers) == (DEBT.owed, DEBT.token)
    return told


def live(record: StudyRecord) -> set[str]:
    return set() if record.is_removed else {uid for uid, one in record.instances() if one.tombstone is None}


def test_a_study_that_nobody_told_of_is_as_old_as_the_look_unless_the_archive_knows_better() -> None:
    assert record_of("1.2.1.1").update_time == NOW
    record = StudyRecord("1.2")
    apply(record, found("1.2.1.1", updated=NOW - MICROSECONDS))
    assert record.update_time == NOW - MICROSECONDS


def test_a_look_alone_does_not_make_a_known_study_newer() -> None:
    record = record_of("1.2.1.1", time=NOW - 5 * MICROSECONDS)
    apply(record, found("1.2.1.1", "1.2.1.2"))
    assert record.update_time == NOW - 5 * MICROSECONDS
    assert live(record) == {"1.2.1.1", "1.2.1.2"}


def test_what_is_absent_is_removed_only_if_that_is_wanted() -> None:
    record = record_of("1.2.1.1", "1.2.1.2")
    apply(record, found("1.2.1.1"), remove_absent=False)
    assert live(record) == {"1.2.1.1", "1.2.1.2"}
    apply(record, found("1.2.1.1"))
    assert live(record) == {"1.2.1.1"}


def test_a_study_that_the_archive_does_not_have_is_removed_only_if_that_is_wanted() -> None:
    record = record_of("1.2.1.1")
    assert len(apply(record, None, remove_absent=False)) == 1
    assert live(record) == {"1.2.1.1"}
    apply(record, None)
    assert record.is_removed
    assert len(apply(record, None)) == 1  # it is told once


def test_a_study_of_which_more_is_known_than_instances_is_removed_as_such() -> None:
    record = StudyRecord("1.2")
    apply(record, FoundStudy("1.2", dataset_of(("1.2",)), []))
    [event, _] = apply(record, None)
    assert (event.action, event.level) == (Action.DELETE, Level.STUDY)
    record = record_of("1.2.1.1")
    record.expected_instances = 2
    apply(record, None)
    assert record.is_removed


def test_a_study_that_is_gone_leaves_a_tombstone_of_each_instance_when_one_comes_back() -> None:
    record = record_of("1.2.1.1", "1.2.1.2")
    apply(record, None)
    apply(record, found("1.2.1.2"))
    gone = record.instance("1.2.1.1")
    assert gone is not None
    assert gone.tombstone is not None
    assert live(record) == {"1.2.1.2"}


def test_a_study_that_was_removed_and_is_there_comes_back_with_what_is_there_now() -> None:
    record = record_of("1.2.1.1", "1.2.1.2")
    apply(record, None)
    record.ended = LifeEnd(NOW, NOW + 1)  # told after something newer
    apply(record, found("1.2.1.2", "1.2.1.3"))
    assert live(record) == {"1.2.1.2", "1.2.1.3"}


def test_a_study_without_instances_is_described() -> None:
    record = StudyRecord("1.2")
    apply(record, FoundStudy("1.2", dataset_of(("1.2",)) | {"00080050": {"vr": "SH", "Value": ["A1"]}}, []))
    assert record.attributes["00080050"] == "A1"


def test_a_large_study_is_told_in_messages_that_a_broker_takes() -> None:
    study = found(*(f"1.2.1.{number}" for number in range(1, 5001)))
    messages = list(answer(DEBT, None, study, remove_absent=True, now=NOW))
    assert len(messages) > 2
    assert max(len(message.value) for message in messages) < 1_000_000
    assert {message.key for message in messages} == {b"1.2"}
    assert sum(len(told.entities) for told in decode(messages[1:-1])) == 5000


@pytest.mark.parametrize("note_first", [True, False])
def test_what_a_rejection_note_rejects_stays_removed_although_the_archive_still_lists_it(note_first: bool) -> None:
    rejection = note("1.2.1.1")
    assert rejection["00080016"]["Value"] == [KEY_OBJECT_SELECTION]
    study = found("1.2.1.1", "1.2.1.2")
    instances = [rejection, *study.instances] if note_first else [*study.instances, rejection]
    record = StudyRecord("1.2")
    for _ in range(2):
        apply(record, FoundStudy("1.2", study.study, instances))
        assert live(record) == {"1.2.1.2", "1.2.9.1"}
    assert record.instance("1.2.1.1") is not None
    event = {"action": "store", "time": "2026-11-20T08:00:01Z", "dataset": study.instances[0]}
    [told] = decode([Message(b"1.2", orjson.dumps(event))])
    merge(record, [(told, "t:0", 9)])
    apply(record, FoundStudy("1.2", study.study, instances))
    assert live(record) == {"1.2.1.1", "1.2.1.2", "1.2.9.1"}, "it was stored again since"


def test_a_note_that_is_gone_with_what_it_rejected_brings_nothing_back() -> None:
    study = found("1.2.1.1", "1.2.1.2")
    with_note = FoundStudy("1.2", study.study, [*study.instances, note("1.2.1.1")])
    record = StudyRecord("1.2")
    apply(record, with_note)
    apply(record, found("1.2.1.2"))
    assert live(record) == {"1.2.1.2"}
    record = StudyRecord("1.2")
    apply(record, with_note)
    apply(record, None)
    assert live(record) == set()


def test_a_note_of_a_life_that_has_ended_rejects_anew_in_the_next() -> None:
    study = found("1.2.1.1", "1.2.1.2")
    with_note = FoundStudy("1.2", study.study, [*study.instances, note("1.2.1.1")])
    record = StudyRecord("1.2")
    apply(record, with_note)
    apply(record, None)
    apply(record, with_note)
    assert live(record) == {"1.2.1.2", "1.2.9.1"}


def test_what_the_archive_lists_without_saying_enough_is_not_absent() -> None:
    record = record_of("1.2.1.1", "1.2.1.2")
    study = found("1.2.1.1")
    apply(record, FoundStudy("1.2", study.study, study.instances, others=["1.2.1.2"]))
    assert live(record) == {"1.2.1.1", "1.2.1.2"}


def test_messages_say_which_class_an_instance_has() -> None:
    [_, event, _] = decode(answer(DEBT, None, found("1.2.1.1"), remove_absent=True, now=NOW))
    assert event.entities[0].instance["00080016"] == CT
