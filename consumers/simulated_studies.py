"""Simulated patients and studies, and their datasets in the DICOM JSON Model (PS3.18 Annex F).

An instance is not kept: its UID and attributes follow from its series and number, so that a study of thousands of
instances takes no more memory than one of a few.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any, Final

from consumers.simulated_values import (
    DOSE_REPORT_SOP_CLASS_UID,
    ISSUERS,
    MULTI_FRAME_SOP_CLASS_UIDS,
    NAMES,
    REFERRING,
    TECHNIQUES,
    Technique,
)
from state.times import to_datetime

Dataset = dict[str, Any]

_VENDOR_ROOT: Final = "1.3.6.1.4.1.99999"  # not registered to anyone
_SECOND_CLASS: Final = 0.15
_DOSE_REPORTS: Final = 0.4
_PET_WITH_CT: Final = 0.9


@dataclass(slots=True)
class Series:
    """``attributes`` are what every one of its instances carries."""

    uid: str
    modality: str
    attributes: Dataset
    instance_attributes: Dataset
    instances: int


@dataclass(slots=True)
class Study:
    """``attributes`` win over the patient's: a correction may concern one study alone.

    A ``study_only`` one is never told of below STUDY level.
    """

    uid: str
    patient: Patient
    attributes: Dataset
    series: list[Series]
    removed: bool = False
    study_only: bool = False

    @property
    def instances(self) -> int:
        return sum(series.instances for series in self.series)


@dataclass(slots=True)
class Patient:
    attributes: Dataset
    studies: list[Study] = field(default_factory=list)


def element(vr: str, *values: Any) -> dict[str, Any]:
    """One attribute; no value, or one that is empty, makes it empty."""
    present = [value for value in values if value not in ("", None)]
    return {"vr": vr, "Value": present} if present else {"vr": vr}


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """One Item of a code sequence."""
    return {
        "00080100": element("SH", value),
        "00080102": element("SH", scheme),
        "00080104": element("LO", meaning),
    }


def draw_name(rng: Random) -> dict[str, Any]:
    """A Patient's Name with as many PN component groups as its language has."""
    families, givens = rng.choice(NAMES)
    pairs = zip(rng.choice(families).split("="), rng.choice(givens).split("="), strict=True)
    groups = (f"{family}^{given}" for family, given in pairs)
    return element("PN", dict(zip(("Alphabetic", "Ideographic", "Phonetic"), groups, strict=False)))


def draw_patient(rng: Random, awkward: float) -> Patient:
    """A new patient; a share of ``awkward`` has no name, birth date or sex."""
    unknown = rng.random() < awkward
    birth_date = f"{rng.randint(1925, 2020)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}"
    return Patient(
        {
            "00100010": element("PN") if unknown else draw_name(rng),
            "00100020": element("LO", f"P{rng.randrange(10**8):08}"),
            "00100021": element("LO", rng.choice(ISSUERS)),
            "00100030": element("DA", "" if unknown else birth_date),
            "00100040": element("CS", "" if unknown else rng.choice("FFFMMMO")),
        }
    )


def draw_study(rng: Random, patient: Patient, moment: int, max_instances: int, awkward: float) -> Study:
    """A new study of that patient begun at ``moment`` (UTC microseconds), of 1 to ``max_instances`` instances."""
    technique = rng.choices(TECHNIQUES, weights=[each.weight for each in TECHNIQUES])[0]
    begun = to_datetime(moment)
    date, time = begun.strftime("%Y%m%d"), begun.strftime("%H%M%S")
    if rng.random() < 0.5:
        uid = f"2.25.{rng.getrandbits(128)}"
    else:
        uid = f"{_VENDOR_ROOT}.{rng.randint(1, 40)}.{date}.{rng.getrandbits(48)}"
    undated = rng.random() < awkward
    description = rng.choice(technique.studies)
    number = rng.randrange(10**7)
    attributes = {
        "00080020": element("DA", "" if undated else date),
        "00080030": element("TM", "" if undated else time),
        "00080050": element("SH", "" if rng.random() < awkward else f"A{number:07}"),
        "00080090": element("PN", {"Alphabetic": physician} if (physician := rng.choice(REFERRING)) else None),
        "00081030": element("LO", description),
        "00081032": element("SQ", code(f"{technique.modality}{number % 30}", "99SIM", description or "Imaging")),
        "00200010": element("SH", f"S{number:07}"),
    }
    size = max(1, min(max_instances, round(rng.lognormvariate(0, technique.spread) * technique.median)))
    study = Study(uid, patient, attributes, _draw_series(rng, uid, technique, size, date, time))
    patient.studies.append(study)
    return study


