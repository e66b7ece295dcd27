"""The commands of the pages in docs/runbook/, read from the pages and run as they stand there."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from unittest.mock import patch

from stocktake.cli import main

RUNBOOK: Final = Path(__file__).parents[2] / "docs" / "runbook"

_BLOCK: Final = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^## (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and what the page says that it answers: lines of which each must come, ``...`` being anything."""

    command: str
    answer: tuple[str, ...] = ()


def steps(page: str, heading: str) -> list[Step]:
    """The commands under a heading of a page: those in blocks of ``sh``. Those of ``bash`` are for kubectl.

    A block of ``text`` after them is the answer of the last one.
    """
    text = (RUNBOOK / page).read_text("utf-8")
    parts = _HEADING.split(text)
    section = parts[parts.index(heading) + 1]
    found: list[Step] = []
    for match in _BLOCK.finditer(section):
        if match[2] == "sh":
            found += [Step(line) for line in _commands(match[3])]
        elif match[2] == "text" and found:
            found[-1] = Step(found[-1].command, tuple(line.strip() for line in match[3].splitlines() if line.strip()))
    assert found, f"{page} has no commands under {heading}"
    return found


def commands(page: str) -> list[str]:
    """Every command of a page, those for kubectl too."""
    text = (RUNBOOK / page).read_text("utf-8")
    return [line for match in _BLOCK.finditer(text) if match[2] in {"sh", "bash"} for line in _commands(match[3])]


def _commands(block: str) -> Iterator[str]:
    for line in block.replace("\\\n", " ").splitlines():
        if command := line.partition(" # ")[0].strip():
            yield command


@dataclass
class Player:
    """Runs commands at a site. ``stocktake`` runs in this process, which spares a second each.

    ``tools`` stand for programs that are not on every machine: each is given its arguments. ``words`` replaces texts of
    the pages, such as folders, by those of the site.
    """

    environ: Mapping[str, str]
    words: Mapping[str, str]
    tools: Mapping[str, Callable[[list[str]], None]] = field(default_factory=dict)

    def play(self, page: str, heading: str) -> None:
        """Run everything under a heading; each command must succeed and answer as the page says."""
        for step in steps(page, heading):
            output = self.run(step.command)
            for line in step.answer:
                pattern = ".*".join(map(re.escape, self._ours(line).split("...")))
                assert re.search(pattern, output), f"{step.command}: {line!r} is not in {output[:2000]!r}"

    def run(self, command: str, code: int = 0) -> str:
        """Run one command, which must end with that exit code; what it printed."""
        words = shlex.split(self._ours(command))
        if words[0] == "stocktake":
            found, output = self._stocktake(words[1:])
        elif words[0] in self.tools:
            self.tools[words[0]](words[1:])
            found, output = 0, ""
        else:
            script = ["bash", "-euc", self._ours(command)]
            done = subprocess.run(script, capture_output=True, text=True, check=False)
            found, output = done.returncode, done.stdout + done.stderr
        assert found == code, f"{command} ended with {found}: {output[-2000:]}"
        return output

    def _ours(self, text: str) -> str:
        for ours, theirs in self.words.items():
            text = text.replace(ours, theirs)
        return text

    def _stocktake(self, words: list[str]) -> tuple[int, str]:
        output = io.BytesIO()
        text = io.TextIOWrapper(output, write_through=True)
        with redirect_stdout(text), patch.dict(os.environ, self.environ):
            code = main(words)
        return code, output.getvalue().decode()
