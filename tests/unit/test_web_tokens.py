"""Tokens: made, kept as hashes, read again when their file changes, and refused when the file cannot be trusted."""

from __future__ import annotations

import logging
import os
from hashlib import sha256
from pathlib import Path

import pytest

from stocktake.cli import main
from stocktake.exits import Exit
from stocktake.web.tokens import Caller, Role, Tokens, TokensUnusable, line_for, new_token, parse_tokens


class Time:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def write(path: Path, *lines: str, mode: int = 0o600) -> Path:
    path.write_text("".join(line + "\n" for line in lines))
    path.chmod(mode)
    return path


def test_a_token_is_known_by_its_hash_alone(tmp_path: Path) -> None:
    read, operate = new_token(), new_token()
    path = write(
        tmp_path / "tokens",
        "# who may call",
        "",
        line_for("grafana", Role.READ, read),
        line_for("desk", Role.OPERATE, operate),
    )
    assert read not in path.read_text()
    assert sha256(read.encode()).hexdigest() in path.read_text()
    tokens = Tokens(path)
    assert tokens.caller(read) == Caller("grafana", Role.READ)
    assert tokens.caller(operate) == Caller("desk", Role.OPERATE)
    assert tokens.caller(read + "x") is None
    assert tokens.caller(sha256(read.encode()).hexdigest()) is None
    assert tokens.caller("\udce9") is None


def test_no_two_tokens_are_alike_and_they_are_too_long_to_guess() -> None:
    found = {new_token() for _ in range(100)}
    assert len(found) == 100
    assert min(map(len, found)) >= 43


def test_operate_may_what_read_may_and_not_the_other_way_round() -> None:
    assert Role.OPERATE.may(Role.READ)
    assert Role.OPERATE.may(Role.OPERATE)
    assert Role.READ.may(Role.READ)
    assert not Role.READ.may(Role.OPERATE)


@pytest.mark.parametrize(
    "line",
    [
        "grafana read",
        "grafana admin " + "0" * 64,
        "grafana read " + "0" * 63,
        "grafana read " + "G" * 64,
        "Grafana read " + "0" * 64,
        "grafana read " + "0" * 64 + " more",
        "stk_a-token-that-was-pasted-here",
        "\x00",
    ],
)
def test_a_line_that_is_none_is_told_by_its_number_and_never_shown(line: str, tmp_path: Path) -> None:
    good = line_for("desk", Role.READ, new_token())
    assert parse_tokens(f"{good}\n{line}\n")[1] == [2]
    with pytest.raises(TokensUnusable, match=r"tokens: line 2 is not NAME ROLE SHA256") as raised:
        Tokens(write(tmp_path / "tokens", good, line))
    assert line.strip() not in str(raised.value)


def test_a_file_without_tokens_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(TokensUnusable, match="holds no token; `stocktake token` makes one"):
        Tokens(write(tmp_path / "tokens", "# nobody yet"))
    with pytest.raises(TokensUnusable, match="cannot be read: No such file"):
        Tokens(tmp_path / "none")
    with pytest.raises(TokensUnusable, match="cannot be read: Is a directory"):
        Tokens(tmp_path)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(mode: int, tmp_path: Path) -> None:
    path = write(tmp_path / "tokens", line_for("desk", Role.READ, new_token()), mode=mode)
    with pytest.raises(TokensUnusable, match="others may write it"):
        Tokens(path)


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "tokens", line_for("desk", Role.READ, new_token()))
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(TokensUnusable, match="others may write it"):
        Tokens(path)


def test_a_file_that_others_may_read_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    path = write(tmp_path / "tokens", line_for("desk", Role.READ, new_token()), mode=0o644)
    tokens = Tokens(path, time)
    write(path, line_for("desk", Role.READ, new_token()), line_for("b", Role.READ, new_token()), mode=0o644)
    time.now += 2
    tokens.caller("x")
    assert [record.message for record in caplog.records if "may read it" in record.message] == [
        f"{path}: everybody on this machine may read it; chmod o-r is better"
    ]


