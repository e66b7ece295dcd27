"""Errors planted on purpose: guards of the program taken away, to see that the model notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest

import state.connection
from consumers.apply import Applier
from state.chain import Cuts
from state.connection import Meanwhile, Script
from state.patients import Patients


@dataclass(frozen=True)
class Planting:
    """How a guard is taken away, the seed of the examples, and the rules that the error does not need.

    Both are chosen so that it is met soon; with others it is met later.
    """

    plant: Callable[[pytest.MonkeyPatch], None]
    seed: int
    needless: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.plant.__name__


_REV_GUARD: Final = 'if (call("HGET", KEYS[k], "rev") or "") ~= rev then'
_OFFSET_GUARD: Final = "if found ~= expected then"
_OF_WRITERS: Final = frozenset({"produce", "produce_while_shards_fall", "writer_dies_at_the_folder"})
_OF_SERVERS: Final = frozenset({"remember", "lose", "replay"})


def without_the_rev_guard(patch: pytest.MonkeyPatch) -> None:
    """A study is written although another writer has changed it since it was read."""
    _change_apply(patch, _REV_GUARD)


def without_the_offset_guard(patch: pytest.MonkeyPatch) -> None:
    """A batch is written although its shard is not where the consumer left it."""
    _change_apply(patch, _OFFSET_GUARD)


def without_the_generation_check(patch: pytest.MonkeyPatch) -> None:
    """A slice is published although a shard has lost writes from before the cut."""
    patch.setattr(Cuts, "lost", lambda cuts, n: [])


def with_the_news_before_the_index(patch: pytest.MonkeyPatch) -> None:
    """A study enters its patient's index only when the patient's news has been read."""
    lay_news, enter = Patients.lay_news, Patients.enter

    def reversed_order(patients: Patients, *given: Any) -> None:
        entered: list[tuple[Any, ...]] = []
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Patients, "enter", lambda _, *late: entered.append(late))
            lay_news(patients, *given)
        for late in entered:
            enter(patients, *late)

    patch.setattr(Patients, "lay_news", reversed_order)


def without_a_look_at_what_became_of_a_write(patch: pytest.MonkeyPatch) -> None:
    """A consumer goes on to the next batch as if the one before were written."""

    def forget(applier: Applier, meanwhile: Meanwhile) -> None:
        applier._begun = None

    patch.setattr(Applier, "_finish", forget)


PLANTED: Final[tuple[Planting, ...]] = (
    Planting(without_the_rev_guard, 1),
    Planting(without_the_offset_guard, 5),
    Planting(without_the_generation_check, 1),
    Planting(with_the_news_before_the_index, 6, _OF_WRITERS | _OF_SERVERS),
    Planting(without_a_look_at_what_became_of_a_write, 1, _OF_WRITERS | _OF_SERVERS),
)


@contextmanager
def planted(planting: Planting) -> Iterator[None]:
    """For connections that are opened meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        planting.plant(patch)
        yield


def _change_apply(patch: pytest.MonkeyPatch, guard: str) -> None:
    scripts = state.connection._load_scripts()
    text = scripts["apply"].text
    assert text.count(guard) == 1, "the guard reads otherwise now"
    changed = scripts | {"apply": Script("apply", text.replace(guard, "if false then"))}
    patch.setattr(state.connection, "_load_scripts", lambda: changed)
