"""From the schema that a state has to the one that this program works on, by one migration after the other.

A migration goes through its steps shard by shard, and notes each shard that it has done in the same Redis: one that was
killed is run again and goes on there. Every step may therefore be done twice to a shard. Nobody else may change the
state meanwhile: whoever migrates holds the writer's lease, and has seen to it that no consumer is at work
(docs/decisions/0020-state-versions.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from state import schema_2
from state.connection import Connection
from state.errors import StateMismatch
from state.keys import RepositoryKeys, ShardKeys
from state.schema import SCHEMA, UNDER_WAY, is_newer

_NOTE: Final = "migration"  # field of the settings: which shards of which step are done


@dataclass(frozen=True, slots=True)
class Migration:
    """One way: ``steps`` by name, each called for every shard, the first step's shards before the second's.

    A step is called with the connection, the keys of all shards, the number of the one to do, and what it tells how
    many studies it has done. ``about`` is what changes, for people.
    """

    source: str
    target: str
    about: str
    steps: Mapping[str, Callable[[Connection, Sequence[ShardKeys], int, Callable[[int], None]], None]]


MIGRATIONS: Final = (
    Migration(
        "1",
        "2",
        "whose studies are whose, news of patients and fingerprints of instances are kept in another form",
        {
            "prepare": schema_2.prepare,
            "studies": schema_2.convert_studies,
            "news": schema_2.convert_news,
            "swap": schema_2.swap,
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Due:
    """What has to be done to a state. ``found`` is its schema, None if there is no state; ``path`` may be empty."""

    found: str | None
    shards: int
    studies: int
    path: tuple[Migration, ...]


class Migrator:
    """Migrates the state of one repository. ``migrations`` are those known, ``wanted`` is the schema to reach."""

    def __init__(
        self,
        connection: Connection,
        repository: str,
        migrations: Sequence[Migration] = MIGRATIONS,
        wanted: str = SCHEMA,
    ) -> None:
        self.repository = repository
        self._connection = connection
        self._settings = RepositoryKeys(repository).settings
        self._migrations = migrations
        self._wanted = wanted

    def due(self) -> Due:
        """What there is to do.

        Raises:
            StateMismatch: no way is known from the state's schema to this program's.
        """
        found = self._found()
        if found is None:
            return Due(None, 0, 0, ())
        [shards] = self._connection.send([("HGET", self._settings, "shards")])
        count = int(shards)
        keys = [ShardKeys(self.repository, shard) for shard in range(count)]
        studies = sum(self._connection.send([("ZCARD", one.updated) for one in keys]))
        return Due(found, count, studies, self._path(found))

    def _found(self) -> str | None:
        [found] = self._connection.send([("HGET", self._settings, "schema")])
        return None if found is None else bytes(found).decode()

    def _path(self, found: str) -> tuple[Migration, ...]:
        path: list[Migration] = []
        at = found.partition(UNDER_WAY)[0]
        while at != self._wanted:
            following = [one for one in self._migrations if one.source == at]
            if not following:
                newer = "; it is of a newer program: use that one" if is_newer(found) else ""
                raise StateMismatch(
                    f"repository {self.repository}: no way is known from schema {found} to {self._wanted}{newer}"
                )
            path.append(following[0])
            at = following[0].target
        return tuple(path)

    def begin(self, migration: Migration) -> bool:
        """Mark the state as being migrated, so that no other program starts on it; whether it was not before."""
        found = self._found()
        if found == _mark(migration):
            return False
        if found != migration.source:
            raise StateMismatch(f"repository {self.repository}: the state has schema {found} now; nothing was changed")
        self._connection.send([("HSET", self._settings, "schema", _mark(migration))])
        return True

    def take_back(self, migration: Migration) -> None:
        """Undo :meth:`begin`, before :meth:`run`."""
        self._connection.send([("HSET", self._settings, "schema", migration.source)])

    def run(self, migration: Migration, shards: int, tell: Callable[[int], None]) -> None:
        """Do what is left of one migration that was begun. ``tell`` hears of studies that are done, again and again.

        Whatever it raises ends the migration, which can then be run again.
        """
        keys = [ShardKeys(self.repository, shard) for shard in range(shards)]
        noted = self._noted(migration)
        for number, (name, step) in enumerate(migration.steps.items()):
            first = 0 if noted is None or number > noted[0] else noted[1] if number == noted[0] else shards
            for shard in range(first, shards):
                step(self._connection, keys, shard, tell)
                self._note(migration, name, shard + 1)
        self._connection.send([("HSET", self._settings, "schema", migration.target), ("HDEL", self._settings, _NOTE)])

    def _noted(self, migration: Migration) -> tuple[int, int] | None:
        """The step that is under way, and how many of its shards are done."""
        [found] = self._connection.send([("HGET", self._settings, _NOTE)])
        if found is None:
            return None
        target, name, done = orjson.loads(found)
        # A note of the migration before, which was killed between its end and the note's.
        return (list(migration.steps).index(name), done) if target == migration.target else None

    def _note(self, migration: Migration, step: str, done: int) -> None:
        note = orjson.dumps([migration.target, step, done])
        self._connection.send([("HSET", self._settings, _NOTE, note)])


def _mark(migration: Migration) -> str:
    return f"{migration.source}{UNDER_WAY}{migration.target}"
