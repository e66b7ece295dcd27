"""A stand-in for the service: it answers with a world that is made up, in the form of the real one.

Queries, bodies and answers are checked by the models of the real endpoints; the page, its headers and `/me` are real.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from pydantic import TypeAdapter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.status import Status
from stocktake.web.cutover_bodies import CutoverBody
from stocktake.web.envelope import Envelope
from stocktake.web.paging import Page, Paging, number_in, numbered
from stocktake.web.problems import handle_problems, problem
from stocktake.web.routers import me, page
from stocktake.web.routers.cutover import (
    ExceptionBody,
    ExceptionSearch,
    HistoryBody,
    HistoryQuery,
    Note,
    Withdrawal,
)
from stocktake.web.routers.deltas import DeltaRequest
from stocktake.web.routers.inventories import FindingBody, InventoryQuery, InventorySummary
from stocktake.web.routers.repositories import RepositoryName
from stocktake.web.site import API, CALLER, OPERATES, READS, TheCaller
from stocktake.web.tokens import Caller, Role
from stocktake.web.verifications import Verification
from tests.web.fake_world import OpenStudy, World, iso

STATIC: Final = Path(str(importlib.resources.files("stocktake.web"))) / "static"
_REASONS: Final = {
    "missing": ["not at the target"],
    "incomplete": ["412 instances at the source, 380 at the target"],
    "different": ["differs in PatientID, AccessionNumber"],
    "extra": ["not at the source"],
    "removed_at_source_only": ["removed at the source, still at the target"],
}
_JOB: Final = "0" * 32

cutover = APIRouter(prefix=f"{API}/cutover", dependencies=[READS])
repositories = APIRouter(prefix=f"{API}/repositories", dependencies=[READS])


def create_app(world: World) -> FastAPI:
    """The application that tells of a world."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.world = world
    handle_problems(app)
    for router in (me.router, cutover, repositories, page.router):
        app.include_router(router)
    app.add_middleware(Door, world=world)
    app.add_middleware(Envelope)
    return app


