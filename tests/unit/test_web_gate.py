"""Who is let in, what every answer carries, and what the log says of it."""

from __future__ import annotations

import logging
import re
from base64 import b64encode
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request

from state.errors import StateMismatch, StateUnreachable
from stocktake.web.app import ROUTERS, create_app
from stocktake.web.envelope import CACHING, HEADERS
from stocktake.web.gate import MOST_BODY
from stocktake.web.paging import Paging, cursor
from stocktake.web.site import OPERATES, READS, Site
from stocktake.web.tokens import Role, Tokens
from stocktake.web.verifications import Verifications
from tests.http_site import Client, Endpoint, documented, endpoints, raw_request, write_tokens
from writers.files import FolderUnusable

SECRET = "Doe^Jane"  # noqa: S105 -- what must not be told
ERRORS = {"state": StateUnreachable, "mismatch": StateMismatch, "folder": FolderUnusable, "bug": ValueError}

try_out = APIRouter(prefix="/try", dependencies=[READS])


@try_out.get("/fail/{how}")
def fail(how: str) -> None:
    raise ERRORS[how](SECRET)


@try_out.post("/act", dependencies=[OPERATES])
async def act(request: Request) -> int:
    return len(await request.body())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """One without any repository."""

    def nothing(one: object) -> Any:
        raise AssertionError

    return Site({}, nothing, tmp_path, Verifications(Flag()))


@pytest.fixture
def tokens(tmp_path: Path) -> dict[Role, str]:
    return write_tokens(tmp_path / "tokens")


@pytest.fixture
def guarded(site: Site, tokens: dict[Role, str], tmp_path: Path) -> FastAPI:
    return create_app(site, Tokens(tmp_path / "tokens"), (*ROUTERS, try_out))


@pytest.fixture
def unguarded(site: Site) -> FastAPI:
    return create_app(site, None, (*ROUTERS, try_out))


def endpoint_ids(one: Endpoint) -> str:
    return f"{one.method} {one.path}"


VALUES = {"name": "main", "uid": "1.2", "id": "0" * 32, "number": "1"}


# --- with tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", endpoints(), ids=endpoint_ids)
def test_no_endpoint_answers_without_a_token_or_with_a_wrong_one(one: Endpoint, guarded: FastAPI) -> None:
    for client in (Client(guarded), Client(guarded, "stk_wrong"), Client(guarded, "")):
        answer = client.request(one.method, one.url(**VALUES))
        assert answer.status_code == 401
        assert set(answer.json()) == {"detail"}
        assert answer.headers.get_list("www-authenticate") == ['Bearer realm="stocktake"', 'Basic realm="stocktake"']


@pytest.mark.parametrize("one", endpoints(), ids=endpoint_ids)
def test_what_changes_something_takes_the_role_operate(
    one: Endpoint, guarded: FastAPI, tokens: dict[Role, str]
) -> None:
    answer = Client(guarded, tokens[Role.READ]).request(one.method, one.url(**VALUES))
    assert (answer.status_code == 403) == one.acts
    assert Client(guarded, tokens[Role.OPERATE]).request(one.method, one.url(**VALUES)).status_code not in (401, 403)


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing", "/healthz/", "//", "*", "/%2e%2e/etc/passwd"])
def test_what_does_not_exist_says_so_only_to_those_with_a_token(
    path: str, guarded: FastAPI, tokens: dict[Role, str]
) -> None:
    assert raw_request(guarded, path)[0] == 401
    authorization = (b"authorization", b"Bearer " + tokens[Role.READ].encode())
    assert raw_request(guarded, path, [authorization]) == (404, b'{"detail":"Not Found"}')
    assert Client(guarded, tokens[Role.READ]).request("DELETE", "/healthz").status_code == 405


@pytest.mark.parametrize(
    "given", ["Bearer", "Bearer ", "Token {}", "{}", "Bearer {} x", "Basic {}", "Basic !!!", "Digest {}"]
)
def test_other_ways_to_say_a_token_are_refused(given: str, guarded: FastAPI, tokens: dict[Role, str]) -> None:
    answer = Client(guarded).get("/healthz", headers={"authorization": given.format(tokens[Role.READ])})
    assert answer.status_code == 401


def test_two_tokens_in_one_request_are_refused(guarded: FastAPI, tokens: dict[Role, str]) -> None:
    headers = [(b"authorization", f"Bearer {token}".encode()) for token in tokens.values()]
    assert raw_request(guarded, "/healthz", headers)[0] == 401
    assert raw_request(guarded, "/healthz", headers[:1])[0] == 200


def test_a_browser_may_give_the_token_as_password_to_read_but_not_to_act(
    guarded: FastAPI, tokens: dict[Role, str]
) -> None:
    basic = "Basic " + b64encode(f"anybody:{tokens[Role.OPERATE]}".encode()).decode()
    assert Client(guarded).get("/", headers={"authorization": basic}).status_code == 200
    assert Client(guarded).post("/try/act", headers={"authorization": basic}).status_code == 403
    assert Client(guarded, tokens[Role.OPERATE]).post("/try/act").status_code == 200


