"""What the encoder writes is what pydicom reads, and what pydicom itself would write."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from state.attributes import Attribute, Level, item_attributes, recordable
from state.record import StudyRecord, Tombstone
from state.values import Item
from tests.records import LATEST, expected_item, flat_values, study_records
from tests.standard_table import INSTANCES, SERIES, STUDIES, TagPath, children, standard_rows
from writers.encoder import ItemEncoder
from writers.study_items import StudyItems

LEVELS = (Level.STUDY, Level.SERIES, Level.INSTANCE)
PATHS = {Level.STUDY: STUDIES, Level.SERIES: SERIES, Level.INSTANCE: INSTANCES}
LONG_FORM = {"OB", "SQ", "UC", "UN", "UR", "UT", "UV"}

records = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
moments = st.integers(0, LATEST)


@dataclass(frozen=True)
class Element:
    """One element as it stands in the bytes."""

    path: TagPath
    vr: str
    value: bytes


def elements(data: bytes, parent: TagPath) -> Iterator[list[Element]]:
    """The Items of ``data`` taken apart by PS3.5 7.1.2 alone, one list each: the outermost first."""
    found, at = [], 0
    while at < len(data):
        group, number, code = struct.unpack_from("<HH2s", data, at)
        vr = code.decode("ascii")
        if vr in LONG_FORM:
            reserved, length = struct.unpack_from("<HI", data, at + 6)
            assert reserved == 0
            at += 12
        else:
            [length] = struct.unpack_from("<H", data, at + 6)
            at += 8
        assert at + length <= len(data), "an element ends after its Item"
        found.append(Element((*parent, f"{group:04X}{number:04X}"), vr, data[at : at + length]))
        at += length
    yield found
    for element in found:
        if element.vr == "SQ":
            for item in items(element.value):
                yield from elements(item, element.path)


def items(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        tag, length = struct.unpack_from("<4sI", data, at)
        assert tag == b"\xfe\xff\x00\xe0"
        assert at + 8 + length <= len(data), "an Item ends after its sequence"
        yield data[at + 8 : at + 8 + length]
        at += 8 + length


def encode(record: StudyRecord, level: Level, at: int) -> bytes:
    """The elements of the record's Item."""
    [item] = items(StudyItems(level).encode(record, at))
    return item


def read(data: bytes) -> Dataset:
    """What pydicom makes of them, every value converted."""
    dataset = read_dataset(BytesIO(data), False, True, parent_encoding=["utf-8"], at_top_level=False)
    for element in dataset.iterall():
        assert element.value is not element
    return dataset


def write(dataset: Dataset) -> bytes:
    """What pydicom makes bytes of."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset, ["utf-8"])
    return buffer.getvalue()


@records
@given(study_records(), st.sampled_from(LEVELS), moments)
def test_pydicom_reads_the_elements_and_values_of_the_record(record: StudyRecord, level: Level, at: int) -> None:
    assert read(encode(record, level, at)) == expected_item(record, level, at)


@records
@given(study_records(), st.sampled_from(LEVELS), moments)
def test_pydicom_writes_the_same_bytes(record: StudyRecord, level: Level, at: int) -> None:
    encoded = encode(record, level, at)
    assert write(expected_item(record, level, at)) == encoded
    assert write(read(encoded)) == encoded


@records
@given(study_records(), st.sampled_from(LEVELS), moments)
def test_tags_ascend_lengths_are_even_and_vrs_are_the_standards_at_every_depth(
    record: StudyRecord, level: Level, at: int
) -> None:
    for item in elements(encode(record, level, at), STUDIES):
        tags = [element.path[-1] for element in item]
        assert tags == sorted(set(tags))
        for element in item:
            assert len(element.value) % 2 == 0, element.path
            assert element.vr == standard_rows()[element.path].vr, element.path


@records
@given(study_records(), st.sampled_from(LEVELS), moments)
def test_what_must_be_there_is_there_at_every_level(record: StudyRecord, level: Level, at: int) -> None:
    def check(item: list[Element]) -> None:
        parent = item[0].path[:-1]
        held = {element.path[-1]: element.value for element in item}
        for tag, row in children(parent).items():
            if row.type == "1":
                assert held.get(tag), (parent, row.keyword)
            if row.type == "2":
                assert tag in held, (parent, row.keyword)

    for found in elements(encode(record, level, at), STUDIES):
        if found:  # an Item of a sequence whose attributes the table does not name holds none
            check(found)


@given(st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@pytest.mark.parametrize("level", LEVELS)
def test_every_attribute_that_the_table_has_can_be_written(level: Level, data: st.DataObject) -> None:
    """All of them at once: each sequence has one Item that holds everything it may."""

    def whole(table: dict[str, Attribute]) -> Item:
        return {
            tag: [whole(row.children)] if row.vr == "SQ" else data.draw(flat_values(row)) for tag, row in table.items()
        }

    record = StudyRecord("1.2", attributes=whole(recordable(Level.STUDY))) if level is Level.STUDY else None
    if record is not None:
        encoded = encode(record, level, 0)
        assert read(encoded) == expected_item(record, level, 0)
        below = {path for path in standard_rows() if path[:1] == STUDIES and path[:2] != SERIES}
        absent = {(*STUDIES, tag) for tag in ("00080005", "00080405", "00080406")}
        assert written(encoded, STUDIES) == {path for path in below if path[:2] not in absent and len(path) > 1}
        return
    encoded = ItemEncoder(item_attributes(level)).encode(whole(item_attributes(level)))
    parent = PATHS[level]
    assert write(read(encoded)) == encoded
    assert written(encoded, parent) == {path for path in standard_rows() if path[:-1][: len(parent)] == parent}


def written(data: bytes, parent: TagPath) -> set[TagPath]:
    return {element.path for item in elements(data, parent) for element in item}


@pytest.mark.parametrize("level", LEVELS)
def test_a_record_that_knows_nothing_still_has_what_every_item_must(level: Level) -> None:
    item = read(encode(StudyRecord("1.2.3"), level, 0))
    assert item == expected_item(StudyRecord("1.2.3"), level, 0)
    present = {f"{element.tag:08X}" for element in item}
    assert {tag for tag, row in children(STUDIES).items() if row.type in {"1", "2"}} <= present


def test_series_and_instances_stand_below_the_level_asked_for_and_no_deeper() -> None:
    record = StudyRecord("1.2.3")
    assert "InventoriedSeriesSequence" not in read(encode(record, Level.STUDY, 0))
    assert read(encode(record, Level.SERIES, 0)).InventoriedSeriesSequence == []


def test_a_removal_without_a_reason_has_an_empty_reason_sequence() -> None:
    item = read(encode(StudyRecord("1.2.3", tombstone=Tombstone(5, {})), Level.STUDY, 0))
    assert item.RemovedFromOperationalUse == "Y"
    assert item.ReasonForRemovalCodeSequence == []


def test_a_value_that_its_length_field_cannot_hold_is_emptied_and_counted() -> None:
    table = {"00080061": item_attributes(Level.STUDY)["00080061"]}
    encoder = ItemEncoder(table)
    assert encoder.encode({"00080061": "\\".join(["CT"] * 21_845)})[6:8] == struct.pack("<H", 65_534)
    assert encoder.too_long == 0
    assert encoder.encode({"00080061": "\\".join(["CT"] * 21_846)}) == b"\x08\x00\x61\x00CS\x00\x00"
    assert encoder.too_long == 1
