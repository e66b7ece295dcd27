"""A Redis for each thing that is measured: what was kept before leaves a server's memory scattered, and slower."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from stocktake.embedded import ServerProcess
from stocktake.settings import Settings
from tests.servers.processes import RealServer
from tests.servers.redis_server import run_redis


@dataclass(frozen=True, slots=True)
class OwnRedis:
    """The settings that lead to it, its process id, and what it is."""

    settings: Settings
    pid: int
    description: str


@contextmanager
def own_redis(settings: Settings) -> Iterator[OwnRedis]:
    """An empty server that was just started; it ends with the block."""
    with tempfile.TemporaryDirectory() as name, run_redis(Path(name)) as redis:
        yield OwnRedis(
            replace(settings, redis=replace(settings.redis, url=redis.url)), process_id(redis), redis.description
        )


def process_id(server: RealServer) -> int:
    """The process whose processor time is told; only a server that this run started has one."""
    if not isinstance(server.process, ServerProcess) or server.process.pid is None:
        raise SystemExit(
            f"the benchmark starts its servers itself, as processes; this one it did not: {server.description}"
        )
    return server.process.pid
