"""An archive that is asked by DICOMweb: QIDO-RS and WADO-RS metadata (PS3.18 10.6 and 10.4).

What a study costs:

- two requests where all goes well: ``/studies?StudyInstanceUID=`` (what the archive says of the study, how many
  instances it counts, when it changed it) and then ``/studies/{uid}/metadata`` (every instance). In that order the
  instances are at least as new as the time that is told for them. A study that is gone takes the same two: it counts
  as gone only if both say so, as an index may lag behind;
- where the metadata are refused or hold fewer instances than the study counts, and for those that lack a SOP Class:
  ``/studies/{uid}/series``, then if there are none at all ``/studies/{uid}/series/{uid}/metadata`` of each; and where
  that is not enough ``/studies/{uid}/instances``, in pages of 200, with one empty page after the last. What
  either way lists is taken to be there. QIDO-RS need not say all that an inventory can hold of an instance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Any, Final

from consumers.archives.archive import ArchiveBusy, ArchiveRefused, DicomJson, FoundStudy, Page
from consumers.archives.client import ArchiveClient
from consumers.archives.elements import (
    first_of,
    kept,
    kept_instance,
    number_of,
    of_instance,
    of_series_alone,
    of_study,
    of_study_alone,
    uid_of,
)
from consumers.archives.listing import Listing
from consumers.archives.qido import DICOM_JSON, Rows, Search
from consumers.messages import uid_element
from state.attributes import (
    NUMBER_OF_STUDY_RELATED_INSTANCES,
    NUMBER_OF_STUDY_RELATED_SERIES,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
)
from state.times import parse_time
from state.vr import is_uid

_DCM4CHEE: Final = "DCM4CHEE Archive 5"  # private creator of (7777,xx21) Study Update Date Time, in QIDO-RS only
_TIMEZONE_OFFSET: Final = "00080201"
_OFFSET: Final = re.compile(r"([+-])(\d\d)(\d\d)", re.ASCII)


class DicomwebArchive:
    """A :class:`consumers.archives.archive.Archive`. ``zone`` is that of the archive's times without offset."""

    def __init__(self, client: ArchiveClient, zone: tzinfo = UTC) -> None:
        self._client = client
        self._zone = zone
        self._search = Search(client)
        self._listing = Listing(self._search)

    def study(self, study_instance_uid: str) -> FoundStudy | None:
        """A study with all its instances; None if the archive does not have it.

        Instances that it gives for another study are left out, and those without SOP Class, Series or SOP Instance UID.
        ``updated`` is told by dcm4chee alone.

        Raises:
            ArchiveBusy: also if it counts instances and gives none: it is about to remove or to store them.
            ArchiveRefused: also if neither way of asking is answered.
        """
        if not is_uid(study_instance_uid):
            raise ArchiveRefused(f"{self._client.where}: what it was to be asked for is no Study Instance UID")
        row, refused = self._row(study_instance_uid)
        instances, refused_too = self._metadata(study_instance_uid)
        if row is None and not instances:
            refusal = refused or refused_too
            if refusal is not None:
                raise refusal
            return None
        count = None if row is None else number_of(row, NUMBER_OF_STUDY_RELATED_INSTANCES)
        if row is not None and (not instances or len(_whole(instances)) < max(count or 0, len(instances))):
            instances = self._with_listed(study_instance_uid, row, instances, count)
            if not instances and count != 0:
                raise ArchiveBusy(f"{self._client.where}: lists a study and gives none of its instances")
        whole = _whole(instances)
        return FoundStudy(
            study_instance_uid,
            _study(study_instance_uid, row or {}, whole),
            list(whole.values()),
            None if row is None else updated(row, self._zone),
            others=sorted(instances.keys() - whole.keys()),
        )

    def study_of(self, reference: str) -> str | None:
        """DICOMweb knows nothing but UIDs: always ArchiveRefused."""
        kind = reference.partition(":")[0]
        raise ArchiveRefused(
            f"{self._client.where}: DICOMweb cannot say whose study an id of the archive's own is ({kind}:...); use a "
            "kind of archive that can, see archives.<repository>.kind"
        )

    def page(self, begin: str, size: int) -> Page:
        """Studies from a place on, by Study Date; see :mod:`consumers.archives.listing` for what that promises.

        Raises:
            ArchiveRefused: also if the server ignores where a page is to begin, or the place is none of this archive's.
        """
        uids, following = self._listing.page(begin, size)
        return Page(uids, following)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # --- the ways of asking ------------------------------------------------------------------------------------

    def _row(self, study_instance_uid: str) -> tuple[DicomJson | None, ArchiveRefused | None]:
        """What QIDO-RS says of the study, if it lists it; and why not, if it refuses."""
        params = {"StudyInstanceUID": study_instance_uid, "includefield": "all"}
        try:
            return self._search.studies(params).rows.get(study_instance_uid), None
        except ArchiveRefused as error:
            return None, error

    def _metadata(self, study_instance_uid: str) -> tuple[Rows, ArchiveRefused | None]:
        """The instances that WADO-RS gives, by SOP Instance UID; and why not, if it refuses."""
        return self._metadata_of(study_instance_uid, f"studies/{study_instance_uid}")

    def _metadata_of(self, study_instance_uid: str, path: str) -> tuple[Rows, ArchiveRefused | None]:
        """The same for the study, or one series of it."""
        try:
            answer = self._client.get(f"{path}/metadata", accept=DICOM_JSON)
        except ArchiveRefused as error:
            return {}, error
        instances: Rows = {}
        for dataset in answer if isinstance(answer, list) else ():
            found = _instance(study_instance_uid, dataset)
            if found is not None:
                instances.setdefault(*found)
        return instances, None

    def _with_listed(self, study_instance_uid: str, row: Mapping[str, Any], instances: Rows, count: int | None) -> Rows:
        """The same with what QIDO-RS lists: instances that are not there, and elements that those there lack."""
        path = f"studies/{study_instance_uid}"
        series = self._search.everything(
            f"{path}/series", SERIES_INSTANCE_UID, number_of(row, NUMBER_OF_STUDY_RELATED_SERIES)
        )
        of_row = kept(row, of_study_alone())
        of_series = {uid: kept(found, of_series_alone()) for uid, found in series.items()}
        together = dict(instances)
        for uid in series if not instances else ():  # some give metadata of a series alone (HealthImaging)
            found, _ = self._metadata_of(study_instance_uid, f"{path}/series/{uid}")
            if not found:
                break
            together |= found
        if together and len(_whole(together)) >= max(count or 0, len(together)):
            return together
        for dataset in self._search.everything(f"{path}/instances", SOP_INSTANCE_UID, count).values():
            one = _instance(study_instance_uid, dataset)
            if one is not None:
                sop_instance_uid, listed = one
                above = of_row | of_series.get(listed[SERIES_INSTANCE_UID]["Value"][0], {})
                together[sop_instance_uid] = above | listed | together.get(sop_instance_uid, {})
        return together


