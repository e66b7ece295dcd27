"""How lines of the log look, what they are about, and that no error or warning brings a value into them."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextvars import copy_context
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from starlette.types import Receive, Scope, Send

from state.errors import StateMismatch, StateUnreachable
from stocktake import logs
from stocktake.cli import main
from stocktake.exits import Exit
from stocktake.logs import Json, Text, log_about, told_of
from stocktake.web.envelope import Envelope
from tests.http_site import Client, raw_request

ROOT: Final = Path(__file__).parents[2]
MARKER: Final = "DOE^JANE"


@pytest.fixture(autouse=True)
def about_nobody() -> Iterator[None]:
    """Tests of other files may have played a role in this thread."""
    token = logs._about.set(logs.About())
    yield
    logs._about.reset(token)


def record(message: str = "all is well", *args: object, error: BaseException | None = None, **extra: object) -> Any:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("consumers.loop", logging.WARNING, "loop.py", 1, message, args, exc_info)
    made.created, made.msecs = 1_800_000_000.25, 250
    made.__dict__.update(extra)
    return made


def line(made: logging.LogRecord, formatter: logging.Formatter | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((formatter or Json("consumer", 2)).format(made))
    return found


def in_context(work: Callable[[], None]) -> None:
    """What is said of where lines come from ends with the test."""
    copy_context().run(work)


def raised(raising: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as found:  # noqa: PT011 -- of any kind
        raising()
    return found.value


def fail(error: Exception) -> None:
    raise error


# --- JSON ----------------------------------------------------------------------------------------------------------


def test_a_line_says_when_how_grave_where_what_and_who() -> None:
    assert line(record("%d studies", 3)) == {
        "time": "2027-01-15T08:00:00.250000+00:00",
        "level": "WARNING",
        "logger": "consumers.loop",
        "message": "3 studies",
        "role": "consumer",
        "worker": 2,
    }
    assert line(record(), Json("writer"))["worker"] is None


def test_topic_partition_and_offset_are_fields_also_where_they_are_0() -> None:
    found = line(record(topic="events", partition=0, offset=0))
    assert (found["topic"], found["partition"], found["offset"]) == ("events", 0, 0)
    assert "repository" not in found
    assert "request" not in found


def test_what_a_thread_is_about_is_in_its_lines_and_in_no_others() -> None:
    seen: dict[str, dict[str, Any]] = {}

    def role(name: str, number: int) -> None:
        log_about(role="consumer", worker=number, repository=name)
        log_about(request="")  # what is not said stays
        seen[name] = line(record(), Json("run"))

    threads = [Thread(target=role, args=(name, number)) for number, name in enumerate(("main", "other"), 1)]
    for thread in threads:
        thread.start()
        thread.join()
    found = [(seen[name]["role"], seen[name]["worker"], seen[name]["repository"]) for name in ("main", "other")]
    assert found == [("consumer", 1, "main"), ("consumer", 2, "other")]
    assert (line(record(), Json("run"))["role"], "repository" in line(record())) == ("run", False)


def test_a_process_that_works_for_one_repository_names_it_in_every_line() -> None:
    assert line(record(), Json("crawl", repository="main"))["repository"] == "main"


def test_what_a_line_itself_names_wins_over_what_its_thread_is_about() -> None:
    def check() -> None:
        log_about(repository="main")
        assert line(record(repository="other"))["repository"] == "other"

    in_context(check)


def test_a_line_is_one_line_whatever_the_message_holds() -> None:
    text = Json("consumer").format(record('two\nlines, "quotes" and a name that is no UTF-8: %s', "\udcff"))
    assert "\n" not in text
    assert json.loads(text)["message"].startswith('two\nlines, "quotes"')


# --- text ----------------------------------------------------------------------------------------------------------


def test_a_line_for_people_names_the_repository_where_several_share_a_process() -> None:
    def check() -> None:
        log_about(repository="main")
        begin = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,250 WARNING "
        for formatter, rest in (
            (Text(), "consumers.loop: all is well"),
            (Text("worker 2"), "worker 2 consumers.loop: all is well"),
            (Text("worker 2", several=True), r"worker 2 \[main\] consumers.loop: all is well"),
        ):
            assert re.fullmatch(begin + rest, formatter.format(record()))

    in_context(check)
    assert "[" not in Text(several=True).format(record())


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formatter", [Json("consumer"), Text()])
def test_an_error_of_others_is_told_by_kind_and_place_without_its_text(formatter: logging.Formatter) -> None:
    error = raised(lambda: dict[str, str]()[MARKER])
    text = formatter.format(record(error=error))
    assert MARKER not in text
    assert "builtins.KeyError" in text
    assert re.search(r"unit/test_stocktake_logs\.py:\d+ in <lambda>", text)


def test_an_error_of_ours_is_told_with_its_text_and_what_led_to_it_without() -> None:
    def both() -> None:
        try:
            fail(ValueError(MARKER))
        except ValueError as error:
            raise StateUnreachable("Redis does not answer") from error

    text = told_of(raised(both))
    assert MARKER not in text
    assert text.index("builtins.ValueError") < text.index("which led to") < text.index("Redis does not answer")


def test_an_error_of_the_system_says_what_the_system_says() -> None:
    text = told_of(raised(lambda: Path(f"/{MARKER}").read_bytes()))
    assert text.endswith("builtins.FileNotFoundError: No such file or directory")
    assert MARKER not in text


def test_errors_in_a_circle_come_to_an_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert told_of(first).count("ValueError") == 2


@pytest.mark.parametrize("format_", ["json", "text"])
def test_nothing_that_the_interpreter_itself_would_say_holds_a_value(format_: str) -> None:
    program = f"""
