"""The files for TLS of every connection: readable, and for how long they are valid yet."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from stocktake.doctor.finding import Examined, Finding, Limits, Reporter
from stocktake.settings import Settings

_REPORT: Final = Reporter("tls")
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"
_CONSTRUCTED_0: Final = 0xA0
_UTC_TIME: Final = 0x17
_DAY: Final = 86_400


def check(examined: Examined) -> Iterator[Finding]:
    found = False
    for name, path in files(examined.settings):
        found = True
        yield _file(name, path, examined)
    if not found:
        yield _REPORT.skip("files", "no file for TLS is configured")


def files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Every file of certificates or keys that the settings name, with the setting."""
    groups: list[tuple[str, object]] = [("kafka", settings.kafka), ("redis", settings.redis), ("http", settings.http)]
    groups += [(f"archives.{one.name}", one) for one in settings.archives]
    groups += [(f"sinks.{one.name}", one) for one in settings.inventory.sinks]
    for group, policy in groups:
        for key in ("ssl_ca_file", "ssl_cert_file", "ssl_key_file", "tls_ca_file", "tls_cert_file", "tls_key_file"):
            path = getattr(policy, key, None)
            if path is not None:
                yield f"{group}.{key}", path


def _file(name: str, path: Path, examined: Examined) -> Finding:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return _REPORT.fail(
            name, f"{path} cannot be read: {error.strerror}", "put the file there, readable by this user"
        )
    if name.endswith("key_file"):
        return _REPORT.ok(name, f"{path} can be read")
    ends = expiries(text)
    if not ends:
        return _REPORT.fail(name, f"{path} holds no certificate", "it has to be PEM")
    judged = authorities if name.endswith("ca_file") else presented
    return judged(name, path, ends, examined.now(), examined.limits)


def authorities(name: str, path: Path, ends: Sequence[float], now: float, limits: Limits) -> Finding:
    """How a file of authorities is, whose certificates expire at ``ends``: nobody knows which of them are needed."""
    valid = [end for end in ends if end > now]
    if valid and len(valid) < len(ends):
        return _REPORT.warn(
            name,
            f"{len(ends) - len(valid)} of the {len(ends)} certificates in {path} have expired",
            "renew those that are needed, remove the others",
        )
    return judge(name, path, min(valid, default=max(ends)), now, limits)


def presented(name: str, path: Path, ends: Sequence[float], now: float, limits: Limits) -> Finding:
    """How a file is whose first certificate is shown to others, and those after it so that they can follow it up."""
    first, *others = ends
    found = judge(name, path, first, now, limits)
    if found.judged != "ok" or not others or min(others) - now >= limits.certificate:
        return found
    day = datetime.fromtimestamp(min(others), UTC).date()
    return _REPORT.warn(
        name,
        f"a certificate after the first in {path} {'has expired' if min(others) <= now else 'expires'} on {day}",
        "renew it: who does not have it may not trust the first",
    )


def judge(name: str, path: Path, end: float, now: float, limits: Limits) -> Finding:
    """How a file is that can be used until ``end`` (UTC seconds)."""
    day = datetime.fromtimestamp(end, UTC).date()
    if end <= now:
        return _REPORT.fail(name, f"{path} has expired on {day}", "renew it")
    if end - now < limits.certificate:
        return _REPORT.warn(name, f"{path} expires on {day}, in {(end - now) / _DAY:.0f} days", "renew it")
    return _REPORT.ok(name, f"{path} is valid until {day}")


def expiries(pem: str) -> list[float]:
    """When each certificate of a PEM text expires, UTC seconds; what is no certificate is passed over."""
    found = []
    for part in pem.split(_BEGIN)[1:]:
        body, end, _ = part.partition(_END)
        if end:
            try:
                found.append(_not_after(ssl.PEM_cert_to_DER_cert(_BEGIN + body + _END)))
            except (ValueError, IndexError):
                continue
    return found


def _not_after(der: bytes) -> float:
    """The end of a certificate's validity: X.509, RFC 5280 4.1."""
    _, certificate, _ = _element(der, 0)
    _, body, _ = _element(certificate, 0)
    at = 0
    kind, _, following = _element(body, at)
    if kind == _CONSTRUCTED_0:  # the version
        at = following
    for _ in range(3):  # serial number, signature, issuer
        at = _element(body, at)[2]
    _, validity, _ = _element(body, at)
    at = _element(validity, 0)[2]
    kind, text, _ = _element(validity, at)
    written = text.decode("ascii")
    if kind == _UTC_TIME:  # two digits of the year: 50 to 99 are of the last century
        written = ("19" if written[:2] >= "50" else "20") + written
    return datetime.strptime(written, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, bytes, int]:
    """The element of DER at a place: its tag, its contents, and where the next one begins."""
    tag, length, at = der[at], der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(der[at : at + size], "big"), at + size
    return tag, der[at : at + length], at + length
