"""Study records as Hypothesis makes them: values of every VR, empty ones, nested sequences, removals at each level.

``expected_item`` says what the Item of such a record must hold. It works the counts and removals out from the instances
alone, and is made of pydicom's own objects, so it owes nothing to the code that is tested.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from hypothesis import strategies as st
from pydicom import config
from pydicom.dataelem import DataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from state.attributes import MODALITY, REASON_FOR_REMOVAL, SOP_CLASS_UID, Attribute, Level, item_attributes, recordable
from state.record import InstanceRecord, SeriesRecord, StudyRecord, Tombstone
from state.times import to_dt
from state.values import Item, Value
from tests.standard_table import INSTANCES, SERIES, STUDIES, TagPath, standard_rows

LATEST: Final = 253_402_300_799_999_999  # the last microsecond of the year 9999
DEEPEST: Final = 3  # sequences that need not be there are left out below this depth

_NUMBERS: Final = frozenset({"FD", "SL", "UL", "US", "UV"})
_LONG_TEXT: Final = frozenset({"LT", "ST", "UT"})
_PATHS: Final = {Level.STUDY: STUDIES, Level.SERIES: SERIES, Level.INSTANCE: INSTANCES}

# --- values -------------------------------------------------------------------------------------------------

_letters = st.characters(categories=("L", "N", "P", "S"), exclude_characters="\\^=")
_SOME: Final = ("Grün", "محمد", "山田", "Ångström", "emoji 🩻")


def _text(limit: int) -> st.SearchStrategy[str]:
    """A text without padding, now and then as long as it may be."""
    words = st.lists(st.text(_letters, min_size=1, max_size=8), min_size=1, max_size=3).map(" ".join)
    texts = st.one_of(words, st.sampled_from(_SOME), st.just("ü" * (limit - 1)))
    return texts.map(lambda text: _room_for_padding(text[:limit].rstrip(), limit))


def _room_for_padding(text: str, limit: int) -> str:
    """pydicom takes the space that pads a value to an even length for one of its characters."""
    return text[:-1].rstrip() if len(text) == limit and len(text.encode()) % 2 else text


def _lines(limit: int) -> st.SearchStrategy[str]:
    return st.lists(_text(limit // 4), min_size=1, max_size=3).map("\r\n".join)


def _padded(number: int, width: int) -> str:
    return f"{number:0{width}}"


@st.composite
def _times(draw: st.DrawFn) -> str:
    parts = [draw(st.integers(0, most)) for most in (23, 59, 60)[: draw(st.integers(1, 3))]]
    text = "".join(_padded(part, 2) for part in parts)
    if len(parts) == 3 and draw(st.booleans()):
        text += "." + draw(st.text("0123456789", min_size=1, max_size=6))
    return text


_dates = st.dates().map(lambda day: f"{day.year:04}{day.month:02}{day.day:02}")


@st.composite
def _date_times(draw: st.DrawFn) -> str:
    day = draw(_dates)
    text = draw(st.sampled_from([day[:4], day[:6], day, day + draw(_times())]))
    return text + draw(st.sampled_from(["", "+0000", "+0530", "-1130", "+1400"]))


@st.composite
def _decimals(draw: st.DrawFn) -> str:
    number = draw(st.floats(allow_nan=False, allow_infinity=False))
    return draw(st.sampled_from([f"{number:.6g}", f"{number:.3e}", f"{number % 1000:.5f}"]))


@st.composite
def _names(draw: st.DrawFn) -> str:
    def group() -> str:
        return "^".join(draw(st.lists(st.one_of(st.just(""), _text(12)), max_size=5))).rstrip("^ ")

    return "=".join(group() for _ in range(draw(st.integers(1, 3)))).rstrip("=") or "A"


_short_uids = st.integers(1, 10**9).map(lambda number: f"1.2.840.{number}")
_uids = st.lists(st.integers(0, 10**12), min_size=1, max_size=4).map(
    lambda parts: "1.2.840." + ".".join(map(str, parts))
)
_code_strings = st.text(string.ascii_uppercase + string.digits + "_ ", min_size=1, max_size=16).map(str.strip)
_ae_titles = st.text(string.ascii_letters + string.digits + "_-.! ", min_size=1, max_size=16).map(str.strip)
_uris = st.text(string.ascii_letters + string.digits + "-._~:/?#[]@!$&'()*+,;=%", min_size=1, max_size=40)

_BY_VR: Final[dict[str, st.SearchStrategy[str]]] = {
    "AE": _ae_titles.filter(bool),
    "AT": st.integers(0, 2**32 - 1).map(lambda tag: f"{tag:08X}"),
    "CS": _code_strings.filter(bool),
    "DA": _dates,
    "DS": _decimals(),
    "DT": _date_times(),
    "FD": st.floats(allow_nan=False).map(repr),
    "IS": st.integers(-(2**31), 2**31 - 1).map(str),
    "LO": _text(64),
    "LT": _lines(10_240),
    "OB": st.binary(min_size=1, max_size=9).map(lambda data: base64.b64encode(data).decode()),
    "PN": _names(),
    "SH": _text(16),
    "SL": st.integers(-(2**31), 2**31 - 1).map(str),
    "ST": _lines(1024),
    "TM": _times(),
    "UC": _text(300),
    "UI": _uids,
    "UL": st.integers(0, 2**32 - 1).map(str),
    "UR": _uris,
    "US": st.integers(0, 2**16 - 1).map(str),
    "UT": _lines(3000),
    "UV": st.integers(0, 2**64 - 1).map(str),
}


# Records hold hundreds of values: each is one of these, which are quickly drawn. Short texts are as long as they may
# be, need padding, hold several scripts or several groups; numbers lie at their limits.
AWKWARD: Final[dict[str, tuple[str, ...]]] = {
    "AE": ("A", "ARCHIVE 1", "X" * 16),
    "AT": ("00080018", "FFFFFFFF"),
    "CS": ("A", "_ 9", "Z" * 16),
    "DA": ("20260102", "00010101", "20240229"),
    "DS": ("0", "-1.5", "+.5E-300", "1234567890.12345"),
    "DT": ("2026", "20260102030405.123456-1130", "2026010203+0000"),
    "FD": ("0.0", "-1.7976931348623157e+308", "5e-324", "inf"),
    "IS": ("0", "-2147483648", "+2147483647"),
    "LO": ("a", *_SOME, "ü" * 63),
    "LT": ("a", "two\r\nlines\tand a\fpage"),
    "OB": ("AA==", "AAEC/w=="),
    "PN": (
        "A",
        "Müller^Jörg^^Dr.",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "=山田",
        "قباني^لنزار",
        "ü" * 63 + "=" + "ü" * 63,
    ),
    "SH": ("a", "Ä b", "ü" * 15),
    "SL": ("-2147483648", "2147483647"),
    "ST": ("a\\b", "ü" * 300),
    "TM": ("23", "2359", "235960", "101500.1", "101500.123456"),
    "UC": ("a", "ü" * 300),
    "UI": ("1.2", "1.2.840.10008.1.1", "2.25." + "9" * 59),
    "UL": ("0", "4294967295"),
    "UR": ("a", "https://example.org/a?b=%20&c#d"),
    "US": ("0", "65535"),
    "UT": ("a\\b\r\nc", "ü" * 300),
    "UV": ("0", "18446744073709551615"),
}


@st.composite
def flat_texts(draw: st.DrawFn, vr: str, vm: str = "1", *, awkward: bool = False) -> str:
    """A value of a VR other than SQ that keeps every rule of PS3.5 6.2, in the flat form; never empty.

    ``awkward``: one of :data:`AWKWARD`, else any.
    """
    low, _, high = vm.partition("-")
    most = int(low) if not high else (3 if high == "n" else 2 * int(low))
    count = draw(st.sampled_from(range(int(low), most + 1, int(low))))
    one = st.sampled_from(AWKWARD[vr]) if awkward else _BY_VR[vr]
    return "\\".join(draw(one) for _ in range(count))


@st.composite
def flat_items(draw: st.DrawFn, table: Mapping[str, Attribute], depth: int = 0) -> Item:
    """An Item with the Type 1 attributes of its table and a few others, some of them empty."""
    others = [tag for tag, row in table.items() if row.type != "1" and (row.vr != "SQ" or depth < DEEPEST)]
    chosen = draw(st.lists(st.sampled_from(others), unique=True, max_size=3)) if others else []
    item: Item = {}
    for tag in chosen:
        row = table[tag]
        if draw(st.integers(0, 4)):
            item[tag] = draw(flat_values(row, depth))
        else:
            item[tag] = [] if row.vr == "SQ" else ""
    return item | {tag: draw(flat_values(row, depth)) for tag, row in table.items() if row.type == "1"}


@st.composite
def flat_values(draw: st.DrawFn, row: Attribute, depth: int = 0) -> Value:
    """A value of one attribute in the flat form; a sequence has one or two Items."""
    if row.vr != "SQ":
        return draw(flat_texts(row.vr, row.vm, awkward=True))
    return [draw(flat_items(row.children, depth + 1)) for _ in range(draw(st.integers(1, 2)))]


# --- records ------------------------------------------------------------------------------------------------

_moments = st.integers(0, LATEST)


@st.composite
def study_records(draw: st.DrawFn) -> StudyRecord:
    """A record of no to three series of no to three instances each, parts of it removed or known by a removal alone."""
    reasons: list[Item] = [{}, *draw(st.lists(flat_items(_reason_table()), max_size=2))]

    def tombstone() -> Tombstone | None:
        if draw(st.integers(0, 2)):
            return None
        time = draw(_moments)
        return Tombstone(time, reasons[time % len(reasons)])  # so that removals of one moment are alike

    record = StudyRecord(
        draw(_short_uids),
        own_time=max(1, draw(_moments)),  # 0 is none
        attributes=draw(flat_items(recordable(Level.STUDY))),
        tombstone=tombstone(),
        expected_series=draw(st.one_of(st.none(), st.integers(0, 4))),
        expected_instances=draw(st.one_of(st.none(), st.integers(0, 12))),
    )
    for series_uid in draw(st.lists(_short_uids, unique=True, max_size=3)):
        attributes = draw(flat_items(recordable(Level.SERIES)))
        if draw(st.integers(0, 3)) == 0:
            del attributes[MODALITY]
        record.series[series_uid] = SeriesRecord(attributes, tombstone(), stored=draw(st.booleans()))
        for sop_uid in draw(st.lists(_short_uids, unique=True, max_size=3)):
            found = draw(flat_items(recordable(Level.INSTANCE)))
            gone = tombstone()
            if gone is not None and draw(st.booleans()):
                del found[SOP_CLASS_UID]
            else:
                record.series[series_uid].stored = True
            record.put_instance(sop_uid, InstanceRecord(series_uid, found, gone))
    return record


def _reason_table() -> dict[str, Attribute]:
    return item_attributes(Level.STUDY)[REASON_FOR_REMOVAL].children


# --- what must come of them ---------------------------------------------------------------------------------


def expected_item(record: StudyRecord, level: Level, item_inventory_datetime: int) -> Dataset:
    """The Item of Inventoried Studies Sequence for a record, each value checked by pydicom as strictly as it can."""
    with strict_writing():
        return _study_item(record, level, item_inventory_datetime)


@contextmanager
def strict_writing() -> Iterator[None]:
    """pydicom refuses a value that breaks its VR."""
    before = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.RAISE
    try:
        yield
    finally:
        config.settings.writing_validation_mode = before


def _study_item(record: StudyRecord, level: Level, at: int) -> Dataset:
    shown = {uid: series for uid, series in record.series.items() if series.stored or series.tombstone is not None}
    live = [series for uid, series in shown.items() if _series_removal(record, uid) is None]
    known = [found for _, found in record.instances() if SOP_CLASS_UID in found.attributes]
    live_instances = [
        found
        for found in known
        if found.tombstone is None and record.series[found.series_instance_uid].tombstone is None
    ]
    modalities = sorted({str(series.attributes.get(MODALITY, "OT")) for series in live or shown.values()})
    flat: Item = {
        **record.attributes,
        "0020000D": record.study_instance_uid,
        "00080404": to_dt(at),
        "0008041F": to_dt(record.update_time),
        "00080061": "\\".join(modalities) if shown else record.attributes.get("00080061", ""),
        "00201206": _count(len(live) if shown else record.expected_series),
        "00201208": _count(len(live_instances) if known else record.expected_instances),
    }
    item = pydicom_item(flat | _removal(_study_removal(record, shown, len(known))), STUDIES)
    if level is not Level.STUDY:
        item.InventoriedSeriesSequence = [_series_item(record, uid, level) for uid in sorted(shown)]
    return item


def _series_item(record: StudyRecord, uid: str, level: Level) -> Dataset:
    flat = {MODALITY: "OT"} | record.series[uid].attributes | {"0020000E": uid}
    item = pydicom_item(flat | _removal(_series_removal(record, uid)), SERIES)
    if level is Level.INSTANCE:
        item.InventoriedInstancesSequence = [
            pydicom_item(found.attributes | {"00080018": sop_uid} | _removal(found.tombstone), INSTANCES)
            for sop_uid, found in sorted(record.instances(), key=lambda pair: pair[0])
            if found.series_instance_uid == uid and SOP_CLASS_UID in found.attributes
        ]
    return item


def _study_removal(record: StudyRecord, shown: Mapping[str, SeriesRecord], known: int) -> Tombstone | None:
    """The study's own, else the latest below once its last series is gone and nothing announced is still to come."""
    if record.tombstone is not None:
        return record.tombstone
    removals = [_series_removal(record, uid) for uid in shown]
    if not any(series.stored for series in shown.values()) or None in removals:
        return None
    if len(shown) < (record.expected_series or 0):
        return None
    by_instances = any(series.tombstone is None for series in shown.values())
    if by_instances and known < (record.expected_instances or 0):
        return None
    return max((gone for gone in removals if gone is not None), key=lambda gone: gone.time)


