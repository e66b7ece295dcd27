"""docs/commands.md, made of the parser: each command with its arguments, examples and exit codes.

What a command is for is the parser's; when it is wanted, and what exit code 1 means of it, is written here.
``python -m tests.commands_page`` writes the page.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from stocktake.cli import COMMANDS, parser

PAGE: Final = Path(__file__).parents[1] / "docs" / "commands.md"


class When(NamedTuple):
    """When a command is wanted, and what its exit code 1 means; empty: it has none of its own."""

    text: str
    faults: str = ""


_STOPPED: Final = "too many dead letters, lost offsets, a missing topic"
_CANNOT: Final = "no watermark, or another writer holds the lease"
_CANNOT_ASK: Final = f"{_CANNOT}; with `--ask`: no writer leads, or it did not within `--timeout`"

GROUPS: Final[dict[str, dict[str, When]]] = {
    "Trying it": {
        "demo": When("To see everything once, on your own machine. Starts and ends its own servers."),
        "simulate": When(
            "For events to try something with, or to load a test system. Pipe it to `stocktake publish -`."
        ),
    },
    "Roles": {
        "run": When(
            "For small sites, and with `--embedded` for trials. Larger sites give each role a process of its own.",
            f"as `consume` and `write`: {_STOPPED}",
        ),
        "consume": When(
            "Always, in one process or many ([operations](operations.md#workers)). With `--until-caught-up` before the "
            "first inventory of an archive with a history, or in a test.",
            f"{_STOPPED}; workers that keep dying",
        ),
        "write": When("Always; a second one stands by. With `--once` in a batch job.", f"with `--once`: {_CANNOT}"),
        "serve": When("For metrics, the API and the [page](http.md). As many as you like."),
        "enrich": When(
            "Always, where events say less than an inventory holds ([looks](archives.md#looks)). `--list` tells what "
            "could not be looked up; mend that, then `--again`."
        ),
        "bridge": When(
            "Always, for an archive that does not speak Kafka; one a repository ([bridges](archives.md#bridges))."
        ),
    },
    "Events in": {
        "publish": When(
            "To tell of DICOM files that lie somewhere, or to send events that a program wrote. What is no DICOM file "
            "is named on stderr; the rest is published, and the exit code is 4."
        ),
        "crawl": When(
            "To build the first state of an archive that can be asked, and after events were lost for good. A crawl "
            "that was ended goes on where it was ([crawl](archives.md#crawl)).",
            "some studies could not be looked up",
        ),
        "import": When(
            "To begin with an Inventory of the archive's own, or with the chain after Redis was lost "
            "([operations](operations.md#importing-an-inventory)).",
            "something was left out: studies or parts that cannot be used",
        ),
    },
    "Inventories out": {
        "baseline": When(
            "To let the chain start over: now and then, so that old files can go; after a loss. With `--ask` the "
            "writer that leads does it; without, stop the writer first.",
            _CANNOT_ASK,
        ),
        "rollup": When("Seldom: rollups come by themselves. To make the tree shallow now.", _CANNOT_ASK),
        "delta": When(
            "To have an inventory now. With `--from` or `--to` one beside the chain, for a period "
            "([operations](operations.md#producing-by-hand)).",
            _CANNOT_ASK,
        ),
        "deliver": When(
            "After `write --once` in a batch job; to see in the foreground what is wrong with a "
            "[sink](sinks.md#when-it-does-not-work); with `--again` for a receiver that lost its data.",
            "a receiver refuses a file, or another writer holds the lease",
        ),
    },
    "Reading inventories": {
        "show": When("To see what an inventory says of itself and what it incorporates, without patient attributes."),
        "verify": When(
            "Before an inventory is relied on, and on a schedule with `--record`, which the gate of a "
            "[cutover](cutover.md) wants ([verify](verify.md)).",
            "there are errors",
        ),
        "resolve": When("To have the archive's studies as data: JSON for programs, CSV for tables."),
        "diff": When(
            "To compare two chains, or with `--state` the head with the state: what is not inventoried yet.",
            "they differ",
        ),
    },
    "Watching and mending": {
        "status": When("To see how a repository stands and what holds it back: the first thing to look at."),
        "health": When("For probes: it opens no connection.", "a role is not alive, or with `--ready` not ready"),
        "doctor": When(
            "Before the first start, after a change of servers, rights or certificates, and when something does not "
            "work.",
            "a line says FAIL",
        ),
        "cutover": When(
            "While an archive is migrated: figures, gate, and with `--report` the sign-off report "
            "([cutover](cutover.md)).",
            "the gate is not met",
        ),
        "reset": When(
            "When events were applied wrongly, by an older version say, and should be read again "
            "([operations](operations.md#applying-events-again))."
        ),
        "resume": When(
            "After the consumers stopped for dead letters, once the sender is mended "
            "([operations](operations.md#after-a-stop-for-dead-letters))."
        ),
        "migrate": When(
            "After an update whose version says that the state has another schema; `--check` tells beforehand.",
            "with `--check`: there is something to do; else another program is at work",
        ),
        "token": When("To let somebody in: makes a bearer token for the [HTTP service](http.md#who-is-answered)."),
    },
}

_EXITS: Final = (
    ("0", "done; also after SIGTERM or Ctrl-C on a role that runs until it is told to end"),
    ("1", "a check found faults; what that means stands with the command"),
    ("2", "usage or settings, also settings that do not fit the state, or a folder that cannot be written"),
    ("3", "a server cannot be reached"),
    ("4", "bad input: a file that cannot be read as what it should be"),
    ("130", "interrupted"),
)
_COMMON: Final = ("help", "config", "repository")
_LONGEST_DETAILS: Final = 900  # characters; what is longer has a page of its own


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    commands = subparsers()
    yield "# Commands"
    yield ""
    yield from _wrapped(
        "What each command does, when it is wanted, its arguments, examples and exit codes: as `stocktake COMMAND "
        "--help` tells them. The page is made by `python -m tests.commands_page`. Results go to stdout, logs and "
        "progress to stderr."
    )
    yield ""
    yield from _arguments(one for one in commands["status"]._actions if one.dest in _COMMON)
    yield ""
    yield "Settings come from the file and from `STOCKTAKE_*` variables ([README](../README.md#settings))."
    yield ""
    yield "| exit code | means |"
    yield "|---|---|"
    yield from (f"| {code} | {text} |" for code, text in _EXITS)
    for group, some in GROUPS.items():
        yield ""
        yield f"## {group}"
        for name, when in some.items():
            yield ""
            yield from _command(name, commands[name], when)


def _command(name: str, command: argparse.ArgumentParser, when: When) -> Iterator[str]:
    yield f"### stocktake {name}"
    yield ""
    yield str(command.description)
    yield ""
    yield from _wrapped(f"*When:* {when.text}")
    if when.faults:
        yield ""
        yield from _wrapped(f"*Exit code 1:* {when.faults}.")
    own = [one for one in command._actions if one.dest not in _COMMON]
    if own:
        yield ""
        yield from _arguments(iter(own))
    details, _, rest = str(command.epilog).partition("example:\n")
    if details.strip() and len(details) <= _LONGEST_DETAILS:
        yield ""
        yield "```text"
        yield details.strip()
        yield "```"
    yield ""
    yield "```sh"
    yield from (line.strip() for line in rest.partition("\n\n")[0].splitlines())
    yield "```"


def _arguments(actions: Iterator[argparse.Action]) -> Iterator[str]:
    yield "| argument | does |"
    yield "|---|---|"
    for one in actions:
        yield f"| `{_name(one)}` | {_help(one)} |"


def _name(action: argparse.Action) -> str:
    value = (
        ""
        if action.nargs == 0
        else str(action.metavar or "\\|".join(map(str, action.choices or [action.dest.upper()])))
    )
    if not action.option_strings:
        return value + (" ..." if action.nargs in ("+", "*") else "")
    return " ".join(filter(None, (", ".join(action.option_strings), value)))


def _help(action: argparse.Action) -> str:
    text = str(action.help or "") % ({**vars(action), "prog": "stocktake"})
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _wrapped(text: str, width: int = 120) -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


def subparsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    [found] = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found.choices)


def missing() -> set[str]:
    """Commands of which the page says nothing, and what it says of commands that there are not."""
    return {*COMMANDS} ^ {name for some in GROUPS.values() for name in some}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
