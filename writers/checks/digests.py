"""Digests of whole files, each read once: a manifest and any number of references may tell the same."""

from __future__ import annotations

import hashlib
from pathlib import Path


class Digests:
    """Remembers what it was asked for; for one run, in which files do not change."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, str], bytes] = {}

    def of(self, path: Path, algorithm: str) -> bytes:
        """The file's digest; ``algorithm`` by hashlib's name.

        Raises:
            OSError: the file cannot be read.
        """
        known = self._known.get((path, algorithm))
        if known is None:
            with path.open("rb") as file:
                known = self._known[path, algorithm] = hashlib.file_digest(file, algorithm).digest()
        return known
