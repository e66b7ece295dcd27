"""What Stocktake asks an archive for: one study, a page of its studies, whose study a reference is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

DicomJson: TypeAlias = "dict[str, Any]"  # a data set in the DICOM JSON Model (PS3.18 Annex F)


class ArchiveError(Exception):
    """Base of what can go wrong while an archive is asked; the text holds no value that it answered."""


class ArchiveBusy(ArchiveError):
    """It does not answer, or asks to come again: no connection, a time-out, 429, 5xx.

    ``retry_after`` is how many seconds it asked for, None if it did not say. ``everything``: whatever else it is asked
    would fare no better now (it is away, or asks for fewer requests), so the question is not to blame.
    """

    def __init__(self, text: str, retry_after: float | None = None, *, everything: bool = False) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        self.everything = everything


class ArchiveRefused(ArchiveError):
    """It will not answer this however often it is asked: another 4xx, or an answer that is none."""


@contextmanager
def odd_answers_refused() -> Iterator[None]:
    """What an archive answers in a shape that nobody foresaw is refused; its text may hold what was answered."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ArchiveRefused(f"the archive's answer led to a {type(error).__name__} of this program") from error


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study as the archive has it now.

    ``instances`` holds a data set for each, with what is known of its study, patient and series as well. ``study`` says
    the same of the study alone. ``updated`` is when it last changed (UTC microseconds), if the archive says so.
    ``names`` are the references by which the archive names it and what is in it (:mod:`state.debts`). ``others`` are
    SOP Instance UIDs that it lists too, and of which it does not say enough to be among ``instances``.
    """

    study_instance_uid: str
    study: DicomJson
    instances: Sequence[DicomJson]
    updated: int | None = None
    names: Sequence[str] = field(default_factory=tuple)
    others: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Page:
    """Studies that an archive lists, and the place where the next page begins; None after the last.

    A place has a meaning for its archive alone. Studies that are stored or deleted meanwhile must not shift others over
    it unseen: a number of studies to pass over is no place.
    """

    study_instance_uids: Sequence[str]
    following: str | None


class Archive(Protocol):
    """An archive. May be asked by several threads at once. All may raise :class:`ArchiveError`."""

    def study(self, study_instance_uid: str) -> FoundStudy | None:
        """A study with all its instances; None if the archive does not have it."""

    def study_of(self, reference: str) -> str | None:
        """The Study Instance UID of what the archive names so; None if it does not have it any more."""

    def page(self, begin: str, size: int) -> Page:
        """About ``size`` studies from a place on, "" for the first page. All that stay in the archive are listed."""

    def close(self) -> None:
        """Close the connections."""
