"""What stands around the study Items, read back by pydicom."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from zoneinfo import ZoneInfo

import pytest
from pydicom import dcmread
from pydicom.config import strict_reading
from pydicom.dataset import Dataset, FileDataset

from state.attributes import Level
from state.times import parse_time
from stocktake.settings import load
from writers import iod, terms
from writers.policy import InventoryPolicy

POLICY = load(None, {}).inventory
CONTENT = parse_time("2026-07-01T22:30:00.25Z")
HEADING = iod.Heading("2.25.7", CONTENT, (None, CONTENT), Level.SERIES, "Delta: all of it", [])
UTC = ZoneInfo("UTC")


def inventory(
    heading: iod.Heading = HEADING, policy: InventoryPolicy = POLICY, zone: ZoneInfo = UTC, software: str = "Test 1"
) -> FileDataset:
    """An inventory without records, every value converted and held against its VR."""
    data = iod.file_meta(heading.sop_instance_uid, iod.TRANSFER_SYNTAXES["EXPLICIT"])
    data += iod.header(heading, policy, zone) + iod.STUDIES_BEGIN + iod.STUDIES_END
    data += iod.trailer(terms.COMPLETE, 3, 2**40, policy, software)
    with strict_reading():
        dataset = dcmread(BytesIO(data))
        for _ in dataset.iterall():
            pass  # converts the value
    return dataset


def test_header_and_trailer_make_one_data_set_in_ascending_order() -> None:
    dataset = inventory()
    assert list(dataset.keys()) == sorted(dataset.keys())
    assert dataset.InventoriedStudiesSequence == []
    assert (dataset.NumberOfStudyRecordsInInstance, dataset.TotalNumberOfStudyRecords) == (3, 2**40)
    assert (dataset.InventoryLevel, dataset.InventoryCompletionStatus) == ("SERIES", "COMPLETE")
    assert dataset.InventoryInstanceDescription == "Delta: all of it"
    assert (dataset.ManufacturerModelName, dataset.SoftwareVersions) == ("Stocktake", "Test 1")


def test_content_date_and_time_are_those_of_the_repositorys_zone() -> None:
    dataset = inventory(zone=ZoneInfo("Asia/Tokyo"))
    assert (dataset.ContentDate, dataset.ContentTime) == ("20260702", "073000.250000")
    assert "TimezoneOffsetFromUTC" not in dataset


@pytest.mark.parametrize(
    ("zone", "offset"), [("Asia/Kolkata", "+0530"), ("America/New_York", "-0400"), ("UTC", "+0000")]
)
def test_the_offset_of_the_zone_is_written_on_request(zone: str, offset: str) -> None:
    policy = replace(POLICY, write_timezone=True)
    assert inventory(policy=policy, zone=ZoneInfo(zone)).TimezoneOffsetFromUTC == offset


@pytest.mark.parametrize(("begin", "first"), [(None, ""), (0, "19700101000000.000000+0000")])
def test_the_scope_is_one_range_of_study_update_datetime(begin: int | None, first: str) -> None:
    [scope] = inventory(replace(HEADING, scope=(begin, CONTENT))).ScopeOfInventorySequence
    assert list(scope.keys()) == [0x00080410]
    assert [item.StudyUpdateDateTime for item in scope.RangeMatchingSequence] == [first, "20260701223000.250000+0000"]


def test_what_the_operator_does_not_say_is_left_out_or_empty() -> None:
    dataset = inventory()
    assert "InstitutionName" not in dataset
    assert "StationName" not in dataset
    assert dataset.InventoryPurpose == ""
    assert dataset.Manufacturer == "Stocktake"


@pytest.mark.parametrize("text", ["Röntgen", "محطة", "放射線 1"])
@pytest.mark.parametrize("name", ["purpose", "manufacturer", "institution_name", "station_name"])
def test_a_text_of_the_operator_is_written_in_the_inventorys_character_set(name: str, text: str) -> None:
    keyword = {
        "purpose": "InventoryPurpose",
        "manufacturer": "Manufacturer",
        "institution_name": "InstitutionName",
        "station_name": "StationName",
    }[name]
    dataset = inventory(policy=replace(POLICY, **{name: text}))  # type: ignore[arg-type]
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert dataset[keyword].value == text


def test_a_reference_holds_a_copy_of_what_the_inventory_itself_incorporates() -> None:
    below = iod.reference("1.2.1", [], None)
    assert "IncorporatedInventoryInstanceSequence" not in below
    head = iod.reference("1.2.2", [below], None)
    [found] = inventory(replace(HEADING, incorporated=[head])).IncorporatedInventoryInstanceSequence
    assert found == head
    assert found.ReferencedSOPClassUID == terms.INVENTORY_STORAGE
    assert chain_of(found) == ["1.2.2", "1.2.1"]


def chain_of(item: Dataset) -> list[str]:
    below = item.get("IncorporatedInventoryInstanceSequence") or []
    return [str(item.ReferencedSOPInstanceUID), *(uid for one in below for uid in chain_of(one))]


@pytest.mark.parametrize("syntax", iod.TRANSFER_SYNTAXES.values())
def test_file_meta_names_the_instance_and_its_own_length(syntax: str) -> None:
    data = iod.file_meta("2.25.7", syntax)
    assert data[:132] == bytes(128) + b"DICM"
    assert int.from_bytes(data[140:144], "little") == len(data) - 144
    meta = dcmread(BytesIO(data)).file_meta
    assert (meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) == ("2.25.7", syntax)
    assert meta.MediaStorageSOPClassUID == terms.INVENTORY_STORAGE
