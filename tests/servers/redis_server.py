"""The Redis or Valkey of the tests: given, in Docker, an installed one, or the ``embedded`` extra's Valkey."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from state.address import SENTINEL_PORT, parse_redis_url
from state.policy import RedisPolicy
from stocktake.embedded import (
    HOST,
    VALKEY_VARIABLES,
    ServerProcess,
    find_valkey,
    free_ports,
    redis_answers,
    valkey_command,
)
from tests.servers.processes import Container, Given, RealServer, docker_answers, running

VARIABLE: Final = "STOCKTAKE_TEST_REDIS"
IMAGE: Final = "redis:8.2"


@dataclass(frozen=True, kw_only=True)
class RedisServer(RealServer):
    """A running Redis or Valkey that keeps each write in its append-only file and never evicts a key."""

    url: str


@contextmanager
def run_redis(folder: Path) -> Iterator[RedisServer]:
    """Find or start the server; data and log of one that is started are below ``folder``.

    Raises EmbeddedServerError if there is none or it does not start.
    """
    given = os.environ.get(VARIABLE)
    if given:
        description = f"{_version(given)} (given by {VARIABLE})"
        yield RedisServer(url=given, description=description, ours=False, process=Given(VARIABLE))
        return
    [port] = free_ports(1)
    url = f"redis://{HOST}:{port}/0"
    server, origin = _container(port) if docker_answers() else _process(port, folder)
    with running(server):
        description = f"{_version(url)} ({origin})"
        yield RedisServer(url=url, description=description, ours=True, process=server)


def open_client(policy: RedisPolicy) -> Redis:
    """The client library's own client of the servers of a policy, to look at the state from outside.

    A cluster's client has the methods of a server's, but belongs to another class.
    """
    url = parse_redis_url(policy.url, SENTINEL_PORT if policy.mode == "sentinel" else 6379)
    options: dict[str, Any] = {
        "username": policy.username or url.username or None,
        "password": policy.password or url.password or None,
    }
    if url.tls:
        options |= {"ssl": True, "ssl_ca_certs": policy.tls_ca_file and str(policy.tls_ca_file)}
    if policy.mode == "cluster":
        nodes = [ClusterNode(*address) for address in url.addresses]  # type: ignore[no-untyped-call]
        return cast(Redis, RedisCluster(startup_nodes=nodes, **options))
    if policy.mode == "sentinel":
        watcher = {"username": policy.sentinel_username or None, "password": policy.sentinel_password or None}
        sentinel = Sentinel(url.addresses, sentinel_kwargs=options | watcher, **options)  # type: ignore[no-untyped-call]
        return cast(Redis, sentinel.master_for(policy.sentinel_master))  # type: ignore[no-untyped-call]
    [(host, port)] = url.addresses
    return Redis(host=host, port=port, db=url.database, **options)


def _container(port: int) -> tuple[Container, str]:
    options = "--appendonly yes --appendfsync everysec --auto-aof-rewrite-min-size 512mb --maxmemory-policy noeviction"
    command = f"redis-server {options} --save '' --port {port}"
    return Container(IMAGE, port, lambda: redis_answers(port), command=command), "Docker"


def _process(port: int, folder: Path) -> tuple[ServerProcess, str]:
    return node_process(folder, port), server_binary()[1]


def server_binary() -> tuple[Path, str]:
    """The server's program and where it comes from; EmbeddedServerError if there is none."""
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    return (Path(installed), installed) if installed else (find_valkey(), "embedded extra")


def node_process(folder: Path, port: int, *options: str, answers: Callable[[], bool] | None = None) -> ServerProcess:
    """A server that is not started yet, with more options; data and log are below ``folder``.

    ``answers`` tells that it is ready where PING alone is refused.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    command = [*valkey_command(server_binary()[0], data, port), *options]
    answers = answers or (lambda: redis_answers(port))
    return ServerProcess(f"Redis {port}", command, folder / "redis.log", answers, variables=VALKEY_VARIABLES)


def _version(url: str) -> str:
    with Redis.from_url(url) as client:
        info = cast(dict[str, Any], client.info("server"))
    name = "Valkey" if "valkey_version" in info else "Redis"
    return f"{name} {info.get('valkey_version') or info['redis_version']}"
