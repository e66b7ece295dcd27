"""The browser of this run, and a tab of it that looks at a world which is made up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.web.browser import running_browser, serving
from tests.web.fake_api import create_app
from tests.web.fake_world import World, plausible
from tests.web.tab import Watched, watching


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Closed before another package's tests: Playwright keeps a loop running, and theirs run loops of their own."""
    with running_browser() as found:
        yield found


@pytest.fixture
def world() -> World:
    return plausible()


@pytest.fixture
def address(world: World) -> Iterator[str]:
    with serving(create_app(world)) as found:
        yield found


@pytest.fixture
def tab(browser: Browser, address: str) -> Iterator[Watched]:
    """A tab in Berlin. Whatever a test does there, these hold at its end."""
    with browser.new_context(timezone_id="Europe/Berlin", locale="en-GB") as context:
        yield from watching(context, address)