def _series_removal(record: StudyRecord, uid: str) -> Tombstone | None:
    if record.series[uid].tombstone is not None:
        return record.series[uid].tombstone
    below = [found for _, found in record.instances() if found.series_instance_uid == uid]
    inventoried = [found for found in below if SOP_CLASS_UID in found.attributes]
    if not inventoried or any(found.tombstone is None for found in inventoried):
        return None
    return max((found.tombstone for found in below if found.tombstone is not None), key=lambda gone: gone.time)


def _removal(tombstone: Tombstone | None) -> Item:
    if tombstone is None:
        return {}
    return {"00080405": "Y", REASON_FOR_REMOVAL: [tombstone.reason] if tombstone.reason else []}


def _count(number: int | None) -> str:
    return "" if number is None else str(number)


def pydicom_item(flat: Item, path: TagPath) -> Dataset:
    """A flat Item as pydicom holds it, the Type 2 attributes that it lacks added empty."""
    rows = standard_rows()
    item = Dataset()
    for tag, value in flat.items():
        vr = rows[(*path, tag)].vr
        item[Tag(int(tag, 16))] = DataElement(int(tag, 16), vr, _pydicom_value(value, vr, (*path, tag)))
    for (*parent, tag), row in rows.items():
        if tuple(parent) == path and row.type == "2" and int(tag, 16) not in item:
            empty = [] if row.vr == "SQ" else empty_value_for_VR(row.vr)
            item[Tag(int(tag, 16))] = DataElement(int(tag, 16), row.vr, empty)
    return item


def _pydicom_value(value: Value, vr: str, path: TagPath) -> Any:
    if isinstance(value, list):
        return [pydicom_item(item, path) for item in value]
    if not value:
        return empty_value_for_VR(vr)
    if vr == "OB":
        data = base64.b64decode(value)
        return data + b"\0" * (len(data) % 2)
    if vr in _LONG_TEXT or vr == "UR":
        return value
    parts: list[Any] = value.split("\\")
    if vr == "AT":
        parts = [Tag(int(part, 16)) for part in parts]
    elif vr in _NUMBERS:
        parts = [float(part) if vr == "FD" else int(part) for part in parts]
    return parts if len(parts) > 1 else parts[0]
