"""Wanted values are found as a walk over all elements finds them, in whatever bytes."""

from __future__ import annotations

import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from state.attributes import Level
from tests.records import study_records
from tests.unit.inventories import series, study, undefined_lengths
from writers.scanning import ITEM_DELIMITATION, Malformed, Wanted, elements, explicit_values, implicit_values
from writers.streaming import ByteStream, copy_item
from writers.study_item import WANTED
from writers.study_items import StudyItems

TAGS = WANTED | {0x00080061, 0x00081190, 0x00201208, 0x00080424}
DELIMITER = struct.pack("<HHI", ITEM_DELIMITATION >> 16, ITEM_DELIMITATION & 0xFFFF, 0)
_ITEMS = {level: StudyItems(level) for level in (Level.STUDY, Level.INSTANCE)}


def by_all(data: bytes, implicit: bool = False) -> dict[int, bytes] | str:
    try:
        every = elements(data, 0, len(data), implicit, 1)
        return {one.tag: data[one.start : one.stop] for one in every if one.tag in TAGS}
    except Malformed as error:
        return f"{error.offset} {error}"


def by_wanted(data: bytes, wanted: Wanted) -> dict[int, bytes] | str:
    try:
        return explicit_values(data, wanted, 1)
    except Malformed as error:
        return f"{error.offset} {error}"


def foreign(sequences: bool, items: bool) -> bytes:
    """What another writer may have made: undefined lengths, and a VR of a later edition."""
    return b"\x08\x00\x01\x00ZZ\x00\x00\x02\x00\x00\x00ab" + encoded(sequences, items, implicit=False)


def encoded(sequences: bool, items: bool, *, implicit: bool) -> bytes:
    made = Dataset()
    made.InventoriedStudiesSequence = [study("1.2.3", parts=[series("1.2.3.4")])]
    undefined_lengths(made, sequences, items)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
    write_dataset(buffer, made.InventoriedStudiesSequence[0], ["utf-8"])
    return buffer.getvalue()


data_sets = st.one_of(
    st.builds(lambda record, level: _ITEMS[level].encode(record, 0)[8:], study_records(), st.sampled_from([*_ITEMS])),
    st.builds(foreign, st.booleans(), st.booleans()),
)


damages = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)), max_size=3)


def damaged(data: bytes, changes: list[tuple[float, bytes, int]]) -> bytes:
    for place, put_in, left_out in changes:
        at = round(place * len(data))
        data = data[:at] + put_in + data[at + left_out :]
    return data


@given(data_sets, damages)
@example(foreign(True, True), [])
@settings(max_examples=300, deadline=None)
def test_wanted_values_are_those_of_a_walk_over_all_elements(
    data: bytes, changes: list[tuple[float, bytes, int]]
) -> None:
    data = damaged(data, changes)
    wanted = Wanted(TAGS)
    expected = by_all(data)
    assert by_wanted(data, wanted) == expected
    assert by_wanted(data, wanted) == expected  # when all headers are known


@given(st.booleans(), st.booleans(), damages)
@settings(max_examples=300, deadline=None)
def test_wanted_values_in_implicit_vr_are_those_of_a_walk_over_all_elements(
    sequences: bool, items: bool, changes: list[tuple[float, bytes, int]]
) -> None:
    data = damaged(encoded(sequences, items, implicit=True), changes)
    try:
        found: dict[int, bytes] | str = implicit_values(data, TAGS, 1)
    except Malformed as error:
        found = f"{error.offset} {error}"
    assert found == by_all(data, implicit=True)


def copied(data: bytes, implicit: bool, limit: int, chunk: int) -> tuple[bytes, int] | str:
    """An Item of undefined length taken off a stream that comes in chunks, and where its delimiter ends."""
    stream = ByteStream((data[begin : begin + chunk] for begin in range(0, len(data), chunk)), 0)
    sink = bytearray()
    try:
        assert copy_item(stream, sink, implicit, limit, 1) == DELIMITER
    except Malformed as error:
        return f"{error.offset} {error}"
    return bytes(sink), stream.offset


@given(st.booleans(), st.booleans(), st.booleans(), damages, st.integers(12, 2000), st.integers(100, 3000))
@settings(max_examples=300, deadline=None)
def test_an_item_is_copied_off_a_stream_alike_whatever_part_of_it_is_at_hand(
    implicit: bool, sequences: bool, items: bool, changes: list[tuple[float, bytes, int]], chunk: int, limit: int
) -> None:
    data = damaged(encoded(sequences, items, implicit=implicit), changes) + DELIMITER
    # Of a stream that comes byte by byte no element is ever at hand whole.
    assert copied(data, implicit, limit, chunk) == copied(data, implicit, limit, 1)
