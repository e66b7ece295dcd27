"""The outermost layer: security headers on every answer, a line of the log for it, and no fault told to the asker.

Each request has an id, the caller's if that is well-formed, which its answer and all lines of the log about it carry.
"""

from __future__ import annotations

import logging
import re
import time
import traceback
from typing import Final
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stocktake.logs import log_about, told_of
from stocktake.web.problems import problem
from stocktake.web.site import CALLER
from stocktake.web.tokens import Caller

access_log = logging.getLogger("stocktake.access")
log = logging.getLogger(__name__)

HEADERS: Final = {
    # Everything the page needs comes from here, and nothing of it is inline.
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
# Answers hold what only the asker may see: nothing may keep them, except those that say so themselves.
CACHING: Final = "no-store"
REQUEST_ID: Final = "x-request-id"
# What proxies make (32 hexadecimal digits) and UUIDs. Nothing freer: it goes to the log, where patients' numbers do not
# belong.
_WELL_FORMED: Final = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


class Envelope:
    """Around the whole application. What is logged has no path, no query and no value: they may hold identifiers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        request_id = _request_id(scope)
        log_about(role="service", repository="", request=request_id)
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", CACHING)
                headers[REQUEST_ID] = request_id
                # A list of its own: whoever made the answer may have given a tuple.
                message = {**message, "headers": headers.raw}
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:
            # The error's text may hold a value of a study: only its kind and where it happened are told.
            frames = traceback.extract_tb(error.__traceback__)[-5:]
            where = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
            log.error("%s at %s", type(error).__name__, where, extra={"exception": told_of(error)})  # noqa: TRY400
            if status:
                raise ConnectionAbortedError("an answer was cut off by a fault") from None
            await problem(500, "a fault of the service; the log says where")(scope, receive, send_on)
        finally:
            self._tell(scope, status, time.perf_counter() - begun)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "?"
        template = getattr(scope.get("route"), "path", "-")
        found: Caller | None = scope.get(CALLER)
        name = found.name if found is not None and found.name else "-"
        access_log.info("%s %s %d %.0f ms %s", method, template, status, seconds * 1000, name)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).getlist(REQUEST_ID)
    return given[0].lower() if len(given) == 1 and _WELL_FORMED.fullmatch(given[0]) else uuid4().hex
