"""The attribute tables of docs/conformance.md, made of what the writer writes.

Two samples are written and read back with pydicom: one of which nothing is said that need not be, one of which
everything is said that can be. What stands in both with a value is ALWAYS there; in both, in one without a value: VNAP;
in one only: ANAP. ``python -m tests.conformance_tables`` puts the tables into the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from pydicom import dcmread
from pydicom.datadict import dictionary_description, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from state.attributes import (
    DERIVED,
    MODALITY,
    SOP_CLASS_UID,
    Attribute,
    Level,
    item_attributes,
    recordable,
)
from state.record import InstanceRecord, SeriesRecord, StudyRecord, Tombstone
from state.times import parse_time
from state.values import Item, Value
from stocktake.settings import load
from tests.page_tables import fill
from writers import iod, terms
from writers.policy import InventoryPolicy
from writers.study_items import StudyItems

PAGE: Final = Path(__file__).parents[1] / "docs" / "conformance.md"
HEADER: Final = ("| attribute | tag | VR | type | presence | source | value |", "|---|---|---|---|---|---|---|")

_AT: Final = parse_time("2026-11-28T02:00:00Z")
_BARE: Final = load(None, {}).inventory
_FULL: Final = load(
    None,
    {
        f"STOCKTAKE_{name}": value
        for name, value in {
            "INVENTORY__PURPOSE": "Migration",
            "INVENTORY__INSTITUTION_NAME": "Example Hospital",
            "INVENTORY__STATION_NAME": "INVENTORY-1",
            "INVENTORY__DEVICE_SERIAL_NUMBER": "1",
            "INVENTORY__WRITE_TIMEZONE": "true",
            "ACCESS__STUDY_AE_TITLES": "ARCHIVE",
            "ACCESS__STUDY_RETRIEVE_URL": "https://pacs.example.org/dicom-web",
            "ACCESS__STUDY_BASE_URI": "https://pacs.example.org/files/",
            "ACCESS__INVENTORY_AE_TITLES": "ARCHIVE",
            "ACCESS__INVENTORY_RETRIEVE_URL": "https://pacs.example.org/dicom-web",
            "ACCESS__INVENTORY_BASE_URI": "https://inventories.example.org/main/",
        }.items()
    },
).inventory
_STORED: Final = iod.StoredFile("2026/11/28/2.25.2.dcm", 1024, "00" * 32, iod.TRANSFER_SYNTAXES["EXPLICIT"])
_BY_VR: Final = {
    "AE": "ARCHIVE", "CS": "A", "DA": "20261128", "DS": "1", "DT": "20261128", "FD": "1.0", "IS": "1", "LO": "A",
    "LT": "A", "OB": "AAE=", "PN": "A^B", "SH": "A", "SL": "1", "ST": "A", "TM": "12", "UC": "A", "UI": "1.2",
    "UL": "1", "UR": "a", "US": "1", "UT": "A", "UV": "1", "AT": "00080005",
}  # fmt: skip


# --- the samples -----------------------------------------------------------------------------------------------


def everything(table: Mapping[str, Attribute]) -> Item:
    """A value for each attribute, and in each sequence an Item with a value for each attribute."""

    def value(row: Attribute) -> Value:
        if row.vr != "SQ":
            return _BY_VR[row.vr]
        return [{tag: value(one) for tag, one in row.children.items()}] if row.children else []

    return {tag: value(row) for tag, row in table.items()}


def bare_records() -> list[StudyRecord]:
    """A study, series and instances of which nothing is known but that they are there."""
    known = StudyRecord("1.2.2", own_time=_AT)
    known.series["1.2.2.1"] = SeriesRecord(stored=True)
    known.add_instance("1.2.2.1.1", InstanceRecord("1.2.2.1", {SOP_CLASS_UID: "1.2.840.10008.5.1.4.1.1.2"}))
    known.series["1.2.2.2"] = SeriesRecord(stored=True)
    return [StudyRecord("1.2.1", own_time=_AT), known]


def full_record() -> StudyRecord:
    """A study, with a series and an instance, of which everything is known, and that are removed for a reason."""
    reason = Tombstone(_AT, {"00080100": "113001", "00080102": "DCM", "00080104": "Rejected for Quality Reasons"})
    record = StudyRecord("1.2.3", own_time=_AT, attributes=everything(recordable(Level.STUDY)), tombstone=reason)
    said = everything(recordable(Level.SERIES))
    record.series["1.2.3.1"] = SeriesRecord(attributes=said, stored=True, tombstone=reason)
    said = everything(recordable(Level.INSTANCE))
    record.add_instance("1.2.3.1.1", InstanceRecord("1.2.3.1", said, reason))
    return record


def written(records: Sequence[StudyRecord], policy: InventoryPolicy, level: Level = Level.INSTANCE) -> Dataset:
    """An inventory of these records: as a chain's first with the bare policy, else one that incorporates others."""
    is_bare = policy is _BARE
    items = StudyItems(level)
    body = b"".join(items.encode_all([(record, _AT) for record in records]))
    below = [] if is_bare else [iod.reference("2.25.2", [iod.reference("2.25.1", [], None)], _STORED)]
    scope = (None, _AT) if is_bare else (_AT, _AT)
    heading = iod.Heading("2.25.3", _AT, scope, level, "Baseline", below)
    data = iod.file_meta("2.25.3", iod.TRANSFER_SYNTAXES["EXPLICIT"])
    data += iod.header(heading, replace(policy, level=level), ZoneInfo("UTC")) + iod.STUDIES_BEGIN + body
    data += iod.STUDIES_END + iod.trailer(terms.COMPLETE, 1, 1, policy, "Stocktake 1", "" if is_bare else "2.25.4")
    return dcmread(BytesIO(data))


