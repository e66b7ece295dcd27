"""Notifications of the Google Cloud Healthcare API: in every form in which they come to Kafka."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from typing import Any, Final

import orjson
import pytest

from consumers.counts import Counts
from consumers.events import Action, BadEvent, Event, Look
from consumers.merge import merge
from state.attributes import MODALITY, Level
from state.record import StudyRecord
from state.times import parse_time
from tests.samples import NOW, decoded, new_format, samples

UIDS: Final = ("2.25.101", "2.25.101.1", "2.25.101.1.1")
UPDATED: Final = parse_time("2026-09-21T10:00:00Z")
PUBLISHED: Final = parse_time("2026-09-21T10:00:02.5Z")


def only(message: str | bytes) -> Event:
    """The one event of a message."""
    [event] = decoded(message, "google")
    assert isinstance(event, Event)
    return event


def uids_of(event: Event) -> tuple[str | None, ...]:
    [entity] = event.entities
    return event.study_instance_uid, entity.series_instance_uid, entity.sop_instance_uid


def notification(*, members: dict[str, Any] | None = None, **attributes: Any) -> bytes:
    """The bare message of a store with other attributes and members; None takes one out."""
    message = samples()["google/message_store"].json | (members or {})
    message["attributes"] = {
        name: value for name, value in (message["attributes"] | attributes).items() if value is not None
    }
    return orjson.dumps({name: value for name, value in message.items() if value is not None})


STORES: Final = (
    "google/push_store",
    "google/message_store",
    "google/connector_beside",
    "google/connector_headers",
    "cloudevents/structured_google",
)


@pytest.mark.parametrize("name", STORES)
def test_a_store_says_its_uids_and_the_modality_and_lacks_the_rest(name: str) -> None:
    event = only(name)
    assert (event.action, event.level, event.lacking, event.time) == (Action.STORE, Level.INSTANCE, True, UPDATED)
    assert uids_of(event) == UIDS
    [entity] = event.entities
    assert (entity.study, entity.series, entity.instance) == ({}, {MODALITY: "CT"}, {})


def test_all_forms_of_a_notification_come_to_the_same() -> None:
    first, *others = (only(name) for name in STORES)
    assert all(one == first for one in others)


def test_an_import_is_a_store_and_its_time_may_be_iso_8601() -> None:
    event = only("google/push_import")
    assert (event.action, event.time) == (Action.STORE, UPDATED + 250_000)


def test_a_delete_counts_as_made_when_it_was_published() -> None:
    event = only("google/push_delete")
    assert (event.action, event.lacking, uids_of(event)) == (Action.DELETE, False, UIDS)
    assert event.time == parse_time("2026-09-21T12:00:00Z")
    assert only("google/connector_headers_delete").time == UPDATED
    early = notification(action="DeleteInstances", members={"publishTime": "2026-09-20T00:00:00Z"})
    assert only(early).time == UPDATED


def test_a_changed_storage_class_says_nothing_and_is_counted() -> None:
    counts: Counts = Counter()
    assert decoded("google/message_storage_class", "google", counts) == []
    assert counts == {"messages_skipped": 1}


def test_another_action_has_the_study_looked_at() -> None:
    assert decoded(notification(action="UpdateInstances"), "google") == [Look(UIDS[0], UPDATED)]


def test_a_notification_of_the_path_alone_has_the_study_looked_at() -> None:
    assert decoded("google/message_of_path", "google") == [Look(UIDS[0], parse_time("2026-09-21T10:00:02Z"))]


@pytest.mark.parametrize(
    "text",
    [
        "Mon, 21 Sep 2026 10:00:00 GMT",
        "Mon, 21 Sep 2026 10:00:00 UTC",
        "21 Sep 2026 10:00:00 Z",
        "Mon, 21 Sep 2026 12:00:00 +0200",
        "Mon, 21 Sep 2026 03:00:00 PDT",
        "2026-09-21T10:00:00Z",
        "2026-09-21T10:00:00",
        "2026-09-21T12:00:00+02:00",
        "2026-09-21 10:00:00 +0000",
    ],
)
def test_both_forms_of_the_time_are_read(text: str) -> None:
    assert only(notification(lastUpdatedTime=text)).time == UPDATED


def test_without_a_time_it_is_when_it_was_published_and_else_the_records() -> None:
    assert only(notification(lastUpdatedTime=None)).time == PUBLISHED
    counts: Counts = Counter()
    value = notification(lastUpdatedTime=None, members={"publishTime": None})
    [event] = decoded(value, "google", counts)
    assert (event.time, counts["times_absent"]) == (NOW, 1)


def test_a_modality_that_breaks_its_vr_is_emptied_and_counted() -> None:
    counts: Counts = Counter()
    [event] = decoded(notification(modality="computed tomography of all"), "google", counts)
    assert isinstance(event, Event)
    assert event.entities[0].series == {MODALITY: ""}
    assert counts["values_emptied"] == 1


def test_without_a_modality_nothing_is_said_of_the_series() -> None:
    assert only(notification(modality=None)).entities[0].series == {}


# --- repeated and out of order ---------------------------------------------------------------------------------------


def record_after(*messages: bytes) -> StudyRecord:
    """The study's record after these notifications, in this order."""
    event_format = new_format("google", Counter())
    record = StudyRecord(UIDS[0])
    for offset, message in enumerate(messages):
        for told in event_format.decode(message, NOW):
            assert isinstance(told, Event)
            merge(record, [(told, "t:0", offset)])
    return record


