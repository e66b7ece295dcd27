"""The native event format: what an event comes to, and why a message is none, told without any value of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, timedelta, timezone
from itertools import islice
from random import Random
from typing import Any, Final

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.counts import Counts
from consumers.events import Action, BadEvent, Entity, Event, PatientEvent, Told
from consumers.formats.native import NativeFormat
from consumers.merge import merge
from state.attributes import Level
from state.patient_news import Patient
from state.record import StudyRecord
from state.times import MICROSECONDS, parse_time
from stocktake.settings import load
from tests.oracle.adversary import CT, Universe, random_events
from writers.study_items import StudyItems

NOW: Final = 1_800_000_000 * MICROSECONDS
TIME: Final = "2026-09-21T10:00:00Z"
CANARY: Final = "Zaphod^Beeblebrox"  # stands in every bad message that can hold it; no reason may
Json = dict[str, Any]


def ui(*uids: str) -> Json:
    return {"vr": "UI", "Value": list(uids)}


def lo(*texts: str) -> Json:
    return {"vr": "LO", "Value": list(texts)}


UIDS: Final = {"0020000D": ui("1.2"), "0020000E": ui("1.2.1"), "00080018": ui("1.2.1.1")}
INSTANCE: Final = UIDS | {"00080016": ui(CT), "00100010": {"vr": "PN", "Value": [{"Alphabetic": CANARY}]}}
PATIENT: Final = {"00100020": lo("P1"), "00100010": {"vr": "PN", "Value": [CANARY]}}


def message(**changes: Any) -> bytes:
    """The store of an instance with other members; None takes one out."""
    event: Json = {"action": "store", "time": TIME, "dataset": INSTANCE} | changes
    return orjson.dumps({name: value for name, value in event.items() if value is not None})


def said(**changes: Any) -> Json:
    """The instance's data set with other elements, by tag with a leading t; None takes one out."""
    dataset = INSTANCE | {name.removeprefix("t"): element for name, element in changes.items()}
    return {tag: element for tag, element in dataset.items() if element is not None}


def decode(
    value: bytes, counts: Counts | None = None, kept: Level = Level.INSTANCE, timestamp: int = NOW
) -> list[Told]:
    counted: Counts = Counter() if counts is None else counts
    return NativeFormat(load(None, {}).consumer, UTC, counted, kept).decode(value, timestamp)


def only(value: bytes) -> Event:
    [event] = decode(value)
    assert isinstance(event, Event)
    return event


def patient_event(dataset: Json, **members: Any) -> PatientEvent:
    [event] = decode(message(level="PATIENT", dataset=dataset, **members))
    assert isinstance(event, PatientEvent)
    return event


def why(value: bytes) -> str:
    """The reason for which a message is no event."""
    with pytest.raises(BadEvent) as error:
        decode(value)
    assert error.value.__cause__ is None
    return str(error.value)


# --- no JSON, no object --------------------------------------------------------------------------------------------

GOOD: Final = message()
PRIVATE: Final = message(dataset=said(t00091001=17))

