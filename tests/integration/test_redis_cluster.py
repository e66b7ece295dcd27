"""A cluster: every command and script works in it, and slots that move or lose their primary are followed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
from redis.crc import key_slot

from consumers.simulate import simulate
from state.attributes import Level
from state.chain import Lease
from state.connection import Command, Connection, Meanwhile, ScriptCall
from state.debts import Tries
from state.errors import StateMismatch, StateUnreachable
from state.keys import ShardKeys
from state.requests import InventoryRequests
from state.studies import Studies
from state.times import MICROSECONDS, to_iso
from stocktake.settings import load
from stocktake.sinks import deliveries
from tests.cutover.world import BOTH_MAPPED, World
from tests.harness import Deployment, wait_for
from tests.integration.test_guarantee import Stream
from tests.looks.world import LATER, open_world
from tests.looks.world import World as Looks
from tests.mix import EVERYTHING
from tests.oracle.adversary import BEGIN, Universe, random_events
from tests.oracle.events import moment
from tests.oracle.journal import Journal
from tests.servers.kafka_broker import KafkaBroker
from tests.servers.redis_cluster import Cluster, Move, Node, facts, run_cluster
from writers.tree import find_root

PATIENT = "20s"  # of connections that have to outlast a failover: a second to notice it, and a busy machine
SHARDS = 8
Connect = Callable[..., Connection]


@pytest.fixture(scope="module")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with run_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Cluster:
    """Whole and empty."""
    running_cluster.mend()
    running_cluster.flush()
    return running_cluster


@pytest.fixture
def connect(cluster: Cluster) -> Iterator[Connect]:
    """Opens connections; ``timeout`` is ``redis.timeout``."""
    with contextlib.ExitStack() as stack:

        def make(timeout: str = PATIENT, url: str = cluster.url) -> Connection:
            given = {"MODE": "cluster", "URL": url, "TIMEOUT": timeout}
            policy = load(None, {f"STOCKTAKE_REDIS__{name}": value for name, value in given.items()}).redis
            return stack.enter_context(contextlib.closing(Connection(policy)))

        yield make


def deployment(folder: Path, cluster: Cluster, repository: str, *kafka: str, **given: str) -> Deployment:
    given = {"REDIS__MODE": "cluster", "REDIS__TIMEOUT": PATIENT, "STATE__SHARDS": str(SHARDS)} | given
    return Deployment(folder, cluster.url, repository, *kafka, **given)


def deliver(made: Deployment) -> None:
    """Bring the only sink what it is owed."""
    lease = Lease(made.opened.connection, made.name, 30)
    assert lease.take()
    [delivery] = deliveries(made.settings, made.opened, lease, Flag())
    delivery.deliver_owed()
    lease.release()


def compare(world: World, seed: int) -> None:
    """Two repositories are compared as their events come, and anew."""
    with contextlib.closing(world):
        world.tell("source", seed, 20)
        world.tell("target", seed, 12)
        world.acknowledge(seed)
        world.check()
        world.migrate(seed, 20)
        world.change_rules(1)
        world.keep_history()
        world.check()
        world.change_rules(BOTH_MAPPED)
        world.migrate(seed + 1, 20)
        world.check()


@contextlib.contextmanager
def sending(stream: Stream) -> Iterator[None]:
    """The stream's thread is gone after the block, also when the block fails."""
    stream.thread.start()
    try:
        yield
    finally:
        while stream.thread.is_alive():
            stream.send_more()
            stream.thread.join(0.1)


def key_of(shard: int, name: str = "x") -> str:
    return f"{ShardKeys('r', shard).offsets}:{name}"


def slot_of_shard(shard: int) -> int:
    return int(key_slot(str(shard).encode()))


def other_primary(cluster: Cluster, than: Node) -> Node:
    return next(node for node in cluster.primaries() if node is not than)


# --- replies -------------------------------------------------------------------------------------------------------


def test_replies_come_in_the_order_of_the_commands_wherever_their_slots_are(connect: Connect) -> None:
    connection = connect()
    shards = [Random(1).randrange(64) for _ in range(500)]
    commands: list[Command] = [("RPUSH", key_of(shard), number) for number, shard in enumerate(shards)]
    commands.insert(250, ("TIME",))
    commands += [("LRANGE", key_of(shard), 0, -1) for shard in range(64)]
    replies = connection.send(commands)
    assert len(replies.pop(250)) == 2
    assert replies[:500] == [shards[: number + 1].count(shard) for number, shard in enumerate(shards)]
    for shard in range(64):
        pushed = [b"%d" % number for number, of in enumerate(shards) if of == shard]
        assert replies[500 + shard] == pushed


