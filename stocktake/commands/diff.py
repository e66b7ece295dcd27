"""``stocktake diff``: the studies in which two trees of Inventories differ."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Final

import orjson

from stocktake.exits import Exit
from stocktake.progress import Progress
from stocktake.reading import add_search, add_timezone, bad_input, steps
from stocktake.settings import Settings
from writers.diff import Counts, Parts, StudyDifference, diff
from writers.tree import load_tree

HELP: Final = "compare what two trees of Inventories say of each study"
EXAMPLE: Final = """stocktake diff source/head.dcm target/head.dcm
stocktake diff inventories/source inventories/target --json"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="an Inventory, or a folder: its head")
    parser.add_argument("b", type=Path, metavar="B", help="another one")
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object a study, then one with the counts (default: lines for people)",
    )
    add_search(parser)
    add_timezone(parser, "UTC")


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    counts = Counts()
    with Progress("records read") as progress:
        for difference in _differences(args, counts, steps(progress)):
            if args.json:
                _write(difference.to_json())
            else:
                print(" ".join(_words(difference)))
    if args.json:
        _write({"counts": counts.to_json()})
    else:
        print(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in counts.to_json().items()))
    return Exit.FAULTS if counts.missing or counts.extra or counts.different else Exit.DONE


def _differences(args: argparse.Namespace, counts: Counts, step: Callable[[], None]) -> Iterator[StudyDifference]:
    zone = args.timezone or UTC
    with bad_input():
        a = load_tree(args.a, args.search, zone)
        b = load_tree(args.b, args.search, zone)
        yield from diff(a, b, counts, zone, step)


def _words(difference: StudyDifference) -> Iterator[str]:
    yield f"{difference.kind:<9} {difference.study_instance_uid}"
    gone = {difference.removed_in_a: "A", difference.removed_in_b: "B"}
    if difference.removed_in_a and difference.removed_in_b:
        yield "removed in both"
    elif True in gone:
        yield f"removed in {gone[True]}"
    if difference.attributes:
        yield "attributes: " + ",".join(difference.attributes)
    for name, parts in (("series", difference.series), ("instances", difference.instances)):
        yield from _part_words(name, parts)


def _part_words(name: str, parts: Parts) -> Iterator[str]:
    if parts.missing or parts.extra or parts.different:
        yield f"{name}: {parts.missing} missing, {parts.extra} extra, {parts.different} different"
    if parts.attributes:
        yield f"({','.join(parts.attributes)})"


def _write(value: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
