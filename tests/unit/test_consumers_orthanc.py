"""What Orthanc says, as data sets, and what the bridge makes of it. The integration tests meet the real one."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import asdict
from typing import Any, cast

import orjson
import pytest

from consumers.archives.archive import ArchiveBusy, ArchiveRefused
from consumers.archives.client import ArchiveClient
from consumers.archives.orthanc import OrthancArchive
from consumers.archives.orthanc_resources import elements, orthanc_time
from consumers.bridges.orthanc import NAME, OrthancFeed, Position
from consumers.publish import Publisher, PublishError
from state.attributes import Level, recordable
from state.positions import Positions
from state.times import parse_time

CT = "1.2.840.10008.5.1.4.1.1.2"
DAY = "20260102T0304"  # what Orthanc writes of a minute


class FakeOrthanc:
    """Answers as Orthanc and its script do, from what a test puts in."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Any]] = {}
        self.headers: dict[str, dict[str, Any]] = {}
        self.changes: list[dict[str, Any]] = []
        self.last = 0
        self.journal: dict[str, Any] | None = {
            "Deletions": [],
            "Ready": True,
            "Trimmed": 0,
            "Changes": 1000,
            "Database": "d",
            "Journal": "j",
            "Until": "2026-01-02T04:00:00.500000+00:00",
        }
        self.asked: list[str] = []
        self.lookups: list[list[str]] = []  # what lookups answer before the truth

    def store(self, uid: str, patient: str = "P1", second: int = 0, sop_class: str | None = CT) -> str:
        """An instance ``study.series.instance`` and what lies above it; its id."""
        study, series = uid.rsplit(".", 2)[0], uid.rsplit(".", 1)[0]
        ids = [f"{patient}/{one}" for one in (study, series, uid)]
        above = self.resources.setdefault(
            ids[0], made("Study", ids[0], study, Series=[], PatientMainDicomTags={"0010,0020": patient})
        )
        parent = self.resources.setdefault(
            ids[1], made("Series", ids[1], series, Instances=[], ParentStudy=ids[0], tags={"0008,0060": "CT"})
        )
        metadata = {} if sop_class is None else {"SopClassUid": sop_class}
        self.resources[ids[2]] = made("Instance", ids[2], uid, ParentSeries=ids[1], Metadata=metadata)
        for found, kind, one in ((above, "Series", ids[1]), (parent, "Instances", ids[2])):
            if one not in found[kind]:
                found[kind].append(one)
        above["LastUpdate"] = f"{DAY}{second:02}"
        self.change("NewInstance", ids[2], second)
        return ids[2]

    def change(self, kind: str, resource: str, second: int = 0) -> None:
        self.changes = [one for one in self.changes if (one["ID"], one["ChangeType"]) != (resource, kind)]
        self.last += 1
        self.changes.append({"Seq": self.last, "ChangeType": kind, "ID": resource, "Date": f"{DAY}{second:02}"})

    def delete(self, resource: str, second: float, *, journaled: bool = True) -> None:
        """Take an instance away, with what is empty then, and journal it."""
        instance = self.resources.pop(resource)
        series = self.resources[instance["ParentSeries"]]
        study = self.resources[series["ParentStudy"]]
        self.changes = [one for one in self.changes if one["ID"] != resource]
        if journaled:
            self.tell(resource, second, *(uid(one) for one in (study, series, instance)))
        series["Instances"].remove(resource)
        if not series["Instances"]:
            study["Series"].remove(series["ID"])
            del self.resources[series["ID"]]
        if not study["Series"]:
            del self.resources[study["ID"]]

    def tell(self, resource: str, second: float, study: str = "", series: str = "", instance: str = "") -> None:
        assert self.journal is not None
        self.journal["Deletions"].append(
            {
                "Seq": len(self.journal["Deletions"]) + 1,
                "Time": f"2026-01-02T03:04:{second:09.6f}+00:00",
                "StudyInstanceUID": study,
                "SeriesInstanceUID": series,
                "SOPInstanceUID": instance,
                "ID": resource,
            }
        )

    def get(self, path: str, params: Any = None, accept: str = "") -> Any:
        self.asked.append(path)
        if path == "changes":
            changes = [one for one in self.changes if one["Seq"] > params["since"]]
            some = changes[: params["limit"]]
            return {"Changes": some, "Done": some == changes, "Last": some[-1]["Seq"] if some else self.last}
        if path == "studies":
            return [one["ID"] for one in self.resources.values() if one["Type"] == "Study"]
        if path.endswith("/tags"):
            return self.headers.get(path.removeprefix("instances/").removesuffix("/tags"))
        assert path == "stocktake/deletions"
        if self.journal is None:
            return None
        rows = [one for one in self.journal["Deletions"] if one["Seq"] > params["since"]]
        last = max((one["Seq"] for one in self.journal["Deletions"]), default=self.journal["Trimmed"])
        return self.journal | {"Deletions": rows, "Done": True, "Last": last}

    def post(self, path: str, body: Any, accept: str = "") -> Any:
        self.asked.append(path)
        if path == "tools/bulk-content":
            return [self.resources[one] for one in body["Resources"] if one in self.resources]
        assert path == "tools/lookup"
        found = [one["ID"] for one in self.resources.values() if uid(one) == body]
        ids = self.lookups.pop(0) if self.lookups else found
        return [{"ID": one, "Type": self.resources[one]["Type"]} for one in ids]


