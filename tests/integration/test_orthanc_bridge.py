"""The bridge from a real Orthanc: what the state holds in the end is what Orthanc lists, and the rest is removed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any, Final

import httpx
import orjson
import pydicom
import pytest
from kafka import KafkaConsumer, TopicPartition
from pydicom.dataset import Dataset
from pydicom.uid import UID

from consumers.answers import answer
from consumers.archives.client import ArchiveClient
from consumers.archives.orthanc import OrthancArchive
from consumers.bridges.bridge import Bridge
from consumers.bridges.orthanc import NAME, OrthancFeed
from consumers.events import Event
from consumers.formats.native import NativeFormat
from consumers.formats.rejection import KEY_OBJECT_SELECTION
from consumers.merge import merge
from consumers.publish import Publisher
from state.attributes import PATIENT_ID
from state.debts import Debt
from state.positions import Positions
from state.record import StudyRecord
from tests.harness import Deployment, wait_for
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.orthanc import MARK, Listed, Orthanc, made, run_orthanc

FILES: Final = Path(pydicom.__file__).parent / "data" / "test_files"


@dataclass
class Site:
    """A repository that follows Orthanc, and what was ever stored there."""

    orthanc: Orthanc
    deployment: Deployment
    stored: Listed = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def remember(self) -> None:
        """What is listed now was stored once."""
        self.stored |= self.orthanc.listing()

    @property
    def positions(self) -> Positions:
        return Positions(self.deployment.opened.connection, self.deployment.name)

    @contextmanager
    def client(self) -> Iterator[ArchiveClient]:
        policy = self.deployment.settings.archive(self.deployment.name)
        assert policy is not None
        with closing(ArchiveClient(policy)) as client:
            yield client

    @contextmanager
    def bridge(self, **options: Any) -> Iterator[Bridge]:
        """A bridge that starts at the position in the state. It beats whenever there is nothing more."""
        settings = self.deployment.settings
        with self.client() as client:
            feed = OrthancFeed(client, self.positions, 0.0, self.counts, **options)
            bridge = Bridge(NAME, feed, lambda: Publisher(settings.kafka, self.deployment.topic), 0.05, self.counts)
            try:
                yield bridge
            finally:
                bridge.close()

    def tell_all(self, **options: Any) -> None:
        """Run a bridge until there is nothing more, and consume what it told."""
        if options.get("deletions", True):
            self.orthanc.settle()
        beaten = self.counts["heartbeats"]
        deadline = time.monotonic() + 30
        with self.bridge(**options) as bridge:
            while self.counts["heartbeats"] == beaten:
                assert time.monotonic() < deadline, "the bridge does not come to an end"
                time.sleep(bridge.turn())
        assert self.deployment.consume_all()["dead_letters"] == 0

    def records(self) -> list[StudyRecord]:
        opened = self.deployment.opened
        shards = range(self.deployment.settings.state.shards)
        uids = [uid for shard in shards for uid in opened.studies.updated(shard, None, None)]
        return [found.record for found in opened.studies.read(uids)]

    def known(self) -> dict[tuple[str, str, str], bool]:
        """Every instance in the state that was stored once, and whether it is removed."""
        return {
            (record.study_instance_uid, one.series_instance_uid, uid): (
                one.tombstone is not None
                or record.tombstone is not None
                or record.series[one.series_instance_uid].tombstone is not None
            )
            for record in self.records()
            for uid, one in record.instances()
            if one.is_inventoried
        }

    def check(self) -> None:
        """The state holds what Orthanc lists, and knows what it held of the rest as removed."""
        listing, known = self.orthanc.listing(), self.known()
        assert {one for one, removed in known.items() if not removed} == listing
        assert {one for one, removed in known.items() if removed} >= self.stored - listing

    def shown(self) -> dict[str, Any]:
        """What an inventory would show of each study but the one that serves as a mark."""
        return {
            one.study_instance_uid: (one.fingerprint, one.update_time, one.shown_attributes, one.modalities)
            for one in self.records()
            if one.study_instance_uid != MARK
        }

    def patient_of(self, study_instance_uid: str) -> Any:
        [record] = [one for one in self.records() if one.study_instance_uid == study_instance_uid]
        return record.shown_attributes[PATIENT_ID]

    def messages(self) -> list[dict[str, Any]]:
        """All messages of the topic, with their partition."""
        found = []
        with closing(KafkaConsumer(bootstrap_servers=self.deployment.settings.kafka.bootstrap_servers[0])) as consumer:
            places = [
                TopicPartition(self.deployment.topic, number)
                for number in consumer.partitions_for_topic(self.deployment.topic)
            ]
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places)
            while any(consumer.position(one) < ends[one] for one in places):
                for place, records in consumer.poll(timeout_ms=500).items():
                    found += [orjson.loads(one.value) | {"partition": place.partition} for one in records]
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with run_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def orthanc(server: Orthanc) -> Orthanc:
    """The module's Orthanc, emptied."""
    server.start()  # a test before this one may have killed it and failed
    for study in server.get("/studies"):
        server.web.delete(f"/studies/{study}")
    server.settle()
    return server


