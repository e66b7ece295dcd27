"""How errors are answered: always JSON, ``{"detail": ...}``, in one form for every endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from state.errors import StateError, StateUnreachable
from writers.files import FolderUnusable

UNREACHABLE: Final = "the state cannot be reached"
_STATE_UNUSABLE: Final = "the state cannot be used; the log says why"
_FOLDER_UNUSABLE: Final = "the inventory folder cannot be read; the log says why"
_SHOWN: Final = 5  # faults of one request

_MEANINGS: Final = {
    400: "the body is not what it says",
    401: "no token, or one that is not known",
    403: "the token's role does not allow it; without tokens: not asked by this machine's own name",
    404: "there is no such thing",
    405: "not with this method",
    409: "something else is under way",
    413: "the request is too large",
    416: "no such range",
    422: "a value does not fit",
    500: "a fault of the service; the log says where",
    503: "the state, the inventory folder or the file of tokens cannot be used now",
}
_ALWAYS: Final = (401, 403, 404, 405, 413, 422, 500, 503)


class Problem(BaseModel):
    """What is wrong, in a sentence for people."""

    detail: str


def problems(*more: int) -> dict[int | str, dict[str, Any]]:
    """The answers of an endpoint that are errors, for its ``responses``: those of every endpoint, and these."""
    return {code: {"model": Problem, "description": _MEANINGS[code]} for code in sorted({*_ALWAYS, *more})}


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """One error as it is answered."""
    return JSONResponse({"detail": detail}, status, dict(headers or {}))


def handle_problems(app: FastAPI) -> None:
    """Let the application answer its errors in this form."""

    @app.exception_handler(HTTPException)
    def raised(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    def unfit(request: Request, error: RequestValidationError) -> JSONResponse:
        # The values themselves are left out: what is wrong with one is said without showing it.
        told = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:_SHOWN])
        return problem(422, "; ".join(told))

    # These errors name servers and folders, which is not everybody's business.
    @app.exception_handler(StateUnreachable)
    def unreachable(request: Request, error: StateUnreachable) -> JSONResponse:
        return problem(503, UNREACHABLE)

    @app.exception_handler(StateError)
    def unusable(request: Request, error: StateError) -> JSONResponse:
        return problem(503, _STATE_UNUSABLE)

    @app.exception_handler(FolderUnusable)
    def no_folder(request: Request, error: FolderUnusable) -> JSONResponse:
        return problem(503, _FOLDER_UNUSABLE)
