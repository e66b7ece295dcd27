"""The Azure DICOM service: what its change feed and its Event Grid events come to, and that reading again is safe."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any, Final

import orjson
import pytest

from consumers.counts import Counts
from consumers.events import Action, BadEvent, Entity, Event, Look, Told
from consumers.merge import merge
from state.attributes import MODALITY, SOP_CLASS_UID, Level
from state.record import StudyRecord
from state.times import parse_time
from tests.samples import NOW, decoded, new_format, samples

UIDS: Final = ("2.25.101", "2.25.101.1", "2.25.101.1.1")
CT: Final = "1.2.840.10008.5.1.4.1.1.2"
DESCRIPTION: Final = "00081030"


def only(message: str | bytes) -> Event:
    """The one event of a message."""
    [event] = decoded(message, "azure")
    assert isinstance(event, Event)
    return event


def uids_of(event: Event) -> tuple[str | None, ...]:
    [entity] = event.entities
    return event.study_instance_uid, entity.series_instance_uid, entity.sop_instance_uid


def changed(name: str, **members: Any) -> bytes:
    """A sample with other members; None takes one out."""
    record = samples()[name].json | members
    return orjson.dumps({member: value for member, value in record.items() if value is not None})


def record_after(*messages: str | bytes) -> StudyRecord:
    """The study's record after these messages, in this order."""
    event_format = new_format("azure", Counter())
    record = StudyRecord(UIDS[0])
    for offset, message in enumerate(messages):
        value = samples()[message].value if isinstance(message, str) else message
        for told in event_format.decode(value, NOW):
            if isinstance(told, Event) and told.study_instance_uid == UIDS[0]:
                merge(record, [(told, "t:0", offset)])
    return record


def is_there(record: StudyRecord) -> bool:
    instance = record.instance(UIDS[2])
    return instance is not None and instance.tombstone is None


# --- the change feed -----------------------------------------------------------------------------------------------


def test_a_record_with_metadata_says_all_that_a_store_says() -> None:
    event = only("azure/feed_create")
    assert (event.action, event.level, event.lacking) == (Action.STORE, Level.INSTANCE, False)
    assert event.time == parse_time("2026-09-21T10:00:00.4834Z")
    assert uids_of(event) == UIDS
    [entity] = event.entities
    assert entity.instance[SOP_CLASS_UID] == CT
    assert entity.series[MODALITY] == "CT"
    assert entity.study[DESCRIPTION] == "CT thorax"


@pytest.mark.parametrize("name", ["azure/feed_create_without_metadata", "azure/feed_create_replaced"])
def test_a_record_without_metadata_is_a_store_that_lacks(name: str) -> None:
    event = only(name)
    assert (event.action, event.lacking, event.entities) == (Action.STORE, True, (Entity(*UIDS[1:], {}),))


def test_metadata_without_a_sop_class_lack() -> None:
    metadata = samples()["azure/feed_create"].json["Metadata"]
    del metadata[SOP_CLASS_UID]
    assert only(changed("azure/feed_create", Metadata=metadata)).lacking
    assert only(changed("azure/feed_create", Metadata={})).lacking


@pytest.mark.parametrize("action", ["create", "update"])
def test_what_is_deleted_when_the_feed_is_read_says_nothing(action: str) -> None:
    counts: Counts = Counter()
    assert decoded(changed("azure/feed_create_deleted", Action=action), "azure", counts) == []
    assert counts == {"messages_skipped": 1}


@pytest.mark.parametrize("state", ["current", "replaced", "deleted"])
def test_a_delete_is_one_whatever_is_true_now_and_never_lacks(state: str) -> None:
    event = only(changed("azure/feed_delete", State=state))
    assert (event.action, event.lacking, uids_of(event)) == (Action.DELETE, False, UIDS)


def test_an_update_is_a_store_of_all() -> None:
    event = only("azure/feed_update")
    assert (event.action, event.lacking) == (Action.STORE, False)
    assert event.entities[0].study[DESCRIPTION] == "CT thorax and neck"


def test_metadata_of_other_uids_have_both_studies_looked_at() -> None:
    event, look = decoded("azure/feed_update_of_uids", "azure")
    assert isinstance(event, Event)
    assert (uids_of(event), event.lacking, event.entities[0].instance) == (UIDS, True, {})
    assert look == Look("2.25.202", event.time)


