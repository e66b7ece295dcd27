"""The rights that docs/security.md lists for each role, at Kafka and at Redis: they are enough, and they hold.

A broker with Kafka's own authorizer and a server of Redis's commands, both of this module alone; a user for each role
with exactly the rights of the page; and the roles at work together: events, dead letters, patients, looks, a bridge, a
crawl, a cutover, inventories, a sink, the HTTP service, and what an operator does by hand.
"""

from __future__ import annotations

import contextlib
import re
import signal
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event as Flag
from threading import Thread, Timer
from typing import Any, Final

import httpx
import orjson
import pytest
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from redis import Redis

from consumers.bridges.dicomweb import NAME as BRIDGE
from state.keys import RepositoryKeys, ShardKeys
from state.positions import Positions
from stocktake import cli
from stocktake.archives import enrich
from stocktake.embedded import free_ports
from stocktake.exits import Exit
from stocktake.roles import Roles, start_consumers, write
from stocktake.settings import load
from stocktake.web.server import serve
from stocktake.wiring import OpenRepository, open_repository
from tests.feed import ct
from tests.harness import PATIENCE, wait_for
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.fake_dicomweb import FakeArchive, instance, run_archive
from tests.servers.kafka_broker import SecureKafka, run_secure_kafka
from tests.servers.processes import running
from tests.servers.redis_server import node_process

PAGE: Final = Path(__file__).parents[2] / "docs" / "security.md"
PASSWORD: Final = "correct-horse"  # noqa: S105 -- of servers that live as long as this module's tests
TOPICS: Final = {"pacs": "pacs.events", "vna": "vna.events"}
NEWS: Final = "stocktake.inventories"
OPERATIONS: Final = {one.name.replace("_", "").lower(): one for one in ACLOperation}
SHARDS: Final = 4


def kafka_rights() -> dict[str, list[tuple[str, str, str]]]:
    """By role what the page's table grants: resource, name, operation."""
    found: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for row in re.findall(r"^\| `(\w+)` \| (topic|group) \| `(\S+)` \| (.+) \|$", PAGE.read_text("utf-8"), re.M):
        role, resource, name, operations = row
        found[role] += [(resource, name, one) for one in re.findall(r"`(\w+)`", operations)]
    return dict(found)


def redis_rights() -> dict[str, list[str]]:
    """By role what the page's ``ACL SETUSER`` grants, without the password."""
    lines = re.findall(r"^ACL SETUSER stocktake-(\w+) on >PASSWORD (.+)$", PAGE.read_text("utf-8"), re.M)
    return {role: rules.split() for role, rules in lines}


@dataclass(frozen=True)
class Site:
    """Both servers, an archive that is asked, and the settings of each role's user."""

    folder: Path
    kafka: SecureKafka
    certificates: Certificates
    redis: Redis
    archive: FakeArchive
    http: str

    def environ(self, role: str) -> dict[str, str]:
        given = {
            "KAFKA__BOOTSTRAP_SERVERS": self.kafka.sasl_ssl,
            "KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA__SASL_USERNAME": f"stocktake-{role}",
            "KAFKA__SASL_PASSWORD": PASSWORD,
            "KAFKA__SSL_CA_FILE": str(self.certificates.authority),
            "KAFKA__TIMEOUT": "10s",
            "REDIS__URL": f"redis://127.0.0.1:{self.redis.get_connection_kwargs()['port']}/0",
            "REDIS__USERNAME": f"stocktake-{role}",
            "REDIS__PASSWORD": PASSWORD,
            "STATE__SHARDS": str(SHARDS),
            "CONSUMER__WATERMARK_INTERVAL": "100ms",
            "CONSUMER__MAX_OUT_OF_ORDER": "0s",
            "CONSUMER__DLQ_WINDOW": "10",
            "INVENTORY__DIR": str(self.folder / "inventories"),
            "INVENTORY__LEASE": "2s",
            "INVENTORY__INTERVAL": "1h",
            "CUTOVER__SOURCE": "pacs",
            "CUTOVER__TARGET": "vna",
            "CUTOVER__STUDY_UIDS": str(self.folder / "uids.csv"),
            "CUTOVER__GRACE": "0s",
            "HTTP__LISTEN": self.http,
            "SINKS__NEWS__URL": f"kafka:{NEWS}",
            "ARCHIVES__PACS__URL": self.archive.url,
            "ARCHIVES__PACS__QUIET": "0s",
            "ARCHIVES__PACS__REQUESTS_PER_SECOND": "1000",
        }
        topics = {f"REPOSITORIES__{name.upper()}__TOPICS": topic for name, topic in TOPICS.items()}
        return {f"STOCKTAKE_{name}": value for name, value in (given | topics).items()}

    def config(self, role: str) -> Path:
        """The same as a settings file, for commands."""
        path = self.folder / f"{role}.toml"
        lines = [
            f"{name.removeprefix('STOCKTAKE_').lower().replace('__', '.')} = {orjson.dumps(value).decode()}\n"
            for name, value in self.environ(role).items()
        ]
        path.write_text("".join(lines), encoding="utf-8")
        return path

    def run(self, role: str, *words: str, code: Exit = Exit.DONE) -> None:
        """A command as that role's user; it must end so."""
        ended = cli.main([*words, "--config", str(self.config(role))])
        assert ended == code, words


