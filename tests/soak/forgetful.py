"""A Valkey that can be killed as a machine is: the last moments of its append-only file are gone when it returns."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Event as Flag
from threading import Lock, Thread
from typing import Final, NamedTuple

from redis import Redis

from stocktake.embedded import HOST, ServerProcess, find_valkey, free_ports, redis_answers, valkey_command, wait_until

MEMORY: Final = 3.0  # seconds of the file's growth that are remembered
_EACH: Final = 0.02
_REWRITE_AT: Final = 48 * 1024 * 1024  # bytes of the append-only file


class _Seen(NamedTuple):
    """The file of the latest writes at a moment (monotonic seconds) and its size in bytes."""

    at: float
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Cut:
    """What a kill took away: ``seconds`` of writes, ``bytes`` of the file."""

    seconds: float
    bytes: int


class ForgetfulRedis:
    """Valkey with ``appendfsync everysec``. It rewrites its file only in :meth:`rewrite`."""

    def __init__(self, folder: Path) -> None:
        [port] = free_ports(1)
        self.url = f"redis://{HOST}:{port}/0"
        self._data = folder / "data"
        self._data.mkdir(parents=True)
        command = [*valkey_command(find_valkey(), self._data, port), "--auto-aof-rewrite-percentage", "0"]
        self._process = ServerProcess("Redis", command, folder / "redis.log", lambda: redis_answers(port))
        self._seen: deque[_Seen] = deque()
        self._lock = Lock()  # of what is seen; also held while the file is about to be another

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it; gone when the block ends."""
        stop = Flag()
        watcher = Thread(target=self._watch, args=(stop,), name="append-only file", daemon=True)
        try:
            self._process.start()
            watcher.start()
            yield
        finally:
            stop.set()
            self._process.kill()

    @property
    def remembered(self) -> float:
        """Seconds of the file's growth that can be cut off now."""
        with self._lock:
            return time.monotonic() - self._seen[0].at if self._seen else 0.0

    def start(self) -> None:
        """Return with what the file still holds."""
        with self._lock:
            self._seen.clear()
        self._process.start()

    def kill(self, seconds: float, rng: Random) -> Cut:
        """End it at once and take the last ``seconds`` off its file, to a byte, not to a command."""
        killed = time.monotonic()
        self._process.kill()
        with self._lock:
            seen = [*self._seen, self._look()]
        before = max((number for number, one in enumerate(seen) if one.at <= killed - seconds), default=0)
        after = min(before + 1, len(seen) - 1)
        assert seen[before].path == seen[-1].path, "the file was rewritten a moment ago"
        size = rng.randint(seen[before].size, seen[after].size)
        os.truncate(seen[-1].path, size)
        return Cut(seconds, seen[-1].size - size)

    def rewrite(self) -> None:
        """Let the server rewrite its file if it has become long."""
        if self._look().size < _REWRITE_AT:
            return
        with self._lock, Redis.from_url(self.url) as client:
            client.bgrewriteaof()
            assert wait_until(lambda: not _rewriting(client), 60.0), "the append-only file was not rewritten"
            self._seen.clear()

    def _watch(self, stop: Flag) -> None:
        while not stop.wait(_EACH):
            with self._lock:
                if self._process.pid is not None:
                    self._seen.append(self._look())
                while self._seen and self._seen[0].at < time.monotonic() - MEMORY:
                    self._seen.popleft()

    def _look(self) -> _Seen:
        """The file that writes go to: the one with the highest number."""
        files = self._data.glob("appendonlydir/appendonly.aof.*.incr.aof")
        path = max(files, key=lambda one: int(one.name.split(".")[2]))
        return _Seen(time.monotonic(), path, path.stat().st_size)


def _rewriting(client: Redis) -> bool:
    found = client.info("persistence")
    return bool(found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"])