class Door:
    """Lets in whoever has a token of the world, and everybody if it has none; the page itself has no door here."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app, self._world = app, world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[CALLER] = Caller("", Role.OPERATE)
        if scope["path"].startswith(API):
            if self._world.down:
                return await problem(503, self._world.down)(scope, receive, send)
            if self._world.tokens:
                token = Headers(scope=scope).get("authorization", "").removeprefix("Bearer ")
                if token not in self._world.tokens:
                    return await problem(401, "this token is not known")(scope, receive, send)
                name, role = self._world.tokens[token]
                scope[CALLER] = Caller(name, Role(role))
        return await self._app(scope, receive, send)


async def told(request: Request) -> World:
    """The world that the application tells of."""
    found: World = request.app.state.world
    return found


TheWorld = Annotated[World, Depends(told)]


async def compared(world: TheWorld) -> World:
    """The same, if a cutover is configured in it."""
    if not world.configured:
        raise HTTPException(404, "no cutover is configured")
    return world


TheCutover = Annotated[World, Depends(compared)]


@cutover.get("")
def figures(world: TheCutover) -> CutoverBody:
    return CutoverBody.model_validate(world.figures())


@cutover.get("/history")
def history(world: TheCutover, query: Annotated[HistoryQuery, Query()]) -> HistoryBody:
    assert query.begin is not None
    assert query.end is not None
    rows = world.rows(query.step, query.begin, query.end)
    return HistoryBody.model_validate({"step": query.step, "rows": rows})


@cutover.get("/report")
def report(world: TheCutover, format: str = "html") -> Response:
    if not world.reports:
        raise HTTPException(404, "Not Found")
    found = CutoverBody.model_validate(world.figures())
    if format == "json":
        return Response(found.model_dump_json(), media_type="application/json")
    return Response(f"<!doctype html><title>Report</title><p>{found.open} studies are open</p>", media_type="text/html")


@cutover.post("/exceptions/search")
def exceptions(world: TheCutover, query: ExceptionSearch) -> Page[ExceptionBody]:
    now = world.now()
    wanted = query.study_instance_uid
    if wanted is not None:
        return Page(items=_items((one for one in world.studies if one.study_instance_uid == wanted), now), next=None)

    def fits(one: OpenStudy) -> bool:
        return (
            (not query.places or one.place in query.places)
            and query.acknowledged in (None, one.acknowledged is not None)
            and (now - one.since).total_seconds() >= (query.older_than or 0)
            and query.modality in (None, one.modality)
            and query.year in (None, one.year)
        )

    found = sorted((one for one in world.studies if fits(one)), key=lambda one: one.since)
    begin = number_in(query)
    return numbered(_items(found[begin : begin + query.limit], now), query, len(found), begin)


@cutover.post("/acknowledgements", status_code=204, dependencies=[OPERATES])
def acknowledge(world: TheCutover, note: Note, caller: TheCaller) -> Response:
    seen = {"name": caller.name or "local", "time": iso(world.now()), "note": note.note}
    return _mark(world, note.study_instance_uid, seen)


@cutover.post("/acknowledgements/withdraw", status_code=204, dependencies=[OPERATES])
def withdraw(world: TheCutover, withdrawal: Withdrawal) -> Response:
    return _mark(world, withdrawal.study_instance_uid, None)


def _mark(world: World, study: str, seen: dict[str, str] | None) -> Response:
    found = world.find(study)
    if found is None:
        raise HTTPException(409, "the study is not open")
    found.acknowledged = seen
    return Response(status_code=204)


def _items(found: Iterable[OpenStudy], now: datetime) -> list[ExceptionBody]:
    return [
        ExceptionBody.model_validate(
            {
                "study_instance_uid": one.study_instance_uid,
                "place": one.place,
                "since": iso(one.since),
                "seconds": (now - one.since).total_seconds(),
                "reasons": _REASONS[one.place],
                "modality": one.modality,
                "year": one.year,
                "source": None if one.place == "extra" else _side(one.place != "removed_at_source_only", 412),
                "target": None if one.place == "missing" else _side(True, 380 if one.place == "incomplete" else 412),
                "acknowledged": one.acknowledged,
            }
        )
        for one in found
    ]


def _side(live: bool, instances: int) -> dict[str, Any]:
    return {"live": live, "series": 4, "instances": instances}


@repositories.get("")
def names(world: TheWorld, paging: Annotated[Paging, Query()]) -> Page[RepositoryName]:
    begin = number_in(paging)
    found = [RepositoryName(name=name) for name in world.repositories[begin : begin + paging.limit]]
    return numbered(found, paging, len(world.repositories), begin)


async def known(name: str, world: TheWorld) -> str:
    """A repository of the world."""
    if name not in world.repositories:
        raise HTTPException(404, "no such repository")
    return name


TheName = Annotated[str, Depends(known)]


@repositories.get("/{name}")
def repository(world: TheWorld, name: TheName) -> Status:
    return TypeAdapter(Status).validate_python(world.status(name))


@repositories.get("/{name}/inventories")
def inventories(world: TheWorld, name: TheName, query: Annotated[InventoryQuery, Query()]) -> Page[InventorySummary]:
    found = [
        InventorySummary.model_validate(one)
        for one in world.inventories
        if query.kind in (None, one["kind"]) and query.status in (None, one["status"])
    ]
    begin = number_in(query)
    return numbered(found[begin : begin + query.limit], query, len(found), begin)


async def published(uid: str, world: TheWorld) -> dict[str, Any]:
    """An inventory of the world."""
    for one in world.inventories:
        if one["sop_instance_uid"] == uid:
            return one
    raise HTTPException(404, "no such inventory")


ThePublished = Annotated[dict[str, Any], Depends(published)]


@repositories.get("/{name}/inventories/{uid}")
def manifest(name: TheName, found: ThePublished) -> dict[str, Any]:
    return {"repository": name, **found}


@repositories.get("/{name}/inventories/{uid}/file")
def file(found: ThePublished) -> Response:
    content = b"\0" * 128 + b"DICM" + found["sop_instance_uid"].encode()
    return Response(content, media_type="application/dicom")


@repositories.post("/{name}/inventories/{uid}/verifications", status_code=202, dependencies=[OPERATES])
def start_verification(name: TheName, found: ThePublished, world: TheWorld) -> Verification:
    world.verified = found["sop_instance_uid"]
    return Verification(_JOB, name, world.verified, records=1_200)


@repositories.get("/{name}/verifications/{id}")
def verification(name: TheName, id: str, world: TheWorld) -> Verification:
    errors = sum(one["severity"] == "error" for one in world.findings)
    warnings = len(world.findings) - errors
    state = world.verifying
    return Verification(id, name, world.verified, state, records=4_711, errors=errors, warnings=warnings)


@repositories.get("/{name}/verifications/{id}/findings")
def findings(world: TheWorld, name: TheName, id: str, paging: Annotated[Paging, Query()]) -> Page[FindingBody]:
    begin = number_in(paging)
    found = [FindingBody.model_validate(one) for one in world.findings[begin : begin + paging.limit]]
    return numbered(found, paging, len(world.findings), begin)


@repositories.post("/{name}/deltas", status_code=202, dependencies=[OPERATES])
def ask(name: TheName, world: TheWorld) -> DeltaRequest:
    world.requested.append(world.sequence())
    return asked(name, len(world.requested), world)


@repositories.get("/{name}/deltas/{number}")
def asked(name: TheName, number: int, world: TheWorld) -> DeltaRequest:
    if number > len(world.requested):
        raise HTTPException(404, "no such request")
    done = world.sequence() > world.requested[number - 1]
    head = world.inventories[0]
    return DeltaRequest(
        number=number,
        state="done" if done else "waiting",
        sequence=head["sequence"] if done else None,
        sop_instance_uid=head["sop_instance_uid"] if done else None,
        writer=world.writer,
    )
