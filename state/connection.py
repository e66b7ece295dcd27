"""The connection to Redis or Valkey: opened and checked once, errors in one form, scripts by their digest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, Protocol

from redis import exceptions

from state.address import SENTINEL_PORT, RedisUrl, parse_redis_url
from state.cluster import Cluster
from state.dialer import Answers, Arg, Command, Credentials, Dialer, Meanwhile, Pending, TlsFiles
from state.errors import StateMismatch, StateUnreachable
from state.memory import Memory, fullest
from state.one_server import Fixed, OneServer
from state.patience import Waiting
from state.policy import RedisPolicy
from state.sentinel import MasterFinder
from state.times import MICROSECONDS

__all__ = ["Arg", "Command", "Connection", "Meanwhile", "Script", "ScriptCall"]

log = logging.getLogger(__name__)

_LOADS: Final = 3  # times that scripts are loaded for one call: each time the server may be another one
_PLACING: Final = ("acknowledge", "apply", "compare", "place_one")  # scripts that begin with place.lua
_NO_WRITES: Final = ("NOREPLICAS", "MISCONF", "BUSY ", "UNKILLABLE")  # replies that pass


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script of ``state/lua``; its header lists keys and arguments."""

    name: str
    text: str

    @property
    def sha(self) -> str:
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def _load_scripts() -> dict[str, Script]:
    folder = files("state").joinpath("lua")
    texts = {
        path.name.removesuffix(".lua"): path.read_text(encoding="utf-8")
        for path in folder.iterdir()
        if path.name.endswith(".lua")
    }
    place = texts.pop("place")
    return {name: Script(name, place + text if name in _PLACING else text) for name, text in texts.items()}


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """One call of a script, for :meth:`Connection.call`."""

    script: str
    keys: Sequence[str]
    args: Sequence[Arg]


class Servers(Protocol):
    """Where commands go: :class:`state.one_server.OneServer` or :class:`state.cluster.Cluster`."""

    def exchange(self, commands: Sequence[Command]) -> Answers: ...

    def begin(self, commands: Sequence[Command]) -> Callable[[], Answers]: ...

    def everywhere(self, commands: Sequence[Command]) -> list[Answers]: ...

    def close(self) -> None: ...


