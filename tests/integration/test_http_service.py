"""The HTTP service over real Redis and real inventories, and on a real port."""

from __future__ import annotations

import logging
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any, Final
from urllib.parse import quote

import httpx
import orjson
import pytest
from fastapi import FastAPI

from state.chain import Lease
from state.requests import Asked, InventoryRequests
from stocktake.roles import write
from stocktake.settings import SettingsError, load
from stocktake.web.app import create_app
from stocktake.web.server import serve
from stocktake.web.tokens import Role, Tokens, line_for, new_token
from tests.chains import Chain
from tests.harness import Deployment, wait_for
from tests.http_site import Client, endpoints, get_raw, listen, serving, site_of, write_tokens
from writers.manifest import Manifest

API = "/api/v1/repositories"
OUTSIDE = b"what nobody may see"


@pytest.fixture
def chain(tmp_path: Path, redis_url: str, repository: str) -> Iterator[Chain]:
    """A baseline of three parts and a root, and two deltas."""
    cutover = {"SOURCE": repository, "TARGET": "other"}
    given = {"INVENTORY__MAX_RECORDS_PER_INSTANCE": "2", "INVENTORY__LEASE": "3s"}
    given |= {f"CUTOVER__{name}": value for name, value in cutover.items()} | {"REPOSITORIES__OTHER__TOPICS": "other"}
    made = Chain(tmp_path, redis_url, repository, **given)
    with closing(made.deployment):
        made.store(1, 2, 3, 4, 5)
        made.produce()
        made.store(1)
        made.produce()
        made.store(2)
        made.produce()
        yield made


@pytest.fixture
def client(chain: Chain) -> Client:
    return Client(create_app(site_of(chain.deployment), None))


@pytest.fixture
def at(repository: str) -> str:
    """Where the repository's resources are."""
    return f"{API}/{repository}"


def head_of(chain: Chain) -> Manifest:
    return Manifest.from_json(orjson.loads((chain.deployment.folder / "head.json").read_bytes()))


def test_the_figures_the_head_and_the_metrics_are_those_of_the_state(client: Client, chain: Chain, at: str) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").json() == {"status": "ready"}
    assert client.get(API).json() == {"items": [{"name": chain.deployment.name}], "next": None}
    status = client.get(at).json()
    assert (status["studies"], status["backlog"], status["lag"]) == (5, 0, None)
    assert client.get(at + "/head").json() == head_of(chain).to_json()
    assert "stocktake_head_sequence{" in client.get("/metrics").text
    assert client.get(API + "/nobody").json() == {"detail": "no such repository"}


def test_before_the_first_inventory_there_is_no_head_and_an_empty_list(
    tmp_path: Path, redis_url: str, repository: str, at: str
) -> None:
    with closing(Deployment(tmp_path, redis_url, repository)) as deployment:
        client = Client(create_app(site_of(deployment), None))
        assert client.get(at + "/head").status_code == 404
        assert client.get(at + "/inventories").json() == {"items": [], "next": None}


# --- the list --------------------------------------------------------------------------------------------------


def listed(client: Client, at: str, **query: Any) -> list[dict[str, Any]]:
    """Every item, page by page."""
    items: list[dict[str, Any]] = []
    while True:
        answer = client.get(at + "/inventories", params=query)
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        if answer.json()["next"] is None:
            return items
        query["cursor"] = answer.json()["next"]


def test_the_chain_is_listed_newest_first_page_by_page(client: Client, chain: Chain, at: str) -> None:
    everything = listed(client, at)
    assert [one["sequence"] for one in everything] == [3, 2, 1]
    assert [one["kind"] for one in everything] == ["delta", "delta", "baseline"]
    assert all(one["reached"] for one in everything)
    assert [len(one["parts"]) for one in everything] == [0, 0, 3]
    assert [(one["slice_from"], one["cut"]) for one in everything] == [(2, 3), (1, 2), (0, 1)]
    assert listed(client, at, limit=1) == listed(client, at, limit=2) == everything
    head = head_of(chain).to_json()
    assert {name: value for name, value in everything[0].items() if name in head} == {
        name: head[name] for name in everything[0] if name in head
    }


