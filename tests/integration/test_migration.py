"""A state of schema 1, which the program of that time made, is migrated: whole, once, and with nobody at work."""

from __future__ import annotations

from base64 import b85decode
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

import consumers.loop
import state.record as state_record
import state.studies as state_studies
from state.chain import Lease
from state.connection import Command, Connection
from state.errors import Fenced, StateMismatch
from state.keys import RepositoryKeys
from state.migrations import MIGRATIONS, Migrator
from state.packing import Packer
from state.repository import Progress, Repository
from state.schema import SCHEMA
from state.times import MICROSECONDS
from stocktake.cli import main
from stocktake.commands import migrate
from stocktake.exits import CommandError, Exit
from stocktake.wiring import open_repository
from tests.harness import Deployment, wait_for
from tests.oracle.adversary import BEGIN
from tests.oracle.events import Json

SAMPLE: Final = Path(__file__).parents[1] / "samples" / "state" / "schema-1.ndjson"
LINES: Final = [orjson.loads(line) for line in SAMPLE.read_bytes().splitlines()]
EVENTS: Final[list[Json]] = [line["event"] for line in LINES if "event" in line]
APPLIED, BATCH, SHARDS = 160, 20, 4
NOW: Final = BEGIN + 1000 * MICROSECONDS


class State:
    """The state of schema 1, put into the server, and what a program needs to work on it."""

    def __init__(self, folder: Path, redis_url: str, repository: str) -> None:
        # A deployment claims the schema of today; its state is taken away again.
        self.deployment = deployed(folder, redis_url, repository)
        self.connection = Connection(self.deployment.settings.redis)
        self.migrator = Migrator(self.connection, repository)

    def close(self) -> None:
        self.connection.close()
        self.deployment.close()

    def restore(self) -> None:
        redis, name = self.deployment.redis, self.deployment.name
        for key in redis.keys(f"st:*{name}*"):
            redis.delete(key)
        for line in LINES:
            if "key" in line:
                key = line["key"].replace("{main}", f"{{{name}}}").replace(":main:", f":{name}:")
                found = [(b85decode(one), other) for one, other in line["holds"]]
                match line["type"]:
                    case "hash":
                        redis.hset(key, mapping={one: b85decode(other) for one, other in found})
                    case "zset":
                        redis.zadd(key, dict(found))
                    case _:
                        redis.set(key, found[0][0])

    def migrate(self) -> None:
        due = self.migrator.due()
        for migration in due.path:
            self.migrator.begin(migration)
            self.migrator.run(migration, due.shards, lambda done: None)

    @property
    def schema(self) -> str:
        found = self.deployment.redis.hget(RepositoryKeys(self.deployment.name).settings, "schema")
        assert isinstance(found, bytes)
        return found.decode()


def deployed(folder: Path, redis_url: str, repository: str) -> Deployment:
    deployment = Deployment(folder, redis_url, repository, STATE__SHARDS=str(SHARDS), INVENTORY__LEASE="1s")
    deployment.clock.now = NOW
    return deployment


def apply(deployment: Deployment, first: int, end: int, produce: tuple[int, ...] = ()) -> None:
    events = [(event, NOW) for event in EVENTS]
    for begin in range(first, end, BATCH):
        deployment.apply(events[begin : begin + BATCH], begin)
        if begin + BATCH in produce:
            deployment.produce()


def studies(deployment: Deployment) -> dict[str, Any]:
    """All that the state holds of each study, but for what is another at each write."""
    found = {}
    for keys in deployment.shard_keys:
        for uid in deployment.redis.zrange(keys.updated, 0, -1):
            name = uid.decode()  # type: ignore[union-attr]
            fields: dict[bytes, bytes] = deployment.redis.hgetall(keys.study(name))  # type: ignore[assignment]
            record = Packer().unpack(name, fields)
            found[name] = (
                int(fields[b"time"]),
                orjson.loads(fields[b"study"]),
                orjson.loads(fields.get(b"series") or b"[]"),
                dict(record.instances()) if record.series else {},
            )
    return found


def listed(deployment: Deployment, name: str) -> list[dict[bytes, float]]:
    """A sorted set of each shard."""
    redis: Any = deployment.redis
    return [dict(redis.zrange(getattr(keys, name), 0, -1, withscores=True)) for keys in deployment.shard_keys]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (state_record, state_studies):
        monkeypatch.setattr(module, "CHUNK_TARGET", 4)


@pytest.fixture
def old(tmp_path: Path, redis_url: str, repository: str) -> Iterator[State]:
    state = State(tmp_path, redis_url, repository)
    state.restore()
    yield state
    state.close()


