"""stocktake serve: health, metrics, the API and the page over HTTP."""

from __future__ import annotations

import argparse
from typing import Final

from stocktake.exits import Exit
from stocktake.members import Member, announcing
from stocktake.settings import Settings
from stocktake.signals import stop_on_signals
from stocktake.web.server import serve

HELP: Final = "health, metrics, the API and the page over HTTP"
EXAMPLE: Final = "stocktake serve\ncurl http://127.0.0.1:8080/api/v1/repositories/main"


def configure(parser: argparse.ArgumentParser) -> None:
    del parser  # it listens where http.listen says


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    names = [one.name for one in settings.repositories]
    if args.repository is not None:
        names = [settings.repository(args.repository).name]
    with announcing(settings, [Member("service")]):
        serve(settings, names, stop_on_signals())
    return Exit.DONE
