"""The page on the service itself, with tokens, over two repositories in a real Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Final

import pytest
from playwright.sync_api import Browser, Error, HttpCredentials, Locator, Page, expect

from state.attributes import Level
from stocktake.roles import write
from stocktake.settings import load
from stocktake.web.tokens import Role
from tests.cutover.world import World
from tests.http_site import listen, serving, write_tokens
from tests.web.fake_world import study_uid
from tests.web.tab import PATIENCE, Watched, figure, find, shown, tab_to, watching

NOTE: Final = "<b>Lost</b> at the source in 2011; the radiologist knows."


@dataclass(frozen=True)
class Service:
    """The service on a port: three studies are at the source, one of them at the target too."""

    address: str
    world: World
    tokens: dict[Role, str]

    def store(self, side: str, number: int) -> None:
        """An instance of a study arrives at one side, now."""
        study = study_uid(number, 40)
        for one in self.world.sides:
            one.deployment.clock.now = time.time_ns() // 1000
        self.world.store(side, study, f"{study}.1.1")


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[Service]:
    tokens = write_tokens(tmp_path / "tokens")
    given = {"HTTP__LISTEN": listen(), "HTTP__TOKENS_FILE": str(tmp_path / "tokens"), "CUTOVER__GRACE": "0s"}
    with closing(World(redis_url, tmp_path, Level.INSTANCE, 0, **given)) as world:
        names = [side.deployment.name for side in world.sides]
        made = Service(f"http://{world.environ['STOCKTAKE_HTTP__LISTEN']}", world, tokens)
        for number in (1, 2, 3):
            made.store("source", number)
        made.store("target", 1)
        for side in world.sides:
            side.deployment.produce()
        with serving(world.settings, names):
            yield made


@pytest.fixture
def tab(browser: Browser, service: Service) -> Iterator[Watched]:
    """A tab whose reader has given the browser the token that may act, as the password that it asks for."""
    password = HttpCredentials(username="anybody", password=service.tokens[Role.OPERATE])
    with browser.new_context(timezone_id="Europe/Berlin", locale="en-GB", http_credentials=password) as context:
        yield from watching(context, service.address)


def test_the_browser_asks_for_a_token_before_anything_is_shown(browser: Browser, service: Service) -> None:
    with browser.new_context() as context:
        for path in ("/", "/js/main.js", "/app.css"):
            answer = context.request.get(service.address + path)
            assert answer.status == 401
            assert "Basic" in answer.headers["www-authenticate"]
        with pytest.raises(Error, match="AUTH_CREDENTIALS"):  # nobody answers the browser's question
            context.new_page().goto(service.address)


def test_figures_move_as_events_are_applied(tab: Watched, service: Service) -> None:
    page = tab.go()
    shown(figure(page, "Open studies"), "2")
    service.store("source", 4)
    shown(figure(page, "Open studies"), "3")
    for number in (2, 3, 4):
        service.store("target", number)
    shown(figure(page, "Open studies"), "0")
    shown(figure(page, "Forecast"), "Caught up")


def test_an_exception_is_found_acknowledged_kept_over_a_reload_and_taken_back(tab: Watched, service: Service) -> None:
    page = tab.go("exceptions")
    _sign_in(page, service.tokens[Role.OPERATE])
    study = study_uid(2, 40)
    find(page, study)
    row = page.get_by_role("row").filter(has_text=study)
    row.get_by_role("button", name="Acknowledge").click()
    dialog = page.get_by_role("dialog", name="Acknowledge this exception")
    dialog.get_by_label("Note").fill(NOTE)
    dialog.get_by_role("button", name="Acknowledge").click()
    expect(row.get_by_text(NOTE)).to_be_visible()
    page.reload()
    find(page, study)
    expect(row.get_by_text(NOTE)).to_be_visible()
    expect(row.get_by_text("the-operate")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Acknowledged").select_option("true")
    expect(page.locator(".exceptions tbody tr")).to_have_count(1)
    row.get_by_role("button", name="Withdraw").click()
    page.get_by_role("dialog").get_by_role("button", name="Withdraw").click()
    expect(page.get_by_text("No study fits this filter.")).to_be_visible()
    find(page, study_uid(1, 40))
    expect(page.get_by_role("row").filter(has_text=study_uid(1, 40))).to_contain_text("not open")


def test_the_chain_is_listed_downloaded_and_verified_and_the_gate_knows(
    tab: Watched, service: Service, tmp_path: Path
) -> None:
    name = service.world.sides[0].deployment.name
    page = tab.go()
    expect(_condition(page, f"Verified {name}")).to_contain_text("Not met")
    _sign_in(page, service.tokens[Role.OPERATE])
    page.get_by_role("link", name="Chain").click()
    page.get_by_label("Repository").select_option(name)
    head = page.locator(".entry").first
    expect(head).to_contain_text("Baseline 1")
    expect(head).to_contain_text("3 studies")
    with page.expect_download() as downloading:
        head.get_by_role("button", name="Download").click()
    downloading.value.save_as(tmp_path / "file.dcm")
    [published] = service.world.sides[0].deployment.folder.rglob("*.dcm")
    assert (tmp_path / "file.dcm").read_bytes() == published.read_bytes()
    head.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("dialog")).to_contain_text("Nothing was found to be wrong. 3 records checked.")
    page.keyboard.press("Escape")
    head.get_by_role("button", name="Manifest").click()
    expect(page.get_by_role("dialog")).to_contain_text('"kind": "baseline"')
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Overview").click()
    expect(_condition(page, f"Verified {name}")).to_contain_text("without findings", timeout=PATIENCE)


def test_a_delta_is_asked_of_the_writer_and_told_when_it_is_published(tab: Watched, service: Service) -> None:
    source = service.world.sides[0].deployment
    page = tab.go(f"chain?repository={source.name}")
    _sign_in(page, service.tokens[Role.OPERATE])
    service.store("source", 4)
    page.get_by_role("button", name="Produce a delta now").click()
    page.get_by_role("dialog").get_by_role("button", name="Produce").click()
    expect(page.get_by_text("No writer is at work now.")).to_be_visible()
    settings = load(None, source.environ | {"STOCKTAKE_INVENTORY__INTERVAL": "1d"})
    stop = Flag()
    writer = Thread(target=write, args=(settings, source.name, stop))
    writer.start()
    try:
        expect(page.get_by_text("Inventory 2 is published.").first).to_be_visible(timeout=PATIENCE)
    finally:
        stop.set()
        writer.join(20)
    assert not writer.is_alive()
    expect(page.locator(".entry").first).to_contain_text("1 study")


def test_a_wrong_token_is_refused_and_one_that_may_read_is_offered_nothing_else(tab: Watched, service: Service) -> None:
    page = tab.go("exceptions")
    for token in ("secret-1", "stk_" + "A" * 43):
        page.get_by_role("button", name="Sign in to act").click()
        page.get_by_label("Token").fill(token)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("This token is not known. Nothing was kept of it.")
        assert page.evaluate("sessionStorage.length") == 0
        page.get_by_role("button", name="Cancel").click()
    _sign_in(page, service.tokens[Role.READ])
    expect(page.get_by_text("You may read here, as the-read.")).to_be_visible()
    expect(page.locator(".exceptions tbody tr")).to_have_count(2)
    expect(page.get_by_role("button", name="Acknowledge", exact=True)).to_have_count(0)
    page.get_by_role("link", name="Chain").click()
    expect(page.get_by_role("button", name="Download", exact=False).first).to_be_visible()
    expect(page.get_by_role("button", name="Verify", exact=False)).to_have_count(0)
    expect(page.get_by_role("button", name="Produce a delta now")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
    expect(page.locator(".entry")).to_have_count(1)


@pytest.mark.parametrize("signed_in", [True, False])
def test_a_token_that_is_taken_out_of_the_file_is_asked_for_in_the_page(
    tab: Watched, service: Service, tmp_path: Path, signed_in: bool
) -> None:
    page = tab.go()
    if signed_in:
        _sign_in(page, service.tokens[Role.OPERATE])
    shown(figure(page, "Open studies"), "2")
    write_tokens(tmp_path / "tokens")
    expect(page.get_by_label("Token")).to_be_focused(timeout=PATIENCE)
    expect(page.get_by_text("This token is not accepted any more.")).to_have_count(int(signed_in))
    assert page.evaluate("sessionStorage.length") == 0


def test_the_keyboard_alone_signs_in_and_acknowledges(tab: Watched, service: Service) -> None:
    page = tab.go()
    shown(figure(page, "Open studies"), "2")
    tab_to(page, lambda text: text == "Sign in to act")
    page.keyboard.press("Enter")
    page.keyboard.insert_text(service.tokens[Role.OPERATE])
    page.keyboard.press("Enter")
    expect(page.get_by_text("the-operate")).to_be_visible()
    tab_to(page, lambda text: text.startswith("Exceptions"))
    page.keyboard.press("Enter")
    expect(page.locator(".exceptions tbody tr")).to_have_count(2)
    tab_to(page, lambda text: text == "Acknowledge")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Note")).to_be_focused()
    page.keyboard.insert_text("known")
    tab_to(page, lambda text: text == "Acknowledge")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(":focus")).to_have_text("Withdraw")


def _sign_in(page: Page, token: str) -> None:
    page.get_by_role("button", name="Sign in to act").click()
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def _condition(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name="Conditions of the gate").get_by_role("row").filter(has_text=name)
