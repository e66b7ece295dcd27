"""The archive's Inventories as files: bytes put together here, in Implicit VR Little Endian, as another program would.

Lengths are defined in every second Item and undefined in the others. The character set is Latin-1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import BinaryIO, Final

from tests.foreign.archive import SECOND, Instance, Record, Series, content_time, editions, record

INVENTORY_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.201.1"
_IMPLICIT: Final = "1.2.840.10008.1.2"
_UIDS: Final = {edition: f"1.3.6.1.4.1.55556.{edition + 1}" for edition in range(4)}
_BELOW: Final[Mapping[int, Sequence[int]]] = {0: (), 1: (0,), 2: (), 3: (1, 2)}  # what each incorporates
_UNDEFINED: Final = 0xFFFFFFFF
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HEAD: Final = struct.Struct("<HHI")
_NUMBERS: Final = {"00280010": "<H", "00280011": "<H"}


@dataclass(frozen=True)
class Written:
    """A tree's root, and how many records all its members hold."""

    root: Path
    records: int


def write_tree(folder: Path, studies: int, zone: tzinfo) -> Written:
    """Write the Inventories of an archive of so many studies; local times and those of the files are in ``zone``."""
    folder.mkdir(parents=True)
    totals: dict[int, int] = {}
    for edition, below in _BELOW.items():
        records = (record(number, edition) for number in range(studies) if edition in editions(number))
        path = folder / f"inventory-{edition}.dcm"
        with path.open("wb") as file:
            totals[edition] = sum(totals[each] for each in below) + _write(file, edition, records, totals, zone)
    return Written(path, totals[edition])


def _write(file: BinaryIO, edition: int, records: Iterable[Record], totals: Mapping[int, int], zone: tzinfo) -> int:
    """Write one Inventory; how many records it holds."""
    uid = _UIDS[edition]
    file.write(bytes(128) + b"DICM" + _file_meta(uid))
    moment = _EPOCH + timedelta(microseconds=content_time(edition))
    begun = moment.astimezone(zone)
    header = {
        "00080005": b"ISO_IR 100",
        "00080016": INVENTORY_STORAGE.encode(),
        "00080018": uid.encode(),
        "00080023": f"{begun:%Y%m%d}".encode(),
        "00080033": f"{begun:%H%M%S}".encode(),
        "00080070": b"Another producer",
    }
    scope = _sequence("00080410", [_text("0008041F", ""), _text("0008041F", f"{moment:%Y%m%d%H%M%S}+0000")])
    file.write(b"".join(_element(tag, value) for tag, value in header.items()))
    file.write(_sequence("00080400", [scope]) + _text("00080401", "") + _text("00080403", "INSTANCE"))
    file.write(_sequence("00080422", [_reference(each) for each in _BELOW[edition]]))
    file.write(_header("00080423", _UNDEFINED))
    own = 0
    for own, each in enumerate(records, 1):
        file.write(_item(_study(each, zone), undefined=own % 2 == 0))
    file.write(_HEAD.pack(0xFFFE, 0xE0DD, 0))
    total = own + sum(totals[each] for each in _BELOW[edition])
    file.write(_text("00080426", "COMPLETE") + _element("00080427", struct.pack("<I", own)))
    file.write(_element("00080428", struct.pack("<Q", total)))
    return own


def _file_meta(uid: str) -> bytes:
    texts = {0x0002: INVENTORY_STORAGE, 0x0003: uid, 0x0010: _IMPLICIT, 0x0012: "1.3.6.1.4.1.55556"}
    found = struct.pack("<HH2sHI", 2, 1, b"OB", 0, 2) + b"\0\1"
    for element, text in texts.items():
        value = text.encode() + b"\0" * (len(text) % 2)
        found += struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value
    return struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(found)) + found


def _reference(edition: int) -> bytes:
    found = _text("00081150", INVENTORY_STORAGE) + _text("00081155", _UIDS[edition])
    below = [_reference(each) for each in _BELOW[edition]]
    return _sequence("00080422", below) + found if below else found


def _study(of: Record, zone: tzinfo) -> bytes:
    elements = {tag: _value(tag, value.written) for tag, value in of.values.items()}
    elements["0020000D"] = _text("0020000D", of.uid)
    elements["00080404"] = _text("00080404", _dt(of.recorded, zone if of.local else None))
    if of.updated is not None:
        elements["0008041F"] = _text("0008041F", _dt(of.updated, zone if of.local else None))
    elif of.number % 2:
        elements["0008041F"] = _text("0008041F", "")
    elements["00080424"] = _sequence("00080424", [_series(one) for one in of.series])
    return b"".join(_in_order(elements, of.removed, of.reason))


def _series(of: Series) -> bytes:
    elements = {tag: _value(tag, value.written) for tag, value in of.values.items()}
    elements["0020000E"] = _text("0020000E", of.uid)
    elements["00080425"] = _sequence("00080425", [_instance(one) for one in of.instances])
    return b"".join(_in_order(elements, of.removed, {}))


def _instance(of: Instance) -> bytes:
    elements = {tag: _value(tag, value.written) for tag, value in of.values.items()}
    elements["00080018"] = _text("00080018", of.uid)
    return b"".join(_in_order(elements, of.removed, {}))


def _in_order(elements: dict[str, bytes], removed: bool, reason: Mapping[str, str]) -> Iterator[bytes]:
    if removed:
        elements["00080405"] = _text("00080405", "Y")
        code = b"".join(_text(tag, value) for tag, value in reason.items())
        elements["00080406"] = _sequence("00080406", [code] if code else [])
    for tag in sorted(elements):
        yield elements[tag]


def _dt(moment: int, zone: tzinfo | None) -> str:
    """A DT in UTC with its offset, or in ``zone`` without one."""
    at = _EPOCH + timedelta(microseconds=moment)
    seconds = f"{at.astimezone(zone or UTC):%Y%m%d%H%M%S}"
    return f"{seconds}.{moment % SECOND:06}" + ("" if zone else "+0000")


def _value(tag: str, text: str) -> bytes:
    form = _NUMBERS.get(tag)
    return _text(tag, text) if form is None else _element(tag, struct.pack(form, int(text)))


def _text(tag: str, text: str) -> bytes:
    return _element(tag, text.encode("latin-1"))


def _element(tag: str, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if tag in {"00080016", "00080018", "0020000D", "0020000E", "00081150", "00081155"} else b" "
    return _header(tag, len(value)) + value


def _sequence(tag: str, items: Sequence[bytes]) -> bytes:
    content = b"".join(_item(item, undefined=number % 2 == 1) for number, item in enumerate(items))
    return _header(tag, len(content)) + content


def _item(content: bytes, *, undefined: bool) -> bytes:
    if undefined:
        return _HEAD.pack(0xFFFE, 0xE000, _UNDEFINED) + content + _HEAD.pack(0xFFFE, 0xE00D, 0)
    return _HEAD.pack(0xFFFE, 0xE000, len(content)) + content


def _header(tag: str, length: int) -> bytes:
    return _HEAD.pack(int(tag[:4], 16), int(tag[4:], 16), length)
