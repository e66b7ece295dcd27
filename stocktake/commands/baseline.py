"""stocktake baseline: produce a baseline now: the whole state, incorporating nothing."""

from __future__ import annotations

import argparse
from typing import Final

from stocktake.exits import Exit
from stocktake.producing import add_ask, add_force, produce_or_ask
from stocktake.settings import Settings

HELP: Final = "produce a baseline now: the whole state, incorporating nothing"
EXAMPLE: Final = "stocktake baseline --repository main\nstocktake baseline --ask --timeout 1h"


def configure(parser: argparse.ArgumentParser) -> None:
    add_force(parser)
    add_ask(parser)


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    return produce_or_ask(args, settings, "baseline")
