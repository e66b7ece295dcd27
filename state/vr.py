"""The Value Representations: each check takes a text and returns it as its VR wants it, or None (PS3.5 Table 6.2-1).

Padding is taken away. What can be put right with certainty is; what cannot is None, never a guess or a cut value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Final

UID_PATTERN: Final = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)
UID_LENGTH: Final = 64
BYTES: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


def is_uid(text: object) -> bool:
    """Whether ``text`` can stand as a UID: digits and dots, at most 64 characters (PS3.5 9.1).

    A component with a leading zero is let pass: some devices make such UIDs, and the study would be lost otherwise.
    """
    return isinstance(text, str) and len(text) <= UID_LENGTH and UID_PATTERN.fullmatch(text) is not None


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_TEXT_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")  # LT, ST, UT may hold TAB, LF, FF and CR
_DATE: Final = re.compile(r"(\d{4})([.\-/]?)(\d\d)\2(\d\d)", re.ASCII)
_TIME: Final = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(\.\d+)?)?)?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_DT: Final = re.compile(r"(\d{4}(?:\d\d){0,4}|\d{14}(?:\.\d{1,6})?)([+-]\d{4})?", re.ASCII)
_URI: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")  # RFC 3986


def _short(limit: int) -> Callable[[str], str | None]:
    def check(text: str) -> str | None:
        text = text.strip(" \x00")
        return None if len(text) > limit or _CONTROL.search(text) else text

    return check


def _title(text: str) -> str | None:
    """An AE title: the default repertoire only."""
    checked = _short(16)(text)
    return checked if checked is None or checked.isascii() else None


def _long(limit: int) -> Callable[[str], str | None]:
    def check(text: str) -> str | None:
        text = text.rstrip(" \x00")
        return None if len(text) > limit or _TEXT_CONTROL.search(text) else text

    return check


def _person_name(text: str) -> str | None:
    text = text.strip(" \x00")
    groups = text.split("=")
    if len(groups) > 3 or _CONTROL.search(text):
        return None
    if any(len(group) > 64 or group.count("^") > 4 for group in groups):
        return None
    return text


def _code_string(text: str) -> str | None:
    text = text.strip(" \x00")
    text = text.upper() if text.isascii() else text
    return text if re.fullmatch(r"[A-Z0-9_ ]{0,16}", text) else None


def _age(text: str) -> str | None:
    text = text.strip(" \x00").upper()
    return text if re.fullmatch(r"(\d{3}[DWMY])?", text, re.ASCII) else None


def _date(text: str) -> str | None:
    text = text.strip(" \x00")
    if not text:
        return ""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, _, month, day = match.groups()
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return None
    return year + month + day


def _time(text: str) -> str | None:
    text = text.strip(" \x00")
    if not text:
        return ""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, second, fraction = match.groups()
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 60:
        return None
    # Digits past the microsecond hold nothing that a TM could hold.
    return hour + (minute or "") + (second or "") + (fraction or "")[:7]


def _date_time(text: str) -> str | None:
    text = text.strip(" \x00")
    if not text:
        return ""
    if match := _DT.fullmatch(text):
        digits = match[1].split(".")[0]
        whole = (digits + "0101000000"[len(digits) - 4 :])[:14]
        try:
            # 60 is a leap second (PS3.5 Table 6.2-1), which Python does not know.
            datetime.strptime(whole[:12] + whole[12:].replace("60", "59"), "%Y%m%d%H%M%S")
        except ValueError:
            return None
        return text if match[2] is None or -1200 <= int(match[2]) <= 1400 else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return f"{moment.year:04d}" + moment.strftime("%m%d%H%M%S.%f%z")[:22]


def _uid(text: str) -> str | None:
    text = text.strip(" \x00")
    return text if not text or is_uid(text) else None


def _integer_string(text: str) -> str | None:
    text = text.strip(" \x00")
    if not text:
        return ""
    if re.fullmatch(r"[+-]?\d+\.0*", text, re.ASCII):
        text = text.partition(".")[0]
    if len(text) > 12 or not _INTEGER.fullmatch(text) or not -(2**31) <= int(text) < 2**31:
        return None
    return text


def _decimal_string(text: str) -> str | None:
    text = text.strip(" \x00")
    if not text:
        return ""
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        return None
    if len(text) <= 16:
        return text
    # A float's shortest text can be longer than a DS may be; the digits kept are more than any device measures.
    shorter = (f"{float(text):.{digits}g}" for digits in range(10, 0, -1)) if math.isfinite(float(text)) else ()
    return next((found for found in shorter if len(found) <= 16 and math.isfinite(float(found))), None)


def _binary_integer(low: int, high: int) -> Callable[[str], str | None]:
    def check(text: str) -> str | None:
        text = text.strip()
        if not re.fullmatch(r"[+-]?\d{1,20}", text, re.ASCII) or not low <= int(text) <= high:
            return None
        return str(int(text))

    return check


def _binary_float(text: str) -> str | None:
    try:
        return repr(float(text))
    except ValueError:
        return None


def _attribute_tag(text: str) -> str | None:
    return text.upper() if re.fullmatch(r"[0-9a-fA-F]{8}", text) else None


def _uri(text: str) -> str | None:
    text = text.strip(" \x00")
    return text if _URI.fullmatch(text) else None


# The greater part of what archives say, told by one look: texts that their check would return as they are, without what
# JSON escapes.
def _plain(more: str) -> dict[str, str]:
    """Patterns by VR; ``more`` are the characters beyond ASCII, as a class has them."""

    def unpadded(characters: str, limit: int) -> str:
        return rf"(?! )[{characters}]{{1,{limit}}}+(?<! )"

    return {
        "AE": unpadded(r" !#-\[\]-~", 16),
        "CS": unpadded("A-Z0-9_ ", 16),
        "DA": r"(?:19|20)[0-9]{2}(?:(?:0[1-9]|1[0-2])(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])(?:29|30)"
        r"|(?:0[13578]|1[02])31)",
        "LO": unpadded(rf" !#-\[\]-~{more}", 64),
        "PN": "(?!" + r"[^^\"]*+\^" * 5 + ")" + unpadded(rf" !#-<>-\[\]-~{more}", 64),  # five components at most
        "SH": unpadded(rf" !#-\[\]-~{more}", 16),
        "TM": r"(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9](?:\.[0-9]{1,6})?",
        "UI": r"(?![0-9.]*\.\.)(?!\.)[0-9.]{1,64}(?<!\.)",
        "UR": r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+",
    }


PLAIN: Final = _plain("")  # in ASCII, for bytes
PLAIN_TEXT: Final = _plain("\xa0-\ud7ff\ue000-\U0010ffff")  # for texts

CHECKS: Final[dict[str, Callable[[str], str | None]]] = {
    "AE": _title,
    "AS": _age,
    "AT": _attribute_tag,
    "CS": _code_string,
    "DA": _date,
    "DS": _decimal_string,
    "DT": _date_time,
    "FD": _binary_float,
    "FL": _binary_float,
    "IS": _integer_string,
    "LO": _short(64),
    "LT": _long(10_240),
    "PN": _person_name,
    "SH": _short(16),
    "SL": _binary_integer(-(2**31), 2**31 - 1),
    "SS": _binary_integer(-(2**15), 2**15 - 1),
    "ST": _long(1024),
    "SV": _binary_integer(-(2**63), 2**63 - 1),
    "TM": _time,
    "UC": _short(2**20),
    "UI": _uid,
    "UL": _binary_integer(0, 2**32 - 1),
    "UR": _uri,
    "US": _binary_integer(0, 2**16 - 1),
    "UT": _long(2**20),
    "UV": _binary_integer(0, 2**64 - 1),
}
