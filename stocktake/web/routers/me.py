"""Who calls: what a page asks to know what it may offer."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from stocktake.web.problems import problems
from stocktake.web.site import API, READS, TheCaller
from stocktake.web.tokens import Role

router = APIRouter(prefix=f"{API}/me", tags=["me"], dependencies=[READS], responses=problems())


class Me(BaseModel):
    """The name of the token and what it may; ``tokens``: whether tokens are asked for at all."""

    name: str
    role: Role
    tokens: bool


@router.get("")
async def me(caller: TheCaller) -> Me:
    """Who calls, by the token."""
    return Me(name=caller.name, role=caller.role, tokens=bool(caller.name))
