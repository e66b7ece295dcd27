"""InventoryFile reads what any writer may write, as a stream, and refuses the rest with InvalidInventory."""

from __future__ import annotations

import random
import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from state.times import parse_time
from tests.unit.inventories import CT, SYNTAXES, inventory, removed, save, scope, series, study, undefined_lengths
from writers.reader import InvalidInventory, InventoryFile, StudyItem


def read(path: Path) -> tuple[list[StudyItem], Dataset]:
    """Everything of a file, all of it decoded."""
    with InventoryFile(path) as file:
        found = list(file.studies())
        for item in found:
            item.dataset()
        file.check_whole(len(found))
        return found, file.trailer


def sample() -> Dataset:
    return inventory("1.2.3", [study("1.2.3.1"), removed("1.2.3.2"), study("1.2.3.3", updated="")])


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("items", [True, False])
def test_every_encoding_is_read_as_what_was_written(tmp_path: Path, syntax: str, sequences: bool, items: bool) -> None:
    made = sample()
    undefined_lengths(made, sequences, items)
    path = save(tmp_path / "a.dcm", made, syntax)
    with InventoryFile(path) as file:
        found = list(file.studies())
        assert [item.dataset() for item in found] == list(made.InventoriedStudiesSequence)
        assert file.sop_instance_uid == "1.2.3"
        assert file.header.file_meta.TransferSyntaxUID == syntax
        assert file.header.InventoryLevel == "INSTANCE"
        assert file.header.ScopeOfInventorySequence == made.ScopeOfInventorySequence
        assert "InventoriedStudiesSequence" not in file.header
        assert file.trailer.TotalNumberOfStudyRecords == 3
    assert [item.study_instance_uid for item in found] == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    assert [item.removed for item in found] == [False, True, False]
    assert found[0].item_inventory_datetime == parse_time("20260102120000+0000")
    assert [item.study_update_datetime for item in found] == [
        parse_time("20260101000000+0000"),
        parse_time("20260101000000+0000"),
        None,
    ]


def test_an_inventory_without_studies_yields_none(tmp_path: Path) -> None:
    found, trailer = read(save(tmp_path / "a.dcm", inventory("1.2.3")))
    assert found == []
    assert trailer.NumberOfStudyRecordsInInstance == 0


def test_a_missing_studies_sequence_is_told_from_an_empty_one(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", inventory("1.2.3", InventoriedStudiesSequence=None))
    with InventoryFile(path) as file:
        assert list(file.studies()) == []
        assert not file.has_studies
        assert file.trailer.InventoryCompletionStatus == "COMPLETE"
        with pytest.raises(InvalidInventory):
            file.check_whole(0)


def test_the_trailer_is_refused_before_the_studies_are_exhausted(tmp_path: Path) -> None:
    with InventoryFile(save(tmp_path / "a.dcm", sample())) as file:
        studies = file.studies()
        next(studies)
        with pytest.raises(RuntimeError):
            _ = file.trailer
        with pytest.raises(RuntimeError):
            file.studies()


def test_times_without_offset_are_in_the_zone_that_the_file_states(tmp_path: Path) -> None:
    made = inventory("1.2.3", [study("1.2.3.1", updated="20260101100000")], TimezoneOffsetFromUTC="+0200")
    found, _ = read(save(tmp_path / "a.dcm", made))
    assert found[0].study_update_datetime == parse_time("20260101080000+0000")


def test_a_time_that_is_none_is_read_as_none(tmp_path: Path) -> None:
    found, _ = read(save(tmp_path / "a.dcm", inventory("1.2.3", [study("1.2.3.1", updated="yesterday")])))
    assert found[0].study_update_datetime is None


def test_an_item_inherits_the_character_set_of_the_file(tmp_path: Path) -> None:
    made = inventory("1.2.3", [study("1.2.3.1", PatientName="Grün^Ute")], SpecificCharacterSet="ISO_IR 100")
    found, _ = read(save(tmp_path / "a.dcm", made))
    assert "Grün".encode("latin-1") in found[0].data
    assert str(found[0].dataset().PatientName) == "Grün^Ute"


def test_a_value_that_breaks_its_vr_is_kept_and_the_rest_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", inventory("1.2.3", [study("1.2.3.1", NumberOfStudyRelatedSeries="77")]))
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x0077", b"IS\x02\x00x7"))
    found, _ = read(path)
    decoded = found[0].dataset()
    assert decoded.NumberOfStudyRelatedSeries == "x7"
    assert decoded.PatientID == "P1"


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, syntax: str, undefined: bool) -> None:
    made = sample()
    undefined_lengths(made, undefined, undefined)
    whole = save(tmp_path / "a.dcm", made, syntax).read_bytes()
    cut = tmp_path / "cut.dcm"
    step = 1 if syntax == DeflatedExplicitVRLittleEndian else 7
    for length in range(0, len(whole) - 1, step):
        cut.write_bytes(whole[:length])
        with pytest.raises(InvalidInventory):
            read(cut)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_damaged_bytes_end_in_a_reading_or_in_invalid_inventory(tmp_path: Path, syntax: str) -> None:
    made = sample()
    undefined_lengths(made)
    whole = save(tmp_path / "a.dcm", made, syntax).read_bytes()
    dice = random.Random(7)
    path = tmp_path / "bad.dcm"
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 3)):
            damaged[dice.randrange(128, len(damaged))] = dice.choice((0, 1, 0x7F, 0xFE, 0xFF))
        path.write_bytes(damaged)
        with suppress(InvalidInventory):
            read(path)


