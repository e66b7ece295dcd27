"""A cluster of Redis or Valkey on this machine, whose nodes can be killed, stopped for a while, promoted and emptied.

It is always made of processes of this machine: containers could not reach each other under the names that they tell.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from redis import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from redis.exceptions import RedisError

from stocktake.embedded import HOST, ServerProcess, free_ports, wait_until
from tests.servers.processes import running
from tests.servers.redis_server import node_process

NODE_TIMEOUT: Final = 1000  # milliseconds after which a node that does not answer counts as failed
_DEADLINE: Final = 60.0  # seconds for anything that a cluster should do
_PRIMARIES: Final = 3

Front: TypeAlias = Callable[[int], AbstractContextManager[int]]


@dataclass(frozen=True)
class Node:
    """One server of a cluster. ``told`` is the port that it tells clients, which a proxy may listen on."""

    port: int
    told: int
    process: ServerProcess
    client: Redis

    def ask(self, *command: Any) -> Any:
        """A reply of the node, as the client library leaves it."""
        return self.client.execute_command(*command)  # type: ignore[no-untyped-call]

    @property
    def id(self) -> str:
        return text(self.ask("CLUSTER", "MYID"))

    @property
    def is_primary(self) -> bool:
        return text(self.ask("ROLE")[0]) == "master"

    @property
    def follows(self) -> int:
        """The port that the node's primary tells; 0 for a primary."""
        return 0 if self.is_primary else int(self.ask("ROLE")[2])

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.kill()

    def start(self) -> None:
        """Start it again with its data; it comes back as a replica if another has taken its place."""
        self.process.start()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let it stand still for the time of a block: its connections stay, nothing is answered or copied."""
        pid = self.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


class Cluster:
    """Three primaries, each with a replica."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)

    @property
    def url(self) -> str:
        """For ``redis.url``, with ``redis.mode`` cluster."""
        return "redis://" + ",".join(f"{HOST}:{node.told}" for node in self.nodes)

    def alive(self) -> list[Node]:
        return [node for node in self.nodes if node.process.pid is not None]

    def primaries(self) -> list[Node]:
        return [node for node in self.alive() if node.is_primary]

    def replica_of(self, primary: Node) -> Node:
        """A replica that is in touch with its primary."""
        [found] = [node for node in self.alive() if node.follows in {primary.port, primary.told}]
        return found

    def owner(self, slot: int) -> Node:
        """The primary that has a slot."""
        for first, last, (_, port, *_), *_ in self.primaries()[0].ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.told == port)
        raise LookupError(f"no node has slot {slot}")

    def promote(self, replica: Node) -> None:
        """Let a replica take over at once, without asking its primary or the others: it may lack the latest writes."""
        replica.ask("CLUSTER", "FAILOVER", "TAKEOVER")
        self.wait(lambda: replica.is_primary, "the replica is promoted")

    def lose_tail(self, primary: Node, write: Callable[[], None]) -> Node:
        """What ``write`` writes to a primary is lost: its replica stands still, then takes over. The new primary."""
        replica = self.replica_of(primary)
        with replica.stopped():
            write()
            primary.kill()
        self.promote(replica)
        return replica

    def mend(self) -> None:
        """Start what was killed, and wait until each primary has its replica and all agree."""
        for node in self.nodes:
            node.start()
        self.wait(self.is_whole, "the cluster is whole")

    def is_whole(self) -> bool:
        """Whether every node says that the cluster works, and every replica is in touch with its primary."""
        try:
            infos = [facts(node.ask("CLUSTER", "INFO")) for node in self.nodes]
            replications = [facts(node.ask("INFO", "replication")) for node in self.nodes]
        except RedisError:
            return False
        return (
            all(info["cluster_state"] == "ok" and info["cluster_slots_ok"] == str(SLOTS) for info in infos)
            and all(info["cluster_known_nodes"] == str(len(self.nodes)) for info in infos)
            and len({info["cluster_current_epoch"] for info in infos}) == 1
            and all(one.get("master_link_status", "up") == "up" for one in replications)
            and sum(one["role"] == "master" and one["connected_slaves"] == "1" for one in replications) == _PRIMARIES
        )

    def flush(self) -> None:
        """Empty it."""
        for node in self.primaries():
            node.ask("FLUSHALL")

    def wait(self, happened: Callable[[], bool], what: str) -> None:
        assert wait_until(happened, _DEADLINE), f"not within {_DEADLINE:g} seconds: {what}"


