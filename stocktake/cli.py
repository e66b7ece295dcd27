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

from consumers.errors import BrokerUnreachable, ConsumerError
from state.errors import Fenced, StateError, StateMismatch, StateUnreachable
from stocktake import __version__
from stocktake.embedded import EmbeddedServerError
from stocktake.exits import CommandError, Exit
from stocktake.settings import Settings, SettingsError, load
from writers.files import FolderUnusable

COMMANDS: Final = (
    "demo",
    "run",
    "consume",
    "write",
    "serve",
    "publish",
    "simulate",
    "baseline",
    "rollup",
    "delta",
    "import",
    "show",
    "verify",
    "resolve",
    "diff",
    "status",
    "reset",
    "resume",
)

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
    args = parser().parse_args(argv)
    try:
        settings = load(args.config, os.environ)
        _log_to_stderr(settings)
        command = _module(args.command)
        return int(command.run(args, settings))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        sys.stderr.write(f"stocktake {args.command}: {error}\n")
        return code


def _exit_code(error: Exception) -> Exit | None:
    """What an error means for the exit code; None for one that nobody foresaw."""
    if isinstance(error, CommandError):
        return error.code
    if isinstance(error, StateUnreachable | BrokerUnreachable | EmbeddedServerError):
        return Exit.UNREACHABLE
    if isinstance(error, SettingsError | StateMismatch | FolderUnusable):
        return Exit.USAGE
    if isinstance(error, ConsumerError | Fenced | StateError):
        return Exit.FAULTS
    return None


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="stocktake",
        description="Keeps DICOM inventories (Supplement 223) current from an archive's event stream.",
        epilog="example:\n  stocktake demo\n\n" + _EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"stocktake {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = _module(name)
        sub = commands.add_parser(
            name,
            help=command.HELP,
            description=command.HELP[0].upper() + command.HELP[1:] + ".",
            epilog="example:\n" + "".join(f"  {line}\n" for line in command.EXAMPLE.splitlines()) + "\n" + _EXITS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--config", type=Path, metavar="FILE", help="settings file, TOML (default: none)")
        sub.add_argument("--repository", metavar="NAME", help="repository to work on (default: the only one)")
        command.configure(sub)
    return top


def _module(command: str) -> ModuleType:
    # `import` is a word of Python's own and cannot name a module.
    return import_module(f"stocktake.commands.{'import_tree' if command == 'import' else command}")


def _log_to_stderr(settings: Settings) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log.level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # The client reports every reconnection; what matters of it reaches our own log.
    logging.getLogger("kafka").setLevel(logging.INFO if settings.log.level == "DEBUG" else logging.CRITICAL)
    # What pydicom finds wrong with a value it logs with the value, which may be a patient's.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


if __name__ == "__main__":
    sys.exit(main())
