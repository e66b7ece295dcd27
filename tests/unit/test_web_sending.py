"""A file as an answer: whole, a range of it, or nothing if the asker has it; and closed in the end."""

from __future__ import annotations

import asyncio
import io
from typing import Any, BinaryIO

import pytest
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from stocktake.web.sending import answer_file
from tests.http_site import Client

CONTENT = bytes(range(256)) * 3000  # several blocks


class Sends:
    """An application that answers with a file."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.file: BinaryIO = io.BytesIO(content)
        self._size = len(content)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope)
        await answer_file(self.file, self._size, "abc", "application/dicom", {}, asked)(scope, receive, send)


def ask(content: bytes = CONTENT, **headers: str | bytes) -> Any:
    app = Sends(content)
    answer = Client(app).get("/", headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert app.file.closed
    return answer


def test_a_file_is_sent_whole_with_its_length_and_digest() -> None:
    answer = ask()
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["etag"] == '"abc"'
    assert answer.headers["content-type"] == "application/dicom"
    assert ask(b"").content == b""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("bytes=0-0", CONTENT[:1]),
        ("bytes=5-", CONTENT[5:]),
        ("bytes=-7", CONTENT[-7:]),
        ("bytes=10-600000", CONTENT[10:600001]),
        (f"bytes=700000-{10**17}", CONTENT[700000:]),
        (f"bytes=-{10**17}", CONTENT),
    ],
)
def test_one_range_is_sent_alone(given: str, expected: bytes) -> None:
    answer = ask(range=given)
    assert (answer.status_code, answer.content) == (206, expected)
    begin = len(CONTENT) - len(expected) if given.startswith("bytes=-") else int(given[6:].split("-")[0])
    assert answer.headers["content-range"] == f"bytes {begin}-{begin + len(expected) - 1}/{len(CONTENT)}"


@pytest.mark.parametrize("given", ["bytes=0-1,3-4", "bytes=-", "bytes=5-4", "items=0-1", "bytes=a-b", "bytes=٣-٤"])
def test_what_is_no_single_range_gets_the_whole(given: str) -> None:
    assert ask(range=given.encode()).status_code == 200


@pytest.mark.parametrize("given", [f"bytes={len(CONTENT)}-", "bytes=-0"])
def test_a_range_behind_the_end_is_told_so(given: str) -> None:
    answer = ask(range=given)
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert answer.json() == {"detail": "there is no such range"}


@pytest.mark.parametrize("given", ['"abc"', 'W/"abc"', '"x", "abc"', "*"])
def test_whoever_has_the_file_gets_nothing(given: str) -> None:
    answer = ask(if_none_match=given)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == '"abc"'


def test_nothing_more_is_read_for_somebody_who_has_gone() -> None:
    class Counting(io.BytesIO):
        blocks = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.blocks += 1
            return super().read(size)

    file = Counting(bytes(100 << 20))
    gone = asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            gone.set()

    scope = {"type": "http", "method": "GET", "headers": []}
    asyncio.run(
        answer_file(file, 100 << 20, "abc", "application/dicom", {}, Headers(scope=scope))(scope, receive, send)
    )
    assert file.closed
    assert file.blocks < 10


def test_whoever_has_another_file_gets_this_one() -> None:
    assert ask(if_none_match='"abd"').status_code == 200
    assert ask(range="bytes=0-1", if_range='"abc"').status_code == 206
    assert ask(range="bytes=0-1", if_range='"abd"').status_code == 200
