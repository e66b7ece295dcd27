"""Single values held to their VR (PS3.5 6.2) and their number to the VM of the attribute (PS3.6 chapter 6).

What a value is, is never told: it may be a patient's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from state.vr import CHECKS
from writers.decoding import decode_strictly

_SIZES: Final = {b"AT": 4, b"FD": 8, b"FL": 4, b"SL": 4, b"SS": 2, b"SV": 8, b"UL": 4, b"US": 2, b"UV": 8}
_ONE: Final = frozenset((b"LT", b"ST", b"UR", b"UT"))  # a backslash is no delimiter in them
_EXACT: Final = frozenset((b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"TM"))  # what can be mended is still wrong
_CHECKED: Final = _EXACT | _ONE | frozenset((b"LO", b"PN", b"SH", b"UC"))

_EXPANDABLE: Final = frozenset((b"LO", b"LT", b"PN", b"SH", b"ST", b"UC", b"UT"))  # PS3.5 6.1.2.2
_UTF_8: Final = "ISO_IR 192"


def is_expandable(vr: bytes) -> bool:
    """Whether values of this VR are in the character sets of (0008,0005)."""
    return vr in _EXPANDABLE


def in_utf_8(vr: bytes, value: bytes, character_sets: tuple[str, ...]) -> bytes | None:
    """An element's value with its text in UTF-8, in which a byte 0x5C is a backslash and nothing else.

    In GB18030, GBK and, after an escape sequence, ISO 2022 IR 87 and 159 it may be half of a character (PS3.5 6.1.2.3),
    so whoever splits values has to decode first. None: the text cannot be decoded, and nothing is known of it.
    """
    plain = value.isascii() and b"\x1b" not in value
    if plain or vr not in _EXPANDABLE or _UTF_8 in character_sets or not any(character_sets):
        return value
    text = decode_strictly(value, vr.decode("ascii"), character_sets)
    return None if text is None else text.encode(errors="replace")


def number_of_values(vr: bytes, value: bytes) -> int | None:
    """How many values there are; None where a VR has no number of them."""
    if not value:
        return 0
    if vr in _SIZES:
        return -(-len(value) // _SIZES[vr])
    if vr in _ONE:
        return 1
    return value.count(b"\\") + 1 if vr in _CHECKED or vr == b"UI" else None


@lru_cache(maxsize=1 << 10)
def is_allowed(vm: str, number: int) -> bool:
    """Whether an attribute of this VM (``1``, ``1-n``, ``2-2n``, ``1-3``) may have so many values, or none."""
    low, _, high = vm.partition("-")
    if number == 0:
        return True
    least = int(low)
    if not high:
        return number == least
    if high == "n":
        return number >= least
    if high.endswith("n"):
        return number >= least and number % int(high[:-1]) == 0
    return least <= number <= int(high)


def keeps_its_vr(vr: bytes, value: bytes) -> bool:
    """Whether all values of an element are as their VR asks. True where that cannot be told.

    A size that a binary VR cannot have is told too. UIDs have a check of their own.
    """
    if vr in _SIZES:
        return len(value) % _SIZES[vr] == 0
    if vr not in _CHECKED or not value:
        return True
    return all(_is_valid(vr, one) for one in ([value] if vr in _ONE else value.split(b"\\")))


@lru_cache(maxsize=1 << 12)
def _is_valid(vr: bytes, value: bytes) -> bool:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return True  # of another character set: how many characters these are is not known
    text = text.strip(" \0") if vr in _EXACT else text.rstrip(" \0")
    checked = CHECKS[vr.decode("ascii")](text)
    return checked is not None and (vr not in _EXACT or checked == text)
