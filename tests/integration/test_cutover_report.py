"""The sign-off report: complete, true, and repeated from the two head inventories alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest

from stocktake.cutover import look_with_heads, open_cutover
from tests.cutover.migration import NOTE, ZONE, Migration, Outcome
from tests.servers.redis_server import RedisServer


@pytest.fixture(scope="module")
def migration(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migration]:
    redis_server.start()
    made = Migration(redis_server.url, tmp_path_factory.mktemp("migration"), studies=400, each=2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def outcome(migration: Migration) -> Outcome:
    return migration.play()


class Page(HTMLParser):
    """What a page is made of: its tags with attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_all_that_was_planted_is_found_and_nothing_else_in_state_and_files_alike(
    migration: Migration, outcome: Outcome
) -> None:
    assert len(migration.plan.expected) == 20
    assert len(migration.plan.decoys) == 12
    migration.check(outcome)


def test_the_page_stands_alone_and_is_well_formed(outcome: Outcome) -> None:
    page = Page(outcome.html)
    assert page.open == []
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(tag for tag, _ in page.tags)
    assert {"src", "href", "onclick", "style"}.isdisjoint(name for _, given in page.tags for name in given)
    assert not re.search(r"https?:|url\(|@import", outcome.html)
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert tables == sum(tag == "caption" for tag, _ in page.tags) > 5
    assert all(given.get("scope") in ("col", "row") for tag, given in page.tags if tag == "th")


def test_the_page_tells_what_the_json_tells(migration: Migration, outcome: Outcome) -> None:
    text = Page(outcome.html).text
    for uid, one in migration.plan.expected.items():
        assert uid in text
        assert "; ".join(one.reasons) in text
    for condition in outcome.report["gate"]["conditions"]:
        assert condition["name"].replace("_", " ") in text
        assert condition["figure"] in text
    for told in (outcome.report["repeat"], outcome.report["rules"]["id"], outcome.report["software"], ZONE):
        assert told in text
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+0[12]00 \(Europe/Berlin\)", text)


def test_a_note_is_shown_as_it_was_written(migration: Migration, outcome: Outcome) -> None:
    [seen] = [one["acknowledged"] for one in outcome.report["exceptions"] if one["acknowledged"]]
    assert (seen["name"], seen["note"]) == ("the operator", NOTE)
    assert NOTE in Page(outcome.html).text
    assert NOTE not in outcome.html


def test_no_attribute_of_a_patient_is_in_report_or_comparison(migration: Migration, outcome: Outcome) -> None:
    told = outcome.html + orjson.dumps(outcome.report).decode() + outcome.text
    for event, _ in migration.told:
        for dataset in event.get("datasets", [event.get("dataset")]):
            for tag in ("00100010", "00100020", "00080050"):
                for value in dataset.get(tag, {}).get("Value", ()):
                    for text in value.values() if isinstance(value, dict) else (value,):
                        assert text not in told


def test_lines_for_people_name_each_study_once_and_the_counts(migration: Migration, outcome: Outcome) -> None:
    studies, counts = outcome.text.splitlines()[:20], outcome.text.splitlines()[20:]
    assert {line.split()[1] for line in studies} == migration.plan.expected.keys()
    assert counts[-1] == f"20 studies open, by the rules {outcome.report['rules']['id']}"
    assert f"{outcome.report['counts']['places']['in_sync']:>13,} in sync" in counts


def test_the_gate_knows_the_heads_that_were_verified_for_it(migration: Migration, outcome: Outcome) -> None:
    met = {one["name"]: one["met"] for one in outcome.report["gate"]["conditions"]}
    assert [met[f"verified_{name}"] for name in migration.names] == [True, True]
    assert met["everything_compared"]
    assert not met["nothing_open"]


def test_only_a_head_is_recorded_as_verified_and_only_when_told_so(migration: Migration, outcome: Outcome) -> None:
    source, target = migration.sides
    before = source.opened.repository.verified()
    assert before is not None
    assert (before.sop_instance_uid, before.findings) == (
        outcome.report["inventories"]["source"]["sop_instance_uid"],
        0,
    )
    migration.command("verify", str(source.folder))
    migration.command("verify", str(target.folder), "--record", "--repository", source.name, code=2)
    older = outcome.report["inventories"]["source"]["members"][0]["file"]
    migration.command("verify", str(source.folder / older), "--record", "--repository", source.name, code=2)
    assert source.opened.repository.verified() == before


def test_what_is_wrong_with_a_head_is_counted_in_the_state(
    migration: Migration, outcome: Outcome, tmp_path: Path
) -> None:
    target = migration.sides[1]
    head = outcome.report["inventories"]["target"]
    path = tmp_path / "head.dcm"
    data = (target.folder / head["file"]).read_bytes()
    assert data.count(b"INSTANCE") == 1
    path.write_bytes(data.replace(b"INSTANCE", b"INSTANTS"))
    words = ("verify", str(path), "--search", str(target.folder), "--record", "--repository", target.name)
    migration.command(*words, code=1)
    found = target.opened.repository.verified()
    assert found is not None
    assert found.findings > 0
    opened = open_cutover(migration.sides[0].settings)
    try:
        cutover, _ = look_with_heads(migration.sides[0].settings, opened)
    finally:
        opened.close()
    assert {one.name: one.met for one in cutover.gate.conditions}[f"verified_{target.name}"] is False


def test_a_report_is_written_whole_or_not_at_all(migration: Migration, outcome: Outcome, tmp_path: Path) -> None:
    migration.command("cutover", "--report", str(tmp_path / "report.txt"), code=2)
    migration.command("cutover", "--report", str(tmp_path / "none" / "report.html"), code=2)
    (tmp_path / "report.html").mkdir()
    migration.command("cutover", "--report", str(tmp_path / "report.html"), code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
