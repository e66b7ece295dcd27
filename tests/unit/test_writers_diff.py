"""Two trees differ in what their studies are, not in how or when they were written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.unit.inventories import SYNTAXES, inventory, removed, save, series, study, undefined_lengths
from writers.diff import Counts, Parts, StudyDifference, diff
from writers.tree import load_tree


def compare(
    folder: Path,
    a: Dataset,
    b: Dataset,
    syntaxes: tuple[str, str] = (ExplicitVRLittleEndian, ExplicitVRLittleEndian),
) -> tuple[list[StudyDifference], Counts]:
    paths = [
        save(folder / name / "x.dcm", made, syntax) for name, made, syntax in zip("ab", (a, b), syntaxes, strict=True)
    ]
    counts = Counts()
    return list(diff(load_tree(paths[0]), load_tree(paths[1]), counts)), counts


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False])
def test_encoding_times_character_sets_and_order_do_not_count(tmp_path: Path, syntax: str, undefined: bool) -> None:
    parts = [series("1.6.1", ["1.7.1", "1.7.2"]), series("1.6.2", ["1.7.3"])]
    turned = [series("1.6.2", ["1.7.3"]), series("1.6.1", ["1.7.2", "1.7.1"])]
    a = inventory("1.2.1", [study("1.5.1", parts=parts, PatientName="Grün^Ute=緑"), removed("1.5.2")])
    latin = study("1.5.1", "20270101", "20260909", turned, PatientName="Grün^Ute=緑", SpecificCharacterSet="GB18030")
    b = inventory("1.2.2", [removed("1.5.2"), latin], SpecificCharacterSet="ISO_IR 100")
    undefined_lengths(b, undefined, undefined)
    found, counts = compare(tmp_path, a, b, (ExplicitVRLittleEndian, syntax))
    assert found == []
    assert counts == Counts(in_a=2, in_b=2, same=2)


def test_studies_of_one_side_only_are_missing_or_extra(tmp_path: Path) -> None:
    a = inventory("1.2.1", [study("1.5.1"), study("1.5.2"), removed("1.5.3")])
    b = inventory("1.2.2", [study("1.5.2"), study("1.5.4")])
    found, counts = compare(tmp_path, a, b)
    assert {(each.study_instance_uid, each.kind, each.removed_in_a, each.removed_in_b) for each in found} == {
        ("1.5.1", "missing", False, None),
        ("1.5.3", "missing", True, None),
        ("1.5.4", "extra", None, False),
    }
    assert counts == Counts(in_a=3, in_b=2, same=1, missing=2, extra=1)


@pytest.mark.parametrize(
    ("change", "attributes"),
    [
        ({"StudyDescription": "Neck"}, ("StudyDescription",)),
        ({"PatientID": "P2", "StudyID": ""}, ("PatientID", "StudyID")),
        ({"PatientSex": None}, ("PatientSex",)),
        ({"ModalitiesInStudy": ["CT", "MR"]}, ("ModalitiesInStudy",)),
    ],
)
def test_a_study_attribute_that_differs_is_named(
    tmp_path: Path, change: dict[str, Any], attributes: tuple[str, ...]
) -> None:
    found, counts = compare(
        tmp_path, inventory("1.2.1", [study("1.5.1")]), inventory("1.2.2", [study("1.5.1", **change)])
    )
    assert [(each.kind, each.attributes) for each in found] == [("different", attributes)]
    assert found[0].series == found[0].instances == Parts()
    assert counts.different == 1


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_series_and_instances_that_differ_are_counted_by_uid(tmp_path: Path, syntax: str) -> None:
    one = [series("1.6.1", ["1.7.1", "1.7.2"]), series("1.6.2", ["1.7.3"])]
    two = [series("1.6.1", ["1.7.2", "1.7.4"], "MR"), series("1.6.3", ["1.7.5", "1.7.6"])]
    two[0].InventoriedInstancesSequence[0].InstanceNumber = "9"
    a, b = (inventory(uid, [study("1.5.1", parts=parts)]) for uid, parts in (("1.2.1", one), ("1.2.2", two)))
    found, _ = compare(tmp_path, a, b, (ExplicitVRLittleEndian, syntax))
    assert found[0].series == Parts(1, 1, 1, ("Modality",))
    assert found[0].instances == Parts(2, 3, 1, ("InstanceNumber",))
    assert found[0].attributes == ("NumberOfStudyRelatedInstances",)


def test_a_study_removed_on_one_side_is_different_and_says_where(tmp_path: Path) -> None:
    found, counts = compare(tmp_path, inventory("1.2.1", [study("1.5.1")]), inventory("1.2.2", [removed("1.5.1")]))
    assert (found[0].removed_in_a, found[0].removed_in_b) == (False, True)
    assert found[0].attributes == ("RemovedFromOperationalUse", "ReasonForRemovalCodeSequence")
    assert counts.removed_in_one == 1


def test_only_effective_records_are_compared(tmp_path: Path) -> None:
    old = inventory("1.2.1", [study("1.5.1", "20260102", StudyDescription="old")])
    save(tmp_path / "a" / "old.dcm", old)
    a = inventory("1.2.2", [study("1.5.1", "20260103")], [old])
    b = inventory("1.2.3", [study("1.5.1")])
    assert compare(tmp_path, a, b)[0] == []
