"""Events of AWS HealthImaging, as EventBridge delivers them.

They are about an image set, and name no study: the image set is looked at, and its metadata name the study. That says
the same however often and in whatever order they come, so versions need not be compared. What is under way (Copying,
Updating, Deleting) or has failed changes nothing; neither do import jobs and data stores.

The developer guide writes ``imagesetId``, the schema that code is made from ``imageSetId``: both are read.

Sources: docs.aws.amazon.com, HealthImaging developer guide, "Using Amazon EventBridge with HealthImaging"; EventBridge
reference, "AWS HealthImaging events"; API reference, GetImageSet (the form of ids).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec
from msgspec import Raw, Struct, field

from consumers.events import BadEvent, Look, Told
from consumers.formats.foreign import Around, Members, Text, parsed, utc
from consumers.formats.native import NativeFormat

_SOURCE: Final = "aws.medical-imaging"
_IMAGE_SET: Final = "Image Set "
_SILENT: Final = frozenset(  # another one, of a later version, is better looked at once too often
    {
        "Copying",
        "Copying With Read Only Access",
        "Copy Failed",
        "Updating",
        "Update Failed",
        "Deleting",
    }
)
_is_id: Final = re.compile(r"[0-9a-z]{32}", re.ASCII).fullmatch


class _Detail(Struct, gc=False):
    datastoreId: str | None = None
    imagesetId: str | None = None
    imageSetId: str | None = None


class _Event(Struct, gc=False):
    detail_type: str = field(name="detail-type")
    source: str | None = None
    time: str | None = None
    detail: Raw = Raw(b"{}")


_event: Final = msgspec.json.Decoder(_Event)
_detail: Final = msgspec.json.Decoder(_Detail)


class HealthImaging:
    """Reads events of AWS HealthImaging."""

    def __init__(self, native: NativeFormat) -> None:
        self._native = native

    def knows(self, names: Collection[str], around: Around) -> bool:
        """Any event of EventBridge."""
        return "detail-type" in names

    def read(self, members: Members, text: Text, around: Around) -> list[Told]:
        """What an event says; raises BadEvent."""
        event = parsed(_event, text)
        if event.source != _SOURCE:
            raise BadEvent(f"source is not {_SOURCE}")
        if not event.detail_type.startswith(_IMAGE_SET) or event.detail_type.removeprefix(_IMAGE_SET) in _SILENT:
            return []
        detail = parsed(_detail, event.detail)
        datastore = _id(detail.datastoreId, "datastoreId")
        image_set = _id(detail.imagesetId or detail.imageSetId, "imageSetId")
        time = self._native.time_of(utc(event.time or around.time), around.timestamp)
        return [Look(f"imageset:{datastore}/{image_set}", time)]


def _id(value: str | None, name: str) -> str:
    if not value:
        raise BadEvent(f"{name} is absent")
    if not _is_id(value):
        raise BadEvent(f"{name} is not 32 letters and digits")
    return value
