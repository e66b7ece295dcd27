"""Files are found by SOP Instance UID, listed newest first, and never opened outside their folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from stocktake.web.bodies import ManifestBody, MemberBody
from stocktake.web.shelf import Place, Shelf
from writers.files import FolderUnusable
from writers.manifest import Manifest, Member

CONTENT = b"an inventory"
OUTSIDE = b"what nobody may see"


def manifest(uid: str, sequence: int, day: str, kind: str = "delta") -> Manifest:
    file = f"{day}/{uid}.dcm"
    return Manifest(
        sop_instance_uid=uid,
        repository="main",
        sequence=sequence,
        kind=kind,
        tier=0,
        level="STUDY",
        status="COMPLETE",
        cut=sequence,
        slice_from=sequence - 1,
        watermark=0,
        scope_begin=None,
        scope_end=0,
        last_item_time=0,
        own_records=0,
        total_records=0,
        counts={},
        incorporated=(),
        members=(Member(uid, sequence, 0, file, 0),),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        file=file,
        bytes=len(CONTENT),
        sha256="0" * 64,
        software="Stocktake",
    )


def put(folder: Path, one: Manifest) -> Manifest:
    path = folder / one.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    path.with_suffix(".json").write_bytes(orjson.dumps(one.to_json()))
    return one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.dcm").write_bytes(OUTSIDE)
    return tmp_path / "main"


def sequences(folder: Path, after: Place | None = None, most: int = 100) -> list[int]:
    return [one.sequence for _, one in Shelf(folder).newest_first(after, most)]


def test_inventories_come_newest_first_over_days_months_and_years(folder: Path) -> None:
    days = ["2025/12/31", "2026/01/01", "2026/01/01", "2026/02/10", "2026/11/09"]
    for number, day in enumerate(days, 1):
        put(folder, manifest(f"2.25.{100 - number}", number, day))
    put(folder, manifest("2.25.7", 5, "2026/11/09", kind="part"))
    assert sequences(folder) == [5, 4, 3, 2, 1]
    assert sequences(folder, Place("2026/01/01", 3)) == [2, 1]
    assert sequences(folder, Place("2026/01/01", 2)) == [1]
    assert sequences(folder, Place("2025/12/31", 1)) == []
    assert sequences(folder, Place("2026/11/09", 5), most=2) == [4, 3]


def test_an_inventory_that_comes_between_two_pages_moves_nothing(folder: Path) -> None:
    for number in (1, 2, 3):
        put(folder, manifest(f"2.25.{number}", number, "2026/01/01"))
    [(place, _)] = Shelf(folder).newest_first(None, 1)
    put(folder, manifest("2.25.4", 4, "2026/01/01"))
    assert sequences(folder, place) == [2, 1]


def test_an_inventory_and_its_parts_are_found_by_their_uids(folder: Path) -> None:
    root = put(folder, manifest("2.25.1", 1, "2026/01/01"))
    part = put(folder, manifest("2.25.2", 1, "2026/01/01", kind="part"))
    shelf = Shelf(folder)
    assert shelf.manifest("2.25.1") == root
    assert shelf.manifest("2.25.2") == part
    assert shelf.manifest("2.25.3") is None
    opened = shelf.open(part)
    assert opened is not None
    with opened:
        assert opened.read() == CONTENT


def test_a_folder_that_is_not_there_holds_nothing(folder: Path) -> None:
    assert not Shelf(folder).exists()
    assert sequences(folder) == []
    assert Shelf(folder).manifest("1.2") is None


def test_a_folder_that_cannot_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, manifest("2.25.1", 1, "2026/01/01"))

    def denied(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", denied)  # root, as whom tests may run, may read everything
    with pytest.raises(FolderUnusable, match="Permission denied"):
        sequences(folder)


@pytest.mark.parametrize("uid", ["", "..", "../secret", "/etc/passwd", "2.25.1\n", "2.25.1\0", "1" * 65, "٢", "..%2f"])
def test_what_is_no_uid_is_not_looked_for(uid: str, folder: Path) -> None:
    put(folder, manifest("2.25.1", 1, "2026/01/01"))
    assert Shelf(folder).manifest(uid) is None


@pytest.mark.parametrize(
    "file",
    [
        "../secret.dcm",
        "2026/01/01/../../../../secret.dcm",
        "2026/01/01/../2.25.1.dcm",
        "/etc/passwd",
        "2026/01/02/2.25.1.dcm",
        "2026/01/01/2.25.1.dcm/",
        "head.json",
    ],
)
def test_a_manifest_that_names_another_place_is_none_and_opens_nothing(file: str, folder: Path) -> None:
    wrong = replace(manifest("2.25.1", 1, "2026/01/01"), file=file)
    path = folder / "2026" / "01" / "01" / "2.25.1.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(orjson.dumps(wrong.to_json()))
    assert Shelf(folder).manifest("2.25.1") is None
    assert Shelf(folder).open(wrong) is None
    assert Shelf(folder).path(wrong) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"sequence": 1}', b"\xff"])
def test_what_is_no_manifest_is_passed_over(content: bytes, folder: Path) -> None:
    put(folder, manifest("2.25.1", 1, "2026/01/01"))
    (folder / "2026" / "01" / "01" / "2.25.2.json").write_bytes(content)
    assert sequences(folder) == [1]
    assert Shelf(folder).manifest("2.25.2") is None


def test_a_link_below_the_folder_is_not_followed(folder: Path) -> None:
    found = put(folder, manifest("2.25.1", 1, "2026/01/01"))
    (folder / found.file).unlink()
    (folder / found.file).symlink_to(folder.parent / "secret.dcm")
    assert Shelf(folder).open(found) is None
    elsewhere = put(folder.parent / "other", manifest("2.25.2", 2, "2026/02/02"))
    (folder / "2026" / "02").symlink_to(folder.parent / "other" / "2026" / "02")
    assert Shelf(folder).open(elsewhere) is None
    assert Shelf(folder).manifest("2.25.2") is None
    assert sequences(folder) == [1]


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    put(folder.parent / "volume", manifest("2.25.1", 1, "2026/01/01"))
    folder.symlink_to(folder.parent / "volume")
    assert sequences(folder) == [1]


def test_what_is_no_regular_file_is_not_opened(folder: Path) -> None:
    found = put(folder, manifest("2.25.1", 1, "2026/01/01"))
    (folder / found.file).unlink()
    os.mkfifo(folder / found.file)
    assert Shelf(folder).open(found) is None
    (folder / found.file).unlink()
    (folder / found.file).mkdir()
    assert Shelf(folder).open(found) is None


def test_the_api_gives_manifests_with_every_field() -> None:
    assert list(ManifestBody.model_fields) == list(Manifest.__dataclass_fields__)
    assert list(MemberBody.model_fields) == list(Member.__dataclass_fields__)
