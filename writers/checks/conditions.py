"""The conditions of Types 1C and 2C that a data set itself decides, and its enumerated values.

What depends on the archive (is there a Retrieve URL to tell of?) is not decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from writers.checks.finding import Fault, Severity
from writers.scanning import show
from writers.terms import NOT_REMOVED, REMOVED

_REMOVED: Final = 0x00080405
_YES: Final = REMOVED.encode()
_NO: Final = NOT_REMOVED.encode()
_REASON: Final = 0x00080406
_FILE_URI: Final = 0x00080409
_CONTAINER: Final = 0x0008040A
_FILENAME: Final = 0x0008040B
_OFFSET: Final = 0x0008040C
_LENGTH: Final = 0x0008040D
_STORED_SYNTAX: Final = 0x0008040E
_MECHANISMS: Final = 0x0008040F
_MAC_ALGORITHM: Final = 0x04000015
_MAC: Final = 0x04000404
_CODE_VALUE: Final = 0x00080100
_SCHEME: Final = 0x00080102
_CODE_MEANING: Final = 0x00080104
_LONG_CODE: Final = 0x00080119
_URN_CODE: Final = 0x00080120
_QUERY_LEVEL: Final = 0x00080052
_TIMEZONE: Final = 0x00080201

_SECTION: Final = "PS3.3 Table C.38.1-1"
_STORED_FILE: Final = "PS3.3 Table C.38.2-2"
_SCOPE: Final = "PS3.3 Table C.38.2-1"
_CODE: Final = "PS3.3 Table 8.8-1"


def conditional_faults(values: Mapping[int, bytes], allowed: Collection[int], where: str) -> Iterator[Fault]:
    """The faults of one data set: its values by tag, of a table that allows the tags ``allowed``."""
    if _REMOVED in values:
        yield from _removal(values, where)
    elif _REASON in values:
        text = f"is there without Removed from Operational Use {show(_REMOVED)}"
        yield Fault("reason-without-removal", _SECTION, _at(where, _REASON), text, Severity.WARNING)
    if _STORED_SYNTAX in allowed and (_FILE_URI in values or _CONTAINER in values):
        yield from _stored_file(values, where)
    if _MAC in values and _MAC_ALGORITHM in allowed:
        yield from _need(values, _MAC_ALGORITHM, "a MAC is given", _STORED_FILE, where)
    if _CODE_MEANING in allowed and _LONG_CODE in allowed:
        yield from _code(values, where)
    if _MECHANISMS in values:
        yield from _mechanisms(values, where)


def _removal(values: Mapping[int, bytes], where: str) -> Iterator[Fault]:
    removed = _term(values[_REMOVED])
    if removed and removed not in (_YES, _NO):
        yield Fault("enumerated", _SECTION, _at(where, _REMOVED), f"is neither {REMOVED} nor {NOT_REMOVED}")
    if removed == _YES:
        yield from _need(values, _REASON, "the entity is removed", _SECTION, where, "type-2c")


def _stored_file(values: Mapping[int, bytes], where: str) -> Iterator[Fault]:
    if _FILE_URI in values:
        for tag in (_CONTAINER, _STORED_SYNTAX):
            yield from _need(values, tag, "a File Access URI is given", _STORED_FILE, where)
    container = _term(values.get(_CONTAINER, b""))
    if container in (b"ZIP", b"TAR", b"TARGZIP"):
        yield from _need(values, _FILENAME, "the container holds named files", _STORED_FILE, where)
    if container == b"BLOB":
        for tag in (_OFFSET, _LENGTH):
            yield from _need(values, tag, "the container is a BLOB", _STORED_FILE, where)


def _code(values: Mapping[int, bytes], where: str) -> Iterator[Fault]:
    given = [tag for tag in (_CODE_VALUE, _LONG_CODE, _URN_CODE) if tag in values]
    if len(given) != 1:
        text = f"{len(given)} of Code Value, Long Code Value and URN Code Value; there should be one"
        yield Fault("type-1c", _CODE, where, text)
    if _CODE_VALUE in given or _LONG_CODE in given:
        yield from _need(values, _SCHEME, "a code value is given", _CODE, where)


def _mechanisms(values: Mapping[int, bytes], where: str) -> Iterator[Fault]:
    terms = {_term(term) for term in values[_MECHANISMS].split(b"\\")}
    if b"RELATIONAL" in terms:
        yield from _need(values, _QUERY_LEVEL, "relational matching was applied", _SCOPE, where)
    if b"TIMEZONE_ADJUST" in terms:
        yield from _need(values, _TIMEZONE, "the time zone was adjusted", _SCOPE, where)


def _need(
    values: Mapping[int, bytes], tag: int, reason: str, section: str, where: str, rule: str = "type-1c"
) -> Iterator[Fault]:
    if tag not in values:
        yield Fault(rule, section, _at(where, tag), f"is missing, though {reason}")


def _term(value: bytes) -> bytes:
    return value.strip(b" \0")


def _at(where: str, tag: int) -> str:
    return f"{where} {show(tag)}".strip()
