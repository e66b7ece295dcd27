"""Health, readiness, metrics, and what the API looks like (OpenAPI)."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from monitor.exposition import CONTENT_TYPE
from monitor.metrics import Scrape, to_prometheus
from state.errors import StateUnreachable
from stocktake import __version__
from stocktake.web.problems import UNREACHABLE, problem, problems
from stocktake.web.site import READS, Site, TheSite

router = APIRouter(tags=["probes"], dependencies=[READS], responses=problems())


class Health(BaseModel):
    """The process answers, and this is its version."""

    status: Literal["ok"]
    version: str


class Ready(BaseModel):
    """The state answers."""

    status: Literal["ready"]


@router.get("/healthz")
async def health() -> Health:
    """Whether the process answers; the state is not asked."""
    return Health(status="ok", version=__version__)


@router.get("/readyz", response_model=Ready)
def ready(site: TheSite) -> Ready | Response:
    """Whether the state of every repository answers; 503 if not."""
    try:
        for one in site.repositories.values():
            one.connection.now()
    except StateUnreachable:
        return problem(503, UNREACHABLE)
    return Ready(status="ready")


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
)
def metrics(site: TheSite) -> Response:
    """Counters and gauges of every repository in the Prometheus text format; of one whose state is away, that it is."""
    return Response(to_prometheus(_scrape(site)), media_type=CONTENT_TYPE)


def _scrape(site: Site) -> Scrape:
    """All repositories share one state: once it has not answered, it is not waited for again."""
    names, statuses = list(site.repositories), []
    try:
        for name in names:
            statuses.append(site.stands(site.repositories[name]))
    except StateUnreachable:
        pass
    return Scrape(__version__, statuses, names[len(statuses) :])


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """All endpoints, what they take and every answer they give, in OpenAPI."""
    described: dict[str, Any] = request.app.openapi()
    return described
