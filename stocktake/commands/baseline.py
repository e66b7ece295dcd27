"""stocktake baseline: produce a baseline now: the whole state, incorporating nothing."""

from __future__ import annotations

import argparse
from typing import Final

from stocktake.exits import Exit
from stocktake.producing import add_force, produce_once
from stocktake.settings import Settings

HELP: Final = "produce a baseline now: the whole state, incorporating nothing"
EXAMPLE: Final = "stocktake baseline --repository main"


def configure(parser: argparse.ArgumentParser) -> None:
    add_force(parser)


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    return produce_once(settings, args.repository, "baseline", force=args.force)
