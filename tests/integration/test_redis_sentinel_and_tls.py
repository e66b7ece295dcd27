"""Redis behind sentinels, with TLS, and for a user with few rights; what is said when one of these does not fit."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from threading import Event as Flag
from threading import Thread
from typing import Final

import pytest
from redis import Redis

from state.attributes import Level
from state.connection import Connection
from state.errors import StateMismatch, StateUnreachable
from state.times import MICROSECONDS
from stocktake.embedded import free_ports
from stocktake.exits import Exit
from stocktake.settings import load
from stocktake.wiring import open_repository
from tests.harness import Deployment, wait_for
from tests.integration.test_command_line import CommandLine
from tests.oracle.adversary import BEGIN, Universe, random_events
from tests.oracle.events import moment
from tests.oracle.journal import Journal
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.processes import running
from tests.servers.redis_cluster import run_cluster
from tests.servers.redis_sentinel import MASTER_NAME, Watched, run_sentinel
from tests.servers.redis_server import node_process
from tests.servers.tls_proxy import tls_proxy

PASSWORD: Final = "correct-horse"  # noqa: S105 -- of servers that live as long as this module's tests
SENTINEL_PASSWORD: Final = "battery-staple"  # noqa: S105
WRONG: Final = "hunter2"
OPERATIONS: Final = Path(__file__).parents[2] / "docs" / "operations.md"
Connect = Callable[..., Connection]


def settings_of(**given: str) -> dict[str, str]:
    """As environment variables of redis.*; an empty one is left out."""
    return {f"REDIS__{name}": value for name, value in given.items() if value}


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens connections with settings of redis.*, given in upper case."""
    with contextlib.ExitStack() as stack:

        def make(**given: str) -> Connection:
            environ = {f"STOCKTAKE_{name}": value for name, value in settings_of(**given).items()}
            return stack.enter_context(contextlib.closing(Connection(load(None, environ).redis)))

        yield make


def follow_by_hand(made: Deployment, seed: int) -> None:
    """Apply events and take inventories: resolving the head equals what the events say."""
    rng, journal, offset = Random(seed), Journal(Level.INSTANCE), 0
    events = random_events(rng, Universe(studies=8))
    for _ in range(4):
        batch = [(event, BEGIN + 10_000 * MICROSECONDS) for event in islice(events, 30)]
        made.clock.now = max(moment(event["time"]) for event, _ in batch)
        for number, (event, timestamp) in enumerate(batch):
            journal.add(event, timestamp, 0, offset + number)
        offset = made.apply(batch, offset)
        manifest = made.produce()
        journal.start = manifest.scope_begin
        journal.check_present(made.path(manifest))


# --- sentinels -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """For tests that leave master and sentinels as they are."""
    folder = tmp_path_factory.mktemp("sentinel")
    with run_sentinel(folder, password=PASSWORD, sentinel_password=SENTINEL_PASSWORD) as watched:
        yield watched


@pytest.fixture
def own_watched(tmp_path: Path) -> Iterator[Watched]:
    """For a test that breaks something: sentinels take longer to mend it than to start anew."""
    with run_sentinel(tmp_path / "own", password=PASSWORD, sentinel_password=SENTINEL_PASSWORD) as watched:
        yield watched


def sentinel_settings(watched: Watched, **given: str) -> dict[str, str]:
    return {
        "MODE": "sentinel",
        "URL": watched.url,
        "PASSWORD": PASSWORD,
        "SENTINEL_MASTER": MASTER_NAME,
        "SENTINEL_PASSWORD": SENTINEL_PASSWORD,
        "TIMEOUT": "20s",
    } | given


def test_everything_works_behind_sentinels(watched: Watched, tmp_path: Path, repository: str) -> None:
    given = settings_of(**sentinel_settings(watched))
    with contextlib.closing(Deployment(tmp_path, given.pop("REDIS__URL"), repository, **given)) as made:
        follow_by_hand(made, 1)


@dataclass
class Load:
    """Increments without pause, in a thread."""

    connection: Connection
    rounds: int = 0
    error: BaseException | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        stop = Flag()

        def work() -> None:
            try:
                while not stop.is_set():
                    self.connection.send([("INCR", "load"), ("TIME",)])
                    self.rounds += 1
            except BaseException as error:
                self.error = error

        thread = Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert self.error is None

    def goes_on(self) -> None:
        before = self.rounds
        wait_for(lambda: self.error is not None or self.rounds > before + 10, "load")


