"""Takes a picture of every view, light and dark, wide and narrow: ``python -m tests.web.screenshots [FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, Page, expect

from tests.web.browser import running_browser, serving
from tests.web.fake_api import create_app
from tests.web.fake_world import World, plausible

_SIZES: Final = {"wide": (1440, 900), "narrow": (390, 844)}
_README: Final = (1440, 880)
_TALL: Final = 1500  # pixels: more than a screen, less than a list of hundreds
_SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
_VIEWS: Final = ("overview", "exceptions", "repositories", "chain")


def main(folder: Path) -> None:
    """All pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    world = plausible()
    with serving(create_app(world)) as address, running_browser() as browser:
        for size, (width, height) in _SIZES.items():
            for scheme in _SCHEMES:
                page = _page(browser, width, height, scheme)
                _take(page, address, world, folder, f"{size}-{scheme}")
                page.context.close()
        page = _page(browser, *_README, "light")
        page.goto(f"{address}/#/overview")
        expect(page.get_by_text("Updated")).to_be_visible()
        page.wait_for_timeout(800)
        page.screenshot(path=folder / "readme.png")  # docs/images/overview.png


def _page(browser: Browser, width: int, height: int, scheme: Literal["light", "dark"]) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, timezone_id="Europe/Berlin", locale="en-GB"
    )
    return context.new_page()


def _take(page: Page, address: str, world: World, folder: Path, kind: str) -> None:
    def picture(name: str) -> None:
        size = page.viewport_size
        assert size is not None
        page.set_viewport_size({"width": size["width"], "height": _TALL})
        page.wait_for_timeout(300)
        page.screenshot(path=folder / f"{name}-{kind}.png")
        page.set_viewport_size(size)

    for view in _VIEWS:
        page.goto(f"{address}/#/{view}")
        expect(page.get_by_text("Updated")).to_be_visible()
        picture(view)
    page.goto(f"{address}/#/overview")
    for name in ("Open by state", "Update lag"):
        page.get_by_role("button", name=name).click()
        page.wait_for_timeout(300)
        page.get_by_role("region", name="Over time").screenshot(path=folder / f"chart-{name.split()[1]}-{kind}.png")
    page.goto(f"{address}/#/exceptions")
    page.get_by_role("button", name="Acknowledge", exact=True).first.click()
    page.screenshot(path=folder / f"dialog-{kind}.png")
    page.keyboard.press("Escape")
    _take_states(page, address, world, folder, kind)


def _take_states(page: Page, address: str, world: World, folder: Path, kind: str) -> None:
    """What is not every day's: a met gate, trouble, nothing there, the sign-in."""
    studies, inventories = world.studies, world.inventories
    try:
        world.studies, world.inventories = [], []
        for view in _VIEWS[:2] + _VIEWS[3:]:
            page.goto(f"{address}/?{view}#/{view}")
            page.wait_for_timeout(600)
            page.screenshot(path=folder / f"{view}-calm-{kind}.png")
        world.studies, world.inventories = studies, inventories
        world.stopped, world.sinks_in_trouble, world.watermark_age = (
            "120 of the latest 1000 messages were bad",
            True,
            910,
        )
        page.goto(f"{address}/?trouble#/repositories")
        expect(page.get_by_text("Updated")).to_be_visible()
        world.down = "the state cannot be reached"
        expect(page.get_by_text("Trying again")).to_be_visible(timeout=15_000)
        page.screenshot(path=folder / f"trouble-{kind}.png", full_page=True)
        world.down = ""
        world.configured = False
        page.goto(f"{address}/?none#/overview")
        page.wait_for_timeout(600)
        page.screenshot(path=folder / f"none-{kind}.png")
        world.tokens = {"secret": ("anna", "read")}
        page.goto(f"{address}/?signin#/overview")
        expect(page.get_by_label("Token")).to_be_visible()
        page.screenshot(path=folder / f"signin-{kind}.png")
    finally:
        world.studies, world.inventories, world.tokens, world.down = studies, inventories, {}, ""
        world.configured, world.stopped, world.sinks_in_trouble, world.watermark_age = True, None, False, 7.4


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/screenshots"))
