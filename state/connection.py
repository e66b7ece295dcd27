"""The connection to Redis or Valkey: opened and checked once, errors in one form, scripts by their digest."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

import redis
import redis.exceptions as errors
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from state.errors import StateMismatch, StateUnreachable
from state.policy import RedisPolicy
from state.times import MICROSECONDS

log = logging.getLogger(__name__)

_RETRIES: Final = 3

Arg = bytes | str | int | float


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
    return {
        path.name.removesuffix(".lua"): Script(path.name.removesuffix(".lua"), path.read_text(encoding="utf-8"))
        for path in folder.iterdir()
        if path.name.endswith(".lua")
    }


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """One call of a script, for :meth:`Connection.call`."""

    script: str
    keys: Sequence[str]
    args: Sequence[Arg]


class Connection:
    """One server. All commands raise :class:`StateUnreachable` when it does not answer.

    A command that timed out may have been carried out; every script here can therefore be called again.
    """

    def __init__(self, policy: RedisPolicy) -> None:
        options: dict[str, Any] = {
            "socket_timeout": policy.timeout,
            "socket_connect_timeout": policy.timeout,
            "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), _RETRIES),
            "health_check_interval": 30,
        }
        if policy.username:
            options["username"] = policy.username
        if policy.password:
            options["password"] = policy.password
        try:
            self.client = redis.Redis.from_url(policy.url, **options)
        except ValueError:
            # Its text may hold a part of the password.
            raise StateMismatch(
                "redis.url is no URL such as redis://HOST:6379/0; escape / # @ : in a password, or set redis.password"
            ) from None
        self.where = _without_credentials(policy.url)
        self._scripts = _load_scripts()
        self._shas = {name: script.sha for name, script in self._scripts.items()}

    def check(self) -> None:
        """Refuse a server that could lose the state silently.

        Raises:
            StateMismatch: ``maxmemory-policy`` is not ``noeviction``.
        """
        with self.errors():
            policy = self.client.info("memory").get("maxmemory_policy")
        if policy not in {None, "noeviction"}:
            raise StateMismatch(
                f"Redis at {self.where} has maxmemory-policy {policy}; it would throw study records away. "
                "Set it to noeviction."
            )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the client's errors into those of the state."""
        try:
            yield
        except errors.AuthenticationError as error:
            raise StateMismatch(f"Redis at {self.where} refuses the user or password: {error}") from error
        except (errors.ConnectionError, errors.TimeoutError, errors.BusyLoadingError) as error:
            raise StateUnreachable(
                f"Redis at {self.where} cannot be reached: {error}; is it running, and is redis.url right?"
            ) from error
        except (errors.ReadOnlyError, errors.ClusterDownError) as error:
            raise StateUnreachable(f"Redis at {self.where} takes no writes now: {error}") from error
        except errors.OutOfMemoryError as error:
            raise StateUnreachable(f"Redis at {self.where} is out of memory: {error}") from error

    def pipeline(self) -> redis.client.Pipeline:
        """Commands sent together, not as a transaction."""
        return self.client.pipeline(transaction=False)

    def call(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Call scripts, all in one round trip; the replies in order."""
        if not calls:
            return []
        with self.errors():
            replies = self._evaluate(calls)
            missing = [index for index, reply in enumerate(replies) if isinstance(reply, errors.NoScriptError)]
            if missing:
                # A new server, or one that was restarted: it knows no script yet.
                for name in {calls[index].script for index in missing}:
                    self.client.script_load(self._scripts[name].text)
                again = self._evaluate([calls[index] for index in missing])
                for index, reply in zip(missing, again, strict=True):
                    replies[index] = reply
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return replies

    def _evaluate(self, calls: Sequence[ScriptCall]) -> list[Any]:
        pipeline = self.pipeline()
        for call in calls:
            pipeline.evalsha(self._shas[call.script], len(call.keys), *call.keys, *call.args)
        return pipeline.execute(raise_on_error=False)

    def now(self) -> int:
        """The server's clock, UTC microseconds."""
        with self.errors():
            seconds, micros = self.client.time()
        return seconds * MICROSECONDS + micros

    def close(self) -> None:
        self.client.close()


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}" if parts.hostname else parts.path
