"""``stocktake show``: one Inventory described, without patient attributes."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC
from pathlib import Path
from typing import Final

import orjson

from stocktake.exits import Exit
from stocktake.reading import add_search, add_timezone, bad_input
from stocktake.settings import Settings
from writers.describe import describe, to_lines
from writers.tree import find_root

HELP: Final = "describe an Inventory: scope, counts, what it incorporates"
EXAMPLE: Final = "stocktake show inventories/main\nstocktake show --json baseline.dcm"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="an Inventory, or a folder: its head")
    parser.add_argument("--json", action="store_true", help="one JSON object (default: lines for people)")
    add_search(parser)
    add_timezone(parser, "UTC")


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    with bad_input():
        path = find_root(args.path) if args.path.is_dir() else args.path
        description = describe(path, args.search, args.timezone or UTC)
    if args.json:
        sys.stdout.buffer.write(orjson.dumps(description.to_json(), option=orjson.OPT_APPEND_NEWLINE))
    else:
        for line in to_lines(description):
            print(line)
    return Exit.DONE
