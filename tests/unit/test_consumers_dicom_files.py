"""DICOM files as store events, on pydicom's own test files and on damaged ones made here."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import orjson
import pydicom
import pytest
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import UID, ExplicitVRLittleEndian

from consumers.dicom_files import UnusableFile, find_files, store_event
from state.attributes import Level, recordable
from state.times import parse_time

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
UID_TAGS = ("0020000D", "0020000E", "00080018")
ALLOWED = set(UID_TAGS) | set(recordable(Level.STUDY)) | set(recordable(Level.SERIES)) | set(recordable(Level.INSTANCE))


def write(path: Path, **attributes: Any) -> Path:
    """A small DICOM file; an attribute given as None is left out."""
    dataset = Dataset()
    stored = {
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "SOPInstanceUID": "1.2.3.4.5",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
    } | attributes
    for keyword, value in stored.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4.5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(path, enforce_file_format=True)
    return path


def sample(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)


def uids_found_independently(path: Path) -> list[str]:
    """What a plain reading finds of the three UIDs and SOP Class UID."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = dcmread(path, force=True, stop_before_pixels=True)
        tags = (*UID_TAGS, "00080016")
        return [str(file[tag].value) for tag in tags if tag in file and file[tag].value]


def test_every_complete_test_file_becomes_an_event_and_every_other_says_why_not() -> None:
    paths = [Path(folder) / name for folder, _folders, names in os.walk(TEST_FILES) for name in names]
    found = {path: uids_found_independently(path) for path in paths}
    refused = {}
    events = {}
    for path in find_files([TEST_FILES]):
        try:
            events[path] = store_event(path)
        except UnusableFile as error:
            refused[error.path] = error.reason
    assert set(events) == {path for path, uids in found.items() if len(uids) == 4}
    assert set(refused) == set(paths) - set(events)
    assert len(events) > 100
    for path, event in events.items():
        dataset = event["dataset"]
        assert [dataset[tag]["Value"][0] for tag in (*UID_TAGS, "00080016")] == found[path]
        assert (event["action"], event["level"], "time" in event) == ("store", "INSTANCE", False)
        assert set(dataset) <= ALLOWED
        assert orjson.loads(orjson.dumps(event)) == event
    assert set(refused.values()) >= {
        "is not a DICOM file",
        "is a DICOMDIR, not a stored instance",
        "has no Study Instance UID",
    }


def test_events_agree_with_pydicoms_own_json() -> None:
    for path in (sample("CT_small.dcm"), sample("MR_small.dcm"), sample("examples_overlay.dcm")):
        expected = dcmread(path, stop_before_pixels=True).to_json_dict()
        for tag, element in store_event(path)["dataset"].items():
            if element["vr"] != "SQ" and "Value" in expected[tag]:
                assert element == expected[tag], tag


def test_pixel_data_and_character_set_are_never_part_of_an_event() -> None:
    dataset = store_event(sample("CT_small.dcm"))["dataset"]
    assert "7FE00010" not in dataset
    assert "00080005" not in dataset
    assert "InlineBinary" not in str(dataset)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chrH31.dcm", {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}),
        ("chrGreek.dcm", {"Alphabetic": "Διονυσιος"}),
        ("chrHbrw.dcm", {"Alphabetic": "שרון^דבורה"}),
        ("chrArab.dcm", {"Alphabetic": "قباني^لنزار"}),
        ("chrGerm.dcm", {"Alphabetic": "Äneas^Rüdiger"}),
    ],
)
def test_names_are_unicode_whatever_the_files_character_set(name: str, expected: dict[str, str]) -> None:
    path = TEST_FILES.parent / "charset_files" / name
    assert store_event(path)["dataset"]["00100010"]["Value"] == [expected]


def test_the_time_is_the_events_only_when_given(tmp_path: Path) -> None:
    moment = parse_time("2026-11-21T10:15:00.123456+01:00")
    assert store_event(write(tmp_path / "a.dcm"), time=moment)["time"] == "2026-11-21T09:15:00.123456+00:00"