def test_a_killed_master_is_replaced_under_load_without_an_error(own_watched: Watched, connect: Connect) -> None:
    load = Load(connect(**sentinel_settings(own_watched)))
    with load.running():
        load.goes_on()
        killed = own_watched.master()
        killed.kill()
        own_watched.wait_for_another_than(killed)
        load.goes_on()
    replacement = own_watched.master()
    assert replacement is not killed
    assert int(replacement.ask("GET", "load")) >= 10


def test_a_master_that_is_replaced_while_it_lives_is_left_within_seconds(
    own_watched: Watched, connect: Connect
) -> None:
    load = Load(connect(**sentinel_settings(own_watched)))
    with load.running():
        load.goes_on()
        before = own_watched.master()
        after = next(node for node in own_watched.servers if node is not before)
        own_watched.sentinels[0].ask("SENTINEL", "FAILOVER", MASTER_NAME)
        wait_for(lambda: after.is_primary, "the new master", 8)
        count = int(after.ask("GET", "load"))
        wait_for(lambda: int(after.ask("GET", "load")) > count + 10, "load at the new master", 8)
        if before.is_primary:  # it still takes writes: nobody has told it yet
            left = before.ask("GET", "load")
            load.goes_on()
            assert before.ask("GET", "load") == left
    own_watched.wait_for_another_than(before)


def test_sentinels_that_are_gone_change_nothing_while_the_master_lives(own_watched: Watched, connect: Connect) -> None:
    load = Load(connect(**sentinel_settings(own_watched)))
    with load.running():
        load.goes_on()
        for node in own_watched.sentinels:
            node.process.stop()
        try:
            wait_for(lambda: load.error is not None or load.rounds > 2000, "load")
            load.goes_on()
        finally:
            for node in own_watched.sentinels:
                node.start()


# --- one server ----------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    """A server of this test alone, by the client library's client of it."""
    [port] = free_ports(1)
    with running(node_process(tmp_path / "server", port)), Redis(port=port) as client:
        yield client


def url_of(server: Redis) -> str:
    return f"redis://127.0.0.1:{server.get_connection_kwargs()['port']}/0"


def test_a_server_that_becomes_a_replica_is_not_believed_until_it_takes_writes_again(
    server: Redis, connect: Connect
) -> None:
    hasty, patient = connect(URL=url_of(server), TIMEOUT="200ms"), connect(URL=url_of(server), TIMEOUT="20s")
    patient.send([("RPUSH", "list", 0)])
    server.replicaof("127.0.0.1", 1)
    with pytest.raises(StateUnreachable, match="takes no writes now"):
        hasty.send([("LRANGE", "list", 0, -1), ("RPUSH", "list", 1)])
    waiting = Thread(target=lambda: patient.send([("RPUSH", "list", 2)]))
    waiting.start()
    server.replicaof("NO", "ONE")
    waiting.join()
    assert patient.send([("LRANGE", "list", 0, -1)]) == [[b"0", b"2"]]


def test_a_server_whose_replicas_are_away_takes_no_writes_for_now(server: Redis, connect: Connect) -> None:
    connection = connect(URL=url_of(server))
    server.config_set("min-replicas-to-write", 1)
    with pytest.raises(StateUnreachable, match="takes no writes now: NOREPLICAS"):
        connection.send([("SET", "key", 1)])
    server.config_set("min-replicas-to-write", 0)
    connection.send([("SET", "key", 1)])


def test_a_database_that_there_is_not_is_told(server: Redis, connect: Connect) -> None:
    with pytest.raises(StateMismatch, match="has no such database"):
        connect(URL=url_of(server).removesuffix("0") + "99").now()


def test_a_socket_is_as_good_as_an_address(tmp_path: Path, connect: Connect) -> None:
    [port] = free_ports(1)
    path = Path(tempfile.mkdtemp()) / "redis.sock"  # a socket's path has to be short
    with running(node_process(tmp_path / "server", port, "--unixsocket", str(path))):
        connection = connect(URL=f"unix://{path}")
        connection.check()
        assert connection.now() > BEGIN


