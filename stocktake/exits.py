"""The exit codes of the program and the errors that lead to them."""

from __future__ import annotations

from enum import IntEnum

from consumers.archives.archive import ArchiveBusy, ArchiveRefused
from consumers.errors import BrokerUnreachable, ConsumerError
from state.errors import Fenced, StateError, StateMismatch, StateUnreachable
from stocktake.embedded import EmbeddedServerError
from stocktake.settings import SettingsError
from writers.files import FolderUnusable


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


def exit_of(error: Exception) -> Exit | None:
    """What an error means for the exit code; None for one that nobody foresaw."""
    if isinstance(error, CommandError):
        return error.code
    if isinstance(error, StateUnreachable | BrokerUnreachable | EmbeddedServerError | ArchiveBusy):
        return Exit.UNREACHABLE
    if isinstance(error, SettingsError | StateMismatch | FolderUnusable | ArchiveRefused):
        return Exit.USAGE
    if isinstance(error, ConsumerError | Fenced | StateError):
        return Exit.FAULTS
    return None
