"""Data sets held to the standard's table: types, VRs, UIDs, character sets and order, on the encoded bytes.

Bytes and not Datasets: decoding costs ten times more, and hides the VR and the padding that the file really
has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from state.attributes import Attribute, Level, inventory_module, item_attributes
from writers.checks.conditions import conditional_faults
from writers.checks.finding import Fault, Severity
from writers.checks.values import in_utf_8, is_allowed, is_expandable, keeps_its_vr, number_of_values
from writers.decoding import character_sets_of, is_sequence, known_vr
from writers.scanning import Element, elements, items, show

STUDIES: Final = 0x00080423
SERIES: Final = 0x00080424
INSTANCES: Final = 0x00080425
INCORPORATED: Final = 0x00080422
MODULE: Final = "PS3.3 Table C.38.1-1"

_CHARACTER_SET: Final = 0x00080005
_UID: Final = re.compile(rb"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_TIMES: Final = frozenset((0x00080023, 0x00080033, 0x00080404, 0x0008041F))  # checked where they are compared
_LONGEST_UID: Final = 64  # PS3.5 chapter 9
_BINARY: Final = frozenset(b"AT FD FL OB OD OF OL OV OW SL SQ SS SV UL UN US UV".split())


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table; ``table`` holds the rows of a sequence's Items."""

    tag: int
    keyword: str
    vr: bytes
    vm: str
    type: str
    table: Table


@dataclass(slots=True)
class Table:
    """What one data set is held to. ``required`` are the rows of Type 1 and 2."""

    rows: dict[int, Row] = field(default_factory=dict)
    required: tuple[Row, ...] = ()


def table_of(attributes: Mapping[str, Attribute]) -> Table:
    """The table for data sets that may hold ``attributes`` (by tag)."""
    table = Table()
    for attribute in attributes.values():
        tag = int(attribute.tag, 16)
        # A reference inside a reference has the same rows (Table C.38.2-3 includes itself).
        recursive = tag == INCORPORATED and not attribute.children
        children = table if recursive else table_of(attribute.children)
        row = Row(tag, attribute.keyword, attribute.vr.encode("ascii"), attribute.vm, attribute.type, children)
        table.rows[tag] = row
    table.required = tuple(row for row in table.rows.values() if row.type in ("1", "2"))
    return table


@cache
def top_table() -> Table:
    """What the elements around the Inventoried Studies Sequence are held to (PS3.3 A.88.3).

    The Inventory Module, and of SOP Common (C.12.1) and General Equipment (C.7.5.1) what is Type 1 or 2.
    """
    common = {
        "00080005": Attribute("SpecificCharacterSet", "00080005", "CS", "1-n", "1C"),
        "00080016": Attribute("SOPClassUID", "00080016", "UI", "1", "1"),
        "00080018": Attribute("SOPInstanceUID", "00080018", "UI", "1", "1"),
        "00080070": Attribute("Manufacturer", "00080070", "LO", "1", "2"),
        "00080201": Attribute("TimezoneOffsetFromUTC", "00080201", "SH", "1", "3"),
    }
    module = {tag: row for tag, row in inventory_module().items() if int(tag, 16) != STUDIES}
    return table_of(common | module)


@cache
def study_table() -> Table:
    """What an Item of the Inventoried Studies Sequence is held to, and its series and instances in it."""
    return table_of(item_attributes(Level.STUDY))


