"""Pages of a list: at most ``limit`` items, and a cursor that leads to the next ones."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

LIMIT: Final = 50
MOST: Final = 500

Item = TypeVar("Item")


class Paging(BaseModel):
    """Which page is asked for: in the query of a GET, or in the body of a search whose cursor holds identifiers."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=MOST, description="items at most")] = LIMIT
    cursor: Annotated[
        str | None, Field(max_length=200, pattern=r"^[A-Za-z0-9_=-]+$", description="`next` of the page before")
    ] = None

    def position(self) -> str | None:
        """What the cursor stands for: what :func:`cursor` was given. None: the beginning.

        Raises:
            HTTPException: 404, it is no cursor of ours.
        """
        if self.cursor is None:
            return None
        try:
            return urlsafe_b64decode(self.cursor).decode("ascii")
        except ValueError:
            raise no_cursor() from None


class Page(BaseModel, Generic[Item]):
    """Some items of a list. ``next`` is the cursor of the next page; null: there is no more."""

    items: list[Item]
    next: str | None


def cursor(position: str) -> str:
    """The cursor that leads behind this position. It is opaque to callers, and hides nothing."""
    return urlsafe_b64encode(position.encode("ascii")).decode("ascii")


def no_cursor() -> HTTPException:
    """The answer to a cursor that no page gave."""
    return HTTPException(404, "no page of this list begins at that cursor")


def numbered(items: list[Item], paging: Paging, total: int, begin: int) -> Page[Item]:
    """A page of a list whose items keep their numbers: ``items`` are those from ``begin`` on."""
    end = begin + len(items)
    return Page(items=items, next=cursor(str(end)) if end < total else None)


def number_in(paging: Paging) -> int:
    """The number that the cursor of such a list holds; 0 at the beginning.

    Raises:
        HTTPException: 404, it holds none.
    """
    position = paging.position()
    if position is None:
        return 0
    if not (position.isascii() and position.isdigit() and len(position) < 10):
        raise no_cursor()
    return int(position)
