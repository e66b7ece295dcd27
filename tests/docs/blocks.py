"""The blocks of commands of every page that people are given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
BASH: Final = "/bin/bash"


@dataclass(frozen=True)
class Block:
    """A block of shell of a page; ``line`` is where it begins."""

    page: str
    line: int
    text: str

    @property
    def commands(self) -> list[str]:
        """Its commands, each in one line."""
        joined = self.text.replace("\\\n", " ")
        return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text.splitlines()[0]}"


def pages() -> list[str]:
    """Every page, by its path from the root of the tree; decisions show no commands."""
    found = [ROOT / "README.md", *(ROOT / "helm").glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    names = (path.relative_to(ROOT).as_posix() for path in found)
    return sorted(name for name in names if not name.startswith("docs/decisions/"))


def blocks(page: str, language: str = "sh") -> list[Block]:
    """The page's blocks of a language, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return list(_blocks(page, text, language))


def _blocks(page: str, text: str, language: str) -> Iterator[Block]:
    for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(page, text.count("\n", 0, found.start()) + 2, found[1])
