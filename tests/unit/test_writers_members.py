"""A member's file is found where a reference or the manifest says it is, never outside of the folders searched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

import writers.members
from tests.unit.inventories import CT, inventory, save
from writers.describe import describe, to_lines
from writers.members import MissingMember
from writers.tree import load_tree
from writers.verify import verify

BASE = "https://files.example/inventories/main/"
UID = "1.2.1"

Say = Callable[[Dataset, Dataset, str], None]  # puts a URI into a root and its reference


def in_reference(root: Dataset, reference: Dataset, uri: str) -> None:
    """As the standard has it: the reference includes the Stored File Access Macro."""
    reference.FileAccessURI = uri


def end_points(base: str) -> list[Dataset]:
    item = Dataset()
    item.StoredInstanceBaseURI = base
    return [item]


def nested_in(keyword: str) -> Say:
    def say(root: Dataset, reference: Dataset, uri: str) -> None:
        item = Dataset()
        item.FileAccessURI = uri
        setattr(reference, keyword, [item])

    return say


def tree(folder: Path, uri: str, place: str = "2026/01/02/a.dcm", say: Say = in_reference, base: str = BASE) -> Path:
    """A root in ``folder`` that says its one member, in ``place``, is at ``uri``."""
    member = inventory(UID)
    root = inventory("1.2.2", incorporates=[member])
    if base:
        root.InventoryAccessEndPointsSequence = end_points(base)
    say(root, root.IncorporatedInventoryInstanceSequence[0], uri)
    save(folder / place, member)
    return save(folder / "1.2.2.dcm", root)


@pytest.fixture
def no_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of 100,000 files: to search it is too much."""

    def walk(*_: object, **__: object) -> None:
        raise AssertionError("the folder is searched")

    monkeypatch.setattr(os, "walk", walk)


def found(root: Path, *folders: Path) -> list[Path]:
    return [node.path for node in load_tree(root, folders).nodes[1:]]


@pytest.mark.usefixtures("no_walk")
@pytest.mark.parametrize(
    "uri",
    [
        "./2026/01/02/a.dcm",
        "2026/01/02/a.dcm",
        "./2026/01/./02//a.dcm",
        "./2026/01/02/%61.dcm",
        f"{BASE}2026/01/02/a.dcm",
        f"{BASE}2026/01/02/a.dcm?signature=x",
    ],
)
@pytest.mark.parametrize("base", [BASE, BASE.rstrip("/")])
def test_a_member_is_found_by_what_is_below_the_base_uri_without_a_search(tmp_path: Path, uri: str, base: str) -> None:
    assert found(tree(tmp_path, uri, base=base)) == [tmp_path / "2026/01/02/a.dcm"]


@pytest.mark.usefixtures("no_walk")
def test_the_folder_searched_may_be_the_one_around_the_base(tmp_path: Path) -> None:
    root = tree(tmp_path / "main", "./2026/a.dcm", "2026/a.dcm")
    assert found(root, tmp_path) == [tmp_path / "main" / "2026" / "a.dcm"]


@pytest.mark.usefixtures("no_walk")
def test_a_relative_uri_without_any_base_is_relative_to_the_folders_searched(tmp_path: Path) -> None:
    assert found(tree(tmp_path, "./2026/01/02/a.dcm", base="")) == [tmp_path / "2026/01/02/a.dcm"]


@pytest.mark.usefixtures("no_walk")
@pytest.mark.parametrize("keyword", ["FileAccessSequence", "FileSetAccessSequence", "InventoryAccessEndPointsSequence"])
def test_a_nested_sequence_may_tell_the_uri(tmp_path: Path, keyword: str) -> None:
    assert found(tree(tmp_path, "./2026/01/02/a.dcm", say=nested_in(keyword))) == [tmp_path / "2026/01/02/a.dcm"]


