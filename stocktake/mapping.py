"""A file of what a migration makes of something: CSV, the first column of the source, the second of the target."""

from __future__ import annotations

import csv
from pathlib import Path


def read_mapping(path: Path) -> dict[str, str]:
    """What each of the first column becomes. Lines that are empty or begin with ``#`` are passed over.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line has not two columns, or names again what another one does; the text says which line.
    """
    found: dict[str, str] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        for row in lines:
            if not row or row[0].startswith("#"):
                continue
            if len(row) != 2 or not row[0].strip() or not row[1].strip():
                raise ValueError(f"line {lines.line_num}: expected two columns, such as A123,B123")
            before, after = (value.strip() for value in row)
            if found.setdefault(before, after) != after:
                raise ValueError(f"line {lines.line_num}: its first column was mapped to something else before")
    return found
