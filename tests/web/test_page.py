"""The page in a real browser: what it promises to those who look at it for months."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect

from stocktake.web.cutover_bodies import CutoverBody
from tests.web.fake_api import STATIC
from tests.web.fake_world import World
from tests.web.tab import PATIENCE, Watched, assert_legible, figure, find, shown, tab_to


def test_the_figures_move_as_the_data_changes(tab: Watched, world: World) -> None:
    page = tab.go()
    shown(figure(page, "Open studies"), "60")
    shown(figure(page, "Exceptions"), "48")
    del world.studies[:20]
    shown(figure(page, "Open studies"), "40")
    expect(page).to_have_title("Not ready, 40 open \u2013 Overview \u2013 Stocktake")


def test_the_gate_turns_and_says_so(tab: Watched, world: World) -> None:
    page = tab.go()
    gate = page.get_by_role("region", name="Not ready for cutover")
    expect(gate.get_by_role("row", name="Not met Nothing open 48 studies are open")).to_be_visible()
    world.studies.clear()
    expect(page.get_by_role("heading", name="Ready for cutover", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("status").filter(has_text="The gate is met.")).to_have_count(1)
    shown(figure(page, "Forecast"), "Caught up")


@pytest.mark.parametrize(
    ("rates", "outlook", "sentence"),
    [
        ((120.0, 138.0), "Caught up in about 3 h 20 min", "on 27 Nov 2026, 18:40 CET, at the present rates"),
        ((120.0, 80.0), "Never caught up", "at the present rates: 120 an hour come, 80 are settled"),
        ((None, None), "Not known yet", "rates are told after two minutes of figures"),
    ],
)
def test_the_forecast_is_told_in_words(
    tab: Watched, world: World, rates: tuple[float | None, float | None], outlook: str, sentence: str
) -> None:
    world.now = lambda: datetime(2026, 11, 27, 14, 20, tzinfo=UTC)
    world.rates = rates
    page = tab.go()
    shown(figure(page, "Forecast"), outlook)
    expect(page.get_by_text(sentence)).to_be_visible()


def test_times_have_their_zone_and_are_in_utc_where_the_pointer_rests(tab: Watched, world: World) -> None:
    world.now = lambda: datetime(2026, 7, 1, 22, 30, 5, tzinfo=UTC)
    page = tab.go()
    moment = page.locator(".view-head time")
    shown(moment, "2 Jul 2026, 00:30:05 CEST")
    expect(moment).to_have_attribute("title", "1 Jul 2026, 22:30:05 UTC")
    page.get_by_label("Times are shown in").select_option("UTC")
    shown(moment, "1 Jul 2026, 22:30:05 UTC")


def test_the_chart_is_drawn_and_read_by_keyboard(tab: Watched) -> None:
    page = tab.go()
    chart = page.get_by_role("slider", name="Chart: a moment in time")
    expect(chart.locator("canvas")).to_be_visible()
    for name in ("Hour", "Week", "Month"):
        page.get_by_role("group", name="Range").get_by_role("button", name=name).click()
        expect(page.get_by_text(f"Last {name.lower()}:")).to_be_visible()
    page.get_by_role("button", name="Open by state").click()
    chart.focus()
    newest = chart.get_attribute("aria-valuetext")
    page.keyboard.press("Home")
    assert chart.get_attribute("aria-valuetext") != newest
    assert "Missing" in str(chart.get_attribute("aria-valuetext"))
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("region", name="Open by state").get_by_role("row")).not_to_have_count(0)


def test_a_breakdown_leads_to_its_exceptions(tab: Watched) -> None:
    page = tab.go()
    page.get_by_role("button", name="Study year").click()
    row = page.get_by_role("region", name="Studies by study year").get_by_role("row", name="2024")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Exceptions", exact=True)).to_be_visible()
    expect(page.get_by_label("Study year")).to_have_value("2024")
    for cell in page.locator(".exceptions td:nth-child(2) small").all_inner_texts():
        assert cell.endswith("2024")


def test_an_exception_is_found_acknowledged_and_still_so_after_a_reload(tab: Watched, world: World) -> None:
    study = world.exceptions()[1]
    page = tab.go("exceptions")
    find(page, study.study_instance_uid)
    row = page.get_by_role("row").filter(has_text=study.study_instance_uid)
    row.get_by_role("button", name="Acknowledge").click()
    dialog = page.get_by_role("dialog", name="Acknowledge this exception")
    dialog.get_by_label("Note").fill("Broken at the source since 2011; the radiologist knows.")
    dialog.get_by_role("button", name="Acknowledge").click()
    expect(dialog).to_have_count(0)
    expect(row.get_by_text("the radiologist knows")).to_be_visible()
    expect(row.get_by_role("button", name="Withdraw")).to_be_focused()
    page.reload()
    find(page, study.study_instance_uid)
    expect(row.get_by_text("the radiologist knows")).to_be_visible()
    row.get_by_role("button", name="Withdraw").click()
    page.get_by_role("dialog").get_by_role("button", name="Withdraw").click()
    expect(row.get_by_role("button", name="Acknowledge")).to_be_visible()
    assert study.acknowledged is None
    assert not any(study.study_instance_uid in request.url for request in tab.requests)


def test_an_acknowledgement_of_what_is_not_open_any_more_is_refused_in_the_dialog(tab: Watched, world: World) -> None:
    page = tab.go("exceptions")
    page.get_by_role("button", name="Acknowledge", exact=True).first.click()
    world.studies.clear()
    page.get_by_label("Note").fill("No matter")
    page.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("the study is not open.")


def test_a_uid_that_is_not_open_is_not_found_and_one_that_is_none_is_refused(tab: Watched) -> None:
    page = tab.go("exceptions")
    find(page, "1.2.3")
    expect(page.get_by_role("main").get_by_text("This study is not open.")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".exceptions tbody tr")).to_have_count(48)
    find(page, "DOE^JANE")
    expect(page.get_by_text("A UID has digits and dots only, 64 at most.")).to_be_visible()


def test_filters_survive_a_reload_and_pages_turn(tab: Watched, world: World) -> None:
    for study in list(world.studies):
        world.studies.append(
            type(study)(
                study_instance_uid=study.study_instance_uid[:30] + ".1",
                place="missing",
                since=study.since - timedelta(days=1),
                modality="PT",
                year="2001",
            )
        )
    page = tab.go("exceptions")
    rows = page.locator(".exceptions tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("Page 2")).to_be_visible()
    page.get_by_role("button", name="Previous").click()
    page.get_by_label("Different").check()
    expect(rows).to_have_count(sum(one.place == "different" for one in world.exceptions()))
    page.reload()
    expect(page.get_by_label("Different")).to_be_checked()
    expect(rows).to_have_count(sum(one.place == "different" for one in world.exceptions()))
    page.get_by_role("button", name="Reset").click()
    expect(rows).to_have_count(50)


def test_a_refresh_leaves_focus_scroll_and_selection_alone(tab: Watched, world: World) -> None:
    page = tab.go("exceptions")
    button = page.get_by_role("button", name="Acknowledge", exact=True).nth(20)
    button.focus()
    chosen = page.locator(".exceptions tbody tr").nth(20).locator(".uid")
    chosen.evaluate("node => getSelection().selectAllChildren(node)")
    before = page.evaluate("[scrollY, getSelection().toString()]")
    first = world.exceptions()[0]
    world.studies.remove(first)
    expect(page.get_by_text(first.study_instance_uid)).to_have_count(0, timeout=PATIENCE)
    assert page.evaluate("document.activeElement.textContent") == "Acknowledge"
    assert page.evaluate("getSelection().toString()") == before[1]
    assert before[0] > 0
    assert page.evaluate("scrollY") > 0


def test_the_report_downloads_and_its_numbers_are_those_of_the_api(tab: Watched, world: World, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    world.now = lambda: now
    page = tab.go()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download JSON").click()
    path = tmp_path / "report.json"
    downloading.value.save_as(path)
    assert downloading.value.suggested_filename.startswith("cutover-pacs-vna-")
    assert json.loads(path.read_text()) == CutoverBody.model_validate(world.figures()).model_dump()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download HTML").click()
    assert downloading.value.suggested_filename.endswith(".html")


def test_a_report_that_cannot_be_had_is_told_where_it_was_asked_for(tab: Watched, world: World) -> None:
    world.reports = False
    page = tab.go()
    page.get_by_role("button", name="Download HTML").click()
    expect(page.get_by_role("alert").filter(has_text="No report: Not Found.")).to_be_visible()
    expect(page.get_by_role("button", name="Download HTML")).to_be_enabled()


def test_the_chain_is_shown_verified_and_downloaded(tab: Watched, world: World, tmp_path: Path) -> None:
    page = tab.go("chain")
    entries = page.locator(".entry")
    expect(entries).to_have_count(50)
    head = entries.first
    expect(head).to_contain_text("Rollup 63")
    expect(head).to_contain_text(world.inventories[0]["sha256"])
    with page.expect_download() as downloading:
        head.get_by_role("button", name="Download").click()
    downloading.value.save_as(tmp_path / "file.dcm")
    assert (tmp_path / "file.dcm").read_bytes()[128:132] == b"DICM"
    head.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("dialog")).to_contain_text("Nothing was found to be wrong.")
    page.keyboard.press("Escape")
    fault = {"severity": "error", "rule": "digest", "text": "the file is another one", "location": "whole"}
    world.findings = [{"section": "C.38", "file": "2026/11/27/2.25.1.dcm", **fault}]
    head.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 error")
    expect(page.get_by_role("dialog")).to_contain_text("the file is another one")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Older").click()
    expect(entries.last).to_contain_text("Baseline 1")
    page.get_by_label("Kind").select_option("rollup")
    expect(entries).to_have_count(7)


def test_a_delta_is_asked_for_and_told_when_it_has_come(tab: Watched, world: World) -> None:
    page = tab.go("chain")
    page.get_by_role("button", name="Produce a delta now").click()
    page.get_by_role("dialog").get_by_role("button", name="Produce").click()
    expect(page.get_by_text("waiting for the writer to publish it")).to_be_visible()
    assert world.requested == [63]
    world.writer = False
    expect(page.get_by_text("No writer is at work now.")).to_be_visible(timeout=PATIENCE)
    world.publish()
    expect(page.get_by_text("Inventory 64 is published.").first).to_be_visible(timeout=PATIENCE)


def test_repositories_tell_lag_by_partition_and_what_is_wrong(tab: Watched, world: World) -> None:
    page = tab.go("repositories")
    pacs = page.get_by_role("region", name="pacs", exact=True)
    expect(pacs.get_by_role("row", name="pacs.events / 3")).to_contain_text("61")
    expect(pacs.locator(".strip > div").filter(has_text="Dead letters")).to_contain_text("3")
    world.stopped, world.sinks_in_trouble, world.watermark_age = "120 of the latest 1000 messages were bad", True, 910.0
    expect(pacs.get_by_text("120 of the latest 1000 messages were bad")).to_be_visible(timeout=PATIENCE)
    expect(pacs.get_by_text("The watermark is held back")).to_be_visible()
    expect(pacs.get_by_text("In trouble")).to_be_visible()
    assert_legible(page)


def test_a_verification_tells_how_far_it_is_and_when_it_came_to_no_end(tab: Watched, world: World) -> None:
    world.verifying = "running"
    page = tab.go("chain")
    page.locator(".entry").first.get_by_role("button", name="Verify").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("4,711 records so far, nothing wrong.")
    world.verifying = "failed"
    expect(dialog).to_contain_text("It came to no end; the log says why.")


def test_the_keyboard_alone_is_enough(tab: Watched) -> None:
    page = tab.go("exceptions")
    expect(page.locator(".exceptions tbody tr")).to_have_count(48)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    assert page.url.endswith("#/exceptions")
    tab_to(page, lambda text: text == "Acknowledge")
    button = page.locator(":focus")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Note")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button).to_be_focused()
    page.keyboard.press("Control+Home")
    page.get_by_role("link", name="Stocktake").focus()
    tab_to(page, lambda text: text == "Chain")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Chain", exact=True)).to_be_visible()
    expect(page.get_by_role("main")).to_be_focused()


def test_a_server_that_is_away_is_told_and_comes_back_by_itself(tab: Watched, world: World) -> None:
    page = tab.go()
    shown(figure(page, "Open studies"), "60")
    world.down = "the state cannot be reached"
    bar = page.locator(".trouble")
    expect(bar).to_contain_text("Last updated", timeout=PATIENCE)
    expect(bar).to_contain_text("the state cannot be reached. Trying again in 5 s.")
    shown(figure(page, "Open studies"), "60")
    expect(bar).to_contain_text("Trying again in 10 s.", timeout=PATIENCE)
    assert_legible(page)
    world.down = ""
    page.get_by_role("button", name="Try now").click()
    expect(bar).to_have_count(0)


def test_a_page_that_nobody_looks_at_asks_for_nothing(tab: Watched) -> None:
    page = tab.go()
    shown(figure(page, "Open studies"), "60")
    hide = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});" + (
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.wait_for_timeout(500)
    page.evaluate(hide, True)
    before = len(tab.requests)
    page.wait_for_timeout(3_000)
    assert len(tab.requests) == before
    with page.expect_request("**/api/v1/cutover"):
        page.evaluate(hide, False)


def test_where_nothing_is_there_the_page_says_what_to_do(tab: Watched, world: World) -> None:
    world.configured, world.inventories = False, []
    page = tab.go()
    expect(page.get_by_text("No cutover is configured.")).to_be_visible()
    expect(page.get_by_text("cutover.source")).to_be_visible()
    tab.go("exceptions")
    expect(page.get_by_text("No cutover is configured, so there is nothing to compare.")).to_be_visible()
    tab.go("chain")
    expect(page.get_by_text("No inventory has been published yet.")).to_be_visible()
    world.repositories = []
    expect(page.get_by_text("No repositories are followed.")).to_be_visible(timeout=PATIENCE)


def test_calm_views_say_that_nothing_is_wrong(tab: Watched, world: World) -> None:
    world.studies, world.history = [], False
    page = tab.go("exceptions")
    expect(page.get_by_text("No exceptions.")).to_be_visible()
    tab.go()
    expect(page.get_by_text("No history for this range yet.")).to_be_visible()


@pytest.mark.parametrize("view", ["overview", "exceptions", "repositories", "chain"])
def test_nothing_overflows_on_a_phone(tab: Watched, view: str) -> None:
    tab.page.set_viewport_size({"width": 390, "height": 844})
    page = tab.go(view)
    expect(page.get_by_text("Updated")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate(
        "document.documentElement.clientWidth"
    )


@pytest.mark.parametrize("view", ["overview", "exceptions", "repositories", "chain"])
def test_all_text_has_enough_contrast_in_light_and_dark(tab: Watched, view: str) -> None:
    page = tab.go(view)
    expect(page.get_by_text("Updated")).to_be_visible()
    assert_legible(page)


def test_what_is_shipped_of_uplot_is_what_its_readme_says() -> None:
    folder = STATIC / "vendor" / "uplot"
    readme = (folder / "README.md").read_text()
    for name in ("uPlot.esm.js", "uPlot.min.css"):
        assert f"`{name}` | `{hashlib.sha256((folder / name).read_bytes()).hexdigest()}`" in readme