@pytest.mark.usefixtures("no_walk")
def test_the_nearest_base_counts_for_a_reference_and_all_below_it(tmp_path: Path) -> None:
    one = inventory("1.2.1")
    two = inventory("1.2.2", incorporates=[one])
    three = inventory(
        "1.2.3", incorporates=[two], InventoryAccessEndPointsSequence=end_points("https://wrong.example/")
    )
    reference = three.IncorporatedInventoryInstanceSequence[0]
    reference.StoredInstanceBaseURI = BASE
    reference.FileAccessURI = f"{BASE}b.dcm"
    reference.IncorporatedInventoryInstanceSequence[0].FileAccessURI = f"{BASE}a.dcm"
    for name, made in (("a.dcm", one), ("b.dcm", two), ("c.dcm", three)):
        save(tmp_path / name, made)
    assert found(tmp_path / "c.dcm") == [tmp_path / "b.dcm", tmp_path / "a.dcm"]


@pytest.mark.usefixtures("no_walk")
@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_file_uri_is_followed_into_a_folder_that_is_searched(tmp_path: Path, host: str) -> None:
    place = tmp_path / "far away" / "a.dcm"
    root = tree(tmp_path / "near", f"file://{host}{place.as_posix().replace(' ', '%20')}", str(place))
    assert found(root, tmp_path / "near", tmp_path / "far away") == [place]


@pytest.mark.usefixtures("no_walk")
def test_a_relative_uri_below_a_file_base_is_followed(tmp_path: Path) -> None:
    base = f"file://{(tmp_path / 'far').as_posix()}/"
    root = tree(tmp_path / "near", "./2026/a.dcm", str(tmp_path / "far" / "2026" / "a.dcm"), base=base)
    assert found(root, tmp_path) == [tmp_path / "far" / "2026" / "a.dcm"]


@pytest.mark.parametrize(
    "uri",
    [
        "../outside/a.dcm",
        "./../outside/a.dcm",
        "%2e%2e/outside/a.dcm",
        "..%2Foutside%2Fa.dcm",
        "x/..%5c..%5coutside/a.dcm",
        "x/../../outside/a.dcm",
        "./link/a.dcm",
        f"{BASE}../outside/a.dcm",
        "{outside}/a.dcm",
        "%2F{outside}/a.dcm",
        "file://{outside}/a.dcm",
        "file://{inside}/../outside/a.dcm",
        "file://{inside}/link/a.dcm",
        "file://elsewhere.example{outside}/a.dcm",
        "//localhost{outside}/a.dcm",
        "file:a.dcm",
        "https://[broken/a.dcm",
        "./" + "a" * 5000,
        "./a%00.dcm",
        "./loop/a.dcm",
    ],
)
def test_no_uri_leads_out_of_the_folders_searched(tmp_path: Path, uri: str) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    uri = uri.format(inside=inside, outside=outside)
    root = tree(inside, uri, str(outside / "a.dcm"))
    (inside / "x").mkdir()
    (inside / "link").symlink_to(outside)
    (inside / "loop").symlink_to(inside / "loop")
    with pytest.raises(MissingMember):
        load_tree(root)


