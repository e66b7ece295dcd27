"""The HTTP interface of an archive: what is passed on, what is tried again, what is refused; and no value is told."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from consumers.archives.archive import ArchiveBusy, ArchiveError, ArchiveRefused
from consumers.archives.client import LONGEST_RETRY_AFTER, ArchiveClient, Pace
from tests.servers.fake_dicomweb import FakeArchive, archive_policy, instance, run_archive

UID = "1.2.3.4"
PATH = f"studies/{UID}/metadata"


KEY = "abc"
Ask = Callable[..., Any]


@pytest.fixture
def served() -> Iterator[FakeArchive]:
    with run_archive(FakeArchive()) as archive:
        archive.add(instance(UID, "1.2.3.4.1", "1.2.3.4.1.1"))
        yield archive


@pytest.fixture
def ask(served: FakeArchive) -> Iterator[Ask]:
    """Asks for a path; settings and more of the client's arguments may be given."""
    with ExitStack() as stack:

        def get(path: str = PATH, client: dict[str, Any] | None = None, **given: Any) -> Any:
            made = ArchiveClient(archive_policy(given.pop("url", served.url), **given), **(client or {}))
            stack.callback(made.close)
            return made.get(path, accept="application/dicom+json")

        yield get


def failure(ask: Ask, kind: type[ArchiveError], **given: Any) -> Any:
    with pytest.raises(kind) as raised:
        ask(**given)
    assert UID not in str(raised.value)
    assert "archives.a" in str(raised.value)
    return raised.value


def test_json_is_passed_on_with_its_text_in_utf_8(ask: Ask) -> None:
    assert ask()[0]["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]


def test_every_piece_of_a_long_answer_is_a_sign_of_the_archive(ask: Ask, served: FakeArchive) -> None:
    served.answers[PATH] = (200, b"[" + b" " * 2**20 + b"]", "application/dicom+json")
    signs: list[int] = []
    assert ask(client={"answered": lambda: signs.append(1)}) == []
    assert len(signs) > 3


def test_404_is_none_and_204_an_empty_list(ask: Ask, served: FakeArchive) -> None:
    assert ask("studies/9.9/metadata") is None
    served.answers[PATH] = (204, b"", "text/plain")
    assert ask() == []


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_passes_is_busy(ask: Ask, served: FakeArchive, status: int) -> None:
    served.answers[PATH] = (status, b"{}", "application/json")
    error = failure(ask, ArchiveBusy)
    assert str(status) in str(error)
    assert error.everything == (status in {429, 502, 503})


@pytest.mark.parametrize("status", [201, 206, 301, 302, 400, 403, 406, 410, 413, 501])
def test_a_status_that_stays_is_refused(ask: Ask, served: FakeArchive, status: int) -> None:
    served.answers[PATH] = (status, b"[]", "application/json")
    assert str(status) in str(failure(ask, ArchiveRefused))


def test_a_redirect_is_not_followed(ask: Ask, served: FakeArchive) -> None:
    served.answers[PATH] = (307, b"", "text/plain")
    assert "archives.a.url" in str(failure(ask, ArchiveRefused, token=KEY))
    assert len(served.requests) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        ("999999999999999999999", LONGEST_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
        ("soon", None),
        ("-3", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(
    ask: Ask, served: FakeArchive, text: str, seconds: float | None
) -> None:
    served.busy, served.retry_after = 1, text
    noon = 784111740.0  # 08:49:00 of that day
    assert failure(ask, ArchiveBusy, client={"now": lambda: noon}).retry_after == seconds


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ({"username": "u", "password": "pä"}, True),
        ({"username": "u", "password": "x"}, False),
        ({}, False),
    ],
)
def test_basic_authentication(ask: Ask, served: FakeArchive, given: dict[str, str], right: bool) -> None:
    served.basic = ("u", "pä")
    if right:
        assert ask(**given)
    else:
        error = failure(ask, ArchiveBusy, **given)
        assert "archives.a.username" in str(error)
        assert error.everything, "nothing is to blame for it but who asks"


def test_a_bearer_token(ask: Ask, served: FakeArchive) -> None:
    served.token = KEY
    assert ask(token=KEY)
    error = failure(ask, ArchiveBusy, token=KEY[1:])
    assert KEY[1:] not in str(error)


@pytest.mark.parametrize("body", [b"<html>Patient Doe</html>", b"", b'[{"x": "\xfc"}]', b"nothing"])
def test_what_is_no_json_in_utf_8_is_refused_and_not_told(ask: Ask, served: FakeArchive, body: bytes) -> None:
    served.answers[PATH] = (200, body, "application/dicom+json")
    assert "Doe" not in str(failure(ask, ArchiveRefused))


def test_a_byte_order_mark_is_no_harm(ask: Ask, served: FakeArchive) -> None:
    served.answers[PATH] = (200, b"\xef\xbb\xbf[]", "application/dicom+json")
    assert ask() == []


def test_an_answer_whose_json_stops_half_way_is_busy(ask: Ask, served: FakeArchive) -> None:
    served.answers[PATH] = (200, b'[{"00100010": {"vr": "PN", "Va', "application/dicom+json")
    failure(ask, ArchiveBusy)


def test_a_connection_that_breaks_half_way_is_busy_and_blames_nobody_else(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1, 2")

        thread = Thread(target=serve)
        thread.start()
        error = failure(ask, ArchiveBusy, url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert not error.everything


def test_a_server_that_says_nothing_is_busy(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        error = failure(ask, ArchiveBusy, url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.1)
    assert "ReadTimeout" in str(error)


def test_no_server_is_busy_for_everything(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(ask, ArchiveBusy, url=f"http://127.0.0.1:{port}")
    assert error.everything


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/x", "http://127.0.0.1:x/"])
def test_what_is_no_address_is_refused(ask: Ask, url: str) -> None:
    assert "archives.a.url" in str(failure(ask, ArchiveRefused, url=url))


def test_an_answer_is_read_up_to_a_limit(ask: Ask, served: FakeArchive) -> None:
    served.answers[PATH] = (200, b"[" + b" " * 1_000_000 + b"]", "application/dicom+json")
    assert "larger" in str(failure(ask, ArchiveRefused, client={"largest": 500_000}))
    assert ask(client={"largest": 1_000_002}) == []


def test_a_file_for_tls_that_is_none_is_told(ask: Ask, tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    assert "tls_*" in str(failure(ask, ArchiveRefused, tls_ca_file=missing))


def test_requests_pass_evenly_however_they_come() -> None:
    now, pauses = [100.0], list[float]()
    pace = Pace(4, lambda: now[0], pauses.append)
    for _ in range(3):
        pace.wait()
    assert pauses == [0.25, 0.5]
    now[0] = 200.0
    pace.wait()
    assert pauses == [0.25, 0.5]
