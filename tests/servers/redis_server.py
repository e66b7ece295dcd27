"""The Redis or Valkey of the tests: given, in Docker, an installed one, or the ``embedded`` extra's Valkey."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from redis import Redis

from stocktake.embedded import (
    HOST,
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


def _container(port: int) -> tuple[Container, str]:
    options = "--appendonly yes --appendfsync everysec --maxmemory-policy noeviction"
    command = f"redis-server {options} --save '' --port {port}"
    return Container(IMAGE, port, lambda: redis_answers(port), command=command), "Docker"


def _process(port: int, folder: Path) -> tuple[ServerProcess, str]:
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    binary, origin = (Path(installed), installed) if installed else (find_valkey(), "embedded extra")
    data = folder / "data"
    data.mkdir()
    command = valkey_command(binary, data, port)
    return ServerProcess("Redis", command, folder / "redis.log", lambda: redis_answers(port)), origin


def _version(url: str) -> str:
    with Redis.from_url(url) as client:
        info = cast(dict[str, Any], client.info("server"))
    name = "Valkey" if "valkey_version" in info else "Redis"
    return f"{name} {info.get('valkey_version') or info['redis_version']}"
