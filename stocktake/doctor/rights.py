"""Which commands of Redis each role uses, and whether a user may use them: each is tried, on keys that hold nothing.

Nothing of the state is read or changed: the keys are of the doctor's own, and what a command leaves there is removed,
or expires. Scripts are held to the same rights as their user, so what they call is among the commands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.exceptions import NoPermissionError

from state.connection import Command
from state.errors import StateError
from state.keys import ShardKeys

_EVERY: Final = "info time script|load evalsha hsetnx hgetall hget hmget hset"

# As docs/security.md grants them, without what only opens a connection.
ROLES: Final[dict[str, frozenset[str]]] = {
    role: frozenset(f"{_EVERY} {more}".split())
    for role, more in {
        "consumer": (
            "hdel hincrby hexists hscan exists get zadd zrem zscore zcard zrangebylex zrangebyscore "
            "sadd srem srandmember"
        ),
        "writer": "hdel hincrby exists get set del incr pexpire zadd zrem zscore zcard zrange zrangebyscore",
        "service": ("hdel hkeys hlen exists get set zadd zcard zcount zrange zrangebyscore zremrangebyscore zscore"),
        "enricher": "hincrby zadd zcard zcount zrangebyscore",
        "bridge": "hexists hdel",
        "crawler": "hdel zcard zcount zrangebyscore",
    }.items()
}

_EXPIRES: Final = 10_000  # milliseconds


def probes(repository: str) -> dict[str, Command]:
    """One harmless call of each command, in an order in which the later ones remove what the earlier ones leave."""
    stem = ShardKeys(repository, 0).study("doctor")
    hash_, zset, set_, text = (f"{stem}:{kind}" for kind in ("hash", "zset", "set", "text"))
    found: list[Command] = [
        ("INFO", "server"),
        ("TIME",),
        ("SCRIPT", "LOAD", "return 1"),
        ("EVALSHA", "0" * 40, 1, hash_),
        ("HSETNX", hash_, "f", "1"),
        ("HSET", hash_, "f", "1"),
        ("HINCRBY", hash_, "f", 1),
        ("HGETALL", hash_),
        ("HGET", hash_, "f"),
        ("HMGET", hash_, "f"),
        ("HEXISTS", hash_, "f"),
        ("HSCAN", hash_, 0),
        ("HKEYS", hash_),
        ("HLEN", hash_),
        ("HDEL", hash_, "f"),
        ("ZADD", zset, 0, "m"),
        ("ZSCORE", zset, "m"),
        ("ZCARD", zset),
        ("ZCOUNT", zset, "-inf", "+inf"),
        ("ZRANGE", zset, 0, 0),
        ("ZRANGEBYLEX", zset, "[a", "(b"),
        ("ZRANGEBYSCORE", zset, 1, 0),
        ("ZREMRANGEBYSCORE", zset, 0, 0),
        ("ZREM", zset, "m"),
        ("SADD", set_, "m"),
        ("SRANDMEMBER", set_, 1),
        ("SREM", set_, "m"),
        ("SET", text, "1", "PX", _EXPIRES),
        ("INCR", text),
        ("PEXPIRE", text, _EXPIRES),
        ("GET", text),
        ("EXISTS", text),
        ("DEL", hash_, zset, set_, text),
    ]
    return {_name(one): one for one in found}


def refused(send: Callable[[Sequence[Command]], Any], repository: str) -> set[str]:
    """The commands that the user may not use at all; what it may not do to a key of the doctor's is none of these.

    Raises:
        StateUnreachable: the server does not answer.
    """
    found = set()
    for name, command in probes(repository).items():
        try:
            send([command])
        except StateError as error:
            if not isinstance(error.__cause__, NoPermissionError):
                if name != "evalsha":  # of a script that nobody has
                    raise
            elif "command" in str(error.__cause__):
                found.add(name)
    return found


def _name(command: Command) -> str:
    first, *rest = map(str, command)
    return f"{first}|{rest[0]}".lower() if first == "SCRIPT" else first.lower()
