"""The page: a few files that a browser shows, which ask the API for figures again and again."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Response

from stocktake.web.site import READS

router = APIRouter(dependencies=[READS], include_in_schema=False)

_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def _file(name: str) -> Response:
    content = files("stocktake.web").joinpath("page", name).read_bytes()
    return Response(content, media_type=_TYPES[name.rpartition(".")[2]])


@router.get("/")
def index() -> Response:
    """The page itself."""
    return _file("index.html")


@router.get("/page.css")
def style() -> Response:
    """How it looks."""
    return _file("page.css")


@router.get("/page.js")
def script() -> Response:
    """What it does."""
    return _file("page.js")


@router.get("/favicon.svg")
def icon() -> Response:
    """Its sign in the browser's tab."""
    return _file("favicon.svg")
