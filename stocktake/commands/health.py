"""stocktake health: whether what this machine runs is alive and ready, for probes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from consumers.health import check
from stocktake.exits import CommandError, Exit
from stocktake.members import ROLES, Member, Role, announced
from stocktake.settings import Settings

HELP: Final = "whether the consumers, writers and all else that this machine runs are alive, for probes"
EXAMPLE: Final = "stocktake health\nstocktake health --ready --role writer --repository main"

_MAX_AGE: Final = 60.0  # seconds that a loop may be silent; it gives a server that does not answer less than that
_MAX_AGE_WRITER: Final = 300.0  # what it may be at for so long without getting on: see docs/operations.md
_COMMANDS: Final = 6  # to the state at most between two words, each of which may take redis.timeout
_REQUESTS: Final = 2  # to a broker, each of which may take kafka.timeout for those who only write to it
_ANSWERS: Final = 3  # of an archive, each of which may take archives.<name>.timeout, and be waited for before


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ready",
        action="store_true",
        help="also whether they do their work and reach their servers (default: whether they are alive)",
    )
    parser.add_argument(
        "--role", choices=ROLES, help="of this role only (default: all that were started on this machine)"
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    """One line on stdout for each that is not well, or one that says that all are."""
    path = settings.health.file
    if path is None:
        raise CommandError(Exit.USAGE, "health.file is not set; all that runs leaves word of its health there")
    problems = [
        problem
        for problem in _problems(path, settings, settings.names(args.repository), args.role, named=args.repository)
        if args.ready or not problem.startswith("not ready: ")
    ]
    if problems:
        sys.stdout.writelines(problem + "\n" for problem in problems)
        return Exit.FAULTS
    sys.stdout.write("ready\n" if args.ready else "alive\n")
    return Exit.DONE


def _problems(
    path: Path, settings: Settings, repositories: Sequence[str], role: Role | None, *, named: str | None
) -> Iterator[str]:
    """What is wrong with whoever was started of these repositories; ``named``: the one that was asked for."""
    members = announced(path, repositories, role)
    if not members:
        of = f" of repository {named}" if named and role != "service" else ""
        yield f"not alive: {f'no {role}' if role else 'nothing'}{of} has been started here"
    for member in members:
        for problem in check(member.file(path), time.time_ns() // 1000, _max_age(member, settings)):
            kind, _, why = problem.partition(": ")
            yield f"{kind}: {member}: {why}"


def _max_age(member: Member, settings: Settings) -> float:
    """Seconds that a member may be silent."""
    longest = [_MAX_AGE_WRITER if member.role == "writer" else _MAX_AGE, _COMMANDS * settings.redis.timeout]
    archive = settings.archive(member.repository)
    if archive is not None and member.role in ("enricher", "bridge"):
        answer = archive.timeout + 1 / archive.requests_per_second
        longest += (_REQUESTS * settings.kafka.timeout, _ANSWERS * answer)
    return max(longest)
