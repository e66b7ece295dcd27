"""Only what the head does not reach is ever removed, when it has been so for long enough, and all of it is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from state.times import MICROSECONDS
from tests.chains import Chain
from writers.manifest import Manifest
from writers.retention import remove_replaced, replaced

GIVEN = {"INVENTORY__MAX_RECORDS_PER_INSTANCE": "2", "CHAIN__ROLLUP_FANOUT": "2"}


@pytest.fixture
def chain(tmp_path: Path, redis_url: str, repository: str) -> Iterator[Chain]:
    """Files of two records; what is replaced may go after a second, and the archive's clock is long past."""
    made = Chain(tmp_path, redis_url, repository, INVENTORY__RETENTION="1s", **GIVEN)
    yield made
    made.deployment.close()


def reached(head: Manifest) -> set[str]:
    """All files of the head's tree and their manifests."""
    files = {file for member in head.members for file in member.files}
    return files | {file.removesuffix(".dcm") + ".json" for file in files}


def grow(chain: Chain, inventories: int) -> Manifest:
    """Deltas, split ones among them, and rollups."""
    for number in range(inventories):
        chain.store(*range(1, number % 4 + 2))
        head = chain.produce()  # and checks it: nothing is missing
    return head


def test_what_the_head_reaches_stays_and_all_else_of_the_chain_goes(
    chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="writers.retention"):
        head = grow(chain, 15)
        while head.kind == "delta":
            head = grow(chain, 1)
    assert chain.files() == reached(head) | {"head.json"}
    assert len([one for one in caplog.records if "retention: removed" in one.message]) == head.sequence - len(
        head.members
    )


def test_a_baseline_lets_all_that_was_before_it_go(chain: Chain) -> None:
    grow(chain, 5)
    head = chain.check(chain.deployment.produce("baseline"))
    assert chain.files() == reached(head) | {"head.json"}


def test_files_that_are_not_provably_of_the_chain_stay(chain: Chain, caplog: pytest.LogCaptureFixture) -> None:
    head = grow(chain, 3)
    day = chain.deployment.path(head).parent
    others = {"1.2.3.dcm": b"no manifest", "1.2.4.json": b"no JSON", "notes.txt": b"mine"}
    for name, content in others.items():
        (day / name).write_bytes(content)
    foreign = chain.deployment.folder / "head.json"
    (day / "1.2.5.json").write_bytes(foreign.read_bytes().replace(head.repository.encode(), b"other"))
    copied = chain.deployment.folder / "1999" / "01" / "01" / "1.2.6.json"
    copied.parent.mkdir(parents=True)
    copied.write_bytes(foreign.read_bytes().replace(b'"sequence": 3', b'"sequence": 1'))
    while head.kind != "rollup":
        head = grow(chain, 1)
    assert all((day / name).exists() for name in (*others, "1.2.5.json"))
    assert copied.exists()
    assert "1.2.4.json is no manifest" in caplog.text
    assert "1.2.6.json is the manifest of another place" in caplog.text


def test_without_the_setting_nothing_is_removed(tmp_path: Path, redis_url: str, repository: str) -> None:
    chain = Chain(tmp_path, redis_url, repository, **GIVEN)
    head = grow(chain, 12)
    chain.check_no_orphans(head)  # every one that ever was is there
    chain.deployment.close()


def test_time_counts_from_the_first_head_that_does_without_it(tmp_path: Path, redis_url: str, repository: str) -> None:
    chain = Chain(tmp_path, redis_url, repository, **GIVEN)
    made = [grow(chain, 1) for _ in range(9)]
    head, [producer, _] = made[-1], chain.deployment.open_producer()
    for found in replaced(producer.folder.manifests(), head):
        heads = [one for one in made if one.sequence > found.manifest.sequence]
        uid = found.manifest.sop_instance_uid
        first = next(one for one in heads if uid not in {member.sop_instance_uid for member in one.members})
        assert found.since == first.watermark
    oldest = min(found.since for found in replaced(producer.folder.manifests(), head))
    assert remove_replaced(producer.folder, head, oldest + 60 * MICROSECONDS, 60) == []
    removed = remove_replaced(producer.folder, head, oldest + 60 * MICROSECONDS + 1, 60)
    assert {one.since for one in removed} == {oldest}
    chain.check(head)
    chain.deployment.close()


@pytest.mark.parametrize("suffix", [".dcm", ".json"])
def test_an_inventory_that_cannot_be_removed_is_told_and_tried_again(
    chain: Chain, suffix: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == suffix:
            raise PermissionError(13, "Permission denied", str(path))
        real(path, missing_ok=missing_ok)

    head = grow(chain, 2)
    monkeypatch.setattr(Path, "unlink", refuse)
    while head.kind != "rollup":
        head = grow(chain, 1)
    assert "cannot be removed" in caplog.text
    monkeypatch.undo()
    head = chain.check(chain.deployment.produce("baseline"))
    assert chain.files() == reached(head) | {"head.json"}