def test_the_list_is_filtered_by_kind_and_status(client: Client, chain: Chain, at: str) -> None:
    chain.produce(force=True)
    assert [one["sequence"] for one in listed(client, at, kind="delta", limit=1)] == [4, 3, 2]
    assert [one["sequence"] for one in listed(client, at, status="PARTIAL")] == [4]
    assert [one["sequence"] for one in listed(client, at, status="COMPLETE", kind="baseline")] == [1]
    assert listed(client, at, kind="rollup") == []
    assert client.get(at + "/inventories", params={"kind": "part"}).status_code == 422
    assert client.get(at + "/inventories", params={"limit": 0}).status_code == 422
    assert client.get(at + "/inventories", params={"patient": "1"}).status_code == 422


def test_a_page_ends_when_much_was_looked_at_and_the_next_goes_on(
    client: Client, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stocktake.web.routers.inventories._READ_AT_ONCE", 1)
    first = client.get(at + "/inventories", params={"kind": "baseline"}).json()
    assert (first["items"], first["next"] is not None) == ([], True)
    assert [one["sequence"] for one in listed(client, at, kind="baseline")] == [1]


def test_what_a_baseline_replaced_is_listed_as_not_reached(client: Client, chain: Chain, at: str) -> None:
    chain.produce("baseline")
    assert [one["reached"] for one in listed(client, at)] == [True, False, False, False]


def test_a_head_without_its_folder_is_told_as_trouble_not_as_an_empty_list(
    client: Client, chain: Chain, at: str
) -> None:
    chain.deployment.folder.rename(chain.deployment.folder.with_name("moved"))
    assert client.get(at + "/inventories").status_code == 503


# --- manifests and files ---------------------------------------------------------------------------------------


def test_every_manifest_and_file_can_be_had_parts_included(client: Client, chain: Chain, at: str) -> None:
    uids = [uid for one in listed(client, at) for uid in (one["sop_instance_uid"], *one["parts"])]
    assert len(uids) == 6
    for uid in uids:
        manifest = client.get(f"{at}/inventories/{uid}").json()
        answer = client.get(f"{at}/inventories/{uid}/file")
        assert answer.status_code == 200
        assert answer.content == (chain.deployment.folder / manifest["file"]).read_bytes()
        assert answer.headers["etag"] == f'"{sha256(answer.content).hexdigest()}"' == f'"{manifest["sha256"]}"'
        assert answer.headers["content-type"] == "application/dicom"
        assert answer.headers["content-disposition"] == f'attachment; filename="{uid}.dcm"'
        assert answer.headers["cache-control"] == "no-store"


def test_a_download_can_be_taken_up_and_is_not_sent_twice(client: Client, chain: Chain, at: str) -> None:
    url = f"{at}/inventories/{head_of(chain).sop_instance_uid}/file"
    whole = client.get(url)
    rest = client.get(url, headers={"range": "bytes=100-", "if-range": whole.headers["etag"]})
    assert (rest.status_code, rest.content) == (206, whole.content[100:])
    assert client.get(url, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    assert client.get(url, headers={"range": f"bytes={len(whole.content)}-"}).status_code == 416


def test_a_file_that_is_gone_or_cut_short_is_not_given_out(client: Client, chain: Chain, at: str) -> None:
    head = head_of(chain)
    url = f"{at}/inventories/{head.sop_instance_uid}/file"
    path = chain.deployment.path(head)
    path.write_bytes(path.read_bytes()[:-1])
    assert client.get(url).status_code == 503
    path.unlink()
    assert client.get(url).status_code == 404
    assert client.post(f"{at}/inventories/{head.sop_instance_uid}/verifications").status_code == 404
    path.symlink_to(chain.deployment.folder / "head.json")
    assert client.get(url).status_code == 404
    assert client.get(f"{at}/inventories/1.2.3").status_code == 404


TARGETS = ["../../secret", "..", ".", "../../../../../../etc/passwd", "head.json", ".partial", "2026", "a\\..\\b", "\0"]


def test_no_target_leads_out_of_the_folder_however_it_is_written(
    tmp_path: Path, redis_url: str, repository: str
) -> None:
    address = listen()
    chain = Chain(tmp_path, redis_url, repository, HTTP__LISTEN=address)
    with closing(chain.deployment):
        chain.store(1)
        uid = chain.produce().sop_instance_uid
        for name in ("secret", "secret.dcm", "secret.json"):
            (chain.deployment.folder.parent / name).write_bytes(OUTSIDE)
        with serving(chain.deployment.settings, [repository]) as url:
            written = [
                one
                for target in TARGETS
                for one in (
                    quote(target, safe="/."),
                    quote(target, safe=""),
                    quote(quote(target, safe=""), safe=""),
                    target.replace(".", "%2E").replace("\0", "%00").replace("/", "%2F"),
                    f"{uid}/{quote(target, safe='/.')}",
                    f"{uid}%00{quote(target, safe='')}",
                    f"/{quote(target, safe='/.')}",
                )
            ]
            for one in written:
                for suffix in ("", "/file", ".dcm/file"):
                    status, body = get_raw(url, f"{API}/{repository}/inventories/{one}{suffix}", {})
                    assert status in (404, 405, 422), one
                    assert OUTSIDE not in body
                    assert b"root:" not in body
            for one in ("..", "%2e%2e", f"..%2f{repository}", "%2e%2e%2f", f"{repository}%2f.."):
                assert get_raw(url, f"{API}/{one}/inventories/{uid}/file", {})[0] in (404, 405)
            status, body = get_raw(url, f"{API}/{repository}/inventories/{uid}/file", {})
            assert (status, body[128:132]) == (200, b"DICM")


# --- verifying -------------------------------------------------------------------------------------------------


def verified(client: Client, at: str, uid: str) -> dict[str, Any]:
    started = client.post(f"{at}/inventories/{uid}/verifications")
    assert started.status_code == 202
    url = f"{at}/verifications/{started.json()['id']}"
    wait_for(lambda: client.get(url).json()["state"] != "running", "the verification to end")
    found: dict[str, Any] = client.get(url).json()
    return found


def test_a_sound_chain_is_verified_without_findings(client: Client, chain: Chain, at: str) -> None:
    found = verified(client, at, head_of(chain).sop_instance_uid)
    assert (found["state"], found["records"], found["errors"], found["warnings"]) == ("done", 7, 0, 0)
    assert client.get(f"{at}/verifications/{found['id']}/findings").json() == {"items": [], "next": None}


def test_what_was_verified_is_known_to_the_gate(client: Client, chain: Chain, at: str) -> None:
    repository = chain.deployment.opened.repository
    uid = head_of(chain).sop_instance_uid
    assert repository.verified() is None
    verified(client, at, uid)
    sound = repository.verified()
    assert sound is not None
    assert (sound.sop_instance_uid, sound.findings) == (uid, 0)
    chain.deployment.path(head_of(chain)).with_name(
        f"{listed(client, at, kind='baseline')[0]['parts'][0]}.dcm"
    ).unlink()
    errors = verified(client, at, uid)["errors"]
    faulty = repository.verified()
    assert faulty is not None
    assert faulty.findings == errors > 0


def test_findings_come_in_pages_and_tell_nothing_of_where_the_folder_is(client: Client, chain: Chain, at: str) -> None:
    baseline = listed(client, at, kind="baseline")[0]
    for uid in baseline["parts"]:
        [path] = chain.deployment.folder.rglob(f"{uid}.dcm")
        path.unlink()
    found = verified(client, at, head_of(chain).sop_instance_uid)
    assert found["errors"] >= 3
    url = f"{at}/verifications/{found['id']}/findings"
    whole = client.get(url).json()
    assert len(whole["items"]) == found["errors"] + found["warnings"]
    first = client.get(url, params={"limit": 2}).json()
    second = client.get(url, params={"limit": 500, "cursor": first["next"]}).json()
    assert first["items"] + second["items"] == whole["items"]
    assert "missing-member" in {one["rule"] for one in whole["items"]}
    assert str(chain.deployment.settings.inventory.dir) not in client.get(url).text


def test_one_verification_runs_at_a_time_and_the_same_is_not_begun_twice(
    client: Client, chain: Chain, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, go_on = Flag(), Flag()

    def slow(*_: object) -> Iterator[Any]:
        going.set()
        go_on.wait(20)
        yield from ()

    monkeypatch.setattr("stocktake.web.routers.inventories.verify", slow)
    head, *_, oldest = listed(client, at)
    first = client.post(f"{at}/inventories/{head['sop_instance_uid']}/verifications")
    assert going.wait(20)
    assert client.post(f"{at}/inventories/{head['sop_instance_uid']}/verifications").json() == first.json()
    other = f"{at}/inventories/{oldest['sop_instance_uid']}/verifications"
    assert client.post(other).status_code == 409
    go_on.set()
    wait_for(lambda: client.post(other).status_code == 202, "the first one to end")
    assert client.get(f"{at}/verifications/{'0' * 32}").status_code == 404
    assert client.get(f"{at}/verifications/{'0' * 32}/findings").status_code == 404


def test_a_verification_that_fails_says_so_and_the_log_does_not_say_more(
    client: Client, chain: Chain, at: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Iterator[Any]:
        yield from (int(digit) for digit in "Doe^Jane")  # ValueError, which names the digit

    monkeypatch.setattr("stocktake.web.routers.inventories.verify", broken)
    assert verified(client, at, head_of(chain).sop_instance_uid)["state"] == "failed"
    assert "ValueError" in caplog.text
    assert "'D'" not in caplog.text


# --- a delta now -----------------------------------------------------------------------------------------------


@contextmanager
def writing(deployment: Deployment, **given: str) -> Iterator[None]:
    """A writer that would write the next inventory by itself in a day."""
    environ = deployment.environ | {"STOCKTAKE_INVENTORY__INTERVAL": "1d"}
    environ |= {f"STOCKTAKE_{name}": value for name, value in given.items()}
    stop = Flag()
    thread = Thread(target=write, args=(load(None, environ), deployment.name, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def sequence(client: Client, at: str) -> int:
    found: int = client.get(at + "/head").json()["sequence"]
    return found


def test_the_leading_writer_produces_the_delta_that_was_asked_for(client: Client, chain: Chain, at: str) -> None:
    with writing(chain.deployment):
        wait_for(lambda: sequence(client, at) == 4, "the writer's own inventory")
        for number in (1, 2):
            chain.store(3)
            asked = client.post(at + "/deltas")
            assert asked.status_code == 202
            assert asked.json() == {
                "number": number,
                "state": "waiting",
                "sequence": None,
                "sop_instance_uid": None,
                "writer": True,
            }
            url = asked.headers["location"]
            wait_for(lambda url=url: client.get(url).json()["state"] == "done", "the delta")  # type: ignore[misc]
            told, head = client.get(url).json(), client.get(at + "/head").json()
            assert (told["sequence"], told["sop_instance_uid"]) == (head["sequence"], head["sop_instance_uid"])
            assert (head["sequence"], head["own_records"]) == (4 + number, 1)
    assert client.get(at + "/deltas/3").status_code == 404
    assert client.get(at + "/deltas/0").status_code == 422


def test_a_delta_is_written_on_request_though_nothing_changed(client: Client, chain: Chain, at: str) -> None:
    with writing(chain.deployment, INVENTORY__WRITE_EMPTY="false"):
        wait_for(
            lambda: Lease(chain.deployment.opened.connection, chain.deployment.name, 1).take() is False, "a leader"
        )
        url = client.post(at + "/deltas").headers["location"]
        wait_for(lambda: client.get(url).json()["state"] == "done", "the delta")
    assert client.get(at + "/head").json()["own_records"] == 0


def test_requests_wait_for_a_writer_and_are_answered_by_one_inventory(client: Client, chain: Chain, at: str) -> None:
    urls = [client.post(at + "/deltas").headers["location"] for _ in range(3)]
    assert [client.get(url).json()["writer"] for url in urls] == [False] * 3
    with writing(chain.deployment):
        wait_for(lambda: all(client.get(url).json()["state"] == "done" for url in urls), "the answers")
        assert sequence(client, at) == 4


def test_the_answer_to_a_request_that_redis_forgot_is_none_to_the_next(client: Client, chain: Chain, at: str) -> None:
    requests = InventoryRequests(chain.deployment.opened.connection, chain.deployment.name)
    requests.answer(Asked(2, "next"), {"sequence": 3, "sop_instance_uid": "2.25.1"})
    assert client.post(at + "/deltas").json()["state"] == "waiting"
    assert requests.waiting() == Asked(3, "next")


# --- tokens on every endpoint, with a state --------------------------------------------------------------------


@pytest.fixture
def guarded(chain: Chain, tmp_path: Path) -> tuple[FastAPI, dict[Role, str]]:
    tokens = write_tokens(tmp_path / "tokens")
    return create_app(site_of(chain.deployment), Tokens(tmp_path / "tokens")), tokens


BODIES: Final[dict[str, dict[str, Any]]] = {
    "/api/v1/cutover/exceptions/search": {"json": {}},
    "/api/v1/cutover/acknowledgements": {"json": {"study_instance_uid": "1.2.1", "note": "known"}},
    "/api/v1/cutover/acknowledgements/withdraw": {"json": {"study_instance_uid": "1.2.1"}},
}


def test_every_endpoint_answers_whoever_has_the_role_and_nobody_else(
    guarded: tuple[FastAPI, dict[Role, str]], chain: Chain, at: str
) -> None:
    app, tokens = guarded
    read, operate = Client(app, tokens[Role.READ]), Client(app, tokens[Role.OPERATE])
    uid = head_of(chain).sop_instance_uid
    job = verified(operate, at, uid)["id"]
    number = operate.post(at + "/deltas").json()["number"]
    for one in endpoints():
        url = one.url(name=chain.deployment.name, uid=uid, id=job, number=str(number))
        assert Client(app).request(one.method, url).status_code == 401
        assert Client(app, new_token()).request(one.method, url).status_code == 401
        given = BODIES.get(one.path, {})
        assert read.request(one.method, url, **given).status_code == (403 if one.acts else 200)
        done = 204 if one.path in BODIES else 202
        assert operate.request(one.method, url, **given).status_code == (done if one.acts else 200)


# --- on a port -------------------------------------------------------------------------------------------------


def test_the_service_asks_for_tokens_and_takes_changed_ones_up(
    tmp_path: Path, redis_url: str, repository: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stocktake")
    path = tmp_path / "tokens"
    token = write_tokens(path)[Role.READ]
    with (
        closing(
            Deployment(tmp_path, redis_url, repository, HTTP__LISTEN=listen(), HTTP__TOKENS_FILE=str(path))
        ) as deployment,
        serving(deployment.settings, [repository]) as url,
    ):

        def status(given: str) -> int:
            return httpx.get(url + "/readyz", headers={"authorization": f"Bearer {given}"}).status_code

        assert httpx.get(url + "/readyz").status_code == 401
        answer = httpx.get(url + "/readyz", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 200
        assert "server" not in answer.headers
        new = new_token()
        path.write_text(line_for("next", Role.READ, new) + "\n")
        wait_for(lambda: status(new) == 200, "the new token to count")
        assert status(token) == 401
    assert token not in caplog.text
    assert "GET /readyz 200" in caplog.text


def test_the_service_speaks_tls_and_takes_a_renewed_certificate_up(
    tmp_path: Path, redis_url: str, repository: str
) -> None:
    cert, key, tokens = tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "tokens"
    make_certificate(cert, key)
    token = write_tokens(tokens)[Role.READ]
    given = {
        "HTTP__LISTEN": listen(),
        "HTTP__TOKENS_FILE": str(tokens),
        "HTTP__TLS_CERT_FILE": str(cert),
        "HTTP__TLS_KEY_FILE": str(key),
    }
    with (
        closing(Deployment(tmp_path, redis_url, repository, **given)) as deployment,
        serving(deployment.settings, [repository], "https") as url,
    ):

        def answers(authority: str) -> bool:
            context = ssl.create_default_context(cadata=authority)
            try:
                answer = httpx.get(url + "/readyz", headers={"authorization": f"Bearer {token}"}, verify=context)
            except httpx.ConnectError:
                return False
            return answer.status_code == 200

        before = cert.read_text()
        assert answers(before)
        make_certificate(cert, key)
        wait_for(lambda: answers(cert.read_text()), "the renewed certificate")
        assert not answers(before)


def make_certificate(cert: Path, key: Path) -> None:
    """A certificate for 127.0.0.1 that signs itself."""
    made = [path.with_suffix(path.suffix + ".new") for path in (cert, key)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=stocktake"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(made[0]), "-keyout", str(made[1])]
    subprocess.run([*command, *names], check=True, capture_output=True)
    for new, path in zip(reversed(made), (key, cert), strict=True):
        os.replace(new, path)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"LISTEN": "0.0.0.0:8080"}, "http.listen: 0.0.0.0 is not a loopback address; set http.tokens_file"),
        ({"LISTEN": "192.0.2.1:8080"}, "not a loopback address"),
        ({"TOKENS_FILE": "/nowhere/tokens"}, "http.tokens_file: /nowhere/tokens: cannot be read"),
    ],
)
def test_it_does_not_listen_where_nobody_would_be_asked_for_a_token(given: dict[str, str], why: str) -> None:
    settings = load(None, {f"STOCKTAKE_HTTP__{name}": value for name, value in given.items()})
    with pytest.raises(SettingsError, match=why):
        serve(settings, ["main"], Flag())


def test_a_certificate_that_cannot_be_used_is_told_at_the_start(
    tmp_path: Path, redis_url: str, repository: str
) -> None:
    (tmp_path / "tls.crt").write_text("no certificate")
    given = {"HTTP__LISTEN": listen(), "HTTP__TLS_CERT_FILE": str(tmp_path / "tls.crt")}
    with (
        closing(Deployment(tmp_path, redis_url, repository, **given)) as deployment,
        pytest.raises(SettingsError, match=r"http\.tls_cert_file: .* cannot be used"),
    ):
        serve(deployment.settings, [repository], Flag())


def test_listening_beyond_this_machine_without_tls_is_warned_of(
    tmp_path: Path, redis_url: str, repository: str, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = tmp_path / "tokens"
    write_tokens(tokens)
    given = {"HTTP__LISTEN": listen().replace("127.0.0.1", "0.0.0.0"), "HTTP__TOKENS_FILE": str(tokens)}  # noqa: S104
    with (
        closing(Deployment(tmp_path, redis_url, repository, **given)) as deployment,
        serving(deployment.settings, [repository]) as url,
    ):
        assert httpx.get(url.replace("0.0.0.0", "127.0.0.1") + "/healthz").status_code == 401  # noqa: S104
    assert "tokens and patient data can be read on the way" in caplog.text


# --- cutover -----------------------------------------------------------------------------------------------------


def test_the_figures_of_a_cutover_are_those_of_the_command(client: Client) -> None:
    found = client.get("/api/v1/cutover").json()
    assert (found["places"]["missing"], found["open"], found["gate"]["met"]) == (5, 5, False)
    assert found["forecast"]["outlook"] == "unknown"
    [row] = client.get("/api/v1/cutover/history").json()["rows"]
    assert (row["open"], row["arrived"], row["settled"]) == (5, 5, 0)
    assert client.get("/api/v1/cutover/history", params={"step": "hour", "end": 0}).json()["rows"] == []


def test_open_studies_are_searched_paged_acknowledged_and_taken_back(client: Client) -> None:
    at = "/api/v1/cutover/exceptions/search"
    found: list[str] = []
    cursor = None
    while True:
        page = client.post(at, json={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += [one["study_instance_uid"] for one in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert sorted(found) == [f"1.2.{number}" for number in range(1, 6)]
    [one] = client.post(at, json={"study_instance_uid": "1.2.3"}).json()["items"]
    assert (one["place"], one["reasons"], one["target"]) == ("missing", ["not at the target"], None)
    acknowledge = client.post("/api/v1/cutover/acknowledgements", json={"study_instance_uid": "1.2.3", "note": "lost"})
    assert acknowledge.status_code == 204
    [one] = client.post(at, json={"acknowledged": True}).json()["items"]
    assert (one["study_instance_uid"], one["acknowledged"]["note"], one["acknowledged"]["name"]) == (
        "1.2.3",
        "lost",
        "local",
    )
    withdrawn = client.post("/api/v1/cutover/acknowledgements/withdraw", json={"study_instance_uid": "1.2.3"})
    assert withdrawn.status_code == 204
    assert client.post(at, json={"acknowledged": True}).json()["items"] == []
    for wanted, count in (({"places": ["extra"]}, 0), ({"year": "none"}, 5), ({"older_than": 3600}, 0)):
        assert len(client.post(at, json=wanted).json()["items"]) == count
    nothing = client.post("/api/v1/cutover/acknowledgements", json={"study_instance_uid": "1.9", "note": "?"})
    assert nothing.status_code == 409


def test_the_report_is_served_as_a_page_and_as_json_with_the_same_numbers(client: Client) -> None:
    page = client.get("/api/v1/cutover/report")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "attachment" in page.headers["content-disposition"]
    assert page.text.startswith("<!DOCTYPE html>")
    found = client.get("/api/v1/cutover/report", params={"format": "json"}).json()
    assert found["listed"] == len(found["exceptions"]) == client.get("/api/v1/cutover").json()["open"] == 5
    assert client.get("/api/v1/cutover/report", params={"format": "pdf"}).status_code == 422


def test_without_a_cutover_its_endpoints_say_so(tmp_path: Path, redis_url: str, repository: str) -> None:
    with closing(Deployment(tmp_path, redis_url, repository)) as deployment:
        client = Client(create_app(site_of(deployment), None))
        assert client.get("/api/v1/cutover").json() == {"detail": "no cutover is configured"}
        assert client.get("/api/v1/me").json() == {"name": "", "role": "operate", "tokens": False}
