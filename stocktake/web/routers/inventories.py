"""The inventories of a chain: listed newest first, their manifests, their files, and whether they are sound."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel

from state.chain import Chain
from stocktake.web.bodies import ManifestBody, manifest_body
from stocktake.web.paging import Page, Paging, cursor, no_cursor, number_in, numbered
from stocktake.web.problems import problems
from stocktake.web.sending import answer_file
from stocktake.web.shelf import UID, Place, Shelf
from stocktake.web.site import API, OPERATES, READS, TheRepository, TheShelf, TheSite
from stocktake.web.verifications import Busy, Verification
from stocktake.wiring import OpenRepository
from writers.checks.finding import Finding, Severity
from writers.files import FolderUnusable
from writers.manifest import Manifest
from writers.verify import verify

router = APIRouter(
    prefix=f"{API}/repositories/{{name}}", tags=["inventories"], dependencies=[READS], responses=problems()
)

_READ_AT_ONCE: Final = 2_000  # manifests for one page at most, however few of them the filters let through


class InventoryQuery(Paging):
    """Which inventories are asked for."""

    kind: Literal["baseline", "delta", "rollup"] | None = None
    status: Literal["COMPLETE", "PARTIAL"] | None = None


class InventorySummary(BaseModel):
    """An inventory in the list, with the fields of its manifest. ``reached``: the head stands on it, so its records
    still count."""

    sop_instance_uid: str
    sequence: int
    kind: str
    tier: int | None
    status: str
    cut: int
    slice_from: int
    watermark: str
    scope_begin: str | None
    scope_end: str
    own_records: int
    total_records: int
    counts: dict[str, int]
    file: str
    bytes: int
    sha256: str
    parts: list[str]
    reached: bool


def published(
    shelf: TheShelf, uid: Annotated[str, InPath(pattern=UID, description="SOP Instance UID of an inventory or part")]
) -> Manifest:
    """The manifest of the inventory, or part of one, that the path names."""
    found = shelf.manifest(uid)
    if found is None:
        raise HTTPException(404, "no such inventory")
    return found


ThePublished = Annotated[Manifest, Depends(published)]


@router.get("/inventories")
def inventories(
    one: TheRepository, shelf: TheShelf, query: Annotated[InventoryQuery, Query()]
) -> Page[InventorySummary]:
    """The inventories that are in the folder, newest first.

    A page may be shorter than `limit` and still have a `next`: then much was looked at that the filters leave out.
    """
    after = _place(query)
    head = Chain(one.connection, one.policy.name).head()
    if not shelf.exists() and head is not None:
        raise FolderUnusable("the folder is not there")
    reached = set() if head is None else {member["sop_instance_uid"] for member in head["members"]}
    items: list[InventorySummary] = []
    last: Place | None = None
    for number, (place, manifest) in enumerate(shelf.newest_first(after, _READ_AT_ONCE + 1)):
        if len(items) == query.limit or number == _READ_AT_ONCE:
            # There is at least this one more; what came before it is where the next page begins.
            assert last is not None  # noqa: S101 -- limit is at least 1
            return Page(items=items, next=cursor(f"{last.day}:{last.sequence}"))
        last = place
        if query.kind in (None, manifest.kind) and query.status in (None, manifest.status):
            items.append(_summary(manifest, reached))
    return Page(items=items, next=None)


@router.get("/inventories/{uid}")
def manifest(found: ThePublished) -> ManifestBody:
    """The manifest of an inventory, or of a part of one."""
    return manifest_body(found.to_json())


@router.get(
    "/inventories/{uid}/file",
    response_class=Response,
    responses={
        **problems(416),
        200: {"content": {"application/dicom": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "the range", "content": {"application/dicom": {}}},
        304: {"description": "the asker has it"},
    },
)
def file(found: ThePublished, shelf: TheShelf, request: Request) -> Response:
    """The DICOM file of an inventory, or of a part of one. It holds patient data.

    `ETag` is its SHA-256; `If-None-Match`, and `Range` with one range, are understood.
    """
    opened = shelf.open(found)
    if opened is None:
        raise HTTPException(404, "its file is not there")
    if opened.seek(0, 2) != found.bytes:
        opened.close()
        raise HTTPException(503, "the file is not what its manifest says; restore it from another copy")
    name = {"content-disposition": f'attachment; filename="{found.sop_instance_uid}.dcm"'}
    return answer_file(opened, found.bytes, found.sha256, "application/dicom", name, request.headers)


class FindingBody(BaseModel):
    """One fault in one place of one file; no patient attribute is in it. ``docs/verify.md`` lists the rules."""

    rule: str
    section: str
    severity: Literal["error", "warning"]
    file: str
    location: str
    text: str


TheVerificationId = Annotated[str, InPath(pattern=r"^[0-9a-f]{32}$", description="`id` of a verification")]


@router.post("/inventories/{uid}/verifications", status_code=202, dependencies=[OPERATES], responses=problems(409))
def start_verification(found: ThePublished, one: TheRepository, shelf: TheShelf, site: TheSite) -> Verification:
    """Begin to verify an inventory and all that it incorporates, as `stocktake verify` does.

    What it finds counts for the gate of a cutover. It runs in the background of the process that was asked, one at a
    time; 409 while another one runs.
    """
    path = shelf.path(found)
    if path is None:
        raise HTTPException(404, "its file is not there")
    try:
        return site.verifications.start(one.policy.name, found.sop_instance_uid, _check(path, found, shelf, one))
    except Busy:
        raise HTTPException(409, "another verification is running; ask again when it is done") from None


@router.get("/verifications/{id}")
def verification(id: TheVerificationId, one: TheRepository, site: TheSite) -> Verification:
    """How far a verification is. The last 20 are kept, as long as the process runs."""
    found = site.verifications.find(one.policy.name, id)
    if found is None:
        raise HTTPException(404, "no such verification")
    return found


@router.get("/verifications/{id}/findings")
def findings(
    id: TheVerificationId, one: TheRepository, site: TheSite, paging: Annotated[Paging, Query()]
) -> Page[FindingBody]:
    """What a verification has found: the first 10,000 findings, in the order in which they were found."""
    verification(id, one, site)
    begin = number_in(paging)
    some, total = site.verifications.findings(id, begin, paging.limit)
    return numbered([FindingBody.model_validate(found, from_attributes=True) for found in some], paging, total, begin)


def _place(query: InventoryQuery) -> Place | None:
    position = query.position()
    if position is None:
        return None
    match = re.fullmatch(r"(\d{4}/\d\d/\d\d):(\d{1,18})", position, re.ASCII)
    if match is None:
        raise no_cursor()
    return Place(match[1], int(match[2]))


def _summary(manifest: Manifest, reached: set[str]) -> InventorySummary:
    told = manifest.to_json()
    itself = manifest.members[-1]
    return InventorySummary(
        **{name: told[name] for name in InventorySummary.model_fields if name in told},
        parts=[part.rpartition("/")[2].removesuffix(".dcm") for part in itself.parts],
        reached=manifest.sop_instance_uid in reached,
    )


def _check(
    path: Path, manifest: Manifest, shelf: Shelf, one: OpenRepository
) -> Callable[[Callable[[], None]], Iterator[Finding]]:
    def check(step: Callable[[], None]) -> Iterator[Finding]:
        # Where the folder stands on this machine is not everybody's business.
        here = f"{shelf.folder}/"
        errors = 0
        for found in verify(path, (shelf.folder,), ZoneInfo(one.policy.timezone), step):
            errors += found.severity is Severity.ERROR
            text = found.text.replace(here, "").replace(str(shelf.folder), "the folder")
            yield replace(found, file=found.file.removeprefix(here), text=text)
        one.repository.set_verified(manifest.sop_instance_uid, errors, one.connection.now())

    return check
