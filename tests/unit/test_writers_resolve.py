"""Of each study the newest record of the tree counts; nothing is lost, nothing comes twice."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from state.times import parse_time
from tests.unit.inventories import change, inventory, removed, save, study, undefined_lengths
from writers.read_scope import InvalidScope, Scope, read_scope
from writers.reader import InvalidInventory
from writers.resolve import resolve
from writers.tree import load_tree

EARLY, LATE = "20260102100000+0000", "20260102110000+0000"


def effective(folder: Path, *made: Dataset) -> dict[str, tuple[str, int, str]]:
    """Member UID, depth and description of each study; ``made``: the root last."""
    for each in made:
        path = save(folder / f"{each.SOPInstanceUID}.dcm", each)
    found = list(resolve(load_tree(path)))
    assert len({each.item.study_instance_uid for each in found}) == len(found)
    return {
        each.item.study_instance_uid: (
            each.sop_instance_uid,
            each.depth,
            each.item.dataset().StudyDescription,
        )
        for each in found
    }


def test_memory_does_not_grow_with_the_number_of_studies(tmp_path: Path) -> None:
    peaks = []
    for count in (3_000, 30_000):
        path = many(tmp_path / f"{count}.dcm", count)
        tracemalloc.start()
        assert sum(1 for _ in resolve(load_tree(path))) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 1_000_000


def many(path: Path, count: int) -> Path:
    """An inventory of so many small studies."""
    item = Dataset()
    item.StudyInstanceUID = "1.5.1000000"
    item.ItemInventoryDateTime = EARLY
    made = inventory("1.2.1", [item], NumberOfStudyRecordsInInstance=count)
    undefined_lengths(made, sequences=True, items=False)
    data = save(path, made).read_bytes()
    begin = data.index(b"\xfe\xff\x00\xe0", data.index(b"\x08\x00\x23\x04SQ"))
    one = data[begin : data.index(b"\xfe\xff\xdd\xe0", begin)]
    whole = b"".join(one.replace(b"1.5.1000000", b"1.5.%d" % (1_000_000 + number)) for number in range(count))
    path.write_bytes(data[:begin] + whole + data[begin + len(one) :])
    return path


def test_the_newest_item_inventory_datetime_wins_wherever_it_stands(tmp_path: Path) -> None:
    old = inventory("1.2.1", [study("1.5.1", LATE), study("1.5.2", EARLY), study("1.5.3", EARLY)])
    new = inventory("1.2.2", [study("1.5.1", EARLY), study("1.5.2", LATE)], [old])
    found = effective(tmp_path, old, new)
    assert {uid: each[:2] for uid, each in found.items()} == {
        "1.5.1": ("1.2.1", 1),
        "1.5.2": ("1.2.2", 0),
        "1.5.3": ("1.2.1", 1),
    }


def test_a_tie_goes_to_the_newer_study_update_then_to_the_nearer_the_root(tmp_path: Path) -> None:
    old = inventory("1.2.1", [study("1.5.1", LATE, updated=LATE), study("1.5.2", LATE)])
    new = inventory("1.2.2", [study("1.5.1", LATE, updated=EARLY), study("1.5.2", LATE)], [old])
    found = effective(tmp_path, old, new)
    assert found["1.5.1"][0] == "1.2.1"
    assert found["1.5.2"][0] == "1.2.2"


def test_a_study_twice_in_one_file_with_one_time_comes_once_as_first_written(tmp_path: Path) -> None:
    twice = [study("1.5.1", StudyDescription="first"), study("1.5.1", StudyDescription="second")]
    assert effective(tmp_path, inventory("1.2.1", twice)) == {"1.5.1": ("1.2.1", 0, "first")}


def test_times_are_compared_as_moments_not_as_texts(tmp_path: Path) -> None:
    old = inventory("1.2.1", [study("1.5.1", "20260102110000-0500")])
    new = inventory("1.2.2", [study("1.5.1", "20260102120000+0000")], [old])
    assert effective(tmp_path, old, new)["1.5.1"][0] == "1.2.1"


def test_a_record_without_a_time_loses_against_any_with_one(tmp_path: Path) -> None:
    old = inventory("1.2.1", [study("1.5.1", "19010101")])
    new = inventory("1.2.2", [study("1.5.1", "")], [old])
    assert effective(tmp_path, old, new)["1.5.1"][0] == "1.2.1"


def test_a_removed_study_is_yielded_as_removed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", inventory("1.2.1", [removed("1.5.1"), study("1.5.2")]))
    assert [each.item.removed for each in resolve(load_tree(path))] == [True, False]


def test_a_file_whose_count_is_wrong_is_refused_before_anything_is_yielded(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", inventory("1.2.1", [study("1.5.1")], NumberOfStudyRecordsInInstance=2))
    with pytest.raises(InvalidInventory, match="states 2"):
        next(resolve(load_tree(path)))


def test_a_record_without_study_instance_uid_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", inventory("1.2.1", [study("1.5.1", StudyInstanceUID=None)]))
    with pytest.raises(InvalidInventory, match="Study Instance UID"):
        next(resolve(load_tree(path)))


def scoped(begin: str, end: str) -> Scope:
    return read_scope(inventory("1.2.1", ScopeOfInventorySequence=bounds(begin, end)))


def bounds(*texts: str) -> list[Dataset]:
    item = Dataset()
    item.RangeMatchingSequence = [Dataset() for _ in texts]
    for bound, text in zip(item.RangeMatchingSequence, texts, strict=True):
        change(bound, {"StudyUpdateDateTime": text})
    return [item]


def test_both_ends_of_a_scope_are_inclusive_and_an_empty_one_is_open() -> None:
    moment = parse_time(EARLY)
    exact = "20260102100000.000000+0000"
    assert scoped(exact, exact).holds(moment)
    assert not scoped(exact, LATE).holds(moment - 1)
    assert not scoped(exact, exact).holds(moment + 1)
    assert scoped("", EARLY).holds(0)
    assert scoped(EARLY, "").holds(moment * 2)
    assert not scoped("", EARLY).holds(None)


@pytest.mark.parametrize(
    ("end", "last"),
    [
        ("2026", "20261231235959.999999"),
        ("202602", "20260228235959.999999"),
        ("20260102+0100", "20260102235959.999999+0100"),
        ("20260102101112.5", "20260102101112.599999"),
    ],
)
def test_the_end_of_a_scope_is_the_last_moment_of_what_it_states(end: str, last: str) -> None:
    assert scoped("", end).end == parse_time(last)


def test_an_empty_scope_is_universal_and_other_keys_are_named() -> None:
    assert read_scope(inventory("1.2.1", ScopeOfInventorySequence=[])).universal
    assert read_scope(inventory("1.2.1", ScopeOfInventorySequence=[Dataset()])).universal
    item = Dataset()
    item.GeneralMatchingSequence = [Dataset()]
    item.GeneralMatchingSequence[0].PatientID = "P1"
    scope = read_scope(inventory("1.2.1", ScopeOfInventorySequence=[item]))
    assert not scope.universal
    assert scope.other_keys == ("PatientID",)


@pytest.mark.parametrize("texts", [("20260101",), ("20260101", "20260102", ""), ("a", "b")])
def test_a_scope_that_says_nothing_definite_is_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidScope):
        read_scope(inventory("1.2.1", ScopeOfInventorySequence=bounds(*texts)))
