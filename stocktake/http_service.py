"""The HTTP service: health, Prometheus metrics, and how each repository stands as JSON.

It has no tokens yet, so it listens on loopback only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from threading import Event as Flag
from threading import Thread
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import PlainTextResponse

from monitor.metrics import to_prometheus
from monitor.status import status
from state.chain import Chain
from state.errors import StateUnreachable
from stocktake import __version__
from stocktake.settings import Settings, SettingsError
from stocktake.wiring import OpenRepository, open_repository


def create_app(repositories: Sequence[OpenRepository]) -> FastAPI:
    """The application over opened repositories."""
    opened = {one.policy.name: one for one in repositories}
    app = FastAPI(title="Stocktake", version=__version__, docs_url=None, redoc_url=None)

    def found(name: str) -> OpenRepository:
        if name not in opened:
            raise HTTPException(404, f"no repository {name!r}")
        return opened[name]

    def standing(one: OpenRepository) -> dict[str, Any]:
        chain = Chain(one.connection, one.policy.name)
        return status(one.repository, one.studies, chain, None, one.connection.now()).to_json()

    @app.get("/healthz")
    def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok", "version": __version__}

    @app.get("/readyz", responses={503: {"description": "the state cannot be reached"}})
    def ready(response: Response) -> dict[str, str]:
        """The state answers."""
        try:
            for one in opened.values():
                one.connection.now()
        except StateUnreachable:
            response.status_code = 503
            return {"status": "the state cannot be reached"}
        return {"status": "ready"}

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> str:
        """Counters and gauges in the Prometheus text format."""
        return to_prometheus([standing(one) for one in opened.values()])

    @app.get("/api/v1/repositories")
    def repositories_listed() -> list[str]:
        """The names of the repositories that are followed."""
        return list(opened)

    @app.get("/api/v1/repositories/{name}", responses={404: {"description": "no such repository"}})
    def repository(name: str) -> dict[str, Any]:
        """Watermark, backlog, head and counters."""
        return standing(found(name))

    @app.get("/api/v1/repositories/{name}/head", responses={404: {"description": "no such repository, or no head yet"}})
    def head(name: str) -> dict[str, Any]:
        """The head's manifest."""
        one = found(name)
        manifest = Chain(one.connection, one.policy.name).head()
        if manifest is None:
            raise HTTPException(404, "no inventory has been published yet")
        return manifest

    return app


def serve(settings: Settings, names: Sequence[str], stop: Flag) -> None:
    """Serve until ``stop`` is set.

    Raises:
        SettingsError: ``http.listen`` is not a loopback address.
    """
    host, port = settings.http.listen
    if not _is_loopback(host):
        raise SettingsError(
            f"http.listen: {host} is not a loopback address; this version has no tokens and listens on loopback only"
        )
    repositories = [open_repository(settings, name) for name in names]
    config = uvicorn.Config(
        create_app(repositories), host=host, port=port, log_config=None, log_level="warning", access_log=False
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, name="http")
    thread.start()
    try:
        while thread.is_alive() and not stop.wait(0.2):
            pass
        failed = not stop.is_set()
    finally:
        server.should_exit = True
        thread.join()
        for one in repositories:
            one.close()
    if failed:
        raise SettingsError(f"http.listen: cannot listen on {host}:{port}; is the port taken?")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
