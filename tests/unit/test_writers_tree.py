"""A tree of Inventories is found from its root, whole, or the error names what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.unit.inventories import CT, inventory, save
from writers.members import MissingMember, find_members
from writers.reader import InvalidInventory
from writers.tree import NoRoot, Tree, find_root, load_tree


def chain(folder: Path) -> list[Dataset]:
    """1.2.1 <- 1.2.2 <- 1.2.4, which also incorporates 1.2.3, in folders of their own."""
    one = inventory("1.2.1")
    two = inventory("1.2.2", incorporates=[one])
    three = inventory("1.2.3")
    four = inventory("1.2.4", incorporates=[two, three])
    for each in (one, two, three, four):
        save(folder / str(each.SOPInstanceUID)[-1] / f"{each.SOPInstanceUID}.dcm", each)
    return [one, two, three, four]


def uids(tree: Tree) -> list[tuple[str, int]]:
    return [(node.sop_instance_uid, node.depth) for node in tree.nodes]


def test_nodes_come_root_first_then_depth_first_with_their_depth(tmp_path: Path) -> None:
    chain(tmp_path)
    tree = load_tree(tmp_path / "4" / "1.2.4.dcm", [tmp_path])
    assert uids(tree) == [("1.2.4", 0), ("1.2.2", 1), ("1.2.1", 2), ("1.2.3", 1)]
    assert tree.root.path == tmp_path / "4" / "1.2.4.dcm"


def test_a_member_referenced_twice_stands_once_at_its_least_depth(tmp_path: Path) -> None:
    made = chain(tmp_path)
    save(tmp_path / "5.dcm", inventory("1.2.5", incorporates=[made[3], made[0]]))
    nodes = uids(load_tree(tmp_path / "5.dcm"))
    assert nodes == [("1.2.5", 0), ("1.2.4", 1), ("1.2.2", 2), ("1.2.1", 1), ("1.2.3", 2)]


def test_a_missing_member_is_named_with_the_folders_searched(tmp_path: Path) -> None:
    chain(tmp_path)
    (tmp_path / "1" / "1.2.1.dcm").unlink()
    with pytest.raises(MissingMember, match=r"1\.2\.1 is not in") as caught:
        load_tree(tmp_path / "4" / "1.2.4.dcm", [tmp_path])
    assert caught.value.sop_instance_uid == "1.2.1"
    assert caught.value.folders == (tmp_path,)


def test_the_folder_of_the_nearest_head_above_is_searched_by_default(tmp_path: Path) -> None:
    chain(tmp_path)
    path = tmp_path / "4" / "1.2.4.dcm"
    with pytest.raises(MissingMember):
        load_tree(path)
    (tmp_path / "head.json").write_text("{}")
    assert len(load_tree(path).nodes) == 4


def test_a_folder_with_a_head_starts_there(tmp_path: Path) -> None:
    chain(tmp_path)
    head = {"sop_instance_uid": "1.2.2", "file": "2/1.2.2.dcm"}
    (tmp_path / "head.json").write_text(json.dumps(head))
    assert uids(load_tree(tmp_path)) == [("1.2.2", 0), ("1.2.1", 1)]


@pytest.mark.parametrize(
    "head",
    [
        "",
        "[]",
        '{"file": 3}',
        '{"sop_instance_uid": "1.2.2", "file": "none.dcm"}',
        '{"sop_instance_uid": "1.2.9", "file": "2/1.2.2.dcm"}',
    ],
)
def test_a_head_that_names_no_inventory_is_refused(tmp_path: Path, head: str) -> None:
    chain(tmp_path)
    (tmp_path / "head.json").write_text(head)
    with pytest.raises(InvalidInventory, match=r"head\.json"):
        load_tree(tmp_path)


def test_a_folder_without_a_head_starts_at_the_only_root(tmp_path: Path) -> None:
    chain(tmp_path)
    assert find_root(tmp_path).name == "1.2.4.dcm"


def test_a_folder_with_several_roots_or_none_is_refused_by_name(tmp_path: Path) -> None:
    chain(tmp_path)
    save(tmp_path / "9.dcm", inventory("1.2.9"))
    with pytest.raises(NoRoot, match=r"9\.dcm.*1\.2\.4\.dcm|1\.2\.4\.dcm.*9\.dcm"):
        load_tree(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoRoot, match="empty"):
        load_tree(tmp_path / "empty")


def test_files_that_are_no_inventories_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "a.dcm", inventory("1.2.1"))
    save(tmp_path / "ct.dcm", inventory("1.2.8", SOPClassUID=CT))
    (tmp_path / "text.dcm").write_text("no DICOM")
    (tmp_path / "text.txt").write_text("no DICOM")
    assert find_members(tmp_path) == {"1.2.1": tmp_path / "a.dcm"}


def test_what_a_writer_at_work_has_not_published_is_not_found(tmp_path: Path) -> None:
    save(tmp_path / ".partial" / "1.2.1.dcm", inventory("1.2.1"))
    save(tmp_path / "2026" / "1.2.1.dcm", inventory("1.2.1"))
    save(tmp_path / ".1.2.2.dcm", inventory("1.2.2"))
    assert find_members(tmp_path) == {"1.2.1": tmp_path / "2026" / "1.2.1.dcm"}


def test_a_reference_without_a_uid_is_refused(tmp_path: Path) -> None:
    made = inventory("1.2.3", incorporates=[inventory("1.2.1")])
    del made.IncorporatedInventoryInstanceSequence[0].ReferencedSOPInstanceUID
    with pytest.raises(InvalidInventory, match="Referenced SOP Instance UID"):
        load_tree(save(tmp_path / "a.dcm", made))
