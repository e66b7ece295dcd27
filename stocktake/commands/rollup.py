"""stocktake rollup: produce a rollup now: one inventory in place of the chain's newest members."""

from __future__ import annotations

import argparse
from typing import Final

from stocktake.exits import Exit
from stocktake.producing import add_force, produce_once
from stocktake.settings import Settings

HELP: Final = "produce a rollup now: one inventory in place of the chain's newest members"
EXAMPLE: Final = "stocktake rollup --repository main"


def configure(parser: argparse.ArgumentParser) -> None:
    add_force(parser)


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    return produce_once(settings, args.repository, "rollup", force=args.force)