def test_an_error_of_one_command_is_raised_and_the_connection_goes_on(connect: Connect) -> None:
    connection = connect()
    connection.send([("SET", key_of(shard), "text") for shard in range(SHARDS)])
    with pytest.raises(Exception, match="not an integer"):
        connection.send([("INCR", key_of(shard)) for shard in range(SHARDS)])
    assert connection.send([("GET", key_of(shard)) for shard in range(SHARDS)]) == [b"text"] * SHARDS


def test_a_connection_may_be_used_by_several_threads(connect: Connect) -> None:
    connection = connect()
    wrong: list[object] = []

    def work(name: str) -> None:
        for number in range(200):
            sent: list[Command] = [("SET", key_of(shard, name), f"{name}{number}") for shard in range(SHARDS)]
            sent += [("GET", key_of(shard, name)) for shard in range(SHARDS)]
            replies = connection.send(sent)
            if replies != [b"OK"] * SHARDS + [f"{name}{number}".encode()] * SHARDS:
                wrong.append(replies)

    threads = [Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_any_node_of_the_url_is_enough(cluster: Cluster, connect: Connect) -> None:
    gone = "127.0.0.1:1"
    for node in cluster.nodes:
        connection = connect(url=f"redis://{gone},127.0.0.1:{node.told}")
        assert connection.send([("SET", key_of(1), "here")]) == [b"OK"]


def test_the_clock_is_that_of_one_node(cluster: Cluster, connect: Connect) -> None:
    for node in cluster.nodes:
        node.ask("CONFIG", "RESETSTAT")
    times = [connect().now() for _ in range(20)]
    assert times == sorted(times)
    asked = [node for node in cluster.nodes if "cmdstat_time" in facts(node.ask("INFO", "commandstats"))]
    assert len(asked) == 1


def test_a_node_that_may_throw_records_away_is_refused(cluster: Cluster, connect: Connect) -> None:
    node = cluster.primaries()[-1]
    node.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StateMismatch, match="maxmemory-policy allkeys-lru"):
            connect().check()
    finally:
        node.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    connect().check()


def test_a_node_that_knows_no_script_gets_it(cluster: Cluster, connect: Connect) -> None:
    connection = connect()
    calls = [ScriptCall("lower_offsets", [key_of(shard)], ["p:0", 3]) for shard in range(SHARDS)]
    connection.send([("HSET", key_of(shard), "p:0", 7) for shard in range(SHARDS)])
    for node in cluster.primaries():
        node.ask("SCRIPT", "FLUSH")
    assert connection.call(calls) == [1] * SHARDS
    cluster.owner(slot_of_shard(3)).ask("SCRIPT", "FLUSH")
    assert connection.call(calls) == [0] * SHARDS


def test_a_cluster_that_is_taken_for_a_server_says_what_to_set(cluster: Cluster) -> None:
    url = f"redis://127.0.0.1:{cluster.nodes[0].told}"
    connection = Connection(load(None, {"STOCKTAKE_REDIS__URL": url}).redis)
    with contextlib.closing(connection), pytest.raises(StateMismatch, match=r"set redis\.mode to cluster"):
        connection.send([("GET", key_of(shard)) for shard in range(SHARDS)])


def test_a_server_that_is_taken_for_a_cluster_says_what_to_set(redis_url: str, connect: Connect) -> None:
    with pytest.raises(StateMismatch, match=r"set redis\.mode to single"):
        connect(url=redis_url).now()


# --- slots that move -----------------------------------------------------------------------------------------------


def test_a_slot_is_served_before_while_and_after_it_moves(cluster: Cluster, connect: Connect) -> None:
    connection = connect()
    keys = [key_of(1, str(number)) for number in range(50)]
    source = cluster.owner(slot_of_shard(1))
    move = Move(cluster, slot_of_shard(1), other_primary(cluster, source))

    def increment() -> list[int]:
        """Each by itself, as a command that alone is sent to its slot."""
        return [connection.send([("INCR", key)])[0] for key in keys]

    assert increment() == [1] * 50
    move.begin()
    assert increment() == [2] * 50
    assert move.move_keys(20) == 20
    assert increment() == [3] * 50
    assert connection.send([("INCR", key_of(1, "new"))]) == [1]
    move.move_keys()
    assert increment() == [4] * 50
    move.finish()
    assert increment() == [5] * 50
    assert move.target.ask("CLUSTER", "COUNTKEYSINSLOT", slot_of_shard(1)) == 51


