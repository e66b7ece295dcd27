"""stocktake migrate: bring the state from the schema of an older version to that of this program."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from math import ceil
from typing import Any, Final

import orjson

from state.chain import Lease
from state.connection import Connection
from state.errors import StateError
from state.migrations import Due, Migration, Migrator
from state.repository import Repository
from state.schema import SCHEMA
from state.times import MICROSECONDS
from stocktake.exits import CommandError, Exit
from stocktake.progress import Progress
from stocktake.settings import Settings
from stocktake.standing import patience

HELP: Final = "bring the state from the form of an older version to that of this one; nothing may run meanwhile"
EXAMPLE: Final = "stocktake migrate --check\nstocktake migrate"

log = logging.getLogger(__name__)

_ANY_SCHEMA: Final = ""
_AGAIN: Final = 0.5
_SETTLE: Final = 6.0  # seconds; a consumer looks every five whether the state is still of its schema
_SAY: Final = 60.0  # seconds between two lines of progress in the log


def configure(parser: argparse.ArgumentParser) -> None:
    details = (
        "Works on all repositories, or on --repository NAME. End every program that works on them first, and make a\n"
        "backup. A migration that is ended or killed goes on where it was when it is started again."
    )
    parser.epilog = f"{details}\n\n{parser.epilog}"
    parser.add_argument(
        "--check",
        action="store_true",
        help="only say what would be done; exit code 1 if there is something to do (default: do it)",
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    """Print one JSON summary for each repository on stdout. Exit code 1: there is something to do, or it may not be."""
    due = False
    with closing(Connection(settings.redis)) as connection:
        connection.check()
        for name in settings.names(args.repository):
            migrator = Migrator(connection, name)
            found = migrator.due()
            if found.path and not args.check:
                Migrating(settings, connection, migrator).run(found)
            due = due or bool(found.path and args.check)
            sys.stdout.write(orjson.dumps(_summary(name, found, done=not args.check)).decode() + "\n")
            sys.stdout.flush()
    return Exit.FAULTS if due else Exit.DONE


def _summary(name: str, due: Due, *, done: bool) -> dict[str, Any]:
    steps = [{"from": one.source, "to": one.target, "about": one.about} for one in due.path]
    return {
        "repository": name,
        "schema": due.found,
        "wanted": SCHEMA,
        "studies": due.studies,
        "migrations": steps,
        "done": done and bool(steps),
    }


class Migrating:
    """One repository's migration, kept apart from whoever else may work on it."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        migrator: Migrator,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = migrator.repository
        self._connection = connection
        self._migrator = migrator
        self._repository = Repository(connection, self._name)
        self._silent = patience(settings.consumer).silent
        self._lease_seconds = settings.inventory.lease
        self._lease = Lease(connection, self._name, self._lease_seconds)
        self._sleep = sleep
        self._kept = self._said = time.monotonic()

    def run(self, due: Due) -> None:
        """Do all that is due.

        Raises:
            CommandError: a consumer or a writer is at work; nothing was changed.
            Fenced: the lease was lost on the way; run it again.
        """
        self._refuse_consumers()
        self._take_lease()
        try:
            for migration in due.path:
                self._begin(migration)
                log.info("repository %s: from schema %s to %s", self._name, migration.source, migration.target)
                with Progress("studies", due.studies) as progress:
                    self._migrator.run(migration, due.shards, lambda done: self._tell(progress, done))
        finally:
            self._lease.release()
        log.info("repository %s: the state has schema %s", self._name, SCHEMA)

    def _begin(self, migration: Migration) -> None:
        """Mark the state, and see that nobody goes on to work on it; if this ends otherwise the mark is taken back.

        A mark that was found is left as it is: that migration may be half done.
        """
        begun = self._migrator.begin(migration)
        try:
            self._watch_consumers()
        except BaseException:
            if begun:
                with suppress(StateError):
                    self._lease.keep()  # without it, another migration may have gone on from the mark
                    self._migrator.take_back(migration)
            raise

    def _watch_consumers(self) -> None:
        """Wait until each must have looked, and hold the lease meanwhile, however short; none may have gone on."""
        before = self._asked()
        step = min(_SETTLE, self._lease_seconds / 4)
        for _ in range(ceil(_SETTLE / step)):
            self._sleep(step)
            self._lease.keep()
        if self._asked() != before:
            raise self._at_work("a consumer")

    def _refuse_consumers(self) -> None:
        newest = max(self._asked(), default=0)
        if self._connection.now() - newest < self._silent * MICROSECONDS:
            raise self._at_work("a consumer")

    def _asked(self) -> list[int]:
        """When consumers spoke last of each partition (UTC microseconds)."""
        return sorted(one.asked for one in self._repository.progress().values() if one is not None)

    def _take_lease(self) -> None:
        deadline = time.monotonic() + self._lease_seconds + 1
        while not self._lease.take(_ANY_SCHEMA):
            if time.monotonic() > deadline:
                raise self._at_work("a writer")
            self._sleep(_AGAIN)

    def _at_work(self, who: str) -> CommandError:
        return CommandError(
            Exit.FAULTS,
            f"{who} of repository {self._name} is at work, or was until a moment ago; end every program that works on "
            f"it, and run this again after {self._silent:g} seconds",
        )

    def _tell(self, progress: Progress, done: int) -> None:
        progress.at(progress.count + done)
        now = time.monotonic()
        if now - self._kept > self._lease_seconds / 4:
            self._lease.keep()
            self._kept = now
        if now - self._said > _SAY:
            log.info("repository %s: %d studies migrated", self._name, progress.count)
            self._said = now