def test_a_length_past_the_end_is_refused_at_its_offset_and_costs_no_memory(tmp_path: Path) -> None:
    made = sample()
    undefined_lengths(made, items=False)
    path = save(tmp_path / "a.dcm", made)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"\x08\x00\x23\x04SQ") + 12
    whole[at + 4 : at + 8] = struct.pack("<I", 0x7FFFFFF0)
    path.write_bytes(whole)
    tracemalloc.start()
    with pytest.raises(InvalidInventory, match=f"offset {at + 8}"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("depth", [60, 70, 5000])
def test_sequences_nested_without_end_are_refused(tmp_path: Path, undefined: bool, depth: int) -> None:
    item = b""
    head = b"\x08\x00\x24\x04SQ\0\0"
    for _ in range(depth):
        if undefined:
            end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
            item = head + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4 + item + end
        else:
            inner = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item
            item = head + struct.pack("<I", len(inner)) + inner
    path = save(tmp_path / "a.dcm", inventory("1.2.3"))
    whole = path.read_bytes()
    at = whole.index(b"\x08\x00\x23\x04SQ")
    studies = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item
    replaced = whole[: at + 8] + struct.pack("<I", len(studies)) + studies + whole[at + 12 :]
    path.write_bytes(replaced.replace(b"\x08\x00\x27\x04UL\x04\x00\0", b"\x08\x00\x27\x04UL\x04\x00\1"))
    if depth < 64:
        assert len(read(path)[0]) == 1
    else:
        with pytest.raises(InvalidInventory, match="nested"):
            read(path)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    other = inventory("1.2.3", SOPClassUID=CT)
    text = tmp_path / "text.dcm"
    text.write_text("no DICOM")
    for path in (save(tmp_path / "ct.dcm", other), text):
        with pytest.raises(InvalidInventory, match=path.name):
            InventoryFile(path)


def test_elements_out_of_order_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", sample())
    whole = path.read_bytes()
    path.write_bytes(whole + b"\x08\x00\x23\x04SQ\0\0\0\0\0\0")
    with pytest.raises(InvalidInventory, match="ascending"):
        read(path)


def test_a_deflated_file_may_be_padded_by_one_byte_only(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", sample(), DeflatedExplicitVRLittleEndian)
    whole = path.read_bytes().rstrip(b"\0")
    for padding, good in ((b"", True), (b"\0", True), (b"\0\0", False)):
        path.write_bytes(whole + padding)
        if good:
            assert len(read(path)[0]) == 3
        else:
            with pytest.raises(InvalidInventory, match="inflated"):
                read(path)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_memory_does_not_grow_with_the_number_of_studies(tmp_path: Path, syntax: str) -> None:
    part = series("1.2.3.4", [f"1.2.3.4.{n}" for n in range(20)])
    made = inventory("1.2.3", [study(f"1.2.3.{n}", parts=[part]) for n in range(800)])
    path = save(tmp_path / "a.dcm", made, syntax)
    del made
    tracemalloc.start()
    with InventoryFile(path) as file:
        assert sum(1 for _ in file.studies()) == 800
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_200_000


def test_a_reference_tree_in_the_header_is_decoded(tmp_path: Path) -> None:
    first = inventory("1.2.1")
    second = inventory("1.2.2", incorporates=[first])
    made = inventory("1.2.3", incorporates=[second], ScopeOfInventorySequence=scope("20250101"))
    with InventoryFile(save(tmp_path / "a.dcm", made, ImplicitVRLittleEndian)) as file:
        reference = file.header.IncorporatedInventoryInstanceSequence[0]
    assert reference.ReferencedSOPInstanceUID == "1.2.2"
    assert reference.IncorporatedInventoryInstanceSequence[0].ReferencedSOPInstanceUID == "1.2.1"
