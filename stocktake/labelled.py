"""Labelled lines for people, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import Final

_WIDTH: Final = 80
_LABEL: Final = 13  # columns


def labelled(label: str, text: str) -> Iterator[str]:
    """A label and its text, which goes on below itself where it is long; a name is never broken."""
    lines = wrap(text, _WIDTH - _LABEL, break_long_words=False, break_on_hyphens=False) or [""]
    for number, line in enumerate(lines):
        yield f"{'' if number else label:<{_LABEL}}{line}".rstrip()