def test_nothing_behind_a_refused_command_of_its_slot_is_carried_out(cluster: Cluster, connect: Connect) -> None:
    """The first key has moved, the second one not yet: the source refuses the first command and could do the second."""
    patient, hasty = connect(), connect(timeout="300ms")
    first, second = key_of(1, "a"), key_of(1, "b")
    source = cluster.owner(slot_of_shard(1))
    patient.send([("RPUSH", first, 0), ("RPUSH", second, 0), ("RPUSH", key_of(2), 0)])
    move = Move(cluster, slot_of_shard(1), other_primary(cluster, source))
    move.begin()
    source.ask("MIGRATE", "127.0.0.1", move.target.port, first, 0, 5000)
    commands: list[Command] = [("RPUSH", first, 1), ("RPUSH", second, 1), ("RPUSH", key_of(2), 1)]
    with pytest.raises(StateUnreachable, match="takes no writes now"):
        hasty.send(commands)
    assert source.ask("LRANGE", second, 0, -1) == [b"0"]
    waiting = Thread(target=lambda: patient.send(commands))
    waiting.start()
    move.move_keys()
    move.finish()
    waiting.join()
    assert patient.send([("LRANGE", first, 0, -1), ("LRANGE", second, 0, -1)]) == [[b"0", b"1"], [b"0", b"1"]]


def test_every_slot_of_the_state_may_move_while_events_are_applied(
    cluster: Cluster, tmp_path: Path, repository: str
) -> None:
    journal, made = Journal(Level.INSTANCE), deployment(tmp_path, cluster, repository)
    events = random_events(Random(3), Universe(studies=30))
    done = Flag()
    moved: list[int] = []

    def migrate() -> None:
        for slot in [*map(slot_of_shard, range(SHARDS)), int(key_slot(repository.encode()))]:
            move = Move(cluster, slot, other_primary(cluster, cluster.owner(slot)))
            move.begin()
            while move.move_keys(3):
                pass
            move.finish()
            moved.append(slot)
        done.set()

    migrating = Thread(target=migrate)
    offset = 0
    with contextlib.closing(made):
        migrating.start()
        try:
            while not done.is_set() or offset < 400:
                assert migrating.is_alive() or done.is_set()
                batch = [(event, BEGIN + 10_000 * MICROSECONDS) for event in islice(events, 20)]
                made.clock.now = max(moment(event["time"]) for event, _ in batch)
                for number, (event, timestamp) in enumerate(batch):
                    journal.add(event, timestamp, 0, offset + number)
                offset = made.apply(batch, offset)
        finally:
            migrating.join()
        assert len(moved) == SHARDS + 1
        manifest = made.produce()
        journal.start = manifest.scope_begin
        journal.check_present(made.path(manifest))


# --- primaries that are replaced -----------------------------------------------------------------------------------


def test_a_killed_primary_is_replaced_under_load_without_an_error(cluster: Cluster, connect: Connect) -> None:
    connection = connect()
    stop = Flag()
    errors: list[BaseException] = []
    rounds = 0

    def load_it() -> None:
        nonlocal rounds
        try:
            while not stop.is_set():
                connection.send([("INCR", key_of(shard)) for shard in range(64)])
                rounds += 1
        except BaseException as error:
            errors.append(error)

    loading = Thread(target=load_it)
    loading.start()
    try:
        wait_for(lambda: rounds > 10, "load")
        killed = cluster.owner(slot_of_shard(0))
        replica = cluster.replica_of(killed)
        killed.kill()
        before = rounds
        wait_for(lambda: bool(errors) or rounds > before + 10, "load after the kill")
        assert errors == []
        assert cluster.owner(slot_of_shard(0)) is replica
        cluster.mend()  # the killed one comes back as a replica: it must not be asked
        before = rounds
        wait_for(lambda: bool(errors) or rounds > before + 10, "load after it came back")
    finally:
        stop.set()
        loading.join()
    assert errors == []
    found = connection.send([("GET", key_of(shard)) for shard in range(64)])
    on_replica = [shard for shard in range(64) if cluster.owner(slot_of_shard(shard)) is replica]
    assert all(int(found[shard]) >= rounds for shard in range(64) if shard not in on_replica)


def test_a_primary_that_stands_still_is_told_in_time_and_work_goes_on_after_it(
    cluster: Cluster, connect: Connect
) -> None:
    connection = connect(timeout="500ms")
    connection.send([("SET", key_of(shard), "before") for shard in range(64)])
    still = cluster.owner(slot_of_shard(0))
    with still.stopped():
        with pytest.raises(StateUnreachable, match="cannot be reached"):
            connection.send([("SET", key_of(shard), "while") for shard in range(64)])

        def goes_on() -> bool:
            try:
                return connection.send([("SET", key_of(shard), "after") for shard in range(64)]) == [b"OK"] * 64
            except StateUnreachable:
                return False

        wait_for(goes_on, "its replica took over")
    assert connection.send([("GET", key_of(shard)) for shard in range(64)]) == [b"after"] * 64


