"""stocktake enrich: look up in the archive what events did not say."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import partial
from threading import Event as Flag
from typing import Final

import orjson

from state.debts import Debt
from state.errors import StateUnreachable
from stocktake.archives import archive_policy, enrich
from stocktake.exits import Exit
from stocktake.members import Member, announcing
from stocktake.roles import Roles
from stocktake.settings import Settings
from stocktake.signals import stop_on_signals
from stocktake.wiring import open_repository

HELP: Final = "look up in the archives what their events did not say, and write it to the topics"
EXAMPLE: Final = """stocktake enrich
stocktake enrich --list > left-as-they-are.ndjson
stocktake enrich --again --repository main"""

_LOOK: Final = 0.5  # seconds between two looks at whether everything is paid


def configure(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--until-settled",
        action="store_true",
        help="end when nothing is owed a look but what was given up (default: go on until SIGTERM)",
    )
    what.add_argument(
        "--list",
        action="store_true",
        help="print what was given up, one JSON object a line, and end (default: look up what is owed)",
    )
    what.add_argument(
        "--again", action="store_true", help="let what was given up be tried again, and end (default: leave it)"
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    names = settings.names(args.repository)
    if args.list or args.again:
        return _list(settings, names, again=args.again)
    followed = [name for name in names if args.repository or settings.archive(name) is not None] or names
    for name in followed:
        archive_policy(settings, name)
    stop = stop_on_signals()
    # What is asked for when it is to end is waited for, which takes no longer than one answer may.
    longest = max(archive_policy(settings, name).timeout for name in followed)
    with announcing(settings, [Member("enricher", name) for name in followed]):
        roles = Roles(stop)
        for name in followed:
            roles.start(f"enrich-{name}", partial(enrich, settings, name, stop))
        if args.until_settled:
            roles.start("settled", partial(_stop_when_settled, settings, followed, stop))
        roles.join(max(settings.consumer.shutdown_timeout, longest))
    return Exit.DONE


def _list(settings: Settings, names: Sequence[str], *, again: bool) -> Exit:
    """Say what was given up, or let it be tried again."""
    for name in names:
        with closing(open_repository(settings, name)) as opened:
            if again:
                count = opened.debts.try_again(list(opened.debts.given_up()), opened.connection.now())
                sys.stdout.write(orjson.dumps({"repository": name, "tried_again": count}).decode() + "\n")
            else:
                for debt in opened.debts.given_up():
                    sys.stdout.write(orjson.dumps(_row(name, debt)).decode() + "\n")
    return Exit.DONE


def _row(repository: str, debt: Debt) -> dict[str, object]:
    tries = debt.tries
    return {
        "repository": repository,
        "owed": debt.owed,
        "tries": 0 if tries is None else tries.count,
        "error": "" if tries is None else tries.error,
    }


def _stop_when_settled(settings: Settings, names: Sequence[str], stop: Flag) -> None:
    opened = [open_repository(settings, name) for name in names]
    try:
        while not stop.wait(_LOOK):
            with suppress(StateUnreachable):  # the enrichers wait for it too
                if all(one.debts.count() == one.debts.count_given_up() for one in opened):
                    stop.set()
    finally:
        for one in opened:
            one.close()
