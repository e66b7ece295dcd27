"""``verify`` finds each fault by its rule and place, nothing in a good tree, and never breaks off."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.planted_faults import FAULTS, Planted
from tests.unit.inventories import (
    SYNTAXES,
    inventory,
    reference,
    removed,
    save,
    scope,
    series,
    study,
    undefined_lengths,
)
from writers.checks.finding import Finding, Severity
from writers.verify import verify


def findings(folder: Path, *made: Dataset, syntax: str = ExplicitVRLittleEndian) -> list[Finding]:
    """What is found in Inventories saved under their UIDs; the root last."""
    for each in made:
        path = save(folder / f"{each.SOPInstanceUID}.dcm", each, syntax)
    return list(verify(path, [folder]))


def rules(found: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.rule, finding.location) for finding in found}


def good_chain() -> list[Dataset]:
    one = inventory("1.2.1", [study("1.5.1"), removed("1.5.2")])
    two = inventory("1.2.2", [study("1.5.2")], [one])
    three = inventory("1.2.3", [study("1.5.1"), study("1.5.3")], [two, inventory("1.2.4")])
    return [one, two, inventory("1.2.4"), three]


@pytest.mark.parametrize("planted", FAULTS, ids=lambda planted: f"{planted.rule}: {planted.what}")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_planted_fault_is_found_by_its_rule_and_section(tmp_path: Path, planted: Planted) -> None:
    severity = Severity.WARNING if planted.warning else Severity.ERROR
    found = [finding for finding in verify(planted.plant(tmp_path)) if finding.rule == planted.rule]
    assert (planted.section, severity) in {(finding.section, finding.severity) for finding in found}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False])
def test_a_good_tree_has_no_findings(tmp_path: Path, syntax: str, undefined: bool) -> None:
    made = good_chain()
    for each in made:
        undefined_lengths(each, undefined, undefined)
    assert findings(tmp_path, *made, syntax=syntax) == []


def without(keyword: str) -> Callable[[Dataset], None]:
    def apply(dataset: Dataset) -> None:
        delattr(dataset, keyword)

    return apply


@pytest.mark.parametrize(
    ("keyword", "rule", "tag"),
    [
        ("ContentDate", "type-1", "(0008,0023)"),
        ("Manufacturer", "type-2", "(0008,0070)"),
        ("ScopeOfInventorySequence", "type-2", "(0008,0400)"),
        ("InventoryPurpose", "type-2", "(0008,0401)"),
        ("InventoryLevel", "type-1", "(0008,0403)"),
        ("IncorporatedInventoryInstanceSequence", "type-2", "(0008,0422)"),
        ("InventoriedStudiesSequence", "type-2", "(0008,0423)"),
        ("InventoryCompletionStatus", "type-1", "(0008,0426)"),
        ("NumberOfStudyRecordsInInstance", "type-1", "(0008,0427)"),
        ("TotalNumberOfStudyRecords", "type-1", "(0008,0428)"),
    ],
)
def test_a_missing_attribute_of_the_inventory_is_found(tmp_path: Path, keyword: str, rule: str, tag: str) -> None:
    missing: dict[str, Any] = {keyword: None}
    found = findings(tmp_path, inventory("1.2.1", **missing))
    assert rules(found) == {(rule, tag)}
    assert found[0].section == "PS3.3 Table C.38.1-1"
    assert found[0].file.endswith("1.2.1.dcm")


@pytest.mark.parametrize("keyword", ["InventoryLevel", "InventoryCompletionStatus", "SOPClassUID", "ContentTime"])
def test_an_empty_type_1_attribute_is_found(tmp_path: Path, keyword: str) -> None:
    empty: dict[str, Any] = {keyword: ""}
    made = inventory("1.2.1", **empty)
    assert "type-1" in {finding.rule for finding in findings(tmp_path, made)}


SERIES = "study 1.5.1 (0008,0424)[1]"
INSTANCE = f"{SERIES} (0008,0425)[2]"


@pytest.mark.parametrize(
    ("spoil", "rule", "location"),
    [
        (lambda s: delattr(s, "ItemInventoryDateTime"), "type-1", "study 1.5.1 (0008,0404)"),
        (lambda s: setattr(s, "ItemInventoryDateTime", ""), "type-1", "study 1.5.1 (0008,0404)"),
        (lambda s: delattr(s, "PatientID"), "type-2", "study 1.5.1 (0010,0020)"),
        (lambda s: delattr(s, "StudyInstanceUID"), "type-1", "record 1 (0020,000D)"),
        (lambda s: delattr(s, "InventoriedSeriesSequence"), "level-sequence", "study 1.5.1 (0008,0424)"),
        (lambda s: setattr(s, "RemovedFromOperationalUse", "X"), "enumerated", "study 1.5.1 (0008,0405)"),
        (lambda s: setattr(s, "RemovedFromOperationalUse", ""), "type-1c", "study 1.5.1 (0008,0405)"),
        (lambda s: setattr(s, "RemovedFromOperationalUse", "Y"), "type-2c", "study 1.5.1 (0008,0406)"),
        (lambda s: delattr(part(s), "Modality"), "type-1", f"{SERIES} (0008,0060)"),
        (lambda s: delattr(part(s), "SeriesNumber"), "type-2", f"{SERIES} (0020,0011)"),
        (lambda s: delattr(part(s), "InventoriedInstancesSequence"), "level-sequence", f"{SERIES} (0008,0425)"),
        (lambda s: delattr(instance(s), "SOPClassUID"), "type-1", f"{INSTANCE} (0008,0016)"),
        (lambda s: delattr(instance(s), "InstanceNumber"), "type-2", f"{INSTANCE} (0020,0013)"),
        (lambda s: s.add_new("StudyID", "LO", "1"), "vr", "study 1.5.1 (0020,0010)"),
        (lambda s: instance(s).add_new("SOPInstanceUID", "UI", "1.02"), "uid", f"{INSTANCE} (0008,0018)"),
        (lambda s: instance(s).add_new("SOPInstanceUID", "UI", "1." * 32 + "1"), "uid", f"{INSTANCE} (0008,0018)"),
        (lambda s: s.add_new("StudyUpdateDateTime", "DT", "soon"), "time", "study 1.5.1 (0008,041F)"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_fault_in_a_record_is_found_where_it_is(
    tmp_path: Path, spoil: Callable[[Dataset], None], rule: str, location: str
) -> None:
    record = study("1.5.1")
    spoil(record)
    found = findings(tmp_path, inventory("1.2.1", [record], ScopeOfInventorySequence=[]))
    assert rules(found) == {(rule, location)}
    assert {finding.severity for finding in found} == {Severity.ERROR}


def part(record: Dataset) -> Dataset:
    found: Dataset = record.InventoriedSeriesSequence[0]
    return found


def instance(record: Dataset) -> Dataset:
    found: Dataset = part(record).InventoriedInstancesSequence[1]
    return found


def test_the_vr_un_is_a_warning(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", inventory("1.2.1", [study("1.5.1", StudyID="123456")]))
    path.write_bytes(path.read_bytes().replace(b"SH\x06\x00123456", b"UN\0\0\x02\0\0\x0012"))
    found = list(verify(path))
    assert [(finding.rule, finding.severity) for finding in found] == [("vr", Severity.WARNING)]


@pytest.mark.parametrize("level", ["STUDY", "SERIES"])
def test_sequences_below_the_inventory_level_are_found(tmp_path: Path, level: str) -> None:
    found = findings(tmp_path, inventory("1.2.1", [study("1.5.1")], InventoryLevel=level))
    place = "study 1.5.1 (0008,0424)" if level == "STUDY" else f"{SERIES} (0008,0425)"
    assert ("level-sequence", place) in rules(found)


@pytest.mark.parametrize(
    ("attributes", "rule", "location"),
    [
        ({"InventoryLevel": "IMAGE"}, "enumerated", "(0008,0403)"),
        ({"InventoryCompletionStatus": "DONE"}, "enumerated", "(0008,0426)"),
        ({"NumberOfStudyRecordsInInstance": 2}, "number", "(0008,0427)"),
        ({"TotalNumberOfStudyRecords": 2}, "total-number", "(0008,0428)"),
        ({"ContentDate": "2026.1.1"}, "time", "(0008,0023)"),
        ({"SpecificCharacterSet": None, "Manufacturer": "Grün"}, "character-set", "(0008,0070)"),
    ],
)
def test_a_wrong_value_of_the_inventory_is_found(
    tmp_path: Path, attributes: dict[str, Any], rule: str, location: str
) -> None:
    assert rules(findings(tmp_path, inventory("1.2.1", [study("1.5.1")], **attributes))) == {(rule, location)}


@pytest.mark.parametrize(
    ("attributes", "rule", "tag"),
    [
        ({"FileAccessURI": "a", "ContainerFileType": "ZIP", "FilenameInContainer": "b"}, "type-1c", "(0008,040E)"),
        (
            {"FileAccessURI": "a", "ContainerFileType": "TAR", "StoredInstanceTransferSyntaxUID": "1.2"},
            "type-1c",
            "(0008,040B)",
        ),
    ],
)
def test_a_condition_that_the_data_set_decides_is_held(
    tmp_path: Path, attributes: dict[str, str], rule: str, tag: str
) -> None:
    record = study("1.5.1")
    access = Dataset()
    for keyword, value in attributes.items():
        setattr(access, keyword, value)
    instance(record).FileAccessSequence = [access]
    place = f"{INSTANCE} (0008,041A)[1] {tag}"
    assert rules(findings(tmp_path, inventory("1.2.1", [record]))) == {(rule, place)}


def test_a_code_without_a_value_is_found(tmp_path: Path) -> None:
    code = Dataset()
    code.CodeMeaning = "Rejected for Quality Reasons"
    record = removed("1.5.1")
    record.ReasonForRemovalCodeSequence = [code]
    assert rules(findings(tmp_path, inventory("1.2.1", [record]))) == {("type-1c", "study 1.5.1 (0008,0406)[1]")}


def test_records_outside_the_scope_of_any_incorporating_inventory_are_found(tmp_path: Path) -> None:
    wide = scope("20250101000000+0000", "20260102000000+0000")
    narrow = scope("20260101000000+0000", "20260102000000+0000")
    one = inventory(
        "1.2.1",
        [study("1.5.1"), study("1.5.2", updated="20250601"), study("1.5.3", updated="")],
        ScopeOfInventorySequence=[],
    )
    two = inventory("1.2.2", incorporates=[one], ScopeOfInventorySequence=wide)
    three = inventory("1.2.3", incorporates=[two], ScopeOfInventorySequence=narrow)
    found = findings(tmp_path, one, two, three)
    assert {finding.file for finding in found} == {str(tmp_path / "1.2.1.dcm")}
    assert sorted((finding.rule, finding.location, finding.text.split(": ")[1]) for finding in found) == [
        ("scope", "study 1.5.2 (0008,041F)", "outside the Scope of 1.2.3, which incorporates it"),
        ("scope", "study 1.5.3 (0008,041F)", "outside the Scope of 1.2.2, which incorporates it"),
        ("scope", "study 1.5.3 (0008,041F)", "outside the Scope of 1.2.3, which incorporates it"),
    ]


def test_the_bounds_of_a_scope_are_inclusive(tmp_path: Path) -> None:
    moment = "20260101000000.000000+0000"
    made = inventory("1.2.1", [study("1.5.1", updated=moment)], ScopeOfInventorySequence=scope(moment, moment))
    assert findings(tmp_path, made) == []


def test_a_scope_that_is_not_definite_is_found(tmp_path: Path) -> None:
    bounds = scope()
    bounds[0].RangeMatchingSequence = bounds[0].RangeMatchingSequence[:1]
    made = inventory("1.2.1", ScopeOfInventorySequence=bounds)
    assert rules(findings(tmp_path, made)) == {("scope", "(0008,0400)")}


def test_a_record_taken_before_the_content_time_is_found(tmp_path: Path) -> None:
    record = study("1.5.1", recorded="20260102120000+0000")
    made: dict[str, Any] = {"ContentDate": "20260102", "ContentTime": "120001", "TimezoneOffsetFromUTC": "+0000"}
    assert rules(findings(tmp_path, inventory("1.2.1", [record], **made))) == {("item-time", "study 1.5.1 (0008,0404)")}
    assert findings(tmp_path, inventory("1.2.1", [record], **made | {"TimezoneOffsetFromUTC": "+0100"})) == []


def test_a_content_time_of_unknown_zone_is_held_against_a_record_only_if_no_zone_explains_it(tmp_path: Path) -> None:
    record = study("1.5.1", recorded="20260102120000+0000")
    explained = inventory("1.2.1", [record], ContentDate="20260103", ContentTime="015900")
    assert findings(tmp_path, explained) == []
    path = tmp_path / "1.2.1.dcm"
    assert [finding.rule for finding in verify(path, zone=ZoneInfo("Europe/Berlin"))] == ["item-time"]
    assert [finding.rule for finding in verify(path, zone=ZoneInfo("Pacific/Kiritimati"))] == []
    wrong = inventory("1.2.1", [record], ContentDate="20260103", ContentTime="020100")
    assert [finding.rule for finding in findings(tmp_path, wrong)] == ["item-time"]


def test_the_manifest_tells_the_moment_of_a_content_time_of_unknown_zone(tmp_path: Path) -> None:
    path = save(tmp_path / "1.2.1.dcm", inventory("1.2.1", [study("1.5.1", recorded="20260102120000+0000")]))
    write_manifest(path, watermark="2026-01-02T12:00:01+00:00")
    assert [finding.rule for finding in verify(path)] == ["item-time"]


def test_another_level_within_the_tree_is_found(tmp_path: Path) -> None:
    one = inventory("1.2.1", InventoryLevel="STUDY")
    assert rules(findings(tmp_path, one, inventory("1.2.2", incorporates=[one]))) == {("same-level", "(0008,0403)")}


def test_a_reference_that_is_no_true_copy_is_found(tmp_path: Path) -> None:
    one, two, _, _ = good_chain()
    shallow = reference(two)
    del shallow.IncorporatedInventoryInstanceSequence
    three = inventory("1.2.3", incorporates=[two], IncorporatedInventoryInstanceSequence=[shallow])
    found = findings(tmp_path, one, two, three)
    assert ("true-copy", "(0008,0422)[1] 1.2.2") in rules(found)


def test_a_copy_that_differs_in_other_attributes_is_a_warning(tmp_path: Path) -> None:
    one, two, _, _ = good_chain()
    copied = reference(two)
    copied.IncorporatedInventoryInstanceSequence[0].FilenameInContainer = "other"
    three = inventory("1.2.3", incorporates=[two], IncorporatedInventoryInstanceSequence=[copied])
    found = findings(tmp_path, one, two, three)
    assert [(finding.rule, finding.severity) for finding in found] == [("true-copy", Severity.WARNING)]


def test_a_missing_member_is_found_and_the_rest_is_checked(tmp_path: Path) -> None:
    _, two, four, _ = good_chain()
    spoilt = inventory("1.2.3", [study("1.5.1", PatientID=None)], [two, four])
    found = findings(tmp_path, two, four, spoilt)
    assert rules(found) == {("missing-member", "(0008,0422) 1.2.1"), ("type-2", "study 1.5.1 (0010,0020)")}


def test_a_wrong_total_over_the_tree_is_found_at_the_member_that_states_it(tmp_path: Path) -> None:
    made = good_chain()
    made[1].TotalNumberOfStudyRecords = 9
    found = findings(tmp_path, *made)
    assert [(finding.rule, Path(finding.file).stem) for finding in found] == [("total-number", "1.2.2")]


def test_a_study_twice_in_one_inventory_is_a_warning(tmp_path: Path) -> None:
    found = findings(tmp_path, inventory("1.2.1", [study("1.5.1"), study("1.5.1")]))
    assert [(finding.rule, finding.severity) for finding in found] == [("duplicate", Severity.WARNING)]


def write_manifest(path: Path, **changes: object) -> None:
    data = path.read_bytes()
    stated = {"sop_instance_uid": "1.2.1", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    path.with_name("1.2.1.json").write_text(json.dumps(stated | changes))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({}, None),
        ({"sha256": "0" * 64}, "sha256"),
        ({"bytes": 1}, "bytes"),
        ({"sha256": None}, "manifest"),
        ({"sop_instance_uid": "1.2.9"}, "manifest"),
    ],
)
def test_a_file_is_held_to_its_manifest(tmp_path: Path, changes: dict[str, object], rule: str | None) -> None:
    path = save(tmp_path / "any.dcm", inventory("1.2.1"))
    write_manifest(path, **changes)
    assert [finding.rule for finding in verify(path)] == ([] if rule is None else [rule])


def test_a_manifest_that_is_no_json_is_found(tmp_path: Path) -> None:
    path = save(tmp_path / "any.dcm", inventory("1.2.1"))
    path.with_name("1.2.1.json").write_text("{")
    assert [finding.rule for finding in verify(path)] == ["manifest"]


def test_a_data_set_that_is_another_than_its_file_meta_says_is_found(tmp_path: Path) -> None:
    path = save(tmp_path / "1.2.1.dcm", inventory("1.2.1"))
    path.write_bytes(path.read_bytes().replace(b"UI\x06\x001.2.1\0\x08\0#", b"UI\x06\x001.2.7\0\x08\0#"))
    assert [finding.rule for finding in verify(path)] == ["file-meta"]
    root = save(tmp_path / "1.2.2.dcm", inventory("1.2.2", incorporates=[inventory("1.2.1")]))
    assert [finding.rule for finding in verify(root)] == ["file-meta"]


def test_no_finding_holds_a_patient_attribute(tmp_path: Path) -> None:
    record = study("1.5.1", PatientName="Secret^Sam", PatientID="4711" * 20, AccessionNumber="Secrét")
    record.add_new("PatientBirthDate", "LO", "Secret")
    made = inventory("1.2.1", [record], SpecificCharacterSet=None)
    found = findings(tmp_path, made)
    assert found
    assert all("Secr" not in str(finding) and "4711" not in str(finding) for finding in found)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_cut_off_file_is_a_finding_wherever_it_is_cut(tmp_path: Path, syntax: str) -> None:
    made = inventory("1.2.1", [study("1.5.1"), removed("1.5.2")])
    whole = save(tmp_path / "a.dcm", made, syntax).read_bytes()
    path = tmp_path / "cut.dcm"
    for length in range(0, len(whole) - 1, 11):
        path.write_bytes(whole[:length])
        assert list(verify(path))


def test_damaged_bytes_end_in_findings_never_in_an_error(tmp_path: Path) -> None:
    one, two, _, _ = good_chain()
    save(tmp_path / "1.2.1.dcm", one)
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        whole = save(tmp_path / "1.2.2.dcm", two, syntax).read_bytes()
        dice = random.Random(11)
        path = tmp_path / "1.2.2.dcm"
        for _ in range(250):
            damaged = bytearray(whole)
            for _ in range(dice.randint(1, 3)):
                damaged[dice.randrange(128, len(damaged))] = dice.choice((0, 1, 0x7F, 0xFE, 0xFF))
            path.write_bytes(damaged)
            list(verify(path))


BACKSLASH_INSIDE = [  # characters that hold a byte 0x5C, and the character sets in which they do
    (["GB18030"], "乗"),
    (["GBK"], "乗"),
    (["", "ISO 2022 IR 87"], "俑"),
    (["ISO 2022 IR 6", "ISO 2022 IR 87", "ISO 2022 IR 149"], "俑"),
]


@pytest.mark.parametrize(("sets", "text"), BACKSLASH_INSIDE)
@pytest.mark.parametrize("above", [True, False])
def test_a_character_that_holds_a_backslash_separates_no_values(
    tmp_path: Path, sets: list[str], text: str, above: bool
) -> None:
    """In a study's own character sets, and in those that it has of the file."""
    own: dict[str, Any] = {} if above else {"SpecificCharacterSet": sets}
    record = study("1.5.1", StudyDescription=text * 30, PatientName=f"A^B={text}^{text}", StudyID=text, **own)
    made = inventory("1.2.1", [record], SpecificCharacterSet=sets if above else "ISO_IR 192")
    assert findings(tmp_path, made) == []
    assert b"\\" in (tmp_path / "1.2.1.dcm").read_bytes()


