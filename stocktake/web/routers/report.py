"""The sign-off report of the cutover, as one HTML file or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from monitor.report import json_parts, open_studies, report
from monitor.report_html import html_parts
from stocktake.web.problems import problems
from stocktake.web.routers.cutover import TheCutover
from stocktake.web.site import API, READS
from stocktake.wiring import SOFTWARE

router = APIRouter(prefix=f"{API}/cutover", tags=["cutover"], dependencies=[READS], responses=problems())

_IN_MEMORY: Final = 1 << 22  # bytes of a report; more of it lies on disk
_BLOCK: Final = 1 << 16
_TYPES: Final = {"html": "text/html; charset=utf-8", "json": "application/json"}


class ReportQuery(BaseModel):
    """In which form."""

    model_config = {"extra": "forbid"}

    format: Literal["html", "json"] = "html"


@router.get(
    "/report",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/html": {}, "application/json": {"schema": {"type": "object"}}}}},
)
def sign_off(found: TheCutover, query: Annotated[ReportQuery, Query()]) -> StreamingResponse:
    """What is signed off: gate, counts of both sides, every open study with its note, both heads, and the rules.

    Made when it is asked for. It holds Study Instance UIDs, and no attribute of a patient.
    """
    cutover, heads = found.look()
    made = report(SOFTWARE, found.opened.sides[0].policy.timezone, cutover, heads)
    studies = open_studies(found.opened.pair, cutover.figures)
    # Made as a whole before the first byte of it is sent: half a report must not look like one.
    file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 -- it is closed when it has been sent
    if query.format == "json":
        file.writelines(json_parts(made, studies))
    else:
        file.writelines(part.encode() for part in html_parts(made, studies))
    file.seek(0)
    name = f"cutover-{cutover.figures.policy.rules.source}-{cutover.figures.policy.rules.target}.{query.format}"
    disposition = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_blocks(file), media_type=_TYPES[query.format], headers=disposition)


def _blocks(file: SpooledTemporaryFile[Any]) -> Iterator[bytes]:
    with file:
        while block := file.read(_BLOCK):
            yield block
