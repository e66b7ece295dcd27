"""Who looks at the page: whoever has a token, and what the page offers them."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.web.fake_world import World
from tests.web.tab import PATIENCE, Watched, assert_legible, figure, shown


def test_a_wrong_token_is_refused_and_a_right_one_is_kept_in_the_tab_only(tab: Watched, world: World) -> None:
    world.tokens = {"secret-1": ("anna", "operate")}
    page = tab.go()
    page.get_by_label("Token").fill("secret \u2013 2")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("A token has neither blanks nor letters beyond ASCII.")
    page.get_by_label("Token").fill("secret-2")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("This token is not known. Nothing was kept of it.")
    assert_legible(page)
    assert page.evaluate("sessionStorage.length") == 0
    page.get_by_label("Token").fill("secret-1")
    page.keyboard.press("Enter")
    shown(figure(page, "Open studies"), "60")
    expect(page.get_by_text("anna")).to_be_visible()
    assert page.evaluate("Object.values(localStorage).concat(document.cookie).join()").find("secret") == -1
    page.reload()
    shown(figure(page, "Open studies"), "60")
    world.tokens = {}
    world.tokens = {"secret-3": ("anna", "operate")}
    expect(page.get_by_text("This token is not accepted any more.")).to_be_visible(timeout=PATIENCE)
    assert page.evaluate("sessionStorage.length") == 0


def test_who_may_only_read_is_offered_nothing_else_and_told_why(tab: Watched, world: World) -> None:
    world.tokens = {"secret-1": ("ben", "read")}
    page = tab.go("exceptions")
    page.get_by_label("Token").fill("secret-1")
    page.keyboard.press("Enter")
    why = "You may read here, as ben. Acknowledging needs a token with the role operate"
    expect(page.get_by_text(why)).to_be_visible()
    assert_legible(page)
    expect(page.locator(".exceptions tbody tr")).to_have_count(48)
    expect(page.get_by_role("button", name="Acknowledge", exact=True)).to_have_count(0)
    page.get_by_role("link", name="Chain").click()
    expect(page.locator(".entry")).to_have_count(50)
    expect(page.get_by_role("button", name="Download", exact=False).first).to_be_visible()
    expect(page.get_by_role("button", name="Verify", exact=False)).to_have_count(0)
    expect(page.get_by_role("button", name="Produce a delta now")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_focused()


def test_a_reader_signs_in_to_act_and_stays_a_reader_with_a_wrong_token(tab: Watched, world: World) -> None:
    world.tokens = {"secret-1": ("ben", "read"), "secret-2": ("anna", "operate")}
    page = tab.go("exceptions")
    page.get_by_label("Token").fill("secret-1")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign in to act").click()
    assert_legible(page)
    page.get_by_label("Token").fill("secret-3")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This token is not known. Nothing was kept of it.")
    assert page.evaluate("Object.values(sessionStorage)") == ["secret-1"]
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".exceptions tbody tr")).to_have_count(48)
    page.get_by_role("button", name="Sign in to act").click()
    page.get_by_label("Token").fill("secret-2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Acknowledge", exact=True)).not_to_have_count(0)
    expect(page.get_by_role("button", name="Sign in to act")).to_have_count(0)