def test_a_script_of_the_page_asks_for_the_token_itself_and_not_the_browser(guarded: FastAPI) -> None:
    answer = Client(guarded).get("/api/v1/me", headers={"sec-fetch-dest": "empty"})
    assert answer.headers.get_list("www-authenticate") == ['Bearer realm="stocktake"']


def test_with_tokens_it_answers_under_any_name(guarded: FastAPI, tokens: dict[Role, str]) -> None:
    assert Client(guarded, tokens[Role.READ], host="stocktake.example.org").get("/healthz").status_code == 200


def test_a_file_of_tokens_that_became_unusable_lets_nobody_in(
    site: Site, tokens: dict[Role, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stocktake.web.tokens._LOOK", 0.0)
    app = create_app(site, Tokens(tmp_path / "tokens"))
    (tmp_path / "tokens").chmod(0o666)
    assert Client(app, tokens[Role.READ]).get("/healthz").status_code == 503
    assert Client(app).get("/healthz").status_code == 401


# --- without tokens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "LOCALHOST", "127.0.0.1:8080", "127.1.2.3", "[::1]:80"]
)
def test_without_tokens_it_answers_to_names_of_this_machine(host: str, unguarded: FastAPI) -> None:
    assert raw_request(unguarded, "/healthz", [(b"host", host.encode())])[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "localhost.attacker.example",
        "10.0.0.1",
        "",
        "[",
        "x@localhost",
        "127.0.0.1.nip.io",
        "10.255.255.255",
    ],
)
def test_without_tokens_it_answers_to_no_other_name(host: str, unguarded: FastAPI) -> None:
    assert raw_request(unguarded, "/healthz", [(b"host", host.encode())])[0] == 403
    assert raw_request(unguarded, "/healthz", [(b"host", b"localhost"), (b"host", host.encode())])[0] == 403
    assert raw_request(unguarded, "/healthz")[0] == 403


@pytest.mark.parametrize("origin", ["http://attacker.example", "null", "http://localhost:1", "https://localhost.evil"])
def test_without_tokens_other_pages_cannot_have_things_done(origin: str, unguarded: FastAPI) -> None:
    client = Client(unguarded)
    assert client.post("/try/act", headers={"origin": origin}).status_code == 403
    assert client.post("/try/act", headers={"origin": "http://localhost"}).status_code == 200
    assert client.post("/try/act").status_code == 200


# --- every answer ----------------------------------------------------------------------------------------------


def answers(app: FastAPI) -> list[Any]:
    client = Client(app)
    return [
        client.get("/healthz"),
        client.get("/"),
        client.get("/js/main.js"),
        client.get("/nothing"),
        client.get("/api/v1/repositories/x"),
        client.get("/try/fail/bug"),
        client.get("/try/fail/state"),
        client.request("PUT", "/healthz"),
        client.get("/healthz", headers={"host": "attacker.example"}),
        client.post("/try/act", content=b"x" * (MOST_BODY + 1)),
    ]


def test_every_answer_carries_the_security_headers_and_names_no_server(unguarded: FastAPI) -> None:
    found = answers(unguarded)
    assert [one.status_code for one in found] == [200, 200, 200, 404, 404, 500, 503, 405, 403, 413]
    for one in found:
        assert {name: one.headers.get(name) for name in HEADERS} == HEADERS
        page = one.request.url.path in ("/", "/js/main.js") and one.status_code == 200
        assert one.headers["cache-control"] == ("no-cache" if page else CACHING)
        assert "server" not in one.headers
        if one.status_code >= 400:
            assert list(one.json()) == ["detail"]
            assert isinstance(one.json()["detail"], str)


