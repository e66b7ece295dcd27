"""What people meet at the command line: help that tells everything, errors in one clear line, documented exit codes."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson
import pytest
from redis import Redis

from state.times import parse_time
from stocktake import __version__
from stocktake.cli import COMMANDS, main, parser
from stocktake.embedded import free_ports
from stocktake.exits import Exit
from tests.servers.redis_server import RedisServer

ROOT: Final = Path(__file__).parents[2]
SECRET: Final = "hunter2"  # noqa: S105 -- a password that nobody has
PATIENCE: Final = 60  # seconds

NEEDS_STATE: Final = (
    ("consume", "--until-caught-up"),
    ("write", "--once"),
    ("baseline",),
    ("rollup",),
    ("delta",),
    ("delta", "--from", "2026", "--output", "x.dcm"),
    ("status",),
    ("reset", "--to", "earliest"),
    ("resume",),
)
NEEDS_KAFKA: Final = (
    ("publish", "events.ndjson"),
    ("consume", "--until-caught-up"),
    ("reset", "--to", "earliest"),
)
ANY: Final = (("consume", "--until-caught-up"), ("write", "--once"), ("status",))  # a role each
PRODUCES: Final = (("write", "--once"), ("baseline",))


def name_of(command: tuple[str, ...]) -> str:
    return " ".join(command)


class CommandLine:
    """Runs the program as a process of its own, with these settings only."""

    def __init__(self, folder: Path, **given: str) -> None:
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STOCKTAKE_")}
        self._environ = inherited | {"PYTHONPATH": str(ROOT)} | environ(**given)

    def run(self, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stocktake", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self._environ | environ(**given),
            timeout=PATIENCE,
            check=False,
        )

    def fails(self, *arguments: str, code: Exit, **given: str) -> str:
        """The error, which is one line that names the command, on stderr alone."""
        ended = self.run(*arguments, **given)
        assert ended.returncode == code, ended.stderr
        assert ended.stdout == ""
        start = f"stocktake {arguments[0]}: "
        assert ended.stderr.startswith(start), ended.stderr
        assert ended.stderr.count("\n") == 1, ended.stderr
        return ended.stderr.removeprefix(start).rstrip("\n")


def environ(**given: str) -> dict[str, str]:
    return {f"STOCKTAKE_{name}": value for name, value in given.items()}


@pytest.fixture
def closed_port() -> int:
    """A port of this machine where nobody listens."""
    [port] = free_ports(1)
    return port


@pytest.fixture
def command_line(tmp_path: Path, redis_url: str, repository: str, closed_port: int) -> CommandLine:
    """With a real Redis, and a Kafka that is not there."""
    (tmp_path / "events.ndjson").write_bytes(orjson.dumps({"dataset": {"0020000D": {"vr": "UI", "Value": ["1.2"]}}}))
    return CommandLine(
        tmp_path,
        REDIS__URL=redis_url,
        REDIS__TIMEOUT="1s",
        KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{closed_port}",
        KAFKA__TIMEOUT="1s",
        INVENTORY__DIR=str(tmp_path / "inventories"),
        INVENTORY__LEASE="1s",
        **{f"REPOSITORIES__{repository.upper()}__TOPICS": "events"},
    )


# --- help -----------------------------------------------------------------------------------------------------------


def subparsers() -> dict[str, argparse.ArgumentParser]:
    [found] = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found.choices)


def optional_arguments() -> Iterator[tuple[str, argparse.Action]]:
    for name, sub in subparsers().items():
        for action in sub._actions:
            if action.option_strings and not isinstance(action, argparse._HelpAction | argparse._VersionAction):
                yield f"{name} {action.option_strings[-1]}", action


def help_of(*command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_command_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(help_of(capsys=capsys).split()).lower()
    subs = subparsers()
    assert list(subs) == list(COMMANDS)
    for name, sub in subs.items():
        assert f" {name} {sub.description}".lower().rstrip(".") in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_every_exit_code(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(command, capsys=capsys)
    assert f"stocktake {command}" in text.partition("example:")[2]
    for code in Exit:
        assert re.search(rf"^  {code.value:<4} \w", text, re.MULTILINE), code


@pytest.mark.parametrize("line", [pytest.param(line, id=line) for line in dict(optional_arguments())])
def test_help_states_the_default_of_every_optional_argument(line: str) -> None:
    action = dict(optional_arguments())[line]
    text = (action.help or "") % {"default": action.default}
    if action.required:
        assert "no default" in text
        return
    stated = re.search(r"\(default: (.+)\)", text, re.DOTALL)
    assert stated is not None, text
    if action.default in (None, False, []):
        return  # what happens without it is told in words
    if action.option_strings == ["--start"]:
        assert parse_time(stated[1]) == action.default
    else:
        assert stated[1] == (",".join(action.default) if isinstance(action.default, tuple) else str(action.default))


@pytest.mark.parametrize("command", COMMANDS)
def test_an_example_is_a_command_line_that_the_program_takes(command: str) -> None:
    """Those of the program itself: what stands before or after a pipe is another program's."""
    examples = re.findall(r"^  (.*)$", (subparsers()[command].epilog or "").partition("exit codes")[0], re.MULTILINE)
    own = [part.strip() for line in examples for part in line.split("|") if part.strip().startswith("stocktake ")]
    assert own
    for line in own:
        arguments = line.partition(">")[0].split()[1:]
        assert parser().parse_args(arguments).command in COMMANDS


