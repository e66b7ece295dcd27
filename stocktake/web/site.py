"""What the endpoints share: the opened repositories, who calls, and the dependencies that find and check them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from fastapi import Depends, HTTPException, Request, Security
from fastapi import Path as InPath
from fastapi.security import HTTPBearer

from monitor.cutover import Cutover
from monitor.status import Status
from stocktake.cutover import Heads, OpenCutover, Watch
from stocktake.logs import log_about
from stocktake.web.shelf import Shelf
from stocktake.web.tokens import Caller, Role
from stocktake.web.verifications import Verifications
from stocktake.wiring import OpenRepository

API: Final = "/api/v1"
CALLER: Final = "stocktake.caller"  # where the gate leaves the Caller in the ASGI scope

_BEARER: Final = HTTPBearer(auto_error=False, description="a token of `http.tokens_file`; see `stocktake token`")


@dataclass(frozen=True, slots=True)
class CutoverSite:
    """The cutover that is served, who looks at it all the time, and how it is looked at for a report."""

    opened: OpenCutover
    watch: Watch
    look: Callable[[], tuple[Cutover, Heads]]


@dataclass(frozen=True, slots=True)
class Site:
    """What is served. ``stands`` tells how a repository stands now; ``cutover`` is None if none is configured."""

    repositories: Mapping[str, OpenRepository]
    stands: Callable[[OpenRepository], Status]
    inventory_dir: Path
    verifications: Verifications
    cutover: CutoverSite | None = None


# None of these dependencies waits for anything, so none takes a thread: what answers from memory, as the health of the
# process does, also answers while every thread waits for a server that does not.


async def site(request: Request) -> Site:
    """The site that the application was made for."""
    found: Site = request.app.state.site
    return found


async def caller(request: Request) -> Caller:
    """Who calls. The gate has let them in and left it here."""
    found: Caller = request.scope[CALLER]
    return found


class Requires:
    """Lets a request through if the caller's role allows ``role``; else the answer is 403."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(
        self, found: Annotated[Caller, Depends(caller)], documented: Annotated[object, Security(_BEARER)]
    ) -> None:
        del documented  # it only tells OpenAPI of the token: the gate has looked at it
        if not found.role.may(self.role):
            raise HTTPException(403, f"this takes a token of role {self.role}, given as a bearer token")


READS: Final = Depends(Requires(Role.READ))
OPERATES: Final = Depends(Requires(Role.OPERATE))


async def opened(
    name: Annotated[str, InPath(description="a repository")], found: Annotated[Site, Depends(site)]
) -> OpenRepository:
    """The repository that the path names."""
    if name not in found.repositories:
        raise HTTPException(404, "no such repository")
    log_about(repository=name)
    return found.repositories[name]


async def shelf(one: Annotated[OpenRepository, Depends(opened)], found: Annotated[Site, Depends(site)]) -> Shelf:
    """The repository's files."""
    return Shelf(found.inventory_dir / one.policy.name)


TheSite = Annotated[Site, Depends(site)]
TheCaller = Annotated[Caller, Depends(caller)]
TheRepository = Annotated[OpenRepository, Depends(opened)]
TheShelf = Annotated[Shelf, Depends(shelf)]
