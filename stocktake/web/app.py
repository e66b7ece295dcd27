"""The application put together: routers, the form of errors, and the layers around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter, FastAPI

from stocktake import __version__
from stocktake.web.envelope import Envelope
from stocktake.web.gate import BodyLimit, Gate
from stocktake.web.problems import handle_problems
from stocktake.web.routers import cutover, deltas, inventories, me, page, probes, report, repositories
from stocktake.web.site import Site
from stocktake.web.tokens import Tokens

ROUTERS: Final = (
    probes.router,
    me.router,
    repositories.router,
    inventories.router,
    deltas.router,
    cutover.router,
    report.router,
    page.router,
)


def create_app(site: Site, tokens: Tokens | None, routers: Sequence[APIRouter] = ROUTERS) -> FastAPI:
    """The application over a site. Without ``tokens`` it answers only to whoever asks by a loopback name.

    Every router names the role that each of its routes needs (``READS`` or ``OPERATES`` of ``stocktake.web.site``).
    """
    app = FastAPI(
        title="Stocktake",
        version=__version__,
        description='Keeps DICOM inventories current. Errors are `{"detail": ...}`; lists come in pages.',
        openapi_url=None,  # a route of our own gives it, so that it is guarded and logged as all others are
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirection would repeat the address that was asked for
    )
    app.state.site = site
    handle_problems(app)
    for router in routers:
        app.include_router(router)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit)
    app.add_middleware(Gate, tokens=tokens)
    app.add_middleware(Envelope)
    return app
