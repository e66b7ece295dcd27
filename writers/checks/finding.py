"""What a check has to say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """``ERROR`` breaks the standard or the chain; ``WARNING`` is allowed and yet likely a mistake."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault in one place of one file.

    ``rule`` is a stable identifier, ``section`` the part of the standard, or of Stocktake's own contract,
    that it comes from. ``location`` names UIDs, tags and Item numbers. Neither it nor ``text`` holds a
    patient attribute.
    """

    rule: str
    section: str
    severity: Severity
    file: str
    location: str
    text: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding before its file is known; ``location`` is within the data set that was checked."""

    rule: str
    section: str
    location: str
    text: str
    severity: Severity = Severity.ERROR

    def at(self, file: str, around: str = "") -> Finding:
        """The finding in a file, with what is around the data set put before its location."""
        location = " ".join(part for part in (around, self.location) if part)
        return Finding(self.rule, self.section, self.severity, file, location, self.text)