import asyncio, threading, warnings
from stocktake.logs import LogPolicy, log_to_stderr, log_unforeseen
log_to_stderr(LogPolicy("INFO", {format_!r}), "writer")
log_unforeseen()
def fail(): raise KeyError({MARKER!r})
warnings.warn({MARKER!r})
thread = threading.Thread(target=fail, name="deliver"); thread.start(); thread.join()
class Odd:
    def __del__(self): fail()
del (odd := Odd()), odd
async def main():
    task = asyncio.get_running_loop().create_task(failing()); await asyncio.sleep(0); await asyncio.sleep(0); del task
async def failing(): fail()
asyncio.run(main())
fail()
""".replace("del (odd := Odd()), odd", "odd = Odd(); del odd")
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 1
    assert MARKER not in ended.stderr
    for what in ("UserWarning", "thread deliver ended", "an error was ignored", "never retrieved", "ended by an error"):
        assert what in ended.stderr
    if format_ == "json":
        lines = [json.loads(one) for one in ended.stderr.splitlines()]
        assert [one["level"] for one in lines] == ["WARNING", "CRITICAL", "ERROR", "ERROR", "CRITICAL"]
        assert all("builtins.KeyError" in one["exception"] for one in lines[1:])


# --- the end of a command ------------------------------------------------------------------------------------------


def test_an_error_that_ends_the_program_is_a_line_like_all_others() -> None:
    given = {"LOG__FORMAT": "json", "REDIS__URL": "redis://127.0.0.1:1/0", "REDIS__TIMEOUT": "100ms"}
    environ = {f"STOCKTAKE_{name}": value for name, value in given.items()}
    command = [sys.executable, "-m", "stocktake", "serve"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environ)
    assert ended.returncode == Exit.UNREACHABLE
    [found] = [json.loads(one) for one in ended.stderr.splitlines()]
    assert found["message"].startswith("stocktake serve: Redis at 127.0.0.1:1")
    assert (found["level"], found["role"], found["worker"]) == ("ERROR", "service", None)
    assert found["repository"] == "main"


def test_so_are_settings_that_do_not_fit_which_may_be_the_format_itself() -> None:
    command = [sys.executable, "-m", "stocktake", "health", "--repository", "other"]
    for variable, value, message in (
        ("STOCKTAKE_LOG__LEVEL", "x", "STOCKTAKE_LOG__LEVEL: 'x' is not valid"),
        ("STOCKTAKE_LOG__LEVEL", "INFO", "no repository 'other' is configured"),
    ):
        given = {"STOCKTAKE_LOG__FORMAT": "json", variable: value}
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=given)
        assert ended.returncode == Exit.USAGE
        assert json.loads(ended.stderr)["message"].startswith(f"stocktake health: {message}")


def test_as_text_it_is_the_line_that_it_always_was(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOCKTAKE_LOG__FORMAT", "xml")
    assert main(["health"]) == Exit.USAGE
    told = "STOCKTAKE_LOG__FORMAT: 'xml' is not valid; expected one of text, json"
    assert capsys.readouterr().err == f"stocktake health: {told}\n"


def test_errors_of_the_state_keep_their_texts_for_they_hold_no_values() -> None:
    assert told_of(StateMismatch("made with other settings")).endswith("StateMismatch: made with other settings")


# --- requests ------------------------------------------------------------------------------------------------------


class Fails:
    """An application that stumbles over a value."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError(MARKER)


class Keeps(logging.Handler):
    """The lines of the log, as they would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(Json("service"))
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def kept() -> Iterator[list[dict[str, Any]]]:
    handler, logger = Keeps(), logging.getLogger("stocktake")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.lines
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_fault_of_the_service_is_told_with_its_place_and_the_request_without_its_text(
    kept: list[dict[str, Any]],
) -> None:
    answer = Client(Envelope(Fails())).get(
        f"/{MARKER}", headers={"X-Request-ID": "01234567-89AB-cdef-0123-456789abcdef"}
    )
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] == "01234567-89ab-cdef-0123-456789abcdef"
    fault, access = kept
    assert fault["exception"].endswith("builtins.KeyError")
    assert {line["request"] for line in (fault, access)} == {answer.headers["X-Request-ID"]}
    assert MARKER not in json.dumps(kept)


@pytest.mark.parametrize("given", ["4711", "", "x" * 32, "0" * 31, "0" * 64, "DOE^JANE", "\xe9" * 32])
def test_an_id_that_no_proxy_makes_is_not_taken(given: str, kept: list[dict[str, Any]]) -> None:
    headers = {"X-Request-ID": given.encode("latin-1")}
    first, second = (Client(Envelope(Fails())).get("/", headers=headers).headers["X-Request-ID"] for _ in range(2))
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != second
    assert {line["request"] for line in kept} == {first, second}


def test_two_ids_are_none(kept: list[dict[str, Any]]) -> None:
    headers = [(b"x-request-id", b"0" * 32), (b"x-request-id", b"1" * 32)]
    raw_request(Envelope(Fails()), "/", headers)
    assert {line["request"] for line in kept}.isdisjoint({"0" * 32, "1" * 32})
