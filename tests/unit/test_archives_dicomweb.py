"""A study asked for by DICOMweb: found with few requests, whatever a server makes of it, and nothing invented."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta, timezone
from typing import Any

import orjson
import pytest

from consumers.archives.archive import ArchiveBusy, ArchiveRefused, FoundStudy
from consumers.archives.client import ArchiveClient
from consumers.archives.dicomweb import DicomwebArchive, updated
from consumers.archives.elements import kept, number_of
from consumers.events import Action, Event
from consumers.formats.native import NativeFormat
from consumers.formats.rejection import KEY_OBJECT_SELECTION
from consumers.messages import events
from state.attributes import Level, recordable
from state.times import parse_time
from stocktake.settings import load
from tests.servers.fake_dicomweb import CT, Dataset, FakeArchive, archive_policy, element, instance, run_archive

STUDY = "1.2.3"
SERIES = "1.2.3.1"
LAST = "1.2.3.1.3"


@pytest.fixture
def served() -> Iterator[FakeArchive]:
    with run_archive(FakeArchive()) as archive:
        archive.add(*(instance(STUDY, SERIES, f"{SERIES}.{number}") for number in (1, 2, 3)))
        archive.add(instance("1.2.4", "1.2.4.1", "1.2.4.1.1"))
        yield archive


@pytest.fixture
def archive(served: FakeArchive) -> Iterator[DicomwebArchive]:
    made = DicomwebArchive(ArchiveClient(archive_policy(served.url)))
    yield made
    made.close()


def found(archive: DicomwebArchive, uid: str = STUDY) -> FoundStudy:
    study = archive.study(uid)
    assert study is not None
    return study


def sops(study: FoundStudy) -> list[str]:
    return [dataset["00080018"]["Value"][0] for dataset in study.instances]


def answered(served: FakeArchive, *datasets: Any) -> None:
    """The metadata of the study are those, and nothing else is told of it."""
    served.answers[f"studies/{STUDY}/metadata"] = (200, orjson.dumps(datasets), "application/dicom+json")
    served.answers[f"studies/{STUDY}/instances"] = (200, b"[]", "application/dicom+json")
    served.answers[f"studies/{STUDY}/series"] = (200, b"[]", "application/dicom+json")


# --- one study -----------------------------------------------------------------------------------------------------


def test_a_study_takes_two_requests(served: FakeArchive, archive: DicomwebArchive) -> None:
    study = found(archive)
    assert sops(study) == [f"{SERIES}.{number}" for number in (1, 2, 3)]
    assert study.study["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    assert study.study["00080061"]["Value"] == ["CT"]
    assert "00080060" not in study.study
    assert (study.updated, list(study.names)) == (None, [])
    assert len(served.requests) == 2


def test_what_is_found_is_an_event(archive: DicomwebArchive) -> None:
    [message] = events(Action.STORE, Level.INSTANCE, STUDY, 0, found(archive).instances)
    [event] = NativeFormat(load(None, {}).consumer, UTC, Counter()).decode(message.value, 0)
    assert isinstance(event, Event)
    assert [entity.sop_instance_uid for entity in event.entities] == sops(found(archive))


def test_what_no_inventory_holds_is_left_out(served: FakeArchive, archive: DicomwebArchive) -> None:
    more: dict[str, Any] = {
        "7FE00010": {"vr": "OW", "BulkDataURI": "http://x/y"},
        "00090010": element("LO", "MINE"),
        "00091010": element("LO", "x"),
        "00101030": element("DS", 71),
        "00081190": element("UR", "http://x/instances/1"),
    }
    answered(served, instance(STUDY, SERIES, "1.2.3.1.1") | more)
    served.remove(STUDY, "1.2.3.1.2")
    served.remove(STUDY, "1.2.3.1.3")
    assert not more.keys() & found(archive).instances[0].keys()


def test_a_study_that_is_gone_is_none_only_if_both_ways_say_so(served: FakeArchive, archive: DicomwebArchive) -> None:
    assert archive.study("9.9") is None
    assert len(served.requests) == 2
    served.filtered = {STUDY}  # the index does not know it yet
    study = found(archive)
    assert len(study.instances) == 3
    assert study.study["00100020"]["Value"] == ["P1"]


def test_a_server_that_answers_404_to_everything_has_not_lost_its_studies(served: FakeArchive) -> None:
    archive = DicomwebArchive(ArchiveClient(archive_policy(f"{served.url}-old")))
    with pytest.raises(ArchiveRefused, match="url"):
        archive.study(STUDY)
    with pytest.raises(ArchiveRefused, match="url"):
        archive.page("", 10)
    archive.close()


@pytest.mark.parametrize("status", [404, 204, 400, 403, 406, 413, 501])
def test_where_metadata_are_refused_searches_tell(served: FakeArchive, archive: DicomwebArchive, status: int) -> None:
    before = found(archive)
    served.metadata_status = status
    served.requests.clear()
    after = found(archive)
    assert sops(after) == sops(before)
    assert after.study == before.study
    assert [json.dumps(one, sort_keys=True) for one in after.instances] == [
        json.dumps(one, sort_keys=True) for one in before.instances
    ]
    assert len(served.requests) == 7  # study, metadata, two pages of series, metadata of one, two pages of instances


def test_an_archive_that_gives_metadata_of_series_alone_is_asked_for_those(
    served: FakeArchive, archive: DicomwebArchive
) -> None:
    before = found(archive)
    served.metadata_status = 404
    for series in {one["0020000E"]["Value"][0] for one in before.instances}:
        of_series = [one for one in before.instances if one["0020000E"]["Value"][0] == series]
        body = json.dumps(of_series).encode()
        served.answers[f"studies/{STUDY}/series/{series}/metadata"] = (200, body, "application/dicom+json")
    served.answers[f"studies/{STUDY}/instances"] = (400, b"", "text/plain")
    assert sorted(sops(found(archive))) == sorted(sops(before))


def test_instances_are_listed_in_pages_that_a_server_may_shorten(served: FakeArchive, archive: DicomwebArchive) -> None:
    served.metadata_status, served.cap = 501, 2
    assert len(found(archive).instances) == 3


def test_what_the_metadata_lack_is_searched_for(served: FakeArchive, archive: DicomwebArchive) -> None:
    served.metadata_lacks = {LAST}
    assert sorted(sops(found(archive))) == [f"{SERIES}.{number}" for number in (1, 2, 3)]


def test_a_count_that_is_wrong_costs_requests_and_no_more(served: FakeArchive, archive: DicomwebArchive) -> None:
    served.extra[STUDY] = {"00201208": element("IS", "7")}
    assert len(found(archive).instances) == 3
    assert len(served.requests) == 6


def test_a_server_that_gives_no_counts_is_believed(served: FakeArchive, archive: DicomwebArchive) -> None:
    served.gives_counts = False
    assert len(found(archive).instances) == 3
    assert len(served.requests) == 2


def test_a_sop_class_that_the_metadata_lack_is_searched_for(served: FakeArchive, archive: DicomwebArchive) -> None:
    lacking = instance(STUDY, SERIES, LAST, t00080016=None)
    served.answers[f"studies/{STUDY}/metadata"] = (200, orjson.dumps([lacking]), "application/dicom+json")
    assert {one["00080016"]["Value"][0] for one in found(archive).instances} == {CT}


def test_an_instance_whose_sop_class_nobody_knows_is_left_out(served: FakeArchive, archive: DicomwebArchive) -> None:
    served.add(instance(STUDY, SERIES, LAST, t00080016=None))
    assert LAST not in sops(found(archive))


def test_a_study_that_is_listed_without_instances_is_asked_for_again(
    served: FakeArchive, archive: DicomwebArchive
) -> None:
    answered(served)
    with pytest.raises(ArchiveBusy) as raised:
        archive.study(STUDY)
    assert not raised.value.everything
    assert STUDY not in str(raised.value)


def test_a_study_that_counts_no_instance_has_none(served: FakeArchive, archive: DicomwebArchive) -> None:
    answered(served)
    served.extra[STUDY] = {"00201208": element("IS", 0)}
    assert list(found(archive).instances) == []


def test_a_server_that_repeats_rows_is_not_taken_to_have_told_all(
    served: FakeArchive, archive: DicomwebArchive
) -> None:
    served.metadata_status, served.ignores_offset, served.cap = 501, True, 2
    with pytest.raises(ArchiveRefused, match="offset"):
        archive.study(STUDY)
    served.cap = None  # then it has: so many are counted
    assert len(found(archive).instances) == 3


@pytest.mark.parametrize("uid", ["../x", "1.2.3/series", "", "1.2\n"])
def test_what_is_no_uid_is_not_asked_for(served: FakeArchive, archive: DicomwebArchive, uid: str) -> None:
    with pytest.raises(ArchiveRefused):
        archive.study(uid)
    assert not served.requests


def test_a_server_that_asks_for_patience_is_busy(served: FakeArchive, archive: DicomwebArchive) -> None:
    served.busy, served.retry_after = 1, "3"
    with pytest.raises(ArchiveBusy) as raised:
        archive.study(STUDY)
    assert (raised.value.retry_after, raised.value.everything) == (3.0, True)


def test_a_reference_is_refused_without_its_id(archive: DicomwebArchive) -> None:
    with pytest.raises(ArchiveRefused, match="orthanc:") as raised:
        archive.study_of("orthanc:0a1b")
    assert "0a1b" not in str(raised.value)


# --- odd answers ---------------------------------------------------------------------------------------------------


def test_what_is_another_studys_or_no_instance_is_left_out(served: FakeArchive, archive: DicomwebArchive) -> None:
    right = instance(STUDY, SERIES, "1.2.3.1.1")
    answered(
        served,
        instance("1.2.4", "1.2.4.1", "1.2.4.1.1"),
        right,
        right | {"00200013": element("IS", 9)},
        instance(STUDY, SERIES, LAST, t0020000E=None),
        instance(STUDY, SERIES, LAST, t00080018="x.y"),
        None,
        [],
        "text",
        {"00080018": None},
        {"00080018": {"vr": "UI", "Value": None}},
        {"00080018": {"vr": "UI", "Value": ["1.1", "1.2"]}, "0020000E": 7},
    )
    study = found(archive)
    assert sops(study) == ["1.2.3.1.1"]
    assert study.instances[0]["00200013"]["Value"] == [1]


@pytest.mark.parametrize("answer", [b"{}", b"null", b'"text"', b"3", b"[[]]"])
def test_an_answer_of_another_form_is_no_study(served: FakeArchive, archive: DicomwebArchive, answer: bytes) -> None:
    served.answers[f"studies/{STUDY}/metadata"] = (200, answer, "application/dicom+json")
    assert len(found(archive).instances) == 3  # by the searches
    served.answers["studies"] = (200, b"{}", "application/dicom+json")
    with pytest.raises(ArchiveRefused):
        archive.study(STUDY)


def test_a_study_uid_that_an_instance_lacks_is_that_of_the_question(
    served: FakeArchive, archive: DicomwebArchive
) -> None:
    answered(served, *(instance(STUDY, SERIES, f"{SERIES}.{one} ", t0020000D=None) for one in (1, 2, 3)))
    study = found(archive)
    assert {one["0020000D"]["Value"][0] for one in study.instances} == {STUDY}
    assert sops(study) == [f"{SERIES}.{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        ({"vr": "IS", "Value": ["3"]}, {"vr": "IS", "Value": ["3"]}),
        ({"vr": "IS", "Value": 3}, {"vr": "IS", "Value": [3]}),
        ({"Value": [3]}, {"vr": "IS", "Value": [3]}),
        ({"vr": "IS"}, {"vr": "IS"}),
        ({"vr": "IS", "Value": None}, {"vr": "IS"}),
        ({"vr": "IS", "Value": []}, {"vr": "IS"}),
        ({"vr": "UN", "InlineBinary": "MyA="}, None),
        ({"vr": "UN", "BulkDataURI": "http://x"}, None),
        ({"vr": "XX", "Value": [3]}, None),
        ({"vr": "SQ", "Value": [{}]}, None),
        ({"vr": 3, "Value": [3]}, None),
        (None, None),
        (3, None),
        ([3], None),
    ],
)
def test_elements_are_kept_in_the_form_that_events_have(given: Any, is_kept: Dataset | None) -> None:
    instances = recordable(Level.INSTANCE)
    assert kept({"00200013": given}, {"00200013": instances["00200013"]}).get("00200013") == is_kept


def test_items_are_kept_without_what_an_inventory_has_no_place_for() -> None:
    row = recordable(Level.STUDY)["00081032"]
    code = {"00080100": element("SH", "C"), "00080102": element("SH", "99X"), "00080104": element("LO", "Chest")}
    given = {"vr": "SQ", "Value": [code | {"00091010": element("LO", "x")}, None, {}, "text"]}
    assert kept({row.tag: given}, {row.tag: row}) == {row.tag: {"vr": "SQ", "Value": [code]}}


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), ("7", 7), (" 7 ", 7), (7.0, 7), ("x", None), (-1, None), (True, None), (None, None), (1e400, None)],
)
def test_a_count_may_be_written_as_a_text(value: Any, number: int | None) -> None:
    assert number_of({"00201208": element("IS", value)}, "00201208") == number


def test_a_key_object_keeps_what_it_is_about(served: FakeArchive, archive: DicomwebArchive) -> None:
    reference = {"00081150": element("UI", CT), "00081155": element("UI", LAST)}
    series = {"0020000E": element("UI", SERIES), "00081199": element("SQ", reference | {"00091010": element("LO", 1)})}
    evidence = element("SQ", {"0020000D": element("UI", STUDY), "00081115": element("SQ", series)})
    title = element("SQ", {"00080100": element("SH", "113000"), "00080102": element("SH", "DCM")})
    given = instance(STUDY, "1.2.3.9", "1.2.3.9.1", t00080016=KEY_OBJECT_SELECTION, t00080060="KO")
    served.add(given | {"0040A043": title, "0040A375": evidence}, instance(STUDY, SERIES, LAST))
    by_sop = dict(zip(sops(study := found(archive)), study.instances, strict=True))
    document = by_sop["1.2.3.9.1"]
    assert document["0040A043"]["Value"][0]["00080100"]["Value"] == ["113000"]
    [of_series] = document["0040A375"]["Value"][0]["00081115"]["Value"]
    assert of_series["00081199"]["Value"] == [reference]
    assert "0040A375" not in by_sop[LAST]


# --- dcm4chee's time of update -------------------------------------------------------------------------------------

CREATOR = element("LO", "DCM4CHEE Archive 5")


@pytest.mark.parametrize(
    ("row", "iso"),
    [
        ({"77770010": CREATOR, "77771021": element("DT", "20210212121502.424+0100")}, "2021-02-12T12:15:02.424+01:00"),
        ({"77770011": CREATOR, "77771121": element("DT", "20210212121502.424")}, "2021-02-12T12:15:02.424+02:00"),
        (
            {"77770010": CREATOR, "77771021": element("DT", "20210212121502"), "00080201": element("SH", "-0430")},
            "2021-02-12T12:15:02-04:30",
        ),
        ({"77770010": element("LO", "OTHER"), "77771021": element("DT", "20210212121502")}, None),
        ({"77771021": element("DT", "20210212121502")}, None),
        ({"77770010": CREATOR, "77771021": element("DT", "yesterday")}, None),
        ({"77770010": CREATOR, "77771021": element("DT")}, None),
        ({"77770010": CREATOR}, None),
    ],
)
def test_the_time_of_update_is_told_if_dcm4chee_says_it(row: Dataset, iso: str | None) -> None:
    assert updated(row, timezone(timedelta(hours=2))) == (None if iso is None else parse_time(iso))


def test_a_study_has_its_time_of_update(served: FakeArchive, archive: DicomwebArchive) -> None:
    served.extra[STUDY] = {"77770010": CREATOR, "77771021": element("DT", "20240501101112.5+0000")}
    study = found(archive)
    assert study.updated == parse_time("2024-05-01T10:11:12.5+00:00")
    assert not any(tag.startswith("7777") for tag in study.study)


def test_threads_may_ask_at_once(served: FakeArchive, archive: DicomwebArchive) -> None:
    served.latency = 0.01
    ask: Callable[[str], FoundStudy | None] = archive.study
    with ThreadPoolExecutor(4) as pool:
        studies = list(pool.map(ask, [STUDY, "1.2.4", "9.9"] * 4))
    assert [study and study.study_instance_uid for study in studies] == [STUDY, "1.2.4", None] * 4