# --- TLS -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Secured:
    """A server's ports with TLS, and two authorities: the one that signed its certificate, and another."""

    port: int
    asks_for_certificate: int
    shows_another_name: int
    plain: int
    ours: Certificates
    others: Certificates

    def settings(self, port: int = 0, **given: str) -> dict[str, str]:
        found = {"URL": f"rediss://127.0.0.1:{port or self.port}/0", "TLS_CA_FILE": str(self.ours.authority)}
        return found | {"TIMEOUT": "1s"} | given

    @property
    def our_certificate(self) -> dict[str, str]:
        return {"TLS_CERT_FILE": str(self.ours.client.certificate), "TLS_KEY_FILE": str(self.ours.client.key)}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    ours, others = make_certificates(folder / "ours"), make_certificates(folder / "others")
    [plain] = free_ports(1)
    with (
        running(node_process(folder / "server", plain)),
        tls_proxy(plain, ours) as port,
        tls_proxy(plain, ours, ask_client=True) as mutual,
        tls_proxy(plain, ours, shown=ours.elsewhere) as elsewhere,
    ):
        yield Secured(port, mutual, elsewhere, plain, ours, others)


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, INVENTORY__DIR=str(tmp_path / "inventories"))


def test_everything_works_with_tls(secured: Secured, tmp_path: Path, repository: str) -> None:
    given = settings_of(**secured.settings())
    with contextlib.closing(Deployment(tmp_path, given.pop("REDIS__URL"), repository, **given)) as made:
        follow_by_hand(made, 2)


def test_a_name_in_the_url_is_found_in_the_certificate(secured: Secured, connect: Connect) -> None:
    connect(**secured.settings(URL=f"rediss://localhost:{secured.port}")).check()


def test_our_certificate_is_shown_where_it_is_asked_for(secured: Secured, connect: Connect) -> None:
    connect(**secured.settings(secured.asks_for_certificate, **secured.our_certificate)).check()


def test_a_renewed_authority_is_taken_up_without_a_restart(secured: Secured, connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(secured.others.authority.read_bytes())
    connection = connect(**secured.settings(TLS_CA_FILE=str(file), TIMEOUT="200ms"))
    with pytest.raises(StateUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        connection.now()
    file.write_bytes(secured.ours.authority.read_bytes())
    connection.now()


def test_a_cluster_is_reached_with_tls_at_the_ports_that_its_nodes_tell(
    secured: Secured, tmp_path: Path, repository: str
) -> None:
    given = settings_of(MODE="cluster", TLS_CA_FILE=str(secured.ours.authority), TIMEOUT="20s")
    with run_cluster(tmp_path / "cluster", front=lambda port: tls_proxy(port, secured.ours)) as cluster:
        url = cluster.url.replace("redis://", "rediss://")
        with contextlib.closing(Deployment(tmp_path, url, repository, **given)) as made:
            cluster.promote(cluster.replica_of(cluster.primaries()[0]))
            follow_by_hand(made, 3)


def test_sentinels_and_the_master_that_they_name_are_reached_with_tls(
    secured: Secured, tmp_path: Path, connect: Connect
) -> None:
    with run_sentinel(tmp_path, front=lambda port: tls_proxy(port, secured.ours)) as watched:
        url = watched.url.replace("redis://", "rediss://")
        given = {"MODE": "sentinel", "SENTINEL_MASTER": MASTER_NAME, "TLS_CA_FILE": str(secured.ours.authority)}
        load = Load(connect(URL=url, TIMEOUT="20s", **given))
        with load.running():
            load.goes_on()
            killed = watched.master()
            killed.kill()
            watched.wait_for_another_than(killed)
            load.goes_on()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (lambda s: s.settings(TLS_CA_FILE=str(s.others.authority)), "CERTIFICATE_VERIFY_FAILED"),
        (lambda s: s.settings(TLS_CA_FILE=""), "CERTIFICATE_VERIFY_FAILED"),
        (lambda s: s.settings(s.shows_another_name), "IP address mismatch"),
        (lambda s: s.settings(s.asks_for_certificate), "no connection with TLS"),
        (lambda s: s.settings(s.plain), "Timeout connecting to server"),
    ],
    ids=["unknown authority", "only the system's authorities", "another name", "no certificate of ours", "no TLS"],
)
def test_what_tls_does_not_trust_is_one_line_that_names_the_server(
    secured: Secured, command_line: CommandLine, changes: Callable[[Secured], dict[str, str]], said: str
) -> None:
    error = command_line.fails("status", code=Exit.UNREACHABLE, **settings_of(**changes(secured)))
    assert error.startswith("Redis at 127.0.0.1:")
    assert said in error


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_file_that_cannot_be_used_is_named(
    secured: Secured, command_line: CommandLine, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_bytes(content)
    error = command_line.fails("status", code=Exit.USAGE, **settings_of(**secured.settings(TLS_CA_FILE=str(file))))
    assert str(file) in error
    assert "redis.tls_ca_file" in error


# --- users ---------------------------------------------------------------------------------------------------------


def rights() -> list[str]:
    """The rules of the user as docs/operations.md gives them, with the password of these tests."""
    [command] = re.findall(r"^ACL SETUSER stocktake (.+?)$", OPERATIONS.read_text("utf-8"), re.MULTILINE)
    return [f">{PASSWORD}" if rule.startswith(">") else rule for rule in command.split()]


@dataclass(frozen=True)
class Guarded:
    """A server that knows the user ``stocktake``, with the rights of the documentation, and ``guest``, without any."""

    url: str

    def settings(self, **given: str) -> dict[str, str]:
        return {"URL": self.url, "USERNAME": "stocktake", "PASSWORD": PASSWORD, "TIMEOUT": "1s"} | given


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    [port] = free_ports(1)
    with running(node_process(tmp_path_factory.mktemp("users"), port)), Redis(port=port) as client:
        client.execute_command("ACL", "SETUSER", "stocktake", *rights())
        client.execute_command("ACL", "SETUSER", "guest", "on", f">{PASSWORD}", "+@connection")
        client.execute_command("ACL", "SETUSER", "default", "off")
        yield Guarded(f"redis://127.0.0.1:{port}/0")


def looked_at_by_hand(folder: Path, url: str, repository: str, **given: str) -> Deployment:
    return Deployment(folder, url, repository, **settings_of(USERNAME="stocktake", PASSWORD=PASSWORD, **given))


def test_the_documented_rights_are_enough(guarded: Guarded, tmp_path: Path, repository: str) -> None:
    with contextlib.closing(looked_at_by_hand(tmp_path, guarded.url, repository)) as made:
        follow_by_hand(made, 4)


def test_the_documented_rights_are_enough_in_a_cluster(tmp_path: Path, repository: str) -> None:
    with run_cluster(tmp_path / "cluster") as cluster:
        for node in cluster.nodes:
            node.ask("ACL", "SETUSER", "stocktake", *rights())
        # What looks at the state from outside needs more than Stocktake does.
        made = Deployment(tmp_path, cluster.url, repository, **settings_of(MODE="cluster", TIMEOUT="20s"))
        with contextlib.closing(made):
            user = replace(made.settings.redis, username="stocktake", password=PASSWORD)
            made.settings = replace(made.settings, redis=user)
            made.opened.close()
            made.opened = open_repository(made.settings, None)
            follow_by_hand(made, 5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"PASSWORD": WRONG}, "refuses the user or password"),
        ({"USERNAME": "nobody", "PASSWORD": WRONG}, "refuses the user or password"),
        ({"USERNAME": "", "PASSWORD": ""}, "asks for a password; set redis.password"),
        ({"USERNAME": "guest"}, "does not let this user do that"),
    ],
    ids=["wrong password", "no such user", "no password", "no rights"],
)
def test_a_user_that_is_not_let_in_is_one_line_without_the_password(
    guarded: Guarded, command_line: CommandLine, given: dict[str, str], said: str
) -> None:
    error = command_line.fails("status", code=Exit.USAGE, **settings_of(**guarded.settings(**given)))
    assert error.startswith(f"Redis at {guarded.url.split('/')[2]} {said}")
    assert WRONG not in error
    assert PASSWORD not in error


