"""A delta now: asked of the writer that leads, since it alone may produce."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Response
from fastapi import Path as InPath
from pydantic import BaseModel

from state.chain import Chain
from state.requests import InventoryRequests
from stocktake.web.problems import problems
from stocktake.web.site import API, OPERATES, READS, TheCaller, TheRepository
from stocktake.wiring import OpenRepository

router = APIRouter(
    prefix=f"{API}/repositories/{{name}}/deltas", tags=["deltas"], dependencies=[READS], responses=problems()
)

log = logging.getLogger(__name__)


class DeltaRequest(BaseModel):
    """A request. Once it is ``done``, ``sequence`` and ``sop_instance_uid`` name an inventory that was begun after it.

    ``writer``: whether a writer leads now; while none does, the request waits for one.
    """

    number: int
    state: Literal["waiting", "done"]
    sequence: int | None
    sop_instance_uid: str | None
    writer: bool


@router.post("", status_code=202, dependencies=[OPERATES])
def ask(one: TheRepository, caller: TheCaller, response: Response) -> DeltaRequest:
    """Ask for the chain's next inventory now, whatever `inventory.interval` says; `Location` tells how it goes.

    The writer that leads takes the request up within two seconds, and cuts when there is a watermark. Requests that
    wait together are answered by one inventory.
    """
    requests = InventoryRequests(one.connection, one.policy.name)
    number = requests.ask()
    log.info("delta %d of repository %s was asked for by %s", number, one.policy.name, caller.name or "somebody here")
    response.headers["location"] = f"{API}/repositories/{one.policy.name}/deltas/{number}"
    return _told(one, number)


@router.get("/{number}")
def asked(one: TheRepository, number: Annotated[int, InPath(ge=1, le=2**53)]) -> DeltaRequest:
    """What became of a request. 404 too if Redis has lost its latest writes: then ask again."""
    return _told(one, number)


def _told(one: OpenRepository, number: int) -> DeltaRequest:
    asked, answer = InventoryRequests(one.connection, one.policy.name).look()
    if number > asked:
        raise HTTPException(404, "no such request")
    writer = Chain(one.connection, one.policy.name).is_led()
    if answer is None or answer.number < number:
        return DeltaRequest(number=number, state="waiting", sequence=None, sop_instance_uid=None, writer=writer)
    return DeltaRequest(
        number=number,
        state="done",
        sequence=answer.sequence,
        sop_instance_uid=answer.sop_instance_uid,
        writer=writer,
    )
