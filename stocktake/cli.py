"""The command line: one program, one subcommand for each thing to do; errors as one clear line and an exit code."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

from stocktake import __version__, first_process  # noqa: F401 -- first, before what takes long to load
from stocktake.exits import Exit, exit_of
from stocktake.logs import LogPolicy, log_to_stderr, log_unforeseen
from stocktake.settings import Settings, load

log = logging.getLogger(__name__)

COMMANDS: Final = (
    "demo",
    "run",
    "consume",
    "write",
    "serve",
    "token",
    "publish",
    "simulate",
    "bridge",
    "crawl",
    "enrich",
    "baseline",
    "rollup",
    "delta",
    "deliver",
    "import",
    "show",
    "verify",
    "resolve",
    "diff",
    "status",
    "cutover",
    "health",
    "doctor",
    "migrate",
    "reset",
    "resume",
)

_ROLES: Final = {
    "consume": "consumer",
    "write": "writer",
    "serve": "service",
    "enrich": "enricher",
}  # what lines of the log are from; other commands go by their own names

_FORMAT: Final = "STOCKTAKE_LOG__FORMAT"

_EXITS: Final = "exit codes:\n" + "\n".join(
    f"  {code.value:<4} {text}"
    for code, text in {
        Exit.DONE: "done",
        Exit.FAULTS: "a check found faults",
        Exit.USAGE: "usage or settings",
        Exit.UNREACHABLE: "a server cannot be reached",
        Exit.BAD_INPUT: "bad input",
        Exit.INTERRUPTED: "interrupted",
    }.items()
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    given = sys.argv[1:] if argv is None else argv
    # Only the command that is wanted is loaded: a health check every few seconds must not load the HTTP service.
    args = parser(given[0] if given and given[0] in COMMANDS else None).parse_args(given)
    role = _ROLES.get(args.command, args.command)
    settings: Settings | None = None
    try:
        settings = load(args.config, os.environ)
        log_to_stderr(settings.log, role, repositories=settings.names(args.repository))
        if argv is None:  # the process is ours
            log_unforeseen()
        command = _module(args.command)
        return int(command.run(args, settings))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except Exception as error:
        code = exit_of(error)
        if code is None:
            raise
        if (os.environ.get(_FORMAT) if settings is None else settings.log.format) == "json":
            log_to_stderr(LogPolicy("INFO", "json"), role)  # if the error came before that was done
            log.error("stocktake %s: %s", args.command, error)  # noqa: TRY400 -- a foreseen one
        else:
            sys.stderr.write(f"stocktake {args.command}: {error}\n")
        return code


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of the whole command line, or of the one command that is named."""
    top = argparse.ArgumentParser(
        prog="stocktake",
        description="Keeps DICOM inventories (Supplement 223) current from an archive's event stream.",
        epilog="example:\n  stocktake demo\n\n" + _EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"stocktake {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS if only is None else (only,):
        command = _module(name)
        sub = commands.add_parser(
            name,
            help=command.HELP,
            description=command.HELP[0].upper() + command.HELP[1:] + ".",
            epilog="example:\n" + "".join(f"  {line}\n" for line in command.EXAMPLE.splitlines()) + "\n" + _EXITS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--config", type=Path, metavar="FILE", help="settings file, TOML (default: none)")
        sub.add_argument(
            "--repository",
            metavar="NAME",
            help="repository to work on (default: the only one; "
            "consume, run, serve, status, health, doctor and migrate take all)",
        )
        command.configure(sub)
    return top


def _module(command: str) -> ModuleType:
    # `import` is a word of Python's own and cannot name a module.
    return import_module(f"stocktake.commands.{'import_tree' if command == 'import' else command}")


if __name__ == "__main__":
    sys.exit(main())