@cache
def samples() -> tuple[Dataset, Dataset]:
    """The bare one and the full one."""
    return written(bare_records(), _BARE), written([full_record()], _FULL)


# --- what they show --------------------------------------------------------------------------------------------


class Said(NamedTuple):
    """What one sample shows of the Items of one kind, by tag: whether it is in all of them, and always has a value."""

    in_all: frozenset[str]
    with_value: frozenset[str]
    in_any: frozenset[str]


def _said(items: Sequence[Dataset]) -> Said:
    elements: list[dict[str, DataElement]] = [{f"{one.tag:08X}": one for one in item} for item in items]
    in_any = frozenset().union(*elements)
    in_all = frozenset(tag for tag in in_any if all(tag in item for item in elements))
    with_value = frozenset(tag for tag in in_all if not any(item[tag].is_empty for item in elements))
    return Said(in_all, with_value, in_any)


def presences(bare: Sequence[Dataset], full: Sequence[Dataset]) -> dict[str, str]:
    """By tag: ALWAYS, VNAP or ANAP."""
    few, many = _said(bare), _said(full)
    found = {}
    for tag in sorted(few.in_any | many.in_any):
        if tag in few.in_all & many.in_all:
            found[tag] = "ALWAYS" if tag in few.with_value & many.with_value else "VNAP"
        else:
            found[tag] = "ANAP"
    return found


# --- the tables ------------------------------------------------------------------------------------------------

