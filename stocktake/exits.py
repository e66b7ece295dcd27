"""The exit codes of the program and the errors that lead to them."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the program's exit status means."""

    DONE = 0  # done
    FAULTS = 1  # a check found faults
    USAGE = 2  # usage or settings
    UNREACHABLE = 3  # a server cannot be reached
    BAD_INPUT = 4  # bad input
    INTERRUPTED = 130  # interrupted


class CommandError(Exception):
    """Ends the program with one clear line on stderr and the given exit code."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