@pytest.fixture
def anew(tmp_path: Path, redis_url: str) -> Iterator[Deployment]:
    """The state as this program makes it of the same events."""
    with closing(deployed(tmp_path / "anew", redis_url, "anew")) as deployment:
        for key in deployment.redis.keys("st:*anew*"):
            if b"settings" not in key:
                deployment.redis.delete(key)
        apply(deployment, 0, APPLIED, (80, 120))
        yield deployment


def check_equal(old: State, anew: Deployment) -> None:
    """Both hold the same, and go on to hold the same: news finds the studies that it concerns."""
    migrated = old.deployment
    assert studies(migrated) == studies(anew)
    assert listed(migrated, "news") == listed(anew, "news")
    for found, wanted in zip(listed(migrated, "patients"), listed(anew, "patients"), strict=True):
        assert found.keys() <= wanted.keys(), "without the entries that lead to nothing, and no others"
    for name in ("patients_anew", "news_anew"):
        assert listed(migrated, name) == [{}] * SHARDS
    for deployment in (migrated, anew):
        apply(deployment, APPLIED, len(EVENTS))
    assert studies(migrated) == studies(anew)


def test_a_migrated_state_is_the_one_that_this_program_makes_of_the_same_events(old: State, anew: Deployment) -> None:
    before, notes = studies(old.deployment), listed(old.deployment, "changed")
    old.migrate()
    assert old.schema == SCHEMA
    assert studies(old.deployment) != before, "the fingerprints are others"
    assert listed(old.deployment, "changed") == notes, "what was inventoried is not owed again"
    check_equal(old, anew)
    manifest = old.deployment.produce("baseline")
    assert (manifest.sequence, manifest.own_records) == (3, len(before))