# Type, source and value of what is no attribute of Table C.38.1-1, or is more than what an archive said.
_COMMON: Final = {
    "00080005": ("1C", "FIXED", "`ISO_IR 192`"),
    "00080016": ("1", "FIXED", "1.2.840.10008.5.1.4.1.1.201.1"),
    "00080018": ("1", "AUTO", "new for each file, under `inventory.uid_root`"),
    "00080201": ("3", "CONFIG", "with `inventory.write_timezone`: the offset of the repository's `timezone`"),
    "00080070": ("2", "CONFIG", "`inventory.manufacturer` (`Stocktake`)"),
    "00080080": ("3", "CONFIG", "`inventory.institution_name`"),
    "00081010": ("3", "CONFIG", "`inventory.station_name`"),
    "00081090": ("3", "FIXED", "`Stocktake`"),
    "00181000": ("3", "CONFIG", "`inventory.device_serial_number`"),
    "00181020": ("3", "AUTO", "`Stocktake` and its version"),
}
_INVENTORY: Final = {
    "00080023": ("1", "AUTO", "date of the cut, in the repository's `timezone`"),
    "00080033": ("1", "AUTO", "time of the cut, with microseconds, in the same zone"),
    "00080400": ("2", "AUTO", "one Item, see [Scope](#aa22-scope-of-inventory-macro)"),
    "00080401": ("2", "CONFIG", "`inventory.purpose`"),
    "00080402": ("3", "AUTO", "what of the scope this instance itself holds, in English"),
    "00080403": ("1", "CONFIG", "`inventory.level`: `STUDY`, `SERIES` or `INSTANCE`"),
    "00080420": ("3", "CONFIG", "one Item, see [Access](#aa24-access-end-points-macro)"),
    "00080421": ("3", "CONFIG", "one Item, see [Access](#aa24-access-end-points-macro)"),
    "00080422": ("2", "AUTO", "an Item for each one incorporated, see [References](#aa23-inventory-reference-macro)"),
    "00080423": ("2", "AUTO", "an Item for each own record, see [Study records](#aa25-study-records)"),
    "00080426": ("1", "AUTO", "`COMPLETE`, or `PARTIAL` after a forced cut and in parts"),
    "00080427": ("1", "AUTO", "Items in (0008,0423)"),
    "00080428": ("1", "AUTO", "Items in (0008,0423) here and in all that is incorporated"),
    "00081195": ("1C", "AUTO", "with `inventory.write_transaction_uid`: new for each inventory, shared by its parts"),
}  # fmt: skip
_REFERENCE: Final = {
    "00080409": ("1C", "AUTO", "with `access.inventory_base_uri`, as all to MAC: `./` and the file's place below it"),
    "0008040A": ("1C", "FIXED", "`BLOB`: the file is the whole of it ([decision 14](decisions/0014-stored-files.md))"),
    "0008040C": ("1C", "FIXED", "0"),
    "0008040D": ("1C", "AUTO", "the file's size"),
    "0008040E": ("1C", "AUTO", "Transfer Syntax UID of the file"),
    "00080422": ("1C", "AUTO", "where the referenced inventory incorporates others: a copy of its own (0008,0422)"),
    "00081150": ("1", "FIXED", "1.2.840.10008.5.1.4.1.1.201.1"),
    "00081155": ("1", "AUTO", "its SOP Instance UID"),
    "04000015": ("1C", "FIXED", "`SHA256`"),
    "04000404": ("3", "AUTO", "SHA-256 of the file"),
}  # fmt: skip
_ACCESS: Final = {
    "00080054": ("1C", "CONFIG", "`access.study_ae_titles`, `access.inventory_ae_titles`"),
    "00080407": ("3", "CONFIG", "`access.study_base_uri`, `access.inventory_base_uri`"),
    "00081190": ("1C", "CONFIG", "`access.study_retrieve_url`, `access.inventory_retrieve_url`"),
}
_RECORDS: Final = {
    "0020000D": ("AUTO", "as events name the study"),
    "0020000E": ("AUTO", "as events name the series"),
    "00080018": ("AUTO", "as events name the instance"),
    "00080404": ("AUTO", "when the record was read, by the clock of the state's server; microseconds, `+0000`"),
    "00080405": ("AUTO", "`Y` where removed; else absent"),
    "00080406": ("ARCHIVE", "where removed: the code that the event gave (CID 7031), or no Item"),
    "0008041F": ("AUTO", "the latest time of any event of the study; microseconds, `+0000`"),
    "00080061": ("AUTO", "of the series that are not removed; else as the archive said"),
    "00080060": ("ARCHIVE", "`OT` where nothing was said"),
    "00201206": ("AUTO", "series that are not removed; else as announced; else empty"),
    "00201208": ("AUTO", "instances that are not removed; else as announced; else empty"),
    "00080424": ("AUTO", "at level SERIES and INSTANCE, also without Items; else absent"),
    "00080425": ("AUTO", "at level INSTANCE, also without Items; else absent"),
    "04000561": ("ARCHIVE", "Modified Attributes Sequence (0400,0550) without Items: what it holds is not kept"),
    "00080016": ("ARCHIVE", "an instance of which it is not known is not listed"),
}


