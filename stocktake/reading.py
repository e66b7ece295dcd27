"""What the commands that read Inventories share: their arguments, their errors and progress on a terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

from stocktake.exits import CommandError, Exit
from stocktake.progress import Progress
from writers.members import MissingMember
from writers.reader import InvalidInventory
from writers.tree import NoRoot


def add_search(parser: argparse.ArgumentParser) -> None:
    """The option that names where incorporated Inventories are."""
    parser.add_argument(
        "--search",
        action="append",
        default=[],
        type=Path,
        metavar="FOLDER",
        help="folder below which incorporated Inventories are looked for, where File Access URIs and the manifest say "
        "or anywhere; nothing outside is read; may be repeated "
        "(default: the nearest folder above PATH with a head.json, else PATH's own)",
    )


def add_timezone(parser: argparse.ArgumentParser, default: str) -> None:
    """The option for times without an offset; ``default`` is said in its help."""
    parser.add_argument(
        "--timezone",
        type=_zone,
        metavar="ZONE",
        help=f"IANA zone of times without offset where the file states none (default: {default})",
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise argparse.ArgumentTypeError(f"{name!r} is no IANA time zone") from None


@contextmanager
def bad_input() -> Iterator[None]:
    """What is wrong with a file that is read ends the command with ``Exit.BAD_INPUT``; write outside of it.

    Raises:
        CommandError: for an unreadable, malformed or incomplete tree.
    """
    try:
        yield
    except (InvalidInventory, NoRoot) as error:
        raise CommandError(Exit.BAD_INPUT, str(error)) from None
    except MissingMember as error:
        raise CommandError(Exit.BAD_INPUT, f"{error}; name its folder with --search") from None
    except OSError as error:
        raise CommandError(Exit.BAD_INPUT, f"{error.filename}: cannot be read: {error.strerror}") from None


def steps(progress: Progress, output: Path | None = None) -> Callable[[], None]:
    """One more record each time it is called; silent where the data itself goes to the terminal."""
    count = 0
    silent = output is None and sys.stdout.isatty()

    def step() -> None:
        nonlocal count
        count += 1
        if not silent:
            progress.at(count)

    return step
