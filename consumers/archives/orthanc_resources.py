"""What Orthanc says of its resources, read with few requests and put into the DICOM JSON Model.

Orthanc keeps some tags of each level in its database ("main tags") and answers for a thousand resources at once from
there, without reading a file. It calls a resource by a hash of the identifiers down to its level, the Patient ID among
them: one Study Instance UID under two Patient IDs is two studies of Orthanc's, with instances of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from consumers.archives.archive import ArchiveBusy, ArchiveRefused, DicomJson
from consumers.archives.client import ArchiveClient
from consumers.messages import uid_element
from state.attributes import (
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Attribute,
    Level,
    recordable,
)
from state.times import parse_time
from state.vr import is_uid

Resource: TypeAlias = "dict[str, Any]"

AT_ONCE: Final = 1000  # resources in one answer: about half a megabyte of instances
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_ONE_TEXT: Final = frozenset({"LT", "ST", "UT", "UR"})  # a backslash in these is no separator (PS3.5 6.2)


@dataclass(frozen=True, slots=True)
class OrthancInstance:
    """An instance that Orthanc lists. ``study_id`` and ``id`` are Orthanc's own; ``dataset`` has all levels."""

    id: str
    study_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    dataset: DicomJson

    @property
    def usable(self) -> bool:
        """Whether it can stand in an inventory: its UIDs are such, and its SOP Class is known."""
        uids = (self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid)
        return all(map(is_uid, (*uids, self.sop_class_uid)))

    @property
    def sop_class_uid(self) -> str:
        """Empty if it is not known."""
        return str(self.dataset.get(SOP_CLASS_UID, {}).get("Value", [""])[0])


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """All that Orthanc lists under one Study Instance UID; ``newest`` is the study that changed last, of the others."""

    studies: Sequence[Resource]
    series: Sequence[Resource]
    instances: Sequence[OrthancInstance]
    newest: Resource
    updated: int | None


class OrthancResources:
    """Asks for resources. For several threads, as far as ``client`` is."""

    def __init__(self, client: ArchiveClient) -> None:
        self._client = client

    def bulk(self, ids: Iterable[str]) -> list[Resource]:
        """Those of the resources that exist, of any level: one request for each thousand."""
        wanted = list(ids)
        found: list[Resource] = []
        for begin in range(0, len(wanted), AT_ONCE):
            body = {"Resources": wanted[begin : begin + AT_ONCE], "Metadata": True, "Short": True}
            found += resources_of(self._client.post("tools/bulk-content", body), "tools/bulk-content")
        return found

    def instances(self, ids: Iterable[str]) -> list[OrthancInstance]:
        """Those of the instances that exist, in the order asked for: about three requests for a thousand."""
        order = list(ids)
        found = {one["ID"]: one for one in self.bulk(order)}
        series = {one["ID"]: one for one in self.bulk(dict.fromkeys(one["ParentSeries"] for one in found.values()))}
        studies = {one["ID"]: one for one in self.bulk(dict.fromkeys(one["ParentStudy"] for one in series.values()))}
        return self._assembled((found[one] for one in order if one in found), series, studies, lambda study: study)

    def ids_of(self, study_instance_uid: str) -> list[str]:
        """Orthanc's studies of that UID: one, or several under different patients."""
        found = resources_of(self._client.post("tools/lookup", study_instance_uid), "tools/lookup")
        return sorted(one["ID"] for one in found if one.get("Type") == "Study")

    def listed(self, study_instance_uid: str) -> ListedStudy | None:
        """A study as Orthanc lists it now, all its instances with the attributes of its newest study.

        Five requests, and one more for each further thousand of instances or of series.

        Raises:
            ArchiveBusy: it changed while it was read, as while a patient is renamed; ask again.
        """
        ids = self.ids_of(study_instance_uid)
        if not ids:
            return None
        studies = {one["ID"]: one for one in self.bulk(ids)}
        series_ids = [one for study in studies.values() for one in study["Series"]]
        series = {one["ID"]: one for one in self.bulk(series_ids)}
        instance_ids = [one for parent in series.values() for one in parent["Instances"]]
        found = self.bulk(instance_ids)
        whole = (len(studies), len(series), len(found)) == (len(ids), len(series_ids), len(instance_ids))
        if not (whole and studies and self.ids_of(study_instance_uid) == ids):
            raise ArchiveBusy("Orthanc changed a study while it was read", 1.0)
        newest = max(studies.values(), key=lambda study: (study.get("LastUpdate", ""), study["ID"]))
        instances = self._assembled(found, series, studies, lambda study: newest)
        updates = [time for study in studies.values() if (time := orthanc_time(study.get("LastUpdate"))) is not None]
        return ListedStudy(
            tuple(studies.values()), tuple(series.values()), instances, newest, max(updates, default=None)
        )

    def tags(self, instance_id: str) -> Mapping[str, Any]:
        """The whole header of an instance, in Orthanc's short form; empty if it is gone. Orthanc reads its file."""
        found = self._client.get(f"instances/{instance_id}/tags", {"short": ""})
        return found if isinstance(found, dict) else {}

    def _assembled(
        self,
        found: Iterable[Resource],
        series: Mapping[str, Resource],
        studies: Mapping[str, Resource],
        speaking: Callable[[Resource], Resource],
    ) -> list[OrthancInstance]:
        """Instances with all their levels; ``speaking`` is the study whose attributes they have."""
        above: dict[str, DicomJson] = {}  # by series: it is the same of all its instances
        assembled = []
        for one in found:
            parent = series.get(one["ParentSeries"])
            study = studies.get(parent["ParentStudy"]) if parent is not None else None
            if parent is None or study is None:
                continue  # deleted between two requests
            if parent["ID"] not in above:
                above[parent["ID"]] = study_elements(speaking(study)) | series_elements(parent)
            own = elements(one["MainDicomTags"], recordable(Level.INSTANCE))
            if sop_class := self._sop_class(one):
                own[SOP_CLASS_UID] = uid_element(sop_class)
            uids = (
                uid_of(study, STUDY_INSTANCE_UID),
                uid_of(parent, SERIES_INSTANCE_UID),
                uid_of(one, SOP_INSTANCE_UID),
            )
            identity = dict(zip(_UIDS, map(uid_element, uids), strict=True))
            assembled.append(OrthancInstance(one["ID"], study["ID"], *uids, above[parent["ID"]] | own | identity))
        return assembled

    def _sop_class(self, instance: Resource) -> str:
        """Orthanc keeps it beside the main tags; of what very old versions stored it has to read the file."""
        kept = instance.get("Metadata", {}).get("SopClassUid")
        return str(kept or self.tags(instance["ID"]).get(_short(SOP_CLASS_UID)) or "")


