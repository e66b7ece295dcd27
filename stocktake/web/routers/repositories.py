"""Repositories: which are followed, how each stands, and its head."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel

from monitor.status import Status
from state.chain import Chain
from stocktake.web.bodies import ManifestBody, manifest_body
from stocktake.web.paging import Page, Paging, number_in, numbered
from stocktake.web.problems import problems
from stocktake.web.site import API, READS, TheRepository, TheSite

router = APIRouter(prefix=f"{API}/repositories", tags=["repositories"], dependencies=[READS], responses=problems())


class RepositoryName(BaseModel):
    """A repository that is followed."""

    name: str


@router.get("")
def repositories(site: TheSite, paging: Annotated[Paging, Query()]) -> Page[RepositoryName]:
    """The repositories that are followed, by name."""
    names = sorted(site.repositories)
    begin = number_in(paging)
    page = [RepositoryName(name=name) for name in names[begin : begin + paging.limit]]
    return numbered(page, paging, len(names), begin)


@router.get("/{name}")
def repository(one: TheRepository, site: TheSite) -> Status:
    """How it stands: lag, watermark and what holds it back, backlog, head, sinks and counters."""
    return site.stands(one)


@router.get("/{name}/head")
def head(one: TheRepository) -> ManifestBody:
    """The head's manifest. 404 before the first inventory."""
    manifest = Chain(one.connection, one.policy.name).head()
    if manifest is None:
        raise HTTPException(404, "no inventory has been published yet")
    return manifest_body(manifest)
