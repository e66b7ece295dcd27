"""The page: the files that a browser shows it with. Each has a route of its own, so nothing else can be asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from fastapi import APIRouter, Request, Response

from stocktake.web.site import READS

router = APIRouter(dependencies=[READS], include_in_schema=False)

_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def _files(folder: Traversable, at: str = "/") -> Iterator[tuple[str, Traversable]]:
    """The files that a browser can show, with their paths. What else is there, such as licences, is not served."""
    for one in sorted(folder.iterdir(), key=lambda one: one.name):
        if one.is_dir():
            yield from _files(one, f"{at}{one.name}/")
        elif one.name.rpartition(".")[2] in _TYPES:
            yield at + one.name, one


def _answering(file: Traversable) -> Callable[[Request], Response]:
    media_type = _TYPES[file.name.rpartition(".")[2]]

    def answer(request: Request) -> Response:
        content = file.read_bytes()
        # No patient is in it: a browser may keep it, and has to ask whether it is still what is served.
        headers = {"etag": f'"{sha256(content).hexdigest()}"', "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return answer


for path, file in _files(files("stocktake.web") / "static"):
    router.add_api_route("/" if path == "/index.html" else path, _answering(file), methods=["GET"])
