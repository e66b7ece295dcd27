"""Which format a message has, and what is made of it: the formats by name, and ``auto``, which tells by the shape.

===============  =====================================================================================================
name             takes
===============  =====================================================================================================
auto             all of the below
native           native events (docs/events.md), also in CloudEvents
cloudevents      what is in a CloudEvents envelope, whatever it is, and native events without one
azure, google,   messages of that product, also in CloudEvents, and native events
healthimaging,
orthanc
===============  =====================================================================================================

All take native events, since Stocktake itself writes them to the same topic, and take off what Kafka Connect's JSON
converter puts around a value (``schema`` and ``payload``). An array is read element by element, and is good only if all
of it is. A message that fits a form which was learnt from native ones is not looked at otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw

from consumers.counts import Counts
from consumers.events import BadEvent, Told
from consumers.formats import cloudevents
from consumers.formats.azure import Azure
from consumers.formats.foreign import Around, Members, Product, members_of, parsed
from consumers.formats.google import Google, in_headers
from consumers.formats.healthimaging import HealthImaging
from consumers.formats.native import NativeFormat
from consumers.formats.orthanc import Orthanc
from consumers.intake import Format
from consumers.policy import FORMATS

_array: Final = msgspec.json.Decoder(list[Raw])
_BLANKS: Final = b" \t\n\r"
_CONVERTED: Final = frozenset({"schema", "payload"})
_DEEPEST: Final = 3  # an array of envelopes, each with an array of messages


def event_format(name: str, native: NativeFormat, counts: Counts) -> Format:
    """The format of that name, one of :data:`consumers.policy.FORMATS`; ``native`` decodes native events for all.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in FORMATS:
        raise ValueError(f"format {name!r} is none of {', '.join(FORMATS)}")
    products: dict[str, Product] = {
        "azure": Azure(native),
        "google": Google(native),
        "healthimaging": HealthImaging(native),
        "orthanc": Orthanc(native),
    }
    if name in products:
        chosen: Sequence[Product] = (products[name],)
    else:
        chosen = () if name == "native" else tuple(products.values())
    return Recognised(name, native, chosen, counts)


class Recognised:
    """Takes native events, and messages of ``products``; those that say nothing are counted."""

    def __init__(self, name: str, native: NativeFormat, products: Sequence[Product], counts: Counts) -> None:
        self._name = name
        self._native = native
        self._known = native.known
        self._products = products
        self._bare: Sequence[Product] = () if name == "cloudevents" else products  # taken without an envelope
        self._google = next((product for product in self._bare if isinstance(product, Google)), None)
        self._counts = counts

    def decode(
        self, value: bytes, timestamp: int, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> list[Told]:
        """What a message says; an empty list, counted as ``messages_skipped``, if it says nothing of an inventory.

        ``timestamp`` is the Kafka record's, in UTC microseconds.

        Raises:
            BadEvent: it is malformed, or of none of these formats.
        """
        told = self._known(value, timestamp, key)
        if told is not None:
            return told
        told = self._record(value, Around(timestamp, headers=dict(headers)), key)
        if not told:
            self._counts["messages_skipped"] += 1
        return told

    def _record(self, value: bytes, around: Around, key: bytes | None) -> list[Told]:
        """What a Kafka record says: its headers may be an envelope, or what there is of the message."""
        if around.headers:
            if cloudevents.is_binary(around):
                return self._inside(cloudevents.in_headers(value, around), around, key, 0)
            if self._google is not None and in_headers(around.headers):
                return self._google.read_headers(around)
        return self._message(value, around, key, self._bare, 0)

    def _inside(self, envelope: cloudevents.Envelope, around: Around, key: bytes | None, depth: int) -> list[Told]:
        inside = Around(around.timestamp, envelope.time, envelope.type)
        # Some of Azure's events say nothing but their type.
        return self._message(envelope.data or b"{}", inside, key, self._products, depth + 1)

    def _message(
        self, text: bytes, around: Around, key: bytes | None, products: Sequence[Product], depth: int
    ) -> list[Told]:
        """What a message says that ``depth`` wrappings were around."""
        if depth > _DEEPEST:
            raise BadEvent("arrays and envelopes are nested too deeply")
        if text.lstrip(_BLANKS)[:1] == b"[":
            return self._elements(text, around, key, products, depth)
        try:
            members = members_of(text)
        except BadEvent:
            return self._native.decode(text, around.timestamp, key)  # it is none; told in the native format's words
        if "action" in members and ("dataset" in members or "datasets" in members):
            return self._native_event(members, text, around, key)
        version = cloudevents.version_name(members)
        if version is not None:
            return self._inside(cloudevents.in_members(members, version), around, key, depth)
        if depth == 0 and cloudevents.is_structured(around):
            raise BadEvent("the content-type is that of a CloudEvent, and specversion is absent")
        if members.keys() == _CONVERTED:
            return self._message(bytes(members["payload"]), around, key, products, depth + 1)
        for product in products:
            if product.knows(members, around):
                return product.read(members, text, around)
        if "action" in members or self._name == "native":
            return self._native_event(members, text, around, key)
        raise BadEvent(f"neither a native event nor of format {self._name}")

    def _elements(
        self, text: bytes, around: Around, key: bytes | None, products: Sequence[Product], depth: int
    ) -> list[Told]:
        told: list[Told] = []
        elements = parsed(_array, text)
        for number, element in enumerate(elements):
            try:
                told += self._message(bytes(element), around, key, products, depth + 1)
            except BadEvent as error:
                raise BadEvent(f"element {number}: {error}") from None
        return told

    def _native_event(self, members: Members, text: bytes, around: Around, key: bytes | None) -> list[Told]:
        if around.time is not None and bytes(members.get("time", b"null")) == b"null":
            # The last member of a name counts, also after one that is null.
            text = text.rstrip(_BLANKS)[:-1] + b',"time":' + msgspec.json.encode(around.time) + b"}"
        return self._native.decode(text, around.timestamp, key)