def _rows(found: Mapping[str, str], facts: Mapping[str, tuple[str, str, str]]) -> Iterator[str]:
    for tag, presence in found.items():
        type_, source, value = facts[tag]
        yield _row(tag, dictionary_VR(int(tag, 16)), type_, presence, source, value)


def _record_rows(found: Mapping[str, str], level: Level) -> Iterator[str]:
    table = item_attributes(level)
    for tag, presence in found.items():
        default = ("ARCHIVE", "") if tag not in DERIVED or tag in (MODALITY,) else ("AUTO", "")
        source, value = _RECORDS.get(tag, default)
        yield _row(tag, table[tag].vr, table[tag].type, presence, source, value)


def _row(tag: str, vr: str, type_: str, presence: str, source: str, value: str) -> str:
    name = dictionary_description(int(tag, 16))
    return f"| {name} | ({tag[:4]},{tag[4:]}) | {vr} | {type_} | {presence} | {source} | {value} |"


@cache
def tables() -> dict[str, list[str]]:
    """The page's tables by name, as lines."""
    bare, full = samples()
    empty = written([], _BARE)
    own = {"common": _COMMON, "inventory": _INVENTORY}
    found = {
        name: presences([_only(bare, facts), _only(empty, facts)], [_only(full, facts)]) for name, facts in own.items()
    }
    rest = {f"{one.tag:08X}" for sample in (bare, full) for one in sample} - _COMMON.keys() - _INVENTORY.keys()
    if rest:
        raise ValueError(f"written, and in no table: {sorted(rest)}")
    made = {name: [*HEADER, *_rows(found[name], facts)] for name, facts in own.items()}
    [reference] = full.IncorporatedInventoryInstanceSequence
    inner = reference.IncorporatedInventoryInstanceSequence
    made["reference"] = [*HEADER, *_rows(presences(inner, [reference]), _REFERENCE)]
    ends = [*full.InventoryAccessEndPointsSequence, *full.StudyAccessEndPointsSequence]
    made["access"] = [*HEADER, *_rows(presences([Dataset()], ends), _ACCESS)]
    for level, few, many in _levels(bare, full):
        made[level.lower()] = [*HEADER, *_record_rows(presences(few, many), level)]
    return made


def _levels(bare: Dataset, full: Dataset) -> Iterator[tuple[Level, list[Dataset], list[Dataset]]]:
    """The Items of each level, in inventories of that level and of the next finer one."""
    few, many = list(bare.InventoriedStudiesSequence), list(full.InventoriedStudiesSequence)
    yield Level.STUDY, [*few, *written(bare_records(), _BARE, Level.STUDY).InventoriedStudiesSequence], many
    coarse = list(written(bare_records(), _BARE, Level.SERIES).InventoriedStudiesSequence)
    coarse = _below(coarse, "InventoriedSeriesSequence")
    few, many = _below(few, "InventoriedSeriesSequence"), _below(many, "InventoriedSeriesSequence")
    yield Level.SERIES, [*few, *coarse], many
    yield Level.INSTANCE, _below(few, "InventoriedInstancesSequence"), _below(many, "InventoriedInstancesSequence")


def _below(items: Sequence[Dataset], keyword: str) -> list[Dataset]:
    return [one for item in items for one in item.get(keyword) or ()]


def _only(dataset: Dataset, tags: Mapping[str, object]) -> Dataset:
    found = Dataset()
    found.update({one.tag: one for one in dataset if f"{one.tag:08X}" in tags})
    return found


def with_tables(page: str) -> str:
    """The page with each table between its marks made anew."""
    return fill(page, dict(tables()))


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
