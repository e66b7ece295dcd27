"""Connections to Redis servers, opened in one way: user, password, TLS and timeouts; one exchange over a connection.

The client's own retries are off: how often and how long is decided in one place, :mod:`state.patience`.
"""

from __future__ import annotations

import select
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, overload

import redis
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from state.address import Address

Arg = bytes | str | int | float
Command: TypeAlias = "tuple[Arg, ...]"  # a command's name, most often a key, and its other words

# Other work while a server is waited for: a fraction of a millisecond at each call, False once none is left. It may not
# raise.
Meanwhile: TypeAlias = "Callable[[], bool] | None"

_PIECE: Final = 1 << 16  # bytes sent at once
_LARGEST_POOL: Final = 2**31  # connections; as many as there are threads


class Answers(NamedTuple):
    """The replies to commands, in order; an error of the server stands in the place of its reply.

    ``failed`` are the places of errors, rising.
    """

    replies: list[Any]
    failed: list[int]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the authorities trusted (None: the system's), our certificate and its key if servers ask for one."""

    authorities: Path | None
    certificate: Path | None
    key: Path | None

    def context(self) -> ssl.SSLContext:
        """Certificates and names are checked, always. Files are read at each call, so renewed ones are taken up.

        Raises:
            OSError: a file cannot be read, or holds no certificate or key; the text names it.
        """
        try:
            context = ssl.create_default_context(cafile=self.authorities)
        except OSError as error:
            raise OSError(f"{self.authorities}: {error}") from error
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key)
            except OSError as error:
                raise OSError(f"{self.certificate} and its key: {error}") from error
        return context


