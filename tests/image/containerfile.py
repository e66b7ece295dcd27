"""Containerfile read as its instructions, so that tests can hold it to the rest of the tree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined; ``stage`` counts from 1, 0 is what stands before the first FROM."""

    stage: int
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments: those of the JSON form, else what blanks separate."""
        return json.loads(self.text) if self.text.startswith("[") else self.text.split()


def instructions(path: Path) -> list[Instruction]:
    """The instructions in their order; comments are left out."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    return list(_instructions("\n".join(lines).replace("\\\n", " ").splitlines()))


def _instructions(lines: list[str]) -> Iterator[Instruction]:
    stage = 0
    for line in lines:
        if not line.strip():
            continue
        name, _, text = line.partition(" ")
        stage += name == "FROM"
        yield Instruction(stage, name, re.sub(r"\s+", " ", text.strip()))


def pins(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """The packages of a file for pip: version and the hashes that it may have, by name."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for name, version, hashes in re.findall(
        r"^([\w.-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", path.read_text(encoding="utf-8"), re.M
    ):
        found[name] = (version, frozenset(re.findall(r"sha256:([0-9a-f]{64})", hashes)))
    return found
