"""The envelope of CloudEvents 1.0, as its Kafka binding has it.

* Binary: the attributes are headers (``ce_type``, ``ce_time``, ..), the value is the data.
* Structured: the value is an object that holds the attributes, and ``data`` or ``data_base64``. The header
  ``content-type`` says so (``application/cloudevents+json``); not all senders set it, so the member ``specversion``
  says so too, in whatever case: Azure's documentation has ``specVersion``.
* Batched: an array of such objects (``application/cloudevents-batch+json``).

What the data are is told by themselves, and of Azure by the type. Who sent them (source, id, subject) is not used.

Sources: github.com/cloudevents/spec, v1.0.2: spec.md, bindings/kafka-protocol-binding.md, formats/json-format.md.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from consumers.events import BadEvent
from consumers.formats.foreign import Around, Members, parsed

_STRUCTURED: Final = "application/cloudevents"
_text: Final = msgspec.json.Decoder(str)
_text_or_none: Final = msgspec.json.Decoder(str | None)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What an envelope says that matters, and the data in it; None if it holds none."""

    type: str
    time: str | None
    data: bytes | None


def is_structured(around: Around) -> bool:
    """Whether the headers say that the value is one structured CloudEvent, or an array of them; raises BadEvent."""
    return (around.header("content-type") or "").lower().startswith(_STRUCTURED)


def is_binary(around: Around) -> bool:
    """Whether the headers are an envelope."""
    return "ce_specversion" in around.headers


def in_headers(value: bytes, around: Around) -> Envelope:
    """The envelope of a message in binary mode; raises BadEvent."""
    _check(around.header("ce_specversion"))
    return Envelope(around.header("ce_type") or "", around.header("ce_time"), value or None)


def version_name(names: Iterable[str]) -> str | None:
    """The member that makes an object a structured CloudEvent."""
    return next((name for name in names if name.lower() == "specversion"), None)


def in_members(members: Members, version: str) -> Envelope:
    """The envelope of a structured CloudEvent; ``version`` is what :func:`version_name` found. Raises BadEvent."""
    _check(parsed(_text, members[version]))
    kind, time = (parsed(_text_or_none, members[name]) if name in members else None for name in ("type", "time"))
    return Envelope(kind or "", time, _data(members))


def _check(version: str | None) -> None:
    if version is None or not version.startswith("1."):
        raise BadEvent("specversion of the CloudEvent is not 1.x")


def _data(members: Members) -> bytes | None:
    encoded = parsed(_text_or_none, members["data_base64"]) if "data_base64" in members else None
    if encoded is not None:
        try:
            return b64decode(encoded, validate=True)
        except (Base64Error, ValueError):
            raise BadEvent("data_base64 is not base64") from None
    data = bytes(members.get("data", b"null"))
    if data == b"null":
        return None
    return parsed(_text, data).encode("utf-8") if data[:1] == b'"' else data  # JSON may be within a text
