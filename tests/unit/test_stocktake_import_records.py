"""A study Item, ours or anybody's, becomes the record that says the same."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from state.attributes import Level
from state.record import StudyRecord
from stocktake.import_records import Faults, imported_record
from tests.records import study_records
from tests.unit.inventories import change, inventory, removed, save, series, study, undefined_lengths
from writers.reader import InventoryFile
from writers.scanning import Wanted
from writers.study_item import WANTED, StudyItem, read_study_item
from writers.study_items import StudyItems

ITEM_HEADER = 8
MODIFIED_ATTRIBUTES = b"\x00\x04\x50\x05SQ"
TIME = 1_767_225_600_000_000


def item_of(record: StudyRecord) -> StudyItem:
    data = StudyItems(Level.INSTANCE).encode(record, 1)[ITEM_HEADER:]
    return read_study_item(data, False, Wanted(WANTED), UTC, Path("ours.dcm"), 0, ("ISO_IR 192",))


def import_one(
    folder: Path, made: Dataset, syntax: str = ExplicitVRLittleEndian, character_set: str = "ISO_IR 192"
) -> StudyRecord:
    record, _ = import_with_faults(folder, made, syntax, character_set)
    return record


def import_with_faults(
    folder: Path, made: Dataset, syntax: str = ExplicitVRLittleEndian, character_set: str = "ISO_IR 192"
) -> tuple[StudyRecord, Faults]:
    faults = Faults()
    with InventoryFile(
        save(folder / "one.dcm", inventory("1.2.1", [made], SpecificCharacterSet=character_set), syntax)
    ) as file:
        [item] = file.studies()
    return imported_record(item, TIME, faults), faults


def live_though_all_series_are_removed(record: StudyRecord) -> bool:
    """Known by removals alone, or announced to hold more than is known: its Item does not tell which."""
    series = record.inventoried_series()
    return bool(series) and all(one.is_removed for one in series) and not record.is_removed


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(study_records())
def test_a_record_that_we_wrote_is_imported_as_one_that_we_write_to_the_same_bytes(record: StudyRecord) -> None:
    assume(not live_though_all_series_are_removed(record))
    item = item_of(record)
    assume(MODIFIED_ATTRIBUTES not in item.data)  # free content, which the state does not keep
    faults = Faults()
    imported = imported_record(item, record.update_time, faults)
    assert item_of(imported).data == item.data
    assert (faults.repairs.repaired, faults.repairs.emptied, faults.parts) == (0, 0, 0)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_each_transfer_syntax_and_each_form_of_length_gives_the_same_record(
    tmp_path: Path, syntax: str, undefined: bool
) -> None:
    made = study("1.5.1", StudyDescription="Schädel", PatientName="Müller^Jörg")
    if undefined:
        undefined_lengths(made)
    record = import_one(tmp_path, made, syntax)
    assert record.attributes["00081030"] == "Schädel"
    assert record.attributes["00100010"] == "Müller^Jörg"
    assert record.series["1.5.1.1"].attributes["00080060"] == "CT"
    assert [uid for uid, _ in record.instances()] == ["1.5.1.1.1", "1.5.1.1.2"]
    assert (record.expected_series, record.expected_instances) == (1, 2)
    assert record.update_time == TIME


def test_texts_are_read_in_the_character_set_of_their_own_item(tmp_path: Path) -> None:
    made = study("1.5.1", SpecificCharacterSet="ISO_IR 144", PatientName="Люкceмбypг")
    record = import_one(tmp_path, made, character_set="ISO_IR 100")
    assert record.attributes["00100010"] == "Люкceмбypг"


def test_a_value_that_breaks_its_vr_is_mended_or_emptied_and_counted(tmp_path: Path) -> None:
    made = study("1.5.1", StudyDate="2026.01.02", StudyTime="midnight", StudyID="L" * 17)
    record, faults = import_with_faults(tmp_path, made)
    assert [record.attributes[tag] for tag in ("00080020", "00080030", "00200010")] == ["20260102", "", ""]
    assert (faults.repairs.repaired, faults.repairs.emptied) == (1, 2)


def test_a_number_is_kept_to_the_letter(tmp_path: Path) -> None:
    made = study("1.5.1")
    instance = made.InventoriedSeriesSequence[0].InventoriedInstancesSequence[0]
    access = Dataset()
    change(access, {"FileAccessURI": "file:///1", "LossyImageCompressionRatio": "1.500e+01"})
    instance.FileAccessSequence = [access]
    change(instance, {"InstanceNumber": "007", "Rows": 512})
    found = import_one(tmp_path, made).instance("1.5.1.1.1")
    assert found is not None
    assert (found.attributes["00200013"], found.attributes["00280010"]) == ("007", "512")
    assert found.attributes["0008041A"] == [{"00080409": "file:///1", "00282112": "1.500e+01"}]


def test_what_is_removed_is_removed_with_its_reason_at_each_level(tmp_path: Path) -> None:
    reason = Dataset()
    change(reason, {"CodeValue": "113001", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Rejected"})
    made = study("1.5.1", parts=[series("1.5.1.1", ["1.5.1.1.1", "1.5.1.1.2"]), series("1.5.1.2", ["1.5.1.2.1"])])
    first = made.InventoriedSeriesSequence[0].InventoriedInstancesSequence[0]
    for part in (first, made.InventoriedSeriesSequence[1]):
        change(part, {"RemovedFromOperationalUse": "Y", "ReasonForRemovalCodeSequence": [reason]})
    record = import_one(tmp_path, made)
    gone = record.instance("1.5.1.1.1")
    assert gone is not None
    assert gone.tombstone is not None
    assert gone.tombstone.reason == {"00080100": "113001", "00080102": "DCM", "00080104": "Rejected"}
    assert [one.is_removed for one in record.series.values()] == [False, True]
    assert not record.is_removed
    assert (record.number_of_series, record.number_of_instances) == (1, 1)
    whole = import_one(tmp_path, removed("1.5.2"))
    assert whole.is_removed
    assert whole.known_instances == 2


def test_a_live_study_whose_series_are_all_removed_stays_live(tmp_path: Path) -> None:
    made = study("1.5.1", parts=[series("1.5.1.1")])
    change(made.InventoriedSeriesSequence[0], {"RemovedFromOperationalUse": "Y", "ReasonForRemovalCodeSequence": []})
    assert not import_one(tmp_path, made).is_removed


def test_a_part_without_uid_or_sop_class_is_left_out_and_counted(tmp_path: Path) -> None:
    made = study("1.5.1", parts=[series("1.5.1.1", ["1.5.1.1.1", "1.5.1.1.2"]), series("1.5.1.2", ["1.5.1.2.1"])])
    change(made.InventoriedSeriesSequence[1], {"SeriesInstanceUID": "not a uid"})
    change(made.InventoriedSeriesSequence[0].InventoriedInstancesSequence[1], {"SOPClassUID": None})
    record, faults = import_with_faults(tmp_path, made)
    assert [uid for uid, _ in record.instances()] == ["1.5.1.1.1"]
    assert list(record.series) == ["1.5.1.1"]
    assert faults.parts == 2
