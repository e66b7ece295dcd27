"""The URLs by which sinks are named. Nothing that only a sink needs is loaded here: settings are checked with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from state.vr import CHECKS

_PORT: Final = 104  # the well-known one (PS3.8 9.1)


@dataclass(frozen=True, slots=True)
class DicomAddress:
    """A DICOM application entity and where it listens."""

    ae_title: str
    host: str
    port: int
    tls: bool


def parse_dicom_url(url: str) -> DicomAddress:
    """The address in ``dicom://TITLE@HOST:PORT``; ``dicoms`` with TLS.

    Raises:
        ValueError: the URL is none such; the text says what is expected.
    """
    parts = urlsplit(url)
    title = unquote(parts.username or "")
    try:
        port = parts.port or _PORT
    except ValueError:
        port = 0
    beside = parts.password is not None or parts.path.strip("/") or parts.query or parts.fragment
    if beside or not port or not parts.hostname or not title or CHECKS["AE"](title) is None:
        raise ValueError("dicom://AE-TITLE@HOST:PORT, such as dicom://ARCHIVE@pacs.example.org:11112")
    return DicomAddress(title, parts.hostname, port, parts.scheme == "dicoms")


def known_scheme(scheme: str) -> bool:
    """Whether fsspec has a storage of this name; its package may be missing all the same."""
    import fsspec  # a tenth of a second, which a health check every few seconds need not spend

    return scheme in fsspec.available_protocols()