def test_a_whole_cluster_that_is_gone_is_told_and_taken_up_again(cluster: Cluster, connect: Connect) -> None:
    connection = connect(timeout="1s")
    connection.send([("SET", key_of(1), "kept")])
    for node in cluster.nodes:
        node.process.stop()
    with pytest.raises(StateUnreachable, match="cannot be reached"):
        connection.now()
    cluster.mend()
    assert connection.send([("GET", key_of(1))]) == [b"kept"]


# --- the whole of it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_every_script_works_and_resolving_the_head_equals_the_events(
    cluster: Cluster, tmp_path: Path, repository: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: set[str] = set()
    begin = Connection.begin

    def noting(
        self: Connection, calls: Iterable[ScriptCall], meanwhile: Meanwhile = None
    ) -> Callable[[Meanwhile], list[Any]]:
        made = list(calls)
        called.update(one.script for one in made)
        return begin(self, made, meanwhile)

    monkeypatch.setattr(Connection, "begin", noting)
    rng, journal = Random(seed), Journal(Level.INSTANCE)
    events = random_events(rng, Universe(studies=12, patients=4))
    start = to_iso(BEGIN + 30 * MICROSECONDS)  # some studies are older, and count as updated then
    with contextlib.closing(
        deployment(
            tmp_path,
            cluster,
            repository,
            CHAIN__ROLLUP_FANOUT="3",
            CHAIN__START=start,
            SINKS__COPY__URL=f"file://{tmp_path}/copy",
        )
    ) as made:
        offset = 0
        kinds = set()
        for _ in range(8):
            batch = [(event, BEGIN + 10_000 * MICROSECONDS) for event in islice(events, rng.choice((5, 40)))]
            made.clock.now = max(moment(event["time"]) for event, _ in batch)
            for number, (event, timestamp) in enumerate(batch):
                journal.add(event, timestamp, 0, offset + number)
            offset = made.apply(batch, offset)
            manifest = made.produce()
            kinds.add(manifest.kind)
            journal.start = manifest.scope_begin
            journal.check_present(made.path(manifest))
            deliver(made)
            journal.check_present(find_root(tmp_path / "copy" / repository))
        assert kinds == {"baseline", "delta", "rollup"}
        assert Studies(made.opened.connection, repository, SHARDS).lower_offsets("by-hand:0", -1) == SHARDS
        assert InventoryRequests(made.opened.connection, repository).ask("baseline") == 1
    compare(World(cluster.url, tmp_path, Level.INSTANCE, REDIS__MODE="cluster", REDIS__TIMEOUT=PATIENT), seed)
    look(open_world(tmp_path, cluster.url, "looks", REDIS__MODE="cluster", REDIS__TIMEOUT=PATIENT))
    scripts = {path.stem for path in (Path(__file__).parents[2] / "state" / "lua").glob("*.lua")}
    assert called == scripts - {"place"}  # which is part of others


def look(world: Looks) -> None:
    """Look things up in an archive; what cannot be is put off, and tried again."""
    with contextlib.closing(world.deployment):
        for number in range(1, 6):
            world.store((f"1.{number}", f"1.{number}.1", f"1.{number}.1.1"))
        world.consume()
        debts = world.deployment.opened.debts
        [first, *_] = debts.due(LATER)
        debts.put_off(first.owed, Tries(first.token, 1, "away"), None)
        assert debts.try_again(debts.given_up(), world.tick()) == 1
        world.settle()
        assert world.live() == world.expected()


def test_the_guarantee_holds_when_primaries_fail_and_lose_their_tails(
    cluster: Cluster, tmp_path: Path, repository: str, kafka_broker: KafkaBroker, topic: str
) -> None:
    made = deployment(tmp_path, cluster, repository, kafka_broker.bootstrap_servers, topic, REDIS__TIMEOUT="2s")
    stream = Stream(made, list(simulate(200, 7, max_instances=30, mix=EVERYTHING)))
    with contextlib.closing(made), sending(stream), made.consuming():
        stream.send_more()
        wait_for(lambda: made.opened.repository.watermark().time is not None, "a watermark")
        stream.produce()
        stream.send_more()
        cluster.owner(slot_of_shard(0)).kill()  # its replica takes over by itself
        cluster.mend()
        stream.send_more()
        lossy = cluster.owner(slot_of_shard(1))
        before = made.offsets()[1]

        def write() -> None:
            stream.send_more()
            wait_for(lambda: made.offsets()[1] != before, "writes that will be lost")

        cluster.lose_tail(lossy, write)
        cluster.mend()
        while stream.thread.is_alive():
            stream.send_more()
            stream.produce()
        wait_for(stream.applied, "everything applied")
        wait_for(made.caught_up, "caught up")
        stream.produce_present()
