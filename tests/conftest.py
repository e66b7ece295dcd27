"""Fixtures for tests on real servers. Nothing is started before a test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final
from uuid import uuid4

import pytest
from redis import Redis

from tests.servers.kafka_broker import KafkaBroker, run_kafka
from tests.servers.redis_server import RedisServer, run_redis

MakeTopic = Callable[..., str]

_USED: Final = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_USED] = []


def pytest_report_header() -> str:
    return "servers: found or started when a test first asks; the summary says which"


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["servers"] = session.config.stash[_USED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process of pytest-xdist that ends tells the one that makes the summary what it used."""
    used = node.config.stash[_USED]
    used += [one for one in getattr(node, "workeroutput", {}).get("servers", ()) if one not in used]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    used = config.stash[_USED]
    if used:
        terminalreporter.section("real servers")
    for line in used:
        terminalreporter.line(line)


@pytest.fixture(scope="session")
def kafka_broker(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """The broker of this run; see tests/servers/kafka_broker.py for which one."""
    with run_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        pytestconfig.stash[_USED].append(f"broker: {broker.description}")
        yield broker


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The Redis or Valkey of this run; see tests/servers/redis_server.py for which one."""
    with run_redis(tmp_path_factory.mktemp("redis")) as server:
        pytestconfig.stash[_USED].append(f"redis: {server.description}")
        yield server


@pytest.fixture
def make_topic(kafka_broker: KafkaBroker) -> Iterator[MakeTopic]:
    """Creates a topic under a new random name each time: ``make_topic(partitions=4, **configs) -> name``."""
    kafka_broker.start()  # a test before this one may have killed it and failed
    created: list[str] = []

    def make(partitions: int = 4, **configs: str) -> str:
        name = f"stocktake-test-{uuid4().hex}"
        kafka_broker.create_topic(name, partitions, configs)
        created.append(name)
        return name

    yield make
    if created and not kafka_broker.ours:
        kafka_broker.delete_topics(created)


@pytest.fixture
def topic(make_topic: MakeTopic) -> str:
    """A new topic of four partitions."""
    return make_topic()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The server's URL, its data flushed unless the server was given: then use ``repository``'s keys only."""
    redis_server.start()  # a test before this one may have killed it and failed
    if redis_server.ours:
        with Redis.from_url(redis_server.url) as client:
            client.flushall()
    return redis_server.url


@pytest.fixture
def repository() -> str:
    """A random repository name, so that tests share a server without sharing keys."""
    return "r" + uuid4().hex[:8]