def made(kind: str, resource: str, uid: str, tags: dict[str, str] | None = None, **members: Any) -> dict[str, Any]:
    name = {"Study": "0020,000d", "Series": "0020,000e", "Instance": "0008,0018"}[kind]
    return {"ID": resource, "Type": kind, "MainDicomTags": {name: uid} | (tags or {})} | members


def uid(resource: dict[str, Any]) -> str:
    name = {"Study": "0020,000d", "Series": "0020,000e", "Instance": "0008,0018"}[resource["Type"]]
    return str(resource["MainDicomTags"][name])


class FakePublisher:
    """Takes messages; confirms them unless it is to fail."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.confirmed = 0
        self.fails = False

    def partitions(self) -> list[int]:
        return [0, 1]

    def send(self, key: bytes, value: bytes, partition: int | None = None) -> None:
        self.told.append(orjson.loads(value) | {"key": key.decode(), "partition": partition})

    def flush(self) -> None:
        if self.fails:
            raise PublishError("no")
        self.confirmed = len(self.told)

    def events(self) -> list[tuple[str, ...]]:
        """Action, second, and the instances or the study."""
        found = []
        for one in self.told:
            datasets = one.get("datasets") or [one.get("dataset", {})]
            uids = [set_of(dataset) for dataset in datasets]
            if one["action"] != "heartbeat":
                found.append((one["action"], one["time"][17:26], *uids))
        return found

    def beats(self) -> list[str]:
        return [one["time"] for one in self.told if one["action"] == "heartbeat"]


def set_of(dataset: dict[str, Any]) -> str:
    tag = "00080018" if "00080018" in dataset else "0020000D"
    return str(dataset[tag]["Value"][0]) if dataset else ""


class FakePositions:
    def __init__(self) -> None:
        self.kept: dict[str, Any] | None = None

    def read(self, name: str) -> dict[str, Any] | None:
        assert name == NAME
        return self.kept

    def write(self, name: str, position: dict[str, Any]) -> None:
        assert name == NAME
        self.kept = position


class Site:
    """A bridge's feed between fakes."""

    def __init__(self, *, deletions: bool = True) -> None:
        self.orthanc = FakeOrthanc()
        self.publisher = FakePublisher()
        self.positions = FakePositions()
        self.counts: Counter[str] = Counter()
        self.deletions = deletions
        self.begin()

    def begin(self) -> None:
        self.feed = OrthancFeed(
            cast(ArchiveClient, self.orthanc),
            cast(Positions, self.positions),
            0.0,
            self.counts,
            deletions=self.deletions,
            now=lambda: parse_time("2026-01-02T05:00:00+00:00"),
            monotonic=lambda: 0.0,
        )
        self.feed.begin(cast(Publisher, self.publisher))

    def told(self) -> list[tuple[str, ...]]:
        """What the steps tell until there is no more."""
        self.publisher.told.clear()
        while self.feed.step():
            pass
        return self.publisher.events()


