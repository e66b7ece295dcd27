"""A DICOMweb server, by the Store transaction (PS3.18 10.5, and 12 for non-patient instances; known as STOW-RS)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import httpx

from writers.policy import SinkPolicy
from writers.sinks.sink import Parcel, SinkRefused, SinkUnreachable
from writers.sinks.tls import tls_context

log = logging.getLogger(__name__)

_BLOCK: Final = 1 << 16
_JSON: Final = "application/dicom+json"

# The Store Instances Response Module (PS3.18 Annex I) in the DICOM JSON Model
_FAILED: Final = "00081198"  # Failed SOP Sequence
_OTHER_FAILURES: Final = "0008119A"
_REASON: Final = "00081197"  # Failure Reason
_STORED: Final = "00081199"  # Referenced SOP Sequence
_WARNING: Final = "00081196"  # Warning Reason
_DUPLICATE: Final = 0x0111  # an instance of this UID is there: we never give a UID to two files
_OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)

_PASSING: Final = (408, 425, 429)  # besides 5xx: statuses that ask to come again


class DicomWebSink:
    """Posts each file, streamed, to the resource that the sink's URL names."""

    def __init__(self, policy: SinkPolicy) -> None:
        self._url = policy.url
        self._where = f"sinks.{policy.name}: {policy.url}"
        headers = {"Accept": _JSON}
        if policy.token:
            headers["Authorization"] = f"Bearer {policy.token}"
        self._client = httpx.Client(
            headers=headers,
            auth=httpx.BasicAuth(policy.username, policy.password) if policy.username else None,
            timeout=policy.timeout,
            verify=tls_context(policy),
            follow_redirects=False,  # inventories are not for whomever a server names
        )

    def deliver(self, parcel: Parcel) -> None:
        """See :class:`writers.sinks.sink.Sink`."""
        boundary = uuid4().hex
        before = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        after = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            # Its length is said, for some servers do not take a body in chunks.
            "Content-Length": str(len(before) + parcel.manifest.bytes + len(after)),
        }
        try:
            reply = self._client.post(self._url, headers=headers, content=_body(parcel, before, after))
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise SinkUnreachable(f"{self._where}: {why}; is it running, and is the URL right?") from error
        self._check(reply, parcel)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _check(self, reply: httpx.Response, parcel: Parcel) -> None:
        """What the server says became of the file. Its texts are not shown: they may name a patient."""
        text = f"{self._where}: answers {reply.status_code} to {parcel.name}"
        said = _said(reply)
        failures = [reason for key in (_FAILED, _OTHER_FAILURES) for reason in _reasons(said, key, _REASON)]
        if failures == [_DUPLICATE]:
            return
        if failures:
            text += f", failure reason {_shown(failures[0])}"
            if failures[0] in _OUT_OF_RESOURCES:
                raise SinkUnreachable(f"{text}: it is out of resources")
            raise SinkRefused(f"{text}; its own log should say why")
        if reply.is_success:
            if warnings := [reason for reason in _reasons(said, _STORED, _WARNING) if reason]:
                log.warning("%s, warning reason %s: stored, but not as it was sent", text, _shown(warnings[0]))
            return
        if reply.is_server_error or reply.status_code in _PASSING:
            raise SinkUnreachable(text)
        raise SinkRefused(f"{text}; {_advice(reply.status_code)}")


def _body(parcel: Parcel, before: bytes, after: bytes) -> Iterator[bytes]:
    yield before
    with parcel.path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
    yield after


def _said(reply: httpx.Response) -> dict[str, Any]:
    """The response module, or nothing if the server said it in another form."""
    with suppress(ValueError):
        found = reply.json()
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict):
            return found
    return {}


def _reasons(said: dict[str, Any], sequence: str, reason: str) -> Iterator[int | None]:
    """Of each Item of a sequence the reason, None where it has none."""
    match said.get(sequence):
        case {"Value": [*items]}:
            for item in items:
                match item:
                    case {**elements} if isinstance(code := _value(elements.get(reason)), int):
                        yield code
                    case _:
                        yield None


def _value(element: object) -> object:
    match element:
        case {"Value": [value, *_]}:
            return value
    return None


def _shown(reason: int | None) -> str:
    return "unknown" if reason is None else f"0x{reason:04X}"


def _advice(status: int) -> str:
    if status in (401, 403):
        return "see the sink's username, password and token"
    if status in (404, 405):
        return "does its URL name the resource to post to, such as .../inventories or .../studies?"
    if 300 <= status < 400:
        return "redirects are not followed; give the URL that it leads to"
    return "its own log should say why"
