"""``stocktake verify``: a tree of Inventories against the standard, itself and its manifests."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson

from state.chain import Chain
from stocktake.exits import CommandError, Exit
from stocktake.progress import Progress
from stocktake.reading import add_search, add_timezone, bad_input, steps
from stocktake.settings import Settings
from stocktake.wiring import open_repository
from writers.checks.finding import Finding, Severity
from writers.reader import InventoryFile
from writers.tree import find_root
from writers.verify import verify

HELP: Final = "check an Inventory and all it incorporates against the standard and the chain"
EXAMPLE: Final = """stocktake verify inventories/main
stocktake verify head.dcm --json | jq .rule
stocktake verify inventories/source --record --repository source"""

_SHOWN: Final = 20  # lines for one rule in one file; a fault of the writer is in every record


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="an Inventory, or a folder: its head")
    parser.add_argument(
        "--json",
        action="store_true",
        help=f"one JSON object a finding, all of them (default: lines, {_SHOWN} for one rule in one file)",
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="note in the state that the repository's head was verified, and with how many errors, for the gate of "
        "stocktake cutover; PATH must be the head of --repository (default: nothing is noted)",
    )
    add_search(parser)
    add_timezone(parser, "unknown: only what is wrong in every zone is a fault")


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    found: Counter[tuple[str, str]] = Counter()
    errors = 0
    with _recording(args, settings) as record, Progress("records checked") as progress:
        for finding in _findings(args, steps(progress)):
            found[finding.file, finding.rule] += 1
            errors += finding.severity is Severity.ERROR
            if args.json:
                sys.stdout.buffer.write(orjson.dumps(asdict(finding), option=orjson.OPT_APPEND_NEWLINE))
            elif found[finding.file, finding.rule] <= _SHOWN:
                print(_line(finding))
        record(errors)
    if not args.json:
        for (file, rule), count in found.items():
            if count > _SHOWN:
                print(f"{file}: {rule}: {count - _SHOWN} more; --json tells all")
        total = found.total()
        print("no findings" if not total else "1 finding" if total == 1 else f"{total} findings")
    return Exit.FAULTS if found else Exit.DONE


@contextmanager
def _recording(args: argparse.Namespace, settings: Settings) -> Iterator[Callable[[int], None]]:
    """What notes the number of errors in the state; nothing without ``--record``.

    Raises:
        CommandError: the Inventory is not the repository's head, or cannot be read.
        StateUnreachable: the state does not answer; then nothing was verified yet.
    """
    if not args.record:
        yield lambda errors: None
        return
    with bad_input(), InventoryFile(_root(args.path)) as file:
        uid = file.sop_instance_uid
    opened = open_repository(settings, args.repository)
    try:
        head = Chain(opened.connection, opened.policy.name).head()
        if head is None or head["sop_instance_uid"] != uid:
            named = "there is none" if head is None else f"that is {head['sop_instance_uid']}"
            raise CommandError(Exit.USAGE, f"{uid} is not the head of repository {opened.policy.name}: {named}")
        yield lambda errors: opened.repository.set_verified(uid, errors, opened.connection.now())
    finally:
        opened.close()


def _root(path: Path) -> Path:
    return find_root(path) if path.is_dir() else path


def _findings(args: argparse.Namespace, step: Callable[[], None]) -> Iterator[Finding]:
    with bad_input():
        yield from verify(_root(args.path), args.search, args.timezone, step)


def _line(finding: Finding) -> str:
    where = f"{finding.file}: {finding.location}" if finding.location else finding.file
    text = f"{finding.severity}: {where}: {finding.text} [{finding.rule}; {finding.section}]"
    return "".join(letter if letter.isprintable() else " " for letter in text)