def test_a_changed_file_counts_within_a_second(tmp_path: Path) -> None:
    time, old, new = Time(), new_token(), new_token()
    path = write(tmp_path / "tokens", line_for("desk", Role.READ, old))
    tokens = Tokens(path, time)
    write(path, line_for("desk", Role.OPERATE, new))
    assert tokens.caller(old) is not None
    time.now += 1
    assert tokens.caller(old) is None
    assert tokens.caller(new) == Caller("desk", Role.OPERATE)


def test_a_file_that_is_replaced_as_kubernetes_does_is_read_again(tmp_path: Path) -> None:
    time, old, new = Time(), new_token(), new_token()
    for name, token in (("1", old), ("2", new)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "tokens", line_for("desk", Role.READ, token))
    link = tmp_path / "data"
    link.symlink_to("1")
    tokens = Tokens(link / "tokens", time)
    assert tokens.caller(old) is not None
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").replace(link)
    time.now += 1
    assert (tokens.caller(old), tokens.caller(new)) == (None, Caller("desk", Role.READ))


def test_a_token_that_was_taken_out_is_refused_though_another_line_has_a_slip(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    time, gone, kept = Time(), new_token(), new_token()
    path = write(tmp_path / "tokens", line_for("gone", Role.READ, gone), line_for("kept", Role.READ, kept))
    tokens = Tokens(path, time)
    write(path, "gone read", line_for("kept", Role.READ, kept))
    time.now += 1
    assert tokens.caller(gone) is None
    assert tokens.caller(kept) is not None
    assert "line 1 is not NAME ROLE SHA256" in caplog.text


def test_nobody_is_let_in_while_the_file_cannot_be_used_and_it_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    time, token = Time(), new_token()
    path = write(tmp_path / "tokens", line_for("desk", Role.READ, token))
    tokens = Tokens(path, time)
    path.unlink()
    for _ in range(3):
        time.now += 1
        with pytest.raises(TokensUnusable):
            tokens.caller(token)
    write(path, line_for("desk", Role.READ, token))
    time.now += 1
    assert tokens.caller(token) is not None
    assert sum("nobody is let in" in record.message for record in caplog.records) == 1
    assert token not in caplog.text


# --- stocktake token -------------------------------------------------------------------------------------------


def test_the_command_prints_the_token_alone_on_stdout_and_its_line_on_stderr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["token", "grafana", "--role", "read"]) == Exit.DONE
    told = capsys.readouterr()
    token = told.out.removesuffix("\n")
    assert token not in told.err
    line = line_for("grafana", Role.READ, token)
    assert line in told.err.splitlines()
    assert Tokens(write(tmp_path / "tokens", line)).caller(token) == Caller("grafana", Role.READ)


def test_the_command_adds_lines_to_a_file_that_only_its_owner_can_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens"
    monkeypatch.setenv("STOCKTAKE_HTTP__TOKENS_FILE", str(path))
    made = {}
    for name, role in (("grafana", Role.READ), ("desk", Role.OPERATE)):
        assert main(["token", name, "--role", role, "--add"]) == Exit.DONE
        made[name] = capsys.readouterr().out.strip()
        path.write_text(path.read_text().removesuffix("\n"))  # as an editor might leave it
    assert path.stat().st_mode & 0o777 == 0o600
    tokens = Tokens(path)
    assert tokens.caller(made["grafana"]) == Caller("grafana", Role.READ)
    assert tokens.caller(made["desk"]) == Caller("desk", Role.OPERATE)


def test_the_command_refuses_a_name_that_would_not_be_read_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert main(["token", "Two Words", "--role", "read"]) == Exit.USAGE
    assert main(["token", "desk", "--role", "read", "--add"]) == Exit.USAGE
    monkeypatch.setenv("STOCKTAKE_HTTP__TOKENS_FILE", str(tmp_path / "no" / "tokens"))
    assert main(["token", "desk", "--role", "read", "--add"]) == Exit.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert "is no name" in told.err
    assert "cannot be written" in told.err