@pytest.mark.parametrize(("sets", "text"), BACKSLASH_INSIDE)
def test_what_is_wrong_in_such_character_sets_is_found(tmp_path: Path, sets: list[str], text: str) -> None:
    record = study("1.5.1", StudyDescription=text * 65, StudyID=[text, text], SpecificCharacterSet=sets)
    found = findings(tmp_path, inventory("1.2.1", [record]))
    assert rules(found) == {("value", "study 1.5.1 (0008,1030)"), ("vm", "study 1.5.1 (0020,0010)")}


@pytest.mark.parametrize("sets", ["GB18030", "ISO_IR 999"])
def test_what_cannot_be_decoded_is_not_told_to_be_wrong(tmp_path: Path, sets: str) -> None:
    path = save(tmp_path / "a.dcm", inventory("1.2.1", [study("1.5.1", StudyDescription="12345678")]))
    data = (
        path.read_bytes()
        .replace(b"ISO_IR 192", sets.ljust(10).encode())
        .replace(b"12345678", b"\x81\\\\\\\xff\xff\xff\xff")
    )
    path.write_bytes(data)
    assert list(verify(path)) == []


def test_a_file_with_a_manifest_and_macs_is_digested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digested: list[str] = []
    file_digest = hashlib.file_digest

    def counted(file: Any, algorithm: str) -> Any:
        digested.append(Path(file.name).name)
        return file_digest(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    one = inventory("1.2.1", [study("1.5.1")])
    path = save(tmp_path / "1.2.1.dcm", one)
    write_manifest(path)
    two, three = inventory("1.2.2", incorporates=[one]), inventory("1.2.3", incorporates=[one])
    for each in (two, three):
        each.IncorporatedInventoryInstanceSequence[0].MACAlgorithm = "SHA256"
        each.IncorporatedInventoryInstanceSequence[0].MAC = hashlib.sha256(path.read_bytes()).digest()
    root = inventory("1.2.4", incorporates=[two, three], TotalNumberOfStudyRecords=1)
    assert findings(tmp_path, two, three, root) == []
    assert digested == ["1.2.1.dcm"]


def test_an_unreadable_member_is_a_finding(tmp_path: Path) -> None:
    one, two, _, _ = good_chain()
    save(tmp_path / "1.2.1.dcm", one)
    data = (tmp_path / "1.2.1.dcm").read_bytes()
    (tmp_path / "1.2.1.dcm").write_bytes(data[: len(data) // 2])
    found = findings(tmp_path, two)
    assert [(finding.rule, Path(finding.file).name) for finding in found] == [("unreadable", "1.2.1.dcm")]
    assert [finding.rule for finding in verify(tmp_path / "none.dcm")] == ["unreadable"]


def test_instances_of_many_series_are_told_apart_by_their_place(tmp_path: Path) -> None:
    parts = [series("1.6.1", ["1.7.1"]), series("1.6.2", ["1.7.2"])]
    del parts[1].InventoriedInstancesSequence[0].SOPClassUID
    found = findings(tmp_path, inventory("1.2.1", [study("1.5.1", parts=parts)]))
    assert [finding.location for finding in found] == ["study 1.5.1 (0008,0424)[2] (0008,0425)[1] (0008,0016)"]