def test_a_migration_that_is_killed_anywhere_goes_on_and_ends_the_same(
    old: State, anew: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    send, sent, limit = Connection.send, [0], [0]

    def dying(connection: Connection, commands: list[Command]) -> Any:
        if connection is old.connection:
            sent[0] += 1
            if sent[0] == limit[0]:
                send(connection, commands[: len(commands) // 2])  # half of what is sent in one go has arrived
                raise Killed
        return send(connection, commands)

    monkeypatch.setattr(Connection, "send", dying)
    old.migrate()
    expected = studies(anew), listed(anew, "news"), listed(old.deployment, "patients")
    for killed_at in range(1, sent[0] + 1, 3):
        old.restore()
        sent[0], limit[0] = 0, killed_at
        with pytest.raises(Killed):
            old.migrate()
        old.migrate()
        assert old.schema == SCHEMA
        assert (studies(old.deployment), listed(old.deployment, "news"), listed(old.deployment, "patients")) == expected
    check_equal(old, anew)


@pytest.fixture
def command(old: State, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs `stocktake migrate`; its summary, or its error."""
    for name, value in old.deployment.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(migrate, "_SETTLE", 0.1)

    def run(*arguments: str, expect: Exit = Exit.DONE) -> Any:
        capsys.readouterr()
        code = main(["migrate", *arguments])
        captured = capsys.readouterr()
        assert code == expect, captured.err
        return orjson.loads(captured.out) if captured.out else captured.err

    return run


def test_check_says_what_would_be_done_and_changes_nothing(old: State, command: Callable[..., Any]) -> None:
    found = command("--check", expect=Exit.FAULTS)
    assert (found["schema"], found["wanted"], found["studies"], found["done"]) == ("1", SCHEMA, 9, False)
    assert [(one["from"], one["to"]) for one in found["migrations"]] == [("1", "2")]
    assert old.schema == "1"
    done = command()
    assert done["done"]
    assert command("--check")["migrations"] == []
    assert not command()["done"]


def test_a_program_refuses_a_state_of_another_schema_and_says_what_to_do(old: State) -> None:
    for schema, told in {
        "1": "end every program that works on this repository, then run `stocktake migrate`",
        "1>2": "on its way from schema 1 to 2; run `stocktake migrate`",
        "3": "a newer Stocktake made; this program works on schema 2: run one that works on 3",
    }.items():
        old.deployment.redis.hset(RepositoryKeys(old.deployment.name).settings, "schema", schema)
        with pytest.raises(StateMismatch, match=told):
            open_repository(old.deployment.settings, None)
        with pytest.raises(StateMismatch, match="schema"):
            Lease(old.connection, old.deployment.name, 1.0).take()
        with pytest.raises(StateMismatch, match="schema"):
            old.deployment.opened.repository.set_topics({"by-hand": ("another", 7)})
    assert old.deployment.opened.repository.topics() == {"by-hand": ("by-hand", 1)}
    with pytest.raises(StateMismatch, match="no way is known from schema 3 to 2; it is of a newer program"):
        old.migrator.due()


def test_it_refuses_while_a_consumer_is_at_work_and_nothing_is_changed(old: State, command: Callable[..., Any]) -> None:
    now = old.connection.now()
    Repository(old.connection, old.deployment.name).publish_progress({"by-hand:0": Progress(now, 200, now)})
    assert "a consumer of repository" in command(expect=Exit.FAULTS)
    assert old.schema == "1"


def test_it_refuses_while_a_writer_leads_and_nothing_is_changed(old: State, command: Callable[..., Any]) -> None:
    assert Lease(old.connection, old.deployment.name, 60.0).take("")
    assert "a writer of repository" in command(expect=Exit.FAULTS)
    assert old.schema == "1"


def test_a_consumer_that_begins_at_the_last_moment_ends_the_migration_before_anything_is_changed(old: State) -> None:
    before = old.deployment.dump_shards()

    def sleep(seconds: float) -> None:
        now = old.connection.now()
        Repository(old.connection, old.deployment.name).publish_progress({"by-hand:0": Progress(now, 200, now)})

    with pytest.raises(CommandError, match="a consumer of repository"):
        migrate.Migrating(old.deployment.settings, old.connection, old.migrator, sleep).run(old.migrator.due())
    assert old.schema == "1"
    assert old.deployment.dump_shards() == before


def test_a_short_lease_is_held_while_consumers_are_waited_for(old: State) -> None:
    lease = RepositoryKeys(old.deployment.name).lease
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        left: Any = old.deployment.redis.pttl(lease)
        old.deployment.redis.pexpire(lease, left - round(seconds * 1000))  # as if it had passed

    migrate.Migrating(old.deployment.settings, old.connection, old.migrator, sleep).run(old.migrator.due())
    assert old.schema == SCHEMA
    assert sum(slept) >= 6, "a consumer looks every five seconds"


def test_what_ends_it_before_anything_is_changed_leaves_the_state_to_the_programs_of_before(old: State) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate.Migrating(old.deployment.settings, old.connection, old.migrator, interrupt).run(old.migrator.due())
    assert old.schema == "1"


def test_a_migration_that_lost_its_lease_leaves_the_mark_to_whoever_has_it_now_and_can_be_run_again(
    old: State,
) -> None:
    def lose(seconds: float) -> None:
        old.deployment.redis.delete(RepositoryKeys(old.deployment.name).lease)

    with pytest.raises(Fenced):
        migrate.Migrating(old.deployment.settings, old.connection, old.migrator, lose).run(old.migrator.due())
    assert old.schema == "1>2"
    migrate.Migrating(old.deployment.settings, old.connection, old.migrator, lambda seconds: None).run(
        old.migrator.due()
    )
    assert old.schema == SCHEMA


def test_no_writer_takes_over_while_the_state_is_migrated(old: State, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def look(self: Migrator, *args: object) -> None:
        try:
            Lease(old.connection, old.deployment.name, 1.0).take()
        except StateMismatch as error:
            taken.append(str(error))

    monkeypatch.setattr(Migrator, "run", look)
    migrate.Migrating(old.deployment.settings, old.connection, old.migrator, lambda seconds: None).run(
        old.migrator.due()
    )
    assert len(taken) == 1
    assert "on its way from schema 1 to 2" in taken[0]


def test_a_running_consumer_stops_when_the_state_is_migrated_under_it(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers.loop, "_CHECK", 0.2)
    deployment = deploy(1)
    running = deployment.start_consumer()
    wait_for(deployment.caught_up, "the consumer to be ready")
    deployment.redis.hset(deployment.keys.settings, "schema", "2>3")
    with pytest.raises(StateMismatch, match="on its way from schema 2 to 3"):
        raise running.failed()


def test_a_consumer_that_slept_through_a_migration_which_moved_the_offsets_applies_nothing(
    tmp_path: Path, redis_url: str, repository: str
) -> None:
    with closing(deployed(tmp_path, redis_url, repository)) as deployment:
        apply(deployment, 0, BATCH)
        for keys in deployment.shard_keys:  # what decision 20 asks of each migration to come
            deployment.redis.rename(keys.offsets, keys.offsets + ":3")
            deployment.redis.set(keys.offsets, "schema 3")
        before = deployment.dump_shards()
        with pytest.raises(StateMismatch, match="was it migrated by a newer program"):
            apply(deployment, BATCH, 2 * BATCH)
        assert deployment.dump_shards() == before


def test_every_schema_from_the_first_has_a_way_to_this_one() -> None:
    ways = {one.source: one.target for one in MIGRATIONS}
    at = "1"
    while at != SCHEMA:
        at = ways[at]
