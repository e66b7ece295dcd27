"""A file that a command writes for its caller: there under its name once it is whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from stocktake.exits import CommandError, Exit


@contextmanager
def written_whole(path: Path, option: str) -> Iterator[BinaryIO]:
    """The file, open for writing beside its place, and put there when the block ends; ``option`` named it.

    Raises:
        CommandError: it cannot be written. Whatever else ends the block leaves no file either.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):  # it may never have been made
            part.unlink()
        if isinstance(error, OSError):
            text = f"{option} {path}: cannot be written: {error.strerror}"
            raise CommandError(Exit.USAGE, text) from None
        raise
