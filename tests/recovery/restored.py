"""A Redis that is ended, and started with a backup in the place of what it held."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from redis import Redis

from stocktake.embedded import HOST, VALKEY_VARIABLES, ServerProcess, free_ports, redis_answers, valkey_command
from tests.servers.redis_server import server_binary


class RestoredRedis:
    """A server of this machine; ``url`` stays the same."""

    def __init__(self, folder: Path) -> None:
        [self._port] = free_ports(1)
        self.url = f"redis://{HOST}:{self._port}/0"
        self._folder = folder
        self._data = folder / "data"
        self._process = self._server()

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        server = cls(folder)
        server._data.mkdir(parents=True)
        try:
            server._process.start()
            yield server
        finally:
            server._process.kill()

    def restore(self, backup: Path) -> None:
        """As the page says: nothing but the file in its folder, a start without the append-only file, then with it."""
        self._process.kill()
        shutil.rmtree(self._data)
        self._data.mkdir()
        shutil.copy(backup, self._data / "dump.rdb")
        self._process = self._server("--appendonly", "no")
        self._process.start()
        with Redis.from_url(self.url) as client:
            client.config_set("appendonly", "yes")

    def _server(self, *options: str) -> ServerProcess:
        binary, _ = server_binary()
        command = [*valkey_command(binary, self._data, self._port), *options]
        log = self._folder / "redis.log"
        return ServerProcess("Redis", command, log, lambda: redis_answers(self._port), variables=VALKEY_VARIABLES)