NOT_JSON: Final[dict[str, bytes]] = {
    "no bytes": b"",
    "blanks": b" \n\t ",
    "cut off": GOOD[:-1],
    "cut off in a text": GOOD[: GOOD.index(CANARY.encode()) + 5],
    "bytes after it": GOOD + CANARY.encode(),
    "two of it": GOOD + GOOD,
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "single quotes": GOOD.replace(b'"', b"'"),
    "a comma too many": GOOD.replace(b'"}', b'",}'),
    "a comment": GOOD + b"// " + CANARY.encode(),
    "a key without quotes": b"{action: " + CANARY.encode() + b"}",
    "NaN": GOOD.replace(b'"store"', b"NaN"),
    "NaN in a dataset": GOOD.replace(f'["{CT}"]'.encode(), b"[NaN]"),
    "Infinity in what is passed over": PRIVATE.replace(b"17", b"Infinity"),
    "a number with leading zeros": PRIVATE.replace(b"17", b"017"),
    "a tab in a text": GOOD.replace(b"^", b"\t"),
    "an escape that is none": GOOD.replace(b"^", b"\\q"),
    "half of a surrogate pair": GOOD.replace(b"^", b"\\ud83d"),
    "the other half": GOOD.replace(b"^", b"\\ude00"),
    "two halves the wrong way round": GOOD.replace(b"^", b"\\ude00\\ud83d"),
    "Latin-1 in an action": GOOD.replace(b"store", b"st\xf6re"),
    "Latin-1 in a tag": GOOD.replace(b"00100010", b"0010001\xfc"),
    "too deep": GOOD[:-1] + b',"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "too deep in a dataset": GOOD.replace(b'{"vr":"PN"', b"[" * 100_000 + b"]" * 100_000 + b',"1":{"vr":"PN"'),
    "too deep in a reason": GOOD[:-1] + b',"reason":' + b'{"a":' * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("kind", NOT_JSON)
def test_what_is_no_json_is_told_as_such(kind: str) -> None:
    reason = why(NOT_JSON[kind])
    assert reason.startswith("not JSON: ")
    assert len(reason) < 120
    assert CANARY not in reason


@pytest.mark.parametrize(
    "value", [b"null", b"true", b"7", b'"%s"' % CANARY.encode(), b"[]", b'["%s"]' % CANARY.encode()]
)
def test_json_that_is_no_object_is_told_as_such(value: bytes) -> None:
    assert why(value) == "not a JSON object"


# --- an object that is no event ------------------------------------------------------------------------------------

_ACTION: Final = "action is not one of store, update, delete"
_LEVEL: Final = "level is not one of STUDY, SERIES, INSTANCE, PATIENT"
_TIME: Final = "time is neither ISO 8601 nor a DICOM DT"
_REASON: Final = "reason is not an object of CodeValue, CodingSchemeDesignator, CodeMeaning"
_INCOMPLETE: Final = "reason lacks one of CodeValue, CodingSchemeDesignator, CodeMeaning"
_CLASS: Final = "SOPClassUID (00080016) is absent or no UID"
_ID: Final = "Patient ID (00100020) is absent or empty"

BAD: Final[dict[str, tuple[bytes, str]]] = {
    "no members": (b"{}", _ACTION),
    "no action": (message(action=None), _ACTION),
    "an action of null": (GOOD.replace(b'"store"', b"null"), _ACTION),
    "an unknown action": (message(action=CANARY), _ACTION),
    "an action in capitals": (message(action="STORE"), _ACTION),
    "an action that is a list": (message(action=["store"]), _ACTION),
    "an action that is a number": (message(action=1), _ACTION),
    "an unknown level": (message(level=CANARY), _LEVEL),
    "a level in small letters": (message(level="study"), _LEVEL),
    "a level that is a number": (message(level=1), _LEVEL),
    "a time that is a number": (message(time=20260921), "time is not a text"),
    "a time that is an object": (message(time={"": CANARY}), "time is not a text"),
    "a time that is none": (message(time=CANARY), _TIME),
    "an empty time": (message(time=""), _TIME),
    "a time that is not in the calendar": (message(time="2026-02-30T00:00:00Z"), _TIME),
    "a time before 1900": (message(time="1899-12-31T23:59:59Z"), "time lies before 1900"),
    "a reason that is a text": (message(reason=CANARY), _REASON),
    "a reason that is a list": (message(reason=[CANARY]), _REASON),
    "a reason whose code is a number": (message(reason={"CodeValue": 113001}), _REASON),
    "a reason without a meaning": (
        message(reason={"CodeValue": CANARY, "CodingSchemeDesignator": "DCM", "CodeMeaning": ""}), _INCOMPLETE),
    "no dataset": (message(dataset=None), "neither dataset nor datasets"),
    "a dataset of null": (b'{"action":"store","dataset":null,"datasets":null}', "neither dataset nor datasets"),
    "both": (message(datasets=[INSTANCE]), "both dataset and datasets"),
    "both, one of them empty": (message(datasets=[]), "both dataset and datasets"),
    "no datasets": (message(dataset=None, datasets=[]), "datasets is empty"),
    "a dataset that is a text": (message(dataset=CANARY), "dataset is not an object"),
    "a dataset that is a list": (message(dataset=[INSTANCE]), "dataset is not an object"),
    "datasets that are an object": (message(dataset=None, datasets=INSTANCE), "datasets is not a list of objects"),
    "a dataset among several that is none": (
        message(dataset=None, datasets=[INSTANCE, None]), "datasets is not a list of objects"),
    "a prior that is a text": (message(prior=CANARY), "prior is not an object"),
    "a prior that is a list": (message(prior=[INSTANCE]), "prior is not an object"),
    "an empty dataset": (message(dataset={}), "Study Instance UID (0020000D) is absent"),
    "no study": (message(dataset=said(t0020000D=None)), "Study Instance UID (0020000D) is absent"),
    "a study of null": (message(dataset=said(t0020000D={"vr": "UI", "Value": [None]})),
                        "Study Instance UID (0020000D) is no UID"),
    "two studies": (message(dataset=said(t0020000D=ui("1.2", "1.3"))), "Study Instance UID (0020000D) is absent"),
    "no series": (message(dataset=said(t0020000E=None)), "Series Instance UID (0020000E) is absent"),
    "a series that is no UID": (message(dataset=said(t0020000E=ui(CANARY))),
                                "Series Instance UID (0020000E) is no UID"),
    "no instance": (message(level="INSTANCE", dataset=said(t00080018=None)), "SOP Instance UID (00080018) is absent"),
    "an instance that is a text": (message(dataset=said(t00080018=CANARY)), "SOP Instance UID (00080018) is absent"),
    "an instance of 65 digits": (message(dataset=said(t00080018=ui("1" * 65))),
                                 "SOP Instance UID (00080018) is no UID"),
    "an instance that is a number": (
        message(dataset=said(t00080018={"vr": "UI", "Value": [1.2]})), "SOP Instance UID (00080018) is no UID"),
    "no SOP Class": (message(dataset=said(t00080016=None)), _CLASS),
    "a SOP Class that is no UID": (message(dataset=said(t00080016=ui(CANARY))), _CLASS),
    "no SOP Class in one of several": (message(dataset=None, datasets=[INSTANCE, said(t00080016=None)]), _CLASS),
    "an element that is a text": (message(dataset=said(t00100020=CANARY)), "PatientID (00100020) is not an object"),
    "values that are a text": (message(dataset=said(t00100020={"vr": "LO", "Value": CANARY})),
                               "Value of PatientID (00100020) is not a list"),
    "an unknown VR": (message(dataset=said(t00100020={"vr": CANARY})),
                      "PatientID (00100020) has a VR unknown to DICOM"),
    "a VR that is an object": (
        message(dataset=said(t00100020={"vr": {CANARY: 1}})), "PatientID (00100020) has a VR unknown to DICOM"),
    "a sequence that is none": (
        message(dataset=said(t00100020={"vr": "SQ"})), "PatientID (00100020) has VR SQ; the standard says LO"),
    "an Item that is a text": (message(dataset=said(t00081032={"vr": "SQ", "Value": [CANARY]})),
                               "an Item of ProcedureCodeSequence (00081032) is not an object"),
    "an element in Latin-1": (GOOD.replace(CANARY.encode(), b"M\xfcller"), "PatientName (00100010) is not JSON"),
    "a number beyond all": (
        message(dataset=said(t00100020={"vr": "LO", "Value": [1]})).replace(b"[1]", b"[1e999]"),
        "PatientID (00100020) is not JSON"),
    "a patient to be deleted": (message(action="delete", level="PATIENT", dataset=PATIENT),
                                "a patient cannot be deleted; send a delete of each study"),
    "a patient without an ID": (message(level="PATIENT", dataset={"00100010": PATIENT["00100010"]}), _ID),
    "a patient with an empty ID": (message(level="PATIENT", dataset=PATIENT | {"00100020": lo()}), _ID),
    "a patient with an ID that cannot be kept": (
        message(level="PATIENT", dataset=PATIENT | {"00100020": lo("\u0007" + CANARY)}), _ID),
    "two patients": (message(level="PATIENT", dataset=None, datasets=[PATIENT, PATIENT]),
                     "a PATIENT event has one dataset"),
    "a patient of another shape": (message(level="PATIENT", dataset={"00100020": CANARY}),
                                   "PatientID (00100020) is not an object"),
    "a prior patient of another shape": (message(level="PATIENT", dataset=PATIENT, prior={"00100021": CANARY}),
                                         "IssuerOfPatientID (00100021) is not an object"),
    "a prior UID that is none": (message(prior={"0020000D": ui(CANARY)}), "Study Instance UID (0020000D) is no UID"),
    "a prior UID of null": (message(prior={"00080018": None}), "SOP Instance UID (00080018) is absent"),
    "a changed UID and several datasets": (
        message(dataset=None, datasets=[INSTANCE, said(t00080018=ui("1.2.1.2"))], prior={"0020000D": ui("1.1")}),
        "prior names a changed UID, and there are several datasets; send one event for each"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_an_object_that_is_no_event_is_told_by_what_is_wrong_with_it(kind: str) -> None:
    value, expected = BAD[kind]
    assert why(value) == expected


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield from _places(member, (*path, name))


def _replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _replaced(value[path[0]], path[1:], other)
    return copy


_EVENT: Final[Json] = {
    "id": CANARY,
    "action": "delete",
    "level": "INSTANCE",
    "time": TIME,
    "reason": {"CodeValue": "113001", "CodingSchemeDesignator": "DCM", "CodeMeaning": CANARY},
    "dataset": INSTANCE | PATIENT | {"00200013": {"vr": "IS", "Value": [1]}, "00201208": {"vr": "IS", "Value": [9]}},
    "prior": {"00080018": ui("1.2.1.9"), "00100020": lo(CANARY)},
}
_ODD: Final[tuple[Any, ...]] = (
    *(None, True, 0, -1.5, 2**63, "", CANARY),
    *([], [CANARY], {}, {CANARY: CANARY}, [[CANARY]], [None]),
)


def reason_or_none(value: bytes) -> str | None:
    """Why a message is no event; None if it is one."""
    try:
        assert decode(value)
    except BadEvent as error:
        return str(error)
    return None


@pytest.mark.parametrize("other", _ODD, ids=repr)
@pytest.mark.parametrize(
    "event", [_EVENT, _EVENT | {"level": "PATIENT", "action": "store"}], ids=["INSTANCE", "PATIENT"]
)
def test_anything_at_any_place_makes_an_event_or_a_reason_that_holds_no_value(event: Json, other: Any) -> None:
    for path in _places(event):
        reason = reason_or_none(orjson.dumps(_replaced(event, path, other)))
        assert reason is None or (reason and CANARY not in reason), path


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.integers(0, len(GOOD)), st.integers(0, 20))
@settings(max_examples=200, deadline=None)
def test_any_bytes_within_a_message_make_an_event_or_a_reason(inserted: bytes, at: int, cut: int) -> None:
    for value in (inserted, GOOD[:at] + inserted + GOOD[at + cut :]):
        reason = reason_or_none(value)
        assert reason is None or CANARY not in reason


def test_what_is_passed_over_is_not_looked_at() -> None:
    """Elements that no inventory holds may be anything that ends where an element ends."""
    for odd in (b'"text"', b"[[]]", b"1e999", b'"M\xfcller"', b'{"vr":7}'):
        assert only(PRIVATE.replace(b"17", odd)) == only(GOOD)


def test_of_two_members_or_elements_of_one_name_the_last_counts() -> None:
    twice = GOOD[:-1] + b',"action":"delete","time":"2026-09-22T00:00:00Z"}'
    assert (only(twice).action, only(twice).time) == (Action.DELETE, parse_time("2026-09-22T00:00:00Z"))
    study = GOOD.replace(b'{"0020000D"', b'{"0020000D":{"vr":"UI","Value":["9.9"]},"0020000D"')
    assert only(study).study_instance_uid == "1.2"


def test_members_that_no_event_has_are_passed_over() -> None:
    assert only(message(id={CANARY: 1}, subject=CANARY, specversion=["1.0"])) == only(GOOD)


# --- levels and times ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "level"), [(1, Level.STUDY), (2, Level.SERIES), (3, Level.INSTANCE)], ids=["study", "series", "instance"]
)
def test_the_lowest_uid_decides_the_level_that_is_not_stated(tags: int, level: Level) -> None:
    dataset = dict(list(UIDS.items())[:tags]) | {"00080016": ui(CT)}
    assert only(message(dataset=dataset)).level is level
    assert only(message(dataset=UIDS | {"00080016": ui(CT)}, level=str(level))).level is level


def test_a_patient_is_not_guessed_from_a_dataset_without_uids() -> None:
    assert why(message(dataset=PATIENT)) == "Study Instance UID (0020000D) is absent"


def test_a_time_without_offset_is_in_the_zone_of_the_repository() -> None:
    zone = timezone(timedelta(hours=2))
    [event] = NativeFormat(load(None, {}).consumer, zone, Counter()).decode(message(time="20260921120000"), NOW)
    assert event.time == parse_time(TIME)


def test_an_absent_time_is_that_of_the_record_and_counted() -> None:
    counts: Counts = Counter()
    [event] = decode(message(time=None), counts)
    assert (event.time, counts) == (NOW, {"times_absent": 1})


def test_a_time_too_far_ahead_of_the_record_is_replaced_and_counted() -> None:
    counts: Counts = Counter()
    timestamp = parse_time(TIME) - 301 * MICROSECONDS
    assert [one.time for one in decode(GOOD, counts, timestamp=timestamp)] == [timestamp]
    assert [one.time for one in decode(GOOD, counts, timestamp=timestamp + MICROSECONDS)] == [parse_time(TIME)]
    assert counts == {"times_ahead": 1}


def test_a_record_without_a_timestamp_makes_no_time_be_ahead() -> None:
    counts: Counts = Counter()
    assert [one.time for one in decode(GOOD, counts, timestamp=-1000)] == [parse_time(TIME)]
    assert counts == {}


@pytest.mark.parametrize("time", ["1900-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"])
def test_a_study_whose_events_are_from_before_1970_is_kept(time: str) -> None:
    record = StudyRecord("1.2")
    merge(record, [(only(message(time=time)), "t:0", 0)])
    assert record.update_time == 1  # 0 is that of a study of which nothing was told
    assert record.number_of_instances == 1


# --- several datasets, changed UIDs --------------------------------------------------------------------------------


def test_several_datasets_are_one_event_for_each_study_in_their_order() -> None:
    other = said(t0020000D=ui("1.3"), t00080018=ui("1.3.1"))
    told = decode(message(dataset=None, datasets=[INSTANCE, other, said(t00080018=ui("1.2.1.2"))]))
    events = [one for one in told if isinstance(one, Event)]
    assert [one.study_instance_uid for one in events] == ["1.2", "1.3"]
    assert [[entity.sop_instance_uid for entity in one.entities] for one in events] == [
        ["1.2.1.1", "1.2.1.2"],
        ["1.3.1"],
    ]


@pytest.mark.parametrize(
    ("level", "prior", "removed"),
    [
        ("STUDY", {"0020000D": ui("1.1")}, ("1.1", None, None)),
        ("SERIES", {"0020000D": ui("1.1")}, ("1.1", "1.2.1", None)),
        ("SERIES", {"0020000E": ui("1.2.9")}, ("1.2", "1.2.9", None)),
        ("INSTANCE", {"0020000D": ui("1.1")}, ("1.1", "1.2.1", "1.2.1.1")),
        ("INSTANCE", {"0020000E": ui("1.2.9")}, ("1.2", "1.2.9", "1.2.1.1")),
        ("INSTANCE", {"00080018": ui("1.2.1.9 ")}, ("1.2", "1.2.1", "1.2.1.9")),
        (
            "INSTANCE",
            {"0020000D": ui("1.1"), "0020000E": ui("1.1.1"), "00080018": ui("1.1.1.1")},
            ("1.1", "1.1.1", "1.1.1.1"),
        ),
    ],
)
@pytest.mark.parametrize("action", ["store", "update", "delete"])
def test_a_changed_uid_is_the_removal_of_the_old_identity_and_then_the_event(
    level: str, prior: Json, removed: tuple[str, str | None, str | None], action: str
) -> None:
    reason = {"CodeValue": "113001", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Rejected for Quality Reasons"}
    plain = message(action=action, level=level, reason=reason)
    study, series, instance = removed
    removal = Event(Action.DELETE, Level(level), study, parse_time(TIME), (Entity(series, instance, {}),))
    assert decode(message(action=action, level=level, reason=reason, prior=prior)) == [removal, only(plain)]


@pytest.mark.parametrize(
    ("level", "prior"),
    [
        ("INSTANCE", {}),
        ("INSTANCE", {"00100020": lo("OLD"), "00100021": lo("X")}),
        ("INSTANCE", {"0020000D": {"vr": "UI", "Value": [" 1.2"]}, "00080018": ui("1.2.1.1")}),
        ("SERIES", {"00080018": ui("1.2.1.9")}),
        ("STUDY", {"0020000E": ui("1.2.9")}),
    ],
)
def test_a_prior_that_changes_no_uid_of_the_level_changes_nothing(level: str, prior: Json) -> None:
    assert decode(message(level=level, prior=prior)) == decode(message(level=level))


def test_a_prior_without_changed_uids_may_come_with_several_datasets() -> None:
    both = [INSTANCE, said(t00080018=ui("1.2.1.2"))]
    given = message(dataset=None, datasets=both, prior={"00100020": lo("OLD")})
    assert decode(given) == decode(message(dataset=None, datasets=both))


# --- patients ------------------------------------------------------------------------------------------------------


def test_a_rename_is_of_the_patient_that_the_dataset_names_with_what_it_says_of_it() -> None:
    event = patient_event(PATIENT | {"00100021": lo("X"), "00100040": {"vr": "CS", "Value": ["F"]}})
    assert (event.patient, event.prior, event.time) == (Patient("P1", "X"), None, parse_time(TIME))
    assert event.attributes == {"00100010": CANARY, "00100020": "P1", "00100021": "X", "00100040": "F"}


@pytest.mark.parametrize("action", ["store", "update"])
def test_store_and_update_of_a_patient_mean_the_same(action: str) -> None:
    assert patient_event(PATIENT, action=action) == patient_event(PATIENT)


def test_what_belongs_to_studies_or_to_the_patient_s_condition_is_no_news_of_a_patient() -> None:
    condition = {"00101010": {"vr": "AS", "Value": ["042Y"]}, "00101030": {"vr": "DS", "Value": [70]}}
    studies = {"0020000D": ui("1.2"), "00081030": lo("Thorax")}
    assert patient_event(PATIENT | condition | studies) == patient_event(PATIENT)


@pytest.mark.parametrize(
    ("now", "prior", "before"),
    [
        ({"00100020": lo("P1")}, {"00100020": lo("P0")}, Patient("P0", "")),
        ({"00100020": lo("P1"), "00100021": lo("X")}, {"00100020": lo("P0")}, Patient("P0", "X")),
        ({"00100020": lo("P1"), "00100021": lo("X")}, {"00100021": lo("Y")}, Patient("P1", "Y")),
        ({"00100020": lo("P1"), "00100021": lo("X")}, {"00100021": lo()}, Patient("P1", "")),
        ({"00100020": lo("P1")}, {"00100020": lo(" P0 "), "00100021": lo("Y")}, Patient("P0", "Y")),
        ({"00100020": lo("P1")}, {"00100020": lo("P1")}, None),
        ({"00100020": lo("P1")}, {"00100021": lo("")}, None),
        ({"00100020": lo("P1")}, {"00100010": {"vr": "PN", "Value": ["Old"]}}, None),
        ({"00100020": lo("P1")}, {}, None),
    ],
)
def test_a_merge_is_from_the_prior_patient_and_what_prior_leaves_out_is_as_in_the_dataset(
    now: Json, prior: Json, before: Patient | None
) -> None:
    assert patient_event(now, prior=prior).prior == before


def test_a_patient_without_issuer_says_so_which_counts_for_one_who_had_another_before() -> None:
    event = patient_event({"00100020": lo("P1")}, prior={"00100021": lo("X")})
    assert event.attributes == {"00100020": "P1", "00100021": ""}


def test_values_of_a_patient_are_mended_and_counted_as_those_of_a_study() -> None:
    counts: Counts = Counter()
    birth_date = {"vr": "DA", "Value": ["1970.01.02"]}
    sex = {"vr": "CS", "Value": ["female, I think"]}
    [event] = decode(message(level="PATIENT", dataset=PATIENT | {"00100030": birth_date, "00100040": sex}), counts)
    assert isinstance(event, PatientEvent)
    assert (event.attributes["00100030"], event.attributes["00100040"]) == ("19700102", "")
    assert counts == {"values_repaired": 1, "values_emptied": 1}


# --- less is kept --------------------------------------------------------------------------------------------------


def in_order(seed: int, count: int) -> Iterator[Json]:
    """Events of two studies; some of them come twice, and late."""
    rng = Random(seed)
    sent: list[Json] = []
    for event in islice(random_events(rng, Universe(studies=2, series=2, instances=6)), count):
        sent.append(event)
        yield event
        if rng.random() < 0.2:
            yield rng.choice(sent)


@pytest.mark.parametrize("kept", [Level.STUDY, Level.SERIES])
@pytest.mark.parametrize("seed", range(12))
def test_at_a_higher_level_less_is_kept_and_what_an_inventory_of_it_shows_is_the_same(kept: Level, seed: int) -> None:
    """Counts, modalities and removal follow from series and instances that the inventory does not show."""
    whole, part = (NativeFormat(load(None, {}).consumer, UTC, Counter(), level) for level in (Level.INSTANCE, kept))
    items, records, parts = StudyItems(kept), dict[str, StudyRecord](), dict[str, StudyRecord]()
    for offset, event in enumerate(in_order(seed, 60)):
        for decoder, into in ((whole, records), (part, parts)):
            for told in decoder.decode(orjson.dumps(event), NOW):
                assert isinstance(told, Event)
                uid = told.study_instance_uid
                merge(into.setdefault(uid, StudyRecord(uid)), [(told, "t:0", offset)])
        for uid, record in records.items():
            assert items.encode(parts[uid], 0) == items.encode(record, 0)
            assert parts[uid].fingerprint == record.fingerprint
            assert parts[uid].is_incomplete == record.is_incomplete
    attributes = [instance.attributes for record in parts.values() for _, instance in record.instances()]
    assert attributes
    assert all(one.keys() <= {"00080016"} for one in attributes)