def test_metadata_of_another_series_are_not_taken_for_those_of_this_one() -> None:
    metadata = samples()["azure/feed_create"].json["Metadata"]
    metadata["0020000E"]["Value"] = ["2.25.999"]
    event = only(changed("azure/feed_create", Metadata=metadata))
    assert (uids_of(event), event.lacking) == (UIDS, True)


def test_other_studies_that_a_rejection_note_names_are_looked_at() -> None:
    metadata = samples()["azure/feed_create"].json["Metadata"]
    metadata[SOP_CLASS_UID]["Value"] = ["1.2.840.10008.5.1.4.1.1.88.59"]
    code = {"00080100": "113001", "00080102": "DCM"}
    title = {tag: {"vr": "SH", "Value": [value]} for tag, value in code.items()}
    metadata["0040A043"] = {"vr": "SQ", "Value": [title]}
    metadata["0040A375"] = {"vr": "SQ", "Value": [{"0020000D": {"vr": "UI", "Value": ["2.25.404"]}}]}
    event, look = decoded(changed("azure/feed_create", Metadata=metadata), "azure")
    assert isinstance(event, Event)
    assert event.entities[0].rejects is not None
    assert look == Look("2.25.404", event.time)


def test_a_page_is_read_record_by_record() -> None:
    told = decoded("azure/feed_page", "azure")
    assert [one.entities[0].study[DESCRIPTION] for one in told if isinstance(one, Event)] == [
        "CT thorax",
        "CT thorax and neck",
    ]


def test_a_page_with_one_bad_record_is_bad_as_a_whole_and_says_which() -> None:
    page = samples()["azure/feed_page"].json
    page[1]["SopInstanceUid"] = "no uid"
    with pytest.raises(BadEvent, match=r"^element 1: SopInstanceUid is no UID$"):
        decoded(orjson.dumps(page), "azure")


def test_an_empty_page_says_nothing() -> None:
    counts: Counts = Counter()
    assert decoded(b"[]", "azure", counts) == []
    assert counts == {"messages_skipped": 1}


# --- read again, or later --------------------------------------------------------------------------------------------

LIVE: Final = ("azure/feed_create", "azure/feed_update")
LATER: Final = ("azure/feed_create_replaced", "azure/feed_update")


def test_a_feed_read_again_ends_in_the_same() -> None:
    live = record_after(*LIVE)
    assert is_there(live)
    for again in [(*LIVE, *LIVE), (*LIVE, *LATER), LATER, (*LATER, *LIVE), ("azure/feed_create", *LIVE)]:
        assert record_after(*again) == live, again


def test_a_feed_read_after_the_delete_ends_in_the_same_removal() -> None:
    live = record_after("azure/feed_create", "azure/feed_delete")
    late = record_after("azure/feed_create_deleted", "azure/feed_delete")
    again = record_after("azure/feed_create", "azure/feed_delete", "azure/feed_create_deleted", "azure/feed_delete")
    assert again == live
    for record in (live, late, again):
        assert not is_there(record)


def test_records_told_twice_change_nothing() -> None:
    names = ["azure/feed_create", "azure/feed_update", "azure/feed_delete"]
    once = record_after(*names)
    assert record_after(*(name for name in names for _ in range(2))) == once


def test_a_delete_before_its_older_create_stays_a_delete() -> None:
    assert not is_there(record_after("azure/feed_delete", "azure/feed_create"))
    assert not is_there(
        record_after("azure/grid_deleted", changed("azure/feed_create", Timestamp="2026-09-20T00:00:00Z"))
    )


def test_what_was_stored_again_after_a_delete_is_there() -> None:
    again = changed("azure/feed_create", Timestamp="2026-09-21T13:00:00Z", Sequence=9)
    assert is_there(record_after("azure/feed_create", "azure/feed_delete", again))
    assert is_there(record_after("azure/feed_create_replaced", changed("azure/feed_delete", State="replaced"), again))


def test_a_store_that_lacks_does_not_take_away_what_is_known() -> None:
    record = record_after("azure/feed_create", "azure/grid_updated")
    instance = record.instance(UIDS[2])
    assert instance is not None
    assert instance.attributes[SOP_CLASS_UID] == CT


# --- Event Grid ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "action", "lacking"),
    [
        ("azure/grid_created", Action.STORE, True),
        ("azure/grid_updated", Action.STORE, True),
        ("azure/grid_deleted", Action.DELETE, False),
        ("azure/cloudevent_created", Action.STORE, True),
        ("cloudevents/binary_azure", Action.STORE, True),
    ],
)
def test_an_event_of_the_grid_says_its_uids(name: str, action: Action, lacking: bool) -> None:
    event = only(name)
    assert (event.action, event.lacking, uids_of(event)) == (action, lacking, UIDS)