def updated(row: Mapping[str, Any], zone: tzinfo = UTC) -> int | None:
    """When the archive last changed a study (UTC microseconds), if its row of QIDO-RS says so: dcm4chee's does.

    dcm4chee writes the time in its own zone with the offset; before 5.23 in that of Timezone Offset From UTC
    (0008,0201), where the study has one, and without an offset (its issue 3049). Else ``zone`` is taken.
    """
    for block in range(0x10, 0x100):
        if first_of(row, f"777700{block:02X}") == _DCM4CHEE:
            text = first_of(row, f"7777{block:02X}21")
            if not isinstance(text, str):
                return None
            try:
                return parse_time(text, _offset(row) or zone)
            except ValueError:
                return None
    return None


def _offset(row: Mapping[str, Any]) -> tzinfo | None:
    text = first_of(row, _TIMEZONE_OFFSET)
    match = _OFFSET.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes)) if minutes < 24 * 60 else None


def _instance(study_instance_uid: str, dataset: Any) -> tuple[str, DicomJson] | None:
    """The SOP Instance UID of a data set and what is kept of it; None if it is no instance of the study."""
    if not isinstance(dataset, dict):
        return None
    series = uid_of(dataset, SERIES_INSTANCE_UID)
    instance = uid_of(dataset, SOP_INSTANCE_UID)
    if series is None or instance is None or uid_of(dataset, STUDY_INSTANCE_UID) not in (None, study_instance_uid):
        return None
    uids = {
        STUDY_INSTANCE_UID: uid_element(study_instance_uid),
        SERIES_INSTANCE_UID: uid_element(series),
        SOP_INSTANCE_UID: uid_element(instance),
    }
    return instance, uids | kept_instance(dataset)


def _whole(instances: Rows) -> Rows:
    """Those of which the SOP Class is known: no other is an event, and no inventory can hold it."""
    return {uid: dataset for uid, dataset in instances.items() if uid_of(dataset, SOP_CLASS_UID) is not None}


def _study(study_instance_uid: str, row: Mapping[str, Any], instances: Rows) -> DicomJson:
    """What is said of the study: by its own row, else by the first of its instances that says it."""
    found = kept(row, of_study())
    wanted = of_study_alone().keys() & of_instance().keys()
    for dataset in instances.values():
        for tag in wanted & dataset.keys() - found.keys():
            found[tag] = dataset[tag]
    return {STUDY_INSTANCE_UID: uid_element(study_instance_uid)} | found