_UIDS: Final = (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)


def study_elements(study: Resource) -> DicomJson:
    """The elements of a study and its patient."""
    tags = {**study.get("PatientMainDicomTags", {}), **study["MainDicomTags"]}
    uid = {STUDY_INSTANCE_UID: uid_element(uid_of(study, STUDY_INSTANCE_UID))}
    return elements(tags, recordable(Level.STUDY)) | uid


def series_elements(series: Resource) -> DicomJson:
    """The elements of a series, without those of its study."""
    return elements(series["MainDicomTags"], recordable(Level.SERIES))


def elements(tags: Mapping[str, Any], allowed: Mapping[str, Attribute]) -> DicomJson:
    """Tags in Orthanc's short form (``"0010,0010": "Doe^Jane"``) as elements, those that ``allowed`` names.

    What Orthanc does not tell (null: too long, or binary) is left out.
    """
    found: DicomJson = {}
    for name, value in tags.items():
        attribute = allowed.get(name.replace(",", "").upper())
        if attribute is None or (attribute.vr == "SQ") != isinstance(value, list):
            continue
        if isinstance(value, list):
            items = [elements(item, attribute.children) for item in value if isinstance(item, dict)]
            found[attribute.tag] = {"vr": "SQ", "Value": items}
        elif isinstance(value, str):
            found[attribute.tag] = _element(value, attribute)
    return found


def _element(text: str, attribute: Attribute) -> DicomJson:
    if not text:
        return {"vr": attribute.vr}
    texts = [text] if attribute.vr in _ONE_TEXT else text.split("\\")
    values: list[Any] = [_name(one) for one in texts] if attribute.vr == "PN" else list(texts)
    return {"vr": attribute.vr, "Value": values}


def _name(text: str) -> dict[str, str]:
    return {group: part for group, part in zip(_GROUPS, text.split("="), strict=False) if part}


def uid_of(resource: Resource, tag: str) -> str:
    """A UID among the main tags of a resource; empty if it has none."""
    return str(resource["MainDicomTags"].get(_short(tag), ""))


def _short(tag: str) -> str:
    return f"{tag[:4]},{tag[4:]}".lower()


def orthanc_time(text: object) -> int | None:
    """UTC microseconds of a time as Orthanc writes it (``20260131T235959``, UTC, whole seconds); None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        return parse_time(text.replace("T", "", 1))
    except ValueError:
        return None


def resources_of(answer: Any, path: str) -> list[Resource]:
    """An answer that is to be a list of objects.

    Raises:
        ArchiveRefused: it is none; the server is no Orthanc, or one before 1.9.
    """
    if not isinstance(answer, list) or not all(isinstance(one, dict) for one in answer):
        raise ArchiveRefused(f"the answer to {path} is none of Orthanc's (version 1.9.4 or later is needed)")
    return answer