class AttributeCheck:
    """Holds data sets of one file to their tables. ``level`` is its Inventory Level, empty if it has none."""

    def __init__(self, level: str) -> None:
        self._level = level
        self._series_table = study_table().rows[SERIES].table

    def faults(
        self, data: bytes, implicit: bool, table: Table, character_sets: tuple[str, ...], where: str = ""
    ) -> Iterator[Fault]:
        """What is wrong in the data set ``data``; ``character_sets`` is what applies around it (0008,0005).

        Raises:
            Malformed: the bytes are no Data Elements.
        """
        depth = 0 if table is top_table() else 1
        yield from self._data_set(data, 0, len(data), implicit, table, character_sets, where, depth)

    def _data_set(
        self,
        data: bytes,
        start: int,
        stop: int,
        implicit: bool,
        table: Table,
        character_sets: tuple[str, ...],
        where: str,
        depth: int,
    ) -> Iterator[Fault]:
        present: dict[int, Element] = {}
        last = -1
        for element in elements(data, start, stop, implicit, depth):
            tag = element.tag
            if tag <= last:
                yield _fault("element-order", "PS3.5 7.1", where, tag, "is not in ascending order")
            last = tag
            present[tag] = element
            if tag == _CHARACTER_SET:
                character_sets = character_sets_of(data[element.start : element.stop])
            row = table.rows.get(tag)
            if row is not None and element.vr and element.vr != row.vr:
                yield _vr_fault(where, row, element)
            if is_sequence(element):
                children = row.table if row is not None else Table()
                for number, (begin, end) in enumerate(items(data, element, depth + 1), 1):
                    inner = f"{where} {show(tag)}[{number}]" if where else f"{show(tag)}[{number}]"
                    yield from self._data_set(
                        data, begin, end, element.implicit, children, character_sets, inner, depth + 1
                    )
            else:
                yield from _value_faults(data, element, row, character_sets, where)
        yield from self._presence_faults(data, present, table, where)

    def _presence_faults(
        self, data: bytes, present: Mapping[int, Element], table: Table, where: str
    ) -> Iterator[Fault]:
        for row in table.required:
            if row.tag not in present:
                text = f"{row.keyword} is missing (Type {row.type})"
                yield _fault("type-" + row.type, MODULE, where, row.tag, text)
        for tag, element in present.items():
            known = table.rows.get(tag)
            if known is not None and known.type in ("1", "1C") and _is_empty(data, element, known):
                text = f"{known.keyword} is empty (Type {known.type})"
                yield _fault("type-" + known.type.lower(), MODULE, where, tag, text)
        if table is study_table():
            yield from self._level_faults(SERIES, SERIES in present, ("SERIES", "INSTANCE"), where)
        elif table is self._series_table:
            yield from self._level_faults(INSTANCES, INSTANCES in present, ("INSTANCE",), where)
        values = {
            tag: b"" if is_sequence(element) else data[element.start : element.stop] for tag, element in present.items()
        }
        yield from conditional_faults(values, table.rows.keys(), where)

    def _level_faults(self, tag: int, is_present: bool, levels: tuple[str, ...], where: str) -> Iterator[Fault]:
        if self._level not in ("STUDY", "SERIES", "INSTANCE") or is_present == (self._level in levels):
            return
        text = "is there" if is_present else "is missing"
        text = f"{text}, which Inventory Level {self._level} does not allow"
        yield _fault("level-sequence", MODULE, where, tag, text)


def _value_faults(
    data: bytes, element: Element, row: Row | None, character_sets: tuple[str, ...], where: str
) -> Iterator[Fault]:
    vr = element.vr or (row.vr if row is not None else known_vr(element.tag).encode("ascii"))
    if (element.stop - element.start) & 1:
        yield _fault("odd-length", "PS3.5 7.1.1", where, element.tag, "has a value of odd length")
    value = data[element.start : element.stop]
    text = in_utf_8(vr, value, character_sets)
    if text is not None:
        yield from _text_faults(vr, text, element, row, where)
    if vr == b"UI":
        for uid in value.split(b"\\"):
            bare = uid.rstrip(b"\0")
            if bare and (len(bare) > _LONGEST_UID or _UID.fullmatch(bare) is None):
                yield _fault("uid", "PS3.5 9.1", where, element.tag, "is no valid UID")
    elif not any(character_sets) and is_expandable(vr) and not value.isascii():
        what = "has characters outside ASCII, but no Specific Character Set (0008,0005) applies"
        yield _fault("character-set", "PS3.3 C.12.1.1.2", where, element.tag, what)


def _text_faults(vr: bytes, value: bytes, element: Element, row: Row | None, where: str) -> Iterator[Fault]:
    if row is not None and (number := number_of_values(vr, value)) is not None and not is_allowed(row.vm, number):
        text = f"{row.keyword} has {number} values; its VM is {row.vm}"
        yield _fault("vm", "PS3.6 chapter 6", where, element.tag, text)
    if element.tag not in _TIMES and not keeps_its_vr(vr, value):
        text = f"has a value that VR {vr.decode('ascii', 'replace')} does not allow"
        yield _fault("value", "PS3.5 6.2", where, element.tag, text)


def _is_empty(data: bytes, element: Element, row: Row) -> bool:
    if row.vr in _BINARY or element.undefined:
        return element.start == element.stop
    return not data[element.start : element.stop].strip(b" \0")


def _vr_fault(where: str, row: Row, element: Element) -> Fault:
    text = f"{row.keyword} has VR {element.vr.decode('ascii', 'replace')} instead of {row.vr.decode('ascii')}"
    # UN is allowed for what a writer does not know (PS3.5 6.2.2), yet a reader may be lost.
    severity = Severity.WARNING if element.vr == b"UN" else Severity.ERROR
    return _fault("vr", "PS3.6 chapter 6", where, row.tag, text, severity)


def _fault(rule: str, section: str, where: str, tag: int, text: str, severity: Severity = Severity.ERROR) -> Fault:
    return Fault(rule, section, f"{where} {show(tag)}".strip(), text, severity)
