"""Changes of an Orthanc server: entries of its ``/changes``, and what plug-ins publish of them.

An entry names a patient, study, series or instance by Orthanc's own id, and no UID: what it names is looked at, and the
same one however often it is named. Entries about one upload (NewInstance, NewSeries, NewStudy, StableStudy..) come to
looks at the same study; whoever keeps the looks makes one of them.

Nothing is said by changes of a patient, whose studies have changes of their own; of user-defined metadata and
attachments, which are no DICOM attributes; of jobs, peers, modalities and the server.

Read are one entry, an answer of ``/changes`` with its ``Changes``, and the event of orthanc-server-extensions, which
has the integers of the plug-in SDK and no time. ``Date`` is UTC (up to Orthanc 1.3.1 it was local time).

Sources: Orthanc, OrthancServer/Sources/ServerEnumerations.cpp (texts), Plugins/Include/orthanc/OrthancCPlugin.h
(OrthancPluginChangeType, OrthancPluginResourceType), NEWS of 1.3.2 (UTC); walkIT-nl/orthanc-server-extensions,
orthanc_ext/scripts/event_publisher.py and orthanc_ext/orthanc.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec
from msgspec import Struct

from consumers.events import BadEvent, Look, Told
from consumers.formats.foreign import Around, Members, Text, parsed, utc
from consumers.formats.native import NativeFormat

_CHANGES: Final = (  # OrthancPluginChangeType, from 0 on
    "CompletedSeries",
    "Deleted",
    "NewChildInstance",
    "NewInstance",
    "NewPatient",
    "NewSeries",
    "NewStudy",
    "StablePatient",
    "StableSeries",
    "StableStudy",
    "OrthancStarted",
    "OrthancStopped",
    "UpdatedAttachment",
    "UpdatedMetadata",
    "UpdatedPeers",
    "UpdatedModalities",
    "JobSubmitted",
    "JobSuccess",
    "JobFailure",
)
_RESOURCES: Final = ("Patient", "Study", "Series", "Instance", "None")  # OrthancPluginResourceType, from 0 on
_SILENT: Final = frozenset(
    {
        "NewPatient",
        "StablePatient",
        "AnonymizedPatient",
        "ModifiedPatient",
        "OrthancStarted",
        "OrthancStopped",
        "UpdatedAttachment",
        "UpdatedMetadata",
        "UpdatedPeers",
        "UpdatedModalities",
        "JobSubmitted",
        "JobSuccess",
        "JobFailure",
    }
)
_is_id: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{8}){4}", re.ASCII).fullmatch
_is_date: Final = re.compile(r"\d{8}T\d{6}(?:\.\d+)?", re.ASCII).fullmatch


class _Change(Struct, gc=False):
    """An entry of ``/changes``."""

    ChangeType: str | int
    ResourceType: str | int | None = None
    ID: str | None = None
    Date: str | None = None


class _Published(Struct, gc=False):
    """A change as orthanc-server-extensions publishes it."""

    change_type: str | int
    resource_type: str | int | None = None
    resource_id: str | None = None


class _Answer(Struct, gc=False):
    Changes: list[_Change]


_change: Final = msgspec.json.Decoder(_Change)
_published: Final = msgspec.json.Decoder(_Published)
_answer: Final = msgspec.json.Decoder(_Answer)


class Orthanc:
    """Reads changes of Orthanc."""

    def __init__(self, native: NativeFormat) -> None:
        self._native = native

    def knows(self, names: Collection[str], around: Around) -> bool:
        """An entry, an answer that holds entries, or a published change."""
        return "ChangeType" in names or "Changes" in names or ("change_type" in names and "resource_type" in names)

    def read(self, members: Members, text: Text, around: Around) -> list[Told]:
        """What one change, or those of an answer, say; raises BadEvent."""
        if "Changes" in members:
            found = (self._look(change, around) for change in parsed(_answer, text).Changes)
            return [look for look in found if look is not None]
        if "ChangeType" in members:
            change = parsed(_change, text)
        else:
            published = parsed(_published, text)
            change = _Change(published.change_type, published.resource_type, published.resource_id)
        look = self._look(change, around)
        return [] if look is None else [look]

    def _look(self, change: _Change, around: Around) -> Told | None:
        kind = _name(change.ChangeType, _CHANGES)
        if kind in _SILENT:
            return None
        resource = _name(change.ResourceType, _RESOURCES)
        if resource == "Patient":
            return None
        if resource not in _RESOURCES[1:4]:
            raise BadEvent("the resource type is not one of Patient, Study, Series, Instance")
        if not change.ID or not _is_id(change.ID):
            raise BadEvent("the resource's id is absent, or none of Orthanc's")
        if change.Date is not None and not _is_date(change.Date):
            raise BadEvent("Date is not YYYYMMDDTHHMMSS")
        return Look(f"orthanc:{change.ID}", self._native.time_of(utc(change.Date or around.time), around.timestamp))


def _name(value: str | int | None, names: tuple[str, ...]) -> str:
    """The text of a value of an enumeration; empty if a number has none. A text is let pass: versions add some."""
    if isinstance(value, str):
        return value
    return names[value] if value is not None and 0 <= value < len(names) else ""
