"""Orthanc as an archive: its own REST API, which says more than its DICOMweb plug-in and reads fewer files.

A study costs five requests, one more for each further thousand of instances, one for each of its first ``_SAMPLES``
series, and one for each Key Object Selection. The whole header of one instance tells attributes of study and series
that Orthanc's database does not keep. Where both have a value, the database's counts: it is what Orthanc lists.
Attributes of single instances are those of the database, but for a series of one instance and for Key Object
Selections, whose headers were read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Any, Final

from consumers.archives.archive import ArchiveRefused, DicomJson, FoundStudy, Page
from consumers.archives.client import ArchiveClient
from consumers.archives.elements import of_key_object
from consumers.archives.orthanc_resources import (
    ListedStudy,
    OrthancInstance,
    OrthancResources,
    elements,
    study_elements,
    uid_of,
)
from consumers.formats.rejection import KEY_OBJECT_SELECTION
from state.attributes import SERIES_INSTANCE_UID, STUDY_INSTANCE_UID, Attribute, Level, recordable
from state.vr import is_uid

PREFIX: Final = "orthanc:"  # of references
_SAMPLES: Final = 50  # series of a study of which a header is read
_KEY_OBJECTS: Final = 200  # Key Object Selections of a study that are read


class OrthancArchive:
    """Asks one Orthanc; see :class:`consumers.archives.archive.Archive`."""

    def __init__(self, client: ArchiveClient) -> None:
        self._client = client
        self._resources = OrthancResources(client)
        self._listing = Lock()
        self._ids: list[str] = []  # of studies, those of the pages being read

    def study(self, study_instance_uid: str) -> FoundStudy | None:
        """The study, all that Orthanc has under that UID united; see :meth:`OrthancResources.listed`."""
        listed = self._resources.listed(study_instance_uid)
        if listed is None:
            return None
        usable = [one for one in listed.instances if one.usable]
        headers = self._headers(usable)
        key_objects = self._key_objects(usable)
        of_study = _first_of(headers.values(), _above_instances(Level.STUDY)) | study_elements(listed.newest)
        datasets = []
        for one in usable:
            header = headers.get(_series_of(one), {})
            dataset = of_study | elements(header, _above_instances(Level.SERIES)) | one.dataset
            if one.id in key_objects:
                dataset = elements(key_objects[one.id], of_key_object()) | dataset
            elif _is_alone(one, listed):
                dataset = elements(header, recordable(Level.INSTANCE)) | dataset
            datasets.append(dataset)
        others = [one.sop_instance_uid for one in listed.instances if not one.usable and one.sop_instance_uid]
        return FoundStudy(study_instance_uid, of_study, datasets, listed.updated, _names(listed), others)

    def study_of(self, reference: str) -> str | None:
        """The study of ``orthanc:<id>``: an instance, series or study; None for a patient, or what is gone."""
        wanted = reference.removeprefix(PREFIX)
        for _ in Level:  # no resource lies deeper
            found = self._resources.bulk([wanted])
            if not found:
                return None
            [resource] = found
            if resource["Type"] == "Study":
                uid = uid_of(resource, STUDY_INSTANCE_UID)
                return uid if is_uid(uid) else None
            wanted = resource.get("ParentSeries") or resource.get("ParentStudy") or ""
            if not wanted:
                return None
        return None

    def page(self, begin: str, size: int) -> Page:
        """Studies in the order of Orthanc's ids; a place is one of them.

        The ids of all studies (40 bytes each) are listed at the first page, or at the first that this object is asked
        for, and kept until the last.
        """
        with self._listing:
            if not begin or not self._ids:
                listed = self._client.get("studies")
                if not isinstance(listed, list):
                    raise ArchiveRefused("the answer to studies is none of Orthanc's")
                self._ids = sorted(map(str, listed))
            first = bisect_right(self._ids, begin)
            wanted = self._ids[first : first + size]
            last = first + size >= len(self._ids)
            if last:
                self._ids = []
        uids = dict.fromkeys(uid_of(one, STUDY_INSTANCE_UID) for one in self._resources.bulk(wanted))
        return Page([uid for uid in uids if is_uid(uid)], None if last else wanted[-1])

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _headers(self, instances: Sequence[OrthancInstance]) -> dict[tuple[str, str], Mapping[str, Any]]:
        """The header of one instance of each series, by series."""
        samples: dict[tuple[str, str], str] = {}
        for one in instances:
            if len(samples) < _SAMPLES or _series_of(one) in samples:
                samples.setdefault(_series_of(one), one.id)
        return {series: self._resources.tags(sample) for series, sample in samples.items()}

    def _key_objects(self, instances: Sequence[OrthancInstance]) -> dict[str, Mapping[str, Any]]:
        """The headers of Key Object Selections, which may be rejection notes, by Orthanc's id."""
        found = [one.id for one in instances if one.sop_class_uid == KEY_OBJECT_SELECTION]
        return {one: self._resources.tags(one) for one in found[:_KEY_OBJECTS]}


def _series_of(instance: OrthancInstance) -> tuple[str, str]:
    return instance.study_id, instance.series_instance_uid


def _is_alone(instance: OrthancInstance, listed: ListedStudy) -> bool:
    """Whether its series has no other instance, so that the header that was read is its own."""
    return any(
        series["Instances"] == [instance.id]
        for series in listed.series
        if uid_of(series, SERIES_INSTANCE_UID) == instance.series_instance_uid
    )


def _above_instances(level: Level) -> dict[str, Attribute]:
    """The attributes of that level that an instance cannot have as its own."""
    own = recordable(Level.INSTANCE)
    below = own if level is Level.SERIES else own | recordable(Level.SERIES)
    return {tag: row for tag, row in recordable(level).items() if tag not in below}


def _first_of(headers: Iterable[Mapping[str, Any]], allowed: Mapping[str, Attribute]) -> DicomJson:
    """What the first header that has it says of each attribute."""
    found: DicomJson = {}
    for header in headers:
        found = elements(header, allowed) | found
    return found


def _names(listed: ListedStudy) -> list[str]:
    ids = [one["ID"] for one in (*listed.studies, *listed.series)] + [one.id for one in listed.instances]
    return [PREFIX + one for one in ids]
