"""``stocktake diff``: the studies in which two trees of Inventories differ, or a tree and the live state."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Final

import orjson

from state.attributes import Level
from stocktake.cutover_diff import compare_by_rules
from stocktake.exits import CommandError, Exit
from stocktake.progress import Progress
from stocktake.reading import add_search, add_timezone, bad_input, steps
from stocktake.settings import Settings
from stocktake.study_rows import LEVELS, is_below
from stocktake.wiring import open_repository
from writers.diff import Counts, Parts, StudyDifference, diff
from writers.reader import InvalidInventory
from writers.state_diff import diff_with_state
from writers.tree import Tree, load_tree

HELP: Final = "compare what two trees of Inventories, or a tree and the live state, say of each study"
EXAMPLE: Final = """stocktake diff source/head.dcm target/head.dcm
stocktake diff inventories/source inventories/target --json
stocktake diff inventories/main --state
stocktake diff inventories/source inventories/target --cutover"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="an Inventory, or a folder: its head")
    parser.add_argument("b", type=Path, nargs="?", metavar="B", help="another one; none with --state (default: none)")
    parser.add_argument(
        "--state",
        action="store_true",
        help="B is the state of the repository as it is now, told as an inventory of A's level would tell it; "
        "consumers may be running (default: B is an Inventory)",
    )
    parser.add_argument(
        "--cutover",
        action="store_true",
        help="compare A as the source and B as the target by the rules of the settings cutover.*, as the state does: "
        "the studies that are open, with place and reasons, and counts by place, modality and year; memory holds "
        "about 500 bytes for each study of A (default: whatever two records of a study say)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object a study, then one with the counts (default: lines for people)",
    )
    add_search(parser)
    add_timezone(parser, "UTC; with --cutover the zone of each side's repository")


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    if args.state == (args.b is not None):
        raise CommandError(Exit.USAGE, "name one Inventory and --state, or two Inventories")
    if args.cutover:
        if args.state:
            raise CommandError(Exit.USAGE, "--cutover compares two Inventories, not the state; see stocktake cutover")
        return compare_by_rules(args, settings)
    counts = Counts()
    with Progress("records read") as progress:
        for difference in _differences(args, settings, counts, steps(progress)):
            if args.json:
                _write(difference.to_json())
            else:
                print(" ".join(_words(difference)))
    if args.json:
        _write({"counts": counts.to_json()})
    else:
        print(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in counts.to_json().items()))
    return Exit.FAULTS if counts.missing or counts.extra or counts.different else Exit.DONE


def _differences(
    args: argparse.Namespace, settings: Settings, counts: Counts, step: Callable[[], None]
) -> Iterator[StudyDifference]:
    zone = args.timezone or UTC
    with bad_input():
        a = load_tree(args.a, args.search, zone)
        if args.state:
            yield from _with_state(args, settings, a, counts, step)
        else:
            b = load_tree(args.b, args.search, zone)
            yield from diff(a, b, counts, zone, step)


def _with_state(
    args: argparse.Namespace, settings: Settings, tree: Tree, counts: Counts, step: Callable[[], None]
) -> Iterator[StudyDifference]:
    if tree.level not in LEVELS:
        raise InvalidInventory(tree.root.path, "Inventory Level (0008,0403) is not one of STUDY, SERIES, INSTANCE")
    level = Level(tree.level)
    if is_below(level, settings.inventory.level):
        raise CommandError(
            Exit.USAGE,
            f"{tree.root.path} is of Inventory Level {level}, the state of {settings.inventory.level} "
            "(inventory.level), which knows less: they cannot be compared",
        )
    opened = open_repository(settings, args.repository)
    try:
        yield from diff_with_state(tree, opened.studies, level, counts, args.timezone or UTC, step)
    finally:
        opened.close()


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