def test_the_page_has_nothing_inline_and_loads_nothing_from_elsewhere(unguarded: FastAPI) -> None:
    client = Client(unguarded)
    text = client.get("/").text
    assert "<style" not in text
    assert "://" not in text
    assert " style=" not in text
    assert not re.search(r"\son\w+=", text)
    for link, kind in (("app.css", "text/css"), ("js/main.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        assert f'"{link}"' in text
        assert client.get("/" + link).headers["content-type"].startswith(kind)
    scripts = [one.path for one in endpoints() if one.path.startswith("/js/")]
    for path in scripts:
        script = client.get(path).text
        assert "innerHTML" not in script
        for imported in re.findall(r'from "\./([\w.]+)"', script):
            assert f"/js/{imported}" in scripts


@pytest.mark.parametrize(
    "path", ["/index.html", "/vendor/uplot/README.md", "/js/", "/js", "/js/..%2fapp.css", "/static"]
)
def test_nothing_but_the_files_of_the_page_is_served(path: str, unguarded: FastAPI) -> None:
    assert raw_request(unguarded, path, [(b"host", b"localhost")])[0] == 404


def test_a_browser_that_has_a_file_of_the_page_is_not_sent_it_again(unguarded: FastAPI) -> None:
    client = Client(unguarded)
    whole = client.get("/js/main.js")
    again = client.get("/js/main.js", headers={"if-none-match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(("how", "status"), [("state", 503), ("mismatch", 503), ("folder", 503), ("bug", 500)])
def test_a_fault_is_told_to_the_asker_and_the_log_without_its_text(
    how: str, status: int, unguarded: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = Client(unguarded).get(f"/try/fail/{how}")
    assert answer.status_code == status
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text
    assert SECRET not in caplog.text
    if how == "bug":
        assert "ValueError at test_web_gate.py:" in caplog.text


def test_a_value_that_does_not_fit_is_told_without_showing_it(unguarded: FastAPI) -> None:
    answer = Client(unguarded).get("/api/v1/repositories", params={"limit": SECRET})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("query.limit: ")
    assert SECRET not in answer.text


def test_a_body_that_is_too_large_is_refused_however_it_is_sent(unguarded: FastAPI) -> None:
    client = Client(unguarded)

    async def pieces() -> Any:
        for _ in range(MOST_BODY // 1024 + 1):
            yield b"x" * 1024

    assert client.post("/try/act", content=b"x" * MOST_BODY).json() == MOST_BODY
    assert client.post("/try/act", content=b"x" * (MOST_BODY + 1)).status_code == 413
    assert client.post("/try/act", content=pieces()).status_code == 413
    for length in (b"-1", b"\xb2", b"", b"1" * 5000):
        assert raw_request(unguarded, "/healthz", [(b"host", b"localhost"), (b"content-length", length)])[0] == 413


def test_the_log_names_the_route_and_the_caller_and_nothing_of_the_address(
    guarded: FastAPI, tokens: dict[Role, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = Client(guarded, tokens[Role.READ])
    client.get(f"/api/v1/repositories/{SECRET}?limit=1&x={SECRET}")
    client.get(f"/{SECRET}")
    Client(guarded).get(f"/{SECRET}")
    raw_request(guarded, "/healthz", method=SECRET)
    records = [record for record in caplog.records if record.name.startswith("stocktake")]
    found = [record.message.split(" ") for record in records if record.name == "stocktake.access"]
    assert [[one[0], one[1], one[2], one[5]] for one in found] == [
        ["GET", "/api/v1/repositories/{name}", "404", "the-read"],
        ["GET", "-", "404", "the-read"],
        ["GET", "-", "401", "-"],
        ["?", "-", "401", "-"],
    ]
    text = "\n".join(record.getMessage() for record in records)
    assert SECRET not in text
    assert tokens[Role.READ] not in text


# --- what OpenAPI says -----------------------------------------------------------------------------------------


def test_openapi_documents_every_endpoint_its_token_and_its_errors(site: Site) -> None:
    app = create_app(site, None)
    described = Client(app).get("/openapi.json").json()
    assert described == documented(app)
    found = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    wanted = {(one.method, one.path) for one in endpoints() if one.described}
    assert found == wanted
    for method, path in wanted:
        operation = described["paths"][path][method.lower()]
        assert operation["security"] == [{"HTTPBearer": []}]
        assert {"401", "403", "404", "405", "413", "422", "500", "503"} <= operation["responses"].keys()
        for code, answer in operation["responses"].items():
            if int(code) >= 400:
                assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert "HTTPValidationError" not in described["components"]["schemas"]


def test_no_path_of_the_api_takes_an_identifier_of_a_study_or_patient() -> None:
    parameters = {part for one in endpoints() for part in one.path.split("/") if part.startswith("{")}
    assert parameters == {"{name}", "{uid}", "{id}", "{number}"}  # uid: of an inventory


# --- pages -----------------------------------------------------------------------------------------------------


def test_a_cursor_leads_back_to_its_position() -> None:
    assert Paging(cursor=cursor("2026/11/27:12")).position() == "2026/11/27:12"
    assert Paging().position() is None


@pytest.mark.parametrize("given", ["x", "=", "____", cursor("x"), cursor("-1"), cursor("9" * 30)])
def test_a_cursor_that_no_page_gave_leads_nowhere(given: str, unguarded: FastAPI) -> None:
    assert Client(unguarded).get("/api/v1/repositories", params={"cursor": given}).status_code == 404


@pytest.mark.parametrize("given", ["a" * 201, "ü", "a b", ""])
def test_what_cannot_be_a_cursor_does_not_fit(given: str, unguarded: FastAPI) -> None:
    assert Client(unguarded).get("/api/v1/repositories", params={"cursor": given}).status_code == 422
