"""The members that this machine runs: the loops that leave word of their health, each in a file of its own.

The names of the files begin with ``health.file``: ``<file>.<role>.<repository>``, with ``.<worker>`` behind it for
consumers, whose workers are numbered from 1, and ``<file>.service`` for the HTTP service, which serves all. Whoever
starts members announces them first, by empty files: one that never leaves word is known to be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

from stocktake.settings import Settings, SettingsError

Role: TypeAlias = Literal["consumer", "writer", "enricher", "bridge", "service"]

ROLES: Final[tuple[Role, ...]] = ("consumer", "writer", "enricher", "bridge", "service")


@dataclass(frozen=True, slots=True)
class Member:
    """One loop. ``repository`` is empty for the service; ``worker`` is 0 for all but consumers."""

    role: Role
    repository: str = ""
    worker: int = 0

    def file(self, path: Path) -> Path:
        """Its health file, where their names begin with ``path``."""
        return path.with_name(f"{path.name}.{self._name}")

    @property
    def _name(self) -> str:
        return ".".join(part for part in (self.role, self.repository, str(self.worker or "")) if part)

    def __str__(self) -> str:
        text = f"{self.role} of repository {self.repository}" if self.repository else self.role
        return f"{text}, worker {self.worker}" if self.worker else text


def consumers(repositories: Sequence[str], workers: int) -> list[Member]:
    """The members of so many workers, each of which follows all of these repositories."""
    return [Member("consumer", name, worker) for name in repositories for worker in range(1, workers + 1)]


def member_settings(settings: Settings, worker: int) -> Settings:
    """The settings of one worker's consumers: with its own ``kafka.instance_id``, if that is set."""
    instance_id = settings.kafka.instance_id
    # Each repository has a group of its own, so the worker's number is enough.
    return replace(
        settings, kafka=replace(settings.kafka, instance_id=f"{instance_id}-{worker}" if instance_id else "")
    )


def announced(path: Path, repositories: Sequence[str], role: Role | None = None) -> list[Member]:
    """Who was announced of these repositories, of one role or of all; in the order of roles, repositories, workers."""
    prefix = f"{path.name}."
    names = [one.name.removeprefix(prefix) for one in path.parent.glob("*") if one.name.startswith(prefix)]
    found = [member for member in map(_member, names) if member is not None]
    return sorted(
        (one for one in found if one.role in (role or one.role) and one.repository in ("", *repositories)),
        key=lambda one: (ROLES.index(one.role), one.repository, one.worker),
    )


def _member(name: str) -> Member | None:
    """Whose health file has this name behind the dot; None if it is nobody's."""
    role, _, rest = name.partition(".")
    repository, _, number = rest.partition(".")
    for known in ROLES:
        member = Member(known, repository, int(number) if number.isdecimal() else 0)
        if known == role and member._name == name:
            return member
    return None


@contextmanager
def announcing(settings: Settings, members: Sequence[Member]) -> Iterator[None]:
    """Say whom to expect for the time of a block: an empty file for each member, and none of what ran before.

    Of the roles and repositories of ``members``, that is: others' files stay. When the block ends in order, nobody is
    expected any more; after an error they are, and do not answer.

    Raises:
        SettingsError: the folder of ``health.file`` cannot be written.
    """
    path = settings.health.file
    if path is None:
        yield
        return
    try:
        _withdraw(path, members)
        for member in members:
            member.file(path).touch()
    except OSError as error:
        raise SettingsError(f"health.file: {path} cannot be written: {error.strerror}") from None
    yield
    with suppress(OSError):
        _withdraw(path, members)


def _withdraw(path: Path, members: Sequence[Member]) -> None:
    for role, repository in {(one.role, one.repository) for one in members}:
        for before in announced(path, [repository], role):
            if before.repository == repository:
                before.file(path).unlink(missing_ok=True)
