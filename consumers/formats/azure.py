"""Messages of the Azure DICOM service: its change feed's records, and its Event Grid events.

A record of the change feed tells what was done at a time (Action), and what is true of the instance when the feed is
*read* (State; Metadata is that of the version which is there then). So the same record read later can have another
State. Whichever it has, reading the feed on, or again, ends in the same:

=======  =========================  =================================================================================
Action   State                      says
=======  =========================  =================================================================================
create,  current, replaced          The instance was there at that time: a store. With Metadata it says all; without,
update                              it lacks (``replaced`` often comes without: a later record has them).
create,  deleted                    Nothing. It is gone; a record with Action=delete follows in the feed and says when.
update
delete   any                        A removal at that time. ``current`` or ``replaced``: it was stored again since, and
                                    a later record says so.
=======  =========================  =================================================================================

An update is a store too: its Metadata are whole, and it says that the instance is there. A bulk update may give new
UIDs; its record does not say which the old ones were. Where a record's Metadata have other UIDs than the record, both
studies are looked at. Where not, the old study stays as it was until a record removes it, or `stocktake crawl --absent`
finds it gone.

Event Grid events carry UIDs alone, so all but removals lack; those of other types (SubscriptionValidation, FHIR) say
nothing. They come in Event Grid's own schema or in CloudEvents, where the type is the envelope's.

Sources: learn.microsoft.com, "Change feed overview", "Update DICOM files" (azure/healthcare-apis/dicom) and "Azure
Health Data Services as an Event Grid source"; microsoft/dicom-server, docs/concepts/change-feed.md and PR #377.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec
from msgspec import Raw, Struct

from consumers.events import Action, BadEvent, Entity, Event, Look, Told
from consumers.formats.datasets import Dataset, uids_of
from consumers.formats.foreign import Around, Members, Text, parsed, uid, utc
from consumers.formats.native import NativeFormat
from state.attributes import SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Level

_TAGS: Final = (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)
_ACTIONS: Final = {"create": Action.STORE, "update": Action.STORE, "delete": Action.DELETE}
_STATES: Final = frozenset({"current", "replaced", "deleted"})
_GRID: Final = "Microsoft.HealthcareApis.DicomImage"
_GRID_ACTIONS: Final = {"Created": Action.STORE, "Updated": Action.STORE, "Deleted": Action.DELETE}


class _Record(Struct, rename="pascal", gc=False):
    """A record of the change feed."""

    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None
    action: str | None = None
    state: str | None = None
    timestamp: str | None = None
    metadata: dict[str, Raw] | None = None


class _Image(Struct, rename="camel", gc=False):
    """What an Event Grid event is about."""

    image_study_instance_uid: str | None = None
    image_series_instance_uid: str | None = None
    image_sop_instance_uid: str | None = None


class _GridEvent(Struct, rename="camel", gc=False):
    """An event in Event Grid's own schema."""

    event_type: str
    event_time: str | None = None
    data: Raw = Raw(b"{}")


_record: Final = msgspec.json.Decoder(_Record)
_image: Final = msgspec.json.Decoder(_Image)
_grid_event: Final = msgspec.json.Decoder(_GridEvent)


class Azure:
    """Reads messages of the Azure DICOM service."""

    def __init__(self, native: NativeFormat) -> None:
        self._native = native

    def knows(self, names: Collection[str], around: Around) -> bool:
        """A record of the change feed, an Event Grid event, or what was in a CloudEvent of Azure."""
        return (
            ("StudyInstanceUid" in names and "Action" in names)
            or ("eventType" in names and "data" in names)
            or around.type.startswith("Microsoft.")
        )

    def read(self, members: Members, text: Text, around: Around) -> list[Told]:
        """What one record or event says; raises BadEvent."""
        if around.type.startswith("Microsoft."):
            return self._image(around.type, text, None, around)
        if "eventType" in members:
            event = parsed(_grid_event, text)
            return self._image(event.event_type, event.data, event.event_time, around)
        return self._change(parsed(_record, text), around)

    def _image(self, kind: str, text: Text, time: str | None, around: Around) -> list[Told]:
        if not kind.startswith(_GRID):
            return []
        action = _GRID_ACTIONS.get(kind.removeprefix(_GRID))
        if action is None:
            return []
        image = parsed(_image, text)
        study = uid(image.image_study_instance_uid, "imageStudyInstanceUid")
        series = uid(image.image_series_instance_uid, "imageSeriesInstanceUid")
        instance = uid(image.image_sop_instance_uid, "imageSopInstanceUid")
        when = self._native.time_of(utc(time or around.time), around.timestamp)
        entities = (Entity(series, instance, {}),)
        return [Event(action, Level.INSTANCE, study, when, entities, lacking=action is Action.STORE)]

    def _change(self, record: _Record, around: Around) -> list[Told]:
        action = _ACTIONS.get((record.action or "").lower())
        if action is None:
            raise BadEvent("Action is not one of create, update, delete")
        state = (record.state or "current").lower()
        if state not in _STATES:
            raise BadEvent("State is not one of current, replaced, deleted")
        study = uid(record.study_instance_uid, "StudyInstanceUid")
        series = uid(record.series_instance_uid, "SeriesInstanceUid")
        instance = uid(record.sop_instance_uid, "SopInstanceUid")
        time = self._native.time_of(utc(record.timestamp or around.time), around.timestamp)
        if action is Action.DELETE:
            return [Event(action, Level.INSTANCE, study, time, (Entity(series, instance, {}),))]
        if state == "deleted":
            return []
        entity = Entity(series, instance, {})
        told: list[Told] = []
        if record.metadata:
            named: Dataset = {
                tag: Raw(b'{"vr":"UI","Value":["%s"]}' % one.encode("ascii"))
                for tag, one in zip(_TAGS, (study, series, instance), strict=True)
            }
            found = uids_of(named | record.metadata, Level.INSTANCE)
            if found == [study, series, instance]:
                _, entity = self._native.read_dataset(record.metadata | named, Level.INSTANCE)
                if entity.rejects is not None:  # a rejection note may name instances of other studies
                    told = [Look(elsewhere, time) for elsewhere in entity.rejects.elsewhere]
            elif found[0] != study:
                told = [Look(found[0], time)]
        lacking = not entity.instance.get(SOP_CLASS_UID)
        return [Event(action, Level.INSTANCE, study, time, (entity,), lacking=lacking), *told]
