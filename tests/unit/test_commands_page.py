"""docs/commands.md is what the parser says, of every command, and its examples are calls of the program."""

from __future__ import annotations

import re
import shlex

import pytest

from stocktake.cli import parser
from stocktake.exits import Exit
from tests.commands_page import PAGE, missing, page

TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = [
    re.split(r"\s[>|&]", line)[0]
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("stocktake ")
]


def test_every_command_has_a_section_and_nothing_else_has() -> None:
    assert missing() == set()


def test_the_page_is_what_the_parser_says() -> None:
    assert page() == TEXT, "run python -m tests.commands_page"


def test_the_page_lists_every_exit_code() -> None:
    assert re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE) == [str(code.value) for code in Exit]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_call_of_the_program(example: str) -> None:
    command, *arguments = shlex.split(example, comments=True)[1:]
    parser(command).parse_args([command, *arguments])
