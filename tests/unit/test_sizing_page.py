"""docs/sizing.md: its tables follow from the figures that it states; these are the measured ones, and the defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stocktake.settings import load
from tests.sizing_tables import PAGE, SIZES, figures, rate, tables, tiers, with_tables

DOCS = Path(PAGE).parent
TEXT = PAGE.read_text(encoding="utf-8")
OF = figures(TEXT)


def test_the_tables_follow_from_the_figures() -> None:
    assert with_tables(TEXT) == TEXT, "run python -m tests.sizing_tables"


def test_the_figures_of_settings_are_their_defaults() -> None:
    settings = load(None, {})
    assert OF["max_records_per_instance"] == settings.inventory.max_records_per_instance
    assert OF["max_gb_per_instance"] * 1e9 == settings.inventory.max_bytes_per_instance
    assert OF["interval_seconds"] == settings.inventory.interval
    assert OF["rollup_fanout"] == settings.chain.rollup_fanout
    asked = load(None, {"STOCKTAKE_ARCHIVES__MAIN__URL": "https://pacs.example.org/dicom-web"}).archive("main")
    assert asked is not None
    assert OF["requests_a_second"] == asked.requests_per_second


@pytest.mark.parametrize(
    ("figure", "page", "row"),
    [
        ("instance_events", "performance.md", r"\| stocktake consume, 1 worker +\| +{} "),
        ("study_events", "performance.md", r"\| the whole path, study events +\| +{} "),
        ("second_worker", "performance.md", r"\| `workers_2_vs_1` +\| +{} "),
        ("baseline_studies", "performance.md", r"\| `baseline_1000000_per_second` +\| +{} "),
        ("imported", "operations.md", r"\| 250,000 \| 128 s, {} a second "),
    ],
)
def test_a_measured_rate_stands_where_it_is_said_to_be_from(figure: str, page: str, row: str) -> None:
    [value] = re.findall(rf"^\| `{figure}` \| ([\d,.]+) \|", TEXT, re.MULTILINE)
    assert re.search(row.format(re.escape(value)), (DOCS / page).read_text(encoding="utf-8"))


def test_the_rate_of_a_baseline_with_instances_is_that_of_the_benchmark() -> None:
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    [studies] = re.findall(r"`instance_from_redis_per_second` +\| +([\d.]+) ", text)
    assert OF["baseline_instances"] == pytest.approx(float(studies) * 500, rel=1e-3)


def test_the_volumes_are_those_of_the_table_of_measured_ones() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\| (?:STUDY|SERIES|INSTANCE), .*$", TEXT, re.MULTILINE)
    ]
    found = {(row[0].partition(" ")[2], row[0].partition(",")[0], row[1]): row[2:] for row in rows}
    told = "told at study level"
    one_by_one = "100 instances told one by one"
    for names, key in (
        (("redis_instance_vendor", "aof_instance_vendor"), (one_by_one, "INSTANCE", "vendor")),
        (("redis_instance_uuid", "aof_instance_uuid"), (one_by_one, "INSTANCE", "uuid")),
        (("redis_study_told", "aof_study_told"), (told, "STUDY", "vendor")),
    ):
        cells = [float(cell.replace(",", "")) for cell in found[key]]
        assert [OF[name] for name in names] == cells[:2]
        kind = names[0].removeprefix("redis_")
        assert OF.get(f"file_{kind}", cells[3]) == cells[3]
        assert OF[f"deflated_{kind}"] == cells[4]


def test_the_worked_example_and_the_plan_say_what_the_tables_say() -> None:
    cells = {cell.strip() for lines in tables(OF).values() for line in lines for cell in line.split("|")}
    said = TEXT.partition("## Worked example")[2].partition("## What was never measured")[0]
    volumes = set(re.findall(r"\b\d+(?:\.\d+)? (?:[MG]B)\b", said)) - {"2 GB"}  # of a small machine
    assert volumes
    assert volumes <= cells
    assert "40 minutes with one worker, 26 with two" in said
    assert {"40 min", "26 min", "5.7 min", "16", "822"} <= cells
    assert f"make {tiers(OF)} tiers" in TEXT


def test_the_second_worker_adds_what_was_measured() -> None:
    assert rate(OF, 100.0, 1) == 100.0
    assert rate(OF, 100.0, 2) == pytest.approx(100 * OF["second_worker"])
    assert len(SIZES) == 3
