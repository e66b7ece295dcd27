"""stocktake resume: let consumers go on after too many dead letters stopped them."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from stocktake.exits import Exit
from stocktake.settings import Settings
from stocktake.wiring import open_repository

HELP: Final = "let consumers go on after too many dead letters stopped them"
EXAMPLE: Final = "stocktake resume --repository main"


def configure(parser: argparse.ArgumentParser) -> None:
    del parser  # no arguments of its own


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    opened = open_repository(settings, args.repository)
    try:
        stopped = opened.repository.resume()
    finally:
        opened.close()
    sys.stderr.write("consumers may go on; start them again\n" if stopped else "consumers were not stopped\n")
    return Exit.DONE