@pytest.mark.parametrize(
    ("given", "said", "code"),
    [
        ({"PASSWORD": WRONG}, "refuses the user or password", Exit.USAGE),
        ({"SENTINEL_PASSWORD": WRONG}, "refuses the user or password: the sentinel 127.0.0.1:", Exit.USAGE),
        ({"SENTINEL_PASSWORD": ""}, "asks for a password", Exit.USAGE),
        ({"SENTINEL_MASTER": "other", "TIMEOUT": "1s"}, "the sentinels know no master called other", Exit.UNREACHABLE),
    ],
)
def test_what_does_not_fit_the_sentinels_is_one_line_without_the_password(
    watched: Watched, command_line: CommandLine, given: dict[str, str], said: str, code: Exit
) -> None:
    error = command_line.fails("status", code=code, **settings_of(**sentinel_settings(watched, **given)))
    assert error.startswith("Redis at ")
    assert said in error
    assert WRONG not in error
    assert SENTINEL_PASSWORD not in error


def test_a_wrong_password_of_a_cluster_is_one_line_without_it(tmp_path: Path, command_line: CommandLine) -> None:
    with run_cluster(tmp_path / "cluster") as cluster:
        given = settings_of(MODE="cluster", URL=cluster.url, USERNAME="nobody", PASSWORD=WRONG)
        error = command_line.fails("status", code=Exit.USAGE, **given)
    assert "refuses the user or password" in error
    assert WRONG not in error
