"""The cutover: figures and gate, how they were, the studies that are open, and who has seen them."""

from __future__ import annotations

import re
from itertools import islice
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Response
from pydantic import BaseModel, Field, field_validator

from monitor.figures import name_of
from monitor.reasons import reasons
from state.comparison import OPEN, Place, Summary
from state.history import HOUR, MINUTE, Row
from state.pair import Acknowledgement, Compared
from state.times import MICROSECONDS, to_iso
from stocktake.cutover import OpenCutover
from stocktake.web.cutover_bodies import CutoverBody
from stocktake.web.paging import Page, Paging, cursor, no_cursor
from stocktake.web.problems import problems
from stocktake.web.shelf import UID
from stocktake.web.site import API, OPERATES, READS, CutoverSite, TheCaller, TheSite

router = APIRouter(prefix=f"{API}/cutover", tags=["cutover"], dependencies=[READS], responses=problems())

_READ_AT_ONCE: Final = 5_000  # studies looked at for one page at most, however few of them the filters let through
_PART: Final = 500
_USUAL: Final = {MINUTE: HOUR, HOUR: 7 * 24 * HOUR}  # seconds of history in one answer, unless told otherwise ...
_LONGEST: Final = {MINUTE: 2 * 24 * HOUR, HOUR: 92 * 24 * HOUR}  # ... and at most
_PLACES: Final[dict[str, Place]] = {name_of(place): place for place in Place if place is not Place.OPEN_COMPARED_ANEW}

PlaceName = Literal[
    "missing", "incomplete", "different", "extra", "removed_at_source_only", "compared_anew", "out_of_scope"
]


async def watched(site: TheSite) -> CutoverSite:
    """The cutover that is served."""
    if site.cutover is None:
        raise HTTPException(404, "no cutover is configured")
    return site.cutover


TheCutover = Annotated[CutoverSite, Depends(watched)]


@router.get("")
async def cutover(found: TheCutover) -> CutoverBody:
    """Where all studies stand, how fast it goes, and whether the gate is met; a few seconds old at most."""
    latest = found.watch.latest()
    if latest is None:
        raise HTTPException(503, "there are no figures of now; the log says why")
    return CutoverBody.model_validate(latest.to_json() | {"grace_seconds": found.opened.policy.grace})


class RowBody(BaseModel):
    """The figures at one moment. ``arrived`` and ``settled`` count since the comparison began; lags are seconds."""

    time: str
    arrived: int
    settled: int
    open: int
    in_sync: int
    missing: int
    incomplete: int
    different: int
    extra: int
    removed_at_source_only: int
    lag_p50: float | None
    lag_p95: float | None
    lag_p99: float | None
    oldest: float | None


class HistoryBody(BaseModel):
    """Rows of every minute or hour, the oldest first; there is none of a time in which nobody looked."""

    step: Literal["minute", "hour"]
    rows: list[RowBody]


class HistoryQuery(BaseModel):
    """Of when: at most two days by minutes, or three months by hours, in one answer; the latest of what is asked."""

    model_config = {"extra": "forbid"}

    step: Literal["minute", "hour"] = "minute"
    begin: Annotated[int | None, Field(ge=0, le=10**10, description="seconds since 1970, UTC")] = None
    end: Annotated[int | None, Field(ge=0, le=10**10, description="the same; by default now")] = None


@router.get("/history")
def history(found: TheCutover, query: Annotated[HistoryQuery, Query()]) -> HistoryBody:
    """How the figures were: by minutes for a month, by hours for two years. By default of the last hour, or week."""
    step = MINUTE if query.step == "minute" else HOUR
    end = found.opened.sides[0].connection.now() // MICROSECONDS if query.end is None else query.end
    begin = end - _USUAL[step] if query.begin is None else query.begin
    rows = found.opened.history.rows(step, max(begin, end - _LONGEST[step]), end)
    return HistoryBody(step=query.step, rows=[_row(row) for row in rows])


class SideBody(BaseModel):
    """What one repository has of a study."""

    live: bool
    series: int
    instances: int


class AcknowledgementBody(BaseModel):
    """Somebody has seen it."""

    name: str
    time: str
    note: str


class ExceptionBody(BaseModel):
    """A study that is not settled, or is out of scope. ``since``: from when on; ``seconds`` for how long."""

    study_instance_uid: str
    place: str
    since: str | None
    seconds: float | None
    reasons: list[str]
    modality: str
    year: str
    source: SideBody | None
    target: SideBody | None
    acknowledged: AcknowledgementBody | None


class ExceptionSearch(Paging):
    """Which studies are asked for. Without ``places``: those that are not settled."""

    places: Annotated[list[PlaceName], Field(default_factory=list, max_length=10)]
    acknowledged: bool | None = None
    older_than: Annotated[float | None, Field(ge=0, le=10**10, description="seconds that they are open")] = None
    modality: Annotated[str | None, Field(max_length=16)] = None
    year: Annotated[str | None, Field(max_length=4)] = None
    study_instance_uid: Annotated[str | None, Field(pattern=UID, description="this study alone")] = None

    @field_validator("limit", "older_than", mode="before")
    @classmethod
    def no_flag(cls, value: object) -> object:
        """In a body true is no number, though it is one in Python."""
        if isinstance(value, bool):
            raise ValueError("a number, not true or false")  # noqa: TRY004 -- what pydantic expects
        return value


