"""stocktake token: a new bearer token for the HTTP service."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from stocktake.exits import CommandError, Exit
from stocktake.settings import Settings
from stocktake.web.tokens import NAME, Role, line_for, new_token

HELP: Final = "make a bearer token for the HTTP service"
EXAMPLE: Final = "stocktake token grafana --role read --add\nstocktake token migration-desk --role operate"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what the log calls who has it: a-z, 0-9, '.', '_' and '-'")
    parser.add_argument(
        "--role",
        choices=[role.value for role in Role],
        required=True,
        help="read: sees everything, patient data in files too; operate: may also have things done (no default)",
    )
    parser.add_argument(
        "--add",
        action="store_true",
        help="add its line to http.tokens_file, which is made if it is not there (default: show the line)",
    )


def run(args: argparse.Namespace, settings: Settings) -> Exit:
    """The token, which is not kept anywhere, alone on stdout; the line for the file on stderr, or in the file."""
    if not NAME.fullmatch(args.name):
        raise CommandError(Exit.USAGE, f"{args.name!r} is no name; use up to 63 of a-z, 0-9, '.', '_' and '-'")
    token = new_token()
    line = line_for(args.name, Role(args.role), token)
    if args.add:
        path = settings.http.tokens_file
        if path is None:
            raise CommandError(Exit.USAGE, "--add: http.tokens_file is not set")
        _add(path, line)
        sys.stderr.write(f"added to {path}; the token, which cannot be shown again:\n")
    else:
        sys.stderr.write(f"add this line to http.tokens_file:\n{line}\nthe token, which cannot be shown again:\n")
    sys.stderr.flush()
    sys.stdout.write(token + "\n")
    return Exit.DONE


def _add(path: Path, line: str) -> None:
    """Append the line; a file that is made can be read by its owner alone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            begin = b"\n" if file.read(1) not in (b"", b"\n") else b""
            file.write(begin + line.encode() + b"\n")
    except OSError as error:
        raise CommandError(Exit.USAGE, f"http.tokens_file: {path} cannot be written: {error.strerror}") from None
