"""The kinds of values that settings have: each function reads one from its text, or says what is expected.

All raise ValueError whose text is the end of "... is not valid; expected ...".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import orjson

from state.attributes import Level, recordable
from state.times import parse_time
from state.vr import CHECKS
from writers.sinks.address import known_scheme, parse_dicom_url

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")

_BYTES: Final = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB)", re.ASCII)


def text(value: str) -> str:
    return value


def dicom_text(vr: str, limit: int) -> Callable[[str], str]:
    """A text that can stand as a value of this VR."""

    def parse(value: str) -> str:
        checked = CHECKS[vr](value)
        if checked is None:
            raise ValueError(f"a text of at most {limit} characters, without control characters (VR {vr})")
        return checked

    return parse


def required_text(value: str) -> str:
    if not value.strip():
        raise ValueError("a text that is not empty")
    return value


def path(value: str) -> Path | None:
    """A path, None for an empty text."""
    return Path(value) if value.strip() else None


def listing(value: str) -> tuple[str, ...]:
    items = tuple(part.strip() for part in value.split(",") if part.strip())
    if not items:
        raise ValueError("one or more names separated by commas")
    return items


def optional_listing(value: str) -> tuple[str, ...]:
    """The same, or none for an empty text."""
    return listing(value) if value.strip() else ()


def duration(value: str) -> float:
    match = _DURATION.fullmatch(value.strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError('a duration above zero such as "500ms", "30s", "5m", "2h" or "1d"')
    return float(match[1]) * _UNITS[match[2] or "s"]


def delay(value: str) -> float:
    return 0.0 if value.strip() in {"0", "0s"} else duration(value)


def integer(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return number

    return parse


def size(value: str) -> int:
    """Bytes."""
    match = _SIZE.fullmatch(value.strip())
    number = int(float(match[1]) * _BYTES[match[2]]) if match is not None else 0
    if number <= 0:
        raise ValueError('a size above zero such as "64MB", "1GB" or "1.5GB"')
    return number


def fraction(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number <= 1:
        raise ValueError("a number above 0 and up to 1")
    return number


def rate(value: str) -> float:
    """So many in a second."""
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0.001 <= number <= 100_000:
        raise ValueError("a number from 0.001 to 100000")
    return number


def choice(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return value

    return parse


def optional(parse: Callable[[str], str]) -> Callable[[str], str]:
    """What ``parse`` takes, or nothing."""

    def parse_if_given(value: str) -> str:
        if not value:
            return ""
        try:
            return parse(value)
        except ValueError as error:
            raise ValueError(f"nothing, or {error}") from None

    return parse_if_given


def flag(value: str) -> bool:
    if value.lower() not in {"true", "false"}:
        raise ValueError("true or false")
    return value.lower() == "true"


def level(value: str) -> Level:
    return Level(choice(Level.STUDY, Level.SERIES, Level.INSTANCE)(value))


def moment(value: str) -> int | None:
    if not value:
        return None
    try:
        return parse_time(value)
    except ValueError:
        raise ValueError('empty, or a time such as "2026-01-31T00:00:00+01:00"') from None


def study_keywords(value: str) -> tuple[str, ...]:
    """Keywords of attributes that a study record keeps; none for an empty text."""
    known = {row.keyword for row in recordable(Level.STUDY).values() if row.vr != "SQ"}
    keywords = optional_listing(value)
    if unknown := [one for one in keywords if one not in known]:
        raise ValueError(f"keywords of attributes of a study record; {unknown[0]} is none")
    return keywords


def study_date(value: str) -> str:
    """A Study Date as DICOM writes it, or nothing."""
    if value and CHECKS["DA"](value) != value:
        raise ValueError("nothing, or a date such as 20160101")
    return value


def listen(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError('HOST:PORT such as "127.0.0.1:8080"')
    return host.strip("[]"), int(port)


def ae_titles(value: str) -> tuple[str, ...]:
    """AE titles separated by commas, none for an empty text."""
    titles = tuple(part.strip() for part in value.split(",") if part.strip())
    if any(CHECKS["AE"](title) is None or "\\" in title for title in titles):
        raise ValueError("nothing, or AE titles of at most 16 characters separated by commas")
    return titles


def ae_title(value: str) -> str:
    titles = ae_titles(value)
    if len(titles) != 1:
        raise ValueError("an AE title of at most 16 characters")
    return titles[0]


def sink_url(value: str) -> str:
    """A URL whose scheme says what kind of sink it is, or nothing. It holds no password: errors would show it."""
    if not value:
        return value
    parts = urlsplit(value)
    if parts.password is not None:
        raise ValueError("a URL without a password; see username and password")
    match parts.scheme:
        case "dicom" | "dicoms":
            parse_dicom_url(value)
        case "http" | "https" if not parts.hostname:
            raise ValueError("a URL with a host, such as https://vna.example.org/dicom-web/inventories")
        case "http" | "https":
            return url(value)
        case "kafka" if not _TOPIC.fullmatch(parts.path):
            raise ValueError('"kafka:" and the name of a topic, such as kafka:stocktake.inventories')
        case "kafka":
            pass
        case scheme if not scheme or not known_scheme(scheme):
            raise ValueError(
                "a URL of dicom:, dicoms:, http:, https:, kafka: or of a storage that fsspec knows, such as s3:"
            )
    return value


def json_object(value: str) -> dict[str, Any]:
    try:
        return dict(orjson.loads(value or "{}"))
    except (ValueError, TypeError):
        raise ValueError("a JSON object, such as one with endpoint_url, key and secret") from None


def url(value: str) -> str:
    """An absolute URL, or nothing."""
    if value and (not re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", value) or CHECKS["UR"](value) is None):
        raise ValueError('nothing, or a URL such as "https://archive.example.org/dicom-web"')
    return value


def archive_url(value: str) -> str:
    """An http or https URL, or nothing. It stands in error texts, so it may hold no password."""
    parts = urlsplit(value)
    if value and (parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc):
        raise ValueError('an http or https URL without user and password, "https://archive.example.org/dicom-web"')
    return url(value)


def base_uri(value: str) -> str:
    """A URL that relative references are put behind, so it ends with a slash; or nothing."""
    if value and not value.endswith("/"):
        raise ValueError(
            'nothing, or a URL that ends with a slash, such as "https://files.example.org/inventories/main/"'
        )
    return url(value)


def zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (OSError, ValueError, KeyError):
        raise ValueError('an IANA time zone such as "Europe/Berlin"') from None
    return value


def uid_root(value: str) -> str:
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", value, re.ASCII) or len(value) > 32:
        raise ValueError('a UID root of at most 32 characters such as "2.25" or "1.2.826.0.1.3680043.10.999"')
    return value
