"""A tab of the browser of which everything is written down that it must not do, and what is looked for in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Request, expect

from tests.web.fake_world import STUDY_ROOT

PATIENCE: Final = 12_000  # milliseconds
# The page's pauses of a second and more are a fifth as long, so that nobody waits for its polls.
_HASTE: Final = """
const pause = window.setTimeout.bind(window);
window.setTimeout = (run, ms, ...more) => pause(run, ms >= 1000 ? ms / 5 : ms, ...more);
"""
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")


@dataclass
class Watched:
    """A tab of which everything is written down that it must not do."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)  # of the console, and errors that nobody caught
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self._said(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request))

    def go(self, view: str = "") -> Page:
        self.page.goto(f"{self.address}/#/{view}")
        return self.page

    def _said(self, kind: str, text: str) -> None:
        # Chromium itself tells of every answer that is no success; the page shows what it means.
        if kind in {"error", "warning"} and not text.startswith("Failed to load resource"):
            self.complaints.append(text)


def watching(context: BrowserContext, address: str) -> Iterator[Watched]:
    """A new tab. Whatever a test does there, these hold at its end."""
    context.add_init_script(_HASTE)
    watched = Watched(context.new_page(), address)
    watched.page.set_default_timeout(PATIENCE)
    yield watched
    assert watched.complaints == []
    for request in watched.requests:
        assert request.url.startswith((address + "/", "blob:" + address)), request.url
        assert STUDY_ROOT not in request.url
        assert "secret" not in request.url
        assert "stk_" not in request.url
    assert STUDY_ROOT not in watched.page.url


def figure(page: Page, name: str) -> Locator:
    """The large figure of a name."""
    return page.locator("dl.large > div").filter(has=page.get_by_text(name, exact=True)).locator(".value")


def shown(locator: Locator, text: str) -> None:
    """It comes to read so."""
    expect(locator).to_have_text(text, timeout=PATIENCE)


def find(page: Page, study: str) -> None:
    """Search for a study among the exceptions."""
    page.get_by_label("Study Instance UID").fill(study)
    page.get_by_role("button", name="Search").click()


def assert_legible(page: Page) -> None:
    """All that is shown has enough contrast."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(_FAINT) == []


def tab_to(page: Page, wanted: Callable[[str], bool]) -> None:
    """Press Tab until the focus is on what has this text."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted(str(page.evaluate("document.activeElement.textContent"))):
            return
    pytest.fail("the keyboard does not get there")


# Every text whose contrast with what is behind it is below WCAG AA. Both colours are as computed, without images.
_FAINT = """() => {
  const parts = colour => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const light = ({ rgb }) => {
    const [r, g, b] = rgb.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const found = parts(getComputedStyle(at).backgroundColor);
      if (found.a > 0.99) return found;
    }
    return parts("rgb(255, 255, 255)");
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    const style = getComputedStyle(node);
    if (!texts.currentNode.data.trim() || node.closest(":disabled, .unseen, noscript, .skip")) continue;
    if (!node.getClientRects().length) continue;
    const [one, other] = [light(parts(style.color)), light(behind(node))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)}: ${texts.currentNode.data.slice(0, 40)}`);
  }
  return faint;
}"""
