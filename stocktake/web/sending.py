"""An open file as an answer: whole, one range of it, or not at all if the asker has it already (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import BinaryIO, Final

from anyio import CancelScope, create_task_group
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stocktake.web.problems import problem

_BLOCK: Final = 1 << 18


class FileAnswer(Response):
    """Sends ``size`` bytes of ``file`` from ``begin`` on, in blocks, and closes it whatever happens."""

    def __init__(
        self, file: BinaryIO, begin: int, size: int, status: int, media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(None, status, {"content-length": str(size), **headers}, media_type)
        self._file = file
        self._begin = begin
        self._size = size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file as file:
            async with create_task_group() as tasks:
                # Who sends is not told that nobody listens any more, and would read gigabytes for nobody.
                tasks.start_soon(_wait_for_end, receive, tasks.cancel_scope)
                await self._send(file, send)
                tasks.cancel_scope.cancel()

    async def _send(self, file: BinaryIO, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        file.seek(self._begin)
        left = self._size
        while left and (block := await run_in_threadpool(file.read, min(_BLOCK, left))):
            left -= len(block)
            await send({"type": "http.response.body", "body": block, "more_body": left > 0})
        if not self._size:
            await send({"type": "http.response.body", "body": b""})


async def _wait_for_end(receive: Receive, sending: CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    sending.cancel()


def answer_file(
    file: BinaryIO, size: int, etag: str, media_type: str, headers: Mapping[str, str], asked: Headers
) -> Response:
    """What to answer to a request with these headers; ``file`` is closed when that has been sent, or now.

    ``etag`` is the digest of the whole file. Of several ranges, or one that is none, nothing is made: the whole is
    sent, as the standard allows.
    """
    quoted = f'"{etag}"'
    headers = {**headers, "etag": quoted, "accept-ranges": "bytes"}
    if _matches(asked.get("if-none-match"), quoted):
        file.close()
        return Response(status_code=304, headers=headers)
    wanted = None
    if asked.get("if-range", quoted) == quoted:
        wanted = _range(asked.get("range", ""), size)
    if wanted is None:
        return FileAnswer(file, 0, size, 200, media_type, headers)
    begin, end = wanted
    if begin >= end:
        file.close()
        return problem(416, "there is no such range", {"content-range": f"bytes */{size}"})
    headers["content-range"] = f"bytes {begin}-{end - 1}/{size}"
    return FileAnswer(file, begin, end - begin, 206, media_type, headers)


def _matches(given: str | None, quoted: str) -> bool:
    if given is None:
        return False
    tags = [one.strip().removeprefix("W/") for one in given.split(",")]
    return "*" in tags or quoted in tags


def _range(given: str, size: int) -> tuple[int, int] | None:
    """The first byte and the one behind the last; the same twice if there is no such range. None: no range given."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", given.strip(), re.ASCII)
    if match is None or match[0].endswith("=-"):
        return None
    first, last = match[1], match[2]
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None  # not valid, and so to be passed over
    return int(first), min(size, int(last) + 1) if last else size
