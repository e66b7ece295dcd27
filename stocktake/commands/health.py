"""stocktake health: whether the consumers of this machine are alive and ready, for probes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from consumers.health import check
from stocktake.exits import CommandError, Exit
from stocktake.members import health_files
from stocktake.settings import Settings

HELP: Final = "whether the consumers of this machine are alive, for probes"
EXAMPLE: Final = "stocktake health\nstocktake health --ready --repository main"

_MAX_AGE: Final = 60.0  # seconds that a consumer may be silent; it gives a server that does not answer less than that
_COMMANDS: Final = 6  # to the state at most between two words, each of which may take redis.timeout


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ready",
        action="store_true",
        help="also whether they have their partitions and reach their servers (default: whether they are alive)",
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    """One line on stdout for each consumer that is not well, or one that says that all are."""
    path = settings.consumer.health_file
    if path is None:
        raise CommandError(Exit.USAGE, "consumer.health_file is not set; consumers leave word of their health there")
    max_age = max(_MAX_AGE, _COMMANDS * settings.redis.timeout)
    problems = [
        problem
        for name in settings.names(args.repository)
        for problem in _problems(path, name, time.time_ns() // 1000, max_age)
        if args.ready or not problem.startswith("not ready: ")
    ]
    if problems:
        sys.stdout.writelines(problem + "\n" for problem in problems)
        return Exit.FAULTS
    sys.stdout.write("ready\n" if args.ready else "alive\n")
    return Exit.DONE


def _problems(path: Path, repository: str, now: int, max_age: float) -> Iterator[str]:
    """What is wrong with the consumers of a repository, by worker."""
    files = health_files(path, repository)
    if not files:
        yield f"not alive: no consumer of repository {repository} has been started here"
    for worker, file in files:
        for problem in check(file, now, max_age):
            kind, _, why = problem.partition(": ")
            yield f"{kind}: repository {repository}, worker {worker}: {why}"
