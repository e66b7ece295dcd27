"""`stocktake run` leaves word for every role: frozen none is alive, and without Redis all are, but none is ready."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from consumers.health import check
from state.attributes import Level
from stocktake.exits import Exit
from stocktake.members import Member, announced, consumers
from stocktake.wiring import open_producer
from tests.chains import Chain
from tests.harness import Deployment, wait_for
from tests.http_site import listen
from tests.programs import Command, running
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.redis_server import RedisServer
from writers import runs

SILENCE = 4.0  # seconds; `stocktake health` bears more, for which nobody waits here


@pytest.fixture
def deployment(
    tmp_path: Path, redis_url: str, repository: str, kafka_broker: KafkaBroker, make_topic: Callable[..., str]
) -> Iterator[Deployment]:
    given = {
        "HEALTH__FILE": str(tmp_path / "health"),
        "HTTP__LISTEN": listen(),
        "INVENTORY__INTERVAL": "1s",
        "KAFKA__SESSION_TIMEOUT": "4s",
        # Nobody is there, and nobody is asked as long as nothing is owed.
        f"ARCHIVES__{repository.upper()}__URL": "http://127.0.0.1:9",
    }
    where = kafka_broker.bootstrap_servers
    made = Deployment(tmp_path, redis_url, repository, where, make_topic(partitions=2), **given)
    yield made
    made.close()


class Members:
    """Who was announced, and how each is by its own word."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self._deployment = deployment
        self._path = folder / "health"

    @property
    def known(self) -> list[Member]:
        return announced(self._path, [self._deployment.name])

    def say(self) -> dict[str, list[str]]:
        """What is wrong with each, by role."""
        now = time.time_ns() // 1000
        return {one.role: [text.partition(" the last")[0] for text in self._check(one, now)] for one in self.known}

    def _check(self, member: Member, now: int) -> list[str]:
        return check(member.file(self._path), now, SILENCE)

    def wait_until(self, problems: list[str], program: Command) -> None:
        """All roles have these problems."""
        wanted = dict.fromkeys(("consumer", "writer", "enricher", "service"), problems)
        try:
            wait_for(lambda: self.say() == wanted, f"all say {problems}")
        except AssertionError as error:
            error.add_note(f"{self.say()}\n{program.log}")
            raise


def test_every_role_of_run_is_well_frozen_and_without_redis_what_it_says_it_is(
    tmp_path: Path, deployment: Deployment, redis_server: RedisServer
) -> None:
    name = deployment.name
    members = Members(deployment, tmp_path)
    with running(tmp_path, deployment.environ, "run") as program:
        wait_for(lambda: bool(members.known), "they are announced")
        others = [Member("writer", name), Member("enricher", name), Member("service")]
        assert members.known == [*consumers([name], 1), *others]
        members.wait_until([], program)

        program.signal(signal.SIGSTOP)
        members.wait_until(["not alive:"], program)
        program.signal(signal.SIGCONT)
        members.wait_until([], program)

        redis_server.kill()
        try:
            members.wait_until(["not ready: waiting for redis"], program)
            address = deployment.environ["STOCKTAKE_HTTP__LISTEN"]
            assert httpx.get(f"http://{address}/healthz").status_code == 200
            assert httpx.get(f"http://{address}/readyz").status_code == 503
        finally:
            redis_server.start()
        members.wait_until([], program)
        assert program.end() == Exit.DONE
    assert members.known == []


def test_a_large_production_is_a_steady_sign_of_life_to_its_end(
    tmp_path: Path, redis_url: str, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each of its steps: records in this process and in others, the file's blocks, what is struck off."""
    chain = Chain(tmp_path, redis_url, repository, INVENTORY__PROCESSES="2")
    monkeypatch.setattr(runs, "RUNS", dict.fromkeys(Level, 4))
    chain.store(*range(1, 41))
    seen: list[str] = []
    settings, opened = chain.deployment.settings, chain.deployment.opened
    producer, lease = open_producer(settings, opened, alive=lambda: seen.append(step_in_hand()))
    assert lease.take()
    producer.produce("baseline", force=True)
    lease.release()
    chain.deployment.close()
    assert {"_read_slice", "_assemble", "_settle"} <= set(seen)
    assert seen.count("_settle") == 40


def step_in_hand() -> str:
    """Which step of a production this is called in."""
    names = [frame.name for frame in traceback.extract_stack()]
    return next((name for name in names if name in ("_read_slice", "_assemble", "_settle", "_moment")), "")
