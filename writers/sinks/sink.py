"""What a sink is: it takes one file at a time, and says clearly how that failed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from writers.manifest import Manifest


class SinkError(Exception):
    """A file was not delivered. The text names the receiver and says what to look at; no patient attribute is in it.

    Delivery is tried again later in any case; the classes tell what passes by itself from what somebody has to mend.
    """


class SinkUnreachable(SinkError):
    """The receiver does not answer, or not now."""


class SinkRefused(SinkError):
    """The receiver answers, and does not take the file: somebody has to change something."""


class NotWhole(SinkError):
    """The file is gone or is not what its manifest says, so it is not sent."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One file of a published inventory, checked to be whole: a part, or the inventory itself."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Its SOP Instance UID, for messages."""
        return self.manifest.sop_instance_uid

    @property
    def is_part(self) -> bool:
        return self.manifest.kind == "part"


class Sink(Protocol):
    """One receiver."""

    def deliver(self, parcel: Parcel) -> None:
        """Return once the receiver has confirmed that it has the file. To deliver one again does no harm.

        Raises:
            SinkUnreachable, SinkRefused: it was not delivered.
        """

    def close(self) -> None:
        """Free what is held open."""
