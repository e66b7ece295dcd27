"""The sign-off report as JSON and as a page, whatever there is to tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from monitor.gate import Gate
from monitor.report import OpenStudy, Report, json_parts, rules_json
from monitor.report_html import html_parts
from monitor.tally import Tally
from state.comparison import Place
from tests.unit.cutovers import RULES, figures

HEAD: dict[str, Any] = {
    "repository": "old",
    "sop_instance_uid": "1.2.3",
    "sequence": 12,
    "kind": "delta",
    "level": "INSTANCE",
    "status": "COMPLETE",
    "cut": 14,
    "watermark": "2026-09-21T14:13:20.000000+00:00",
    "scope_begin": None,
    "scope_end": "2026-09-21T14:13:20.000000+00:00",
    "own_records": 3,
    "total_records": 1234,
    "file": "2026/09/21/1.2.3.dcm",
    "bytes": 4321,
    "sha256": "0" * 64,
    "software": "Stocktake",
    "members": [{"sop_instance_uid": "1.2.3", "sequence": 12, "file": "2026/09/21/1.2.3.dcm", "total_records": 3}],
    "counts": {},
}
GROUPS = {(Place.IN_SYNC, "CT", "2026"): 100, (Place.MISSING, "CT", "2025"): 12}


def made(**changed: Any) -> Report:
    found = figures({Place.MISSING: 12})
    report = Report("Stocktake 1", "UTC", found, Gate(()), Tally.of(GROUPS), (HEAD, HEAD | {"repository": "new"}))
    return replace(report, **changed)


def studies(count: int) -> Iterator[OpenStudy]:
    for number in range(count):
        yield OpenStudy(f"1.2.{number}", "missing", ("not at the target",), "CT", "2025", 1, False, None)


def as_json(report: Report, count: int) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(b"".join(json_parts(report, studies(count))))
    return found


@pytest.mark.parametrize("count", [0, 1, 12])
def test_json_lists_every_open_study_and_how_many_there_are(count: int) -> None:
    found = as_json(made(), count)
    assert found["listed"] == len(found["exceptions"]) == count
    assert found["counts"]["source_live"] == 112
    assert found["repeat"] == "stocktake diff old/2026/09/21/1.2.3.dcm new/2026/09/21/1.2.3.dcm --cutover"
    assert found["inventories"]["source"].keys() == HEAD.keys() - {"counts"}


def test_a_page_lists_so_many_and_says_how_many_more_there_are() -> None:
    page = "".join(html_parts(made(), studies(12), shown=5))
    assert page.count("not at the target") == 5
    assert "<p>7 more are not listed here; the JSON report has all of them.</p>" in page
    assert "more are not listed" not in "".join(html_parts(made(), studies(12)))


def test_a_page_says_so_if_events_came_between_counting_and_listing() -> None:
    assert "13 were open when they were listed" in "".join(html_parts(made(), studies(13)))
    assert "were open when they were listed" not in "".join(html_parts(made(), studies(12)))


def test_a_side_without_an_inventory_is_told_as_such() -> None:
    report = made(heads=(HEAD, None))
    assert as_json(report, 0)["inventories"]["target"] is None
    assert "There is no inventory of the target, new." in "".join(html_parts(report, ()))
    assert report.command == "stocktake diff old/2026/09/21/1.2.3.dcm (none) --cutover"


def test_every_text_is_escaped() -> None:
    bad = "<i>&"
    study = OpenStudy(bad, "missing", (bad,), bad, bad, None, True, None)
    head = HEAD | dict.fromkeys(("sop_instance_uid", "kind", "level", "status", "file", "sha256", "software"), bad)
    rules = replace(RULES, source=bad, attributes=(bad,), ignored_modalities=(bad,), study_date_from=bad)
    found = made(
        software=bad,
        heads=(head, head),
        tally=Tally.of({(Place.MISSING, bad, bad): 1}),
        figures=figures(policy=replace(figures().policy, rules=rules)),
    )
    page = "".join(html_parts(found, [study]))
    assert "<i>" not in page
    assert page.count("&lt;i&gt;&amp;") > 15


def test_rules_tell_of_a_mapping_its_digest_alone() -> None:
    rules = replace(RULES, accession_numbers={"B": "2", "A": "1"}, updated_from=1_790_000_000_000_000)
    found = rules_json(rules)
    # printf 'A,1\nB,2\n' | sha256sum
    digest = "98c66892be496ba2cb099a7922459b4a6eab65b57132abc4cb2c8b009f16e73c"
    assert found["accession_numbers"] == {"entries": 2, "sha256": digest}
    assert found["updated_from"] == "2026-09-21T14:13:20.000000+00:00"
    assert found["attributes"] == ["PatientID", "StudyDate"]
    assert found["id"] != rules_json(RULES)["id"]
