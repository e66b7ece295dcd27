"""Where Redis is: ``redis.url`` taken apart. No error here shows any of it, because it may hold a password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

SENTINEL_PORT: Final = 26379
_PORT: Final = 6379
_EXPECTED: Final = (
    "a URL such as redis://HOST:6379/0, rediss://HOST:6379/0 for TLS, or with several hosts HOST1:6379,HOST2:6379; "
    "escape / # ? @ : , in a password, or set redis.password"
)


class Address(NamedTuple):
    """A server's name or IP address, and its port; for a Unix socket its path and 0."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """The parts of a URL; empty texts stand for what it does not give."""

    addresses: tuple[Address, ...]
    tls: bool
    username: str
    password: str = field(repr=False)
    database: int


def parse_redis_url(url: str, default_port: int = _PORT) -> RedisUrl:
    """Take a URL apart: ``redis://``, ``rediss://`` (TLS) or ``unix://`` (a socket's path).

    Options behind a ``?`` are refused: they could switch the check of certificates off.

    Raises:
        ValueError: it is no such URL; the text says what is expected.
    """
    try:
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        addresses = _addresses(parts, hosts, default_port)
        database = 0 if parts.scheme == "unix" else _database(parts.path)
    except ValueError:
        raise ValueError(_EXPECTED) from None
    if parts.query or parts.fragment:
        raise ValueError(_EXPECTED)
    return RedisUrl(addresses, parts.scheme == "rediss", unquote(username), unquote(password), database)


def _addresses(parts: SplitResult, hosts: str, default_port: int) -> tuple[Address, ...]:
    if parts.scheme in {"redis", "rediss"}:
        return tuple(_address(host.strip(), default_port) for host in hosts.split(","))
    if parts.scheme == "unix" and not hosts and parts.path:
        return (Address(parts.path, 0),)
    raise ValueError


def _address(text: str, default_port: int) -> Address:
    """``host``, ``host:port`` or ``[IPv6 address]:port``."""
    parts = urlsplit("//" + text)
    if not parts.hostname or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ValueError
    return Address(parts.hostname, parts.port or default_port)


def _database(path: str) -> int:
    if not re.fullmatch(r"/?|/[0-9]{1,9}", path):
        raise ValueError
    return int(path.strip("/") or 0)