def test_each_event_has_its_own_id(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm")
    assert store_event(path)["id"] != store_event(path)["id"]


def test_sequences_are_filtered_to_what_an_inventory_holds_of_them(tmp_path: Path) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "T-1", "99X", "Thorax"
    item.PatientComments = "not in a code"
    dataset = store_event(write(tmp_path / "a.dcm", ProcedureCodeSequence=[item]))["dataset"]
    assert dataset["00081032"] == {
        "vr": "SQ",
        "Value": [
            {
                "00080100": {"vr": "SH", "Value": ["T-1"]},
                "00080102": {"vr": "SH", "Value": ["99X"]},
                "00080104": {"vr": "LO", "Value": ["Thorax"]},
            }
        ],
    }


def test_original_attributes_keep_whatever_was_modified_but_bulk(tmp_path: Path) -> None:
    before = Dataset()
    before.PatientID = "OLD"
    before.AccessionNumber = ""
    before.ICCProfile = b"\0" * 10_000
    original = Dataset()
    original.ModifiedAttributesSequence = [before]
    original.ModifyingSystem = "QC"
    dataset = store_event(write(tmp_path / "a.dcm", OriginalAttributesSequence=[original]))["dataset"]
    (item,) = dataset["04000561"]["Value"]
    assert item["04000563"]["Value"] == ["QC"]
    assert item["04000550"]["Value"] == [{"00080050": {"vr": "SH"}, "00100020": {"vr": "LO", "Value": ["OLD"]}}]


def replace_value(path: Path, value: bytes, other: bytes) -> Path:
    content = path.read_bytes()
    assert content.count(value) == 1
    path.write_bytes(content.replace(value, other))
    return path


def test_a_text_that_breaks_its_vr_is_passed_on_and_a_number_that_does_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", StudyDate="20260102", InstanceNumber="778899", Rows=512, Columns=256)
    replace_value(path, b"20260102", b"2026/1/2")
    replace_value(path, b"778899", b"7.5abc")
    replace_value(path, b"\x28\x00\x10\x00US\x02\x00\x00\x02", b"\x28\x00\x10\x00US\x01\x00\x02")
    dataset = store_event(path)["dataset"]
    assert dataset["00080020"] == {"vr": "DA", "Value": ["2026/1/2"]}
    assert dataset["00200013"] == {"vr": "IS", "Value": ["7.5abc"]}
    assert "00280010" not in dataset
    assert dataset["00280011"] == {"vr": "US", "Value": [256]}


def test_an_empty_attribute_stays_empty(tmp_path: Path) -> None:
    dataset = store_event(write(tmp_path / "a.dcm", PatientName="", StudyDate="", InstanceNumber=None))["dataset"]
    assert dataset["00100010"] == {"vr": "PN"}
    assert dataset["00080020"] == {"vr": "DA"}
    assert "00200013" not in dataset


@pytest.mark.parametrize(
    ("keyword", "name"),
    [
        ("StudyInstanceUID", "Study Instance UID"),
        ("SeriesInstanceUID", "Series Instance UID"),
        ("SOPInstanceUID", "SOP Instance UID"),
        ("SOPClassUID", "SOP Class UID"),
    ],
)
@pytest.mark.parametrize("value", [None, ""])
def test_a_file_without_one_of_its_uids_is_refused(tmp_path: Path, keyword: str, name: str, value: str | None) -> None:
    path = write(tmp_path / "a.dcm", **{keyword: value})
    with pytest.raises(UnusableFile, match=f"a.dcm: has no {name}$"):
        store_event(path)


def test_a_file_without_preamble_is_taken_if_it_is_complete(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[132:])
    assert store_event(path)["dataset"]["0020000D"]["Value"] == ["1.2.3"]


@pytest.mark.parametrize("content", [b"", b"not DICOM at all", b"\0" * 128 + b"DICM", b"\x89PNG\r\n" * 500])
def test_what_is_not_dicom_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(UnusableFile):
        store_event(path)


def test_a_truncated_file_is_an_event_or_refused_but_never_fails_otherwise(tmp_path: Path) -> None:
    whole = sample("CT_small.dcm").read_bytes()
    path = tmp_path / "cut.dcm"
    for length in range(0, 4000, 97):
        path.write_bytes(whole[:length])
        try:
            assert store_event(path)["dataset"]["0020000D"]["Value"]
        except UnusableFile:
            continue


def test_files_come_folder_by_folder_in_order_of_name(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a", "c/x/y", "c/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = [path.relative_to(tmp_path).as_posix() for path in find_files([tmp_path / "c", tmp_path])]
    assert found == ["c/a", "c/x/y", "a", "b/1", "b/2", "b/loop", "c/a", "c/x/y"]


def test_what_cannot_be_read_as_a_file_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reasons = {}
    for path in find_files([tmp_path, tmp_path / "absent"]):
        with pytest.raises(UnusableFile) as refused:
            store_event(path)
        reasons[path.name] = refused.value.reason
    assert reasons == {"pipe": "is not a regular file", "absent": "does not exist"}