def test_a_new_instance_is_a_store_at_the_time_of_its_change() -> None:
    site = Site()
    site.orthanc.store("1.2.1.1", second=7)
    assert site.told() == [("store", "07.000000", "1.2.1.1")]
    [store] = [one for one in site.publisher.told if one["action"] == "store"]
    assert store["key"] == "1.2"
    assert store["level"] == "INSTANCE"
    assert {tag: element.get("Value") for tag, element in store["dataset"].items()} == {
        "00080016": [CT],
        "00080018": ["1.2.1.1"],
        "00080060": ["CT"],
        "00100020": ["P1"],
        "0020000D": ["1.2"],
        "0020000E": ["1.2.1"],
    }
    assert site.told() == []


def test_an_instance_whose_class_orthanc_does_not_keep_has_it_from_its_header() -> None:
    site = Site()
    one = site.orthanc.store("1.2.1.1", sop_class=None)
    site.orthanc.headers[one] = {"0008,0016": CT}
    assert site.told() == [("store", "00.000000", "1.2.1.1")]


def test_what_cannot_be_in_an_inventory_is_counted_and_not_told() -> None:
    site = Site()
    site.orthanc.store("1.2.1.1", sop_class=None)
    site.orthanc.store("1.2.1.x")
    assert site.told() == []
    assert site.counts["unusable"] == 2


def test_what_is_gone_already_is_passed_over() -> None:
    site = Site()
    one = site.orthanc.store("1.2.1.1")
    del site.orthanc.resources[one]
    assert site.told() == []
    assert site.counts["gone_already"] == 1


def test_a_deletion_is_told_at_its_second() -> None:
    site = Site()
    ids = [site.orthanc.store(f"1.2.1.{number}") for number in (1, 2, 3)]
    site.told()
    for one in ids[:2]:
        site.orthanc.delete(one, 9.75)
    assert site.told() == [("delete", "09.000000", "1.2.1.1", "1.2.1.2"), ("update", "09.000000", "1.2")]
    site.orthanc.delete(ids[2], 10.0)
    assert site.told() == [("delete", "10.000000", "1.2.1.3")]
    assert site.counts["deletes"] == 2


def test_what_is_stored_again_is_not_told_as_deleted() -> None:
    site = Site()
    one = site.orthanc.store("1.2.1.1", second=1)
    site.told()
    site.orthanc.delete(one, 2.5)
    site.orthanc.store("1.2.1.1", second=2)
    assert [event for event in site.told() if event[0] != "update"] == [("store", "02.000000", "1.2.1.1")]
    assert site.counts["stored_again"] == 1


def test_a_store_that_comes_after_a_delete_in_its_second_is_not_older() -> None:
    site = Site()
    one = site.orthanc.store("1.2.1.1", second=1)
    site.told()
    site.orthanc.delete(one, 2.5)
    [delete] = site.told()
    site.orthanc.store("1.2.1.1", second=2)
    [store] = site.told()
    assert (delete[0], store[0]) == ("delete", "store")
    assert store[1] >= delete[1]


def test_the_copy_of_another_patient_that_is_left_is_told_again() -> None:
    site = Site()
    site.orthanc.store("1.2.1.1", "P1", 1)
    second = site.orthanc.store("1.2.1.1", "P2", 2)
    site.told()
    site.orthanc.delete(second, 3.25)
    assert site.told() == [("store", "03.000000", "1.2.1.1"), ("update", "03.000000", "1.2")]
    assert all(
        one["dataset"]["00100020"]["Value"] == ["P1"] for one in site.publisher.told if one["action"] != "heartbeat"
    )


def test_a_deletion_whose_uids_nobody_knows_is_to_be_looked_up_by_its_id() -> None:
    site = Site()
    site.orthanc.tell("0a1b", 4.5)
    site.told()
    [look] = [one for one in site.publisher.told if one["action"] == "look"]
    assert look["owed"] == "orthanc:0a1b"
    assert look["key"] == "orthanc:0a1b"


def test_a_study_that_is_stable_is_to_be_looked_up() -> None:
    site = Site()
    site.orthanc.store("1.2.1.1")
    site.orthanc.change("StableStudy", "P1/1.2", 9)
    site.orthanc.change("StableStudy", "P1/1.9", 9)  # gone
    site.orthanc.change("UpdatedMetadata", "P1/1.2", 9)
    assert site.told() == [("store", "00.000000", "1.2.1.1"), ("look", "09.000000", "1.2")]


