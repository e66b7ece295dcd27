"""A real browser, Debian's Chromium without a window, and the server that it looks at."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Iterator
from threading import Thread
from typing import Final

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, sync_playwright

from stocktake.embedded import wait_until
from tests.servers.processes import in_ci

_ARGUMENTS: Final = [
    "--no-sandbox",  # a container's root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PATIENCE: Final = 20.0  # seconds until a server has started


def chromium() -> str:
    """The program. Without it the test fails in CI and is skipped elsewhere, with the reason."""
    found = shutil.which("chromium")
    if found is not None:
        return found
    missing = "chromium is not on PATH: install chromium"
    if in_ci():
        pytest.fail(missing)
    pytest.skip(missing)


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """Chromium; it is gone when the block ends."""
    program = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def serving(app: FastAPI, port: int = 0) -> Iterator[str]:
    """The application on loopback; gives its address."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        config = uvicorn.Config(app, log_config=None, log_level="warning", access_log=False, ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, args=([listening],), name="fake-api")
        thread.start()
        try:
            if not wait_until(lambda: server.started, _PATIENCE):
                raise TimeoutError("the server did not start")
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join()
