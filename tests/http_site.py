"""The HTTP service in tests: the application called without a server, and the service on a port in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any, Final
from unittest.mock import patch

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute

from stocktake.broker_ends import EndsWatch
from stocktake.cutover import Watch, look_with_heads, open_cutover
from stocktake.embedded import free_ports, wait_until
from stocktake.settings import Settings
from stocktake.standing import standing
from stocktake.web.app import ROUTERS
from stocktake.web.server import serve
from stocktake.web.site import CutoverSite, Site
from stocktake.web.tokens import Role, line_for, new_token
from stocktake.web.verifications import Verifications
from tests.harness import Deployment


class Client:
    """Calls an application as a server would, one request after the other."""

    def __init__(self, app: Any, token: str | None = None, host: str = "localhost") -> None:
        self._app = app
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._host = host

    def request(self, method: str, path: str, **given: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{self._host}") as client:
                return await client.request(method, path, **given)

        given["headers"] = self._headers | dict(given.get("headers", {}))
        return asyncio.run(ask())

    def get(self, path: str, **given: Any) -> httpx.Response:
        return self.request("GET", path, **given)

    def post(self, path: str, **given: Any) -> httpx.Response:
        return self.request("POST", path, **given)


def raw_request(
    app: Any, path: str, headers: Sequence[tuple[bytes, bytes]] = (), method: str = "GET"
) -> tuple[int, bytes]:
    """Call with this path and these headers as they are, which a client would mend; status and body."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def site_of(deployment: Deployment) -> Site:
    """The site of one repository, whose broker tells nothing."""
    settings = deployment.settings
    return Site(
        {deployment.name: deployment.opened},
        lambda one: standing(settings, one, None),
        settings.inventory.dir,
        Verifications(Flag()),
        cutover_of(deployment),
    )


def cutover_of(deployment: Deployment) -> CutoverSite | None:
    """The cutover of its settings, with one look at it; both sides are closed with the deployment."""
    if deployment.settings.cutover is None:
        return None
    opened = open_cutover(deployment.settings)
    deployment.also_open.extend(opened.sides)
    watch = Watch(deployment.settings, opened)
    watch.look()
    return CutoverSite(opened, watch, partial(look_with_heads, deployment.settings, opened))


# Paths whose POST only looks for something: what is looked for may be an identifier, and must not be in an address.
SEARCHES: Final = ("/api/v1/cutover/exceptions/search",)


@dataclass(frozen=True)
class Endpoint:
    """One method of one route. ``acts``: it changes something, and so has to take the role ``operate``."""

    method: str
    path: str
    described: bool = True  # in OpenAPI

    @property
    def of_page(self) -> bool:
        """Whether it is a file that the page is made of, and not the page itself."""
        return not self.described and self.path not in ("/", "/openapi.json")

    @property
    def acts(self) -> bool:
        return self.method != "GET" and self.path not in SEARCHES

    def url(self, **values: str) -> str:
        return self.path.format(**values)


def endpoints() -> list[Endpoint]:
    """All that there are, from the routers that the application is made of."""
    return [
        Endpoint(method, route.path, route.include_in_schema)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]


def write_tokens(path: Path) -> dict[Role, str]:
    """A file of tokens, one of each role; the tokens."""
    tokens = {role: new_token() for role in Role}
    path.touch(0o600)
    path.write_text("".join(line_for(f"the-{role}", role, token) + "\n" for role, token in tokens.items()))
    return tokens


@contextmanager
def serving(settings: Settings, names: Sequence[str], scheme: str = "http") -> Iterator[str]:
    """The service in a thread, on the port of its settings, with no broker to ask; its address."""
    stop = Flag()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            serve(settings, names, stop)
        except BaseException as error:
            failures.append(error)

    thread = Thread(target=run)
    host, port = settings.http.listen
    address = f"{scheme}://{host}:{port}"
    # It is a daemon that may be left in the middle of a connection, which the next test would be blamed for.
    with patch.object(EndsWatch, "run", lambda watch, stop: None):
        thread.start()
        answered = wait_until(lambda: bool(failures) or _answers(address), 20)
    try:
        assert answered
        if failures:
            raise failures[0]
        yield address
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def _answers(address: str) -> bool:
    try:
        httpx.get(address + "/healthz", verify=False)  # noqa: S501  # whether it is there, not who it is
    except httpx.TransportError:
        return False
    return True


def listen() -> str:
    """An address that is free."""
    return f"127.0.0.1:{free_ports(1)[0]}"


def get_raw(address: str, target: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """GET with a target that is sent as it is, dots and all."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=10)
    try:
        connection.putrequest("GET", target)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def documented(app: FastAPI) -> dict[str, Any]:
    """The application's OpenAPI description."""
    described: dict[str, Any] = app.openapi()
    return described
