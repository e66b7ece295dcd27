"""What an inventory's record says of a study, in the form of the oracle's own account.

The bytes are taken apart here (Explicit VR Little Endian, PS3.5 chapter 7), not by the program's reader and not by
pydicom, which takes a minute for what these tests read.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Final

from state.values import Item, Value
from tests.oracle.study import State, filled

_LONG: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_BINARY: Final = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_SERIES: Final = "00080424"
_INSTANCES: Final = "00080425"
_REMOVED: Final = "00080405"
_REASON: Final = "00080406"
_OWN: Final = {  # of every level: what names the entity, and what Stocktake itself answers for
    "0020000D", "0020000E", "00080018", "00080404", "0008041F", _REMOVED, _REASON, "00080061", "00201206", "00201208",
    _SERIES, _INSTANCES,
}  # fmt: skip


def shown(data: bytes, update_time: int | None) -> State:
    """The state that an encoded study Item shows; ``update_time`` is its Study Update DateTime in UTC microseconds."""
    record = _item(data)
    state: State = {
        "time": update_time,
        "removal": _removal(record),
        "attributes": _attributes(record),
        "modalities": record["00080061"],
        "number of series": record["00201206"],
        "number of instances": record["00201208"],
    }
    if _SERIES in record:
        state["series"] = _by_uid(record[_SERIES], "0020000E", _series)
    return state


def _by_uid(items: Value, tag: str, read: object) -> State:
    assert not isinstance(items, str)
    assert callable(read)
    found = {str(item[tag]): read(item) for item in items}
    assert len(found) == len(items), "one entity comes twice"
    return found


def _series(record: Item) -> State:
    state: State = {"removal": _removal(record), "attributes": _attributes(record)}
    if _INSTANCES in record:
        state["instances"] = _by_uid(record[_INSTANCES], "00080018", _instance)
    return state


def _instance(record: Item) -> State:
    return {"removal": _removal(record), "attributes": _attributes(record)}


def _removal(record: Item) -> Value | None:
    if _REMOVED not in record:
        assert _REASON not in record
        return None
    assert record[_REMOVED] == "Y"
    return record[_REASON]


def _attributes(record: Item) -> Item:
    return filled({tag: value for tag, value in record.items() if tag not in _OWN})


def _item(data: bytes) -> Item:
    """The elements of an Item by tag, in the flat form of the events' values."""
    found: Item = {}
    at = 0
    while at < len(data):
        group, element = struct.unpack_from("<HH", data, at)
        vr = data[at + 4 : at + 6].decode("ascii")
        if vr in _LONG:
            [length] = struct.unpack_from("<I", data, at + 8)
            at += 12
        else:
            [length] = struct.unpack_from("<H", data, at + 6)
            at += 8
        tag = f"{group:04X}{element:04X}"
        assert not found or tag > next(reversed(found)), "elements stand in the order of their tags"
        assert length % 2 == 0
        assert at + length <= len(data)
        content = data[at : at + length]
        found[tag] = [_item(item) for item in _items(content)] if vr == "SQ" else _text(content, vr)
        at += length
    return found


def _items(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        tag, length = struct.unpack_from("<4sI", content, at)
        assert tag == b"\xfe\xff\x00\xe0"
        yield content[at + 8 : at + 8 + length]
        at += 8 + length


def _text(content: bytes, vr: str) -> str:
    if vr in _BINARY:
        numbers = struct.unpack(f"<{len(content) // struct.calcsize(_BINARY[vr])}{_BINARY[vr]}", content)
        return "\\".join(map(str, numbers))
    if vr == "AT":
        return "\\".join(f"{group:04X}{element:04X}" for group, element in struct.iter_unpack("<HH", content))
    if vr in {"OB", "UN"}:
        return base64.b64encode(content).decode()
    return content.decode("utf-8").rstrip("\0" if vr == "UI" else " ")
