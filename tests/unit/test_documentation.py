"""The documents held to the program: what they list is what there is, and what they show works."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final, get_args
from zoneinfo import ZoneInfo

import pytest

from consumers.counts import CountName, Counts, LookCount
from consumers.events import Event
from consumers.formats.native import NativeFormat
from monitor.metrics import METRICS
from state.times import MICROSECONDS
from stocktake.cli import COMMANDS, parser
from stocktake.exits import Exit
from stocktake.setting_table import ARCHIVE_SETTINGS, REPOSITORY_SETTINGS, SETTINGS, SINK_SETTINGS, Setting
from stocktake.settings import load
from tests.http_site import endpoints
from tests.planted_faults import FAULTS
from writers.manifest import Manifest, Member

ROOT = Path(__file__).resolve().parents[2]
ALL: Final = (*SETTINGS, *REPOSITORY_SETTINGS, *ARCHIVE_SETTINGS, *SINK_SETTINGS)
README = (ROOT / "README.md").read_text(encoding="utf-8")
EVENTS = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
METRICS_PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "helm").rglob("*.md"))
)
ARCHIVES = [name for name in DOCUMENTS if re.fullmatch(r"docs/archives(/\w+)?\.md", name)]
TEST_VARIABLE = re.compile(r"\bSTOCKTAKE_TEST_[A-Z]+\b")


def rows(document: str) -> Iterator[list[str]]:
    """The cells of each row of each table."""
    for line in document.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def table(*header: str) -> dict[str, list[str]]:
    """The rows of the README's table with this header, by their first cell."""
    found: dict[str, list[str]] = {}
    inside = False
    for line in README.splitlines():
        if not line.startswith("|"):
            inside = False
        elif (cells := next(rows(line), None)) is not None:
            if inside:
                assert cells[0] not in found, f"{cells[0]} has two rows"
                found[cells[0]] = cells
            inside = inside or cells == list(header)
    return found


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


# --- the README's tables ---------------------------------------------------------------------------------------


def test_the_readme_lists_every_command() -> None:
    assert {f"`stocktake {name}`" for name in COMMANDS} == table("command", "does").keys()


@pytest.mark.parametrize("setting", ALL, ids=lambda setting: setting.name)
def test_the_readme_tells_of_every_setting_its_variable_default_and_meaning(setting: Setting) -> None:
    found = table("setting", "variable", "default", "meaning")[f"`{setting.name}`"]
    default = f"`{setting.default}`" if setting.default else "(empty)"
    assert found[1:3] == [f"`{setting.variable}`", default]
    assert found[3]


def test_the_readme_lists_no_setting_that_is_none() -> None:
    known = {f"`{setting.name}`" for setting in ALL}
    assert table("setting", "variable", "default", "meaning").keys() == known


def test_the_readme_names_every_secret_that_may_come_from_a_file() -> None:
    paragraph = next(part for part in README.split("\n\n") if part.startswith("The secrets"))
    secrets = {setting.name for setting in ALL if setting.secret}
    assert set(re.findall(r"`(\w+\.(?:<name>\.)?\w+)`", paragraph)) == secrets


def test_the_readme_lists_every_exit_code() -> None:
    found = {(code, name) for code, name, _ in table("exit code", "name", "means").values()}
    assert found == {(str(code.value), f"`{code.name}`") for code in Exit}


def test_the_metrics_are_documented_as_they_are() -> None:
    found = [cells for cells in rows(METRICS_PAGE) if cells[0].startswith("`stocktake_")]
    assert found == [
        [f"`{one.name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), one.unit, one.help]
        for one in METRICS
    ]


def test_every_counter_is_documented_with_the_metric_that_it_is_in() -> None:
    found = {
        cells[0].strip("`"): re.sub(r"\W.*", "", cells[1].strip("`")) for cells in rows(METRICS_PAGE) if len(cells) == 3
    }
    found.pop("counter")
    assert found == {counter: one.name for one in METRICS for counter in one.counters}
    assert {*get_args(CountName), *get_args(LookCount)} <= found.keys()


def test_every_metric_in_an_example_is_one() -> None:
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        assert set(re.findall(r"\b(stocktake_\w+)\b(?!\.py)", text)) <= {one.name for one in METRICS}, document


def test_the_readme_lists_every_variable_that_the_tests_read() -> None:
    read = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r'"(STOCKTAKE_TEST_[A-Z]+)"', path.read_text(encoding="utf-8"))
    }
    assert {f"`{name}`" for name in read} == table("variable", "gives the tests").keys()


def test_the_readme_maps_every_folder_of_the_tree() -> None:
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
    folders = {
        f"`{path.name}/`"
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith(".") and not any(path.match(pattern) for pattern in ignored)
    }
    assert table("folder", "holds").keys() == folders


# --- links -----------------------------------------------------------------------------------------------------


