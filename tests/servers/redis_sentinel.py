"""A master, its replica, and three sentinels that replace it when it is gone, on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from stocktake.embedded import HOST, ServerProcess, free_ports, wait_until
from tests.servers.processes import running
from tests.servers.redis_cluster import Front, Node, facts
from tests.servers.redis_server import node_process, server_binary

MASTER_NAME: Final = "archive"
_DEADLINE: Final = 60.0
_SENTINELS: Final = 3


@dataclass(frozen=True)
class Watched:
    """Two servers and who looks after them; ``redis.sentinel_master`` is :data:`MASTER_NAME`."""

    servers: tuple[Node, ...]
    sentinels: tuple[Node, ...]

    @property
    def url(self) -> str:
        """For ``redis.url``, with ``redis.mode`` sentinel."""
        return "redis://" + ",".join(f"{HOST}:{node.told}" for node in self.sentinels)

    def master(self) -> Node:
        """The server that all sentinels name, once they agree and none replaces it."""
        found: set[int] = set()

        def agreed() -> bool:
            nonlocal found
            found = self._named()
            return len(found) == 1

        assert wait_until(agreed, _DEADLINE), "the sentinels do not agree"
        [told] = found
        return next(node for node in self.servers if node.told == told)

    def wait_for_another_than(self, before: Node) -> None:
        """Wait until all sentinels name another master."""
        assert wait_until(lambda: not self._named() & {before.told, 0}, _DEADLINE), "no other master"

    def mend(self) -> None:
        """Start what was killed, and wait until the replica is in touch with the master."""
        for node in self.servers:
            node.start()
        assert wait_until(self._is_whole, _DEADLINE), "the replica does not follow"

    def _named(self) -> set[int]:
        """The ports that sentinels name as the master's; 0 of one that is replacing it."""
        masters = [_pairs(node.ask("SENTINEL", "MASTER", MASTER_NAME)) for node in self.sentinels]
        return {int(one[b"port"]) if one[b"flags"] == b"master" else 0 for one in masters}

    def _is_whole(self) -> bool:
        """Whether the replica follows, and every sentinel knows it as one that could take over, and the others."""
        try:
            found = [facts(node.ask("INFO", "replication")) for node in self.servers]
            replicas = [node.ask("SENTINEL", "REPLICAS", MASTER_NAME) for node in self.sentinels]
            others = [node.ask("SENTINEL", "SENTINELS", MASTER_NAME) for node in self.sentinels]
        except RedisError:
            return False
        fit = [[_pairs(one) for one in known] for known in replicas]
        return (
            any(one["role"] == "master" and one["connected_slaves"] == "1" for one in found)
            and all(any(_could_take_over(one) for one in known) for known in fit)
            and all(len(one) == _SENTINELS - 1 for one in others)
        )


def _pairs(answer: Any) -> dict[bytes, bytes]:
    """What a sentinel tells of one server: names and values in turn, or a map, by its version."""
    return dict(answer) if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))


def _could_take_over(replica: Mapping[bytes, bytes]) -> bool:
    return replica[b"flags"] == b"slave" and replica[b"master-link-status"] == b"ok"


@contextmanager
def run_sentinel(
    folder: Path, *, password: str = "", sentinel_password: str = "", front: Front = nullcontext
) -> Iterator[Watched]:
    """Start them for the time of a block; the servers and the sentinels may have a password each.

    ``front`` puts something before a port and gives the port to tell clients.

    Raises EmbeddedServerError if there is no server or one does not start.
    """
    ports = free_ports(2 + _SENTINELS)
    with ExitStack() as stack:
        public = [stack.enter_context(front(port)) for port in ports]

        def node(number: int, process: ServerProcess, client: Redis) -> Node:
            stack.callback(client.close)
            stack.enter_context(running(process))
            return Node(ports[number], public[number], process, client)

        servers = []
        for number in range(2):
            client = _client(ports[number], password)
            options = ["--replica-announce-ip", HOST, "--replica-announce-port", str(public[number])]
            options += ["--requirepass", password, "--masterauth", password] if password else []
            options += ["--replicaof", HOST, str(public[0])] if number else []
            process = node_process(folder / str(number), ports[number], *options, answers=partial(_pong, client))
            servers.append(node(number, process, client))
        sentinels = []
        for number in range(2, 2 + _SENTINELS):
            client = _client(ports[number], sentinel_password)
            process = _sentinel(folder / str(number), ports[number], public[0], password, sentinel_password, client)
            sentinels.append(node(number, process, client))
        watched = Watched(tuple(servers), tuple(sentinels))
        watched.mend()
        yield watched


def _sentinel(folder: Path, port: int, master: int, password: str, own: str, client: Redis) -> ServerProcess:
    folder.mkdir(parents=True)
    lines = [
        f"port {port}",
        f"bind {HOST}",
        f"dir {folder}",
        f"sentinel monitor {MASTER_NAME} {HOST} {master} 2",
        f"sentinel down-after-milliseconds {MASTER_NAME} 1000",
        f"sentinel failover-timeout {MASTER_NAME} 3000",
    ]
    if password:
        lines.append(f"sentinel auth-pass {MASTER_NAME} {password}")
    if own:
        lines += [f"requirepass {own}", f"sentinel sentinel-pass {own}"]
    file = folder / "sentinel.conf"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command: list[str | Path] = [server_binary()[0], file, "--sentinel"]
    return ServerProcess(f"Sentinel {port}", command, folder / "sentinel.log", partial(_pong, client))


def _client(port: int, password: str) -> Redis:
    client = Redis(port=port, password=password or None, socket_timeout=5.0)
    client.response_callbacks.clear()
    return client


def _pong(client: Redis) -> bool:
    try:
        return bool(client.execute_command("PING") == b"PONG")  # type: ignore[no-untyped-call]
    except RedisError:
        return False