def acl(site: Site, *words: str) -> Any:
    return site.redis.execute_command("ACL", *words)  # type: ignore[no-untyped-call]


def grant(site: Site) -> None:
    """Make each role's users, with the rights of the page."""
    rights = kafka_rights()
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=site.kafka.bootstrap_servers)) as admin:
        scram = ScramMechanism.SCRAM_SHA_512
        users = [f"stocktake-{role}" for role in rights]
        admin.alter_user_scram_credentials([UserScramCredentialUpsertion(one, scram, PASSWORD) for one in users])
        names = {"TOPIC": [*TOPICS.values()], "TOPIC.dlq": [f"{one}.dlq" for one in TOPICS.values()], "SINK": [NEWS]}
        names |= {"GROUP": [f"stocktake.{one}" for one in TOPICS]}
        admin.create_acls(
            [
                ACL(
                    f"User:stocktake-{role}",
                    "*",
                    OPERATIONS[operation.lower()],
                    ACLPermissionType.ALLOW,
                    ResourcePattern(ResourceType[resource.upper()], named),
                )
                for role, some in rights.items()
                for resource, name, operation in some
                for named in names[name]
            ]
        )
    for role, rules in redis_rights().items():
        acl(site, "SETUSER", f"stocktake-{role}", "reset", "on", f">{PASSWORD}", *rules)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("rights")
    certificates = make_certificates(folder / "certificates")
    redis_port, http_port = free_ports(2)
    (folder / "uids.csv").write_text("1.2.3,1.2.3.0\n", encoding="utf-8")
    archive = FakeArchive()
    for number in range(1, 4):
        uid = f"1.2.{number}"
        archive.add(*(instance(uid, f"{uid}.1", f"{uid}.1.{one}", f"202405{number:02}") for one in (1, 2)))
    (folder / "kafka").mkdir()
    with (
        run_secure_kafka(folder / "kafka", certificates, PASSWORD) as kafka,
        running(node_process(folder / "redis", redis_port)),
        Redis(port=redis_port) as redis,
        run_archive(archive),
    ):
        made = Site(folder, kafka, certificates, redis, archive, f"127.0.0.1:{http_port}")
        grant(made)
        yield made


# --- the roles at work -----------------------------------------------------------------------------------------


def events_of(repository: str) -> list[dict[str, Any]]:
    """Stores, an update, a removal, a patient's change, a study that is to be looked up, and a bad message."""
    study = {"0020000D": {"vr": "UI", "Value": ["1.2.9"]}}
    patient = {"00100020": {"vr": "LO", "Value": ["P9"]}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}}
    before = {"00100020": {"vr": "LO", "Value": ["P8"]}}
    events: list[dict[str, Any]] = [ct(number, one, number) for number in (1, 2, 3) for one in (1, 2)]
    events += [
        {"action": "store", "level": "STUDY", "dataset": study | before},
        {"action": "update", "level": "STUDY", "dataset": study | {"00081030": {"vr": "LO", "Value": ["CT"]}}},
        {"action": "update", "level": "PATIENT", "prior": before, "dataset": patient},
        {"action": "delete", "level": "STUDY", "dataset": {"0020000D": {"vr": "UI", "Value": ["1.2.2"]}}},
    ]
    if repository == "vna":
        return events[2:3] + events[-4:]
    lacking = {"action": "store", "lacking": True, "dataset": {"0020000D": {"vr": "UI", "Value": ["1.2.1"]}}}
    no_event = {"action": "nonsense", "dataset": {"0020000D": {"vr": "UI", "Value": ["1.2.4"]}}}
    return [*events, lacking, no_event]