@pytest.fixture
def site(
    orthanc: Orthanc, kafka_broker: KafkaBroker, redis_url: str, topic: str, repository: str, tmp_path: Path
) -> Iterator[Site]:
    """A repository whose state is empty, and a bridge that begins at Orthanc's present."""
    given = orthanc.settings(repository)
    deployment = Deployment(tmp_path, redis_url, repository, kafka_broker.bootstrap_servers, topic, **given)
    deployment.clock.now = time.time_ns() // 1000
    with closing(deployment):
        site = Site(orthanc, deployment)
        site.tell_all()
        site.counts.clear()
        yield site


def study(number: int, instances: int = 3, patient: str = "P1", **attributes: Any) -> list[Dataset]:
    """A study of two series with so many instances each."""
    uid = f"1.2.3.{number}"
    return [
        made(uid, f"{uid}.{series}", f"{uid}.{series}.{instance}", patient, InstanceNumber=instance, **attributes)
        for series in (1, 2)
        for instance in range(1, instances + 1)
    ]


def test_what_is_listed_is_live_and_what_went_is_removed(site: Site) -> None:
    orthanc = site.orthanc
    assert sum(orthanc.put(path.read_bytes()) for path in sorted(FILES.rglob("*.dcm"))) > 50
    orthanc.store(study(1) + study(2, patient="P2") + study(3, patient="P3"))
    orthanc.stow(study(4, patient="P4") + study(5, patient="P5") + study(6, patient="P6"))
    site.remember()
    site.tell_all()
    site.check()
    orthanc.modify_patient("1.2.3.1", PatientID="P9", PatientName="New^Name")
    orthanc.merge("1.2.3.2", "1.2.3.3")
    site.remember()
    orthanc.delete("Instance", "1.2.3.4.1.1")
    orthanc.delete("Series", "1.2.3.5.2")
    orthanc.delete("Study", "1.2.3.6")
    site.tell_all()
    site.check()
    assert site.patient_of("1.2.3.1") == "P9"
    assert site.counts["unusable"] == 0

    # A bridge that has lost its position tells all again, and nothing changes.
    before = site.shown()
    site.positions.forget(NAME)
    site.tell_all()
    site.check()
    assert site.shown() == before


def test_two_patients_of_one_study_uid_are_one_study_and_what_is_left_of_it_stays(site: Site) -> None:
    orthanc = site.orthanc
    orthanc.stow(study(7, patient="P1"))
    orthanc.stow(study(7, patient="P2")[:4])
    site.remember()
    site.tell_all()
    site.check()
    second = next(one for one in orthanc.ids("1.2.3.7") if patient_in(orthanc, one) == "P2")
    orthanc.web.delete(f"/studies/{second}")
    site.tell_all()
    site.check()
    assert site.patient_of("1.2.3.7") == "P1"
    orthanc.delete("Study", "1.2.3.7")
    site.tell_all()
    site.check()
    assert not orthanc.listing()


def patient_in(orthanc: Orthanc, study_id: str) -> str:
    return str(orthanc.get(f"/studies/{study_id}")["PatientMainDicomTags"]["PatientID"])