def test_the_version_is_told_on_stdout(tmp_path: Path) -> None:
    ended = CommandLine(tmp_path).run("--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (Exit.DONE, f"stocktake {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["consume", "--nonsense"],
        ["consume", "--workers", "0"],
        ["publish"],
        ["publish", "--partitions", "0", "x"],
        ["resolve", "x.dcm", "--columns", "Nonsense"],
        ["show", "x.dcm", "--timezone", "Middle-earth"],
        ["simulate", "--start", "tomorrow"],
    ],
)
def test_a_command_line_that_is_none_is_told_with_the_usage(tmp_path: Path, arguments: list[str]) -> None:
    ended = CommandLine(tmp_path).run(*arguments)
    assert ended.returncode == Exit.USAGE
    assert ended.stdout == ""
    assert ended.stderr.startswith("usage: stocktake")
    assert "error: " in ended.stderr
    assert "Traceback" not in ended.stderr


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ANY, ids=name_of)
def test_an_unknown_setting_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    error = CommandLine(tmp_path, KAFKA__BOOTSTRAP="x:1").fails(*command, code=Exit.USAGE)
    assert error == "STOCKTAKE_KAFKA__BOOTSTRAP: unknown setting; the README lists all of them"


def test_an_unknown_setting_of_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    config = tmp_path / "stocktake.toml"
    config.write_text("[kafka]\nserver = 'x:1'\n")
    error = CommandLine(tmp_path).fails("consume", "--config", str(config), code=Exit.USAGE)
    assert error == f"{config}: kafka.server: unknown setting; the README lists all of them"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("INVENTORY__LEVEL", "PATIENT", "one of STUDY, SERIES, INSTANCE"),
        ("INVENTORY__INTERVAL", "soon", "a duration above zero such as"),
        ("STATE__SHARDS", "0", "a whole number from 1 to 4096"),
        ("HTTP__LISTEN", "8080", "HOST:PORT such as"),
        ("LOG__LEVEL", "LOUD", "one of DEBUG, INFO, WARNING, ERROR"),
        ("REPOSITORIES__MAIN__TIMEZONE", "Middle-earth", "an IANA time zone such as"),
    ],
)
def test_a_bad_value_is_told_with_what_is_expected(tmp_path: Path, name: str, value: str, expected: str) -> None:
    error = CommandLine(tmp_path).fails("status", code=Exit.USAGE, **{name: value})
    assert error.startswith(f"STOCKTAKE_{name}: {value!r} is not valid; expected {expected}")


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read: No such file or directory"), ("= broken", "not valid TOML: ")]
)
def test_a_settings_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    config = tmp_path / "stocktake.toml"
    if content is not None:
        config.write_text(content)
    error = CommandLine(tmp_path).fails("write", "--config", str(config), code=Exit.USAGE)
    assert error.startswith(f"{config}: {said}")


def test_a_repository_that_is_not_configured_is_told_with_those_that_are(
    command_line: CommandLine, repository: str
) -> None:
    error = command_line.fails("status", "--repository", "other", code=Exit.USAGE)
    assert error == f"no repository 'other' is configured; there is: {repository}"


def test_several_repositories_ask_for_one(command_line: CommandLine, repository: str) -> None:
    error = command_line.fails("reset", "--to", "earliest", code=Exit.USAGE, REPOSITORIES__ZULU__TOPICS="others")
    assert error == f"several repositories are configured; name one with --repository: {repository}, zulu"


# --- servers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", NEEDS_STATE, ids=name_of)
def test_an_unreachable_redis_is_named(command_line: CommandLine, closed_port: int, command: tuple[str, ...]) -> None:
    error = command_line.fails(*command, code=Exit.UNREACHABLE, REDIS__URL=f"redis://127.0.0.1:{closed_port}/0")
    assert error.startswith(f"Redis at 127.0.0.1:{closed_port} cannot be reached")


@pytest.mark.parametrize("command", NEEDS_KAFKA, ids=name_of)
def test_an_unreachable_kafka_is_named(command_line: CommandLine, closed_port: int, command: tuple[str, ...]) -> None:
    error = command_line.fails(*command, code=Exit.UNREACHABLE)
    assert f"127.0.0.1:{closed_port}" in error
    assert "kafka" in error.lower()


def test_the_status_without_kafka_tells_what_the_state_knows(command_line: CommandLine, repository: str) -> None:
    ended = command_line.run("status")
    assert (ended.returncode, ended.stderr) == (Exit.DONE, "")
    assert "studies      0" in ended.stdout
    assert "lag          not known: Kafka at 127.0.0.1:" in ended.stdout
    found = orjson.loads(command_line.run("status", "--json").stdout)
    assert (found["repository"], found["studies"], found["lag"]) == (repository, 0, None)
    assert found["lag_unknown"].startswith("Kafka at 127.0.0.1:")


