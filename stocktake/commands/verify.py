"""``stocktake verify``: a tree of Inventories against the standard, itself and its manifests."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import orjson

from stocktake.exits import Exit
from stocktake.progress import Progress
from stocktake.reading import add_search, add_timezone, bad_input, steps
from stocktake.settings import Settings
from writers.checks.finding import Finding
from writers.tree import find_root
from writers.verify import verify

HELP: Final = "check an Inventory and all it incorporates against the standard and the chain"
EXAMPLE: Final = "stocktake verify inventories/main\nstocktake verify head.dcm --json | jq .rule"

_SHOWN: Final = 20  # lines for one rule in one file; a fault of the writer is in every record


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="an Inventory, or a folder: its head")
    parser.add_argument(
        "--json",
        action="store_true",
        help=f"one JSON object a finding, all of them (default: lines, {_SHOWN} for one rule in one file)",
    )
    add_search(parser)
    add_timezone(parser, "unknown: only what is wrong in every zone is a fault")


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    found: Counter[tuple[str, str]] = Counter()
    with Progress("records checked") as progress:
        for finding in _findings(args, steps(progress)):
            found[finding.file, finding.rule] += 1
            if args.json:
                sys.stdout.buffer.write(orjson.dumps(asdict(finding), option=orjson.OPT_APPEND_NEWLINE))
            elif found[finding.file, finding.rule] <= _SHOWN:
                print(_line(finding))
    if not args.json:
        for (file, rule), count in found.items():
            if count > _SHOWN:
                print(f"{file}: {rule}: {count - _SHOWN} more; --json tells all")
        total = found.total()
        print("no findings" if not total else "1 finding" if total == 1 else f"{total} findings")
    return Exit.FAULTS if found else Exit.DONE


def _findings(args: argparse.Namespace, step: Callable[[], None]) -> Iterator[Finding]:
    with bad_input():
        path = find_root(args.path) if args.path.is_dir() else args.path
        yield from verify(path, args.search, args.timezone, step)


def _line(finding: Finding) -> str:
    where = f"{finding.file}: {finding.location}" if finding.location else finding.file
    text = f"{finding.severity}: {where}: {finding.text} [{finding.rule}; {finding.section}]"
    return "".join(letter if letter.isprintable() else " " for letter in text)
