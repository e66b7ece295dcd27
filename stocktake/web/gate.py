"""Who may come in: with tokens whoever has one, without them whoever is on this machine and asks for it by its name."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64decode
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stocktake.web.problems import problem
from stocktake.web.site import CALLER
from stocktake.web.tokens import Caller, Role, Tokens, TokensUnusable

MOST_BODY: Final = 1 << 16  # bytes of a request's body

_ANYBODY_HERE: Final = Caller("", Role.OPERATE)
_SAFE: Final = ("GET", "HEAD", "OPTIONS")


class Gate:
    """Asks for a token before anything else is looked at, also for what does not exist. ``tokens`` None: see above."""

    def __init__(self, app: ASGIApp, tokens: Tokens | None) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        found = self._anybody(headers, scope["method"]) if self._tokens is None else self._known(headers, self._tokens)
        if isinstance(found, Response):
            await found(scope, receive, send)
            return
        scope[CALLER] = found
        await self._app(scope, receive, send)

    def _anybody(self, headers: Headers, method: str) -> Caller | Response:
        """A web page elsewhere can make a browser on this machine ask: by another name for it, or across origins."""
        hosts = headers.getlist("host")
        if not hosts or not all(map(_is_loopback_name, hosts)):
            return problem(403, "without tokens this service answers only to a name of this machine, as localhost")
        origins = headers.getlist("origin")
        if method not in _SAFE and any(urlsplit(one).netloc != hosts[0] for one in origins):
            return problem(403, "without tokens this service takes no orders from other web pages")
        return _ANYBODY_HERE

    def _known(self, headers: Headers, tokens: Tokens) -> Caller | Response:
        given = headers.getlist("authorization")
        if not given:
            return _refused("a token is needed, as `Authorization: Bearer TOKEN`", headers)
        scheme, _, rest = given[0].partition(" ")
        token = rest.strip() if scheme.lower() == "bearer" else _password(rest) if scheme.lower() == "basic" else ""
        try:
            found = tokens.caller(token) if token and len(given) == 1 else None
        except TokensUnusable:
            return problem(503, "the file of tokens cannot be used; the log says why")
        if found is None:
            return _refused("this token is not known", headers)
        # A browser sends a password along with whatever any page makes it ask: good enough to read, not to act.
        return found if scheme.lower() == "bearer" else Caller(found.name, Role.READ)


class BodyLimit:
    """Reads the body of a request before the application sees it, and refuses one of more than ``MOST_BODY`` bytes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        too_large = not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > MOST_BODY
        body = bytearray()
        more = not too_large
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            too_large = len(body) > MOST_BODY
            more = message.get("more_body", False) and not too_large
        if too_large:
            await problem(413, f"the body may have {MOST_BODY} bytes", {"connection": "close"})(scope, receive, send)
            return
        given = False

        async def receive_again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, receive_again, send)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach this address, or the name is ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_loopback_name(host: str) -> bool:
    try:
        name = urlsplit("//" + host).hostname
    except ValueError:
        return False
    return name is not None and "@" not in host and is_loopback(name)


def _refused(why: str, asked: Headers) -> Response:
    """401. A browser asks for a password when it opens something, not for a script of the page: that asks by itself."""
    refused = problem(401, why)
    refused.headers.append("www-authenticate", 'Bearer realm="stocktake"')
    if asked.get("sec-fetch-dest") != "empty":
        refused.headers.append("www-authenticate", 'Basic realm="stocktake"')
    return refused


def _password(given: str) -> str:
    """The password of basic authentication, as which a browser gives the token; empty if there is none."""
    try:
        return b64decode(given, validate=True).decode("ascii").partition(":")[2]
    except ValueError:
        return ""