class _TlsConnection(redis.Connection):
    """A connection with TLS. The client's own one trusts the system's authorities beside the ones that it is given."""

    def __init__(self, tls: TlsFiles, **options: Any) -> None:
        self._tls = tls
        super().__init__(**options)  # type: ignore[no-untyped-call]

    def _connect(self) -> Any:
        context = self._tls.context()
        plain = super()._connect()  # type: ignore[no-untyped-call]
        try:
            return context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who connects: empty texts for nobody. ``database`` is the number to select."""

    username: str
    password: str = field(repr=False)
    database: int = 0


class Dialer:
    """Opens connections to any server in the same way. ``timeout`` seconds are for connecting, and for each reply."""

    def __init__(self, credentials: Credentials, tls: TlsFiles | None, timeout: float) -> None:
        self.timeout = timeout
        self._options: dict[str, Any] = {
            "username": credentials.username or None,
            "password": credentials.password or None,
            "db": credentials.database,
            "protocol": 3,
            "retry": Retry(NoBackoff(), 0),
        }
        self._tcp: dict[str, Any] = {"socket_keepalive": True}
        self._class: type[redis.Connection] = redis.Connection
        if tls is not None:
            self._tcp["tls"] = tls
            self._class = _TlsConnection

    def pool(self, address: Address) -> redis.ConnectionPool:
        """Connections to one server, opened as they are needed."""
        kind, options = self._kind(address, self.timeout)
        quiet = MaintNotificationsConfig(enabled=False)
        return redis.ConnectionPool(kind, max_connections=_LARGEST_POOL, maint_notifications_config=quiet, **options)

    def ask(self, address: Address, commands: Sequence[Command], timeout: float) -> list[Any]:
        """The replies to a few commands over a connection of their own, each within ``timeout`` seconds.

        Raises:
            redis.RedisError: also for the first error among the replies.
        """
        kind, options = self._kind(address, timeout)
        connection: Any = kind(**options)
        try:
            connection.connect()
            replies, failed = exchange(connection, commands)
        finally:
            connection.disconnect()
        if failed:
            raise replies[failed[0]]
        return replies

    def _kind(self, address: Address, timeout: float) -> tuple[Any, Mapping[str, Any]]:
        options = self._options | {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        if not address.port:
            return redis.UnixDomainSocketConnection, options | {"path": address.host}
        return self._class, options | self._tcp | {"host": address.host, "port": address.port}


@contextmanager
def borrowed(pool: redis.ConnectionPool) -> Iterator[Any]:
    """A connection of a pool. After an error it is closed, since replies may be on their way."""
    connection: Any = pool.get_connection()
    try:
        yield connection
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def exchange_over(pool: redis.ConnectionPool, commands: Sequence[Command]) -> Answers:
    """:func:`exchange` over a connection of a pool."""
    return begin_over(pool, commands)()


def begin_over(pool: redis.ConnectionPool, commands: Sequence[Command]) -> Callable[[], Answers]:
    """Write commands over a connection of a pool; their replies are read by calling what this returns, once.

    Until then nobody else has the connection. Both raise as :func:`exchange`.
    """
    connection: Any = pool.get_connection()

    def give_back(*, broken: bool) -> None:
        if broken:
            connection.disconnect()
        pool.release(connection)

    def finish() -> Answers:
        broken = True
        try:
            answers = _read(connection, commands)
            broken = False
            return answers
        finally:
            give_back(broken=broken)

    try:
        write(connection, commands, _pending(commands))
    except BaseException:
        give_back(broken=True)
        raise
    return finish


class Pending(Sequence[Command]):
    """Commands that are made as they are asked for, and kept: they may have to be sent again.

    ``meanwhile`` is done whenever a server is not ready to take more of them, or has not answered yet.
    """

    def __init__(self, source: Iterable[Command], meanwhile: Meanwhile = None) -> None:
        self.meanwhile = meanwhile
        self._source = iter(source)
        self._made: list[Command] = []

    def wait(self, connection: Any, event: int) -> None:
        """Do other work, as long as there is some, until a connection is ready for ``event`` (of :mod:`select`)."""
        if self.meanwhile is None or (event == select.POLLIN and holds_replies(connection)):
            return
        ready = select.poll()
        ready.register(connection._sock, event)
        while not ready.poll(0):
            if not self.meanwhile():
                self.meanwhile = None
                return

    def __iter__(self) -> Iterator[Command]:
        yield from self._made
        for command in self._source:
            self._made.append(command)
            yield command

    def _all(self) -> list[Command]:
        self._made += self._source
        return self._made

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, place: int) -> Command: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Command]: ...

    def __getitem__(self, place: int | slice) -> Command | Sequence[Command]:
        return self._all()[place]


def holds_replies(connection: Any) -> bool:
    """Whether more replies were read from the server than were asked for: many come at once."""
    return bool(connection._parser._reader.has_data())


def write(connection: Any, commands: Iterable[Command], pending: Pending | None = None) -> None:
    """Write commands, the first while later ones are made; do what ``pending`` has to do when the server is busy.

    hiredis packs them itself: redis-py's way to it costs three times as much.
    """
    packed: list[bytes] = []
    size, first = 0, True
    for command in commands:
        packed.append(pack_command(command))  # type: ignore[arg-type]  # its stub wants one word
        size += len(packed[-1])
        if size >= _PIECE:
            if pending is not None and not first:
                pending.wait(connection, select.POLLOUT)
            connection.send_packed_command([b"".join(packed)], check_health=first)
            packed, size, first = [], 0, False
    if packed:
        connection.send_packed_command([b"".join(packed)], check_health=first)


def exchange(connection: Any, commands: Sequence[Command]) -> Answers:
    """Write all commands at once, then read their replies.

    Raises:
        redis.RedisError: the connection is lost, or the server loads its data; how much was carried out is not known.
    """
    write(connection, commands, _pending(commands))
    return _read(connection, commands)


def _pending(commands: Sequence[Command]) -> Pending | None:
    return commands if isinstance(commands, Pending) else None


def _read(connection: Any, commands: Sequence[Command]) -> Answers:
    pending = _pending(commands)
    read = connection.read_response
    replies: list[Any] = []
    failed: list[int] = []
    for _ in commands:
        if pending is not None:
            pending.wait(connection, select.POLLIN)
        try:
            replies.append(read())
        except ResponseError as error:
            failed.append(len(replies))
            replies.append(error)
    return Answers(replies, failed)
