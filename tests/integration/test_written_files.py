"""Every file that Stocktake writes, held against the standard by readers that are not its own: pydicom, dcmtk and GDCM.

Records come to the state by events, as they do from a topic, and the files are written from a real Redis. One study
holds every attribute of the standard's table; the others hold what archives send in error, and what they remove.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import gdcm
import pytest
from pydicom import dcmread
from pydicom.config import strict_reading
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from consumers.events import BadEvent
from state.attributes import MODALITIES_IN_STUDY, Level
from stocktake.settings import load
from tests.archive import (
    NOON,
    REASON,
    Archive,
    all_of_it,
    event,
    everything,
    full_study,
    names_of_several_scripts,
    removals,
    values_that_break_their_vr,
)
from tests.records import pydicom_item, strict_writing
from tests.servers.dcmtk import dcmdump, dcmtk
from tests.standard_table import INSTANCES, SERIES, STUDIES, TagPath, children, standard_rows
from writers.policy import InventoryPolicy
from writers.standalone import Range
from writers.terms import INVENTORY_STORAGE

LEVELS: Final = ("STUDY", "SERIES", "INSTANCE")
SYNTAXES: Final = {"EXPLICIT": ExplicitVRLittleEndian, "DEFLATED": DeflatedExplicitVRLittleEndian}
ONE_LINE: Final = frozenset({"LO", "PN", "SH", "UC"})  # texts that hold no control characters (PS3.5 6.2)

# Around the Inventory Module: SOP Common and General Equipment (PS3.3 A.88).
OTHER_MODULES: Final = {
    "00080005": "CS",
    "00080016": "UI",
    "00080018": "UI",
    "00080070": "LO",
    "00080080": "LO",
    "00080201": "SH",
    "00081010": "SH",
    "00081090": "LO",
    "00181020": "LO",
}


@pytest.fixture(params=SYNTAXES)
def syntax(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def archive(redis_url: str, repository: str, tmp_path: Path, level: str, syntax: str) -> Iterator[Archive]:
    settings = load(
        None,
        {
            "STOCKTAKE_INVENTORY__DIR": str(tmp_path / "inventories"),
            "STOCKTAKE_INVENTORY__LEVEL": level,
            "STOCKTAKE_INVENTORY__TRANSFER_SYNTAX": syntax,
            "STOCKTAKE_INVENTORY__INSTITUTION_NAME": "Universitätsklinikum 山田",
            "STOCKTAKE_STATE__SHARDS": "4",
        },
    )
    archive = Archive(redis_url, repository, settings)
    yield archive
    archive.connection.close()


# --- what the readers say -----------------------------------------------------------------------------------------


def dumped(path: Path) -> list[tuple[int, str, str]]:
    """Depth, tag and VR of each element as dcmdump finds them in the file; it must find nothing to complain of."""
    command = [str(dcmdump()), "+fo", "-dc", "+L", "-Un", "-ll", "info", str(path)]
    found = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert (found.returncode, found.stderr.decode()) == (0, "")
    lines = re.findall(rb"^( *)\(([0-9a-f]{4}),([0-9a-f]{4})\) ([A-Z]{2}) ", found.stdout, re.MULTILINE)
    return [(len(indent) // 4, (group + number).decode().upper(), vr.decode()) for indent, group, number, vr in lines]


def read(path: Path) -> FileDataset:
    """The file as pydicom reads it, every value converted and held against its VR; a warning fails the test."""
    with strict_reading():
        dataset = dcmread(path)
        for _ in dataset.iterall():
            pass  # converts the value
    return dataset


def walk(dataset: Dataset, path: TagPath = (), depth: int = 0) -> Iterator[tuple[int, TagPath, str]]:
    """Depth, path and VR of each element in the order of the file."""
    for tag in list(dataset.keys()):
        element = dataset[tag]
        here = (*path, f"{tag:08X}")
        yield depth, here, element.VR
        if element.VR == "SQ":
            for item in element.value:
                yield from walk(item, here, depth + 1)


def items(dataset: Dataset, path: TagPath = ()) -> Iterator[tuple[TagPath, Dataset]]:
    """The data set and its Items at every depth."""
    yield path, dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from items(item, (*path, f"{element.tag:08X}"))


def in_the_table(path: TagPath) -> TagPath:
    """The path by which the table knows it: Items of Incorporated Inventory Instance Sequence nest in themselves."""
    return tuple(tag for depth, tag in enumerate(path) if depth == 0 or tag != "00080422")


def standard_vr(path: TagPath) -> str | None:
    """The VR that the standard gives to the attribute at a path; None if it may not stand there."""
    if path == ("00080400", "00080410", "0008041F"):
        return "DT"  # the table leaves open which keys are matched
    row = standard_rows().get(in_the_table(path))
    return row.vr if row is not None else (OTHER_MODULES.get(path[0]) if len(path) == 1 else None)


Entities = dict[str, dict[str, list[str]]]  # Study, Series and SOP Instance UIDs


def by_pydicom(dataset: Dataset) -> Entities:
    return {
        study.StudyInstanceUID: {
            series.SeriesInstanceUID: [one.SOPInstanceUID for one in series.get("InventoriedInstancesSequence", ())]
            for series in study.get("InventoriedSeriesSequence", ())
        }
        for study in dataset.InventoriedStudiesSequence
    }


def by_dcm2json(path: Path) -> Entities:
    """What dcmtk makes of the file as JSON."""
    command = [str(dcmtk("dcm2json")), "+fc", str(path)]
    found = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert found.stderr == b""

    def below(item: Any, tag: str) -> list[Any]:
        return item.get(tag, {}).get("Value", [])  # type: ignore[no-any-return]

    return {
        below(study, "0020000D")[0]: {
            below(series, "0020000E")[0]: [below(one, "00080018")[0] for one in below(series, "00080425")]
            for series in below(study, "00080424")
        }
        for study in below(json.loads(found.stdout), "00080423")
    }


def by_gdcm(path: Path) -> Entities:
    """What GDCM reads, whose code has nothing in common with any of the others."""
    reader = gdcm.Reader()
    reader.SetFileName(str(path))
    assert reader.Read()

    def uid(item: Any, *tag: int) -> str:
        return str(item.GetDataElement(gdcm.Tag(*tag)).GetValue()).rstrip("\0")

    def below(item: Any, *tag: int) -> list[Any]:
        if not item.FindDataElement(gdcm.Tag(*tag)):
            return []
        sequence = item.GetDataElement(gdcm.Tag(*tag)).GetValueAsSQ()
        if sequence is None:
            return []
        # Each is held with its sequence, which GDCM would free else.
        return [sequence.GetItem(number).GetNestedDataSet() for number in range(1, sequence.GetNumberOfItems() + 1)]

    return {
        uid(study, 0x0020, 0x000D): {
            uid(series, 0x0020, 0x000E): [uid(one, 0x0008, 0x0018) for one in below(series, 0x0008, 0x0425)]
            for series in below(study, 0x0008, 0x0424)
        }
        for study in below(reader.GetFile().GetDataSet(), 0x0008, 0x0423)
    }


def check_against_standard(path: Path) -> FileDataset:
    """What holds for every Inventory that Stocktake writes."""
    dataset = read(path)
    assert by_pydicom(dataset) == by_dcm2json(path) == by_gdcm(path)
    found = list(walk(dataset))
    assert [(at, vr) for _, at, vr in found if vr != standard_vr(at)] == []
    body = [line for line in dumped(path) if line[1][:4] != "0002"]
    assert body == [(depth, at[-1], vr) for depth, at, vr in found]
    for at, item in items(dataset):
        tags = list(item.keys())
        assert tags == sorted(tags), at
        held = {f"{element.tag:08X}": element for element in item}
        for tag, row in children(in_the_table(at)).items():
            if tag in held and row.vr != "SQ":
                assert held[tag].VM <= 1 or row.vm != "1", (at, row.keyword)
                assert row.vr not in ONE_LINE or re.search("[\x00-\x1f]", str(held[tag].value)) is None, row.keyword
            if row.type == "1":
                assert tag in held, (at, row.keyword)
                assert not held[tag].is_empty, (at, row.keyword)
            if row.type == "2":
                assert tag in held, (at, row.keyword)
    return dataset


def check_file_meta(dataset: FileDataset, syntax: str) -> None:
    meta = dataset.file_meta
    assert dataset.preamble == bytes(128)
    assert meta.FileMetaInformationVersion == b"\x00\x01"
    assert meta.MediaStorageSOPClassUID == dataset.SOPClassUID == INVENTORY_STORAGE
    assert meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert meta.TransferSyntaxUID == SYNTAXES[syntax]
    assert meta.ImplementationClassUID.is_valid
    assert {element.keyword for element in meta} == {
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID",
        "ImplementationClassUID",
        "ImplementationVersionName",
    }


def studies_of(dataset: Dataset) -> dict[str, Dataset]:
    return {item.StudyInstanceUID: item for item in dataset.InventoriedStudiesSequence}


# --- the promises -------------------------------------------------------------------------------------------------


def test_every_kind_of_inventory_is_as_the_standard_asks(archive: Archive, syntax: str, tmp_path: Path) -> None:
    archive.tell(all_of_it())
    written = [archive.produce()]
    archive.tell(names_of_several_scripts("1.2.5"))
    written += [archive.produce(), archive.produce(), archive.produce("rollup"), archive.produce(force=True)]
    written += [archive.produce("baseline")]
    assert [manifest.kind for _, manifest in written] == ["baseline", "delta", "delta", "rollup", "delta", "baseline"]
    for path, manifest in written:
        dataset = check_against_standard(path)
        check_file_meta(dataset, syntax)
        assert dataset.InventoryLevel == archive.inventory.level
        assert dataset.InventoryCompletionStatus == manifest.status
        assert dataset.NumberOfStudyRecordsInInstance == len(dataset.InventoriedStudiesSequence) == manifest.own_records
        assert dataset.TotalNumberOfStudyRecords == manifest.total_records
        assert path.stat().st_size == manifest.bytes
    assert [manifest.own_records for _, manifest in written] == [7, 1, 0, 1, 0, 8]
    assert [manifest.total_records for _, manifest in written] == [7, 8, 8, 8, 8, 8]
    alone = check_against_standard(archive.standalone(tmp_path / "alone.dcm", Range(None, NOON)))
    check_file_meta(alone, syntax)
    assert alone.NumberOfStudyRecordsInInstance == alone.TotalNumberOfStudyRecords == 8


def test_every_attribute_of_the_table_arrives_as_the_archive_sent_it(archive: Archive) -> None:
    archive.tell(full_study("1.2.1"))
    path, _ = archive.produce()
    [found] = read(path).InventoriedStudiesSequence
    assert (archive.counts["values_repaired"], archive.counts["values_emptied"]) == (0, 0)
    levels = LEVELS[: LEVELS.index(archive.inventory.level) + 1]
    for name, at in zip(levels, (STUDIES, SERIES, INSTANCES), strict=False):
        with strict_writing():
            sent = pydicom_item(everything(Level(name)), at)
        for tag in everything(Level(name)).keys() - {MODALITIES_IN_STUDY}:  # which follows from the series
            assert found[int(tag, 16)] == sent[int(tag, 16)], (name, tag)
        if name != levels[-1]:
            [found] = found.InventoriedSeriesSequence if name == "STUDY" else found.InventoriedInstancesSequence


@pytest.mark.parametrize("level", ["INSTANCE"], indirect=True)
def test_values_of_any_script_and_empty_ones_arrive_as_they_were_sent(archive: Archive) -> None:
    archive.tell(names_of_several_scripts("1.2.2"))
    path, _ = archive.produce()
    [study] = read(path).InventoriedStudiesSequence
    assert study.PatientName == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert (study.PatientName.ideographic, study.PatientName.phonetic) == ("山田^太郎", "やまだ^たろう")
    assert study.StudyDescription == "قباني لنزار"
    assert study.PatientID == "ü" * 64
    empty = ("AccessionNumber", "StudyDate", "StudyTime", "PatientSex", "PatientBirthDate", "StudyID")
    assert [study[keyword].is_empty for keyword in empty] == [True] * 6
    assert (study.NumberOfStudyRelatedSeries, study.NumberOfStudyRelatedInstances) == (1, 5)


@pytest.mark.parametrize("level", ["INSTANCE"], indirect=True)
def test_a_value_that_breaks_its_vr_is_repaired_or_emptied_and_the_study_is_kept(archive: Archive) -> None:
    archive.tell(values_that_break_their_vr("1.2.3"))
    path, _ = archive.produce()
    [study] = check_against_standard(path).InventoriedStudiesSequence
    [series] = study.InventoriedSeriesSequence
    [instance] = series.InventoriedInstancesSequence
    assert (study.StudyDate, study.PatientSex, series.Modality) == ("20260102", "F", "CT")
    emptied = ("PatientBirthDate", "AccessionNumber", "StudyDescription", "PatientName", "StudyTime", "StudyID")
    assert [keyword for keyword in emptied if not study[keyword].is_empty] == []
    assert instance["InstanceNumber"].is_empty
    assert (archive.counts["values_repaired"], archive.counts["values_emptied"]) == (3, 7)


@pytest.mark.parametrize("level", ["INSTANCE"], indirect=True)
def test_removals_are_marked_at_their_level_and_counted(archive: Archive) -> None:
    archive.tell(removals("1.2.4"))
    path, manifest = archive.produce()
    studies = studies_of(check_against_standard(path))
    assert [uid for uid, study in studies.items() if study.get("RemovedFromOperationalUse") == "Y"] == [
        f"1.2.4.{number}"
        for number in sorted((1, 2, 3), key=lambda number: archive.studies.shard_of(f"1.2.4.{number}"))
    ]
    assert studies["1.2.4.1"].ReasonForRemovalCodeSequence[0].CodeMeaning == REASON["CodeMeaning"]
    assert studies["1.2.4.2"].ReasonForRemovalCodeSequence == []
    partly = studies["1.2.4.4"]
    assert [series.get("RemovedFromOperationalUse") for series in partly.InventoriedSeriesSequence] == [None, "Y"]
    first = partly.InventoriedSeriesSequence[0].InventoriedInstancesSequence
    assert [instance.get("RemovedFromOperationalUse") for instance in first] == ["Y", None]
    assert (partly.NumberOfStudyRelatedSeries, partly.NumberOfStudyRelatedInstances) == (1, 1)
    assert (manifest.counts["studies"], manifest.counts["removed_studies"]) == (4, 3)
    assert (manifest.counts["series"], manifest.counts["instances"]) == (8, 16)


@pytest.mark.parametrize("level", ["STUDY"], indirect=True)
@pytest.mark.parametrize("syntax", ["EXPLICIT"], indirect=True)
def test_texts_of_the_operator_are_written_in_utf_8_wherever_they_stand(archive: Archive) -> None:
    texts = {
        "purpose": "Übergabe\r\n移行",
        "manufacturer": "مستشفى",
        "institution_name": "Ångström",
        "station_name": "Röntgen 山",
    }
    archive.inventory = with_texts(archive.inventory, texts)
    archive.tell(names_of_several_scripts("1.2.2"))
    path, _ = archive.produce()
    dataset = check_against_standard(path)
    found = (dataset.InventoryPurpose, dataset.Manufacturer, dataset.InstitutionName, dataset.StationName)
    assert found == tuple(texts.values())


def with_texts(policy: InventoryPolicy, texts: dict[str, str]) -> InventoryPolicy:
    return replace(policy, **texts)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["STUDY"], indirect=True)
@pytest.mark.parametrize("syntax", ["EXPLICIT"], indirect=True)
@pytest.mark.parametrize(
    "reason",
    [
        REASON | {"CodeMeaning": "m" * 65},
        REASON | {"CodeValue": "v" * 17},
        REASON | {"CodeMeaning": "two\\values"},
        REASON | {"CodeMeaning": "a\x07bell"},
    ],
)
def test_a_reason_for_removal_that_breaks_its_vr_is_not_written(archive: Archive, reason: dict[str, str]) -> None:
    """It may be refused or taken for none; what is written must keep the standard."""
    archive.tell([event("store", "1.2.3", "1.2.3.1", "1.2.3.1.1")])
    with suppress(BadEvent):
        archive.tell([event("delete", "1.2.3", level="STUDY", reason=reason)])
    path, _ = archive.produce()
    check_against_standard(path)
