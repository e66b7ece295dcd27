"""The roles of the program as threads of one process, for `run` and `demo`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Final

from consumers.publish import ensure_topic
from stocktake.embedded import EmbeddedServers
from stocktake.settings import EMBEDDED_SESSION_TIMEOUT, Settings, with_servers
from stocktake.wiring import open_consumer, open_producer, open_repository
from writers.service import WriterService

log = logging.getLogger(__name__)

CONFIG: Final = "stocktake.toml"


class Roles:
    """Threads that run until ``stop`` is set. The first that fails stops all; :meth:`join` raises what it raised."""

    def __init__(self, stop: Flag) -> None:
        self._stop = stop
        self._threads: list[Thread] = []
        self._failures: list[BaseException] = []

    def start(self, name: str, role: Callable[[], None]) -> None:
        """Run ``role`` in a thread of its own."""
        thread = Thread(target=self._guarded, args=(role,), name=name)
        thread.start()
        self._threads.append(thread)

    def _guarded(self, role: Callable[[], None]) -> None:
        try:
            role()
        except BaseException as error:  # it is raised again by join, in the main thread
            self._failures.append(error)
            self._stop.set()

    def failed(self) -> bool:
        return bool(self._failures)

    def join(self) -> None:
        """Wait until all have ended."""
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]


def consume(settings: Settings, repository: str, stop: Flag) -> None:
    """Follow one repository until ``stop`` is set."""
    opened = open_repository(settings, repository)
    try:
        following = open_consumer(settings, opened)
        try:
            following.consumer.run(stop)
        finally:
            following.close(settings.consumer.shutdown_timeout / 2)
    finally:
        opened.close()


def write(settings: Settings, repository: str, stop: Flag) -> None:
    """Produce one repository's inventories on the interval until ``stop`` is set."""
    opened = open_repository(settings, repository)
    try:
        producer, lease = open_producer(settings, opened)
        WriterService(producer, lease, settings.inventory).run(stop)
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