class Connection:
    """One server, the master that sentinels name, or a cluster. May be used by several threads.

    A server that goes away is tried again, and its successor looked for, until ``redis.timeout`` is over; then all
    commands raise :class:`StateUnreachable`. A command that timed out may have been carried out, and one that is sent
    again may be carried out twice; every script here can therefore be called again.

    Raises:
        StateMismatch: ``policy`` is no description of servers, or names files that cannot be read.
    """

    def __init__(self, policy: RedisPolicy, waiting: Waiting | None = None) -> None:
        url = _parse(policy)
        self.where = ",".join(map(str, url.addresses))
        self._servers = _servers(policy, url, waiting or Waiting())
        self._scripts = _load_scripts()
        self._shas = {name: script.sha for name, script in self._scripts.items()}

    def check(self) -> None:
        """Refuse servers that could lose the state silently.

        Raises:
            StateMismatch: ``maxmemory-policy`` is not ``noeviction``.
        """
        for facts in self._memory_facts():
            policy = facts.get(b"maxmemory_policy", b"noeviction").decode()
            if policy != "noeviction":
                raise StateMismatch(
                    f"Redis at {self.where} has maxmemory-policy {policy}; it would throw study records away. "
                    "Set it to noeviction."
                )

    def memory(self) -> Memory:
        """How full the server is; of a cluster the primary that is nearest to its limit, which refuses writes first.

        Raises:
            StateUnreachable: a server does not answer.
        """
        return fullest(Memory.of(facts) for facts in self._memory_facts())

    def _memory_facts(self) -> list[dict[bytes, bytes]]:
        """What each server that takes writes says of its memory."""
        with self.errors():
            answers = self._servers.everywhere([("INFO", "memory")])
            infos = [bytes(_only(one)).splitlines() for one in answers]
        return [dict(line.split(b":", 1) for line in info if b":" in line) for info in infos]

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the client's errors into those of the state."""
        try:
            yield
        except exceptions.RedisError as error:
            found = self._described(error)
            if found is None:
                raise
            raise found from error

    def _described(self, error: exceptions.RedisError) -> StateMismatch | StateUnreachable | None:
        """The state's error for the client's; None for one that only a mistake of this program can cause."""
        redis = f"Redis at {self.where}"
        match error:
            case exceptions.AuthenticationError() if "HELLO" in str(error) or "required" in str(error):
                return StateMismatch(f"{redis} asks for a password; set redis.password")
            case exceptions.AuthenticationError():
                return StateMismatch(f"{redis} refuses the user or password: {error}")
            case exceptions.NoPermissionError():
                return StateMismatch(f"{redis} does not let this user do that: {error}; see docs/operations.md")
            case exceptions.ConnectionError() | exceptions.TimeoutError() if "SSL" in str(error).upper():
                return StateUnreachable(
                    f"{redis}: no connection with TLS: {error}; are redis.tls_ca_file and others right?"
                )
            case exceptions.ConnectionError() | exceptions.TimeoutError():
                return StateUnreachable(f"{redis} cannot be reached: {error}; is it running, and is redis.url right?")
            case (
                exceptions.ReadOnlyError()
                | exceptions.ClusterDownError()
                | exceptions.TryAgainError()
                | exceptions.NoScriptError()
            ):
                return StateUnreachable(f"{redis} takes no writes now: {error}")
            case exceptions.OutOfMemoryError():
                return StateUnreachable(f"{redis} is out of memory: {error}")
            case exceptions.AskError():
                return StateMismatch(f"{redis} is a node of a cluster; set redis.mode to cluster")
            case exceptions.ResponseError() if str(error).startswith("WRONGTYPE"):
                return StateMismatch(
                    f"{redis} holds another thing in place of the state; was it migrated by a newer program? {error}"
                )
            case exceptions.ResponseError() if str(error).startswith(_NO_WRITES):
                return StateUnreachable(f"{redis} takes no writes now: {error}")
            case exceptions.ResponseError() if "cluster support disabled" in str(error):
                return StateMismatch(f"{redis} is no cluster; set redis.mode to single")
            case exceptions.ResponseError() if "DB index" in str(error):
                return StateMismatch(f"{redis} has no such database: {error}; see the end of redis.url")
        return None

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go, not as a transaction; the replies in order, as the server gives them (RESP 3).

        Commands may be carried out twice, when a connection breaks and they are sent again. Those of one slot (all
        with the same hash tag) are carried out in their order, also then; different slots may lie on different
        servers, which know nothing of each other's order.
        """
        if not commands:
            return []
        with self.errors():
            return _all(self._servers.exchange(commands))

    def call(self, calls: Iterable[ScriptCall], meanwhile: Meanwhile = None) -> list[Any]:
        """Call scripts, all in one round trip; the replies in order. The first are sent while later ones are made.

        ``meanwhile`` is done while the servers do their work.
        """
        return self.begin(calls, meanwhile)(meanwhile)

    def begin(self, calls: Iterable[ScriptCall], meanwhile: Meanwhile = None) -> Callable[[Meanwhile], list[Any]]:
        """Send calls of scripts as :meth:`call`; their replies are read by calling what this returns, once.

        What is sent in between may be carried out before them.
        """
        commands = Pending((self._evalsha(call) for call in calls), meanwhile)
        with self.errors():
            finish = self._servers.begin(commands)

        def replies(meanwhile: Meanwhile = None) -> list[Any]:
            commands.meanwhile = meanwhile
            return self._with_scripts(commands, finish)

        return replies

    def _with_scripts(self, commands: Sequence[Command], exchange: Callable[[], Answers]) -> list[Any]:
        """The replies, once the servers know the scripts."""
        with self.errors():
            replies, failed = exchange()
            for _ in range(_LOADS):
                missing = [place for place in failed if isinstance(replies[place], exceptions.NoScriptError)]
                if not missing:
                    break
                # A new server, or one that was restarted: it knows no script yet.
                shas = {commands[place][1] for place in missing}
                texts = [script.text for script in self._scripts.values() if script.sha in shas]
                self._servers.everywhere([("SCRIPT", "LOAD", text) for text in texts])
                again = self._servers.exchange([commands[place] for place in missing])
                for place, reply in zip(missing, again.replies, strict=True):
                    replies[place] = reply
                failed = sorted({*failed} - {*missing} | {missing[place] for place in again.failed})
            return _all(Answers(replies, failed))

    def _evalsha(self, call: ScriptCall) -> Command:
        return ("EVALSHA", self._shas[call.script], len(call.keys), *call.keys, *call.args)

    def load_scripts(self) -> int:
        """Load every script beforehand; how many there are. Calls load them by themselves.

        Raises:
            StateMismatch: the server does not let this user, or takes a script for no Lua.
        """
        with self.errors():
            for answers in self._servers.everywhere(
                [("SCRIPT", "LOAD", script.text) for script in self._scripts.values()]
            ):
                _all(answers)
        return len(self._scripts)

    def now(self) -> int:
        """The server's clock, UTC microseconds.

        In a cluster it is one node's, the same for as long as that is a primary. It goes back when that clock does, or
        when another server takes its place and its clock is behind.
        """
        [(seconds, micros)] = self.send([("TIME",)])
        return int(seconds) * MICROSECONDS + int(micros)

    def close(self) -> None:
        self._servers.close()


def _parse(policy: RedisPolicy) -> RedisUrl:
    try:
        if policy.mode == "sentinel":
            return parse_redis_url(policy.url, SENTINEL_PORT)
        return parse_redis_url(policy.url)
    except ValueError as error:
        raise StateMismatch(f"redis.url is not valid; expected {error}") from None


def _servers(policy: RedisPolicy, url: RedisUrl, waiting: Waiting) -> Servers:
    tls = TlsFiles(policy.tls_ca_file, policy.tls_cert_file, policy.tls_key_file) if url.tls else None
    if tls is not None:
        try:
            tls.context()
        except OSError as error:
            raise StateMismatch(
                f"the files for TLS with Redis cannot be used: {error}; see redis.tls_ca_file"
            ) from error
    user = Credentials(policy.username or url.username, policy.password or url.password, url.database)
    dialer = Dialer(user, tls, policy.timeout)
    match policy.mode:
        case "cluster":
            return Cluster(dialer, url.addresses, waiting)
        case "sentinel":
            watcher = Credentials(policy.sentinel_username, policy.sentinel_password)
            to_sentinels = Dialer(watcher, tls, policy.timeout)
            finder = MasterFinder(policy.sentinel_master, url.addresses, to_sentinels, dialer)
            return OneServer(dialer, finder, waiting)
        case _:
            return OneServer(dialer, Fixed(url.addresses[0]), waiting)


def _all(answers: Answers) -> list[Any]:
    """The replies, if none is an error; else the first error is raised."""
    if answers.failed:
        raise answers.replies[answers.failed[0]]
    return answers.replies


def _only(answers: Answers) -> Any:
    [reply] = _all(answers)
    return reply
