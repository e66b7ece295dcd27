"""DICOMweb on a real Orthanc, and the bridge that polls it: the state comes to hold what the archive lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from threading import Event as Flag
from threading import Thread
from time import monotonic, time
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from consumers.archives.archive import ArchiveBusy, ArchiveRefused, FoundStudy
from consumers.archives.client import ArchiveClient
from consumers.archives.dicomweb import DicomwebArchive
from consumers.archives.qido import Search
from consumers.bridges.bridge import Bridge
from consumers.bridges.dicomweb import NAME, DicomwebFeed, PollPolicy
from consumers.formats.rejection import KEY_OBJECT_SELECTION
from consumers.publish import Publisher
from state.positions import Positions
from state.record import StudyRecord
from state.seen import Seen
from state.times import MICROSECONDS, to_datetime
from stocktake.archives import enrich
from tests.harness import Deployment, wait_for
from tests.servers.fake_dicomweb import FakeArchive, archive_policy, element, instance, run_archive
from tests.servers.orthanc import PASSWORD, USER, Orthanc, made, run_orthanc

TODAY = f"{to_datetime(round(time() * MICROSECONDS)):%Y%m%d}"
LONG_AGO = "20100101"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with run_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture
def orthanc(shared: Orthanc) -> Orthanc:
    """An Orthanc that holds nothing."""
    for study in shared.get("/studies"):
        assert shared.web.delete(f"/studies/{study}").status_code == 200
    return shared


@contextmanager
def dicomweb(orthanc: Orthanc, **given: Any) -> Iterator[DicomwebArchive]:
    known = {"url": f"{orthanc.url}/dicom-web", "username": USER, "password": PASSWORD}
    policy = archive_policy(**(known | given))
    with closing(DicomwebArchive(ArchiveClient(policy))) as archive:
        yield archive


def study(uid: str, instances: int = 2, **attributes: Any) -> list[Dataset]:
    return [made(uid, f"{uid}.{one % 2}", f"{uid}.{one % 2}.{one}", **attributes) for one in range(instances)]


def sops(found: FoundStudy | None) -> set[str]:
    assert found is not None
    return {one["00080018"]["Value"][0] for one in found.instances}


# --- what a real server answers ------------------------------------------------------------------------------------


def test_a_study_is_found_with_all_its_instances_and_texts(orthanc: Orthanc) -> None:
    given = study("1.2.3", 5, SpecificCharacterSet="ISO_IR 100", StudyDescription="Schädel", InstanceNumber=4)
    orthanc.store(given)
    with dicomweb(orthanc) as archive:
        found = archive.study("1.2.3")
        assert sops(found) == {one.SOPInstanceUID for one in given}
        assert found is not None
        assert found.updated is None
        assert found.study["00081030"]["Value"] == ["Schädel"]
        assert found.study["00080061"]["Value"] == ["OT"]
        for one in found.instances:
            assert one["00080016"]["Value"] == [given[0].SOPClassUID]
            assert one["00200013"]["Value"] == [4]
            assert one["00280010"]["Value"] == [2]


def test_a_key_object_tells_what_it_is_about(orthanc: Orthanc) -> None:
    code, reference, series, evidence = (Dataset() for _ in range(4))
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113000", "DCM", "Of Interest"
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.0.0"
    series.SeriesInstanceUID, series.ReferencedSOPSequence = "1.2.3.0", [reference]
    evidence.StudyInstanceUID, evidence.ReferencedSeriesSequence = "1.2.3", [series]
    document = made("1.2.3", "1.2.3.9", "1.2.3.9.1", Modality="KO", SOPClassUID=KEY_OBJECT_SELECTION)
    document.file_meta.MediaStorageSOPClassUID = UID(KEY_OBJECT_SELECTION)
    document.ConceptNameCodeSequence, document.CurrentRequestedProcedureEvidenceSequence = [code], [evidence]
    orthanc.store([*study("1.2.3"), document])
    with dicomweb(orthanc) as archive:
        found = archive.study("1.2.3")
        assert found is not None
        [one] = [one for one in found.instances if one["00080018"]["Value"] == ["1.2.3.9.1"]]
        assert one["0040A043"]["Value"][0]["00080100"]["Value"] == ["113000"]
        [of_series] = one["0040A375"]["Value"][0]["00081115"]["Value"]
        assert of_series["00081199"]["Value"][0]["00081155"]["Value"] == ["1.2.3.0.0"]


def test_a_study_that_is_not_there_is_none_and_a_wrong_address_or_password_is_not(orthanc: Orthanc) -> None:
    with dicomweb(orthanc) as archive:
        assert archive.study("1.2.99") is None
    with dicomweb(orthanc, username="another") as archive, pytest.raises(ArchiveBusy, match="401"):
        archive.study("1.2.99")
    with dicomweb(orthanc, url=f"{orthanc.url}/dicom-wep") as archive, pytest.raises(ArchiveRefused, match="url"):
        archive.study("1.2.99")


@pytest.mark.parametrize("size", [3, 7, 100])
def test_every_study_is_listed_whatever_its_date(orthanc: Orthanc, size: int) -> None:
    days = [TODAY, LONG_AGO, "", "20240229", "19000101", "18500101"]
    orthanc.store([one for number in range(24) for one in study(f"1.2.{number}", 1, StudyDate=days[number % 6])])
    orthanc.store([made("1.2.100", "1.2.100.1", "1.2.100.1.1", StudyDate=None)])
    with dicomweb(orthanc) as archive:
        found: list[str] = []
        place: str | None = ""
        while place is not None:
            page = archive.page(place, size)
            found += page.study_instance_uids
            place = page.following
    assert sorted(found) == sorted({uid for uid, _, _ in orthanc.listing()})


# --- the bridge ----------------------------------------------------------------------------------------------------


@dataclass
class Site:
    """A repository that follows an archive by polling it, and looks it up there."""

    deployment: Deployment
    counts: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def running(self) -> Iterator[None]:
        """A consumer and the role that looks up what is owed."""
        stop = Flag()
        enricher = Thread(target=enrich, args=(self.deployment.settings, self.deployment.name, stop))
        enricher.start()
        try:
            with self.deployment.consuming():
                yield
        finally:
            stop.set()
            enricher.join()

    def poll(self) -> None:
        """One poll, by a bridge that is started for it."""
        settings, opened = self.deployment.settings, self.deployment.opened
        policy = settings.archive(self.deployment.name)
        assert policy is not None
        with closing(ArchiveClient(policy)) as client:
            feed = DicomwebFeed(
                Search(client),
                opened.studies,
                Seen(opened.connection, self.deployment.name, settings.state.shards),
                Positions(opened.connection, self.deployment.name),
                PollPolicy(window=3, page=5, older=100, heartbeat=0.0),
                UTC,
                self.counts,
                lambda: round(time() * MICROSECONDS),
                monotonic,
            )
            bridge = Bridge(NAME, feed, lambda: Publisher(settings.kafka, self.deployment.topic), 9.0, self.counts)
            while bridge.turn() == 0.0:
                pass
            bridge.close()

    def live(self) -> set[str]:
        """The instances that are known and not removed."""
        return {
            uid
            for record in self.records()
            if not record.is_removed
            for uid, one in record.instances()
            if one.is_inventoried and one.tombstone is None and record.series[one.series_instance_uid].tombstone is None
        }

    def records(self) -> list[StudyRecord]:
        studies = self.deployment.opened.studies
        uids = [uid for shard in range(studies.shards) for uid in studies.updated(shard, None, None)]
        return [found.record for found in studies.read(uids)]

    def settles(self, instances: set[str], what: str) -> None:
        wait_for(lambda: not self.deployment.opened.debts.count() and self.live() == instances, what)


@pytest.fixture
def site_of(deploy: Callable[..., Deployment], repository: str) -> Callable[..., Site]:
    def make(url: str, **given: str) -> Site:
        known = {
            "URL": url,
            "KIND": "dicomweb",
            "REQUESTS_PER_SECOND": "1000",
            "QUIET": "10ms",
            "ABSENT": "remove",
        }
        settings = known | given
        return Site(deploy(**{f"ARCHIVES__{repository.upper()}__{name}": text for name, text in settings.items()}))

    return make


def test_the_state_follows_an_archive_that_is_polled(orthanc: Orthanc, site_of: Callable[..., Site]) -> None:
    site = site_of(f"{orthanc.url}/dicom-web", USERNAME=USER, PASSWORD=PASSWORD)

    def listed() -> set[str]:
        return {sop for _, _, sop in orthanc.listing()}

    with site.running():
        orthanc.store([one for number in range(12) for one in study(f"1.2.{number}", 3, StudyDate=TODAY)])
        orthanc.store([*study("1.2.20", 3, StudyDate=LONG_AGO), *study("1.2.21", 2, StudyDate="")])
        site.poll()
        site.settles(listed(), "what was there at first")

        orthanc.store(study("1.2.0", 5, StudyDate=TODAY))
        orthanc.store(study("1.2.20", 7, StudyDate=LONG_AGO))
        orthanc.delete("Instance", "1.2.2.1.1")
        orthanc.delete("Study", "1.2.3")
        site.poll()
        site.settles(listed(), "what came and went")

        before = Counter(site.counts)
        site.poll()
        told = {name: count for name, count in (site.counts - before).items() if name.startswith("looks")}
        assert told == {}

        orthanc.modify_study("1.2.4", StudyDescription="another", AccessionNumber="A9")
        site.poll()
        wait_for(
            lambda: any(one.shown_attributes.get("00080050") == "A9" for one in site.records()), "what was corrected"
        )
        site.settles(listed(), "all after a correction")


def test_an_archive_that_fails_often_is_followed_all_the_same(site_of: Callable[..., Site]) -> None:
    with run_archive(FakeArchive(seed=3)) as archive:
        site = site_of(archive.url, RETRY_INTERVAL="100ms", TRIES="20")
        for number in range(8):
            uid = f"1.2.{number}"
            archive.add(*(instance(uid, f"{uid}.1", f"{uid}.1.{one}", TODAY) for one in range(4)))
        archive.metadata_status = 501
        archive.cap = 3
        archive.extra["1.2.1"] = {"77770010": element("LO", "DCM4CHEE Archive 5")}
        site.poll()
        archive.error_share = 0.2
        with site.running():
            expected = {f"1.2.{number}.1.{one}" for number in range(8) for one in range(4)}
            site.settles(expected, "all in spite of errors")
