"""What is logged, and how a line looks: text for people, or one JSON object for machines.

Where a line comes from is said once, where a role begins (:func:`log_about`), and holds for whatever its thread logs;
which topic, partition and offset a line is about is said where it is logged, by ``extra``.

No line holds a patient's attribute. The texts of this program's own errors are made for logs. Those of all others may
quote the value that they stumbled over, so of an error that nobody foresaw its kind is told and where it came from, and
of a warning its kind and place.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Literal, TextIO

from state.times import MICROSECONDS, to_iso

log = logging.getLogger(__name__)

FIELDS: Final = ("repository", "topic", "partition", "offset", "request")  # of a line, where they are known

_OURS: Final = frozenset({"stocktake", "consumers", "writers", "monitor", "state"})
_FRAMES: Final = 12  # of a traceback: those nearest to the error


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """How much is logged to stderr, and as what: ``text`` or ``json``."""

    level: str
    format: str


@dataclass(frozen=True, slots=True)
class About:
    """Where lines come from. ``role`` is empty, ``worker`` None where the process's own holds."""

    role: str = ""
    worker: int | None = None
    repository: str = ""
    request: str = ""


_NOBODY: Final = About()
_about: ContextVar[About] = ContextVar("stocktake_log_about", default=_NOBODY)


def log_about(**what: Any) -> None:
    """Say where the lines come from that this thread (or task) logs from now on; see :class:`About`.

    What is not said stays. Threads that it starts have to be started in a copy of its context.
    """
    _about.set(replace(_about.get(), **what))


class Text(logging.Formatter):
    """A line for people. ``who`` logs is named if several processes share the stream, the repository if ``several``."""

    def __init__(self, who: str = "", *, several: bool = False) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {who + ' ' if who else ''}%(about)s%(name)s: %(message)s")
        self._several = several

    def format(self, record: logging.LogRecord) -> str:
        repository = _field(record, "repository") if self._several else None
        record.about = f"[{repository}] " if repository else ""
        return super().format(record)

    def formatException(self, ei: Any) -> str:
        return told_of(ei[1])


class Json(logging.Formatter):
    """One JSON object: ``time`` (ISO 8601, UTC, microseconds), ``level``, ``logger``, ``message``, ``role``, ``worker``
    (null where there are none), and where they are known those of :data:`FIELDS` and ``exception``."""

    def __init__(self, role: str, worker: int | None = None, repository: str = "") -> None:
        super().__init__()
        self._own = About(role, worker, repository)

    def format(self, record: logging.LogRecord) -> str:
        about = _about.get()
        line: dict[str, Any] = {
            "time": to_iso(round(record.created * MICROSECONDS)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "role": about.role or self._own.role,
            "worker": self._own.worker if about.worker is None else about.worker,
        }
        found = {name: _field(record, name) for name in FIELDS}
        found["repository"] = found["repository"] or self._own.repository
        line |= {name: value for name, value in found.items() if value not in (None, "")}
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = told_of(record.exc_info[1])
        elif exception := _field(record, "exception"):
            line["exception"] = exception
        # Not orjson: a file's name that is no UTF-8 must not be the end of a line of the log.
        return json.dumps(line)


def _field(record: logging.LogRecord, name: str) -> Any:
    """What the line itself says, else what its thread is about."""
    return record.__dict__.get(name, getattr(_about.get(), name, None))


def log_to_stderr(policy: LogPolicy, role: str, worker: int | None = None, repositories: Sequence[str] = ()) -> None:
    """Log to stderr, as this role and, if several processes share it, this worker, which works for ``repositories``."""
    several, only = len(repositories) > 1, repositories[0] if len(repositories) == 1 else ""
    handler: logging.StreamHandler[TextIO] = logging.StreamHandler(sys.stderr)
    who = "" if worker is None else f"worker {worker}"
    handler.setFormatter(Json(role, worker, only) if policy.format == "json" else Text(who, several=several))
    handler.addFilter(_first_line_of_asyncio)
    logging.basicConfig(handlers=[handler], level=policy.level)
    # The client reports every reconnection; what matters of it reaches our own log.
    logging.getLogger("kafka").setLevel(logging.INFO if policy.level == "DEBUG" else logging.CRITICAL)
    # These tell of every request; what goes wrong with a sink is told by the delivery to it.
    for name in ("pynetdicom", "httpx", "httpcore", "botocore", "aiobotocore", "s3fs", "fsspec"):
        logging.getLogger(name).setLevel(logging.INFO if policy.level == "DEBUG" else logging.CRITICAL)
    # What pydicom finds wrong with a value it logs with the value, which may be a patient's.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


def _first_line_of_asyncio(record: logging.LogRecord) -> Literal[True]:
    """Below its first line it shows the task, with the text of its error."""
    if record.name == "asyncio":
        record.msg, record.args = record.getMessage().partition("\n")[0], ()
    return True


def log_unforeseen() -> None:
    """Let what the interpreter would write to stderr by itself become lines of the log. For a process of our own."""
    sys.excepthook = _uncaught
    sys.unraisablehook = lambda found: log.error("an error was ignored", exc_info=_info(found.exc_value))
    threading.excepthook = _uncaught_in_thread
    warnings.showwarning = _warned


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    del kind, trace
    log.critical("ended by an error that was not foreseen", exc_info=_info(error))


def _uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_type is not SystemExit:
        name = found.thread.name if found.thread is not None else "?"
        log.critical("thread %s ended by an error that was not foreseen", name, exc_info=_info(found.exc_value))


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del message, file, line  # it may quote a value
    log.warning("%s at %s:%d", category.__name__, os.path.basename(filename), lineno)


def _info(error: BaseException | None) -> Any:
    return (type(error), error, None) if error is not None else None


# --- errors without values -----------------------------------------------------------------------------------------


def told_of(error: BaseException) -> str:
    """An error, what led to it, and where each came from; with their texts only where those cannot hold a value."""
    return "\nwhich led to\n".join(_one(each) for each in reversed([*_chain(error)]))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        yield following
        seen.add(id(following))
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _one(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    lines = [f"  {_short(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
    kind, text = type(error), ""
    if kind.__module__.partition(".")[0] in _OURS:
        text = str(error)
    elif isinstance(error, OSError) and error.errno is not None:
        text = os.strerror(error.errno)
    return "\n".join([*lines, f"{kind.__module__}.{kind.__qualname__}{': ' if text else ''}{text}"])


def _short(path: str) -> str:
    """The last folder and the name: enough to find the place, whatever the installation is called."""
    return "/".join(path.replace(os.sep, "/").split("/")[-2:])