def _draw_series(rng: Random, study_uid: str, technique: Technique, size: int, date: str, time: str) -> list[Series]:
    parts = [technique] * min(size, rng.randint(1, technique.most_series))
    if technique.modality == "PT" and len(parts) > 1 and rng.random() < _PET_WITH_CT:
        parts[-1] = next(each for each in TECHNIQUES if each.modality == "CT")
    body_part = rng.choice(technique.body_parts)
    drawn = []
    for number, part in enumerate(parts, start=1):
        last = number == len(parts)
        instances = size if last else max(1, min(size - (len(parts) - number), round(size * rng.random() * 0.6)))
        size -= instances
        sop_class_uid = part.sop_class_uids[-1 if rng.random() < _SECOND_CLASS else 0]
        pixels = _draw_pixels(rng, part, sop_class_uid)
        description = rng.choice(part.series)
        drawn.append(
            _series(study_uid, number, part.modality, sop_class_uid, description, body_part, instances, pixels)
        )
    if technique.modality in {"CT", "XA"} and drawn[-1].instances > 1 and rng.random() < _DOSE_REPORTS:
        drawn[-1].instances -= 1
        report = {"0040A043": element("SQ", code("113701", "DCM", "X-Ray Radiation Dose Report"))}
        number = 501
        drawn.append(_series(study_uid, number, "SR", DOSE_REPORT_SOP_CLASS_UID, "Dose Report", "", 1, report))
    for series in drawn:
        series.attributes |= {"00080021": element("DA", date), "00080031": element("TM", time)}
        series.instance_attributes |= {"00080023": element("DA", date), "00080033": element("TM", time)}
    return drawn


def _draw_pixels(rng: Random, technique: Technique, sop_class_uid: str) -> Dataset:
    if not technique.sizes:
        return {"0040A043": element("SQ", code("18748-4", "LN", "Diagnostic imaging report"))}
    rows, columns = rng.choice(technique.sizes)
    pixels = {
        "00280010": element("US", rows),
        "00280011": element("US", columns),
        "00280100": element("US", 8 if technique.modality in {"US", "OT", "XA"} else 16),
    }
    if sop_class_uid in MULTI_FRAME_SOP_CLASS_UIDS:
        pixels["00280008"] = element("IS", rng.randint(1, technique.most_frames))
    return pixels


def _series(
    study_uid: str,
    number: int,
    modality: str,
    sop_class_uid: str,
    description: str,
    body_part: str,
    instances: int,
    pixels: Dataset,
) -> Series:
    attributes = {
        "00080060": element("CS", modality),
        "0008103E": element("LO", description),
        "00200011": element("IS", number),
    }
    if body_part:
        attributes["00180015"] = element("CS", body_part)
    instance_attributes = {"00080016": element("UI", sop_class_uid)} | pixels
    return Series(_part_uid(study_uid, number), modality, attributes, instance_attributes, instances)


def _part_uid(whole: str, number: int) -> str:
    """The UID of a series of a study, or of an instance of a series: as vendors number them, or UUID-derived."""
    if whole.startswith(_VENDOR_ROOT):
        return f"{whole}.{number}"
    digest = blake2b(f"{whole}/{number}".encode("ascii"), digest_size=16).digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"


def study_uids(study: Study) -> Dataset:
    return {"0020000D": element("UI", study.uid)}


def series_uids(study: Study, series: Series) -> Dataset:
    return study_uids(study) | {"0020000E": element("UI", series.uid)}


def instance_uids(study: Study, series: Series, number: int) -> Dataset:
    """``number`` counts from 1, as Instance Number does."""
    return series_uids(study, series) | {"00080018": element("UI", _part_uid(series.uid, number))}


def study_dataset(study: Study) -> Dataset:
    """What QIDO-RS returns for a study (PS3.18 10.6.3), with its counts."""
    return (
        study_uids(study)
        | study.patient.attributes
        | study.attributes
        | {
            "00080061": element("CS", *sorted({series.modality for series in study.series})),
            "00201206": element("IS", len(study.series)),
            "00201208": element("IS", study.instances),
        }
    )


def series_dataset(study: Study, series: Series) -> Dataset:
    """What QIDO-RS returns for a series, with the attributes of its study and its number of instances."""
    count = {"00201209": element("IS", series.instances)}
    return series_uids(study, series) | study.patient.attributes | study.attributes | series.attributes | count


def instance_dataset(study: Study, series: Series, number: int) -> Dataset:
    """What WADO-RS metadata returns for an instance, without what no Inventory holds."""
    return (
        instance_uids(study, series, number)
        | study.patient.attributes
        | study.attributes
        | series.attributes
        | series.instance_attributes
        | {"00200013": element("IS", number)}
    )