def test_no_manifest_leads_out_of_the_folders_searched(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for file in ("../outside/a.dcm", str(outside / "a.dcm"), "x\\..\\a.dcm"):
        root = tree(inside, "", str(outside / "a.dcm"))
        write_manifest(root, [{"sop_instance_uid": UID, "file": file}])
        with pytest.raises(MissingMember):
            load_tree(root)


@pytest.mark.parametrize("wrong", [inventory("1.2.9"), inventory(UID, SOPClassUID=CT), None])
def test_another_file_at_the_place_is_passed_over_for_the_next_way(tmp_path: Path, wrong: Dataset | None) -> None:
    root = tree(tmp_path, "./wrong.dcm")
    if wrong is None:
        (tmp_path / "wrong.dcm").write_text("no DICOM")
    else:
        save(tmp_path / "wrong.dcm", wrong)
    assert found(root) == [tmp_path / "2026/01/02/a.dcm"]


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    root = tree(tmp_path, "./pipe")
    os.mkfifo(tmp_path / "pipe")
    assert found(root) == [tmp_path / "2026/01/02/a.dcm"]


def write_manifest(root: Path, members: object, uid: str = "1.2.2") -> None:
    root.with_name(f"{uid}.json").write_text(json.dumps({"sop_instance_uid": uid, "members": members}))


@pytest.mark.usefixtures("no_walk")
def test_members_and_their_parts_are_found_by_the_manifest_beside_the_root(tmp_path: Path) -> None:
    one, part = inventory("1.2.1"), inventory("1.2.5")
    root = save(tmp_path / "2026" / "1.2.2.dcm", inventory("1.2.2", incorporates=[one, part]))
    save(tmp_path / "2025" / "old.dcm", one)
    save(tmp_path / "2026" / "1.2.5.dcm", part)
    own = {"sop_instance_uid": "1.2.2", "file": "2026/1.2.2.dcm", "parts": ["2026/1.2.5.dcm"]}
    write_manifest(root, [{"sop_instance_uid": "1.2.1", "file": "2025/old.dcm", "parts": []}, own])
    assert found(root, tmp_path) == [tmp_path / "2025" / "old.dcm", tmp_path / "2026" / "1.2.5.dcm"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sop_instance_uid": "1.2.9"}', '{"sop_instance_uid": "1.2.2"}'])
def test_a_manifest_that_is_none_is_no_help_and_no_harm(tmp_path: Path, text: str) -> None:
    root = tree(tmp_path, "")
    root.with_name("1.2.2.json").write_text(text)
    spoiled: list[object] = [None, [], [3], [{}], [{"sop_instance_uid": UID}], {"a": 1}, 3]
    assert found(root) == [tmp_path / "2026/01/02/a.dcm"]
    for members in spoiled:
        write_manifest(root, members)
        assert found(root) == [tmp_path / "2026/01/02/a.dcm"]


def test_a_folder_is_searched_once_however_many_members_are_not_where_they_are_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [inventory(f"1.2.{number}") for number in range(1, 5)]
    for number, each in enumerate(made):
        save(tmp_path / f"{number}" / "a.dcm", each)
    root = save(tmp_path / "root.dcm", inventory("1.2.9", incorporates=made))
    walks: list[Path] = []
    find_members = writers.members.find_members

    def counted(folder: Path) -> dict[str, Path]:
        walks.append(folder)
        return find_members(folder)

    monkeypatch.setattr(writers.members, "find_members", counted)
    assert len(found(root)) == 4
    assert walks == [tmp_path]


@pytest.mark.parametrize(
    ("uri", "base", "shown"),
    [
        ("./2026/b.dcm", BASE, f"{BASE}2026/b.dcm, which is not fetched"),
        ("s3://bucket/b.dcm", BASE, "s3://bucket/b.dcm, which is not fetched"),
        ("https://u:secret@h.example/b.dcm?key=secret", "", "https://h.example/b.dcm, which is not fetched"),
        ("file:///nowhere/b.dcm", "", "file:///nowhere/b.dcm"),
        ("./2026/b.dcm", "", "./2026/b.dcm"),
    ],
)
def test_what_is_not_found_is_named_with_the_place_where_it_would_be(
    tmp_path: Path, uri: str, base: str, shown: str
) -> None:
    root = tree(tmp_path / "a", uri, str(tmp_path / "b" / "b.dcm"), base=base)
    with pytest.raises(MissingMember) as caught:
        load_tree(root)
    assert (
        str(caught.value)
        == f"the incorporated Inventory {UID} is not in {tmp_path / 'a'}; its reference says it is at {shown}"
    )
    [finding] = [one for one in verify(root) if one.rule == "missing-member"]
    assert finding.text.endswith(shown)
    place = shown.removesuffix(", which is not fetched")
    assert list(to_lines(describe(root)))[-1] == f"  {UID}  not found; said to be at {place}"