@contextlib.contextmanager
def consumers_at_work(site: Site) -> Iterator[Roles]:
    stop = Flag()
    roles = Roles(stop)
    start_consumers(roles, load(None, site.environ("consumer")), list(TOPICS), stop)
    try:
        yield roles
    finally:
        stop.set()
        roles.join(20)


@contextlib.contextmanager
def at_work(role: Any) -> Iterator[None]:
    """A role that takes a flag to end, in a thread; what it raised is raised."""
    stop, failures = Flag(), []

    def run() -> None:
        try:
            role(stop)
        except BaseException as error:
            failures.append(error)

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
    if failures:
        raise failures[0]


@contextlib.contextmanager
def ended_after(seconds: float, stop: Flag) -> Iterator[None]:
    timer = Timer(seconds, stop.set)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def caught_up(roles: Roles, opened: OpenRepository, studies: int) -> None:
    def done() -> bool:
        if roles.failed():
            roles.join(0)
        return opened.studies.count() >= studies

    wait_for(done, f"{studies} studies of {opened.policy.name}", 30)


def ask(site: Site, method: str, path: str, code: int = 200, **given: Any) -> Any:
    answer = httpx.request(method, f"http://{site.http}{path}", timeout=10, **given)
    assert answer.status_code == code, (path, answer.text)
    return answer.json() if answer.headers.get("content-type", "").startswith("application/json") else None


def is_ready(site: Site) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://{site.http}/readyz", timeout=10).status_code == 200
    return False


def the_service_answers(site: Site) -> None:
    """Everything that is read there, and everything that is ordered there."""
    open_study = {"study_instance_uid": "1.2.1"}
    wait_for(lambda: is_ready(site), "the service")
    for path in ("/metrics", "/api/v1/repositories/pacs", "/api/v1/repositories/pacs/inventories", "/api/v1/cutover"):
        ask(site, "GET", path)
    wait_for(lambda: "stocktake_lag_messages{" in httpx.get(f"http://{site.http}/metrics").text, "the lag")
    head = ask(site, "GET", "/api/v1/repositories/pacs/head")["sop_instance_uid"]
    ask(site, "POST", f"/api/v1/repositories/pacs/inventories/{head}/verifications", 202)
    ask(site, "POST", "/api/v1/cutover/exceptions/search", json={})
    ask(site, "POST", "/api/v1/cutover/acknowledgements", 204, json={**open_study, "note": "seen"})
    ask(site, "POST", "/api/v1/cutover/acknowledgements/withdraw", 204, json=open_study)
    ask(site, "GET", "/api/v1/cutover/history")
    ask(site, "GET", "/api/v1/cutover/report?format=json")
    number = ask(site, "POST", "/api/v1/repositories/pacs/deltas", 202)["number"]
    path = f"/api/v1/repositories/pacs/deltas/{number}"
    wait_for(lambda: ask(site, "GET", path).get("sop_instance_uid"), "a delta that was asked for")