STORE: Final = notification()
DELETE: Final = samples()["google/push_delete"].value


def test_a_repeated_notification_changes_nothing() -> None:
    assert record_after(STORE, STORE) == record_after(STORE)
    assert record_after(STORE, DELETE, DELETE) == record_after(STORE, DELETE)


def test_a_delete_that_overtakes_its_store_stays_a_delete() -> None:
    for record in (record_after(STORE, DELETE), record_after(DELETE, STORE), record_after(DELETE, STORE, DELETE)):
        instance = record.instance(UIDS[2])
        assert instance is not None
        assert instance.tombstone is not None


# --- malformed -----------------------------------------------------------------------------------------------------

BAD: Final[dict[str, tuple[bytes, str]]] = {
    "no study": (notification(studyInstanceUID=None), "studyInstanceUID is absent"),
    "no series": (notification(seriesInstanceUID=""), "seriesInstanceUID is absent"),
    "no UID": (notification(sopInstanceUID="Zaphod"), "sopInstanceUID is no UID"),
    "no action and no study": (notification(action=None, studyInstanceUID=None), "studyInstanceUID is absent"),
    "time of neither form": (notification(lastUpdatedTime="Zaphod"), "time is neither ISO 8601 nor a DICOM DT"),
    "month that is none": (
        notification(lastUpdatedTime="Mon, 21 Foo 2026 10:00:00 GMT"),
        "lastUpdatedTime is neither of RFC 1123's form nor ISO 8601",
    ),
    "zone that is none": (
        notification(lastUpdatedTime="Mon, 21 Sep 2026 10:00:00 Zaphod"),
        "lastUpdatedTime is neither of RFC 1123's form nor ISO 8601",
    ),
    "day that is none": (
        notification(lastUpdatedTime="Mon, 31 Sep 2026 10:00:00 GMT"),
        "time is neither ISO 8601 nor a DICOM DT",
    ),
    "attribute no text": (
        notification(action=1),
        "unexpected JSON: Expected `str | null`, got `int` - at `$.attributes.action`",
    ),
    "path that is none": (
        b'{"message":{"data":"%s","messageId":"1"}}' % b64encode(b"projects/p"),
        "neither attributes nor the resource path of an instance",
    ),
    "path with a UID that is none": (
        b'{"message":{"data":"%s","messageId":"1"}}'
        % b64encode(b"projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb/studies/1/series/x/instances/1"),
        "seriesInstanceUID is no UID",
    ),
    "data no base64": (b'{"data":"\\u00e9","messageId":"1"}', "data is not base64 of a text"),
    "data no text": (b'{"data":"%s","messageId":"1"}' % b64encode(b"\xff\xfe"), "data is not base64 of a text"),
    "no message": (
        b'{"message":null,"subscription":""}',
        "unexpected JSON: Expected `object`, got `null` - at `$.message`",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_malformed_notification_is_told_by_what_is_wrong_with_it(kind: str) -> None:
    value, reason = BAD[kind]
    with pytest.raises(BadEvent) as error:
        decoded(value, "google")
    assert str(error.value) == reason
    assert error.value.__cause__ is None


def test_headers_that_are_no_text_make_a_bad_message() -> None:
    headers: list[tuple[str, bytes | None]] = [("action", b"StoreInstances"), ("studyInstanceUID", b"\xff")]
    with pytest.raises(BadEvent, match="header studyInstanceUID is not UTF-8"):
        decoded(b"", "google", headers=headers)


def test_headers_without_all_uids_make_a_bad_message() -> None:
    headers: list[tuple[str, bytes | None]] = [("action", b"StoreInstances"), ("studyInstanceUID", b"1.2")]
    with pytest.raises(BadEvent, match="seriesInstanceUID is absent"):
        decoded(b"", "google", headers=headers)
