"""Moments as UTC microseconds since the epoch, to and from ISO 8601 and the DICOM VRs DA, TM and DT (PS3.5 6.2)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final

MICROSECONDS: Final = 1_000_000

_DAY: Final = 86_400 * MICROSECONDS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST: Final = 64  # characters; a longer text is no time, whatever it holds
_DICOM_DT: Final = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)?(?P<day>\d\d)?(?P<hour>\d\d)?(?P<minute>\d\d)?(?P<second>\d\d)?"
    r"(?:\.(?P<fraction>\d{1,6}))?(?P<offset>[+-]\d{4})?",
    re.ASCII,
)
_FIRST: Final = -62_135_596_800 * MICROSECONDS  # the years 1 to 9999 are all that DICOM and Python can write
_LAST: Final = 253_402_300_800 * MICROSECONDS - 1
_USUAL_ISO: Final = len("YYYY-MM-DDTHH:MM:SS.FFFFFF+HH:MM")
_USUAL_DT: Final = len("YYYYMMDDHHMMSS.FFFFFF+HHMM")
_PLAIN_MINUTE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:[+-]\d\d:\d\d|\d{12}[+-]\d{4}", re.ASCII)
_SIXTY: Final = "60"  # digits of seconds and microseconds come before it


def from_datetime(moment: datetime) -> int:
    """UTC microseconds of an aware datetime, exact (no floating point)."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * MICROSECONDS + delta.microseconds


def to_datetime(moment: int, zone: tzinfo = UTC) -> datetime:
    """An aware datetime in ``zone``."""
    return (_EPOCH + timedelta(microseconds=moment)).astimezone(zone)


def to_dt(moment: int) -> str:
    """A DICOM DT of full precision with an explicit offset: ``YYYYMMDDHHMMSS.FFFFFF+0000``, always 26 characters."""
    day, within = divmod(moment, _DAY)
    second, microsecond = divmod(within, MICROSECONDS)
    return f"{_da(day)}{_tm(second)}.{microsecond:06}+0000"


@lru_cache(maxsize=1 << 15)
def _tm(second: int) -> str:
    """The DICOM TM of a second of a day."""
    return f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"


@lru_cache(maxsize=1 << 15)
def _da(day: int) -> str:
    """The DICOM DA of a day, counted from the epoch: most studies of an archive were updated on few of them."""
    return f"{(_EPOCH + timedelta(days=day)):%Y%m%d}".rjust(8, "0")


def to_iso(moment: int) -> str:
    """ISO 8601 with microseconds and offset, for JSON and people."""
    return to_datetime(moment).isoformat(timespec="microseconds")


def parse_time(text: str, zone: tzinfo = UTC) -> int:
    """UTC microseconds of an ISO 8601 or DICOM DT text.

    Digits past the microsecond are cut. A time without an offset is taken to be in ``zone``. Missing trailing parts of
    a DICOM DT mean the first moment of what is given.

    Raises:
        ValueError: the text is neither, or names a moment outside the years 1 to 9999.
    """
    if len(text) == _USUAL_ISO and text[19] == ".":
        begin, within, offset = text[:17], text[17:19] + text[20:26], text[26:]
    elif len(text) == _USUAL_DT and text[14] == ".":
        begin, within, offset = text[:12], text[12:14] + text[15:21], text[21:]
    else:
        return _parse_any(text, zone)
    if within.isdecimal() and within.isascii() and within < _SIXTY:
        try:
            minute = _minute(begin, offset)
        except ValueError:
            return _parse_any(text, zone)  # which tells of the whole text
        return minute + int(within)
    return _parse_any(text, zone)


@lru_cache(maxsize=1 << 12)
def _minute(begin: str, offset: str) -> int:
    """The moment at which a minute begins: most events of a stream lie in few of them."""
    if not _PLAIN_MINUTE.fullmatch(begin + offset):
        raise ValueError("not as most write it")
    return _parse_any(f"{begin}00{offset}", UTC)


def _parse_any(text: str, zone: tzinfo) -> int:
    text = text.strip()
    if len(text) > _LONGEST:
        raise ValueError("not an ISO 8601 time or a DICOM DT: too long")
    if text[4:5] != "-" and (match := _DICOM_DT.fullmatch(text)):
        moment = _from_dicom(match)
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"not an ISO 8601 time or a DICOM DT: {text!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    found = from_datetime(moment)
    if not _FIRST <= found <= _LAST:
        raise ValueError(f"outside the years 1 to 9999: {text!r}")
    return found


def _from_dicom(match: re.Match[str]) -> datetime:
    part = match.groupdict()
    zone = None
    if offset := part["offset"]:
        minutes = int(offset[1:3]) * 60 + int(offset[3:5])
        zone = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
    return datetime(
        int(part["year"]),
        int(part["month"] or 1),
        int(part["day"] or 1),
        int(part["hour"] or 0),
        int(part["minute"] or 0),
        min(int(part["second"] or 0), 59),  # DICOM allows a leap second; datetime does not
        int((part["fraction"] or "0").ljust(6, "0")),
        tzinfo=zone,
    )