def test_the_times_are_those_of_the_event_to_the_microsecond() -> None:
    wanted = parse_time("2026-09-21T10:00:04.561321Z")
    assert only("azure/grid_created").time == only("azure/cloudevent_created").time == wanted


def test_a_time_without_an_offset_is_utc() -> None:
    assert only(changed("azure/feed_delete", Timestamp="2026-09-21T12:00:00")).time == only("azure/feed_delete").time


def test_an_absent_time_is_the_records_and_counted() -> None:
    counts: Counts = Counter()
    [event] = decoded(changed("azure/feed_create", Timestamp=None), "azure", counts)
    assert (event.time, counts["times_absent"]) == (NOW, 1)


def test_a_time_too_far_ahead_is_the_records_and_counted() -> None:
    counts: Counts = Counter()
    [event] = decoded(changed("azure/feed_create", Timestamp="2099-01-01T00:00:00Z"), "azure", counts)
    assert (event.time, counts["times_ahead"]) == (NOW, 1)


@pytest.mark.parametrize("name", ["azure/grid_validation", "azure/grid_fhir", "cloudevents/structured_fhir"])
def test_events_of_other_types_say_nothing_and_are_counted(name: str) -> None:
    counts: Counts = Counter()
    assert decoded(name, "azure", counts) == []
    assert counts == {"messages_skipped": 1}


# --- malformed -----------------------------------------------------------------------------------------------------

DATA: Final = samples()["azure/grid_updated"].json["data"]
BAD: Final[dict[str, tuple[bytes, str]]] = {
    "no Action that is known": (
        changed("azure/feed_create", Action="purge"),
        "Action is not one of create, update, delete",
    ),
    "Action no text": (
        changed("azure/feed_create", Action=1),
        "unexpected JSON: Expected `str | null`, got `int` - at `$.Action`",
    ),
    "no State that is known": (
        changed("azure/feed_create", State="gone"),
        "State is not one of current, replaced, deleted",
    ),
    "no study": (changed("azure/feed_create", StudyInstanceUid=""), "StudyInstanceUid is absent"),
    "no series": (changed("azure/feed_create", SeriesInstanceUid=None), "SeriesInstanceUid is absent"),
    "no UID": (changed("azure/feed_create", SopInstanceUid="Zaphod"), "SopInstanceUid is no UID"),
    "UID too long": (changed("azure/feed_delete", SopInstanceUid="1" * 65), "SopInstanceUid is no UID"),
    "no time": (changed("azure/feed_create", Timestamp="Zaphod"), "time is neither ISO 8601 nor a DICOM DT"),
    "metadata no object": (
        changed("azure/feed_create", Metadata=[]),
        "unexpected JSON: Expected `object | null`, got `array` - at `$.Metadata`",
    ),
    "metadata that are none": (
        changed("azure/feed_create", Metadata={DESCRIPTION: "Zaphod"}),
        "StudyDescription (00081030) is not an object",
    ),
    "metadata with a UID that is none": (
        changed("azure/feed_create", Metadata={"0020000D": {"vr": "UI", "Value": ["Zaphod"]}}),
        "Study Instance UID (0020000D) is no UID",
    ),
    "no image": (changed("azure/grid_updated", data={}), "imageStudyInstanceUid is absent"),
    "image no object": (changed("azure/grid_updated", data="Zaphod"), "unexpected JSON: Expected `object`, got `str`"),
    "type no text": (
        changed("azure/grid_updated", eventType=[]),
        "unexpected JSON: Expected `str`, got `array` - at `$.eventType`",
    ),
    "image without instance": (
        changed("azure/grid_updated", data=DATA | {"imageSopInstanceUid": "1..2"}),
        "imageSopInstanceUid is no UID",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_malformed_message_is_told_by_what_is_wrong_with_it(kind: str) -> None:
    value, reason = BAD[kind]
    with pytest.raises(BadEvent) as error:
        decoded(value, "azure")
    assert str(error.value) == reason
    assert error.value.__cause__ is None


def test_events_are_in_the_order_of_the_feed() -> None:
    told: list[Told] = decoded("azure/feed_page", "azure")
    assert all(one.time < after.time for one, after in pairwise(told))
