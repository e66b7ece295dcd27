"""Notifications of the Google Cloud Healthcare API about a DICOM store, as Pub/Sub delivers them.

One is about one instance; its attributes carry the UIDs. It comes to Kafka as Pub/Sub pushes it (``message`` within an
object), as the bare message, and as the Pub/Sub Kafka connector writes it: attributes as headers, or beside a member
``message``. Stores lack SOP Class and attributes, but for the series' Modality.

* StoreInstances, ImportDicomData: a store; DeleteInstances: a removal; SetBlobSettings: nothing.
* Any other action, and a notification without attributes (stores set up long ago send the resource path alone): its
  study is looked at.

``lastUpdatedTime`` is when the *instance* was updated last, in the form of RFC 1123 (so documented) or of ISO 8601 (so
seen). A removal counts as made when it was published, if that is later. Pub/Sub repeats messages and does not keep
their order.

Sources: docs.cloud.google.com/healthcare-api/docs/dicom-pubsub; DicomNotificationConfig of the API's reference;
googleapis/java-pubsub-group-kafka-connector (CloudPubSubSourceTask, ConnectorUtils).
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Collection, Mapping
from typing import Final

import msgspec
import orjson
from msgspec import Raw, Struct

from consumers.events import Action, BadEvent, Entity, Event, Look, Told
from consumers.formats.foreign import Around, Members, Text, parsed, uid, utc
from consumers.formats.native import NativeFormat
from state.attributes import MODALITY, SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Level

_STORES: Final = frozenset({"StoreInstances", "ImportDicomData"})
_DELETES: Final = frozenset({"DeleteInstances"})
_SILENT: Final = frozenset({"SetBlobSettings"})
_PATH: Final = re.compile(
    r"projects/[^/]+/locations/[^/]+/datasets/[^/]+/dicomStores/[^/]+/dicomWeb"
    r"/studies/(?P<study>[^/]+)/series/(?P<series>[^/]+)/instances/(?P<instance>[^/]+)"
)
_RFC_1123: Final = re.compile(
    r"(?:[A-Za-z]{3}, )?(?P<day>\d\d?) (?P<month>[A-Za-z]{3}) (?P<year>\d{4}) (?P<time>\d\d:\d\d:\d\d) (?P<zone>\S+)",
    re.ASCII,
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ZONES: Final = {  # RFC 822, section 5.1
    "UT": "+00:00",
    "UTC": "+00:00",
    "GMT": "+00:00",
    "Z": "+00:00",
    "EST": "-05:00",
    "EDT": "-04:00",
    "CST": "-06:00",
    "CDT": "-05:00",
    "MST": "-07:00",
    "MDT": "-06:00",
    "PST": "-08:00",
    "PDT": "-07:00",
}
_NUMERIC_ZONE: Final = re.compile(r"[+-]\d{4}", re.ASCII)


class _Attributes(Struct, gc=False):
    """What a notification says; by the names that Google gave."""

    action: str | None = None
    lastUpdatedTime: str | None = None
    studyInstanceUID: str | None = None
    seriesInstanceUID: str | None = None
    sopInstanceUID: str | None = None
    modality: str | None = None


class _Message(Struct, gc=False):
    """A Pub/Sub message; ``data`` is base64."""

    attributes: _Attributes | None = None
    data: str | None = None
    publishTime: str | None = None
    publish_time: str | None = None


class _Push(Struct, gc=False):
    message: _Message


class _Beside(_Attributes, gc=False):
    """A message as the connector writes it without headers: the attributes beside the data."""

    message: str | None = None


_message: Final = msgspec.json.Decoder(_Message)
_push: Final = msgspec.json.Decoder(_Push)
_beside: Final = msgspec.json.Decoder(_Beside)


def in_headers(headers: Mapping[str, bytes | None]) -> bool:
    """Whether Kafka headers are a notification's attributes."""
    return "studyInstanceUID" in headers and "action" in headers