def test_changes_are_read_no_further_than_their_deletions_can_be_told() -> None:
    site = Site()
    assert site.orthanc.journal is not None
    site.orthanc.store("1.2.1.1")
    site.orthanc.store("1.2.1.2")
    site.orthanc.journal["Changes"] = 1
    assert site.told() == [("store", "00.000000", "1.2.1.1")]
    site.orthanc.journal["Changes"] = 2
    assert site.told() == [("store", "00.000000", "1.2.1.2")]


def test_the_position_is_kept_when_the_broker_has_confirmed_and_not_before() -> None:
    site = Site()
    site.orthanc.store("1.2.1.1")
    site.publisher.fails = True
    with pytest.raises(PublishError):
        site.feed.step()
    assert site.positions.read(NAME) is None
    site.publisher.fails = False
    site.begin()
    assert site.told() == [("store", "00.000000", "1.2.1.1")]
    assert site.positions.read(NAME) == asdict(Position(1, 0, "d", "j"))
    site.begin()
    assert site.told() == []


def test_a_position_of_long_ago_tells_the_same_in_the_end() -> None:
    site = Site()
    ids = [site.orthanc.store(f"1.{number}.1.1") for number in range(4)]
    site.orthanc.delete(ids[0], 5.0)
    first = site.told()
    site.positions.kept = None
    site.begin()
    assert site.told() == first