def test_the_status_is_of_every_repository_unless_one_is_named(command_line: CommandLine, repository: str) -> None:
    several = {"REPOSITORIES__ZULU__TOPICS": "others"}
    lines = command_line.run("status", "--json", **several).stdout.splitlines()
    assert [orjson.loads(line)["repository"] for line in lines] == [repository, "zulu"]
    assert "repository   zulu" in command_line.run("status", **several).stdout
    [line] = command_line.run("status", "--json", "--repository", "zulu", **several).stdout.splitlines()
    assert orjson.loads(line)["repository"] == "zulu"


@pytest.mark.parametrize("command", ANY, ids=name_of)
def test_a_redis_that_may_throw_records_away_is_refused(
    command_line: CommandLine, redis_server: RedisServer, command: tuple[str, ...]
) -> None:
    if not redis_server.ours:
        pytest.skip("this server is not ours to configure")
    with Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            error = command_line.fails(*command, code=Exit.USAGE)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert "has maxmemory-policy allkeys-lru" in error
    assert error.endswith("Set it to noeviction.")


@pytest.mark.parametrize("command", ANY, ids=name_of)
@pytest.mark.parametrize(
    ("name", "given", "was"), [("STATE__SHARDS", "32", "shards 64"), ("INVENTORY__LEVEL", "STUDY", "level INSTANCE")]
)
def test_a_state_made_with_other_settings_is_refused(
    command_line: CommandLine, repository: str, command: tuple[str, ...], name: str, given: str, was: str
) -> None:
    assert command_line.run("resume").returncode == Exit.DONE  # makes the state
    error = command_line.fails(*command, code=Exit.USAGE, **{name: given})
    assert error.startswith(f"repository {repository}: the state was made with {was}, the settings say {given}; ")
    assert "change the setting back" in error


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", PRODUCES, ids=name_of)
def test_an_inventory_folder_that_cannot_be_written_is_named(
    command_line: CommandLine, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    error = command_line.fails(*command, code=Exit.USAGE, INVENTORY__DIR=str(tmp_path / "file"))
    assert error.startswith(f"inventory.dir: {tmp_path / 'file'}")
    assert "cannot be written" in error
    assert "set another" in error


@pytest.mark.parametrize("command", PRODUCES, ids=name_of)
def test_an_inventory_without_a_consumer_says_what_to_run_first(
    command_line: CommandLine, command: tuple[str, ...]
) -> None:
    error = command_line.fails(*command, code=Exit.FAULTS)
    assert "no watermark" in error
    assert "stocktake consume" in error


@pytest.mark.parametrize("command", ["show", "resolve", "diff", "import"])
def test_an_inventory_that_is_not_there_is_bad_input(command_line: CommandLine, tmp_path: Path, command: str) -> None:
    missing = str(tmp_path / "missing.dcm")
    error = command_line.fails(command, missing, *([missing] if command == "diff" else []), code=Exit.BAD_INPUT)
    assert missing in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("delta", "--from", "2026"), "a stand-alone delta needs --output"),
        (("delta", "--output", "x.dcm"), "a stand-alone delta needs --output"),
        (("delta", "--from", "tomorrow", "--output", "x.dcm"), "--from: not an ISO 8601 time or a DICOM DT"),
        (("delta", "--from", "2027", "--to", "2026", "--output", "x.dcm"), "--from lies after --to"),
        (("reset", "--to", "tomorrow"), '--to is neither "earliest" nor a time'),
    ],
)
def test_arguments_that_do_not_fit_are_told(command_line: CommandLine, arguments: tuple[str, ...], said: str) -> None:
    assert said in command_line.fails(*arguments, code=Exit.USAGE)


# --- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{SECRET}@127.0.0.1:1/0",
        f"redis://:{SECRET}@127.0.0.1:1/0",
        f"redis://:{SECRET}/slash@127.0.0.1:1/0",
        f"redis://:{SECRET}#hash@127.0.0.1:1/0",
        f"redis://:{SECRET}@127.0.0.1:port/0",
        f"redis://:{SECRET}@[::1/0",
        f"redis://127.0.0.1:1/0?password={SECRET}",
        f"http://:{SECRET}@127.0.0.1:1/0",
        SECRET,
    ],
)
def test_the_password_of_the_url_is_never_told(command_line: CommandLine, url: str) -> None:
    ended = command_line.run("resume", REDIS__URL=url, LOG__LEVEL="DEBUG")
    assert ended.returncode in {Exit.USAGE, Exit.UNREACHABLE}, ended.stderr
    assert SECRET not in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr


def test_a_password_that_redis_refuses_is_told_without_it(command_line: CommandLine) -> None:
    error = command_line.fails("resume", code=Exit.USAGE, REDIS__USERNAME="nobody", REDIS__PASSWORD=SECRET)
    assert "refuses the user or password" in error
    assert SECRET not in error
