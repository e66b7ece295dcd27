"""deploy/compose.yaml as the tests read it, and its services as processes of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
FILE: Final = ROOT / "deploy" / "compose.yaml"


@dataclass(frozen=True)
class Service:
    """One service: what stands in the file, its merges done."""

    name: str
    given: Mapping[str, Any]

    @property
    def ours(self) -> bool:
        """Whether it runs our image."""
        return str(self.given["image"]).startswith("stocktake:")

    @property
    def environ(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.given.get("environment", {}).items()}

    @property
    def command(self) -> list[str]:
        """What is run, with the image's entrypoint where it is ours."""
        given = [str(word).replace("$$", "$") for word in self.given.get("command", [])]
        return ["stocktake", *given] if self.ours else given

    @property
    def probe(self) -> list[str]:
        """The command of its health check; empty if it has none."""
        kind, *words = self.given.get("healthcheck", {}).get("test", ["NONE"])
        words = [str(word).replace("$$", "$") for word in words]
        return ["sh", "-c", *words] if kind == "CMD-SHELL" else words


def services() -> dict[str, Service]:
    """The services of the file, by name."""
    return {name: Service(name, given) for name, given in document()["services"].items()}


def document() -> dict[str, Any]:
    """The file as YAML has it."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def kafka_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The broker's settings, which its image makes of KAFKA_* variables: `_` is a dot."""
    return {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in environ.items()
        if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"
    }


def moved(words: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """Words with the places of containers put to those of this machine, the longest first."""
    order = sorted(places, key=len, reverse=True)
    return [re.sub("|".join(map(re.escape, order)), lambda found: places[found[0]], word) for word in words]
