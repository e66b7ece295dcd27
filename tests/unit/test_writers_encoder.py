"""What the encoder writes is what pydicom reads, and what pydicom itself would write."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.config import strict_reading
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from state.attributes import SPECIFIC_CHARACTER_SET, Attribute, Level, item_attributes
from state.record import StudyRecord, Tombstone
from state.values import Item
from tests.records import AWKWARD, LATEST, expected_item, flat_texts, pydicom_item, strict_writing, study_records
from tests.standard_table import INSTANCES, SERIES, STUDIES, TagPath, children, standard_rows
from writers.encoder import ItemEncoder
from writers.study_items import StudyItems

LEVELS = (Level.STUDY, Level.SERIES, Level.INSTANCE)
PATHS = {Level.STUDY: STUDIES, Level.SERIES: SERIES, Level.INSTANCE: INSTANCES}
LONG_FORM = {"OB", "SQ", "UC", "UN", "UR", "UT", "UV"}

EXAMPLES = int(os.environ.get("STOCKTAKE_TEST_EXAMPLES", "150"))
records = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
moments = st.integers(0, LATEST)
ROW_OF = {row.vr: (path, row) for path, row in standard_rows().items()}


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
    """What pydicom makes of them, every value converted and held against its VR."""
    with strict_reading():
        dataset = read_dataset(BytesIO(data), False, True, parent_encoding=["utf-8"], at_top_level=False)
        for _ in dataset.iterall():
            pass  # converts the value
    return dataset


def write(dataset: Dataset) -> bytes:
    """What pydicom makes bytes of."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset, ["utf-8"])
    return buffer.getvalue()


@records
@given(study_records(), st.sampled_from(LEVELS), moments)
def test_pydicom_reads_the_records_values_and_would_write_the_same_bytes(
    record: StudyRecord, level: Level, at: int
) -> None:
    encoded = encode(record, level, at)
    found, expected = read(encoded), expected_item(record, level, at)
    assert found == expected
    assert write(found) == encoded
    assert write(expected) == encoded


@given(st.lists(study_records(), max_size=12), st.sampled_from(LEVELS), moments)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_records_encoded_together_come_out_as_each_alone(found: list[StudyRecord], level: Level, at: int) -> None:
    together, alone = StudyItems(level), StudyItems(level)
    same = [record for record in found for _ in range(3)]  # so that there are enough of each kind
    encoded = together.encode_all([(record, at) for record in same])
    assert encoded == [alone.encode(record, at) for record in same]
    assert together.counts == alone.counts
    assert together.too_long == alone.too_long


@records
@given(study_records(), st.sampled_from(LEVELS), moments)
def test_each_item_is_in_order_and_holds_what_the_standard_asks_for(record: StudyRecord, level: Level, at: int) -> None:
    for item in elements(encode(record, level, at), STUDIES):
        tags = [element.path[-1] for element in item]
        assert tags == sorted(set(tags))
        for element in item:
            assert len(element.value) % 2 == 0, element
            assert element.vr == standard_rows()[element.path].vr, element
        if item:  # an Item of a sequence whose attributes the table does not name holds none
            assert missing(item) == []


def missing(item: list[Element]) -> list[str]:
    """Attributes of Type 1 without a value and of Type 2 that are absent."""
    held = {element.path[-1]: element.value for element in item}
    rows = children(item[0].path[:-1])
    return [
        row.keyword
        for tag, row in rows.items()
        if (row.type == "1" and not held.get(tag)) or (row.type == "2" and tag not in held)
    ]


@given(st.sampled_from(sorted(AWKWARD)), st.data())
@settings(max_examples=300, deadline=None)
def test_any_value_that_keeps_its_vr_comes_back(vr: str, data: st.DataObject) -> None:
    path, row = ROW_OF[vr]
    attribute = Attribute(row.keyword, path[-1], vr, row.vm, row.type)
    flat: Item = {path[-1]: data.draw(flat_texts(vr, row.vm))}
    encoded = ItemEncoder({path[-1]: attribute}).encode(flat)
    found = read(encoded)[int(path[-1], 16)]
    with strict_writing():
        expected = pydicom_item(flat, path[:-1])[int(path[-1], 16)]
    assert found == expected
    assert write(read(encoded)) == encoded


@pytest.mark.parametrize("level", LEVELS)
def test_every_attribute_of_the_table_can_be_written(level: Level) -> None:
    """All of them at once: each sequence has one Item that holds everything it may."""

    def whole(table: Mapping[str, Attribute]) -> Item:
        values = {tag: [whole(row.children)] if row.vr == "SQ" else next(pool[row.vr]) for tag, row in table.items()}
        return values | ({SPECIFIC_CHARACTER_SET: "ISO_IR 192"} if SPECIFIC_CHARACTER_SET in values else {})

    pool = {vr: cycle(values) for vr, values in AWKWARD.items()}
    flat = whole(item_attributes(level))
    encoded = ItemEncoder(item_attributes(level)).encode(flat)
    assert write(read(encoded)) == encoded
    with strict_writing():
        assert read(encoded) == pydicom_item(flat, PATHS[level])
    depth = len(PATHS[level])
    assert written(encoded, PATHS[level]) == {path for path in standard_rows() if path[:-1][:depth] == PATHS[level]}


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


def test_values_that_are_too_long_are_counted_each_time_also_within_sequences_and_among_others() -> None:
    tags = ("00081032", "00080104")  # Code Meaning within Procedure Code Sequence
    table = {tags[0]: item_attributes(Level.STUDY)[tags[0]]}
    encoder = ItemEncoder(table)
    rows: list[Item] = [{tags[0]: [{tags[1]: meaning}]} for meaning in ["x" * 65_536] * 5 + ["CT"]]
    encoded = encoder.items([*rows, *rows])
    assert encoder.too_long == 10
    assert encoded == encoder.items(rows) * 2
