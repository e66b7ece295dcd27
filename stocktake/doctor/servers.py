"""Redis or Valkey: reached, of a version and set up as the state needs it, with memory left, and the user's rights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Final

from state.connection import Connection
from state.errors import StateMismatch, StateUnreachable
from state.memory import Memory
from stocktake.doctor.finding import Examined, Finding, Limits, Reporter
from stocktake.doctor.rights import ROLES, refused

_REPORT: Final = Reporter("redis")
_OLDEST: Final = (7, 0)
_RIGHTS: Final = "see docs/security.md"


def check(examined: Examined) -> Iterator[Finding]:
    """A server that does not answer, or refuses the user, is the only finding."""
    policy = examined.redis
    with closing(Connection(policy)) as connection:
        try:
            facts = info(connection, "server")
        except StateUnreachable as error:
            yield _REPORT.fail("reach", str(error))
            return
        except StateMismatch as error:
            yield _REPORT.fail("login", str(error))
            return
        yield _REPORT.ok("reach", f"Redis at {connection.where} answers")
        yield version(facts)
        yield mode(facts, policy.mode)
        try:
            connection.check()
        except StateMismatch as error:
            yield _REPORT.fail("eviction", str(error))
        else:
            yield _REPORT.ok("eviction", "maxmemory-policy is noeviction")
        yield memory(connection.memory(), examined.limits)
        where = " (of one server of the cluster)" if policy.mode == "cluster" else ""
        yield persistence(info(connection, "persistence"), where)
        yield replication(info(connection, "replication"), where)
        yield _scripts(connection)
        yield rights(refused(connection.send, examined.repositories[0]))


def info(connection: Connection, section: str) -> dict[str, str]:
    """A section of INFO by name."""
    [found] = connection.send([("INFO", section)])
    lines = (found if isinstance(found, bytes) else str(found).encode()).decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def version(facts: Mapping[str, str]) -> Finding:
    """Valkey says which Redis it stands in for."""
    spoken = facts.get("redis_version", "0")
    name = f"Valkey {facts['valkey_version']}" if "valkey_version" in facts else f"Redis {spoken}"
    if tuple(int(one) for one in spoken.split(".")[:2] if one.isdecimal()) < _OLDEST:
        return _REPORT.fail("version", name, "use Redis 7 or newer, or Valkey")
    return _REPORT.ok("version", name)


def mode(facts: Mapping[str, str], wanted: str) -> Finding:
    """Whether ``redis.mode`` is what the server is."""
    found = facts.get("redis_mode") or facts.get("server_mode")  # Redis, Valkey
    if found is None:
        return _REPORT.skip("mode", "the server does not tell whether it is a cluster's")
    if (found == "cluster") != (wanted == "cluster"):
        return _REPORT.fail("mode", f"the server says {found}, redis.mode is {wanted}", "set redis.mode to what it is")
    return _REPORT.ok("mode", f"redis.mode {wanted}")


def memory(found: Memory, limits: Limits) -> Finding:
    """How near the server is to refusing writes."""
    used = f"{found.used / 1e9:.2f} GB used"
    if found.limit is None:
        return _REPORT.warn(
            "memory", f"{used}, no maxmemory", "set maxmemory below what the machine has, or the kernel ends the server"
        )
    told = f"{used} of {found.limit / 1e9:.2f} GB, {found.share:.0%}"
    if found.share >= 1:
        return _REPORT.fail("memory", told, "no event can be applied: give it more memory")
    if found.share >= limits.headroom:
        return _REPORT.warn("memory", told, "give it more memory before it refuses writes")
    return _REPORT.ok("memory", told)


def persistence(facts: Mapping[str, str], where: str = "") -> Finding:
    """What is left after a restart."""
    if facts.get("aof_enabled") == "1":
        if facts.get("aof_last_write_status", "ok") != "ok":
            return _REPORT.fail("persistence", f"the append-only file cannot be written{where}", "is its disk full?")
        return _REPORT.ok("persistence", f"append-only file{where}")
    if facts.get("rdb_last_bgsave_status", "ok") != "ok":
        return _REPORT.fail("persistence", f"the last snapshot failed{where}", "is its disk full?")
    return _REPORT.warn(
        "persistence",
        f"no append-only file{where}: a restart loses what came since the last snapshot, or everything",
        "set appendonly yes; what is lost is read from Kafka again, as far back as that goes",
    )


def replication(facts: Mapping[str, str], where: str = "") -> Finding:
    """Whether it takes writes, and who would take its place."""
    if facts.get("role") == "slave":
        return _REPORT.fail("replication", f"a replica{where}, which takes no writes", "name the primary in redis.url")
    replicas = int(facts.get("connected_slaves", "0"))
    return _REPORT.ok("replication", f"a primary with {replicas} replicas{where}")


def _scripts(connection: Connection) -> Finding:
    try:
        count = connection.load_scripts()
    except StateMismatch as error:
        return _REPORT.fail("scripts", str(error), _RIGHTS)
    return _REPORT.ok("scripts", f"{count} scripts load")


def rights(missing: set[str]) -> Finding:
    """For which roles the user's rights are enough."""
    lacking = {role: sorted(wanted & missing) for role, wanted in ROLES.items()}
    able = [role for role, commands in lacking.items() if not commands]
    told = "; ".join(f"{role} lacks {', '.join(commands)}" for role, commands in lacking.items() if commands)
    if not able:
        return _REPORT.fail("rights", f"the user may not do what any role has to: {told}", _RIGHTS)
    if told:
        return _REPORT.ok("rights", f"the user's commands are enough for {', '.join(able)} ({told})")
    return _REPORT.ok("rights", "the user may use every command of every role")
