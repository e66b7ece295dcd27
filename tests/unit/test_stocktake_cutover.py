"""What is looked at of a cutover belongs together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

import stocktake.cutover
from stocktake.cutover import OpenCutover, look_with_heads
from stocktake.settings import Settings


def test_the_heads_are_those_that_the_gate_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer moves the source's head while the gate is looked at: it is looked at again."""
    looks: list[int] = []
    source = 1

    class Chain:
        def __init__(self, connection: object, repository: str) -> None:
            self.repository = repository

        def head(self) -> dict[str, Any]:
            return {"repository": self.repository, "sequence": source if self.repository == "old" else 7}

    def look_at(settings: object, opened: object) -> int:
        nonlocal source
        looks.append(source)
        source = 2
        return looks[-1]

    monkeypatch.setattr(stocktake.cutover, "Chain", Chain)
    monkeypatch.setattr(stocktake.cutover, "look_at", look_at)
    sides = tuple(SimpleNamespace(connection=None, policy=SimpleNamespace(name=name)) for name in ("old", "new"))
    found, heads = look_with_heads(cast("Settings", None), cast("OpenCutover", SimpleNamespace(sides=sides)))
    assert looks == [1, 2]
    assert cast("int", found) == 2
    assert [head["sequence"] for head in heads if head] == [2, 7]
