"""The version of the form in which the state is kept, and what a program does with a state of another one.

While a migration is under way the state's schema is ``<from>><to>``, which no program works on but `stocktake migrate`.
How versions follow each other is in docs/decisions/0020-state-versions.md; :mod:`state.migrations` has the ways.
"""

from __future__ import annotations

from typing import Final

from state.errors import StateMismatch

SCHEMA: Final = "2"
UNDER_WAY: Final = ">"


def check(repository: str, found: str) -> None:
    """Refuse a state of another version.

    Raises:
        StateMismatch: the text says what has to be done.
    """
    if found == SCHEMA:
        return
    if UNDER_WAY in found:
        before, _, after = found.partition(UNDER_WAY)
        raise StateMismatch(
            f"repository {repository}: the state is on its way from schema {before} to {after}; run `stocktake "
            "migrate` of the program that began it, which goes on where it was"
        )
    if is_newer(found):
        raise StateMismatch(
            f"repository {repository}: the state has schema {found}, which a newer Stocktake made; this program works "
            f"on schema {SCHEMA}: run one that works on {found}"
        )
    raise StateMismatch(
        f"repository {repository}: the state has schema {found}, this program works on {SCHEMA}; end every program "
        "that works on this repository, then run `stocktake migrate`"
    )


def is_newer(found: str) -> bool:
    """Whether a schema is none that this program has ever heard of."""
    return not found.isdecimal() or int(found) > int(SCHEMA)
