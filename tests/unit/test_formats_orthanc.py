"""Changes of Orthanc: what they name is looked at, whichever way they come."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import orjson
import pytest

from consumers.counts import Counts
from consumers.events import BadEvent, Look
from state.times import parse_time
from tests.samples import NOW, decoded, samples

INSTANCE: Final = "orthanc:0c7a4f9b-e037cf9a-d8ef9386-db692e07-7324e87f"
SERIES: Final = "orthanc:ebd09a41-a1f7f785-9becb7c4-6f17c676-841f1afc"
STUDY: Final = "orthanc:9fcadbc3-58807fe5-05a2969e-ab4aafaa-af735eaa"
TIME: Final = parse_time("2026-09-21T10:00:00Z")  # Date is UTC

# OrthancPluginChangeType of OrthancCPlugin.h, each with what it says of a study
NUMBERS: Final = {
    0: ("CompletedSeries", True),
    1: ("Deleted", True),
    2: ("NewChildInstance", True),
    3: ("NewInstance", True),
    4: ("NewPatient", False),
    5: ("NewSeries", True),
    6: ("NewStudy", True),
    7: ("StablePatient", False),
    8: ("StableSeries", True),
    9: ("StableStudy", True),
    10: ("OrthancStarted", False),
    11: ("OrthancStopped", False),
    12: ("UpdatedAttachment", False),
    13: ("UpdatedMetadata", False),
    14: ("UpdatedPeers", False),
    15: ("UpdatedModalities", False),
    16: ("JobSubmitted", False),
    17: ("JobSuccess", False),
    18: ("JobFailure", False),
}
TEXTS: Final = dict(NUMBERS.values()) | {
    "AnonymizedStudy": True,
    "AnonymizedSeries": True,
    "ModifiedStudy": True,
    "ModifiedSeries": True,
    "AnonymizedPatient": False,
    "ModifiedPatient": False,
}


def changed(**members: Any) -> bytes:
    """A deleted study's entry with other members; None takes one out."""
    entry = samples()["orthanc/deleted_study"].json | members
    return orjson.dumps({name: value for name, value in entry.items() if value is not None})


def published(**data: Any) -> bytes:
    """What orthanc-server-extensions publishes, with other data."""
    event = samples()["orthanc/extensions"].json
    event["data"] |= data
    return orjson.dumps(event)


def looks(message: str | bytes) -> list[str]:
    """What a message has looked at; if nothing, that is counted."""
    counts: Counts = Counter()
    told = decoded(message, "orthanc", counts)
    assert counts["messages_skipped"] == (not told)
    found = [one.owed for one in told if isinstance(one, Look)]
    assert len(found) == len(told)
    return found


@pytest.mark.parametrize("kind", TEXTS)
def test_a_change_of_what_is_stored_has_it_looked_at_and_any_other_says_nothing(kind: str) -> None:
    assert looks(changed(ChangeType=kind)) == [STUDY] * TEXTS[kind]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_numbers_of_the_plug_in_sdk_mean_the_same_as_the_texts(number: int) -> None:
    assert looks(published(change_type=number)) == looks(changed(ChangeType=NUMBERS[number][0]))


@pytest.mark.parametrize(("number", "text"), [*enumerate(["Patient", "Study", "Series", "Instance"])])
def test_of_a_patient_nothing_is_said_and_of_what_is_below_it_is(number: int, text: str) -> None:
    expected = [] if text == "Patient" else [STUDY]
    assert looks(published(change_type=1, resource_type=number)) == expected
    assert looks(changed(ChangeType="Deleted", ResourceType=text)) == expected


def test_a_change_that_is_not_known_yet_has_its_resource_looked_at() -> None:
    assert looks(changed(ChangeType="RestoredStudy")) == [STUDY]
    assert looks(published(change_type=999)) == [STUDY]


def test_an_answer_is_read_entry_by_entry() -> None:
    assert looks("orthanc/changes") == [INSTANCE, SERIES, STUDY, SERIES, STUDY]
    assert looks("orthanc/list") == [INSTANCE, SERIES, STUDY]


def test_an_answer_of_patients_alone_and_an_empty_one_say_nothing() -> None:
    assert looks("orthanc/changes_of_patients") == []
    assert looks(b'{"Changes":[],"Done":true,"Last":7}') == []


def test_a_look_is_the_same_however_often_and_by_whatever_change_it_is_told() -> None:
    twice = decoded(b"[%s,%s]" % (changed(), changed(ChangeType="StableStudy", Seq=10)), "orthanc")
    assert twice == [Look(STUDY, TIME)] * 2


def test_a_date_is_utc_and_an_absent_one_is_the_envelopes_or_the_records() -> None:
    assert decoded(changed(), "orthanc") == [Look(STUDY, TIME)]
    counts: Counts = Counter()
    assert decoded(changed(Date=None), "orthanc", counts) == [Look(STUDY, NOW)]
    assert decoded("orthanc/extensions", "orthanc", counts) == [Look(STUDY, NOW)]
    assert counts["times_absent"] == 2
    timed = orjson.dumps(samples()["orthanc/extensions"].json | {"time": "2026-09-21T10:00:00+00:00"})
    assert decoded(timed, "orthanc") == [Look(STUDY, TIME)]


BAD: Final[dict[str, tuple[bytes, str]]] = {
    "no id": (changed(ID=None), "the resource's id is absent, or none of Orthanc's"),
    "id of another form": (changed(ID="Zaphod"), "the resource's id is absent, or none of Orthanc's"),
    "id with more after it": (changed(ID=STUDY[8:] + "\n"), "the resource's id is absent, or none of Orthanc's"),
    "no resource": (changed(ResourceType=None), "the resource type is not one of Patient, Study, Series, Instance"),
    "resource that is none": (
        published(resource_type=4),
        "the resource type is not one of Patient, Study, Series, Instance",
    ),
    "resource below zero": (
        published(resource_type=-1),
        "the resource type is not one of Patient, Study, Series, Instance",
    ),
    "date of another form": (changed(Date="2026-09-21"), "Date is not YYYYMMDDTHHMMSS"),
    "date that is none": (changed(Date="20269921T100000"), "time is neither ISO 8601 nor a DICOM DT"),
    "type no text": (
        changed(ChangeType=[]),
        "unexpected JSON: Expected `int | str`, got `array` - at `$.ChangeType`",
    ),
    "changes no list": (b'{"Changes":{}}', "unexpected JSON: Expected `array`, got `object` - at `$.Changes`"),
    "entry no object": (b'{"Changes":[1]}', "unexpected JSON: Expected `object`, got `int` - at `$.Changes[0]`"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_malformed_change_is_told_by_what_is_wrong_with_it(kind: str) -> None:
    value, reason = BAD[kind]
    with pytest.raises(BadEvent) as error:
        decoded(value, "orthanc")
    assert str(error.value) == reason
    assert error.value.__cause__ is None
