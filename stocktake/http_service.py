"""The HTTP service: health, Prometheus metrics, and how each repository stands as JSON.

It has no tokens yet, so it listens on loopback only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from threading import Event as Flag
from threading import Thread
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from monitor.exposition import CONTENT_TYPE
from monitor.metrics import to_prometheus
from monitor.status import Status
from state.chain import Chain
from state.errors import StateUnreachable
from stocktake import __version__
from stocktake.broker_ends import EndsWatch
from stocktake.settings import Settings, SettingsError
from stocktake.standing import standing
from stocktake.wiring import OpenRepository, open_repository

_UNREACHABLE: Final = "the state cannot be reached"


def create_app(repositories: Sequence[OpenRepository], stands: Callable[[OpenRepository], Status]) -> FastAPI:
    """The application over opened repositories; ``stands`` tells how one stands."""
    opened = {one.policy.name: one for one in repositories}
    app = FastAPI(title="Stocktake", version=__version__, docs_url=None, redoc_url=None)

    def found(name: str) -> OpenRepository:
        if name not in opened:
            raise HTTPException(404, f"no repository {name!r}")
        return opened[name]

    @app.exception_handler(StateUnreachable)
    def unreachable(request: Request, error: StateUnreachable) -> JSONResponse:
        del request, error  # the error names the server, which is not everybody's business
        return JSONResponse({"detail": _UNREACHABLE}, 503)

    @app.get("/healthz")
    def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok", "version": __version__}

    @app.get("/readyz", responses={503: {"description": _UNREACHABLE}})
    def ready(response: Response) -> dict[str, str]:
        """The state answers."""
        try:
            for one in opened.values():
                one.connection.now()
        except StateUnreachable:
            response.status_code = 503
            return {"status": _UNREACHABLE}
        return {"status": "ready"}

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """Counters and gauges in the Prometheus text format."""
        return Response(to_prometheus([stands(one) for one in opened.values()]), media_type=CONTENT_TYPE)

    @app.get("/api/v1/repositories")
    def repositories_listed() -> list[str]:
        """The names of the repositories that are followed."""
        return list(opened)

    @app.get("/api/v1/repositories/{name}", responses={404: {"description": "no such repository"}})
    def repository(name: str) -> dict[str, Any]:
        """Lag, watermark, backlog, head and counters."""
        return stands(found(name)).to_json()

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
    ends = EndsWatch(settings.kafka, [one.policy for one in repositories])
    # A daemon: it may wait for a broker that does not answer, and the end must not.
    Thread(target=ends.run, args=(stop,), name="ends", daemon=True).start()
    config = uvicorn.Config(
        create_app(repositories, lambda one: standing(settings, one, ends.latest(one.policy.name))),
        host=host,
        port=port,
        log_config=None,
        log_level="warning",
        access_log=False,
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