def test_what_is_deleted_and_stored_again_within_a_second_is_live(site: Site) -> None:
    orthanc = site.orthanc
    orthanc.stow(study(8))
    site.remember()
    site.tell_all()
    for _ in range(3):
        orthanc.delete("Study", "1.2.3.8")
        orthanc.stow(study(8))
        site.tell_all()
        site.check()
    with stopping(site):
        for _ in range(10):
            orthanc.delete("Series", "1.2.3.8.1")
            orthanc.stow(study(8))
    site.tell_all()
    site.check()
    orthanc.delete("Study", "1.2.3.8")
    site.tell_all()
    site.check()


@contextmanager
def stopping(site: Site) -> Iterator[None]:
    """A bridge runs for the time of a block, in a thread."""
    stop = Flag()
    with site.bridge() as bridge:
        thread = Thread(target=bridge.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            asked = time.monotonic()
            thread.join(30)
    assert time.monotonic() - asked < 2


def test_what_was_deleted_while_the_bridge_was_away_is_removed(site: Site) -> None:
    site.orthanc.store(study(10) + study(11, patient="P2"))
    site.remember()
    with stopping(site):
        wait_for(lambda: site.counts["stores"] == 12, "all stores are told")
    site.orthanc.delete("Study", "1.2.3.10")
    site.orthanc.delete("Instance", "1.2.3.11.1.1")
    site.tell_all()
    site.check()


def test_what_was_deleted_right_before_orthanc_was_killed_is_removed(site: Site) -> None:
    orthanc = site.orthanc
    orthanc.stow(study(12) + study(13, patient="P2"))
    site.remember()
    site.tell_all()
    orthanc.delete("Study", "1.2.3.12")
    orthanc.delete("Series", "1.2.3.13.1")
    orthanc.kill()
    orthanc.start()
    site.tell_all()
    site.check()
    # What was stored before a kill and deleted after the start is known, too.
    orthanc.stow(study(14))
    orthanc.kill()
    orthanc.start()
    site.remember()
    site.tell_all()
    orthanc.delete("Study", "1.2.3.14")
    orthanc.restart()
    site.tell_all()
    site.check()


def test_heartbeats_reach_every_partition_and_a_quiet_study_is_looked_at(site: Site) -> None:
    site.orthanc.stow(study(15))
    began = time.time()
    with stopping(site):
        wait_for(lambda: site.counts["looks"] >= 1, "Orthanc says that the study is stable")
        beaten = site.counts["heartbeats"]
        wait_for(lambda: site.counts["heartbeats"] >= beaten + 2, "two more heartbeats")
    told = site.messages()
    beats = [one for one in told if one["action"] == "heartbeat"]
    assert {one["partition"] for one in beats} == {0, 1, 2, 3}
    assert {one["sender"] for one in beats} == {NAME}
    looks = [one["dataset"] for one in told if one["action"] == "look" and "owed" not in one]
    assert {one["0020000D"]["Value"][0] for one in looks} == {"1.2.3.15"}
    stores = [one for one in told if one["action"] == "store"]
    assert len(stores) == 6
    assert all(abs(datetime.fromisoformat(one["time"]).timestamp() - began) < 60 for one in stores)


def test_a_bridge_without_the_script_waits_unless_it_is_told_to_do_without(
    kafka_broker: KafkaBroker, redis_url: str, topic: str, repository: str, tmp_path: Path
) -> None:
    script = tmp_path / "nothing.py"
    script.write_text("import orthanc\n")
    with run_orthanc(tmp_path / "plain", PythonScript=str(script)) as orthanc:
        given = orthanc.settings(repository)
        deployment = Deployment(tmp_path, redis_url, repository, kafka_broker.bootstrap_servers, topic, **given)
        with closing(deployment):
            deployment.clock.now = time.time_ns() // 1000
            site = Site(orthanc, deployment)
            orthanc.stow(study(16))
            with site.bridge() as bridge:
                bridge.turn()
            assert not site.counts
            site.tell_all(deletions=False)
            site.check()


def test_the_route_of_the_script_asks_for_the_password(orthanc: Orthanc) -> None:
    assert httpx.get(f"{orthanc.url}/stocktake/deletions").status_code == 401
    assert orthanc.web.post("/stocktake/deletions", content="").status_code == 405
    assert orthanc.web.get("/stocktake/deletions?since=x").status_code == 400


def test_the_archive_answers_for_studies_references_and_pages(site: Site) -> None:
    orthanc = site.orthanc
    attributes = {
        "SeriesDescription": "Sérié",
        "Laterality": "L",
        "IssuerOfPatientID": "X",
        "SpecificCharacterSet": "ISO_IR 100",
    }
    orthanc.stow(study(17, 1, "P1", **attributes))
    orthanc.stow(study(17, 2, "P2", **attributes))
    orthanc.stow(study(18, 1, "P3") + study(19, 1, "P4"))
    with site.client() as client:
        archive = OrthancArchive(client)
        found = archive.study("1.2.3.17")
        assert found is not None
        assert {one["00080018"]["Value"][0] for one in found.instances} == {
            uid for _, _, uid in orthanc.listing() if uid.startswith("1.2.3.17.")
        }
        assert found.study["00100021"]["Value"] == ["X"]
        assert all(one["00080016"]["Value"] and one["0008103E"]["Value"] == ["Sérié"] for one in found.instances)
        assert all(one["00200060"]["Value"] == ["L"] for one in found.instances)
        assert found.updated is not None
        assert abs(found.updated / 1e6 - time.time()) < 60
        assert {archive.study_of(name) for name in found.names} == {"1.2.3.17"}
        patient = orthanc.get("/patients")[0]
        assert archive.study_of(f"orthanc:{patient}") is None
        assert archive.study_of("orthanc:" + "-".join(["0" * 8] * 5)) is None
        assert archive.study("1.2.3.99") is None
        pages = list(pages_of(archive, 2))
        assert {uid for page in pages for uid in page} == {"1.2.3.17", "1.2.3.18", "1.2.3.19"}
        assert len(pages) == 2


def test_a_rejection_note_in_orthanc_is_read_with_what_it_rejects(site: Site) -> None:
    rejected, kept = (made("1.2.3.27", "1.2.3.27.1", f"1.2.3.27.1.{number}") for number in (1, 2))
    note = made("1.2.3.27", "1.2.3.27.9", "1.2.3.27.9.1", "P1", Modality="KO")
    note.SOPClassUID = note.file_meta.MediaStorageSOPClassUID = UID(KEY_OBJECT_SELECTION)
    title, named, series, evidence = Dataset(), Dataset(), Dataset(), Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "113037", "DCM", "a title"
    named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID = rejected.SOPClassUID, rejected.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = rejected.SeriesInstanceUID, [named]
    evidence.StudyInstanceUID, evidence.ReferencedSeriesSequence = rejected.StudyInstanceUID, [series]
    note.ConceptNameCodeSequence, note.CurrentRequestedProcedureEvidenceSequence = [title], [evidence]
    site.orthanc.stow([rejected, kept, note])
    with site.client() as client:
        found = OrthancArchive(client).study("1.2.3.27")
    debt = Debt("1.2.3.27", "t:0:1", 0, None)
    record = StudyRecord(debt.owed)
    decoder = NativeFormat(site.deployment.settings.consumer, UTC, Counter())
    for message in answer(debt, None, found, remove_absent=True, now=1_800_000_000_000_000):
        for told in decoder.decode(message.value, 2_000_000_000_000_000):
            if isinstance(told, Event):
                merge(record, [(told, "t:0", 2)])
    removed = record.instance(str(rejected.SOPInstanceUID))
    assert removed is not None
    assert removed.tombstone is not None
    assert removed.tombstone.reason["00080100"] == "113037"
    assert {uid for uid, one in record.instances() if one.tombstone is None} == {
        str(kept.SOPInstanceUID),
        str(note.SOPInstanceUID),
    }


def pages_of(archive: OrthancArchive, size: int) -> Iterator[list[str]]:
    place: str | None = ""
    while place is not None:
        page = archive.page(place, size)
        yield list(page.study_instance_uids)
        place = page.following