class Google:
    """Reads notifications of the Google Cloud Healthcare API."""

    def __init__(self, native: NativeFormat) -> None:
        self._native = native

    def knows(self, names: Collection[str], around: Around) -> bool:
        """A pushed message, a bare one, or one with its attributes beside its data."""
        return (
            "studyInstanceUID" in names
            or ("message" in names and "subscription" in names)
            or ("attributes" in names and ("data" in names or "messageId" in names))
            or ("data" in names and "messageId" in names)
            or [*names] == ["message"]
        )

    def read(self, members: Members, text: Text, around: Around) -> list[Told]:
        """What a notification says; raises BadEvent."""
        if "studyInstanceUID" in members:
            beside = parsed(_beside, text)
            return self._notification(beside, beside.message, None, around)
        message = parsed(_push, text).message if "message" in members else parsed(_message, text)
        published = message.publishTime or message.publish_time
        return self._notification(message.attributes or _Attributes(), message.data, published, around)

    def read_headers(self, around: Around) -> list[Told]:
        """What a notification says whose attributes are the Kafka record's headers; raises BadEvent."""
        attributes = _Attributes(*(around.header(name) for name in _Attributes.__struct_fields__))
        return self._notification(attributes, None, None, around)

    def _notification(
        self, attributes: _Attributes, data: str | None, published: str | None, around: Around
    ) -> list[Told]:
        action = attributes.action
        if action in _SILENT:
            return []
        study, series, instance = _uids(attributes, data)
        published = utc(published or around.time)
        updated = _iso(attributes.lastUpdatedTime)
        time = self._native.time_of(updated or published, around.timestamp)
        if action in _DELETES:
            if updated and published:
                time = max(time, self._native.time_of(published, around.timestamp))
            return [Event(Action.DELETE, Level.INSTANCE, study, time, (Entity(series, instance, {}),))]
        if action not in _STORES:
            return [Look(study, time)]
        entity = Entity(series, instance, {})
        if attributes.modality:
            named = {tag: _element("UI", one) for tag, one in _named(study, series, instance)}
            named[MODALITY] = _element("CS", attributes.modality)
            _, entity = self._native.read_dataset(named, Level.INSTANCE)
        return [Event(Action.STORE, Level.INSTANCE, study, time, (entity,), lacking=True)]


def _named(study: str, series: str, instance: str) -> tuple[tuple[str, str], ...]:
    return (STUDY_INSTANCE_UID, study), (SERIES_INSTANCE_UID, series), (SOP_INSTANCE_UID, instance)


def _element(vr: str, value: str) -> Raw:
    """An element of the DICOM JSON Model."""
    try:
        return Raw(orjson.dumps({"vr": vr, "Value": [value]}))
    except orjson.JSONEncodeError:
        raise BadEvent("modality is no text") from None


def _uids(attributes: _Attributes, data: str | None) -> tuple[str, str, str]:
    """Study, Series and SOP Instance UID, of the resource path in ``data`` if the attributes have none."""
    found = (attributes.studyInstanceUID, attributes.seriesInstanceUID, attributes.sopInstanceUID)
    if attributes.action is None and not any(found):
        path = _PATH.fullmatch(_text(data))
        if path is None:
            raise BadEvent("neither attributes nor the resource path of an instance")
        found = (path["study"], path["series"], path["instance"])
    study, series, instance = found
    return uid(study, "studyInstanceUID"), uid(series, "seriesInstanceUID"), uid(instance, "sopInstanceUID")


def _text(data: str | None) -> str:
    try:
        return b64decode(data or "", validate=True).decode("utf-8").strip()
    except (Base64Error, ValueError):
        raise BadEvent("data is not base64 of a text") from None


def _iso(text: str | None) -> str | None:
    """A time in RFC 1123's form as ISO 8601; any other as it is, taken to be UTC."""
    if not text:
        return None
    match = _RFC_1123.fullmatch(text.strip())
    if match is None:
        return utc(text)
    day, month, year, time, zone = match.groups()
    offset = zone if _NUMERIC_ZONE.fullmatch(zone) else _ZONES.get(zone.upper())
    if offset is None or month.title() not in _MONTHS:
        raise BadEvent("lastUpdatedTime is neither of RFC 1123's form nor ISO 8601")
    return f"{year}-{_MONTHS.index(month.title()) + 1:02}-{day:0>2}T{time}{offset}"
