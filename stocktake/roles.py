"""The roles of the program as threads of one process, for `consume`, `run` and `demo`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Final

from consumers.errors import ConsumerError
from consumers.publish import ensure_topic
from state.errors import StateError
from state.requests import InventoryRequests
from stocktake.comparing import keep_compared
from stocktake.embedded import EmbeddedServers
from stocktake.logs import log_about
from stocktake.members import Member, member_settings
from stocktake.memory import prepare_memory
from stocktake.settings import EMBEDDED_SESSION_TIMEOUT, Settings, with_servers
from stocktake.sinks import deliveries, start_deliveries
from stocktake.wiring import comparison_of, open_consumer, open_health, open_producer, open_repository
from writers.service import WriterService

log = logging.getLogger(__name__)

CONFIG: Final = "stocktake.toml"

_LOOK: Final = 0.1  # seconds between two looks at whether to end


class Roles:
    """Threads that run until ``stop`` is set. The first that fails stops all; :meth:`join` raises what it raised."""

    def __init__(self, stop: Flag) -> None:
        self._stop = stop
        self._threads: list[Thread] = []
        self._failures: list[BaseException] = []

    def start(self, name: str, role: Callable[[], None]) -> None:
        """Run ``role`` in a thread of its own."""
        # A daemon: a thread that waits for a server must not keep the program from ending.
        thread = Thread(target=self._guarded, args=(name, role), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _guarded(self, name: str, role: Callable[[], None]) -> None:
        try:
            role()
        except BaseException as error:  # it is raised again by join, in the main thread
            if self._stop.is_set() and isinstance(error, ConsumerError | StateError):
                # It was to end anyway, and what was in hand is done again. After a failure it is most likely the same.
                log.log(logging.DEBUG if self._failures else logging.WARNING, "%s, while ending: %s", name, error)
                return
            self._failures.append(error)
            self._stop.set()

    def failed(self) -> bool:
        return bool(self._failures)

    def join(self, patience: float = math.inf) -> None:
        """Wait until all have ended; once ``stop`` is set, for at most ``patience`` seconds.

        A thread that goes on after that is left to the end of the process, which is as safe as a kill.
        """
        deadline = math.inf
        while (running := [thread for thread in self._threads if thread.is_alive()]) and time.monotonic() < deadline:
            if deadline == math.inf and self._stop.is_set():
                deadline = time.monotonic() + patience
            running[0].join(_LOOK)
        for thread in running:
            log.warning(
                "%s has not ended within %g seconds and is left behind, which loses nothing", thread.name, patience
            )
        if self._failures:
            raise self._failures[0]


def start_consumers(
    roles: Roles, settings: Settings, repositories: Sequence[str], stop: Flag, *, worker: int = 1
) -> None:
    """Follow repositories, a thread for each, until ``stop`` is set."""
    prepare_memory()
    for name in repositories:
        roles.start(f"consume-{name}", partial(consume, settings, name, stop, worker=worker))
        if worker == 1 and comparison_of(settings, name) is not None:
            roles.start(f"compare-{name}", partial(keep_compared, settings, name, stop))


def consume(settings: Settings, repository: str, stop: Flag, *, worker: int = 1) -> None:
    """Follow one repository, as this worker, until ``stop`` is set."""
    log_about(role="consumer", worker=worker, repository=repository)
    settings = member_settings(settings, worker)
    opened = open_repository(settings, repository)
    try:
        following = open_consumer(settings, opened, worker=worker)
        try:
            following.consumer.run(stop)
        finally:
            following.close(settings.consumer.shutdown_timeout / 2)
    finally:
        opened.close()


def write(settings: Settings, repository: str | None, stop: Flag) -> None:
    """Produce one repository's inventories on the interval, and deliver them, until ``stop`` is set."""
    name = settings.repository(repository).name
    log_about(role="writer", repository=name)
    health = open_health(settings, Member("writer", name))
    opened = open_repository(settings, name)
    try:
        producer, lease = open_producer(settings, opened, alive=health.still)
        threads = start_deliveries(deliveries(settings, opened, lease, stop))
        requests = InventoryRequests(opened.connection, name)
        patience = settings.consumer.shutdown_timeout
        WriterService(producer, lease, settings.inventory, requests, threads, patience, health.beat).run(stop)
    finally:
        opened.close()


def use_embedded(settings: Settings, servers: EmbeddedServers, data_dir: Path) -> Settings:
    """The settings for embedded servers; topics are made, and a settings file is left for other commands."""
    changed = with_servers(settings, servers.bootstrap_servers, servers.redis_url, data_dir / "inventories")
    for repository in changed.repositories:
        for topic in repository.topics:
            ensure_topic(changed.kafka, topic)
        opened = open_repository(changed, repository.name)
        try:
            opened.repository.resume()  # the messages that stopped it went with the broker's memory
        finally:
            opened.close()
    text = (
        "# Written by stocktake for the embedded servers of this folder: use it with --config while they run.\n"
        f'[kafka]\nbootstrap_servers = "{servers.bootstrap_servers}"\nsession_timeout = "{EMBEDDED_SESSION_TIMEOUT}s"\n'
        f'[redis]\nurl = "{servers.redis_url}"\n'
        f'[inventory]\ndir = "{changed.inventory.dir}"\n'
    )
    (data_dir / CONFIG).write_text(text, encoding="utf-8")
    return changed
