"""The journal of deletions that Stocktake's plug-in keeps in Orthanc (consumers/bridges/plugin)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from consumers.archives.archive import ArchiveRefused
from consumers.archives.client import ArchiveClient
from state.times import parse_time

_PATH: Final = "stocktake/deletions"


@dataclass(frozen=True, slots=True)
class Deletion:
    """An instance that Orthanc deleted; ``time`` in UTC microseconds. Its UIDs are empty if the plug-in had none."""

    seq: int
    time: int
    id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str

    @property
    def uids(self) -> tuple[str, str, str]:
        """Of study, series and instance."""
        return self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid


@dataclass(frozen=True, slots=True)
class JournalPage:
    """Some deletions, and how the journal stands.

    ``last``: the last Seq of the page, or of all if it is empty. ``trimmed``: up to there deletions may be dropped.
    ``mapped``: the Seq of changes up to which deletions can be told. ``until``: all deletions up to then (UTC
    microseconds of Orthanc's clock) are in the journal. ``database`` and ``journal`` name Orthanc's database and this
    journal.
    """

    deletions: Sequence[Deletion]
    done: bool
    ready: bool
    last: int
    trimmed: int
    mapped: int
    until: int
    database: str
    journal: str


class OrthancJournal:
    """Reads the journal of one Orthanc."""

    def __init__(self, client: ArchiveClient) -> None:
        self._client = client

    def page(self, since: int, limit: int) -> JournalPage:
        """Deletions after that Seq.

        Raises:
            ArchiveRefused: Orthanc has no such plug-in, or another one.
            ArchiveBusy: see :mod:`consumers.archives.archive`.
        """
        answer = self._client.get(_PATH, {"since": since, "limit": limit})
        if answer is None:
            raise ArchiveRefused(
                f"Orthanc has no {_PATH}, so that what is deleted there would not be seen: let its Python plug-in run "
                "stocktake_orthanc.py (docs/archives.md), or tell the bridge to do without deletions"
            )
        try:
            return _page(answer)
        except (KeyError, TypeError, ValueError) as error:
            raise ArchiveRefused(
                f"the answer to {_PATH} is none of this version's plug-in: {type(error).__name__}"
            ) from None


def _page(answer: Any) -> JournalPage:
    deletions = [
        Deletion(
            row["Seq"],
            parse_time(row["Time"]),
            row["ID"],
            row["StudyInstanceUID"],
            row["SeriesInstanceUID"],
            row["SOPInstanceUID"],
        )
        for row in answer["Deletions"]
    ]
    return JournalPage(
        deletions,
        done=answer["Done"],
        ready=answer["Ready"],
        last=answer["Last"],
        trimmed=answer["Trimmed"],
        mapped=answer["Changes"],
        until=parse_time(answer["Until"]),
        database=answer["Database"],
        journal=answer["Journal"],
    )