def test_another_database_is_read_from_the_beginning(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    for number in range(3):
        site.orthanc.store(f"1.2.1.{number}")
    site.told()
    fresh = site.orthanc = FakeOrthanc()
    assert fresh.journal is not None
    fresh.journal["Database"] = "another"
    for number in range(5):
        fresh.store(f"1.3.1.{number}")
    site.begin()
    assert len(site.told()) == 5
    assert "another database" in caplog.text


def test_changes_that_are_numbered_anew_are_read_from_the_beginning() -> None:
    site = Site(deletions=False)
    for number in range(3):
        site.orthanc.store(f"1.2.1.{number}")
    site.told()
    site.orthanc = FakeOrthanc()
    site.orthanc.store("1.3.1.1")
    site.begin()
    assert site.told() == [("store", "00.000000", "1.3.1.1")]


@pytest.mark.parametrize("change", [{"Journal": "another"}, {"Trimmed": 5}])
def test_deletions_that_may_be_lost_are_told_of_once(change: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    site.told()
    assert site.orthanc.journal is not None
    site.orthanc.journal |= change
    with caplog.at_level(logging.ERROR):
        site.told()
        site.told()
    assert caplog.text.count("stocktake crawl --absent") == 1


def test_a_journal_that_is_not_ready_is_waited_for() -> None:
    site = Site()
    assert site.orthanc.journal is not None
    site.orthanc.store("1.2.1.1")
    site.orthanc.journal["Ready"] = False
    with pytest.raises(ArchiveBusy):
        site.feed.step()
    assert site.publisher.told == []


def test_orthanc_without_the_script_is_refused_unless_deletions_are_to_be_left_out() -> None:
    site = Site()
    site.orthanc.journal = None
    with pytest.raises(ArchiveRefused, match=r"stocktake_orthanc\.py"):
        site.feed.step()
    site = Site(deletions=False)
    site.orthanc.journal = None
    site.orthanc.store("1.2.1.1")
    assert site.told() == [("store", "00.000000", "1.2.1.1")]


@pytest.mark.parametrize("answer", [[], {"Deletions": 5}, {"Deletions": [{}]}, {"Deletions": [], "Done": True}])
def test_an_answer_that_is_not_the_scripts_is_refused(answer: Any) -> None:
    site = Site()
    site.orthanc.get = lambda *given, **named: answer  # type: ignore[method-assign]
    with pytest.raises(ArchiveRefused, match="plug-in"):
        site.feed.step()


def test_a_heartbeat_tells_orthancs_time_a_second_before_the_poll_that_found_nothing() -> None:
    site = Site()
    site.told()
    assert site.publisher.beats() == ["2026-01-02T03:59:59.500000+00:00"] * 2
    assert [one["partition"] for one in site.publisher.told] == [0, 1]


def test_a_heartbeat_while_changes_come_tells_no_more_than_they_do() -> None:
    site = Site()
    site.orthanc.store("1.2.1.1", second=30)
    site.feed.step()
    assert site.publisher.beats() == ["2026-01-02T03:04:29.000000+00:00"] * 2


def test_there_is_no_heartbeat_while_something_is_known_and_not_told() -> None:
    site = Site()
    assert site.orthanc.journal is not None
    site.orthanc.store("1.2.1.1")
    site.orthanc.journal["Changes"] = 0
    assert site.told() == []
    assert site.publisher.beats() == []


def test_deletions_of_many_studies_are_told_over_several_steps() -> None:
    site = Site()
    ids = [site.orthanc.store(f"1.{number}.1.1") for number in range(20)]
    site.told()
    for one in ids:
        site.orthanc.delete(one, 5.0)
    site.publisher.told.clear()
    assert site.feed.step()
    assert 0 < len(site.publisher.events()) < 20
    assert site.publisher.beats() == []
    assert len(site.publisher.events()) + len(site.told()) == 20


def test_a_study_that_changes_while_it_is_read_is_asked_for_again() -> None:
    orthanc = FakeOrthanc()
    orthanc.store("1.2.1.1", "P1")
    orthanc.store("1.2.1.2", "P2")
    archive = OrthancArchive(cast(ArchiveClient, orthanc))
    orthanc.lookups = [["P1/1.2"]]  # what was there a moment ago
    with pytest.raises(ArchiveBusy):
        archive.study("1.2")
    found = archive.study("1.2")
    assert found is not None
    assert len(found.instances) == 2


def test_a_study_of_two_patients_speaks_with_the_one_that_changed_last() -> None:
    orthanc = FakeOrthanc()
    orthanc.store("1.2.1.1", "P1", 20)
    orthanc.store("1.2.1.2", "P2", 10)
    found = OrthancArchive(cast(ArchiveClient, orthanc)).study("1.2")
    assert found is not None
    assert {one["00100020"]["Value"][0] for one in (found.study, *found.instances)} == {"P1"}
    assert found.updated == parse_time("2026-01-02T03:04:20+00:00")
    assert len(found.names) == 6


def test_what_orthanc_lists_counts_more_than_a_header() -> None:
    orthanc = FakeOrthanc()
    one = orthanc.store("1.2.1.1")
    orthanc.resources["P1/1.2"]["MainDicomTags"]["0008,1030"] = "listed"
    orthanc.headers[one] = {
        "0008,1030": "in the file",
        "0020,0060": "L",
        "0028,0010": "512",
        "0008,1032": [{"0008,0100": "C", "0008,0102": "S", "0008,0104": "M"}],
    }
    found = OrthancArchive(cast(ArchiveClient, orthanc)).study("1.2")
    assert found is not None
    [instance] = found.instances
    assert instance["00081030"]["Value"] == ["listed"]
    assert instance["00200060"]["Value"] == ["L"]
    assert instance["00280010"]["Value"] == ["512"]
    assert found.study["00081032"]["Value"][0]["00080104"]["Value"] == ["M"]
    orthanc.store("1.2.1.2")
    found = OrthancArchive(cast(ArchiveClient, orthanc)).study("1.2")
    assert found is not None
    assert not any("00280010" in instance for instance in found.instances)  # another instance's may be another


def test_a_study_costs_a_bounded_number_of_requests() -> None:
    orthanc = FakeOrthanc()
    for series in range(120):
        orthanc.store(f"1.2.{series}.1")
    OrthancArchive(cast(ArchiveClient, orthanc)).study("1.2")
    assert len(orthanc.asked) == 5 + 50


def test_names_have_their_groups() -> None:
    found = elements({"0010,0010": "Yamada^Tarou=山田^太郎=やまだ^たろう"}, recordable(Level.STUDY))
    groups = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    assert found == {"00100010": {"vr": "PN", "Value": [groups]}}


def test_what_orthanc_does_not_tell_is_left_out_and_what_is_empty_is_empty() -> None:
    tags = {"0008,1030": None, "0008,0050": "", "0010,1001": "A^B\\C^D", "7fe0,0010": "x", "0008,0020": ["odd"]}
    assert elements(tags, recordable(Level.STUDY)) == {
        "00080050": {"vr": "SH"},
        "00101001": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}, {"Alphabetic": "C^D"}]},
    }


def test_orthancs_times_are_utc() -> None:
    assert orthanc_time("20260131T235958") == parse_time("2026-01-31T23:59:58+00:00")
    assert orthanc_time("yesterday") is None
    assert orthanc_time(None) is None
