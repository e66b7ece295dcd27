"""Bearer tokens: who may call the HTTP service, read from a file of hashes that is read again when it changes.

A line of the file is ``NAME ROLE SHA256``: the name that the log shows, ``read`` or ``operate``, and the SHA-256 of the
token in hexadecimal. Blank lines and those that begin with ``#`` are passed over. Tokens are drawn at random and long,
so a plain hash of one tells nothing: nobody can try them all.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_PREFIX: Final = "stk_"  # so that scanners for leaked secrets can find one
_RANDOM_BYTES: Final = 32
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_LOOK: Final = 1.0  # seconds between two looks at whether the file has changed
_LONGEST: Final = 1 << 20  # bytes of a file of tokens


class Role(StrEnum):
    """What a token is for. ``OPERATE`` may all that ``READ`` may."""

    READ = "read"
    OPERATE = "operate"

    def may(self, wanted: Role) -> bool:
        return self is Role.OPERATE or wanted is Role.READ


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the name of the token (empty: nobody has one here), and what may be done with it."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the file."""

    caller: Caller
    sha256: str


class TokensUnusable(Exception):
    """The file cannot be read, or must not be trusted. The text names it and says why; it shows nothing of it."""


def new_token() -> str:
    """A token that nobody has had before."""
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def line_for(name: str, role: Role, token: str) -> str:
    """The line of the file that lets this token in."""
    return f"{name} {role} {_digest(token)}"


def _digest(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def parse_tokens(text: str) -> tuple[list[Entry], list[int]]:
    """The entries, and the numbers of the lines that are none. Those lines are not shown: a token may stand there."""
    entries, bad = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match line.split():
            case [name, ("read" | "operate") as role, digest] if NAME.fullmatch(name) and _HASH.fullmatch(digest):
                entries.append(Entry(Caller(name, Role(role)), digest))
            case _:
                bad.append(number)
    return entries, bad


class Tokens:
    """The tokens of a file. It is looked at again at most once a second, when somebody calls.

    Raises:
        TokensUnusable: the file cannot be used, has a line that is none, or holds no token.
    """

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._looked = monotonic()
        self._seen: tuple[int, ...] | None = None
        self._trouble = ""
        self._warned = False
        self._entries: list[Entry] = []
        if (bad := self._read()) or not self._entries:
            why = f"line {bad[0]} is not NAME ROLE SHA256" if bad else "holds no token; `stocktake token` makes one"
            raise TokensUnusable(f"{path}: {why}")

    def caller(self, token: str) -> Caller | None:
        """Whose token this is; None: nobody's.

        Raises:
            TokensUnusable: the file has become unusable. Then nobody is let in, whoever was before.
        """
        if self._monotonic() - self._looked >= _LOOK:
            self._looked = self._monotonic()
            self._look()
        if self._trouble:
            raise TokensUnusable(self._trouble)
        digest = _digest(token)
        found = None
        for entry in self._entries:  # all of them, always: how long it takes must not tell which came close
            if compare_digest(entry.sha256, digest):
                found = entry.caller
        return found

    def _look(self) -> None:
        try:
            bad = self._read()
        except TokensUnusable as error:
            if str(error) != self._trouble:
                log.error("%s; nobody is let in until this is mended", error)  # noqa: TRY400
            self._trouble = str(error)
            return
        self._trouble = ""
        # What can be read counts: a token that was taken out must not live on because of a slip in another line.
        for number in bad:
            log.error("%s: line %d is not NAME ROLE SHA256, and lets nobody in", self._path, number)

    def _read(self) -> list[int]:
        """Read the file if it is another than last time; the numbers of the lines that are none."""
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                self._refuse_if_others_may_write(found)
                # Rights count too: ctime changes with them.
                seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
                if seen == self._seen:
                    return []
                text = file.read(_LONGEST).decode("utf-8", "replace")
        except OSError as error:
            raise TokensUnusable(f"{self._path}: cannot be read: {error.strerror}") from None
        again = self._seen is not None
        self._seen = seen
        self._entries, bad = parse_tokens(text)
        if again:
            log.info("%s was read again: %d tokens", self._path, len(self._entries))
        return bad

    def _refuse_if_others_may_write(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise TokensUnusable(f"{self._path}: is no file")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_uid not in (0, os.geteuid()):
            raise TokensUnusable(f"{self._path}: others may write it, and so let themselves in; chmod go-w, chown")
        if found.st_mode & stat.S_IROTH and not self._warned:
            self._warned = True
            log.warning("%s: everybody on this machine may read it; chmod o-r is better", self._path)
