"""stocktake doctor: check what Stocktake needs to run, and say what is wrong and what to do."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Final

import orjson

from stocktake.doctor.areas import AREAS, chosen
from stocktake.doctor.finding import Examined, Finding, Judged
from stocktake.doctor.running import PATIENCE, examine
from stocktake.exits import CommandError, Exit
from stocktake.settings import Settings

HELP: Final = "check everything that Stocktake needs, say what is wrong and what to do about it"
EXAMPLE: Final = "stocktake doctor\nstocktake doctor --without folder\nstocktake doctor --only kafka,redis --json"


def configure(parser: argparse.ArgumentParser) -> None:
    details = (
        f"Looks at all repositories, or at --repository NAME: {', '.join(AREAS)}.\n"
        f"Leaves nothing behind, and ends within about {PATIENCE:g} seconds, whatever does not answer.\n"
        "Exit code 1: a line says FAIL. What each line means is in docs/doctor.md."
    )
    parser.epilog = f"{details}\n\n{parser.epilog}"
    parser.add_argument("--json", action="store_true", help="one JSON object for programs (default: a line a check)")
    parser.add_argument("--only", metavar="AREA,...", type=_names, help="look at these areas alone (default: all)")
    parser.add_argument(
        "--without",
        metavar="AREA,...",
        type=_names,
        help="pass over these areas, such as folder where the volume is not mounted (default: none)",
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (one.strip() for one in text.split(","))))


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    """Tell each check on stdout. Exit code 1: something is wrong."""
    try:
        areas = chosen(args.only or (), args.without or ())
    except ValueError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    examined = Examined(settings, tuple(settings.names(args.repository)), args.config, os.environ)
    found = examine(areas, examined)
    judged = _print_json(found) if args.json else _print_lines(found)
    sys.stdout.flush()
    return Exit.FAULTS if judged[Judged.FAIL] else Exit.DONE


def _print_lines(found: Iterable[Finding]) -> Counter[Judged]:
    judged: Counter[Judged] = Counter()
    for one in found:
        judged[one.judged] += 1
        sys.stdout.write(one.line() + "\n")
    sys.stdout.write(", ".join(f"{judged[one]} {one}" for one in Judged) + "\n")
    return judged


def _print_json(found: Iterable[Finding]) -> Counter[Judged]:
    findings = list(found)
    judged = Counter(one.judged for one in findings)
    told = {
        "findings": [one.to_json() for one in findings],
        "counts": {one.lower(): judged[one] for one in Judged},
    }
    sys.stdout.buffer.write(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return judged
