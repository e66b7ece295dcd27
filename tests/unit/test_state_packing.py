"""A record packed into the fields of a hash and unpacked again is the same record."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from state.attributes import SOP_CLASS_UID
from state.imports import Covered, Note
from state.packing import HEAD, Glimpse, Packer, chunk_field
from state.patient_news import Patient
from state.record import InstanceRecord, InState, SeriesRecord, StudyRecord, Tombstone
from state.values import Item
from tests.records import study_records


def packed(record: StudyRecord) -> dict[bytes, bytes]:
    """The fields as the script writes them."""
    packer = Packer()
    study, series = packer.pack_head(record)
    fields = {b"rev": b"\x00\xff" * 6, b"time": b"%d" % record.update_time, b"study": study, b"series": series}
    return fields | {chunk_field(index): packer.pack_chunk(record, index) for index in range(len(record.chunks))}


def known(record: StudyRecord) -> tuple[object, ...]:
    """All that the record says, and nothing of how it came to be."""
    return (
        record.study_instance_uid,
        record.update_time,
        record.attributes,
        record.tombstone,
        record.expected_series,
        record.expected_instances,
        record.series,
        record.chunks,
        record.known_instances,
    )


def large_record(instances: int) -> StudyRecord:
    """Several chunks; rows with and without attributes, and some that are removed."""
    record = StudyRecord("1.2", series={f"1.2.{one}": SeriesRecord(stored=True) for one in range(3)})
    for number in range(instances):
        attributes: Item = {SOP_CLASS_UID: "1.2.840.10008.5.1.4.1.1.2"}
        if number % 3:
            attributes["00200013"] = str(number)
        gone = Tombstone(number, {"00080104": "why"} if number % 2 else {}) if number % 5 == 0 else None
        record.put_instance(f"1.2.9.{number}", InstanceRecord(f"1.2.{number % 3}", attributes, gone))
    return record


@given(study_records())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_whole_record_comes_back_as_it_was(record: StudyRecord) -> None:
    fields = packed(record)
    found = Packer().unpack(record.study_instance_uid, fields)
    assert known(found) == known(record)
    assert found.in_state.rev == fields[b"rev"]
    assert packed(found) == fields
    assert found.changed_chunks == set()


def test_a_record_of_many_chunks_comes_back_as_it_was() -> None:
    record = large_record(1000)
    assert len(record.chunks) == 6
    assert known(Packer().unpack("1.2", packed(record))) == known(record)


@given(study_records())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_head_alone_tells_counts_removal_and_fingerprint(record: StudyRecord) -> None:
    fields = packed(record)
    head = Packer().unpack_head(record.study_instance_uid, [fields[name] for name in HEAD])
    assert head.chunks == [None] * len(record.chunks)
    for name in ("is_removed", "is_incomplete", "number_of_series", "number_of_instances", "modalities", "fingerprint"):
        assert getattr(head, name) == getattr(record, name), name


def test_a_chunk_is_unpacked_alone() -> None:
    record, packer = large_record(1000), Packer()
    fields = packed(record)
    part = packer.unpack_head("1.2", [fields[name] for name in HEAD])
    packer.unpack_chunk(part, 3, fields[chunk_field(3)])
    assert part.chunks == [None, None, None, record.chunks[3], None, None]


@pytest.mark.parametrize("series", [None, b"", b"[]"])
def test_a_study_of_which_no_series_is_known_needs_no_field_for_them(series: bytes | None) -> None:
    study, packed = Packer().pack_head(StudyRecord("1.2", own_time=5))
    assert packed == b""
    found = Packer().unpack_head("1.2", [b"rev", b"5", study, series])
    assert (found.own_time, found.series) == (5, {})


@pytest.mark.parametrize("missing", range(3))
def test_what_is_not_there_is_a_new_record(missing: int) -> None:
    head: list[bytes | None] = [b"rev", b"1", b"{}", b"[]"]
    head[missing] = None
    assert Packer().unpack_head("1.2", head) == StudyRecord("1.2", in_state=InState(head[0] or b""))


def test_rows_that_lack_what_others_have_are_told_apart_from_empty_values() -> None:
    record = StudyRecord("1.2", series={"1.2.1": SeriesRecord(stored=True)})
    number = "00200013"
    rows: list[Item] = [{}, {number: ""}, {number: "1", SOP_CLASS_UID: "1.2"}, {}, {SOP_CLASS_UID: "1"}, {}]
    for place, attributes in enumerate(rows):
        record.put_instance(f"1.2.1.{place}", InstanceRecord("1.2.1", attributes))
    found = Packer().unpack("1.2", packed(record))
    kept = [found.instance(f"1.2.1.{place}") for place in range(len(rows))]
    assert kept == [InstanceRecord("1.2.1", attributes) for attributes in rows]


def test_what_an_imported_record_covers_comes_back_to_whoever_merges() -> None:
    record = StudyRecord("1.2.3", own_time=5, covered=Covered(5, 7))
    packer = Packer()
    study, _ = packer.pack_head(record)
    assert packer.unpack_head("1.2.3", [b"rev", b"5", study, None]).covered == Covered(5, 7)


def test_a_note_is_void_once_the_record_is_written_again() -> None:
    note = Note(b"twelve bytes", 1, 2, 3)
    packer = Packer()
    study, _ = packer.pack_head(StudyRecord("1.2.3", own_time=5, attributes={"00100020": "P1"}))
    packed = note.pack(b"rev 1")
    assert packer.unpack_glimpse([b"rev 1", b"5", study, packed]) == Glimpse(5, note, Patient("P1", ""))
    assert packer.unpack_glimpse([b"rev 2", b"5", study, packed]) == Glimpse(5, None, Patient("P1", ""))
    assert packer.unpack_glimpse([b"rev 1", b"5", study, None]) == Glimpse(5, None, Patient("P1", ""))
    assert packer.unpack_glimpse([b"rev 1", None, None, None]) == Glimpse(0, None, None)