class Move:
    """A slot on its way from one primary to another, step by step."""

    def __init__(self, cluster: Cluster, slot: int, target: Node) -> None:
        self.cluster = cluster
        self.slot = slot
        self.source = cluster.owner(slot)
        self.target = target

    def begin(self) -> None:
        """From now on keys that the source has not are asked of the target."""
        self.target.ask("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source.id)
        self.source.ask("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target.id)

    def move_keys(self, count: int = 1_000_000) -> int:
        """Move so many keys; how many were moved."""
        keys = self.source.ask("CLUSTER", "GETKEYSINSLOT", self.slot, count)
        if keys:
            self.source.ask("MIGRATE", HOST, self.target.port, "", 0, 10_000, "KEYS", *keys)
        return len(keys)

    def finish(self) -> None:
        """The slot is the target's; the source says MOVED."""
        for node in (self.target, self.source):
            node.ask("CLUSTER", "SETSLOT", self.slot, "NODE", self.target.id)


@contextmanager
def run_cluster(folder: Path, *options: str, front: Front = nullcontext) -> Iterator[Cluster]:
    """Start a cluster for the time of a block; ``options`` are more options of each node's server.

    ``front`` puts something before a node's port and gives the port to tell clients.

    Raises EmbeddedServerError if there is no server or one does not start.
    """
    ports = free_ports(4 * _PRIMARIES)
    with ExitStack() as stack:
        nodes = []
        for port, bus in zip(ports[::2], ports[1::2], strict=True):
            public = stack.enter_context(front(port))
            process = node_process(folder / str(port), port, *_cluster_options(port, bus, public), *options)
            stack.enter_context(running(process))
            client = Redis(port=port, socket_timeout=5.0, decode_responses=False)
            client.response_callbacks.clear()
            stack.callback(client.close)
            nodes.append(Node(port, public, process, client))
        cluster = Cluster(nodes)
        _join(cluster, ports[1::2])
        yield cluster


def _cluster_options(port: int, bus: int, public: int) -> list[str]:
    options = f"--cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout {NODE_TIMEOUT}"
    options += f" --cluster-port {bus} --cluster-announce-ip {HOST} --cluster-replica-validity-factor 0"
    options += " --repl-diskless-sync yes --repl-diskless-sync-delay 0"
    if public != port:
        options += f" --cluster-announce-port {public} --cluster-announce-bus-port {bus}"
    return options.split()


def _join(cluster: Cluster, buses: Sequence[int]) -> None:
    """Share the slots out, let the nodes meet, and give each primary its replica."""
    first, *others = cluster.nodes
    primaries, replicas = cluster.nodes[:_PRIMARIES], cluster.nodes[_PRIMARIES:]
    for number, node in enumerate(primaries):
        begin, end = number * SLOTS // _PRIMARIES, (number + 1) * SLOTS // _PRIMARIES - 1
        node.ask("CLUSTER", "ADDSLOTSRANGE", begin, end)
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for node, bus in zip(others, buses[1:], strict=True):
        first.ask("CLUSTER", "MEET", HOST, node.port, bus)

    def met() -> bool:
        known = [facts(node.ask("CLUSTER", "INFO"))["cluster_known_nodes"] for node in cluster.nodes]
        return set(known) == {str(len(cluster.nodes))}

    cluster.wait(met, "all nodes know each other")
    for primary, replica in zip(primaries, replicas, strict=True):
        replica.ask("CLUSTER", "REPLICATE", primary.id)
    cluster.wait(cluster.is_whole, "the cluster is whole")


def text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def facts(info: bytes | str) -> dict[str, str]:
    """The lines ``name:value`` of INFO and CLUSTER INFO."""
    return dict(line.split(":", 1) for line in text(info).splitlines() if ":" in line)
