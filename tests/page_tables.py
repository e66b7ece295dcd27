"""Tables of a page that are made and not written: each stands between ``<!-- table: NAME -->`` and ``<!-- end -->``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


def fill(page: str, tables: Mapping[str, Sequence[str]]) -> str:
    """The page with the lines of each table in its place.

    Raises:
        KeyError: the page has a place for a table that is not among these.
        ValueError: it has none for one that is.
    """
    filled: set[str] = set()

    def put(match: re.Match[str]) -> str:
        filled.add(match[2])
        return f"{match[1]}\n\n" + "\n".join(tables[match[2]]) + f"\n\n{match[3]}"

    found = re.sub(r"(<!-- table: (\w+) -->).*?(<!-- end -->)", put, page, flags=re.DOTALL)
    if left := sorted(tables.keys() - filled):
        raise ValueError(f"the page has no place for {left}")
    return found