@router.post("/exceptions/search", responses=problems(400))
def exceptions(found: TheCutover, query: ExceptionSearch) -> Page[ExceptionBody]:
    """The studies that are not settled, those first that are so for the longest.

    A search, since what it takes and gives are identifiers, which must not be in an address. A page may be shorter than
    `limit` and still have a `next`: then much was looked at that the filters leave out.
    """
    opened = found.opened
    now = opened.sides[0].connection.now()
    if query.study_instance_uid is not None:
        one = opened.pair.study(query.study_instance_uid)
        return Page(items=[] if one is None else [_exception(opened, one, now)], next=None)
    places: list[Place] = [_PLACES[name] for name in query.places] or [*OPEN]
    if Place.COMPARED_ANEW in places:
        places.append(Place.OPEN_COMPARED_ANEW)
    items: list[ExceptionBody] = []
    after, seen = _after(query), 0
    while seen < _READ_AT_ONCE:
        some = opened.pair.page(places, after, _PART)
        for study in some:
            seen += 1
            after = (study.since or 0, study.study_instance_uid)
            if _wanted(query, study, now):
                items.append(_exception(opened, study, now))
                if len(items) == query.limit:
                    return Page(items=items, next=cursor(f"{after[0]}:{after[1]}"))
        if len(some) < _PART:
            return Page(items=items, next=None)
    return Page(items=items, next=None if after is None else cursor(f"{after[0]}:{after[1]}"))


class Note(BaseModel):
    """Why a study may stay as it is."""

    model_config = {"extra": "forbid", "strict": True}

    study_instance_uid: Annotated[str, Field(pattern=UID)]
    note: Annotated[str, Field(min_length=1, max_length=500, description="no patient attribute: reports show it")]


class Withdrawal(BaseModel):
    """An acknowledgement that is taken back."""

    model_config = {"extra": "forbid", "strict": True}

    study_instance_uid: Annotated[str, Field(pattern=UID)]


@router.post("/acknowledgements", status_code=204, dependencies=[OPERATES], responses=problems(400, 409))
def acknowledge(found: TheCutover, note: Note, caller: TheCaller) -> Response:
    """Note that somebody has seen a study, under the name of the token. It holds until either side says something else.

    409: it is not open.
    """
    now = found.opened.sides[0].connection.now()
    _mark(found, note.study_instance_uid, Acknowledgement(caller.name or "local", now, note.note))
    return Response(status_code=204)


@router.post("/acknowledgements/withdraw", status_code=204, dependencies=[OPERATES], responses=problems(400, 409))
def withdraw(found: TheCutover, withdrawal: Withdrawal) -> Response:
    """Take an acknowledgement back. 409: the study is not open."""
    _mark(found, withdrawal.study_instance_uid, None)
    return Response(status_code=204)


def _mark(found: CutoverSite, study_instance_uid: str, seen: Acknowledgement | None) -> None:
    if not found.opened.pair.acknowledge(study_instance_uid, seen):
        raise HTTPException(409, "the study is not open")


def _after(query: Paging) -> tuple[int, str] | None:
    position = query.position()
    if position is None:
        return None
    match = re.fullmatch(r"(\d{1,18}):([0-9.]{1,64})", position, re.ASCII)
    if match is None:
        raise no_cursor()
    return int(match[1]), match[2]


def _wanted(query: ExceptionSearch, study: Compared, now: int) -> bool:
    modality, year = _group(study)
    if query.acknowledged is not None and query.acknowledged != (study.acknowledged is not None):
        return False
    if query.older_than is not None and now - (study.since or now) < query.older_than * MICROSECONDS:
        return False
    return query.modality in (None, modality) and query.year in (None, year)


def _group(study: Compared) -> tuple[str, str]:
    one = study.source or study.target
    modality, _, year = ("" if one is None else one.group).rpartition(",")
    return modality, year


def _exception(opened: OpenCutover, study: Compared, now: int) -> ExceptionBody:
    modality, year = _group(study)
    seen = study.acknowledged
    return ExceptionBody(
        study_instance_uid=study.study_instance_uid,
        place=name_of(Place.COMPARED_ANEW if study.place is Place.OPEN_COMPARED_ANEW else study.place),
        since=None if study.since is None else to_iso(study.since),
        seconds=None if study.since is None else max(0, now - study.since) / MICROSECONDS,
        reasons=list(islice(reasons(study, opened.policy.rules.attributes), 10)),
        modality=modality,
        year=year,
        source=_side(study.source),
        target=_side(study.target),
        acknowledged=None
        if seen is None
        else AcknowledgementBody(name=seen.name, time=to_iso(seen.time), note=seen.note),
    )


def _side(summary: Summary | None) -> SideBody | None:
    if summary is None:
        return None
    return SideBody(live=summary.live, series=summary.series, instances=summary.instances)


def _row(row: Row) -> RowBody:
    values: dict[str, Any] = {name: getattr(row, name) for name in RowBody.model_fields if name != "time"}
    return RowBody(time=to_iso(row.time * MICROSECONDS), **values)