def links(document: str) -> list[str]:
    """The targets of relative links."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as they are made on the forges."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_somewhere(document: str) -> None:
    for link in links(document):
        target, _, anchor = link.partition("#")
        path = (ROOT / document).parent / target if target else ROOT / document
        assert path.exists(), f"{document}: {link}"
        assert not anchor or anchor in anchors(path), f"{document}: {link}"


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name.startswith("docs/")])
def test_every_document_is_linked_from_the_readme(document: str) -> None:
    assert document in {link.partition("#")[0] for link in links("README.md")}


def test_decisions_are_numbered_without_gaps_and_dated() -> None:
    notes = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in notes] == list(range(1, len(notes) + 1))
    for number, path in enumerate(notes, start=1):
        title, _, date, *_ = path.read_text(encoding="utf-8").splitlines()
        assert title.startswith(f"# {number}. "), path.name
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", date), path.name


# --- what is shown works ---------------------------------------------------------------------------------------


def test_the_example_settings_file_loads(tmp_path: Path) -> None:
    [example] = blocks(README, "toml")
    config = tmp_path / "stocktake.toml"
    config.write_text(example, encoding="utf-8")
    settings = load(config, {})
    assert [one.name for one in settings.repositories] == list(tomllib.loads(example)["repositories"])


@pytest.mark.parametrize("document", ARCHIVES)
def test_every_settings_file_for_an_archive_loads(document: str, tmp_path: Path) -> None:
    examples = blocks((ROOT / document).read_text(encoding="utf-8"), "toml")
    assert examples, document
    for example in examples:
        config = tmp_path / "stocktake.toml"
        config.write_text(example, encoding="utf-8")
        given = tomllib.loads(example)
        settings = load(config, {})
        assert [one.name for one in settings.repositories] == list(given["repositories"])
        assert [one.name for one in settings.archives] == list(given["archives"])
        # The secrets that it says may come from files are settings, and fit the others.
        for variable in re.findall(r"\b(STOCKTAKE_\w+)_FILE=", example):
            load(config, {variable: "secret"})


@pytest.mark.parametrize("document", ARCHIVES)
def test_every_command_line_for_an_archive_is_one(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = list(command_lines((ROOT / document).read_text(encoding="utf-8")))
    assert lines, document
    for line in lines:
        command, *arguments = shlex.split(line, comments=True)[1:]
        try:
            parser(command).parse_args([command, *arguments])
        except SystemExit:
            pytest.fail(f"{document}: {line}: {capsys.readouterr().err}")


def command_lines(document: str) -> Iterator[str]:
    """Each call of the program in a block of the shell, or within a sentence; without what is done with its output."""
    for block in blocks(document, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("stocktake "):
                yield re.split(r"\s[>|&;]", line)[0]
    sentences = re.sub(r"^```.*?^```$", "", document, flags=re.MULTILINE | re.DOTALL)
    for found in re.findall(r"`(stocktake\s[^`]+)`", sentences):
        yield " ".join(found.split())


def test_every_product_has_a_page_that_says_the_same_four_things() -> None:
    wanted = ["What to configure there", "What arrives", "What is lost", "How to check"]
    pages = [name for name in ARCHIVES if name != "docs/archives.md"]
    assert {f"docs/{link}" for link in links("docs/archives.md") if re.fullmatch(r"archives/\w+\.md", link)} == {*pages}
    for name in pages:
        headings = re.findall(r"^## (.+)$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == wanted, name


@pytest.mark.parametrize("number", range(len(blocks(EVENTS, "json"))))
def test_every_example_event_is_an_event_and_loses_no_value(number: int) -> None:
    example = json.loads(blocks(EVENTS, "json")[number])
    counts: Counts = Counter()
    policy = load(None, {}).consumer
    # The record is as new as an example may be: no time is ahead of it.
    timestamp = 4_102_444_800 * MICROSECONDS
    [event] = NativeFormat(policy, ZoneInfo("UTC"), counts).decode(json.dumps(example).encode(), timestamp)
    if isinstance(event, Event):
        assert (event.action, event.level) == (example["action"], example["level"])
    else:
        assert example["level"] == "PATIENT"
    assert counts["values_repaired"] == counts["values_emptied"] == counts["times_ahead"] == 0


def test_the_example_events_show_every_action_at_every_level() -> None:
    shown = {(event["action"], event["level"]) for event in map(json.loads, blocks(EVENTS, "json"))}
    assert shown == {("update", "PATIENT")} | {
        (action, level) for action in ("store", "update", "delete") for level in ("STUDY", "SERIES", "INSTANCE")
    }


def test_the_document_of_the_http_service_lists_every_endpoint() -> None:
    text = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    listed = [cells[0].strip("`") for cells in rows(text) if re.match(r"`(GET|POST|PUT|DELETE) ", cells[0])]
    expected = {
        f"{one.method} " + re.sub(r"\{(\w+)\}", lambda match: match[1].upper(), one.path)
        for one in endpoints()
        if not one.of_page
    }
    assert set(listed) == expected
    assert len(listed) == len(expected)


def test_the_document_of_verify_lists_every_planted_fault() -> None:
    text = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")
    listed = [tuple(cells) for cells in rows(text)]
    expected = [(one.what, f"`{one.rule}`", one.section, "warning" if one.warning else "error") for one in FAULTS]
    assert [cells for cells in listed if cells in expected] == expected


def test_the_documents_name_every_field_of_the_manifest() -> None:
    text = (ROOT / "docs" / "inventories.md").read_text(encoding="utf-8")
    named = {name for cells in rows(text) for name in re.findall(r"`(\w+)`", " ".join(cells))}
    assert {field.name for field in (*fields(Manifest), *fields(Member))} <= named


def test_every_command_in_an_example_is_one() -> None:
    for document in DOCUMENTS:
        for block in blocks((ROOT / document).read_text(encoding="utf-8"), "sh"):
            for name in re.findall(r"^(?:\S*/)?stocktake ([a-z]+)", block, re.MULTILINE):
                assert name in COMMANDS, f"{document}: {name}"


def test_the_changelog_has_a_section_for_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(version)}\b", changelog, re.MULTILINE)