def work(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each role does what it is for, once."""
    of = {role: load(None, site.environ(role)) for role in kafka_rights()}
    for repository in TOPICS:
        events = site.folder / f"{repository}.ndjson"
        events.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in events_of(repository)))
        site.run("publisher", "publish", str(events), "--repository", repository)
    stop = Flag()
    for command in ("bridge", "crawl", "deliver"):
        monkeypatch.setattr(f"stocktake.commands.{command}.stop_on_signals", lambda: stop)
    with contextlib.ExitStack() as stack:
        roles = stack.enter_context(consumers_at_work(site))
        pacs = stack.enter_context(contextlib.closing(open_repository(of["operator"], "pacs")))
        vna = stack.enter_context(contextlib.closing(open_repository(of["operator"], "vna")))
        caught_up(roles, pacs, 4)
        caught_up(roles, vna, 2)
        with at_work(lambda flag: enrich(of["enricher"], "pacs", flag)):
            with ended_after(PATIENCE, stop):  # it would wait for ever for an enricher that may not write
                site.run("crawler", "crawl", "--repository", "pacs")
            positions = Positions(pacs.connection, "pacs")
            with at_work(lambda flag: site.run("bridge", "bridge", "dicomweb", "--repository", "pacs")):
                wait_for(lambda: "polled" in (positions.read(BRIDGE) or {}), "a poll")
                stop.set()
            stop.clear()
            wait_for(lambda: pacs.debts.count() == 0, "looks that are paid")
        with at_work(partial(write, of["writer"], "pacs")):
            wait_for(lambda: (site.folder / "inventories" / "pacs" / "head.json").exists(), "an inventory")
            with at_work(partial(serve, of["service"], list(TOPICS))):
                the_service_answers(site)
        by_hand(site)


def by_hand(site: Site) -> None:
    """What an operator does, with the consumers at work."""
    folder = site.folder / "inventories" / "pacs"
    pacs = ("--repository", "pacs")
    site.run("operator", "status", "--json")
    site.run("operator", "cutover", "--compare", "--json", code=Exit.FAULTS)  # the gate is not met
    site.run("operator", "reset", "--to", "earliest", "--yes", *pacs)
    site.run("operator", "resume", *pacs)
    site.run("operator", "migrate", "--check", *pacs)
    site.run("operator", "enrich", "--again", *pacs)
    site.run("operator", "baseline", "--force", *pacs)
    site.run("operator", "deliver", "--again", *pacs)
    site.run("operator", "verify", "--record", str(folder), *pacs)
    site.run("operator", "import", str(folder), "--partial", *pacs)


def test_each_role_does_its_work_with_the_rights_of_the_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    acl(site, "LOG", "RESET")
    try:
        work(site, monkeypatch)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        refused = [(one["username"], one["reason"], one["object"]) for one in site.redis.acl_log()]
    assert refused == []


# --- what they may not -----------------------------------------------------------------------------------------

ROLES: Final = tuple(redis_rights())


def allowed(site: Site, role: str, *words: str) -> bool:
    """Whether that role's user may do this at Redis; nothing is done."""
    answer: Any = acl(site, "DRYRUN", f"stocktake-{role}", *words)
    return bool(answer == b"OK")


@pytest.mark.parametrize("role", ROLES)
def test_no_role_may_empty_the_server_or_set_it_up_or_read_what_is_not_ours(site: Site, role: str) -> None:
    commands = "FLUSHALL;FLUSHDB;CONFIG GET *;CONFIG SET maxmemory 1;ACL LIST;KEYS *;SHUTDOWN;MONITOR;SWAPDB 0 1"
    commands += ";CLIENT KILL 1.2.3.4:5;CLIENT PAUSE 1;DEBUG SLEEP 0;EVAL return(1) 0"
    assert [one for one in commands.split(";") if allowed(site, role, *one.split(" "))] == []
    assert not allowed(site, role, "GET", "somebody:elses")
    assert not allowed(site, role, "HSET", "somebody:elses", "field", "value")


def test_only_who_writes_may_change_the_chain(site: Site) -> None:
    keys = RepositoryKeys("pacs")
    for role in ROLES:
        writes = [allowed(site, role, "HSET", keys.chain, "head", "x"), allowed(site, role, "SET", keys.lease, "1")]
        assert writes == [role in ("writer", "run", "operator")] * 2, role
        assert allowed(site, role, "HGET", keys.chain, "head")


def test_who_only_looks_may_not_change_a_study(site: Site) -> None:
    study = ShardKeys("pacs", 0).study("1.2")
    found = {role: allowed(site, role, "HSET", study, "field", "value") for role in ROLES}
    assert {role for role, may in found.items() if not may} == {"service", "enricher", "crawler"}


def test_a_user_may_be_held_to_one_repository(site: Site) -> None:
    [template] = re.findall(r"^~st:\{\*\}:NAME:\S+ .*$", PAGE.read_text("utf-8"), re.MULTILINE)
    patterns = template.replace("NAME", "pacs").split()
    acl(site, "SETUSER", "stocktake-one", "reset", "on", "+@all", *patterns)
    try:
        assert allowed(site, "one", "HGETALL", ShardKeys("pacs", 3).study("1.2"))
        assert allowed(site, "one", "GET", RepositoryKeys("pacs").lease)
        assert not allowed(site, "one", "HGETALL", ShardKeys("vna", 3).study("1.2"))
        assert not allowed(site, "one", "GET", RepositoryKeys("vna").lease)
    finally:
        acl(site, "DELUSER", "stocktake-one")
